"""A write between forward and backward works where it works in torch, and never changes a gradient.

What a rule keeps decides which writes are refused.  Every row of the table is run; one of its
tensors is then overwritten, in turn, and the gradients are asked for: each of its arguments
(indices, masks and weights too, and those given by name) and each of its results.  The same for
second derivatives, which are asked for after a write into any of these, into the cotangents or into
the first gradients: then what a rule was given to keep is kept once more, by the operations that
the rule is made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from op_table import Call, Op, all_rows, arrays
from test_operations import Run, is_tensor

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

STRICTER = {
    r".*scaled_dot_product_attention.*": "torch scales copies of q and k, where no fused kernel is",
    r"matmul|kron|cdist": "torch has made a copy to give its kernel the shape it wants",
}
"""Rows that may refuse a write that torch allows, by pattern of the name, and why."""

STRICTER_TWICE = STRICTER | {
    r"atanh|trapezoid|matrix_exp|linalg\.slogdet|igammac|special\.(log_ndtr|ndtri|zeta)|prod": (
        "torch's rule multiplies the cotangent by a constant first, and keeps that product"
    ),
    r".*(linear|linear_cross_entropy|layer_norm)": "the gradient of a bias is the cotangent itself",
    r"ldexp": "torch keeps the power of two",
    r".*binary_cross_entropy_with_logits": "torch keeps the sigmoid",
}
"""The same of second derivatives."""


def overwrite(library: Any, t: Any) -> bool:
    """Change all elements, integers into others of the same range; False if that is impossible."""
    if not t.numel():
        return False
    with library.no_grad():
        try:
            if t.dtype == library.bool:
                t.logical_not_()
            elif t.dtype.is_floating_point:
                t.add_(0.25)
            else:
                before, low, high = t.clone(), int(t.min()), int(t.max())
                t.mul_(-1).add_(low + high)
                if bool((t == before).all()):
                    t.copy_(before - 1 if low else before + 1)
        except (RuntimeError, ValueError):  # an expanded one cannot be written
            return False
    return True


class Attempt:
    """A call, differentiated once or twice, up to where the last gradients are to be asked for."""

    def __init__(self, library: Any, op: Op, given: Call, order: int) -> None:
        library.manual_seed(0)
        self.library = library
        self.run = run = Run(library, op, given, grad=True)
        outputs = [y for y in run.outputs if is_tensor(y)]
        self.roots = [y for y in outputs if y.requires_grad]
        self.inputs = run.inputs
        self.random = np.random.default_rng(7)
        self.starts = [self.start(y) for y in self.roots]
        self.places = {"input": run.tensors, "output": outputs}
        if order == 2 and self.roots and self.inputs:
            self.once()

    def once(self) -> None:
        """Take the first gradients, recorded."""
        starts = [u.requires_grad_() for u in self.starts]
        found = self.library.autograd.grad(
            self.roots, self.inputs, starts, create_graph=True, allow_unused=True
        )
        self.roots = [g for g in found if g is not None and g.requires_grad]
        self.inputs = [*self.inputs, *starts]
        self.places |= {"cotangent": starts, "gradient": self.roots}
        self.starts = [self.start(g) for g in self.roots]

    def start(self, y: Any) -> Any:
        return self.run.start(self.random.standard_normal(tuple(y.shape)), y)

    def gradients(self) -> list[Any]:
        return list(
            self.library.autograd.grad(self.roots, self.inputs, self.starts, allow_unused=True)
        )


def written(library: Any, op: Op, given: Call, order: int, place: str, i: int) -> Any:
    """The gradients after a write, "refused", another error, or None if it cannot be written."""
    try:
        attempt = Attempt(library, op, given, order)  # torch's own rule may fail here
        if not overwrite(library, attempt.places[place][i]):
            return None
        return attempt.gradients()
    except RuntimeError as error:
        return "refused" if "modified by an inplace operation" in str(error) else error


def cases(op: Op, order: int) -> Iterator[tuple[Call, list[Any], str, int]]:
    """Every call, its gradients, and every tensor that can be written in between."""
    for given in op.calls:
        made = arrays(op, given, "float64")
        try:
            attempt = Attempt(ours, op, made, order)
            if not attempt.roots or not attempt.inputs:
                continue
            counts = {place: len(tensors) for place, tensors in attempt.places.items()}
            clean = attempt.gradients()
        except RuntimeError as error:
            assert "is not implemented" in str(error), error  # there is none, in torch neither
            continue
        for place, count in counts.items():
            yield from [(made, clean, place, i) for i in range(count)]


def same(a: Any, b: Any) -> bool:
    if a is None or b is None:  # a gradient of zeros may be none
        rest = b if a is None else a
        return rest is None or not rest.detach().numpy().any()
    return bool(np.allclose(a.detach().numpy(), b.detach().numpy(), equal_nan=True))


def check(op: Op, order: int, stricter: dict[str, str]) -> None:
    excused = any(re.fullmatch(pattern, op.name) for pattern in stricter)
    for given, clean, place, i in cases(op, order):
        mine = written(ours, op, given, order, place, i)
        where = f"{op.name}{given!r}: {place} {i}"
        if mine == "refused":
            theirs = written(torch, op, given, order, place, i)
            allowed = isinstance(theirs, list) and any([g is not None for g in theirs])
            assert excused or not allowed, f"{where} refused"
        elif mine is not None:
            assert not isinstance(mine, Exception), f"{where}: {mine}"
            assert all(same(a, b) for a, b in zip(mine, clean, strict=True)), (
                f"a write into {where} has changed a gradient"
            )


rows = pytest.mark.parametrize("op", all_rows(), ids=repr)


@rows
def test_a_write_is_refused_only_where_torch_refuses_it(op: Op) -> None:
    check(op, 1, STRICTER)


@rows
def test_a_write_after_the_first_gradients_changes_no_second_one(op: Op) -> None:
    check(op, 2, STRICTER_TWICE)


def test_there_are_few_exceptions() -> None:
    assert len(STRICTER) <= 3
    assert len(STRICTER_TWICE) <= 7
