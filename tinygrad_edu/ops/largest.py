"""The largest and the smallest: max, min, argmax, argmin, amax, amin, aminmax, cummax, cummin.

Where several elements are largest, torch has two rules for the gradient.  With one `dim`, max tells
the index of the first of them, and that one receives the gradient.  Without, and in amax and amin,
they share it evenly.  nan counts as larger than anything to max, as smaller to min.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
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
from tinygrad_edu.ops.extrema import gate
from tinygrad_edu.ops.gathering import _along
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive
def pick(x: Array, index: Array, dim: int, keepdim: bool) -> Array:
    """The elements that `index` names along `dim`, none of them twice.

    Not keepdim: `dim` is left out, `index` having size 1 there.
    """
    if not x.ndim:
        return x.copy()
    y = x[_along(index, dim)]
    if index.shape[dim] != 1:  # sorted: laid out as `x`
        return y
    return in_order(y if keepdim else y.reshape(index.shape[:dim] + index.shape[dim + 1 :]))


@primitive
def _put(x: Array, shape: tuple[int, ...], index: Array, dim: int) -> Array:
    """Zeros of that shape, with `x` where `index` points."""
    zeros = new_like(x, shape, 0)
    if shape:
        zeros[_along(index, dim)] = x.reshape(index.shape)
    else:
        zeros[...] = x
    return zeros


def _unput(g: Tensor, shape: tuple[int, ...], index: Array, dim: int) -> Any:
    picked: Any = pick(g, index, dim, True)
    return picked.reshape(shape)


pick.vjp(x=lambda g, x_shape, index, dim: _put(g, x_shape, index, dim))
_put.vjp(x=lambda g, x_shape, index, dim: _unput(g, x_shape, index, dim))
_PICKS = {"max": pick.called("MaxBackward0"), "min": pick.called("MinBackward0")}


def nonempty(name: str, x: Array, dims: Dims) -> None:
    """Raise torch's error if there is nothing to choose from."""
    if x.size or (dims is not None and count(x.shape, dims)):
        return
    if dims is None:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the"
            " reduction dim with the 'dim' argument."
        )
    empty = next(i for i in dims if not x.shape[i])
    raise IndexError(f"{name}(): Expected reduction dim {empty} to have non-zero size.")


def share(g: Tensor, hit: Array) -> Tensor:
    """The gradient of one element, in equal parts to those marked in `hit`."""
    return gate(g / reduce_add(hit, axis=None), hit)


def same(x: Array, y: Array) -> Array:
    """Where two arrays are equal, nan equal to nan."""
    return (x == y) | ((x != x) & (y != y))


@primitive(node="MaxBackward1")
def _max(x: Array) -> Array:
    nonempty("max", x, None)
    return x.max()


@primitive(node="MinBackward1")
def _min(x: Array) -> Array:
    nonempty("min", x, None)
    return x.min()


_max.vjp(x=lambda g, x, y: share(g, same(raw(x), raw(y))))
_min.vjp(x=lambda g, x, y: share(g, same(raw(x), raw(y))))


@functools.cache
def _named(function: str) -> Any:
    """The named tuple that torch's function returns."""
    from tinygrad_edu.names import return_types

    return getattr(return_types, function)


def _find(name: str, input: Any, dim: Any, keepdim: bool) -> tuple[Any, Any]:
    """Values and indices along one dimension."""
    x = operand(name, input)
    if not isinstance(dim, int):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
    dim = read_dim(dim, x.ndim)
    if not x.ndim:
        return pick(input, None, 0, True), wrap(np.zeros_like(x, dtype=np.int64))
    nonempty(name, x, (dim,))
    index = (x.argmax if name == "max" else x.argmin)(dim)
    places = wrap(index)
    column = (*x.shape[:dim], 1, *x.shape[dim + 1 :])
    at = wrap(places.array.reshape(column), None, places._storage)
    return _PICKS[name](input, at, dim, keepdim), at if keepdim else places


