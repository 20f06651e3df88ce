"""What the rows of the operations table cannot say of reductions: dims, dtypes, rounding, zeros."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import beside_torch, close, numbers, ours, same_error, torch

INF, NAN = math.inf, math.nan
OVER_DIMS: dict[str, Callable[..., Any]] = {
    "sum": lambda x, **k: x.sum(**k),
    "mean": lambda x, **k: x.mean(**k),
    "var": lambda x, **k: x.var(**k),
    "std": lambda x, **k: x.std(correction=0, **k),
    "amax": lambda x, **k: x.amax(**k),
    "amin": lambda x, **k: x.amin(**k),
    "norm": lambda x, **k: x.norm(3, **k),
    "nansum": lambda x, **k: x.nansum(**k),
}
DIMS = [None, (), 0, -1, (0,), (0, 2), (-1, 1), [0, 1, 2], (2, 0)]


@pytest.mark.parametrize("name", OVER_DIMS)
@pytest.mark.parametrize("dim", DIMS, ids=repr)
@pytest.mark.parametrize("keepdim", [False, True])
def test_dims(name: str, dim: Any, keepdim: bool) -> None:
    """Every way to name dimensions; gradients and second derivatives."""
    if dim == () and name in ("var", "std"):
        pytest.skip("torch's gradient is wrong there: it divides by 1 instead of n")
    x = np.random.standard_normal((2, 3, 4))
    beside_torch(lambda T, x: OVER_DIMS[name](x, dim=dim, keepdim=keepdim), x)
    beside_torch(lambda T, x: OVER_DIMS[name](x.mT, dim=dim, keepdim=keepdim), x, second=False)


@pytest.mark.parametrize("name", [*OVER_DIMS, "any", "all", "max", "argmax", "cumsum", "logsumexp"])
@pytest.mark.parametrize(("shape", "dim"), [((2, 3), 2), ((2, 3), -3), ((), 1), ((), -2)])
def test_dims_that_are_not_there(name: str, shape: Any, dim: int) -> None:
    same_error(lambda T: getattr(T.zeros(shape), name)(dim=dim))


@pytest.mark.parametrize("name", ["sum", "mean", "var", "amax", "logsumexp", "norm", "any"])
def test_dims_named_twice(name: str) -> None:
    same_error(lambda T: getattr(T.zeros(2, 3), name)(dim=(0, 0)))


def test_numpy_keywords() -> None:
    beside_torch(lambda T, x: x.sum(axis=0, keepdims=True), np.ones((2, 3)))
    beside_torch(lambda T, x: T.std(x, axis=1), np.eye(3))


ZERO_D = ["sum", "mean", "prod", "any", "all", "amax", "argmin", "logsumexp", "norm", "cumsum"]


@pytest.mark.parametrize("name", ZERO_D)
@pytest.mark.parametrize("dim", [0, -1])
def test_zero_dimensional(name: str, dim: int) -> None:
    for value in (2.0, 0.0):
        a, b = (getattr(T.tensor(value), name)(dim=dim) for T in (ours, torch))
        close(a, b, "float32", name)


KINDS = ["bool", "uint8", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["sum", "prod", "mean", "any", "all", "amax", "var", "nansum", "norm", "count_nonzero"]
)
def test_dtypes(name: str, kind: str) -> None:
    """The result's dtype is torch's; where torch refuses, so do we, in its words."""
    values = [[1, 0, 2], [3, 1, 1]]

    def run(T: Any) -> Any:
        return getattr(T.tensor(values).to(getattr(T, kind)), name)()

    try:
        expected = run(torch)
    except RuntimeError:
        same_error(run)
    else:
        assert repr(run(ours).dtype) == repr(expected.dtype)
        np.testing.assert_allclose(numbers(run(ours)), numbers(expected), rtol=1e-3)


@pytest.mark.parametrize("kind", ["float32", "float64", "int64"])
@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "cumprod"])
def test_dtype_argument(name: str, kind: str) -> None:
    for start in ("int32", "float32", "bool"):
        a, b = (
            getattr(T.tensor([1, 0, 1]).to(getattr(T, start)), name)(0, dtype=getattr(T, kind))
            for T in (ours, torch)
        )
        close(a, b, "float32", name)


def test_float32_sums_stay_accurate() -> None:
    """A million equal numbers, along the dimension that NumPy adds row after row."""
    x = ours.full((1_000_000, 3), 0.1)
    exact = 1e6 * float(np.float32(0.1))
    for total in (x.sum(0), x.mT.sum(1), x.mT.contiguous().sum(1)):
        np.testing.assert_allclose(total.numpy(), exact, rtol=3e-6)
    np.testing.assert_allclose(x.mean(0, keepdim=True).numpy(), [[exact / 1e6] * 3], rtol=3e-6)
    shuffled = np.random.rand(3, 5001, 2).astype("float32")
    found = ours.tensor(shuffled).sum((0, 1)).numpy()
    np.testing.assert_allclose(found, shuffled.astype("float64").sum((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(float(ours.full((5000,), 7.0).half().sum()), 35000, rtol=1e-3)
    np.testing.assert_allclose(x[:, 0].cumsum(0)[-1].item(), exact, rtol=1e-6)


ZEROS = [[2.0, 3.0, 4.0], [0.0, 3.0, 4.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 5.0]]


@pytest.mark.parametrize("values", ZEROS, ids=str)
def test_products_with_zeros(values: list[float]) -> None:
    """Gradients of prod and cumprod are right, twice, where dividing by x is not."""
    beside_torch(lambda T, x: x.prod(), values)
    beside_torch(lambda T, x: x.cumprod(0), values)
    rows = [values, values[::-1], [1.0, 2.0, 0.5]]
    for dim in (0, 1):
        beside_torch(lambda T, x, d=dim: x.prod(d, keepdim=True), rows)
        beside_torch(lambda T, x, d=dim: x.cumprod(d), rows)


def test_logsumexp_of_infinities() -> None:
    for values in ([-INF, -INF], [INF, 1.0], [-INF, 2.0], [NAN, 1.0], [1e4, 1e4], [-1e4, -1e4]):
        beside_torch(lambda T, x: x.logsumexp(0), values, second=False)
    for f in (lambda T, x: x.logsumexp((0, 1)), lambda T, x: x.logsumexp(0, keepdim=True)):
        beside_torch(f, np.random.standard_normal((3, 4)) * 50)
    close(ours.arange(3).logsumexp(0), torch.arange(3).logsumexp(0), "float32", "of ints")


def test_logcumsumexp_of_large_numbers() -> None:
    """Where `exp` overflows, and where everything so far is -inf."""
    beside_torch(lambda T, x: x.logcumsumexp(0), [800.0, -900.0, 1000.0, 999.0], second=False)
    x = ours.tensor([-INF, -INF, 1.0], requires_grad=True)
    x.logcumsumexp(0)[2].backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, -1, INF, -INF, "fro"])
def test_norms(p: Any) -> None:
    """All orders; the gradient is 0 at the zero vector, and shared where values tie."""
    x = np.random.standard_normal((3, 4))
    close(ours.tensor(x).norm(p, 0), torch.tensor(x).norm(p, 0), "float64", "value")
    if p == 0:
        return  # torch says None where we say zeros
    beside_torch(lambda T, x: T.norm(x, p, dim=1), x)
    for values in ([0.0, 0.0, 0.0], [1.0, -1.0, 0.5], [0.0, -2.0, 2.0]):
        for dtype in ("float64", "float32"):
            beside_torch(lambda T, x: T.norm(x, p), values, second=False, dtype=dtype)


def test_norm_errors() -> None:
    for run in (
        lambda T: T.norm(T.arange(3)),
        lambda T: T.linalg.vector_norm(T.zeros(0), INF),
        lambda T: T.norm(T.zeros(2), dtype=T.float16),
        lambda T: T.linalg.matrix_norm(T.zeros(3)),
        lambda T: T.linalg.norm(T.zeros(2, 2), 3),
        lambda T: T.norm(T.zeros(2, 2), "abc"),
    ):
        same_error(run)


@pytest.mark.parametrize("order", ["nuc", 2, -2])
def test_norms_by_singular_values(order: Any) -> None:
    values = np.random.default_rng(0).standard_normal((4, 3))
    beside_torch(lambda T, x: T.linalg.matrix_norm(x, order), values, second=False)


CORRECTIONS = [{"unbiased": False}, {"unbiased": True}, {"correction": 2}, {"correction": 0.5}, {}]


@pytest.mark.parametrize("given", CORRECTIONS, ids=str)
def test_corrections(given: dict[str, Any]) -> None:
    x = np.random.standard_normal((3, 4))
    for name in ("var", "std"):
        beside_torch(lambda T, x, n=name: getattr(T, n)(x, dim=0, **given), x)
    for name in ("var_mean", "std_mean"):
        pairs = [getattr(T, name)(T.tensor(x), **given) for T in (ours, torch)]
        for a, b in zip(*pairs, strict=True):
            close(a, b, "float64", name)
    beside_torch(lambda T, x: x.var(False), x)
    same_error(lambda T: T.zeros(2).var(0, unbiased=True, correction=1), "both")


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_too_few_elements() -> None:
    for correction, n in itertools.product((0, 1, 2, 3), (1, 2)):
        beside_torch(lambda T, x, c=correction: x.var(0, correction=c), np.ones(n), second=False)
    for name in ("sum", "mean", "prod", "var", "std", "any", "all", "nansum", "norm"):
        for shape, dim in (((0,), 0), ((2, 0), 1), ((2, 0), 0)):
            a, b = (getattr(T.zeros(shape), name)(dim=dim) for T in (ours, torch))
            close(a, b, "float32", f"{name} of {shape}")
    for name in ("max", "min", "amax", "argmax", "median"):
        same_error(lambda T, n=name: getattr(T.zeros(2, 0), n)(dim=1))
    for name in ("max", "amax", "argmax", "aminmax"):
        same_error(lambda T, n=name: getattr(T.zeros(0), n)())


def test_no_degrees_of_freedom() -> None:
    for x in (ours.ones(1), ours.zeros(0)):
        with (
            np.errstate(all="ignore"),
            pytest.warns(UserWarning, match=r"std\(\): degrees of freedom is <= 0"),
        ):
            x.std()


def test_weighted_covariance() -> None:
    x, n, w = np.random.standard_normal((2, 4)), np.array([1, 2, 1, 3]), np.random.rand(4)
    beside_torch(lambda T, x, n: T.cov(x, fweights=n), x, constants=[n])
    beside_torch(lambda T, x, w: T.cov(x, aweights=w), x, constants=[w])
    beside_torch(lambda T, x, n, w: T.cov(x, fweights=n, aweights=w), x, constants=[n, w])
    beside_torch(lambda T, x: T.cov(x, correction=0), x[0])


def test_not_a_tensor() -> None:
    for name in ("sum", "mean", "prod", "var", "amax", "argmax", "any", "cumsum", "logsumexp"):
        with pytest.raises(TypeError, match=r"must be Tensor, not list"):
            getattr(ours, name)([1.0], 0)
