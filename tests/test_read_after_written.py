"""Writes from a part of what is written, with gaps: torch's numbers, or an error; never others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

READ: dict[str, Callable[[Any], Any]] = {
    "itself": lambda x: x,
    "itself, seen again": lambda x: x.view_as(x),
    "its diagonal": lambda x: x.diagonal(),
    "a row": lambda x: x[1],
    "rows": lambda x: x[:1],
    "a column": lambda x: x[:, :1],
    "another column": lambda x: x[:, 1:2],
    "an element": lambda x: x[1, 1],
    "a row, expanded": lambda x: x[0].expand(3, 3),
    "turned": lambda x: x.t(),
}
PARTS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "the columns before": lambda x: (x[:, 1:], x[:, :-1]),
    "the columns behind": lambda x: (x[:, :-1], x[:, 1:]),
    "the block before": lambda x: (x[1:, 1:], x[:-1, :-1]),
    "the block behind": lambda x: (x[:-1, :-1], x[1:, 1:]),
    "a block, turned": lambda x: (x[:2, :2], x[:2, :2].t()),
    "the column beside": lambda x: (x[:, 0], x[:, 1]),
    "the other columns": lambda x: (x[:, ::2], x[:, 1::2]),
    "the diagonal": lambda x: (x.diagonal(), x.diagonal()),
    "a row, to a column": lambda x: (x[:, 0], x[0]),
    "the same block": lambda x: (x[:, 1:], x[:, 1:]),
}
WRITES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add_": lambda _, x, y: x.add_(y),
    "sub_": lambda _, x, y: x.sub_(y, alpha=2),
    "mul_": lambda _, x, y: x.mul_(y),
    "/=": lambda _, x, y: x.__itruediv__(y),
    "pow_": lambda _, x, y: x.pow_(y),
    "atan2_": lambda _, x, y: x.atan2_(y),
    "lt_": lambda _, x, y: x.lt_(y),
    "lerp_": lambda _, x, y: x.lerp_(y, 0.25),
    "addcmul_": lambda _, x, y: x.addcmul_(y, y),
    "out=": lambda T, x, y: T.add(x, y, out=x),
    "copy_": lambda _, x, y: x.copy_(y),
    "[...] =": lambda _, x, y: x.__setitem__(..., y),
    "addmm_": lambda _, x, y: x.addmm_(y, y),
    "addr_": lambda _, x, y: x.addr_(y, y),
    "addmv_": lambda _, x, y: x[0].addmv_(x, y),
    "index_add_": lambda T, x, y: x.index_add_(0, T.tensor([0, 1, 2]), y.expand(3, 3)),
    "masked_scatter_": lambda _, x, y: x.masked_scatter_(x > 2, y.expand(3, 3)),
}
FREE = ("the columns behind", "the block behind", "the column beside", "the diagonal",
        "the same block", "a row, to a column", "the other columns")  # fmt: skip
SAME = ("add_", "mul_", "copy_", "[...] =", "pow_", "lerp_")


def written(T: Any, write: str, operands: Callable[[Any], tuple[Any, Any]], n: int) -> Any:
    """The whole memory after the write; None if it is refused."""
    x = ((T.arange(float(n * n)) * 7 + 3) % 11 + 0.5).reshape(n, n)
    try:
        WRITES[write](T, *operands(x))
    except (RuntimeError, IndexError):
        return None
    return x.numpy()


@pytest.mark.parametrize("write", WRITES)
def test_an_operand_that_is_a_part_of_what_is_written(write: str) -> None:
    for name, read in READ.items():
        found, expected = (written(T, write, lambda x: (x, read(x)), 3) for T in (ours, torch))  # noqa: B023
        if found is not None and expected is not None:
            np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)
        if write == "[...] =" and expected is not None:
            assert found is not None, name  # what is written with itself does no harm


@pytest.mark.parametrize("write", SAME)
@pytest.mark.parametrize("size", [4, 40])
def test_parts_with_gaps(write: str, size: int) -> None:
    """Refused are those that read what they have written, and no others."""
    for name, operands in PARTS.items():
        found, expected = (written(T, write, operands, size) for T in (ours, torch))
        assert (found is not None) == (name in FREE), name
        if found is not None:
            np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)
