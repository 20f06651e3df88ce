"""Variance, standard deviation and quantiles."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import Array, get_default_dtype, is_floating, scalar_type_name
from tinygrad_edu.engine.composed import composed, of_tensors
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.ops.arguments import (
    Dims,
    count,
    numpy_names,
    operand,
    plain,
    raw,
    reduced,
    restore,
)
from tinygrad_edu.ops.extrema import gate
from tinygrad_edu.ops.gathering import _gather
from tinygrad_edu.ops.matmul import matmul
from tinygrad_edu.ops.more.sorting import sort
from tinygrad_edu.ops.more.weighted import lerp
from tinygrad_edu.ops.reduction import _mean, add_up, mean, sum
from tinygrad_edu.ops.shape import movedim, reshape
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _variance(x: Array, dims: Dims, keepdim: bool, correction: float) -> Array:
    """In float64 if x is of float32: equal elements have none, and no square overflows."""
    if x.dtype == np.float32:
        x = x.astype(np.float64)
    n = count(x.shape, dims)
    off = x - np.true_divide(add_up(x, dims, True), n)
    total = add_up(np.multiply(off, off, out=off) if off.ndim else off * off, dims, keepdim)
    return np.true_divide(total, max(n - correction, 0))


@primitive
def _var(x: Array, dims: Dims, keepdim: bool, correction: float) -> Array:
    return _variance(x, dims, keepdim, correction).astype(x.dtype, copy=False)


def _var_gradient(g: Tensor, x: Tensor, dims: Dims, keepdim: bool, correction: float) -> Any:
    """`2 g (x - mean) / (n - correction)`."""
    g, off = restore(g, x.shape, dims, keepdim), x - _mean(x, dims, True, None)
    freedom = count(x.shape, dims) - correction
    if not freedom:  # 2 / 0 is inf: torch marks what lies off the mean with it
        return g * np.where(raw(off) == 0, math.nan, math.inf).astype(raw(x).dtype)
    return g * (2 / freedom) * off


_var.vjp(x=lambda g, x, dims, keepdim, correction: _var_gradient(g, x, dims, keepdim, correction))


@primitive
def _std(x: Array, dims: Dims, keepdim: bool, correction: float) -> Array:
    return np.sqrt(_variance(x, dims, keepdim, correction)).astype(x.dtype, copy=False)


def _std_gradient(
    g: Tensor, x: Tensor, y: Tensor, dims: Dims, keepdim: bool, correction: float
) -> Any:
    """That of var, divided by `2 y`; 0 where y is 0, for there all elements are equal."""
    zero = raw(y) == 0
    return _var_gradient(gate(g / ((y + zero) * 2), ~zero), x, dims, keepdim, correction)


_std.vjp(
    x=lambda g, x, y, dims, keepdim, correction: _std_gradient(g, x, y, dims, keepdim, correction)
)


def _read(
    name: str, input: Any, dim: int | None, unbiased: bool | None, correction: Any
) -> tuple[Dims, float]:
    """The dimensions and the correction that torch's overloads mean."""
    x = operand(name, input)
    if isinstance(dim, bool):  # var(x, False)
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}() takes either unbiased or correction, not both")
    if not is_floating(x.dtype):
        raise RuntimeError("std and var only support floating point and complex dtypes")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    dims = reduced(dim, x.ndim)
    if count(x.shape, dims) <= correction:
        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the"
            " reduction factor (input numel divided by output numel).",
            stacklevel=4,
        )
    return dims, plain(correction)


@takes_out(dtype="any")
@numpy_names
def var(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False,
    *, correction: Any = None,
) -> Tensor:  # fmt: skip
    """The mean squared distance from the mean: `sum((x - mean)**2) / (n - correction)`.

    Args:
        dim, keepdim: as in `sum`.
        correction: 1 unless given, which makes the estimate from a sample unbiased.
        unbiased: True for a correction of 1, False for 0.

    Raises:
        RuntimeError: the elements are not floats.

    >>> import tinygrad_edu as torch
    >>> torch.var(torch.tensor([1.0, 3.0]))
    tensor(2.)
    """
    dims, correction = _read("var", input, dim, unbiased, correction)
    return _var(input, dims, keepdim, correction)


