"""`scatter_reduce`: combine all that falls on one element, by sum, mean, product or extreme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import module_of
from tinygrad_edu.dtypes import Array, is_floating
from tinygrad_edu.engine.boundary import need_dtype_of, need_long, same_device
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import as_array, wrap
from tinygrad_edu.engine.versions import watched
from tinygrad_edu.ops.arguments import numpy_names, raw
from tinygrad_edu.ops.arithmetic import _div, floor_divide
from tinygrad_edu.ops.gathering import (
    _along,
    _check_index,
    _gather,
    _part,
    _scatter_add,
    check_source,
    in_corner,
)
from tinygrad_edu.ops.indexing import _index_put
from tinygrad_edu.ops.joining import zeros_beside
from tinygrad_edu.ops.masking import _where
from tinygrad_edu.ops.more.placing import _scatter, _scatter_multiply, scatter
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive(node="ScatterReduce")
def _scatter_extreme(
    x: Array, dim: int, index: Array, src: Array, largest: bool, include_self: bool
) -> Array:
    """The largest (or smallest) of what falls on an element, with what was there or without."""
    dim = _check_index("scatter_reduce", x, dim, index)
    worst = (-np.inf if largest else np.inf) if is_floating(x.dtype) else _bound(x.dtype, largest)
    y = as_array(x).copy()
    flat = _along(index.reshape(index.shape or 1), dim)
    target = y.reshape(y.shape or 1)
    if not include_self and index.size:
        target[flat] = worst
    if index.size:
        xp = module_of(target)  # np.maximum.at does not pass a tuple of indices on to CuPy
        (xp.maximum if largest else xp.minimum).at(target, flat, _part(src, index))
    return y


def _bound(dtype: Any, largest: bool) -> int:
    info = np.iinfo(dtype) if dtype.kind in "iu" else None
    if info is None:
        return not largest
    return info.min if largest else info.max


def _shares(
    g: Tensor, x: Any, dim: int, index: Any, src: Any, y: Tensor, include_self: bool
) -> Any:
    """The gradient of an extreme, shared evenly among all that equal it: for `x` and for `src`.

    By products, as in torch: of inf, those that lost get nan.
    """
    won = y == x
    if not include_self:
        won = won & (scatter(zeros_beside(x, tuple(x.shape)), dim, index, 1.0) == 0)
    part = src[tuple([slice(n) for n in index.shape])] if len(index.shape) else src
    tied = _gather(y, dim, index) == part
    won, tied = _where(won, 1.0, zeros_beside(g, ())), _where(tied, 1.0, zeros_beside(g, ()))
    share = g / _scatter_add(won, dim, index, tied)
    of_x = share * won if include_self else _scatter(share * won, dim, index, 0.0)
    return of_x, in_corner(_gather(share, dim, index) * tied, tuple(src.shape))


_scatter_extreme.vjp(
    x=lambda g, x, dim, index, src, y, include_self: _shares(
        g, x, dim, index, src, y, include_self
    )[0],
    src=lambda g, x, dim, index, src, y, include_self: _shares(
        g, x, dim, index, src, y, include_self
    )[1],
)


@primitive(node="ScatterReduce")
def _scatter_product(x: Array, dim: int, index: Array, src: Array) -> Array:
    return _scatter_multiply.primitive.forward(x, dim, index, src)


def _nonzero(x: Tensor) -> Tensor:
    return _where(x == 0, zeros_beside(x, ()) + 1, x)


def _factor_gradient(g: Tensor, x: Tensor, dim: int, index: Any, src: Any, y: Tensor) -> Tensor:
    """The product of all other factors: y / src; of a zero, what the others give without it.

    Of two zeros each has the other as a factor: that is 0, but its derivative is not.
    """
    part = src[tuple([slice(n) for n in index.shape])] if len(index.shape) else src
    zero, none = raw(part) == 0, zeros_beside(g, tuple(x.shape))
    hits = _gather(_scatter_add(none, dim, index, zero.astype(raw(g).dtype)), dim, index)
    without = _gather(g * _scatter_product(x, dim, index, _nonzero(part)), dim, index)
    each = _where(zero & raw(hits == 1), without, _gather(g * y, dim, index) / _nonzero(part))
    two = zero & raw(hits == 2)
    if two.any():
        own = _where(zero, part, zeros_beside(part, ()))
        other = _gather(_scatter_add(none, dim, index, own), dim, index) - own
        each = _where(two, without * other, each)
    return in_corner(each, tuple(src.shape))


_scatter_product.vjp(
    x=lambda g, x, dim, index, src: (
        g * _scatter_product(_nonzero(x), dim, index, src) / _nonzero(x)
    ),
    src=_factor_gradient,
)


@takes_out(overlap="first")
@numpy_names
def scatter_reduce(
    input: Any, dim: int, index: Any, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Combine what falls on each element: `src[i][j]` falls on [index[i][j]][j] (for `dim` 0).

    Args:
        reduce: "sum", "mean", "amax", "amin" or "prod".
        include_self: whether what was in `input` takes part.

    >>> import tinygrad_edu as torch
    >>> x, i = torch.zeros(2), torch.tensor([0, 0, 1])
    >>> x.scatter_reduce(0, i, torch.tensor([1.0, 3.0, 5.0]), "mean", include_self=False)
    tensor([2., 5.])
    """
    if reduce in ("amax", "amin"):
        return _scatter_extreme(input, dim, index, src, reduce == "amax", include_self)
    if reduce not in ("sum", "mean", "prod"):
        raise RuntimeError(
            "reduce argument must be either sum, prod, mean, amax or amin, got " + repr(reduce)
        )
    fill = 1 if reduce == "prod" else 0
    base = input if include_self else _scatter(input, dim, index, fill)
    if reduce == "prod":
        return _scatter_product(base, dim, index, src)
    total = _scatter_add(base, dim, index, src)
    if reduce == "sum":
        return total
    ones = np.ones_like(input.array, dtype=np.int64)
    counts = ones if include_self else _scatter.primitive.forward(ones, dim, index.array, 0)
    hits = np.ones_like(index.array, dtype=ones.dtype)
    counts = np.maximum(_scatter_add.primitive.forward(counts, dim, index.array, hits), 1)
    if is_floating(input.array.dtype):
        return _div(total, counts)
    return floor_divide(total, wrap(counts.astype(input.array.dtype)))


