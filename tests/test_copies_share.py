"""Deep copies of tensors that share memory share theirs, and nothing with the originals."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
from test_view_histories import VIEWS

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")
DTYPES = ("float32", "float64", "bfloat16", "float16", "int64", "bool")


def copied(T: Any, view: str, dtype: str, first: bool) -> Any:
    """What a deep copy of a tensor and a view shows when the copies are written."""
    x = T.tensor([[1, 0], [0, 1]]).to(getattr(T, dtype))
    v = VIEWS[view](x)
    a, b = copy.deepcopy([v, x] if first else [x, v])
    a.fill_(7)
    b[(0,) * b.dim()] = 0
    return [t.tolist() for t in (x, v, a, b)], b.stride(), b.is_contiguous()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_copy_of_views(dtype: str) -> None:
    for view, first in itertools.product(VIEWS, (True, False)):
        if view == "expand" and first:
            continue  # a fill of one writes a place twice
        found, expected = (copied(library, view, dtype, first) for library in (ours, torch))
        assert found == expected, (view, first)


def test_gradients_and_requests_are_copied() -> None:
    for T in (ours, torch):
        x = T.ones(3, requires_grad=True)
        (x * 2).sum().backward()
        a, b = copy.deepcopy([x, x])
        assert a is b and a is not x and a.requires_grad
        assert a.grad.tolist() == [2.0] * 3 and a.grad is not x.grad
