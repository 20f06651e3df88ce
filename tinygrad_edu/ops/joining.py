"""Join tensors (cat, stack) and take them apart (split, unbind): each other's derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like, strided
from tinygrad_edu.dtypes import Array, result_type, scalar_type_name
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels.memory_order import channels_last, in_order, like_images
from tinygrad_edu.ops.arguments import named, numpy_names
from tinygrad_edu.ops.indexing import _slice
from tinygrad_edu.ops.shape import _expand, reshape
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim, read_shape

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

_WHERE = "indices_or_sections"


def _same_type(arrays: Any, parts: Any = None) -> list[Array]:
    """The arrays (or those of them in `parts`) in their common type."""
    chosen: list[Array] = arrays if parts is None else parts
    kind = arrays[0].dtype
    if all([x.dtype is kind for x in arrays]):
        return chosen
    target = result_type(*arrays)
    return [x.astype(target) if x.dtype != target else x for x in chosen]


def _is_legacy_empty(x: Array) -> bool:
    """torch lets a tensor of shape (0,) be joined to anything, and ignores it."""
    return bool(x.shape == (0,))


@primitive(variadic=True, autocast="widest", half="as it is")
def _cat(tensors: list[Array], dim: int) -> Array:
    try:
        y = np.concatenate(_same_type(tensors), axis=dim)
        if not y.flags.c_contiguous and y.ndim in (4, 5) and all(map(channels_last, tensors)):
            return like_images(y, *tensors)
        return in_order(y)
    except ValueError:
        dim = _check_joinable(tensors, dim)
        parts = [x for x in tensors if not _is_legacy_empty(x)]
        return in_order(np.concatenate(_same_type(tensors, parts), axis=dim))


def _check_joinable(tensors: list[Array], dim: int) -> int:
    """The dimension to join along, counted from the front; torch's error if they do not fit."""
    parts = [x for x in tensors if not _is_legacy_empty(x)] or tensors
    first = parts[0].shape
    if not first:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    dim = read_dim(dim, len(first))
    for i, x in enumerate(parts):
        if x.ndim != len(first):
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {len(first)} and {x.ndim}"
            )
        for j, (a, b) in enumerate(zip(first, x.shape, strict=True)):
            if a != b and j != dim:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {a} but"
                    f" got size {b} for tensor number {i} in the list."
                )
    return dim


def _uncat(g: Tensor, shapes: tuple[tuple[int, ...], ...], dim: int) -> list[Any]:
    """The pieces of `g`, one per joined tensor."""
    dim = read_dim(dim, len(g.shape))
    sizes = [0 if shape == (0,) else shape[dim] for shape in shapes]
    pieces = _split(g, tuple(sizes), dim)
    return [
        piece.reshape(shape) if shape == (0,) else piece
        for piece, shape in zip(pieces, shapes, strict=True)
    ]


_cat.vjp(tensors=lambda g, tensors_shape, dim: _uncat(g, tensors_shape, dim))


@takes_out(dtype="joined", overlap="none")
@numpy_names
def cat(tensors: Any, dim: int = 0) -> Tensor:
    """Join tensors along a dimension they have.

    Args:
        tensors: tensors that agree in all sizes but that of `dim`; their dtypes are promoted.

    Raises:
        ValueError: the list is empty.
        RuntimeError: the sizes do not agree.

    >>> import tinygrad_edu as torch
    >>> torch.cat([torch.zeros(2), torch.ones(1)])
    tensor([0., 0., 1.])
    """
    return _cat(_tensors("cat", tensors), dim)


def _tensors(name: str, tensors: Any) -> Any:
    if isinstance(tensors, TensorBase) or not hasattr(tensors, "__iter__"):
        raise TypeError(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors,"
            f" not {type(tensors).__name__}"
        )
    tensors = tuple(tensors)
    if not tensors:
        if name.endswith("stack") and name != "stack":
            raise RuntimeError(f"{name} expects a non-empty TensorList")
        error = RuntimeError if name == "stack" else ValueError
        raise error(f"torch.{name}(): expected a non-empty list of Tensors")
    wrong = [i for i, x in enumerate(tensors) if not isinstance(x, TensorBase)]
    if wrong:
        found = type(tensors[wrong[0]]).__name__
        raise TypeError(f"expected Tensor as element {wrong[0]} in argument 0, but got {found}")
    return tensors


