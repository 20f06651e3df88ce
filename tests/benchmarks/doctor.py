"""What the doctor costs: a training step without it, with it, and with `every=10`, taking turns.

    python tests/benchmarks/doctor.py [--rounds 40]

The MLP is that of the other benchmarks (784-256-256-10, a batch of 64), the GPT the small one.
Prints the lowest processor time of each way over all rounds, and how many times that of the plain
step it is.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from workloads import WORKLOADS

import tinygrad_edu as torch

WAYS = {"off": None, "on": 1, "every=10": 10}
STEPS = {"mlp, batch 64": 40, "gpt small": 10}


def seconds(step, count, every):
    """The processor time of one step, of `count` in a row, after two that warm up."""
    d = None if every is None else torch.doctor(every=every, file=False).start()
    step(), step()
    start = time.process_time()
    for _ in range(count):
        step()
    found = (time.process_time() - start) / count
    if d is not None:
        d.stop()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    for name, count in STEPS.items():
        step = WORKLOADS[name](torch)
        best = dict.fromkeys(WAYS, float("inf"))
        for i in range(rounds if name.startswith("mlp") else max(rounds // 8, 2)):
            for way in list(WAYS)[i % 3 :] + list(WAYS)[: i % 3]:
                best[way] = min(best[way], seconds(step, count, WAYS[way]))
        shown = [f"{way} {t * 1e3:.2f} ms ({t / best['off']:.2f})" for way, t in best.items()]
        print(f"{name:16}" + "   ".join(shown))


if __name__ == "__main__":
    sys.exit(main())
