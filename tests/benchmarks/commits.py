"""Two checkouts of the package beside each other: `python commits.py OLD NEW [--rounds N]`.

Asks whether a change cost time: each workload runs in processes that alternate between the two
folders, on one thread, and each pair gives one ratio, new time by old time, of the 10th percentiles
of the repetitions.  Printed are the median ratio and its 95 % interval, by bootstrap over the
pairs: time was lost where the interval lies above 1.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
WORKLOADS = ("record x * y, 1,000 times", "chain of 1,000, and back", "mlp, batch 64", "gpt small")


def time_in(checkout, workload, seconds):
    """The 10th percentile of the times of one process that imports the package from `checkout`."""
    command = [sys.executable, str(HERE / "workloads.py"), "tinygrad_edu", workload,
               "--threads", "1", "--seconds", str(seconds)]  # fmt: skip
    path = os.pathsep.join([str(checkout), str(checkout / "tests" / "benchmarks")])
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    return statistics.quantiles(json.loads(done.stdout)["times"], n=10)[0]


def interval(ratios, draws=10_000):
    """The middle 95 % of the medians of samples drawn from the ratios, with replacement."""
    draw = random.Random(0).choices
    medians = sorted(statistics.median(draw(ratios, k=len(ratios))) for _ in range(draws))
    return medians[draws // 40], medians[-draws // 40]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=pathlib.Path)
    parser.add_argument("new", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--workloads", nargs="+", default=WORKLOADS)
    args = parser.parse_args()
    folders = [args.old.resolve(), args.new.resolve()]
    for workload in args.workloads:
        ratios = []
        for turn in range(args.rounds):
            times = {}
            for folder in folders if turn % 2 else folders[::-1]:
                times[folder] = time_in(folder, workload, args.seconds)
            ratios.append(times[folders[1]] / times[folders[0]])
        low, high = interval(ratios)
        print(f"{workload:28} {statistics.median(ratios):.3f}  [{low:.3f}, {high:.3f}]", flush=True)


if __name__ == "__main__":
    main()
