"""Read and add along one dimension by index tensors: gather and scatter_add, each the other's
derivative, as index_select and index_add are; more/placing.py has the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.boundary import other_device, same_device
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import as_array
from tinygrad_edu.kernels.atomic import add_at
from tinygrad_edu.kernels.cuda import checks
from tinygrad_edu.kernels.memory_order import in_order
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops.arguments import numpy_names
from tinygrad_edu.ops.indexing import _unslice
from tinygrad_edu.ops.joining import zeros_beside
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _along(index: Array, dim: int) -> tuple[Any, ...]:
    """An index tuple that follows `index` along `dim` and counts along all other dimensions."""
    if not index.ndim:
        return (index,)
    full: list[Any] = []
    for i, size in enumerate(index.shape):
        shape = [1] * index.ndim
        shape[i] = size
        steps = 0 if size == 1 else np.arange(size, like=index).reshape(shape)
        full.append(index if i == dim else steps)
    return tuple(full)


def _check_index(name: str, x: Array, dim: int, index: Array) -> int:
    """The dimension counted from the front, after torch's checks of an index tensor."""
    if isinstance(index, np.ndarray) != isinstance(x, (np.ndarray, np.generic)):
        raise other_device(name, x, index)
    dim = read_dim(dim, x.ndim)
    if index.size == 0:
        return dim
    if index.dtype not in (np.int64, np.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    if max(index.ndim, 1) != max(x.ndim, 1):
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as"
            f" {'input' if name == 'gather' else 'self'} tensor"
        )
    for i, (a, b) in enumerate(zip(index.shape, x.shape, strict=False)):
        if i != dim and a > b:
            raise RuntimeError(
                f"Size does not match at dimension {i} expected index {list(index.shape)} to be no"
                f" larger than self {list(x.shape)} apart from dimension {dim}"
            )
    size = x.shape[dim] if x.ndim else 1
    _check_range(index, size, dim, RuntimeError)
    return dim


def _check_range(index: Array, size: int, dim: int, error: type[Exception]) -> None:
    wrong = checks.wrong_index(index, 0, size)
    if wrong is not None:
        raise error(f"index {wrong} is out of bounds for dimension {dim} with size {size}")


@primitive
def _gather(x: Array, dim: int, index: Array) -> Array:
    dim = _check_index("gather", x, dim, index)
    if index.size == 0:
        return new_like(x, index.shape, 0)
    picked = x.reshape(x.shape or 1)[_along(index.reshape(index.shape or 1), dim)]
    return in_order(picked.reshape(index.shape))


@takes_out(overlap="later")
@numpy_names
def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Tensor:
    """Pick along `dim`: out[i][j] = input[index[i][j]][j] for `dim` 0.

    Args:
        index: int64, as many dimensions as `input`, no larger than it apart from `dim`.

    Raises:
        RuntimeError: the index has another dtype, too many sizes, or points outside.

    >>> import tinygrad_edu as torch
    >>> torch.gather(torch.tensor([[1, 2], [3, 4]]), 1, torch.tensor([[0], [1]]))
    tensor([[1],
            [4]])
    """
    return _gather(input, dim, index)


@primitive(numbers="none")
def _scatter_add(x: Array, dim: int, index: Array, src: Array) -> Array:
    dim = _check_index("scatter_add", x, dim, index)
    _check_source_dtype(x, src)
    y = as_array(x).copy()
    if index.size:
        add_at(
            y.reshape(y.shape or 1), _along(index.reshape(index.shape or 1), dim), _part(src, index)
        )
    return y


def _check_source_dtype(x: Array, src: Tensor) -> None:
    if getattr(src, "dtype", x.dtype) != x.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")


