"""Running sums, products and log-sums along one dimension, and differences of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import Array, NumpyDtype, default, from_numpy, is_floating, to_numpy
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.nodes import lasting
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.memory_order import in_order
from tinygrad_edu.kernels.more.running import accumulate
from tinygrad_edu.names import return_types
from tinygrad_edu.ops.arguments import (
    Dims,
    numpy_names,
    operand,
    raw,
    reduce_multiply,
    reduced,
    restore,
)
from tinygrad_edu.ops.casting import clone
from tinygrad_edu.ops.elementary import exp
from tinygrad_edu.ops.extrema import gate, weigh
from tinygrad_edu.ops.gathering import _gather
from tinygrad_edu.ops.indexing import _slice
from tinygrad_edu.ops.joining import _cat
from tinygrad_edu.ops.largest import same
from tinygrad_edu.ops.masking import where
from tinygrad_edu.ops.reduction import _reduction, sum
from tinygrad_edu.ops.shape import _flip
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim, read_dims

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


def _neighbours(x: Tensor, dim: int) -> tuple[Any, Any]:
    return _part(x, dim, slice(1, None)), _part(x, dim, slice(0, -1))


@numpy_names
def _diff_reads(
    input: Tensor, n: int = 1, dim: int = -1, prepend: object = None, append: object = None
) -> Any:
    """What `out` must not overlap in part: the last to be subtracted, if it is no copy."""
    if n == 0:
        return "same", [input]
    if n > 1 or prepend is not None or append is not None:
        return "any", []
    return "same", _neighbours(input, read_dim(dim, input.array.ndim))


@takes_out(
    dtype=lambda input, n=1, *_, **__: "any" if n else "same",
    overlap=_diff_reads,
)
@numpy_names
def diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Differences of neighbours, `x[i+1] - x[i]` along `dim`, taken `n` times.

    Args:
        prepend, append: tensors to join to the front and the end first.

    >>> import tinygrad_edu as torch
    >>> torch.diff(torch.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    ndim = operand("diff", input).ndim
    if not ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = read_dim(dim, ndim)
    if n == 0:
        return clone(input)
    parts: list[Any] = [part for part in (prepend, input, append) if part is not None]
    x: Tensor = _cat(parts, dim) if len(parts) > 1 else input
    for _ in range(n):
        later, earlier = _neighbours(x, dim)
        x = later ^ earlier if raw(x).dtype == bool else later - earlier
    return x


def _times(x: Any, factor: Any) -> Any:
    return x * factor if isinstance(factor, TensorBase) else lasting(x * factor)


def _over(x: Any, divisor: Any) -> Any:
    return x / divisor if isinstance(divisor, TensorBase) else lasting(x / divisor)


def _dimension(name: str, y: Any, x: Any, dim: int) -> int:
    """`dim` from the front; the errors of `trapezoid`."""
    shape = operand(name, y).shape
    if not shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    dim = read_dim(dim, len(shape))
    places = [x.array] if hasattr(x, "array") else []
    if any(a.dtype == bool for a in (y.array, *places)):
        which = "`x` or `y`" if places else "`y`"
        raise RuntimeError(f"{name}: received a bool input for {which}, but bool is not supported")
    if places and x.array.ndim == 1 and len(x.array) != shape[dim]:
        raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
    return dim


def _widths(y: Any, x: Any, dim: int) -> Any:
    """The widths of the strips between the places `x`, in a shape that goes with that of `y`."""
    ndim = y.array.ndim
    if x.array.ndim == 1:
        return diff(x).reshape((-1, *(1,) * (ndim - dim - 1)))
    return diff(x, dim=dim - ndim)


def _sums(y: Any, dim: int) -> Any:
    """The sums of neighbours."""
    return _part(y, dim, slice(1, None)) + _part(y, dim, slice(0, -1))


@numpy_names
def trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The integral of samples `y` along `dim` by the trapezoidal rule.

    Args:
        x: where the samples were taken; else they are `dx` apart.

    >>> import tinygrad_edu as torch
    >>> torch.trapezoid(torch.tensor([1.0, 2.0, 3.0]))
    tensor(4.)
    """

    shape = operand("trapezoid", y).shape
    if shape and not shape[read_dim(dim, len(shape))]:  # asked first of all, as in torch
        rest = list(shape)
        del rest[dim]
        return wrap(new_like(y.array, tuple(rest), 0))
    dim = _dimension("trapezoid", y, x, dim)
    if hasattr(x, "array"):
        return _over(sum(_sums(y, dim) * _widths(y, x, dim), dim), 2)
    # In torch's order, which decides what becomes of infinities: all, less half of both ends.
    before = (slice(None),) * dim
    ends = _slice(y, (*before, 0)) + _slice(y, (*before, -1))
    return _times(sum(y, dim) - _times(ends, 0.5), dx if x is None else x)


