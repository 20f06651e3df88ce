"""Further ways to arrange elements, composed of the operations in shape, joining and indexing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import beside, strided
from tinygrad_edu.dtypes import Array, is_floating, not_implemented, to_numpy
from tinygrad_edu.engine.boundary import need_dtype_of, same_device
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.versions import watched
from tinygrad_edu.kernels import memory_order
from tinygrad_edu.kernels.memory_order import in_order
from tinygrad_edu.ops.arguments import numpy_names
from tinygrad_edu.ops.casting import clone, contiguous
from tinygrad_edu.ops.creation import DeviceLike, Dtype, finish
from tinygrad_edu.ops.gathering import index_select
from tinygrad_edu.ops.indexing import _index_put, _slice, _take, copy_
from tinygrad_edu.ops.joining import cat, meshgrid, select, stack
from tinygrad_edu.ops.more.diagonals import diagonal
from tinygrad_edu.ops.shape import expand, flip, reshape, t, transpose
from tinygrad_edu.out import takes_out
from tinygrad_edu.out_of_memory import told
from tinygrad_edu.size import read_dim, read_dims, read_shape

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@numpy_names
def repeat_interleave(
    input: Any = None,
    repeats: Any = None,
    dim: int | None = None,
    *,
    output_size: int | None = None,
) -> Tensor:
    """Each slice along `dim` (each element if None) several times in a row.

    Args:
        repeats: how often: a number for all, or an integer tensor with one entry per slice.

    >>> import tinygrad_edu as torch
    >>> torch.tensor([1, 2]).repeat_interleave(2)
    tensor([1, 1, 2, 2])
    """
    if input is None or repeats is None:  # of counts alone: the index of each, so often
        counts = (repeats if input is None else input).array
        return wrap(np.repeat(np.arange(counts.size, like=counts), counts))
    if dim is None:
        input, dim = reshape(input, (input.array.size,)), 0
    if not input.array.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    dim = read_dim(dim, input.array.ndim)
    size = input.array.shape[dim]
    counts = repeats.array if isinstance(repeats, TensorBase) else np.asarray(repeats)
    if isinstance(repeats, TensorBase):
        same_device("repeat_interleave", input.array, counts)
        if counts.dtype not in (np.int32, np.int64):
            raise not_implemented("repeat_interleave_cpu", counts.dtype)
    if counts.dtype.kind not in "iu":
        raise RuntimeError("repeats must have int or long dtype")
    if (counts < 0).any():
        raise RuntimeError("repeats can not be negative")
    if counts.size not in (1, size):
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) ="
            f" {counts.size} and input.size({dim}) = {size}"
        )
    if not isinstance(repeats, TensorBase) and counts.size == 1:  # there is no index to keep
        times, shape = counts.item(), input.array.shape
        several = input.unsqueeze(dim + 1).expand(*shape[: dim + 1], times, *shape[dim + 1 :])
        copied = several.clone(memory_format="torch.contiguous_format")
        rows: Tensor = copied.reshape((*shape[:dim], shape[dim] * times, *shape[dim + 1 :]))
        return rows
    if counts.size == 1 and isinstance(counts, np.ndarray):
        counts = counts.item()
    index = np.repeat(np.arange(size, like=input.array), counts)
    return index_select(input, dim, wrap(index))


@primitive(view=True)
def _unfold(x: Array, dim: int, size: int, step: int) -> Array:
    count, stride = (x.shape[dim] - size) // step + 1, x.strides[dim]
    shape = (*x.shape[:dim], count, *x.shape[dim + 1 :], size)
    strides = (*x.strides[:dim], stride * step, *x.strides[dim + 1 :], stride)
    return strided(x, shape, strides)


@primitive
def _refold(x: Array, shape: tuple[int, ...], dim: int, step: int) -> Array:
    """What the windows hold, added up where they came from."""
    y = np.zeros_like(x, shape=shape, order="C")
    count, before = x.shape[dim], (slice(None),) * dim
    for i in range(x.shape[-1]):
        y[(*before, slice(i, i + (count - 1) * step + 1, step))] += x[..., i]
    return y


_unfold.vjp(x=lambda g, x_shape, dim, step: _refold(g, tuple(x_shape), dim, step))
_refold.vjp(x=lambda g, x_shape, dim, step: _unfold(g, dim, x_shape[-1], step))


def unfold(input: Any, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` elements along a dimension, each `step` after the last, in a new last one.

    The result is a view: overlapping windows share their elements.

    >>> import tinygrad_edu as torch
    >>> torch.arange(5).unfold(0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """
    dim = read_dim(dimension, input.array.ndim)
    length = input.array.shape[dim] if input.array.ndim else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > length:
        raise RuntimeError(
            f"maximum size for tensor at dimension {dim} is {length} but size is {size}"
        )
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not input.array.ndim:
        return reshape(input, (1,))[:size]
    return _unfold(input, dim, size, step)


