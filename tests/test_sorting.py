"""What the rows of the operations table cannot say of sorting and counting: ties, nan, dtypes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from beside_torch import beside_torch, close, ours, same_error, torch

NAN = math.nan
WITH_NAN = np.array([[3.0, 1, 2, 3], [NAN, 0, NAN, 5], [2, 2, 1, 1]])
TIED = np.array([[1, 1, 2, 2, 3], [5, 4, 4, 5, 0]])


def both(run: Any, *arrays: Any) -> None:
    """All results of `run(library, *tensors)` are equal, and print alike."""
    a, b = (run(T, *[T.tensor(x) for x in arrays]) for T in (ours, torch))
    a, b = (r if isinstance(r, tuple) else (r,) for r in (a, b))
    assert len(a) == len(b)
    for mine, theirs in zip(a, b, strict=True):
        close(mine, theirs, "float64", repr(arrays))


@pytest.mark.parametrize("x", [WITH_NAN, TIED, TIED > 2, WITH_NAN.T.copy()[:, :0]], ids=str)
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
def test_sort(x: Any, dim: int, descending: bool) -> None:
    both(lambda T, x: T.sort(x, dim, descending), x)
    both(lambda T, x: x.sort(dim=dim, descending=descending, stable=True), x)
    both(lambda T, x: x.argsort(dim=dim, descending=descending, stable=True), x)


@pytest.mark.parametrize("x", [WITH_NAN, TIED], ids=str)
@pytest.mark.parametrize("name", ["max", "min", "cummax", "cummin", "median", "argmax", "argmin"])
def test_which_index_wins(name: str, x: Any) -> None:
    for dim in (0, 1):
        both(lambda T, x, d=dim: getattr(T, name)(x, d), x)
    if not name.startswith("cum"):
        both(lambda T, x: getattr(x, name)(), x)
        both(lambda T, x: getattr(x, name)(dim=1, keepdim=True), x)
    both(lambda T, x: T.mode(x), TIED)
    both(lambda T, x: T.nanmedian(x, 1), WITH_NAN)


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin", "median", "nanmedian"])
def test_ties_share_the_gradient(name: str) -> None:
    for values in ([2.0, 2.0, 1.0, 2.0], [0.0, 0.0], [NAN, 1.0, NAN], [math.inf, math.inf, 0.0]):
        beside_torch(lambda T, x: getattr(T, name)(x), values, second=False)
    for values in ([2.0, 1.0, 2.0, 1.0], [[1.0, 1.0], [3.0, 0.0]]):
        for run in (lambda T, x: x.max(0).values, lambda T, x: T.aminmax(x, dim=0).min):
            beside_torch(run, values, second=False)


def test_running_extremes_of_ties() -> None:
    """The gradient goes to the last of equals."""
    beside_torch(lambda T, x: x.cummax(0).values, [1.0, 3.0, 3.0, 2.0, 3.0])
    beside_torch(lambda T, x: x.cummin(1).values, [[1.0, 3.0, 0.0, 2.0, 0.0]])


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("k", [0, 1, 3, 7])
def test_topk(largest: bool, k: int) -> None:
    x = np.random.permutation(42).reshape(7, 6).astype("float64")
    both(lambda T, x: x.topk(k, 0, largest), x)
    beside_torch(lambda T, x: x.topk(k, dim=0, largest=largest).values, x)
    x[2, 3] = NAN
    both(lambda T, x: x.topk(k, 0, largest=largest, sorted=True), x)
    found = ours.tensor([1, 3, 3, 2, 3]).topk(2)
    assert found.values.tolist() == [3, 3] and set(found.indices.tolist()) < {1, 2, 4}


def test_zero_dimensional() -> None:
    for run in (
        lambda T: T.tensor(3.0).sort(),
        lambda T: T.tensor(3.0).max(0),
        lambda T: T.tensor(3.0).topk(1),
        lambda T: T.tensor(3.0).kthvalue(1),
        lambda T: T.tensor(3.0).median(0),
        lambda T: T.tensor(3.0).mode(),
        lambda T: T.tensor(3.0).cummax(0),
        lambda T: T.tensor(3.0).unique(),
        lambda T: T.tensor(3.0).quantile(0.5),
        lambda T: T.tensor(3.0).argsort(),
    ):
        both(run)
    beside_torch(lambda T, x: x.sort()[0] * x.max(0)[0] * x.median(0)[0] * x.topk(1)[0], 3.0)


def test_results_print_as_torchs() -> None:
    for run in (lambda T, x: x.max(0), lambda T, x: T.aminmax(x), lambda T, x: x.sort()):
        assert repr(run(ours, ours.tensor([2, 1]))) == repr(run(torch, torch.tensor([2, 1])))


@pytest.mark.parametrize("options", [{}, {"dim": 0}, {"dim": 1}], ids=str)
def test_unique(options: Any) -> None:
    every = {"return_inverse": True, "return_counts": True, **options}
    for x in (TIED, np.vstack([TIED, TIED[:1]]), TIED % 2, TIED.astype(float), TIED > 1):
        both(lambda T, x: T.unique(x, **every), x)
        both(lambda T, x: T.unique_consecutive(x, **every), x)
        both(lambda T, x: T.unique_consecutive(x, **options), x)
    both(lambda T, x: T.unique(x), WITH_NAN)
    both(lambda T, x: T.unique(x, return_inverse=True), np.zeros(0))


def test_searchsorted() -> None:
    rows = np.sort(np.random.rand(2, 5))
    both(lambda T, s, v: T.searchsorted(s, v), rows, np.random.rand(2, 3))
    both(lambda T, s, v: T.searchsorted(s, v, right=True), [1, 3, 3, 5], [[3, 6], [0, 5]])
    both(lambda T, s, v: T.searchsorted(s, v, side="right", out_int32=True), [1, 3], [3])
    both(lambda T, s, v, o: T.searchsorted(s, v, sorter=o), [5, 1, 3], [2, 9], [1, 2, 0])
    both(lambda T, s: T.searchsorted(s, 3), [1, 3, 5])
    both(lambda T, s: T.bucketize(2.0, s), [1.0, 2.0])
    same_error(lambda T: T.searchsorted(T.zeros(2, 3), T.zeros(3)))
    same_error(lambda T: T.searchsorted(T.zeros(3), T.zeros(3), side="x"))


def test_counting() -> None:
    both(lambda T, x: T.bincount(x, minlength=5), [1, 1, 3])
    both(lambda T, x, w: T.bincount(x, w), [1, 1, 3], [0.5, 0.25, 1.0])
    both(lambda T, x, w: x.bincount(weights=w), [1, 1, 3], [1, 2, 3])
    both(lambda T, x: T.bincount(x), np.zeros(0, "int64"))
    for bad in ([-1], [[1]]):
        same_error(lambda T, b=bad: T.bincount(T.tensor(b)))
    same_error(lambda T: T.bincount(T.tensor([1, 2]), T.tensor([1.0])))
    for options in ({"bins": 3}, {"bins": 4, "min": 1, "max": 3}, {}):
        both(lambda T, x, o=options: T.histc(x, **o), np.array([0.0, 1.0, 2.0, 3.0, 5.0]))
    both(lambda T, x: T.histc(x, 4), np.ones(3))
    same_error(lambda T: T.histc(T.ones(2), 3, 2, 1))
    same_error(lambda T: T.histc(T.tensor([NAN, 1.0]), 3), "is not finite")


@pytest.mark.parametrize("how", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantile(how: str) -> None:
    q = np.array([0.0, 0.21, 0.5, 0.9, 1.0])
    for x in (WITH_NAN, np.random.standard_normal((3, 5))):
        for dim in (None, 0, 1):
            for name in ("quantile", "nanquantile"):
                options: Any = {"dim": dim, "interpolation": how}
                both(lambda T, x, q, n=name, o=options: getattr(T, n)(x, q, **o), x, q)
    x = np.random.standard_normal((3, 5))
    beside_torch(lambda T, x: x.quantile(0.3, dim=1, keepdim=True, interpolation=how), x)
    same_error(lambda T: T.quantile(T.ones(3), 1.5))
    same_error(lambda T: T.quantile(T.ones(3), 0.5, interpolation="bad"))


def test_bad_input() -> None:
    for run in (
        lambda T: T.ones(3).topk(4),
        lambda T: T.ones(3).kthvalue(0),
        lambda T: T.ones(3).max((0, 1)),
        lambda T: T.ones(3).sort(2),
    ):
        same_error(run, "")
    with pytest.raises(RuntimeError, match="bool"):
        ours.ones(2).bool().argmax()