@takes_out(dtype="one", overlap="sought")
@numpy_names
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest element; with `dim`, (values, indices) along it; of two tensors, `maximum`.

    Args:
        dim: one dimension; or another tensor, to compare with element by element.

    Returns:
        A tensor, or the named tuple `return_types.max` where `dim` is given.

    Raises:
        RuntimeError, IndexError: there is nothing to choose from.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([[1, 5], [7, 2]])
    >>> torch.max(x), torch.max(x, 1).indices
    (tensor(7), tensor([1, 0]))
    """
    other = dim if isinstance(dim, TensorBase) else other
    if other is not None:
        from tinygrad_edu.ops.extrema import maximum

        operand("max", input)
        return maximum(input, other)
    operand("max", input)
    if dim is None:
        return _max(input)
    return _named("max")(*_find("max", input, dim, keepdim))


@takes_out(dtype="one", overlap="sought")
@numpy_names
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest element; otherwise as `max`.

    >>> import tinygrad_edu as torch
    >>> torch.min(torch.tensor([3.0, 1.0, 2.0]), 0)
    torch.return_types.min(
    values=tensor(1.),
    indices=tensor(1))
    """
    other = dim if isinstance(dim, TensorBase) else other
    if other is not None:
        from tinygrad_edu.ops.extrema import minimum

        operand("min", input)
        return minimum(input, other)
    operand("min", input)
    if dim is None:
        return _min(input)
    return _named("min")(*_find("min", input, dim, keepdim))


def _where_extreme(name: str, x: Array, dim: int | None, keepdim: bool) -> Array:
    if x.dtype == bool:
        raise RuntimeError(f"{name}(): does not support bool input")
    if dim is None and not x.size:
        raise IndexError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
        )
    if dim is not None:
        dim = read_dim(dim, x.ndim)
        if x.ndim:
            nonempty(name, x, (dim,))
    axis = dim if x.ndim else None
    return (x.argmax if name == "argmax" else x.argmin)(axis, keepdims=keepdim)


@primitive
def _argmax(x: Array, dim: int | None, keepdim: bool) -> Array:
    return _where_extreme("argmax", x, dim, keepdim)


@primitive
def _argmin(x: Array, dim: int | None, keepdim: bool) -> Array:
    return _where_extreme("argmin", x, dim, keepdim)


@takes_out
@numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest element along `dim`, or of all; the first of equals.

    >>> import tinygrad_edu as torch
    >>> torch.argmax(torch.tensor([[1.0, 5.0], [7.0, 2.0]]), dim=1)
    tensor([1, 0])
    """
    operand("argmax", input)
    return _argmax(input, dim, keepdim)


@takes_out
@numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the smallest element; otherwise as `argmax`."""
    operand("argmin", input)
    return _argmin(input, dim, keepdim)


@primitive
def _amax(x: Array, dims: Dims, keepdim: bool) -> Array:
    nonempty("amax", x, dims)
    return in_order(x.max(dims, keepdims=keepdim))


@primitive
def _amin(x: Array, dims: Dims, keepdim: bool) -> Array:
    nonempty("amin", x, dims)
    return in_order(x.min(dims, keepdims=keepdim))


def _amax_gradient(g: Tensor, x: Array, y: Array, dims: Dims, keepdim: bool) -> Any:
    """As `share`; but a product, as in torch: of inf, those that lost get nan, not 0."""
    hit = x == restore(y, x.shape, dims, keepdim)
    parts = reduce_add(hit, axis=dims, keepdims=True)
    return restore(g, x.shape, dims, keepdim) / parts * hit


_amax.vjp(x=lambda g, x, y, dims, keepdim: _amax_gradient(g, raw(x), raw(y), dims, keepdim))
_amin.vjp(x=lambda g, x, y, dims, keepdim: _amax_gradient(g, raw(x), raw(y), dims, keepdim))


@takes_out
@numpy_names
def amax(input: Any, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The largest element over one or several dimensions; equals share the gradient.

    >>> import tinygrad_edu as torch
    >>> torch.amax(torch.tensor([[1.0, 5.0], [7.0, 2.0]]), dim=(0, 1))
    tensor(7.)
    """
    return _amax(input, reduced(dim, operand("amax", input).ndim), keepdim)


@takes_out
@numpy_names
def amin(input: Any, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The smallest element over one or several dimensions; equals share the gradient."""
    return _amin(input, reduced(dim, operand("amin", input).ndim), keepdim)


def _aminmax_reads(input: Any, *, dim: int | None = None, **_: object) -> Any:
    return ("none" if dim is not None and input.array.ndim else "any"), [input]


@takes_out(overlap=_aminmax_reads)
@numpy_names
def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """`(amin, amax)` over one dimension or all, named min and max.

    >>> import tinygrad_edu as torch
    >>> low, high = torch.aminmax(torch.tensor([3, 1, 2])); low, high
    (tensor(1), tensor(3))
    """
    x = operand("aminmax", input)
    if dim is not None and not x.size and not x.shape[read_dim(dim, x.ndim)]:
        raise IndexError(f"aminmax: Expected reduction dim {dim} to have non-zero size.")
    if dim is None and not x.size:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no"
            " identity."
        )
    return _named("aminmax")(amin(input, dim, keepdim), amax(input, dim, keepdim))


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.cumulative")
