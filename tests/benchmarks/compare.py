"""How long each workload takes, as a ratio to torch: `python tests/benchmarks/compare.py`.

Each library runs in a process of its own (two BLAS pools in one process slow each other), and they
take turns, so that a slow spell of the machine hits both.  Ratio = torch's time / ours, medians:
above 1, we are faster.  Without torch only our own times are printed.
"""

import argparse
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys

from workloads import WORKLOADS

HERE = pathlib.Path(__file__).resolve().parent


def run(library, workload, threads, seconds):
    """The median time of one process, in seconds."""
    command = [sys.executable, str(HERE / "workloads.py"), library, workload,
               "--threads", str(threads), "--seconds", str(seconds)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{library}, {workload}: {done.stderr}")
    return statistics.median(json.loads(done.stdout))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per workload and process")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--json", help="also write the medians to this file")
    args = parser.parse_args()

    libraries = ["tinygrad_edu"]
    if importlib.util.find_spec("torch"):
        libraries.append("torch")
    results = {}
    print(f"{args.rounds} rounds, {args.threads} threads; ratio = torch's time / ours\n")
    print(f"{'workload':28}{'tinygrad_edu':>14}{'torch':>12}{'ratio':>8}")
    for workload in WORKLOADS:
        if args.only not in workload:
            continue
        times = {library: [] for library in libraries}
        for _ in range(args.rounds):
            for library in libraries:
                times[library].append(run(library, workload, args.threads, args.seconds))
        medians = {library: statistics.median(t) for library, t in times.items()}
        results[workload] = medians
        ours, theirs = medians["tinygrad_edu"], medians.get("torch")
        row = f"{workload:28}{ours * 1e3:11.3f} ms"
        if theirs:
            row += f"{theirs * 1e3:9.3f} ms{theirs / ours:8.2f}"
        print(row, flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
