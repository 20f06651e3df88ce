"""Read and write along one dimension, the rest: scatter, index_copy, index_fill, take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, fitting, scalar_type_name
from tinygrad_edu.engine.boundary import need_long, same_device
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import as_array, wrap
from tinygrad_edu.kernels.atomic import multiply_at
from tinygrad_edu.kernels.memory_order import clone
from tinygrad_edu.ops.arguments import no_derivative, numpy_names, operand
from tinygrad_edu.ops.gathering import (
    _along,
    _at,
    _check_index,
    _check_slices,
    _gather,
    _index_select,
    _into_source,
    _part,
    _scatter_add,
    _select_as,
)
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive
def _scatter(x: Array, dim: int, index: Array, src: Array) -> Array:
    dim = _check_index("scatter", x, dim, index)
    y = as_array(x).copy()
    if index.size:
        flat = _along(index.reshape(index.shape or 1), dim)
        y.reshape(y.shape or 1)[flat] = _part(src, index)
    return y


_scatter.vjp(
    x=lambda g, dim, index: _scatter(g, dim, index, 0.0),
    src=lambda g, dim, index, src_shape: _into_source(g, dim, index, src_shape),
)


@takes_out(overlap="first")
@numpy_names
def scatter(
    input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None,
    reduce: str | None = None,
) -> Tensor:  # fmt: skip
    """A copy of `input` with `src[i][j]` (or one number) written at [index[i][j]][j] (`dim` 0).

    Args:
        reduce: "add" or "multiply" combines with what is there instead of replacing it.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(3).scatter(0, torch.tensor([1]), 5.0)
    tensor([0., 5., 0.])
    """
    source = value if src is None else src
    if isinstance(source, (int, float)):
        source = fitting(operand("scatter", input).dtype, source)
    if reduce is None:
        if isinstance(source, TensorBase) and source.array.dtype != input.array.dtype:
            raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
        return _scatter(input, dim, index, source)
    if reduce == "add":
        return _scatter_add(input, dim, index, source)
    if reduce == "multiply":
        return _scatter_multiply(input, dim, index, source)
    raise RuntimeError(f"reduce argument must be either add or multiply, got {reduce!r}")


@primitive
def _scatter_multiply(x: Array, dim: int, index: Array, src: Array) -> Array:
    dim = _check_index("scatter", x, dim, index)
    y = as_array(x).copy()
    place = _along(index.reshape(index.shape or 1), dim)
    multiply_at(y.reshape(y.shape or 1), place, _part(src, index))
    return y


_no_rule = no_derivative("derivative for 'scatter' with reduce='multiply' is not implemented")
_scatter_multiply.vjp(x=_no_rule, src=_no_rule)  # torch has none either


def _check_copied(x: Array, dim: int, index: Array, source: Array) -> None:
    """torch's errors for a source of another shape than the slices that it replaces."""
    if not source.ndim:
        if index.size != 1:
            raise IndexError(
                "index_copy_(): When source is scalar, index should have one element (got"
                f" {index.size})"
            )
    elif x.ndim and source.ndim != x.ndim:
        raise IndexError(
            "index_copy_(): When source and destination are not scalars, their dimensionality must"
            f" match. Source dimensionality ({source.ndim}), destination dimensionality ({x.ndim})"
        )
    elif index.size != source.shape[dim]:
        raise IndexError(
            f"index_copy_(): Number of indices ({index.size}) should be equal to source.size(dim)"
            f" ({source.shape[dim]})"
        )
    slices = [a.shape[:dim] + a.shape[dim + 1 :] for a in (x, source)]
    if slices[0] != slices[1]:
        raise RuntimeError(
            "index_copy_(): Source/destination tensor must have same slice shapes. Destination"
            f" slice shape: {list(slices[0])} at dimension {dim} and source slice shape:"
            f" {list(slices[1])} at dimension {dim}."
        )


@primitive(numbers="none")
def _index_copy(x: Array, dim: int, index: Array, source: Array) -> Array:
    _check_slices("index_copy", x, dim, index, source)
    if hasattr(source, "shape"):
        _check_copied(x, read_dim(dim, x.ndim), index, source)
    y = as_array(x).copy()
    y.reshape(y.shape or 1)[_at(x, dim, index)] = source
    return y


