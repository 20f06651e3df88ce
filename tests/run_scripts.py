"""The scripts of tests/scripts on this library and on PyTorch: same losses, and how long.

    python tests/run_scripts.py              every script at its full size, some minutes each
    python tests/run_scripts.py gan vae      these only
    python tests/run_scripts.py --short      as the tests run them
    python tests/run_scripts.py --rounds 3   times: the median of three runs, taking turns

Prints where the first line differs beyond the tolerance, the largest relative difference between
any two numbers, and the wall time of both processes, start-up included, on one thread.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import zip_longest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "tests" / "scripts"
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")


@dataclass(frozen=True)
class Script:
    """How the tests run a script.

    Attributes:
        short: the arguments for a run of a few seconds.
        rtol: how far the numbers it prints may lie apart in that run, relative to their size.
        why: what makes them differ.
    """

    short: str
    rtol: float
    why: str


# The random numbers are the same bit for bit, so only the order of sums differs.  That shows in the
# last printed digit (1e-5 of the losses here), unless training magnifies it.
ALL = {
    "convnet": Script("--epochs 2 --width 8 --limit 700", 1e-5, "rounding"),
    "language_model": Script(
        "--epochs 1 --limit 40000 --emsize 32 --vocab 300 --log-interval 5", 1e-5, "rounding"
    ),
    "vae": Script("--epochs 4 --hidden 64", 1e-5, "rounding"),
    "gan": Script(
        "--epochs 1 --ngf 8 --ndf 8 --limit 1000 --log-interval 3", 1e-4,
        "Adam divides gradients that are almost zero by their size, which magnifies their rounding",
    ),
    "translation": Script("--steps 40 --d-model 32 --log-interval 10", 1e-5, "rounding"),
    "save_module": Script("--epochs 3 --emsize 32", 1e-5, "rounding"),
    "forward_mode": Script("--steps 100 --hidden 16", 1e-5, "rounding"),
    "pruning": Script("--rounds 3 --steps 12", 1e-5, "rounding"),
    "ensembling": Script("--models 4 --steps 60", 1e-5, "rounding"),
    "style_transfer": Script("--size 16 --steps 25", 1e-4, "L-BFGS magnifies rounding"),
    "hogwild": Script("--epochs 3 --limit 160", 1e-5, "rounding"),
    "reinforce": Script("--episodes 30 --log-interval 3", 1e-4, "rounding, added up over episodes"),
    "tensorboard_graph": Script("--steps 40", 1e-5, "rounding"),
    "profiled": Script("--steps 30", 1e-5, "rounding"),
    "jit_decorators": Script("--steps 40", 1e-5, "rounding"),
    "graph_walk": Script("--steps 20", 1e-5, "rounding"),
    "spatial_transformer": Script("--steps 40", 1e-5, "rounding"),
    "benchmarked": Script("--steps 40", 1e-5, "rounding"),
    "per_sample_gradients": Script("--steps 40", 1e-5, "rounding"),
    "tangent_kernel": Script("--width 32", 1e-4, "a linear system magnifies rounding"),
    "maml": Script("--steps 40", 1e-5, "rounding"),
    "crf_tagger": Script("--epochs 12", 1e-5, "rounding"),
    "llama": Script("--steps 30", 1e-4, "Adam magnifies the rounding of almost no gradient"),
    "diffusion": Script("--steps 20", 1e-5, "rounding"),
    "own_optimizers": Script("--steps 30", 1e-4, "L-BFGS magnifies rounding"),
    "flow": Script("--steps 80", 1e-5, "rounding"),
}  # fmt: skip


def run(name: str, arguments: list[str], ours: bool) -> tuple[list[str], float]:
    """What a script prints, and its wall time in seconds; RuntimeError if it fails."""
    launcher = ["-m", "tinygrad_edu"] if ours else []
    command = [sys.executable, *launcher, str(SCRIPTS / f"{name}.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        left = os.listdir(folder)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    return [*done.stdout.splitlines(), f"files left: {sorted(left)}"], seconds


def difference(mine: str, theirs: str) -> float:
    """The largest relative difference of the numbers in two lines; inf if their words differ."""
    if NUMBER.sub("#", mine) != NUMBER.sub("#", theirs):
        return float("inf")
    largest = 0.0
    for a, b in zip(NUMBER.findall(mine), NUMBER.findall(theirs), strict=True):
        x, y = float(a.replace(",", "")), float(b.replace(",", ""))
        digits = len(b.partition(".")[2])
        beyond = abs(x - y) - 1.01 * 10.0**-digits  # the last printed digit may be rounded
        if beyond > 0 and digits:
            largest = max(largest, beyond / max(abs(y), 1e-3))
        elif x != y and not digits:
            return float("inf")
    return largest


def differences(mine: list[str], theirs: list[str]) -> list[float]:
    """That of every pair of lines."""
    return [difference(a, b) for a, b in zip_longest(mine, theirs, fillvalue="(no such line)")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=[*ALL])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--lines", action="store_true", help="print both outputs side by side")
    args = parser.parse_args()
    for name in args.names:
        script = ALL[name]
        arguments = script.short.split() if args.short else []
        times: dict[bool, list[float]] = {True: [], False: []}
        printed = {}
        for _ in range(args.rounds):
            for ours in (True, False):
                printed[ours], seconds = run(name, arguments, ours)
                times[ours].append(seconds)
        apart = differences(printed[True], printed[False])
        if args.lines:
            for a, b in zip_longest(printed[True], printed[False], fillvalue=""):
                print(f"  {a}\n  {b}" if a != b else f"= {a}")
        first = next((i for i, d in enumerate(apart) if d > script.rtol), None)
        mine, theirs = (statistics.median(times[ours]) for ours in (True, False))
        print(
            f"{name:15} {len(apart):4} lines, "
            + ("all equal" if first is None else f"the first {first} equal")
            + f" to {script.rtol:g}; largest difference {max(apart):.1e};"
            f" {mine:.1f} s here, {theirs:.1f} s on PyTorch"
        )


if __name__ == "__main__":
    main()
