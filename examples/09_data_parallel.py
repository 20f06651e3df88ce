"""One model in several processes, each with its part of every batch: when is that faster?

    python examples/09_data_parallel.py                 1 and 2 processes timed, 4 for correctness
    python examples/09_data_parallel.py --ranks 1 2     only these

It starts itself again in so many processes, by torchrun's counterpart:

    python -m tinygrad_edu.distributed.run --nproc-per-node=2 examples/09_data_parallel.py

Three models: a narrow perceptron and a wide one on the digits, and the GPT of 04_char_gpt.py.  The
batch of all processes together is always the same, so the losses are, too, up to rounding.  Two
processes halve the computing, but must add up their gradients after it: the narrow perceptron
computes too little for that to pay.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import datasets
import numpy as np

import tinygrad_edu as torch
import tinygrad_edu.distributed as dist
from tinygrad_edu import nn
from tinygrad_edu.nn.parallel import DistributedDataParallel as DDP

HERE = pathlib.Path(__file__).resolve().parent


def perceptron(width):
    """A model, and its samples (X, y)."""
    (X, y), _ = datasets.load_digits()
    model = nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )
    return model, torch.from_numpy(X), torch.from_numpy(y)


def gpt():
    """The GPT of example 04, which reads this folder's programs."""
    spec = importlib.util.spec_from_file_location("char_gpt", HERE / "04_char_gpt.py")
    char_gpt = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(char_gpt)
    text = "".join(path.read_text() for path in sorted(HERE.glob("0*.py")))
    letters = sorted(set(text))
    ids = np.array([letters.index(c) for c in text])
    windows = np.stack([ids[i : i + 65] for i in range(0, len(ids) - 65, 32)])
    model = char_gpt.GPT(len(letters), block=64, layers=2, heads=4, width=128, dropout=0.0)
    return model, torch.from_numpy(windows[:, :-1].copy()), torch.from_numpy(windows[:, 1:].copy())


KINDS = {  # each: the model and its samples, the batch of all ranks together
    "perceptron, 64 wide": (lambda: perceptron(64), 64),
    "perceptron, 1024 wide": (lambda: perceptron(1024), 512),
    "GPT, 2 layers, 128 wide": (gpt, 16),
}


def train(kind, steps):
    """Train for some steps; returns losses, seconds a step, and whether all ranks ended equal."""
    make, batch = KINDS[kind]
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    model, X, y = make()
    model = DDP(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    order = np.random.default_rng(0)  # the same on all ranks: each takes its part of what it draws
    losses, times = [], []
    for _ in range(steps):
        picked = order.integers(0, len(X), batch)[rank::size]
        dist.barrier()
        start = time.perf_counter()
        optimizer.zero_grad()
        logits = model(X[picked])
        loss = nn.functional.cross_entropy(logits.flatten(0, -2), y[picked].flatten())
        loss.backward()  # the gradients are averaged here
        optimizer.step()
        times.append(time.perf_counter() - start)
        mean = loss.detach().clone()
        dist.all_reduce(mean, dist.ReduceOp.AVG)
        losses.append(mean.item())
    sums = [None] * size
    dist.all_gather_object(sums, [p.detach().numpy().tobytes() for p in model.parameters()])
    equal = all(theirs == sums[0] for theirs in sums)
    return {"losses": losses, "seconds": statistics.median(times[2:] or times), "equal": equal}


def rank_main(args):
    """What each process does; the first one prints."""
    dist.init_process_group()
    for kind in KINDS:
        found = train(kind, args.steps)
        if dist.get_rank() == 0:
            print(json.dumps({"kind": kind, **found}), flush=True)
    dist.destroy_process_group()


def start(ranks, threads, args):
    """Run this file in so many processes of so many threads; what it found for each kind."""
    run = [sys.executable, "-m", "tinygrad_edu.distributed.run", f"--nproc-per-node={ranks}"]
    done = subprocess.run(
        [*run, __file__, "--steps", str(args.steps)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.returncode)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["kind"]: line for line in lines}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    args = parser.parse_args()
    if "WORLD_SIZE" in os.environ:
        rank_main(args)
        return
    if not dist.is_available():
        raise SystemExit("this needs mpi4py and an MPI: pip install 'tinygrad-edu[mpi]'")
    alone = None
    print(f"{'':26}{'ranks':>6}{'threads':>9}{'ms a step':>11}{'speed-up':>10}  last loss  apart")
    processors = os.cpu_count() or 1
    ways = [(n, 1) for n in args.ranks]
    if 1 in args.ranks and processors > 1:
        ways.insert(1, (1, processors))  # the other way to use them all
    for ranks, threads in ways:
        found = start(ranks, threads, args)
        alone = alone or found
        for kind, now in found.items():
            first = alone[kind]
            apart = max(abs(a - b) for a, b in zip(now["losses"], first["losses"], strict=True))
            timed = ranks <= processors  # more ranks than processors: only correct
            speed = f"{first['seconds'] / now['seconds']:.2f}" if timed else "-"
            print(f"{kind:26}{ranks:6}{threads:9}{1000 * now['seconds']:11.1f}{speed:>10}"
                  f"  {now['losses'][-1]:.6f}  {apart:.1e}"
                  f"{'' if now['equal'] else '  RANKS DIFFER'}")  # fmt: skip


if __name__ == "__main__":
    main()