_index_copy.vjp(
    x=lambda g, dim, index: _index_copy(g, dim, index, 0.0),
    source=lambda g, dim, index, source_shape: _select_as(g, dim, index, source_shape),
)


@takes_out(overlap="first")
@numpy_names
@composed(autocast={"cpu": "widest"})
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of `input` with the slices that the index names replaced by those of `source`."""
    places = operand("index_copy", index, 3, "index")
    need_long("index_copy_(): Expected a long tensor for index, but got", places)
    return _index_copy(input, dim, index, source)


@primitive
def _index_fill(x: Array, dim: int, index: Array, value: Any) -> Array:
    _check_slices("index_fill", x, dim, index, 0.0)
    y = clone(as_array(x))
    y.reshape(y.shape or 1)[_at(x, dim, index)] = value
    return y


def _filled(g: Tensor, dim: int, index: Array) -> Tensor:
    from tinygrad_edu.ops.shape import flatten

    picked = _index_select(g, dim, np.unique(index))
    return (flatten(picked) if isinstance(picked, TensorBase) else picked).sum()


_index_fill.vjp(
    x=lambda g, dim, index: _index_fill(g, dim, index, 0.0),
    value=lambda g, dim, index: _filled(g, dim, index),
)


@numpy_names
def index_fill(input: Tensor, dim: int, index: Tensor, value: float | Tensor) -> Tensor:
    """A copy of `input` with one value in the slices that the index names."""
    if isinstance(value, TensorBase) and value.array.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with"
            f" {value.array.ndim} dimension(s)."
        )
    if isinstance(value, (int, float)):
        value = fitting(input.array.dtype, value)
    if operand("index_fill", index).dtype != np.int64:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    return _index_fill(input, dim, index, value)


@numpy_names
def _take_along_dim_reads(input: Tensor, indices: Tensor, dim: int | None = None) -> Any:
    """What `out` must not overlap: the input, unless it is repeated; indices are copied first."""
    if dim is None:
        return "later", [input.reshape(-1), indices.reshape(-1)]
    sizes = list(input.array.shape)
    others = list(indices.array.shape)
    del sizes[dim], others[dim]
    return ("none" if list(np.broadcast_shapes(sizes, others)) == sizes else "any"), [input]


@takes_out(overlap=_take_along_dim_reads)
@numpy_names
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Pick along `dim`, the other dimensions broadcast; all in one dimension if `dim` is None.

    Raises:
        RuntimeError: numbers of dimensions differ, sizes do not broadcast, an index lies outside,
            or the indices are not int64.
    """
    if indices.array.dtype != np.int64:
        raise RuntimeError(
            "torch.take_along_dim(): dtype of indices should be Long but got"
            f" {scalar_type_name(indices.array.dtype)}"
        )
    if dim is None:
        return _gather(input.reshape(-1), 0, indices.reshape(-1))
    shape, other = list(input.array.shape), list(indices.array.shape)
    if len(shape) != len(other):
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions,"
            f" but got {len(shape)} dimensions for input, and {len(other)} dimensions for indices"
        )
    if not shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    dim = read_dim(dim, len(shape))
    for i, (a, b) in enumerate(zip(shape, other, strict=True)):
        if i != dim and a != b and 1 not in (a, b):
            raise RuntimeError(
                f"The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton"
                f" dimension {i}"
            )
    both = np.broadcast_shapes(
        tuple(shape[:dim] + [1] + shape[dim + 1 :]), tuple(other[:dim] + [1] + other[dim + 1 :])
    )
    source = input.expand(*both[:dim], shape[dim], *both[dim + 1 :])
    index = indices.expand(*both[:dim], other[dim], *both[dim + 1 :])
    at = index.array  # negative ones count from the end; a copy, so that the indices may be written
    return _gather(source, dim, wrap(np.where(at < 0, at + shape[dim], at)))


@takes_out(overlap="none")
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements of `input`, seen as one dimension, that the indices name, in their shape."""
    same_device("take", input.array, index.array)
    need_long("take(): Expected a long tensor for index, but got", index.array)
    flat = input.reshape(-1)
    size = flat.array.size
    if index.array.size and (index.array.min() < -size or index.array.max() >= size):
        raise IndexError(f"out of range: tried to access index on a tensor of {size} elements.")
    result: Tensor = flat[index.reshape(-1)].reshape(index.array.shape)
    return result