@primitive(variadic=True, autocast="widest", half="as it is")
def _stack(tensors: list[Array], dim: int) -> Array:
    shape = tensors[0].shape
    for i, x in enumerate(tensors):
        if x.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and"
                f" {list(x.shape)} at entry {i}"
            )
    return in_order(np.stack(_same_type(tensors), axis=read_dim(dim, len(shape) + 1)))


@takes_out(dtype="joined", overlap="none")
@numpy_names
def stack(tensors: Any, dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension.

    >>> import tinygrad_edu as torch
    >>> torch.stack([torch.zeros(2), torch.ones(2)])
    tensor([[0., 0.],
            [1., 1.]])
    """
    return _stack(_tensors("stack", tensors), dim)


def zeros_beside(g: Tensor, shape: tuple[int, ...]) -> Array:
    """An array of zeros of that shape, of the dtype and on the device of `g`."""
    return new_like(g.array if isinstance(g, TensorBase) else g, shape, 0)


def _fill_missing(pieces: list[Any], shapes: list[tuple[int, ...]]) -> list[Any]:
    """Zeros where no gradient arrived."""
    known = next(g for g in pieces if g is not None)
    return [
        zeros_beside(known, shape) if g is None else g
        for g, shape in zip(pieces, shapes, strict=True)
    ]


@primitive(multiple=True, view=True, half="by gpu")  # nothing is computed on the way back either
def _split(x: Array, sizes: tuple[int, ...], dim: int) -> Any:
    ends = np.cumsum(sizes).tolist()
    before = (slice(None),) * dim
    return tuple(
        [x[(*before, slice(end - size, end))] for size, end in zip(sizes, ends, strict=True)]
    )


def _still_whole(pieces: Any, shape: tuple[int, ...], dim: int) -> Any:
    """The array that those pieces, on a GPU, are views of, side by side; None if they are not.

    So lie the gradients that kernels/cuda/flash.py makes of one layer's queries, keys and values.
    """
    first = pieces[0]
    if first is None or not hasattr(getattr(first, "data", None), "mem"):
        return None
    place = first.data.ptr
    for piece in pieces:
        if piece is None or piece.strides != first.strides or piece.data.mem is not first.data.mem:
            return None
        if piece.data.ptr != place or piece.dtype != first.dtype:
            return None
        place += piece.shape[dim] * piece.strides[dim]
    return strided(first, shape, first.strides)


def _unsplit(g: Tensor, shape: tuple[int, ...], sizes: tuple[int, ...], dim: int) -> Tensor:
    whole: Tensor | None = _still_whole(g, shape, dim)
    if whole is not None:
        return whole
    shapes = [(*shape[:dim], size, *shape[dim + 1 :]) for size in sizes]
    return _cat(_fill_missing(list(g), shapes), dim)


_split.vjp(x=lambda g, x_shape, sizes, dim: _unsplit(g, x_shape, sizes, dim))


@named(input="tensor", split_size="split_size_or_sections", axis="dim")
def split(
    tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Views of consecutive pieces: of the given size (the last may be smaller) or sizes.

    Raises:
        RuntimeError: the sizes do not add up to the size of the dimension.

    >>> import tinygrad_edu as torch
    >>> torch.arange(5).split(2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    if not tensor.array.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = read_dim(dim, tensor.array.ndim)
    total = tensor.array.shape[dim]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0:
            raise RuntimeError(
                f"split expects split_size be non-negative, but got split_size={size}"
            )
        if size == 0 and total:
            raise RuntimeError(
                "split_size can only be 0 if dimension size is 0, but got dimension size of"
                f" {total}"
            )
        count = max(1, math.ceil(total / size)) if size else 1
        sizes = tuple([min(size, total - i * size) for i in range(count)]) if size else (total,)
    else:
        sizes = read_shape("split", (split_size_or_sections,), "split_sizes")
        if sum(sizes) != total or any([size < 0 for size in sizes]):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {total} (input tensor's"
                f" size at dimension {dim}), but got split_sizes={list(sizes)}"
            )
    parts: Any = _split(tensor, sizes, dim)
    views: tuple[Tensor, ...] = parts
    return views


@numpy_names
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """`chunks` views of nearly equal size, or fewer if the dimension does not yield as many.

    >>> import tinygrad_edu as torch
    >>> [c.numel() for c in torch.arange(5).chunk(3)]
    [2, 2, 1]
    """
    if not input.array.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = read_dim(dim, input.array.ndim)
    total = input.array.shape[dim]
    if total == 0:
        return split(input, [0] * chunks, dim)
    return split(input, math.ceil(total / chunks), dim)


@named(axis="dim", sections=_WHERE, indices=_WHERE, tensor_indices_or_sections=_WHERE)
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views split before the given indices, or into so many pieces of nearly equal size."""
    if not input.array.ndim:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    dim = read_dim(dim, input.array.ndim)
    total = input.array.shape[dim]
    given = indices_or_sections
    if isinstance(given, TensorBase):
        if given.array.dtype != np.int64:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to have dtype of long, but got"
                f" {scalar_type_name(given.array.dtype)}"
            )
        given = given.array.tolist()
    if isinstance(given, int):
        count = given
        if count <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {count}")
        sizes = [total // count + (i < total % count) for i in range(count)]
        ends = np.cumsum(sizes).tolist()
        return _slices(input, dim, [end - n for end, n in zip(ends, sizes, strict=True)], ends)
    ends = [*[slice(None, b).indices(total)[1] for b in given], total]
    starts = [0, *ends[:-1]]
    return _slices(input, dim, starts, [max(a, b) for a, b in zip(starts, ends, strict=True)])


def _slices(x: Any, dim: int, starts: list[int], ends: list[int]) -> tuple[Tensor, ...]:
    """Views of x[start:end] along `dim`, each a view of its own: it may be written in place."""
    before = (slice(None),) * dim
    return tuple([x[(*before, slice(a, b))] for a, b in zip(starts, ends, strict=True)])


@numpy_names
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """`split` into pieces of the given sizes."""
    return split(input, split_sizes, dim)


_splits = named(sections="*", indices="*")


def _split_along(
    name: str, input: Tensor, where: tuple[Any, ...], dim: int, least: int
) -> tuple[Tensor, ...]:
    given = where[0] if len(where) == 1 else where
    shape = input.array.shape
    if len(shape) < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with"
            f" {len(shape)} dimensions!"
        )
    if not isinstance(given, (int, list, tuple, TensorBase)):
        raise TypeError(f"{name}(): argument 'indices_or_sections' must be int or a list of them")
    if isinstance(given, int) and (given <= 0 or shape[dim] % given):
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension"
            f" {shape[dim]} is not divisible by the split_size {given}!"
        )
    return tensor_split(input, given, dim)


