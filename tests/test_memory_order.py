"""Results lie in memory as torch's do: the same strides, whatever the strides of the inputs.

Where they differ, `view` raises in one library and `reshape` shares memory in one only.  Every row
of the table is run on inputs that are permuted, sliced, expanded and stored with the channels last;
empty ones and dimensions of size 1 are among its calls.

Nobody steps along a dimension of size 1, or in an empty tensor.  NumPy stores no steps for the
latter and chooses those of the former anew in every operation; torch's could only be had by
another view of every result.  So they are left out here, but not from `is_contiguous`; views have
them as torch does (test_mixed_layouts.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_table import Op, all_rows, arrays
from test_operations import Run, is_tensor

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

EXCEPTIONS = {
    "nn.functional.scaled_dot_product_attention": "which of torch's kernels runs decides",
    "scaled_dot_product_attention, more of it": "which of torch's kernels runs decides",
    "nn.functional.soft_margin_loss": "finite where torch's overflows, by another function",
    "gru_cell": "one step of the kernel of a layer",
    "nn.functional.max_pool1d": "torch has another kernel where a gradient is wanted",
    "nn.functional.lp_pool1d": "a result of one element a row, of a view that has one row",
}
"""The names of rows that are not compared, and why."""


def as_is(x: np.ndarray) -> np.ndarray:
    return x.copy()


def reversed_axes(x: np.ndarray) -> np.ndarray:
    return x.T.copy().T


def rotated(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.moveaxis(x, 0, -1).copy(), -1, 0) if x.ndim > 1 else x.copy()


def swapped(x: np.ndarray) -> np.ndarray:
    return x.swapaxes(-1, -2).copy().swapaxes(-1, -2) if x.ndim > 1 else x.copy()


def stepped(x: np.ndarray) -> np.ndarray:
    return np.repeat(x, 2, -1)[..., ::2] if x.ndim else x.copy()


def expanded(x: np.ndarray) -> np.ndarray:
    if not x.ndim or not len(x):
        return x.copy()
    return np.lib.stride_tricks.as_strided(x[:1].copy(), x.shape, (0, *x.strides[1:]))


def expanded_inside(x: np.ndarray) -> np.ndarray:
    if x.ndim < 2 or not x.shape[1]:
        return expanded(x)
    y = np.moveaxis(x[:, :1], 0, -1).copy()  # (1, ..., N): the first dimension is the fastest
    steps = (y.strides[-1], 0, *y.strides[1:-1])
    return np.lib.stride_tricks.as_strided(y, x.shape, steps)


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1) if x.ndim > 2 else x.copy()


LAYOUTS = [
    as_is, reversed_axes, rotated, swapped, stepped, expanded, expanded_inside, channels_last,
]  # fmt: skip


def steps(t: Any) -> tuple[int | bool, ...]:
    """Whether `t` is contiguous, and the strides along which anybody steps."""
    pairs = zip(t.shape, t.stride(), strict=True) if t.numel() else ()
    return (t.is_contiguous(), *[step for size, step in pairs if size > 1])


def results(library: Any, op: Op, given: Any, layout: Callable[[Any], Any]) -> Any:
    library.manual_seed(0)
    try:
        run = Run(library, op, given, layout=layout)
    except (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError):
        return None
    found = [y for y in run.outputs if is_tensor(y)]
    return [(tuple(y.shape), steps(y), [y is x for x in run.tensors]) for y in found]


@pytest.mark.parametrize(
    ("layout", "dtype"), [*[(layout, "float32") for layout in LAYOUTS], (expanded, "float16")]
)
def test_strides_are_those_of_torch(layout: Callable[[Any], Any], dtype: str) -> None:
    wrong, seen = [], 0
    for op in all_rows():
        if op.name in EXCEPTIONS:
            continue
        for given in op.calls:
            made = arrays(op, given, dtype)
            mine, theirs = (results(library, op, made, layout) for library in (ours, torch))
            if mine is None or theirs is None or [m[0] for m in mine] != [t[0] for t in theirs]:
                continue  # values and refusals are compared elsewhere
            seen += 1
            if [m[1] for m in mine] != [t[1] for t in theirs]:
                wrong.append(f"{op.name}{given}: {mine} torch {theirs}")
    assert seen > 1000
    assert not wrong, "\n".join(wrong)


def test_there_are_few_exceptions() -> None:
    assert len(EXCEPTIONS) <= 10
    assert set(EXCEPTIONS) <= {op.name for op in all_rows()}


def test_the_input_itself_is_returned_where_torch_does() -> None:
    wrong = []
    for op in all_rows():
        if op.name == "broadcast_tensors":  # an expand to the same shape is a view here
            continue
        for given in op.calls:
            made = arrays(op, given, "float32")
            mine, theirs = (results(library, op, made, as_is) for library in (ours, torch))
            if mine and theirs and [m[2] for m in mine] != [t[2] for t in theirs]:
                wrong.append(f"{op.name}{given}")
    assert not wrong, "\n".join(wrong)


EQUATIONS = ["ij,kj->ki", "ij,jk->ki", "bij,bkj->bki", "ij,k->kij", "i,j->ji", "bhqk,bkhd->bqhd"]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum_lies_as_in_torch(equation: str) -> None:
    sizes = dict(zip("ijkbhqd", (3, 4, 5, 2, 2, 3, 4), strict=True))
    terms = equation.split("->")[0].split(",")
    given = [np.ones([sizes[letter] for letter in term]) for term in terms]
    mine = ours.einsum(equation, *[ours.from_numpy(x) for x in given])
    assert mine.stride() == torch.einsum(equation, *[torch.from_numpy(x) for x in given]).stride()


@pytest.mark.parametrize(
    "run",
    [
        lambda t: t.arange(24.0).reshape(2, 3, 4)[:, [0, 2]].view(2, -1),
        lambda t: t.stack([t.arange(12.0).reshape(3, 4).t()] * 2).view(2, -1),
        lambda t: t.arange(12.0).reshape(3, 4).t().softmax(0).view(-1),
        lambda t: t.zeros(3).unsqueeze(0),
        lambda t: t.zeros(0, 3),
    ],
)
def test_views_that_scripts_take(run: Callable[[Any], Any]) -> None:
    assert run(ours).stride() == run(torch).stride()