def _part(src: Any, index: Array) -> Any:
    """The part of the source that stands under the index."""
    if not hasattr(src, "ndim"):
        return src
    if max(src.ndim, 1) != max(index.ndim, 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    if not src.ndim and index.size == 1:
        return src
    if not index.ndim:
        return src.reshape(-1)[0]
    if not src.ndim or any([a > b for a, b in zip(index.shape, src.shape, strict=False)]):
        raise RuntimeError(
            f"Expected index {list(index.shape)} to be no larger than src {list(src.shape)}"
        )
    return src[tuple([slice(n) for n in index.shape])]


def _into_source(g: Tensor, dim: int, index: Tensor, src_shape: tuple[int, ...]) -> Tensor:
    """The gradient of a source: what arrives where it was written, zero where it was not used."""
    return in_corner(_gather(g, dim, index), src_shape)


def in_corner(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Zeros of that shape with `part` in the first corner: undoes `_part`."""
    if tuple(part.shape) == shape:
        return part
    return _unslice(part, shape, tuple([slice(n) for n in part.shape]))


_scatter_add.vjp(
    x=lambda g: g,
    src=lambda g, dim, index, src_shape: _into_source(g, dim, index, src_shape),
)


@takes_out(overlap="first")
@numpy_names
@composed(autocast={"cuda": "widest"})
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of `input` with `src[i][j]` added at [index[i][j]][j] (for `dim` 0).

    >>> import tinygrad_edu as torch
    >>> torch.zeros(3).scatter_add(0, torch.tensor([0, 0, 2]), torch.ones(3))
    tensor([2., 0., 1.])
    """
    return _scatter_add(input, dim, index, src)


_gather.vjp(x=lambda g, x_shape, dim, index: scatter_add(zeros_beside(g, x_shape), dim, index, g))


@primitive
def _index_select(x: Array, dim: int, index: Array) -> Array:
    same_device("index_select", x, index)  # CuPy would copy an index of the host silently
    dim = read_dim(dim, x.ndim)
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if index.dtype not in (np.int64, np.int32):
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    size = x.shape[dim] if x.ndim else 1
    if checks.wrong_index(index, 0, size) is not None:
        raise IndexError("index out of range in self")
    if not x.ndim:
        return x.reshape(1)[index.reshape(-1)].reshape(())
    return np.take(x, index.reshape(-1), axis=dim)


@takes_out(overlap="none")
@numpy_names
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` along `dim` that a vector of indices names, in that order.

    >>> import tinygrad_edu as torch
    >>> torch.index_select(torch.tensor([5, 6, 7]), 0, torch.tensor([2, 0]))
    tensor([7, 5])
    """
    return _index_select(input, dim, index)


def _at(x: Array, dim: int, index: Array) -> tuple[Any, ...]:
    return (slice(None),) * read_dim(dim, x.ndim) + (index.reshape(-1),)


def _check_slices(name: str, x: Array, dim: int, index: Array, source: Any) -> None:
    same_device(name, x, index, source)
    size = x.shape[read_dim(dim, x.ndim)] if x.ndim else 1
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: {index.ndim}")
    if index.dtype not in (np.int64, np.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    if checks.wrong_index(index, -size, size) is not None:
        raise IndexError("index out of range in self")
    if getattr(source, "dtype", x.dtype) != x.dtype:
        raise RuntimeError(
            f"{name}(): self and source expected to have the same dtype, but got {x.dtype} and"
            f" {source.dtype}"
        )


def check_source(name: str, x: Array, dim: int, index: Array, source: Array) -> None:
    """RuntimeError unless `source` is made of slices of `x`, one for each element of the index."""
    dim = read_dim(dim, x.ndim)
    rest = [(*s[:dim], *s[dim + 1 :]) for s in (x.shape, source.shape)]
    if rest[0] != rest[1] or source.ndim != x.ndim:
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension."
            f" Got self.shape = {list(x.shape)} source.shape = {list(source.shape)}"
        )
    if not source.ndim and index.size != 1:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    if source.ndim and index.size != source.shape[dim]:
        raise RuntimeError(
            f"{name}_(): Number of indices ({index.size}) should be equal to source.size(dim):"
            f" ({source.shape[dim]}), for dim: {dim}"
        )


def _select_as(g: Tensor, dim: int, index: Tensor, shape: tuple[int, ...]) -> Any:
    """The slices of `g` that the index names, in the shape of the source they came from."""
    picked: Any = _index_select(g, dim, index)
    return picked.reshape(shape)


@primitive
def _index_add(x: Array, dim: int, index: Array, source: Array) -> Array:
    _check_slices("index_add", x, dim, index, source)
    check_source("index_add", x, dim, index, source)
    y = as_array(x).copy()
    add_at(y.reshape(y.shape or 1), _at(x, dim, index), source)
    return y


_index_add.vjp(
    x=lambda g: g,
    source=lambda g, dim, index, source_shape: _select_as(g, dim, index, source_shape),
)


_index_select.vjp(
    x=lambda g, x_shape, dim, index: _index_add(zeros_beside(g, x_shape), dim, index, g)
)


@takes_out(overlap="first")
@numpy_names
def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1
) -> Tensor:
    """A copy of `input` with `alpha * source` added to the slices that the index names."""
    return _index_add(input, dim, index, source if alpha == 1 else source * alpha)


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.placing")