@takes_out(dtype="any")
@numpy_names
def std(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False,
    *, correction: Any = None,
) -> Tensor:  # fmt: skip
    """The square root of `var`; its gradient is 0 where all elements are equal.

    >>> import tinygrad_edu as torch
    >>> torch.std(torch.tensor([1.0, 3.0]), unbiased=False)
    tensor(1.)
    """
    dims, correction = _read("std", input, dim, unbiased, correction)
    return _std(input, dims, keepdim, correction)


@numpy_names
def var_mean(
    input: Any, dim: int | Sequence[int] | None = None, unbiased: bool | None = None,
    keepdim: bool = False, *, correction: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`(var(x), mean(x))`."""
    variance = var(input, dim, unbiased, keepdim, correction=correction)
    return variance, mean(input, None if isinstance(dim, bool) else dim, keepdim)


@numpy_names
def std_mean(
    input: Any, dim: int | Sequence[int] | None = None, unbiased: bool | None = None,
    keepdim: bool = False, *, correction: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`(std(x), mean(x))`."""
    deviation = std(input, dim, unbiased, keepdim, correction=correction)
    return deviation, mean(input, None if isinstance(dim, bool) else dim, keepdim)


@of_tensors
def cov(
    input: Tensor, *, correction: int = 1, fweights: Any = None, aweights: Any = None
) -> Tensor:
    """The covariance matrix of variables (rows) over observations (columns).

    Args:
        input: (variables, observations), or (observations,) for one variable.
        correction: as in `var`.
        fweights: how often each observation was made, ints.
        aweights: how much each observation counts.

    >>> import tinygrad_edu as torch
    >>> torch.cov(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    array = operand("cov", input)
    if array.ndim > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with"
            f" {array.ndim} dimensions"
        )
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is not None:
            _check_weights(name, weights.array, array.shape[-1] if array.ndim else 1)
    if not is_floating(array.dtype):
        input = input.to(get_default_dtype())
    x: Any = input.reshape(1, -1) if array.ndim < 2 else input
    w: Any = fweights if aweights is None else aweights
    if fweights is not None and aweights is not None:
        w = fweights * aweights
    if w is None:
        total: Any = array.shape[-1] if array.ndim else 1
        weighted = off = x - mean(x, 1, True)
        freedom = max(total - correction, 0)
    else:
        total = sum(w)
        off = x - sum(x * w, 1, True) / total
        weighted = off * w
        spent = 1 if aweights is None else sum(w * aweights) / total
        freedom = total - correction * spent
    y: Tensor = matmul(weighted, off.mT) / freedom
    return y.reshape(()) if y.array.size == 1 else y


def _check_weights(name: str, weights: Array, observations: int) -> None:
    """torch's refusals of weights of observations."""
    if weights.ndim > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with"
            f" {weights.ndim} dimensions"
        )
    if is_floating(weights.dtype) != (name == "aweights"):
        kind = "floating point" if name == "aweights" else "integral"
        raise RuntimeError(
            f"cov(): expected {name} to have {kind} dtype but got {name} with"
            f" {scalar_type_name(weights.dtype)} dtype"
        )
    if weights.size != observations:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the input"
            f" but got {weights.size} != {observations}"
        )
    if (weights < 0).any():
        raise RuntimeError(f"cov(): {name} cannot be negative")


