"""One workload in one library, timed: `python workloads.py LIBRARY WORKLOAD [--threads N]`.

Every workload is written once, in torch's words, and runs on either library; others.py has some of
them for MyGrad and HIPS autograd, limit.py by hand in NumPy.  It prints one line of JSON: the
seconds of each repetition, and the most memory the process has held, in MB.  `compare.py` runs it,
each library in a process of its own.
"""

import argparse
import importlib
import json
import os
import time

from attention_memory import memory
from gpt import gpt_step


def mlp(torch, batch):
    """The reference MLP, 784-256-256-10, and a batch for it."""
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10))  # fmt: skip
    return model, torch.randn(batch, 784), torch.randint(0, 10, (batch,))


def mlp_step(torch, batch):
    """A training step of the reference MLP: forward to AdamW."""
    nn = torch.nn
    model, X, y = mlp(torch, batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad()
        loss = criterion(model(X), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        return loss.detach()

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


def attention(torch, length):
    """Causal attention of 4 heads of 64, forward and backward."""
    q, k, v = (torch.randn(1, 4, length, 64, requires_grad=True) for _ in range(3))
    g = torch.randn(1, 4, length, 64)

    def once():
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        torch.autograd.grad(y, [q, k, v], g)

    return once


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


SMALL = {"layers": 4, "heads": 4, "width": 128, "block": 64, "batch": 12}
LARGER = {"layers": 6, "heads": 6, "width": 384, "block": 256, "batch": 4}

WORKLOADS = {
    "mlp, batch 64": lambda torch: mlp_step(torch, 64),
    "mlp, batch 256": lambda torch: mlp_step(torch, 256),
    "mlp, batch 8": lambda torch: mlp_step(torch, 8),
    "gpt small": lambda torch: gpt_step(torch, **SMALL),
    "gpt larger": lambda torch: gpt_step(torch, **LARGER),
    "record x * y, 1,000 times": record,
    "chain of 1,000, and back": chain,
    "AdamW step": adamw,
    "DataLoader, 64 batches": loader,
    "attention, T = 1024": lambda torch: attention(torch, 1024),
    "attention, T = 2048": lambda torch: attention(torch, 2048),
    "attention, T = 4096": lambda torch: attention(torch, 4096),
    "attention, T = 8192": lambda torch: attention(torch, 8192),
    "rand 1M": rand,
    "dropout mask 1M": dropout_mask,
    "randn 1M": randn,
    "randperm 1M": randperm,
}

OTHERS = {
    "mlp, batch 64": lambda others, library: others.mlp_step(library, 64),
    "mlp, batch 256": lambda others, library: others.mlp_step(library, 256),
    "mlp, batch 8": lambda others, library: others.mlp_step(library, 8),
    "gpt small": lambda others, library: others.gpt_step(library, **SMALL),
}

STEPS = {  # written by hand, and in JAX
    "mlp, batch 64": {"batch": 64},
    "mlp, batch 256": {"batch": 256},
    "mlp, batch 8": {"batch": 8},
    "gpt small": SMALL,
    "gpt larger": LARGER,
}


def other_step(library, workload, threads):
    """The step of a workload by hand in NumPy, or in JAX."""
    case = STEPS[workload]
    if library == "limit":
        limit = importlib.import_module("limit")
        return limit.mlp_step(**case) if "mlp" in workload else limit.gpt_step(threads, **case)
    steps = importlib.import_module("jax_steps")
    return steps.mlp_step(**case) if "mlp" in workload else steps.gpt_step(**case)


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
    parser.add_argument(
        "library",
        choices=["tinygrad_edu", "compiled", "torch", "limit", "jax", "mygrad", "autograd"],
    )
    parser.add_argument("workload", choices=list(WORKLOADS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--wait", type=int, help="of the BLAS, in 2^n cycles: kernels/waiting.py")
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)  # before the library is imported
    if args.library == "jax":
        os.environ["XLA_FLAGS"] = (
            f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen={args.threads > 1}"
            f" intra_op_parallelism_threads={args.threads}"
        ).strip()
    if args.library in ("limit", "jax"):
        work = other_step(args.library, args.workload, args.threads)
    elif args.library in ("mygrad", "autograd"):
        work = OTHERS[args.workload](importlib.import_module("others"), args.library)
    else:
        compiled = args.library == "compiled"
        torch = importlib.import_module("tinygrad_edu" if compiled else args.library)
        if args.library == "torch":
            torch.set_num_threads(args.threads)
        work = WORKLOADS[args.workload](torch)
        work = torch.compile(work, fullgraph=True) if compiled else work
    if args.wait is not None and args.library in ("tinygrad_edu", "compiled"):
        importlib.import_module("tinygrad_edu.kernels.waiting").set_wait(args.wait)
    times = measure(work, args.seconds)
    print(json.dumps({"times": times, "peak": memory("VmHWM")}))


if __name__ == "__main__":
    main()
