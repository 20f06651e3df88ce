"""Data parallel scripts print the same losses here as on torch's gloo, and as in one process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import MPI, ROOT, environment, finish
from run_scripts import differences

pytest.importorskip("sklearn")
torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.skipif(not MPI, reason="mpi4py or an MPI is not installed"),
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch has no gloo"),
]
RANKS = ROOT / "tests" / "ranks"
OURS = [sys.executable, "-m", "tinygrad_edu"]
THEIRS = [sys.executable]


def printed(command: list[str], folder: Path) -> list[str]:
    done = finish(command, 180, str(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def torchrun(launcher: list[str], size: int) -> list[str]:
    port = str(20_000 + os.getpid() % 20_000)
    run = [*launcher, "-m", "torch.distributed.run", f"--nproc-per-node={size}"]
    return [*run, "--master-port", port]


def same(mine: list[str], theirs: list[str]) -> None:
    assert len(theirs) > 3
    for a, b, apart in zip(mine, theirs, differences(mine, theirs), strict=True):
        assert apart <= 1e-5, f"\n{a}\n{b}"


@pytest.mark.parametrize("name", ["ddp_digits", "nano_gpt"])
def test_by_torchrun(name: str, tmp_path: Path) -> None:
    script = str(RANKS / f"{name}.py")
    found = []
    for launcher in (OURS, THEIRS):
        folder = tmp_path / str(len(launcher))
        folder.mkdir()
        found.append(printed([*torchrun(launcher, 2), script], folder))
    same(*found)


def test_spawned_by_the_script(tmp_path: Path) -> None:
    script = [str(RANKS / "spawned_convnet.py"), "2", str(21_000 + os.getpid() % 20_000)]
    mine, theirs = (printed([*launcher, *script], tmp_path) for launcher in (OURS, THEIRS))
    same(mine, theirs)
    assert mine[-1] == "equal on all ranks: True"


def losses(lines: list[str]) -> dict[int, float]:
    pattern = re.compile(r"epoch (\d+) .* loss ([\d.]+)")
    return {int(m[1]): float(m[2]) for m in map(pattern.match, lines) if m}


def test_two_ranks_beside_torch(tmp_path: Path) -> None:
    """Half of each batch each: the losses of torch in one process, which starts sooner than two."""
    script = [str(RANKS / "ddp_digits.py"), "--epochs", "2", "--limit", "640"]
    alone = dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, LOCAL_WORLD_SIZE=1, MASTER_ADDR="127.0.0.1",
                 MASTER_PORT=22_000 + os.getpid() % 20_000)  # fmt: skip
    theirs = ["env", *[f"{name}={value}" for name, value in alone.items()], *THEIRS]
    found = []
    for name, command in (("ours", torchrun(OURS, 2)), ("torch", theirs)):
        (tmp_path / name).mkdir()
        found.append(losses(printed([*command, *script], tmp_path / name)))
    assert len(found[1]) == 2 and found[0] == pytest.approx(found[1], abs=1e-5)


def test_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    """Killed after an epoch; equal batches, so the same curve to rounding."""
    script, epochs = str(RANKS / "ddp_digits.py"), ["--epochs", "4", "--limit", "640"]
    whole, again = tmp_path / "whole", tmp_path / "again"
    whole.mkdir()
    again.mkdir()
    curve = losses(printed([*torchrun(OURS, 1), script, *epochs], whole))
    job = subprocess.Popen(
        [*torchrun(OURS, 2), script, *epochs], cwd=again, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    snapshot, end = again / "snapshot.pt", time.monotonic() + 60
    while not snapshot.exists() and job.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    first = losses(job.communicate()[0].splitlines())
    time.sleep(0.5)  # its ranks notice that it is gone
    rest = losses(printed([*torchrun(OURS, 1), script, *epochs], again))
    assert 3 in rest
    for epoch, loss in {**first, **rest}.items():
        assert abs(loss - curve[epoch]) < 1e-5, (epoch, loss, curve)


def test_examples(tmp_path: Path) -> None:
    examples = ROOT / "examples"
    lines = printed([sys.executable, str(examples / "10_tensor_parallel.py")], tmp_path)
    apart = [float(line.split()[-1]) for line in lines if "differ by" in line]
    assert len(apart) == 2 and max(apart) < 1e-12, lines
    command = [sys.executable, str(examples / "09_data_parallel.py"), "--steps", "2"]
    lines = printed([*command, "--ranks", "1", "2"], tmp_path)
    assert len(lines) >= 7 and not any("RANKS DIFFER" in line for line in lines)
    assert max(float(line.split()[-1]) for line in lines[1:]) < 1e-5, lines
