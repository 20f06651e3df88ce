"""Running sums, products, log-sums and extremes along one dimension, and whole products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, NumpyDtype, from_numpy, is_floating, to_numpy
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.memory_order import in_order
from tinygrad_edu.kernels.more.running import accumulate
from tinygrad_edu.names import return_types
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops.arguments import (
    Dims,
    numpy_names,
    operand,
    raw,
    reduce_multiply,
    reduced,
    restore,
)
from tinygrad_edu.ops.elementary import exp
from tinygrad_edu.ops.extrema import gate, weigh
from tinygrad_edu.ops.gathering import _gather
from tinygrad_edu.ops.indexing import _slice
from tinygrad_edu.ops.joining import _cat
from tinygrad_edu.ops.largest import same
from tinygrad_edu.ops.masking import where
from tinygrad_edu.ops.reduction import _reduction
from tinygrad_edu.ops.shape import _flip
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import Dtype
    from tinygrad_edu.tensor import Tensor


def _part(x: Tensor, dim: int, part: slice) -> Any:
    return _slice(x, (slice(None),) * dim + (part,))


def _running(x: Array, dim: int, dtype: NumpyDtype | None, method: str) -> Array:
    """cumsum or cumprod; floats are accumulated in float64, for every step rounds."""
    target = dtype or (x.dtype if is_floating(x.dtype) else np.dtype(np.int64))
    wide = np.dtype(np.float64) if is_floating(target) else target
    if not x.ndim:
        return x.astype(target)
    if target.kind == "b" and x.size:
        raise NotImplementedError(f"\"{method}_out_cpu\" not implemented for 'Bool'")
    x, dim = x.astype(target, copy=False), read_dim(dim, x.ndim)
    if wide == target:
        return in_order(getattr(x, method)(dim, dtype=target))
    y = x.astype(wide)
    return in_order(getattr(y, method)(dim, out=y).astype(target))


@primitive
def _cumsum(x: Array, dim: int, dtype: NumpyDtype | None) -> Array:
    return _running(x, dim, dtype, "cumsum")


def reverse_cumsum(g: Tensor, dim: int) -> Tensor:
    """The sum of each element and all after it."""
    if not len(g.shape):
        return g
    dim = read_dim(dim, len(g.shape))
    return _flip(_cumsum(_flip(g, (dim,)), dim, None), (dim,))


_cumsum.vjp(x=lambda g, dim: reverse_cumsum(g, dim))


@takes_out(dtype="asked", overlap="same")
@numpy_names
@composed(autocast={"cuda": "float32"})
def cumsum(input: Tensor, dim: int, *, dtype: Dtype = None) -> Tensor:
    """Running sum: `y[i] = x[0] + ... + x[i]` along `dim`.

    Args:
        dtype: cast to this first; integers and bools become int64 unless it is given.

    >>> import tinygrad_edu as torch
    >>> torch.cumsum(torch.tensor([1.0, 2.0, 3.0]), 0)
    tensor([1., 3., 6.])
    """
    dim = read_dim(dim, operand("cumsum", input).ndim)
    return _cumsum(input, dim, None if dtype is None else to_numpy(dtype))


@primitive
def linear_scan(b: Array, a: Array, dim: int) -> Array:
    """`s[0] = b[0]`, then `s[i] = b[i] + a[i] * s[i-1]` along `dim`: a step at a time.

    A factor of 0 cuts off what came before, be it infinite.
    """
    s = np.moveaxis(b.copy(), dim, 0)
    factors = np.moveaxis(a, dim, 0)
    for i in range(1, len(s)):
        s[i] += np.where(factors[i] == 0, 0, factors[i] * s[i - 1])
    return np.moveaxis(s, 0, dim)


def _scan_back(g: Tensor, a: Tensor, dim: int) -> Tensor:
    """The gradient of b: `t[i] = g[i] + a[i+1] * t[i+1]`, a scan from the end."""
    flipped = _flip(_cat([_part(a, dim, slice(1, None)), _part(a, dim, slice(0, 1))], dim), (dim,))
    return _flip(linear_scan(_flip(g, (dim,)), flipped, dim), (dim,))


def _behind(x: Any, dim: int, first: Any) -> Tensor:
    """`x` moved on by one place, `first` (np.ones_like or np.zeros_like) in front."""
    front = first(raw(_part(x, dim, slice(0, 1))))
    return _cat([front, _part(x, dim, slice(0, -1))], dim)


linear_scan.vjp(
    b=lambda g, a, dim: _scan_back(g, a, dim),
    a=lambda g, a, y, dim: _scan_back(g, a, dim) * _behind(y, dim, np.zeros_like),
)


@primitive
def _cumprod(x: Array, dim: int, dtype: NumpyDtype | None) -> Array:
    return _running(x, dim, dtype, "cumprod")


@primitive
def _settled(x: Array, dim: int) -> Array:
    """The running product; 0 from the first 0 on, whatever comes after it."""
    y = _running(x, dim, None, "cumprod")
    y[accumulate(np.logical_or, x == 0, dim)] = 0
    return y


def exclusive_cumprod(x: Tensor, dim: int) -> Tensor:
    """`y[i] = x[0] * ... * x[i-1]` along `dim`; `y[0] = 1`."""
    return _cumprod(_behind(x, dim, np.ones_like), dim, None)


def _cumprod_gradient(g: Tensor, x: Tensor, y: Tensor, dim: int) -> Tensor:
    """`gx[k]` is the sum over i >= k of `g[i] * y[i] / x[k]`; where x has zeros, without dividing.

    With s[k] = g[k] + x[k+1] * s[k+1], it is `s[k]` times the product of all before k.
    """
    if not len(g.shape):
        return g
    if not (raw(x) == 0).any():
        return reverse_cumsum(g * y, dim) / x
    before = _settled(_behind(x, dim, np.ones_like), dim)
    return weigh(_scan_back(g, x, dim), before)


_cumprod.vjp(x=lambda g, x, y, dim: _cumprod_gradient(g, x, y, dim))
_settled.vjp(x=lambda g, x, y, dim: _cumprod_gradient(g, x, y, dim))


@takes_out(dtype="asked", overlap="same")
@numpy_names
@composed(autocast={"cuda": "float32"})
def cumprod(input: Tensor, dim: int, *, dtype: Dtype = None) -> Tensor:
    """Running product: `y[i] = x[0] * ... * x[i]` along `dim`.

    Its gradient is right where elements are 0, too.

    >>> import tinygrad_edu as torch
    >>> torch.cumprod(torch.tensor([1, 2, 3]), 0)
    tensor([1, 2, 6])
    """
    dim = read_dim(dim, operand("cumprod", input).ndim)
    return _cumprod(input, dim, None if dtype is None else to_numpy(dtype))


@primitive
def _logcumsumexp(x: Array, dim: int) -> Array:
    if not is_floating(x.dtype):
        raise NotImplementedError(f'"logcumsumexp" not implemented for {from_numpy(x.dtype)!r}')
    if not x.ndim:
        return x.copy()
    return accumulate(np.logaddexp, x, dim)


def _logcumsumexp_gradient(g: Tensor, x: Tensor, y: Tensor, dim: int) -> Any:
    """`gx[k] = sum over i >= k of g[i] * exp(x[k] - y[i])`.

    `exp(x[k] - y[i])` is at most 1, but `exp(-y[i])` alone may overflow.  So it is taken in steps
    that are each at most 1: with t[i] = g[i] + exp(y[i] - y[i+1]) * t[i+1], it is
    `exp(x[k] - y[k]) * t[k]`.
    """
    if not len(g.shape):
        return g
    steps = exp(_part(y, dim, slice(0, -1)) - _part(y, dim, slice(1, None)))
    none = np.isneginf(raw(y))  # nothing so far: nothing flows back
    steps = _cat([np.zeros_like(raw(_part(g, dim, slice(0, 1)))), steps], dim)
    steps = _mask(steps, np.isnan(raw(steps)))
    return _mask(exp(x - y), none) * _scan_back(g, steps, dim)


def _mask(x: Any, mask: Array) -> Any:

    return where(mask, 0.0, x) if mask.any() else x


_logcumsumexp.vjp(x=lambda g, x, y, dim: _logcumsumexp_gradient(g, x, y, dim))


@takes_out(overlap="same")
@numpy_names
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """`y[i] = log(exp(x[0]) + ... + exp(x[i]))` along `dim`, without overflow.

    >>> import tinygrad_edu as torch
    >>> torch.logcumsumexp(torch.tensor([0.0, 0.0]), 0)
    tensor([0.0000, 0.6931])
    """
    return _logcumsumexp(input, read_dim(dim, operand("logcumsumexp", input).ndim))


@primitive(node=_reduction("Prod"))
def _prod(x: Array, dims: Dims, keepdim: bool, dtype: NumpyDtype | None) -> Array:
    if dtype is None and not is_floating(x.dtype):
        dtype = np.dtype(np.int64)
    return in_order(reduce_multiply(x, axis=dims, dtype=dtype, keepdims=keepdim))


def _prod_gradient(g: Tensor, x: Any, y: Tensor, dims: Dims, keepdim: bool) -> Any:
    """`g` times the product of all other elements, which is `y / x` if no element is 0.

    Of two zeros among all elements, each stops whatever is not finite, as in torch.
    """
    if not x.shape:
        return g
    zeros = int((raw(x) == 0).sum())
    g = restore(g, x.shape, dims, keepdim)
    if not zeros:
        return g * (restore(y, x.shape, dims, keepdim) / x)
    along = x.reshape((-1,)) if dims is None else x
    dim = 0 if dims is None else dims[0]
    before = exclusive_cumprod(along, dim)
    after = _flip(exclusive_cumprod(_flip(along, (dim,)), dim), (dim,))
    others = (before * after).reshape(x.shape)
    if dims is None and zeros > 1:
        return weigh(g, gate(others, np.isfinite(raw(others))))
    return g * others


_prod.vjp(x=_prod_gradient)


@takes_out(dtype="asked")
@numpy_names
@composed(autocast="float32")
def prod(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product over one dimension, or over all; of integers and bools as int64.

    Its gradient is right where elements are 0, too.

    >>> import tinygrad_edu as torch
    >>> torch.prod(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1)
    tensor([ 2., 12.])
    """
    if isinstance(dim, (tuple, list)):
        raise TypeError(f"prod(): argument 'dim' must be int, not {type(dim).__name__}")
    dims = reduced(dim, operand("prod", input).ndim)
    return _prod(input, dims, keepdim, None if dtype is None else to_numpy(dtype))


