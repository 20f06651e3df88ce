"""Gradients lie in memory as torch's do.

A `.grad` lies as its leaf does if that has no gaps, else in C order, whatever the order in which
the gradient arrives. So `.grad.view(-1)` works where it works in torch, and optimizers that step
over memory meet the same order in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_table import Op, all_rows, arrays
from test_memory_order import steps
from test_operations import Run, is_tensor

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

LEAVES: dict[str, Callable[[Any], Any]] = {
    "in C order": lambda t: t.rand(2, 6),
    "transposed": lambda t: t.rand(6, 2).T,
    "with gaps": lambda t: t.rand(6, 4)[:, :2],
    "transposed, with gaps": lambda t: t.rand(6, 4)[:, :2].T,
    "expanded": lambda t: t.rand(1, 4).expand(3, 4),
    "permuted": lambda t: t.rand(2, 3, 4).permute(2, 0, 1),
    "channels last": lambda t: t.rand(2, 3, 4, 5).contiguous(memory_format=t.channels_last),
    "one row, transposed": lambda t: t.rand(5, 1).T,
    "one column, with gaps": lambda t: t.rand(5, 3)[:, :1],
    "every second": lambda t: t.rand(8)[::2],
    "0-d": lambda t: t.rand(()),
    "empty": lambda t: t.rand(3, 0).T,
}
USES: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda t, x: x.sum(),
    "product": lambda t, x: (x * 2).sum(),
    "square": lambda t, x: (x * x).sum(),
    "copied": lambda t, x: (x.contiguous() * 3).sum(),
    "turned": lambda t, x: (x.mT * t.ones(x.mT.shape)).sum() if x.dim() > 1 else x.sum(),
    "twice": lambda t, x: (x * 2 + x * x).sum(),
    "cloned": lambda t, x: x.clone().sum(),
    "exp": lambda t, x: x.exp().sum(),
    "flat": lambda t, x: (x.reshape(-1) * t.arange(float(x.numel()))).sum(),
    "the leaf itself": lambda t, x: x,
}


def laid_out(library: Any, leaf: str, use: str, create: bool) -> list[Any]:
    """The order of `.grad`: made, added to, added to one that was given."""
    x = LEAVES[leaf](library).requires_grad_()
    found = []
    for given in (False, False, True):
        if given:
            x.grad = library.ones(x.shape)
        y = USES[use](library, x)
        y.backward(library.ones(y.shape), create_graph=create)
        found.append(steps(x.grad))
    return found


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("leaf", LEAVES)
def test_of_a_leaf(leaf: str, create: bool) -> None:
    for use in USES:
        mine, theirs = (laid_out(library, leaf, use, create) for library in (ours, torch))
        assert mine == theirs, use


def retained(library: Any) -> Any:
    y = library.rand(6, 2).T.requires_grad_() * 2
    y.retain_grad()
    (y * library.rand(6, 2).T).sum().backward()
    return steps(y.grad)


def test_of_a_tensor_that_retains_it() -> None:
    assert retained(ours) == retained(torch)


def gradients(library: Any, op: Op, given: Any) -> list[Any] | None:
    """Of each gradient that `autograd.grad` returns its shape, and whether it is contiguous."""
    library.manual_seed(0)
    try:
        run = Run(library, op, given, grad=True)
        ys = [y for y in run.outputs if is_tensor(y) and y.requires_grad]
        starts = [library.from_numpy(np.ones(tuple(y.shape))).to(y.dtype) for y in ys]
        found = library.autograd.grad(ys, run.inputs, starts, allow_unused=True)
    except (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError):
        return None
    return [None if g is None else (tuple(g.shape), g.is_contiguous()) for g in found]


OTHERWISE = {
    "nn.functional.cross_entropy": "the classes are the last dimension of what is computed",
    "nn.functional.bilinear": "the order of the product",
    "inner": "the order of the product",
    "linalg.lstsq": "the order of the product",
    "nn.functional.conv_transpose1d": "a part of what a padded input would have",
    "linalg.solve": "LAPACK's order, of each system of a batch",
    "x[..., ::2] = v": "a part of the gradient of the whole",
}
"""Operations some of whose gradients are not in C order although torch's are, and why."""


def test_of_inputs_in_c_order() -> None:
    wrong, seen = [], 0
    for op in all_rows():
        for given in op.calls:
            made = arrays(op, given, "float32")
            mine, theirs = (gradients(library, op, made) for library in (ours, torch))
            if mine is None or theirs is None or len(mine) != len(theirs):
                continue  # values and refusals are compared elsewhere
            for one, other in zip(mine, theirs, strict=True):
                seen += 1
                if one and other and other[1] and not one[1] and op.name not in OTHERWISE:
                    wrong.append(f"{op.name}{given}: {mine}")
    assert seen > 1000
    assert not wrong, "\n".join(wrong)