@numpy_names
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The running integral of `trapezoid`."""
    dim = _dimension("cumulative_trapezoid", y, x, dim)
    if hasattr(x, "array"):
        return _over(cumsum(_sums(y, dim) * _widths(y, x, dim), dim), 2)
    return cumsum(_times(_over(_sums(y, dim), 2), dx if x is None else x), dim)


@numpy_names
def gradient(
    input: Tensor,
    *,
    spacing: Any = None,
    dim: int | Sequence[int] | None = None,
    edge_order: int = 1,
) -> tuple[Tensor, ...]:
    """The slope of samples along each dimension, by central differences.

    Args:
        spacing: the distance of neighbours, 1 if None: a number, one per dimension, or for each
            dimension a vector of places.
        dim: one dimension or several; all if None.
        edge_order: whether the slopes at both ends are of one difference (1) or of two (2).

    >>> import tinygrad_edu as torch
    >>> torch.gradient(torch.tensor([1.0, 4.0, 9.0]))
    (tensor([3., 4., 5.]),)
    """
    shape = operand("gradient", input).shape
    dims = range(len(shape)) if dim is None else read_dims(dim, len(shape))
    several = isinstance(spacing, (list, tuple))
    steps = list(spacing) if several else [1 if spacing is None else spacing] * len(dims)
    if len(steps) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or a list of length equal"
            f" to 'self.dim() = {len(dims)}', since dim argument was not given, but got a list of"
            f" length {len(steps)}"
            if dim is None
            else "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and"
            f" dim arguments to have the same length, but got a spacing argument of length"
            f" {len(steps)} and a dim argument of length {len(dims)}."
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if any([shape[d] <= edge_order for d in dims]):
        raise RuntimeError(
            "torch.gradient expected each dimension size to be at least edge_order+1"
        )
    x = input if is_floating(input.array.dtype) else input.to(from_numpy(default()))
    return tuple([_slope(x, h, d, edge_order) for h, d in zip(steps, dims, strict=True)])


def _slope(x: Any, h: Any, dim: int, edge_order: int) -> Tensor:
    """Differences of the neighbours on both sides; at the ends, of one side."""
    even = not (isinstance(h, TensorBase) and h.array.ndim)
    gaps: Any = None if even else diff(h).reshape((-1, *(1,) * (x.array.ndim - dim - 1)))

    def at(start: int | None, stop: int | None) -> Any:
        return _part(x, dim, slice(start, stop))

    if even:
        middle = _over(at(2, None) - at(None, -2), 2 * h)
    else:
        left, right = gaps[:-1], gaps[1:]
        middle = _weighted(at(None, -2), at(1, -1), at(2, None), left, right)
    near, far = (h, h) if even else (gaps[:1], gaps[1:2])
    first = _at_end(at(0, 1), at(1, 2), at(2, 3), near, far, edge_order)
    near, far = (h, h) if even else (gaps[-1:], gaps[-2:-1])
    last = -_at_end(at(-1, None), at(-2, -1), at(-3, -2), near, far, edge_order)
    joined: Tensor = _cat([first, middle, last], dim)
    return joined


def _weighted(a: Tensor, b: Tensor, c: object, left: Any, right: Any) -> Any:
    """The slope at b of the parabola through three samples, `left` and `right` apart."""
    both = left + right
    of_a, of_b, of_c = right / (left * both), (right - left) / (left * right), left / (right * both)
    return b * of_b - a * of_a + c * of_c


def _at_end(a: Tensor, b: Any, c: object, near: Any, far: Any, edge_order: int) -> Any:
    """The slope at the first of three samples: of two of them, or of the parabola through all."""
    if edge_order == 1:
        return _over(b - a, near)
    both = near + far
    ends = _times(a, (near + both) / (near * both)) + _times(c, near / (far * both))
    return _times(b, both / (near * far)) - ends


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
