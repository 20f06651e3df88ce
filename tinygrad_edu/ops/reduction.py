"""Reductions: sum, mean, prod, any, all, logsumexp and their kin.

All take `dim` (one dimension, several, or None for all) and `keepdim` (leave the reduced dimensions
in, at size 1).  The derivative of a sum is to repeat the gradient over what was added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, NumpyDtype, floating, is_floating, scalar_type_name, to_numpy
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels.memory_order import in_order
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops.arguments import (
    Dims,
    count,
    numpy_names,
    operand,
    raw,
    reduce_add,
    reduced,
    restore,
)
from tinygrad_edu.ops.elementary import exp
from tinygrad_edu.ops.shape import _expand
from tinygrad_edu.out import takes_out

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import Dtype
    from tinygrad_edu.tensor import Tensor

_LONG, _BLOCK = 4096, 128


def add_up(x: Array, dims: Dims, keepdim: bool) -> Array:
    """The sum of floats, in C order; 16-bit floats are added up, and returned, as float32."""
    if x.dtype.itemsize == 2:
        return in_order(reduce_add(x, axis=dims, dtype=np.float32, keepdims=keepdim))
    if dims is not None and x.ndim > 1 and x.size > _LONG:
        longest = max(dims, key=x.shape.__getitem__)
        if x.shape[longest] > _LONG:
            return in_order(_add_up_long(x, longest, dims, keepdim))
    return in_order(reduce_add(x, axis=dims, keepdims=keepdim))


def _add_up_long(x: Array, longest: int, dims: tuple[int, ...], keepdim: bool) -> Array:
    """Sum in blocks where NumPy would add row after row, and so round once per row.

    NumPy halves its rows again and again (pairwise summation) only along the dimension whose
    elements are neighbours in memory.  If that one is reduced too, there is nothing to do.
    """
    if min(range(x.ndim), key=lambda i: abs(x.strides[i])) in dims:
        return reduce_add(x, axis=dims, keepdims=keepdim)
    rows = x.swapaxes(0, longest)
    while len(rows) > _BLOCK:
        whole = len(rows) - len(rows) % _BLOCK
        sums = reduce_add(rows[:whole].reshape(-1, _BLOCK, *rows.shape[1:]), axis=1)
        sums[0] += reduce_add(rows[whole:], axis=0)
        rows = sums
    return reduce_add(rows.swapaxes(0, longest), axis=dims, keepdims=keepdim)


def _reduction(name: str) -> Any:
    """torch has one operation for all dimensions (0), and one for some (1)."""

    whole, part = f"{name}Backward0", f"{name}Backward1"

    def chain(x: Array, dims: Dims, *options: object) -> str:
        return part if dims is not None and len(dims) < x.ndim else whole

    return chain


def repeated(g: Tensor, shape: tuple[int, ...], dims: Dims, keepdim: bool) -> Tensor:
    """`g`, of a reduction's output, repeated over what was reduced."""
    return _expand(restore(g, shape, dims, keepdim), shape)


@primitive(node=_reduction("Sum"))
def _sum(x: Array, dims: Dims, keepdim: bool, dtype: NumpyDtype | None) -> Array:
    if is_floating(x.dtype) and (dtype is None or dtype == x.dtype):
        y = add_up(x, dims, keepdim)
        return y if y.dtype is x.dtype else y.astype(x.dtype, copy=False)
    return in_order(reduce_add(x, axis=dims, dtype=dtype or np.int64, keepdims=keepdim))


_sum.vjp(x=lambda g, x_shape, dims, keepdim: repeated(g, x_shape, dims, keepdim))


@takes_out(dtype="asked")
@numpy_names
@composed(autocast={"cuda": "float32"})
def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over `dim`; integers and bools add up to int64.

    Args:
        dim: a dimension, several, or None for all.
        keepdim: leave the reduced dimensions in, at size 1.
        dtype: cast to this before adding.

    Raises:
        IndexError: there is no such dimension.
        RuntimeError: a dimension is named twice.

    >>> import tinygrad_edu as torch
    >>> torch.sum(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=0)
    tensor([4., 6.])
    """
    dims = reduced(dim, operand("sum", input).ndim)
    return _sum(input, dims, keepdim, None if dtype is None else to_numpy(dtype))


@primitive(node=_reduction("Mean"))
def _mean(x: Array, dims: Dims, keepdim: bool, dtype: NumpyDtype | None) -> Array:
    if dtype is not None and dtype != x.dtype:
        x = x.astype(dtype)
    total = add_up(x, dims, keepdim)
    return np.true_divide(total, count(x.shape, dims)).astype(x.dtype, copy=False)


_mean.vjp(  # divided last, so that each element is memory of its own, as in torch
    x=lambda g, x_shape, dims, keepdim: (
        repeated(g, x_shape, dims, keepdim) / (count(x_shape, dims) or 1)
    )
)


@takes_out(dtype="any")
@numpy_names
def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over `dim`: the sum divided by the number of elements.

    Args:
        dim, keepdim: as in `sum`.
        dtype: cast to this float dtype first.

    Raises:
        RuntimeError: the elements are not floats and no `dtype` says to make them so.

    >>> import tinygrad_edu as torch
    >>> torch.mean(torch.tensor([1.0, 2.0, 6.0]))
    tensor(3.)
    """
    x = operand("mean", input)
    target = x.dtype if dtype is None else to_numpy(dtype)
    if not is_floating(target):
        which = "Input" if dtype is None else "Optional"
        raise RuntimeError(
            f"mean(): could not infer output dtype. {which} dtype must be either a floating point"
            f" or complex dtype. Got: {scalar_type_name(target)}"
        )
    return _mean(input, reduced(dim, x.ndim), keepdim, target)