@takes_out(overlap="first")
@numpy_names
def index_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """Combine whole slices of `source` with those of `input` that the index names.

    Args:
        reduce: "mean", "amax", "amin" or "prod".
        include_self: whether what was in `input` takes part.
    """
    if reduce not in ("mean", "amax", "amin", "prod"):
        raise RuntimeError(
            "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got"
            f" {reduce}"
        )
    need_dtype_of("index_reduce_()", input.array, source.array)
    check_source("index_reduce", input.array, dim, index.array, source.array)
    place = read_dim(dim, input.array.ndim)
    shape = [1] * input.array.ndim
    if shape:
        shape[place] = -1
    shaped = index.array.reshape(shape)
    full = wrap(np.broadcast_to(shaped, source.array.shape), None, index._storage)
    return scatter_reduce(input, dim, full, source, reduce, include_self=include_self)


@of_tensors
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input`, seen as one dimension, with `source` written (or added) at the index."""
    same_device("put", input.array, index.array, source.array)
    need_dtype_of("put_()", input.array, source.array)
    need_long("put_(): Expected a long tensor for index, but got", index.array)
    size = input.array.size
    at = index.array.reshape(-1)
    if at.size and (at.min() < -size or at.max() >= size):
        raise IndexError(f"out of range: tried to access index on a tensor of {size} elements.")
    if at.size != source.array.size:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got"
            f" source.numel() = {source.array.size}, index.numel() = {at.size}"
        )
    x, places = input.reshape(-1), (at,)
    if not input.array.flags.c_contiguous:  # the copy keeps the order in which it lies in memory
        x, places = input, module_of(at).unravel_index(at % max(size, 1), input.array.shape)
    written = watched(_index_put(x, places, source.reshape(-1), accumulate), "index", (index,))
    return written.reshape(input.array.shape)