@of_tensors
def fliplr(input: Tensor) -> Tensor:
    """Reverse the columns."""
    if input.array.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


@of_tensors
def flipud(input: Tensor) -> Tensor:
    """Reverse the rows."""
    if input.array.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@primitive
def _roll(x: Array, shifts: tuple[int, ...], dims: tuple[int, ...] | None) -> Array:
    return in_order(np.roll(x, shifts, dims))


_roll.vjp(x=lambda g, shifts, dims: _roll(g, tuple([-s for s in shifts]), dims))


@of_tensors
def roll(
    input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None
) -> Tensor:
    """Shift the elements along `dims`; what falls off one end comes back at the other.

    >>> import tinygrad_edu as torch
    >>> torch.arange(4).roll(1)
    tensor([3, 0, 1, 2])
    """
    amounts = read_shape("roll", (shifts,) if isinstance(shifts, (tuple, list)) else (shifts,))
    if dims is None or dims == ():
        if len(amounts) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(amounts)}, dims:0")
        shape = input.array.shape
        return reshape(_roll(reshape(input, (input.array.size,)), amounts, (0,)), shape)
    places = tuple(
        [
            read_dim(d, input.array.ndim)
            for d in (dims if isinstance(dims, (tuple, list)) else (dims,))
        ]
    )
    if len(places) != len(amounts):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(amounts)}, dims:{len(places)}"
        )
    return _roll(input, amounts, places)


@of_tensors
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turn by k quarter turns in the plane of two dimensions, from the first to the second."""
    ndim = input.array.ndim
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == ndim:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    first, second = read_dims(dims, ndim)
    turns = k % 4
    if turns == 1:
        return transpose(flip(input, second), first, second)
    if turns == 2:
        return flip(input, first, second)
    if turns == 3:
        return transpose(flip(input, first), first, second)
    return clone(input)


def fill(input: Tensor, value: float | Tensor) -> Tensor:
    """One value everywhere, in the shape and dtype of `input`; `value` may be a 0-d tensor.

    >>> import tinygrad_edu as torch
    >>> torch.fill(torch.zeros(2), 3)
    tensor([3., 3.])
    """
    filled: Any = clone(input)
    result: Tensor = filled.fill_(value)
    return result


@of_tensors
def adjoint(input: Tensor) -> Tensor:
    """The matrices transposed; a single number is itself."""
    return _matrices_turned(input, "adjoint()")


def mT(input: Tensor) -> Tensor:
    """`adjoint`, as the attribute `mT`."""
    return _matrices_turned(input, "mT")


def mH(input: Tensor) -> Tensor:
    """`adjoint`, as the attribute `mH`."""
    return _matrices_turned(input, "mH")


def H(input: Tensor) -> Tensor:
    """`t`, as the attribute `H`, which only a matrix has, or a single number."""
    ndim = input.array.ndim
    if ndim not in (0, 2):
        more = " For batches of matrices, consider using tensor.mH" if ndim > 2 else ""
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {ndim}-D tensor.{more}"
        )
    return t(input) if ndim else input


def _matrices_turned(x: Tensor, name: str) -> Tensor:
    ndim = x.array.ndim
    if ndim == 1:
        raise RuntimeError(
            f"tensor.{name} is only supported on matrices or batches of matrices. Got 1-D tensor."
        )
    return transpose(x, -2, -1) if ndim else x


@of_tensors
def masked_scatter(input: Any, mask: Any, source: Any) -> Tensor:
    """`input` with the elements under the mask replaced by those of `source`, in order."""
    from tinygrad_edu.ops.shape import broadcast_tensors

    if mask.array.dtype != bool:
        raise RuntimeError("masked_scatter_ only supports boolean masks")
    same_device("masked_scatter", input.array, mask.array, source.array)
    need_dtype_of("masked_scatter", input.array, source.array)
    x, where = broadcast_tensors(input, mask)
    count = int(where.array.sum())
    if source.array.size < count:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same number of elements"
        )
    values = _slice(reshape(source, (source.array.size,)), (slice(0, count),))
    return watched(_index_put(contiguous(x), (where.array,), values, False), "index", (mask,))


@primitive(node="Clone", half="as it is")
def _clone_with_gaps(x: Array) -> Array:
    """A copy with the strides of `x`, gaps included, unless elements share memory: torch's."""
    y = memory_order.clone(x)
    if y.strides == x.strides or any([not step for step in x.strides]):
        return y
    reach = 1 + sum(
        [(n - 1) * step // x.itemsize for n, step in zip(x.shape, x.strides, strict=True)]
    )
    memory = np.zeros_like(x, order="C", shape=(reach,))
    y = strided(memory, x.shape, x.strides)
    y[...] = x
    return y


_clone_with_gaps.vjp(x=lambda g: g)


def _replaced(input: Tensor, view: Any, src: Tensor) -> Tensor:
    """A copy of `input` in which `src` stands where `view(copy)` leads to."""
    copied = _clone_with_gaps(input)
    part = view(copied)
    if tuple(part.array.shape) != tuple(src.array.shape):
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size ="
            f" {list(src.array.shape)}, slice size = {list(part.array.shape)}"
        )
    copy_(part, src)
    return copied