@primitive
def _nansum(x: Array, dims: Dims, keepdim: bool, dtype: NumpyDtype | None) -> Array:
    return _sum.primitive.forward(np.where(np.isnan(x), 0, x).astype(x.dtype), dims, keepdim, dtype)


_nansum.vjp(x=lambda g, x, dims, keepdim: restore(g, x.shape, dims, keepdim) * ~np.isnan(raw(x)))


@takes_out(dtype="asked")
@numpy_names
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Dtype = None) -> Tensor:
    """`sum` that counts nan as 0.

    >>> import tinygrad_edu as torch
    >>> torch.nansum(torch.tensor([1.0, float("nan"), 2.0]))
    tensor(3.)
    """
    x = operand("nansum", input)
    if not is_floating(x.dtype):
        return sum(input, dim, keepdim, dtype=dtype)
    target = None if dtype is None else to_numpy(dtype)
    return _nansum(input, reduced(dim, x.ndim), keepdim, target)


@takes_out(dtype="any")
@numpy_names
def nanmean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Dtype = None
) -> Tensor:
    """`mean` of the elements that are not nan.

    >>> import tinygrad_edu as torch
    >>> torch.nanmean(torch.tensor([1.0, float("nan"), 2.0]))
    tensor(1.5000)
    """
    x = operand("nanmean", input)
    if not is_floating(x.dtype):
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got"
            f" {scalar_type_name(x.dtype)}"
        )
    there = reduce_add(~np.isnan(x), axis=reduced(dim, x.ndim), keepdims=keepdim)
    total: Any = nansum(input, dim, keepdim, dtype=dtype)
    result: Tensor = total / there
    return result


@primitive
def _any(x: Array, dims: Dims, keepdim: bool) -> Array:
    found = in_order(x.any(dims, keepdims=keepdim))
    return found.astype(np.uint8) if x.dtype == np.uint8 else found


@primitive
def _all(x: Array, dims: Dims, keepdim: bool) -> Array:
    found = in_order(x.all(dims, keepdims=keepdim))
    return found.astype(np.uint8) if x.dtype == np.uint8 else found


def _truth_dims(name: str, input: Any, dim: int | None) -> Dims:
    """As `reduced`, but here an empty tuple means no dimension at all, as in torch."""
    ndim = operand(name, input).ndim
    return () if isinstance(dim, (tuple, list)) and not dim else reduced(dim, ndim)


@takes_out(dtype="truth")
@numpy_names
def any(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether some element over `dim` is not 0; a bool, but uint8 for uint8.

    >>> import tinygrad_edu as torch
    >>> torch.any(torch.tensor([[0, 1], [0, 0]]), dim=1)
    tensor([ True, False])
    """
    return _any(input, _truth_dims("any", input, dim), keepdim)


@takes_out(dtype="truth")
@numpy_names
def all(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether no element over `dim` is 0; a bool, but uint8 for uint8.

    >>> import tinygrad_edu as torch
    >>> torch.all(torch.tensor([[1, 1], [0, 1]]), dim=1)
    tensor([ True, False])
    """
    return _all(input, _truth_dims("all", input, dim), keepdim)


@primitive
def _count_nonzero(x: Array, dims: Dims) -> Array:
    return in_order(reduce_add(x != 0, axis=dims, dtype=np.int64))


@numpy_names
def count_nonzero(input: Any, dim: Any = None, *more: int) -> Tensor:
    """How many elements over `dim` are not 0.

    >>> import tinygrad_edu as torch
    >>> torch.count_nonzero(torch.tensor([0, 3, 4]))
    tensor(2)
    """
    dim = (dim, *more) if more else dim
    return _count_nonzero(input, reduced(dim, operand("count_nonzero", input).ndim))


@primitive
def _logsumexp(x: Array, dims: Dims, keepdim: bool) -> Array:
    x = floating(x)
    if not count(x.shape, dims):
        return np.log(reduce_add(x, axis=dims, keepdims=keepdim))
    largest = x.max(dims, keepdims=True)
    finite = np.where(np.isfinite(largest), largest, 0).astype(x.dtype)  # inf - inf would be nan
    scaled = np.subtract(x, finite, out=np.empty_like(x))
    total = np.log(add_up(np.exp(scaled, out=scaled), dims, True)) + finite
    y = total if keepdim else total.reshape(reduce_add(total, axis=dims).shape)
    return in_order(y.astype(x.dtype, copy=False))


_logsumexp.vjp(
    x=lambda g, x, y, dims, keepdim: (
        restore(g, x.shape, dims, keepdim) * exp(x - restore(y, x.shape, dims, keepdim))
    )
)


@takes_out(dtype="any")
@numpy_names
def logsumexp(input: Any, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    """`log(sum(exp(x)))` over `dim`, without overflow: the largest element is subtracted first.

    Nothing but -inf gives -inf.

    >>> import tinygrad_edu as torch
    >>> torch.logsumexp(torch.tensor([1000.0, 1000.0]), 0)
    tensor(1000.6932)
    """
    return _logsumexp(input, reduced(dim, operand("logsumexp", input).ndim), keepdim)


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.cumulative")
