"""What a training step asks of a GPU, counted without one: `python tests/benchmarks/launches.py`.

The steps run on the strict stand-in for CuPy, which counts where the driver would be called: each
kernel of ours, each product of cuBLAS, each call of CuPy that computes or copies on the device.
(Of CuPy's own functions some start two kernels, a sort several: those are counted once.)
`--by-kernel` lists what is started.  A GPT's layer is the difference between a model of two layers
and one of one; its width is small here, since only shapes decide what is started.
"""

import argparse
import collections
import contextlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import strict_cupy  # noqa: E402
from gpt import gpt  # noqa: E402
from strict_cupy.kernels import COMPILER  # noqa: E402

import tinygrad_edu as torch  # noqa: E402

PRECISIONS = ("float32", "bfloat16")
LENGTHS = (512, 1024)  # attention takes 512 queries at a time


def mlp():
    """The reference MLP with a batch of 64."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10))  # fmt: skip
    return model, torch.randn(64, 784), torch.randint(0, 10, (64,))


def gpt_of(layers, length):
    """A GPT of so many layers on sequences of that length, width 32."""
    model = gpt(torch, vocab=20, block=length, layers=layers, heads=2, width=32)
    ids = torch.randint(0, 20, (2, length + 1))
    return model, ids[:, :-1].clone(), ids[:, 1:].clone()


def counted(model, x, y, precision):
    """How often each kernel is started by the third step: forward, backward, clipping, AdamW."""
    model, x, y = model.to("cuda"), x.to("cuda"), y.to("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)
    lowered = contextlib.nullcontext()
    if precision == "bfloat16":
        lowered = torch.autocast("cuda", dtype=torch.bfloat16)
    for _ in range(3):  # the first ones make what lasts
        strict_cupy.Counters.reset()
        strict_cupy.Counters.only_counting = True
        optimizer.zero_grad()
        with lowered:
            scores = model(x).flatten(0, -2)
            loss = torch.nn.functional.cross_entropy(scores, y.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
    counters = strict_cupy.Counters
    if counters.uploads or counters.downloads or counters.synchronizations:
        raise RuntimeError("the step waits for the GPU, or copies from or to the host")
    return collections.Counter(counters.launches)


def rows(length=None):
    """For each row of the table its name and the launches of a step, in each precision."""
    with strict_cupy.installed():
        if length is None:
            yield "MLP, batch 64", {p: counted(*mlp(), p) for p in PRECISIONS}
            return
        one, two = ({p: counted(*gpt_of(n, length), p) for p in PRECISIONS} for n in (1, 2))
    layer = {p: collections.Counter(two[p]) for p in PRECISIONS}
    for p in PRECISIONS:
        layer[p].subtract(one[p])
    yield f"GPT, a layer, T = {length}", layer
    rest = {p: collections.Counter(one[p]) for p in PRECISIONS}
    for p in PRECISIONS:
        rest[p].subtract(layer[p])
    yield f"GPT, the rest, T = {length}", rest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--by-kernel", action="store_true", help="list what is started")
    args = parser.parse_args()
    if COMPILER is None:
        parser.error("the stand-in needs g++ or clang++ to run kernels")
    print(f"{'launches of a training step':32}" + "".join(f"{p:>10}" for p in PRECISIONS))
    for length in (None, *LENGTHS):
        for name, found in rows(length):
            print(f"{name:32}" + "".join(f"{found[p].total():10}" for p in PRECISIONS), flush=True)
            if args.by_kernel:
                for kernel in sorted(set().union(*found.values())):
                    counts = [found[p][kernel] for p in PRECISIONS]
                    if any(counts):
                        print(f"  {kernel:30}" + "".join(f"{n:10}" for n in counts))


if __name__ == "__main__":
    main()
