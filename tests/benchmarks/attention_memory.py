"""Memory and time of causal attention, forward and backward: `python attention_memory.py`.

One sample, 4 heads of 64 features.  Every length and library runs in a process of its own; memory
is how far the process's peak rises above what it held with the inputs made, so it counts results,
gradients and all temporaries.  `--plain` adds attention written out with softmax, by our library.
"""

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

LENGTHS = (1024, 2048, 4096, 8192)
HEADS, SIZE = 4, 64
KERNELS = {"tinygrad_edu": "tinygrad_edu", "torch": "torch", "plain": "tinygrad_edu"}


def memory(field):
    """What this process holds (VmRSS), or the most it has held (VmHWM), in MB."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0]) / 1024
    except (OSError, IndexError):  # not Linux: only the most is known
        unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def plainly(torch, q, k, v):
    """Attention as it is written in books: it keeps the probabilities of all pairs."""
    hidden = torch.ones(q.shape[2], q.shape[2]).triu(1) > 0
    scores = (q @ k.transpose(-2, -1) / SIZE**0.5).masked_fill(hidden, -float("inf"))
    return scores.softmax(-1) @ v


def measure(kernel, length, threads, seconds):
    """(MB above the inputs, seconds) of forward and backward."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # before the library is imported
    torch = importlib.import_module(KERNELS[kernel])
    if kernel == "torch":
        torch.set_num_threads(threads)
    F = torch.nn.functional

    def inputs(n):
        return [torch.randn(1, HEADS, n, SIZE, requires_grad=True) for _ in range(3)]

    def once(q, k, v, g):
        if kernel == "plain":
            y = plainly(torch, q, k, v)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return torch.autograd.grad(y, [q, k, v], g)

    once(*inputs(128), torch.ones(1, HEADS, 128, SIZE))  # what is loaded and made on first use
    tensors = [*inputs(length), torch.randn(1, HEADS, length, SIZE)]
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    except OSError:
        pass
    before = memory("VmRSS")
    once(*tensors)
    grown, times, end = memory("VmHWM") - before, [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        once(*tensors)
        times.append(time.perf_counter() - start)
    return grown, statistics.median(times)


def apart(kernel, length, args):
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--run", kernel, str(length),
               "--threads", str(args.threads), "--seconds", str(args.seconds)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{kernel}, {length}: {done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="per length and library")
    parser.add_argument("--plain", action="store_true", help="add attention written out")
    parser.add_argument("--run", nargs=2, metavar=("KERNEL", "LENGTH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(measure(args.run[0], int(args.run[1]), args.threads, args.seconds)))
        return
    kernels = ["tinygrad_edu"]
    if importlib.util.find_spec("torch"):
        kernels.append("torch")
    if args.plain:
        kernels.append("plain")
    print(f"Causal attention, forward and backward; {HEADS} heads, {SIZE} wide;"
          f" {args.threads} thread(s)\n")  # fmt: skip
    print(f"{'T':>6}" + "".join(f"{kernel:>24}" for kernel in kernels))
    for length in LENGTHS:
        row = f"{length:6}"
        for kernel in kernels:
            grown, seconds = apart(kernel, length, args)
            row += f"{grown:11.1f} MB{seconds * 1e3:8.1f} ms"
        print(row, flush=True)


if __name__ == "__main__":
    main()