@numpy_names
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of `input` with the slice at one index of `dim` replaced by `src`."""
    return _replaced(input, lambda x: select(x, dim, index), src)


@takes_out
@numpy_names
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1,
) -> Tensor:  # fmt: skip
    """A copy of `input` with the slices `start:end:step` of `dim` replaced by `src`."""
    place = (slice(None),) * read_dim(dim, input.array.ndim) + (slice(start, end, step),)
    return _replaced(input, lambda x: _slice(x, place), src)


@of_tensors
def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """A copy of `input` with a diagonal replaced by `src`."""
    same_device("diagonal_scatter", input.array, src.array)
    return _replaced(input, lambda x: diagonal(x, offset, dim1, dim2), src)


@of_tensors
@told
def block_diag(*tensors: Any) -> Tensor:
    """One matrix with the given ones along its diagonal, zeros elsewhere.

    >>> import tinygrad_edu as torch
    >>> torch.block_diag(torch.tensor([[1]]), torch.tensor([[2, 3]]))
    tensor([[1, 0, 0],
            [0, 2, 3]])
    """
    blocks = [reshape(t, (1, -1)) if t.array.ndim < 2 else t for t in tensors]
    width = sum([b.array.shape[1] for b in blocks])
    rows, before = [], 0
    for block in blocks:
        height, own = block.array.shape
        left = wrap(np.zeros_like(block.array, shape=(height, before)))
        right = wrap(np.zeros_like(block.array, shape=(height, width - before - own)))
        rows.append(cat([left, block, right], 1))
        before += own
    return cat(rows, 0)


@of_tensors
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of one element from each vector, one row each."""
    if len(tensors) == 1:
        return tensors[0]
    grids = meshgrid(*tensors, indexing="ij")
    return stack([reshape(grid, (grid.array.size,)) for grid in grids], 1)


@of_tensors
@told
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All combinations of r elements of a vector, one row each, in order."""
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input.array.size), r)), np.int64).reshape(-1, r)
    return _take(input, (beside(rows, input.array),))


@told
def _triangle(
    name: str, row: int, col: int, offset: int, dtype: Dtype, device: DeviceLike
) -> Tensor:
    kind = np.dtype(np.int64) if dtype is None else to_numpy(dtype)
    found = getattr(np, name)(row, offset, col)
    return finish(np.stack(found).astype(kind), device, False)


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: Dtype = None, device: DeviceLike = None,
    layout: object = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Row and column numbers of the lower triangle, shape (2, count)."""
    return _triangle("tril_indices", row, col, offset, dtype, device)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: Dtype = None, device: DeviceLike = None,
    layout: object = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Row and column numbers of the upper triangle, shape (2, count)."""
    return _triangle("triu_indices", row, col, offset, dtype, device)


@of_tensors
@told
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of a vector as columns, from the highest down unless `increasing`."""
    count = x.array.size if N is None else N
    if not is_floating(x.array.dtype):
        x = x.long()
    powers = range(count) if increasing else range(count - 1, -1, -1)
    columns = [x**p for p in powers]
    return stack(columns, -1) if columns else expand(reshape(x, (-1, 1)), (x.array.size, 0))
