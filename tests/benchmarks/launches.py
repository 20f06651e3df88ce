"""What a training step asks of a GPU, counted without one: `python tests/benchmarks/launches.py`.

The steps run on the strict stand-in for CuPy, which counts where the driver would be called: each
kernel of ours, each product of cuBLAS, each call of CuPy that computes or copies on the device.
(Of CuPy's own functions some start two kernels, a sort several: those are counted once.)
`--by-kernel` lists what is started.  A GPT's layer is the difference between a model of two layers
and one of one; batch and width are small here, since only shapes decide what is started, and once
those of GPT-2 with 124M parameters.

Bytes are those of each array that a launch is given, once (tests/strict_cupy/traffic.py); of a
layer in units of B*T*C*4, one activation in float32.  A weight C x C is 1/8 of it at T = 1024, of
GPT-2 with a batch of 8 1/11.
"""

import argparse
import collections
import contextlib
import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import strict_cupy  # noqa: E402
from gpt import gpt  # noqa: E402
from strict_cupy.kernels import COMPILER  # noqa: E402

import tinygrad_edu as torch  # noqa: E402

PRECISIONS = ("float32", "bfloat16")
SIZES = ((2, 512, 256), (2, 1024, 256), (8, 1024, 768))
"""Batch, length and width of the GPTs."""


def mlp():
    """The reference MLP with a batch of 64."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10))  # fmt: skip
    return model, torch.randn(64, 784), torch.randint(0, 10, (64,))


def gpt_of(layers, batch, length, width):
    """A GPT of so many layers on sequences of that length, heads of 64."""
    model = gpt(torch, vocab=96, block=length, layers=layers, heads=width // 64, width=width)
    ids = torch.randint(0, 96, (batch, length + 1))
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
    return collections.Counter(counters.launches), collections.Counter(counters.bytes)


def rows(size=None):
    """For each row its name, the unit of its bytes, and launches and bytes in each precision."""
    with strict_cupy.installed():
        if size is None:
            yield "MLP, batch 64", 1e6, {p: counted(*mlp(), p) for p in PRECISIONS}
            return
        one, two = ({p: counted(*gpt_of(n, *size), p) for p in PRECISIONS} for n in (1, 2))
    layer, name = {p: less(two[p], one[p]) for p in PRECISIONS}, f"T = {size[1]}"
    if size[2] == 768:
        yield f"GPT-2 124M, a layer, {name}", math.prod(size) * 4, layer
        return
    yield f"GPT, a layer, {name}", math.prod(size) * 4, layer
    yield f"GPT, the rest, {name}", 1e6, {p: less(one[p], layer[p]) for p in PRECISIONS}


def less(whole, part):
    """What is left of launches and bytes."""
    found = [collections.Counter(counts) for counts in whole]
    for counts, taken in zip(found, part, strict=True):
        counts.subtract(taken)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--by-kernel", action="store_true", help="list what is started")
    args = parser.parse_args()
    if COMPILER is None:
        parser.error("the stand-in needs g++ or clang++ to run kernels")
    table = [row for size in (None, *SIZES) for row in rows(size)]
    titles = ("launches of a training step", "bytes (layer: B*T*C*4; else MB)")
    for what, title in enumerate(titles):
        print(f"{title:32}" + "".join(f"{p:>10}" for p in PRECISIONS))
        for name, unit, found in table:
            unit = unit if what else 1
            totals = [found[p][what].total() / unit for p in PRECISIONS]
            print(f"{name:32}" + "".join(f"{n:10.{what}f}" for n in totals), flush=True)
            for kernel in sorted(set().union(*[f[what] for f in found.values()])):
                counts = [found[p][what][kernel] / unit for p in PRECISIONS]
                if args.by_kernel and any(counts):
                    print(f"  {kernel:30}" + "".join(f"{n:10.{what}f}" for n in counts))


if __name__ == "__main__":
    main()