@takes_out
@numpy_names
def cummax(input: Tensor, dim: int) -> Any:
    """The largest element so far along `dim`, and where it last occurred.

    >>> import tinygrad_edu as torch
    >>> torch.cummax(torch.tensor([1, 3, 2, 3]), 0).indices
    tensor([0, 1, 1, 3])
    """
    return return_types.cummax(*_running_extreme(np.maximum, input, dim))


@takes_out
@numpy_names
def cummin(input: Tensor, dim: int) -> Any:
    """The smallest element so far along `dim`, and where it last occurred."""
    return return_types.cummin(*_running_extreme(np.minimum, input, dim))


def _running_extreme(ufunc: Any, input: Any, dim: int) -> tuple[Any, Any]:
    """The running extreme and the place of its last occurrence so far."""
    x = operand(f"cum{ufunc.__name__[:3]}", input)
    dim = read_dim(dim, x.ndim)
    if not x.ndim or not x.size:
        return input.clone(), wrap(np.zeros_like(x, dtype=np.int64))
    hit = same(x, accumulate(ufunc, x, dim))
    steps = np.ones_like(x, dtype=np.int64).cumsum(dim) - 1  # 0, 1, 2, ... along dim
    index = accumulate(np.maximum, hit * steps, dim)
    places = wrap(index)
    return _gather(input, dim, places), places


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.differences")
