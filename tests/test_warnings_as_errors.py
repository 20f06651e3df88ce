"""A program that turns warnings into errors after the import meets none of NumPy's.

Every operation of torch's database, with zeros, infinities and the largest numbers for its floats,
forward and backward.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

from replay import operations  # noqa: E402
from replay.both import leaves, translate  # noqa: E402

ENTRIES = [
    op
    for op in operations.ENTRIES
    if operations.exported(op) and torch.float32 in op.dtypes and "svd" not in op.name
]


@pytest.mark.parametrize("op", ENTRIES, ids=operations.title)
def test_extreme_numbers_raise_no_warning(op: Any) -> None:
    function = operations.counterpart(op.op, op.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sample = list(op.sample_inputs("cpu", torch.float32, requires_grad=False))[-1]
    for value in (0.0, float("inf"), 3e38, -1e38):
        try:
            first, args, kwargs = translate([sample.input, sample.args, sample.kwargs], ours)
        except (AttributeError, TypeError):  # a layer that only torch's own functions take
            return
        floats = [t for t in leaves([first, list(args), kwargs]) if t.is_floating_point()]
        for t in floats:
            t.array[...] = value
            t.requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)
            try:
                results = [y for y in leaves(function(first, *args, **kwargs)) if y.requires_grad]
                starts = [ours.ones_like(y) for y in results]
                if results:
                    ours.autograd.grad(results, floats, starts, allow_unused=True)
            except RuntimeWarning:
                raise
            except Exception:
                continue  # such numbers are refused


@pytest.mark.parametrize(
    "line",
    [
        "torch.log(torch.zeros(1))",
        "torch.tensor([1e39, -1.0]).half()",
        "torch.tensor([float('nan'), 1e30]).int()",
        "torch.zeros(1, dtype=torch.int64).copy_(torch.tensor([float('nan')]))",
        "torch.zeros(2).float().copy_(torch.tensor([1e300, 1.0], dtype=torch.float64))",
        "torch.tensor([1e300], dtype=torch.float64).float()",
        "torch.optim.SGD([torch.nn.Parameter(torch.full((2,), 3e38))], lr=0.1)",
        "repr(torch.tensor([float('inf'), float('nan'), 1e-44]))",
        "torch.nn.BatchNorm1d(2)(torch.full((3, 2), 3e38))",
        "torch.exp(torch.full((2,), 1e4, requires_grad=True)).sum().backward()",
        "torch.nn.utils.clip_grad_norm_([torch.nn.Parameter(torch.ones(1))], 1.0)",
        "torch.tensor(np.array([1e300]), dtype=torch.float32)",
        "torch.full((1,), 1e4).half() * torch.full((1,), 1e4).half()",
        "torch.tensor([1.0]) / 0",
        "torch.zeros(2)[torch.tensor([0])] / torch.zeros(1)",
    ],
)
def test_nor_does_a_program(line: str) -> None:
    setting = "warnings.simplefilter('error')"
    code = f"import numpy as np, warnings, tinygrad_edu as torch; {setting}; {line}"
    subprocess.run([sys.executable, "-c", code], check=True)
