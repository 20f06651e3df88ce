"""One workload in one library, timed: `python workloads.py LIBRARY WORKLOAD [--threads N]`.

Every workload is written once, in torch's words, and runs on either library.  It prints one line of
JSON: the seconds of each repetition.  `compare.py` runs it, each library in a process of its own.
"""

import argparse
import importlib
import json
import os
import time

from gpt import gpt_step


def mlp_step(torch, batch):
    """A training step of the reference MLP, 784-256-256-10: forward to AdamW."""
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10))  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    X, y = torch.randn(batch, 784), torch.randint(0, 10, (batch,))

    def step():
        optimizer.zero_grad()
        loss = criterion(model(X), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()

    return step


def record(torch):
    """Record `x * y` on 4 x 4 tensors, a thousand times."""
    x = torch.randn(4, 4, requires_grad=True)
    y = torch.randn(4, 4, requires_grad=True)

    def thousand():
        for _ in range(1000):
            x * y

    return thousand


def chain(torch):
    """A chain of 1,000 multiplications, forward and backward."""
    x = torch.randn(4, 4, requires_grad=True)
    y = torch.randn(4, 4, requires_grad=True)
    g = torch.ones(4, 4)

    def walk():
        z = x
        for _ in range(1000):
            z = z * y
        z.backward(g)

    return walk


def adamw(torch):
    """One AdamW step over the parameters of the reference MLP."""
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 256), torch.nn.Linear(256, 256), torch.nn.Linear(256, 10))  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for p in model.parameters():
        p.grad = torch.randn(*p.shape)
    return optimizer.step


def loader(torch):
    """An epoch of DataLoader over 4,096 samples of 64 numbers, in shuffled batches of 64."""
    data = importlib.import_module(f"{torch.__name__}.utils.data")
    dataset = data.TensorDataset(torch.randn(4096, 64), torch.randint(0, 10, (4096,)))
    batches = data.DataLoader(dataset, batch_size=64, shuffle=True)

    def epoch():
        for _ in batches:
            pass

    return epoch


MILLION = 10**6  # the random numbers below are to be timed on one thread


def rand(torch):
    """A million uniform numbers."""
    return lambda: torch.rand(MILLION)


def dropout_mask(torch):
    """A million of dropout's decisions."""
    mask = torch.empty(MILLION)
    return lambda: mask.bernoulli_(0.8)


def randn(torch):
    """A million normal numbers."""
    return lambda: torch.randn(MILLION)


def randperm(torch):
    """A random order of a million numbers."""
    return lambda: torch.randperm(MILLION)


WORKLOADS = {
    "mlp, batch 64": lambda torch: mlp_step(torch, 64),
    "mlp, batch 256": lambda torch: mlp_step(torch, 256),
    "mlp, batch 8": lambda torch: mlp_step(torch, 8),
    "record x * y, 1,000 times": record,
    "chain of 1,000, and back": chain,
    "AdamW step": adamw,
    "DataLoader, 64 batches": loader,
    "gpt small": lambda torch: gpt_step(torch, layers=4, heads=4, width=128, block=64, batch=12),
    "gpt larger": lambda torch: gpt_step(torch, layers=6, heads=6, width=384, block=256, batch=4),
    "rand 1M": rand,
    "dropout mask 1M": dropout_mask,
    "randn 1M": randn,
    "randperm 1M": randperm,
}


def measure(work, seconds):
    """The time of each repetition, for about so many seconds, after a warm-up."""
    for _ in range(5):
        work()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", choices=["tinygrad_edu", "torch"])
    parser.add_argument("workload", choices=list(WORKLOADS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)  # before the library is imported
    torch = importlib.import_module(args.library)
    if args.library == "torch":
        torch.set_num_threads(args.threads)
    print(json.dumps(measure(WORKLOADS[args.workload](torch), args.seconds)))


if __name__ == "__main__":
    main()