@_splits
def hsplit(input: Tensor, *indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """`tensor_split` along columns (1-d tensors: along their only dimension)."""
    return _split_along("hsplit", input, indices_or_sections, int(input.array.ndim > 1), 1)


@_splits
def vsplit(input: Tensor, *indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """`tensor_split` along rows."""
    return _split_along("vsplit", input, indices_or_sections, 0, 2)


@_splits
def dsplit(input: Tensor, *indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """`tensor_split` along the third dimension."""
    return _split_along("dsplit", input, indices_or_sections, 2, 3)


unsafe_split, unsafe_chunk = split, chunk


@primitive(multiple=True, view=True, half="by gpu")
def _unbind(x: Array, dim: int) -> Any:
    before = (slice(None),) * dim
    return tuple([x[(*before, i, ...)] for i in range(x.shape[dim])])


def _restack(g: Tensor, shape: tuple[int, ...], dim: int) -> Tensor:
    piece = (*shape[:dim], *shape[dim + 1 :])
    return _stack(_fill_missing(list(g), [piece] * shape[dim]), dim)


_unbind.vjp(x=lambda g, x_shape, dim: _restack(g, x_shape, dim))


@numpy_names
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along a dimension, as views without that dimension.

    >>> import tinygrad_edu as torch
    >>> torch.tensor([[1, 2], [3, 4]]).unbind()
    (tensor([1, 2]), tensor([3, 4]))
    """
    if not len(input.shape):
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    parts: Any = _unbind(input, read_dim(dim, len(input.shape)))
    views: tuple[Tensor, ...] = parts
    return views


_stack.vjp(tensors=lambda g, dim: unbind(g, dim))


@takes_out(dtype="joined", overlap="none")
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Join along columns (1-d tensors: along their only dimension)."""
    tensors = [reshape(x, 1) if not x.array.ndim else x for x in _tensors("hstack", tensors)]
    return cat(tensors, 0 if tensors[0].array.ndim == 1 else 1)


@takes_out(dtype="joined", overlap="none")
def vstack(tensors: Any) -> Tensor:
    """Join as rows."""
    rows = [reshape(x, (1, -1)) if x.array.ndim < 2 else x for x in _tensors("vstack", tensors)]
    return cat(rows, 0)


@takes_out(dtype="joined", overlap="none")
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Join along the third dimension."""
    return cat([atleast_3d(x) for x in _tensors("dstack", tensors)], 2)


@takes_out(dtype="joined", overlap="none")
def column_stack(tensors: Any) -> Tensor:
    """Join 1-d tensors as columns, matrices side by side."""
    columns = [reshape(x, (-1, 1)) if x.array.ndim < 2 else x for x in _tensors("stack", tensors)]
    return cat(columns, 1)


@of_tensors
def meshgrid(*tensors: Tensor, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Coordinates of a grid: tensor i varies along dimension i ("xy": the first two swapped).

    Args:
        tensors: vectors or single numbers, of one dtype and on one device.

    Raises:
        RuntimeError: there is none, or one that has more dimensions or another dtype.

    >>> import tinygrad_edu as torch
    >>> rows, columns = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    >>> columns
    tensor([[0, 1, 2],
            [0, 1, 2]])
    """
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for x in tensors:
        if x.array.ndim > 1:
            raise RuntimeError(
                "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: one of shape"
                f" {list(x.array.shape)}"
            )
        if x.array.dtype != tensors[0].array.dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(tensors) >= 2
    ordered = [tensors[1], tensors[0], *tensors[2:]] if swap else list(tensors)
    shape = tuple([x.array.size for x in ordered])
    grids = []
    for i, x in enumerate(ordered):
        column = reshape(x, tuple([shape[i] if j == i else 1 for j in range(len(shape))]))
        grids.append(_expand(column, shape))
    if swap:
        grids = [grids[1], grids[0], *grids[2:]]
    return tuple(grids)


@numpy_names
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at one index of a dimension, as a view without that dimension."""
    shape = input.array.shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = read_dim(dim, len(shape))
    index = int(index)
    if not -shape[dim] <= index < shape[dim]:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(shape)} at dimension"
            f" {dim}"
        )
    return _slice(input, (slice(None),) * dim + (index,))


@numpy_names
def narrow(input: Any, dim: int, start: Any, length: int) -> Tensor:
    """`length` slices of a dimension from `start`, as a view."""
    shape = input.array.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if isinstance(start, TensorBase) and (start.array.ndim or start.array.dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    dim = read_dim(dim, len(shape))
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -shape[dim] <= start <= shape[dim]:
        raise IndexError(
            f"start out of range (expected to be in range of [{-shape[dim]}, {shape[dim]}], but got"
            f" {int(start)})"
        )
    start = int(start) + (shape[dim] if start < 0 else 0)
    if start + length > shape[dim] or start < 0:
        raise RuntimeError(
            f"start ({start}) + length ({length}) exceeds dimension size ({shape[dim]})."
        )
    return _slice(input, (slice(None),) * dim + (slice(start, start + length),))


def _at_least(ndim: int, tensors: Any) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tensors[0]
    if len(tensors) != 1:
        return tuple([_at_least(ndim, (x,)) for x in tensors])
    shape = tensors[0].array.shape
    if len(shape) >= ndim:
        return tensors[0]
    front = (1,) * (ndim - len(shape)) if ndim < 3 or not shape else (1,) * (2 - len(shape))
    return reshape(tensors[0], ((*front, *shape) + (1,) * ndim)[:ndim])


@of_tensors
def atleast_1d(*tensors: Tensor) -> Any:
    """0-d tensors as tensors of one dimension."""
    return _at_least(1, tensors)


@of_tensors
def atleast_2d(*tensors: Tensor) -> Any:
    """Tensors of fewer dimensions as matrices of one row."""
    return _at_least(2, tensors)


@of_tensors
def atleast_3d(*tensors: Tensor) -> Any:
    """Tensors of fewer dimensions with dimensions of size 1 added, as in NumPy."""
    return _at_least(3, tensors)