@of_tensors
def corrcoef(input: Tensor) -> Tensor:
    """Pearson's correlation coefficients of variables (rows) over observations (columns).

    >>> import tinygrad_edu as torch
    >>> torch.corrcoef(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    c = cov(input)
    if not c.array.ndim:
        return c / c
    scale = c.diagonal() ** 0.5
    return (c / scale[:, None] / scale).clamp(-1, 1)


_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _levels(input: Array, q: Tensor, interpolation: str) -> Array:
    """The levels as an array of float64, after torch's checks."""
    if input.dtype not in (np.float32, np.float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if not input.size:
        raise RuntimeError("quantile() input tensor must be non-empty")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            "quantile() interpolation must be one of linear, lower, higher, midpoint or nearest,"
            f" but got {interpolation}"
        )
    if isinstance(q, TensorBase):
        if q.array.dtype != input.dtype:
            raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
        if q.array.ndim > 1:
            raise RuntimeError("quantile() q must be a scalar or 1D tensor")
        levels = q.array.astype(np.float64)
    else:
        if not 0 <= q <= 1:
            raise RuntimeError(f"quantile() q must be in the range [0, 1] but got {q:g}")
        levels = new_like(input, (), q, np.float64)
    if not ((levels >= 0) & (levels <= 1)).all():
        raise RuntimeError("quantile() q values must be in the range [0, 1]")
    return levels


def _quantile(
    input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip_nan: bool
) -> Tensor:
    levels = _levels(input.array, q, interpolation)
    shape = input.array.shape
    x: Any = input.reshape(-1) if dim is None or not shape else movedim(input, dim, -1)
    kept = [1] * len(shape)
    if dim is not None and shape:
        kept = [1 if i == read_dim(dim, len(shape)) else n for i, n in enumerate(shape)]
    ordered: Any = sort(x, -1)[0]  # nan comes last
    nans = np.isnan(x.array).sum(-1, keepdims=True)
    n = x.array.shape[-1]
    last = n - nans - 1 if skip_nan else np.where(nans > 0, 0, n - 1)
    rank = np.maximum(levels.reshape(-1) * last, 0)
    rank = np.where(nans > 0, n - 1, rank) if not skip_nan else np.where(nans == n, n - 1, rank)
    if interpolation == "nearest":
        rank = np.rint(rank)
    elif interpolation in ("lower", "higher"):
        rank = np.floor(rank) if interpolation == "lower" else np.ceil(rank)
    below, above = np.floor(rank).astype(np.int64), np.ceil(rank).astype(np.int64)
    low = _gather(ordered, -1, wrap(below))
    if interpolation in ("linear", "midpoint"):
        weight: Any = rank - below if interpolation == "linear" else (above > below) * 0.5
        weight = wrap(weight.astype(x.array.dtype))
        if getattr(q, "node", None) is not None and interpolation == "linear":
            slope = wrap(np.where(nans > 0, last if skip_nan else 0, last).astype(x.array.dtype))
            moving: Any = reshape(q, (-1,)) * slope
            weight = weight + (moving - moving.detach())  # the same number, with a history
        high: Any = _gather(ordered, -1, wrap(above))
        low = lerp(low, high, weight)
    result: Any = movedim(low, -1, 0)  # the levels come first
    rest = tuple(kept) if keepdim else tuple(x.array.shape[:-1])
    found: Tensor = result.reshape(levels.shape + rest)
    return found


@takes_out
@numpy_names
@composed(autocast={"cpu": "float32"})
def quantile(
    input: Tensor, q: Tensor, dim: int | None = None, keepdim: bool = False,
    *, interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """The value below which a share `q` of the elements lies.

    Args:
        input: float32 or float64; a row with a nan gives nan.
        q: a number in [0, 1], or a vector of them, which becomes the first dimension.
        dim: one dimension, or None for all elements.
        interpolation: what to take between two elements: "linear", "lower", "higher", "midpoint"
            or "nearest".

    Raises:
        RuntimeError: another dtype, no elements, `q` outside [0, 1].

    >>> import tinygrad_edu as torch
    >>> torch.quantile(torch.tensor([0.0, 1.0, 2.0, 3.0]), 0.5)
    tensor(1.5000)
    """
    return _quantile(input, q, dim, keepdim, interpolation, skip_nan=False)


@takes_out
@numpy_names
@composed(autocast={"cpu": "float32"})
def nanquantile(
    input: Tensor, q: Tensor, dim: int | None = None, keepdim: bool = False,
    *, interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """`quantile` of the elements that are not nan."""
    return _quantile(input, q, dim, keepdim, interpolation, skip_nan=True)
