"""Operations that move elements or give them another shape; most are views.

A view shares the memory of its input.  Its derivative is the view back: the gradient of a transpose
is the transpose of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import strided
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.boundary import dimension_error, not_a_tensor
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.nodes import shown_as
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.views import Step
from tinygrad_edu.kernels.memory_order import clone, like
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops.arguments import named, numpy_names
from tinygrad_edu.ops.casting import contiguous
from tinygrad_edu.out_of_memory import out_of_memory
from tinygrad_edu.size import read_dim, read_dims, read_shape

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


_MOVES = "by gpu"
"""The rule, too, only moves numbers: on a GPU a gradient of 16 bits need not be widened for it."""


@primitive(view=True, half=_MOVES)
def _view(x: Array, shape: tuple[int, ...]) -> Array:
    if x.flags.c_contiguous:
        return _reshaped(x, shape)
    y = _reshaped(x, shape)
    if x.size and not np.may_share_memory(x, y):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one"
            " dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return y


_view.vjp(x=lambda g, x_shape: g.reshape(x_shape))
_reshape_alias = _view.called("ReshapeAlias")


@primitive(node="UnsafeView(Clone(x))", half="as it is")
def _reshape_copy(x: Array, shape: tuple[int, ...]) -> Array:
    return _reshaped(x, shape)


_reshape_copy.vjp(x=lambda g, x_shape: g.reshape(x_shape))


def _reshaped(x: Array, shape: tuple[int, ...]) -> Array:
    if shape and min(shape) < -1:  # to NumPy, any negative size is a -1
        raise RuntimeError(f"invalid shape dimension {min(shape)} in shape {list(shape)}")
    try:
        return x.reshape(shape)
    except MemoryError as error:
        raise out_of_memory("reshape", error) from None
    except ValueError:
        if x.size == 0 and -1 in shape and 0 in shape:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the"
                " unspecified dimension size -1 can be any value and is ambiguous"
            ) from None
        if shape.count(-1) > 1:
            raise RuntimeError("only one dimension can be inferred") from None
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {x.size}") from None


def view(
    input: Tensor, *shape: Any, size: int | Sequence[int] | None = None, dtype: Any = None
) -> Tensor:
    """The same elements, in the same memory, under another shape.

    Args:
        shape: the new sizes, as arguments or as one tuple (then also by the name `size`); one of
            them may be -1, for what is left.
        dtype: instead of a shape: read the same bytes as elements of that dtype.

    Raises:
        RuntimeError: the number of elements differs, or the memory's order does not allow it.

    >>> import tinygrad_edu as torch
    >>> torch.arange(6).view(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    shape = shape or (size if dtype is None else dtype,)
    if len(shape) == 1 and type(shape[0]).__name__ == "dtype":
        return _view_bytes(input, shape[0])
    return _view(input, read_shape("view", shape, "shape"))


@primitive(view=True)
def _view_bytes(x: Array, dtype: Any) -> Array:
    return x.view(dtype.numpy)


def reshape(input: Tensor, *sizes: Any, shape: Sequence[int] | None = None) -> Tensor:
    """The same elements in the same order under another shape: a view if possible, else a copy.

    Args:
        sizes: the new sizes, as arguments or as one tuple (then also by the name `shape`); one of
            them may be -1, for what is left.

    Raises:
        RuntimeError: the number of elements differs.

    >>> import tinygrad_edu as torch
    >>> torch.tensor([[1, 2], [3, 4]]).t().reshape(4)
    tensor([1, 3, 2, 4])
    """
    new = read_shape("reshape", sizes if shape is None else (shape,), "shape")
    try:
        x = input.array
    except AttributeError:
        raise not_a_tensor("reshape", 1, input) from None
    if x.flags.c_contiguous:
        return _view(input, new)
    shares = not x.size or np.may_share_memory(x, _reshaped(x, new))
    return (_reshape_alias if shares else _reshape_copy)(input, new)


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`input.view(other.shape)`."""
    return _view(input, other.array.shape)


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`input.reshape(other.shape)`."""
    return reshape(input, other.array.shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the dimensions from `start_dim` to `end_dim` into one.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(2, 3, 4).flatten(1).shape
    torch.Size([2, 12])
    """
    try:
        shape = input.array.shape
    except AttributeError:
        raise not_a_tensor("flatten", 1, input) from None
    start, end = read_dim(start_dim, len(shape)), read_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end and shape:
        return input
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@of_tensors
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension, in order; a view if they lie in order in memory."""
    return reshape(contiguous(input), -1 if input.array.size else 0)


@numpy_names
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """Split one dimension into several.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(2, 12).unflatten(1, (3, -1)).shape
    torch.Size([2, 3, 4])
    """
    shape = input.array.shape
    dim = read_dim(dim, len(shape))
    sizes = read_shape("unflatten", (sizes,), "sizes")
    known = math.prod([size for size in sizes if size != -1])
    fits = shape[dim] % max(known, 1) == 0 if -1 in sizes else known == shape[dim]
    if not fits or sizes.count(-1) > 1:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim}"
            f" ({shape[dim]}) in the input tensor"
        )
    return reshape(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


@primitive(view=True, half=_MOVES)
def _permute(x: Array, dims: tuple[int, ...]) -> Array:
    return x.transpose(dims)


_permute.vjp(x=lambda g, dims: _permute(g, tuple([dims.index(i) for i in range(len(dims))])))


def permute(input: Tensor, *order: object, dims: Sequence[int] | None = None) -> Tensor:
    """The dimensions in another order, given one by one or as the tuple `dims`.

    The i-th number says which dimension becomes the i-th.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(2, 3, 4).permute(2, 0, 1).shape
    torch.Size([4, 2, 3])
    """
    wanted = read_shape("permute", order or (dims,), "dims")
    try:
        ndim = input.array.ndim
    except AttributeError:
        raise not_a_tensor("permute", 1, input) from None
    if len(wanted) != ndim:
        raise RuntimeError(
            "permute(): number of dimensions in the tensor input does not match the length of the"
            f" desired ordering of dimensions i.e. input.dim() = {ndim} is not equal to"
            f" len(dims) = {len(wanted)}"
        )
    places = tuple([read_dim(dim, ndim) for dim in wanted])
    if len(set(places)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _permute(input, places)


@primitive(view=True, half=_MOVES)
def transpose(x: Array, dim0: int, dim1: int) -> Array:
    """Swap two dimensions.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(2, 3).transpose(0, 1).shape
    torch.Size([3, 2])
    """
    if not x.ndim or dim0.__class__ is not int or dim1.__class__ is not int:
        dim0, dim1 = read_dim(dim0, x.ndim), read_dim(dim1, x.ndim)
    return x.swapaxes(dim0, dim1) if x.ndim else x[...]


transpose.vjp(x=lambda g, dim0, dim1: transpose(g, dim0, dim1))


_t = transpose.called("T")


def step_back(step: Step, x: Array) -> Step:
    """What undoes a `transpose`, `squeeze` or `unsqueeze` of `x`."""
    return step if step[0] in (transpose, _t) else (_view, [x.shape], None)


swapaxes = named(axis0="dim0", axis1="dim1")(transpose)


@of_tensors
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; of fewer dimensions, another tensor on the same memory."""
    if input.array.ndim > 2:
        raise RuntimeError(
            f"t() expects a tensor with <= 2 dimensions, but self is {input.array.ndim}D"
        )
    if input.array.ndim < 2:
        return _view(input, input.array.shape)
    return _t(input, 0, 1)


@of_tensors
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Move dimensions to other places; the rest keep their order."""
    ndim = input.array.ndim
    given = [dims if isinstance(dims, (list, tuple)) else [dims] for dims in (source, destination)]
    if len(given[0]) != len(given[1]):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source"
            f" ({list(given[0])} dims) should contain the same number of dims as destination"
            f" ({list(given[1])} dims)"
        )
    for name, dims in zip(("source", "destination"), given, strict=True):
        if len({read_dim(dim, ndim) for dim in dims}) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(dims)})")
    if not ndim:
        return _view(input, ())
    sources, targets = [[read_dim(dim, ndim) for dim in dims] for dims in given]
    order = [dim for dim in range(ndim) if dim not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return _permute(input, tuple(order))


@primitive(view=True, half=_MOVES)
def _squeeze(x: Array, dims: tuple[int, ...]) -> Array:
    return x.reshape(tuple([size for i, size in enumerate(x.shape) if i not in dims]))


_squeeze.vjp(x=lambda g, x_shape: g.reshape(x_shape))


@numpy_names
def squeeze(input: Tensor, dim: Any = None, *more: int) -> Tensor:
    """Leave out dimensions of size 1: all of them, or those in `dim` that have size 1.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(1, 3, 1).squeeze().shape, torch.zeros(1, 3, 1).squeeze(0).shape
    (torch.Size([3]), torch.Size([3, 1]))
    """
    shape = input.array.shape
    dim = (dim, *more) if more else dim
    dims = range(len(shape)) if dim is None else read_dims(dim, len(shape))
    squeezed = _squeeze(input, tuple([i for i in dims if i < len(shape) and shape[i] == 1]))
    number = 0 if dim is None else 1 if isinstance(dim, int) else 2
    return shown_as(squeezed, f"SqueezeBackward{number}")


@primitive(view=True, half=_MOVES)
def unsqueeze(x: Array, dim: int) -> Array:
    """Put in a dimension of size 1 at place `dim`.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(3).unsqueeze(-1).shape
    torch.Size([3, 1])
    """
    if not -x.ndim - 1 <= dim <= x.ndim:
        raise dimension_error(dim, x.ndim + 1)
    dim %= x.ndim + 1
    return x.reshape((*x.shape[:dim], 1, *x.shape[dim:]))  # its stride is then torch's, too


unsqueeze.vjp(x=lambda g, x_shape: g.reshape(x_shape))


@primitive(view=True)
def _expand(x: Array, shape: tuple[int, ...]) -> Array:
    if isinstance(x, np.generic):  # a gradient on its way
        x = np.asarray(x)
    steps = _expanded_steps(x, shape)
    if x.__class__ is np.ndarray and x.flags.c_contiguous and x.size:
        return np.ndarray(shape, x.dtype, x, 0, steps)  # a tenth of the time of the next line
    return strided(x, shape, steps)


def _expanded_steps(x: Array, shape: tuple[int, ...]) -> list[int]:
    """The strides, in bytes; unlike NumPy's, and like torch's, not 0 where nothing is repeated."""
    missing = len(shape) - x.ndim
    sizes = zip(x.shape, shape[missing:], x.strides, strict=True)
    steps = [step if have == size else 0 for have, size, step in sizes]
    for i in reversed(range(missing)):
        steps.insert(0, shape[i + 1] * steps[0] if shape[i] == 1 and steps else 0)
    return steps


_expand.vjp(x=lambda g: g)  # the walk sums it down


def expand(
    input: Tensor,
    *sizes: int | Sequence[int],
    size: int | Sequence[int] | None = None,
    implicit: bool = False,
) -> Tensor:
    """Repeat along dimensions of size 1 without copying; -1 leaves a dimension as it is.

    >>> import tinygrad_edu as torch
    >>> torch.tensor([[1], [2]]).expand(-1, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    given = sizes if size is None else (size,)
    target = read_shape("expand", given)  # torch ignores `implicit`, too
    shape = input.array.shape
    extra = len(target) - len(shape)
    if extra < 0:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(target)}) must be greater or equal to the"
            f" number of dimensions in the tensor ({len(shape)})"
        )
    full = []
    for i, size in enumerate(target):
        have = shape[i - extra] if i >= extra else 1
        if size == -1 and i < extra:
            raise RuntimeError(
                f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing"
                f" dimension {i}"
            )
        if size not in (-1, have) and have != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({size}) must match the existing size ({have}) at"
                f" non-singleton dimension {i}.  Target sizes: {list(target)}.  Tensor sizes:"
                f" {list(shape)}"
            )
        full.append(have if size == -1 else size)
    return _expand(input, tuple(full))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`input.expand(other.shape)`."""
    return expand(input, other.array.shape)


@named(size="*")
def broadcast_to(input: Tensor, *size: int | Sequence[int]) -> Tensor:
    """`input.expand(size)`."""
    return expand(input, *size)


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape that tensors of these shapes broadcast to.

    >>> import tinygrad_edu as torch
    >>> torch.broadcast_shapes((3, 1), (2,))
    torch.Size([3, 2])
    """
    from tinygrad_edu.size import Size

    try:
        return Size(np.broadcast_shapes(*shapes))
    except ValueError:
        raise RuntimeError(
            "Shape mismatch: objects cannot be broadcast to a single shape:"
            f" {[list(np.atleast_1d(s)) for s in shapes]}"
        ) from None


@of_tensors
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    shape = broadcast_shapes(*[t.array.shape for t in tensors])
    return tuple([expand(t, shape) for t in tensors])


@primitive(half="as it is")
def _repeat(x: Array, sizes: tuple[int, ...]) -> Array:
    return np.tile(x, sizes)


def _fold(g: Any, x_shape: tuple[int, ...], sizes: tuple[int, ...]) -> Any:
    """Sum the repeats: every dimension is split into (repeats, size)."""
    padded = (1,) * (len(sizes) - len(x_shape)) + x_shape
    split = [n for pair in zip(sizes, padded, strict=True) for n in pair]
    return g.reshape(tuple(split)).sum(tuple(range(0, len(split), 2))).reshape(x_shape)


_repeat.vjp(x=lambda g, x_shape, sizes: _fold(g, x_shape, sizes))


def repeat(
    input: Tensor, *counts: int | Sequence[int], repeats: int | Sequence[int] | None = None
) -> Tensor:
    """Copies of the tensor side by side, `counts[i]` (or `repeats[i]`) times along dimension i.

    >>> import tinygrad_edu as torch
    >>> torch.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    sizes = read_shape("repeat", counts if repeats is None else (repeats,), "repeats")
    if len(sizes) < input.array.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of"
            " tensor"
        )
    if any([size < 0 for size in sizes]):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(sizes)}")
    return _repeat(input, sizes)


@named(dims="*")
def tile(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """`repeat`, with missing leading repeats taken as 1."""
    sizes = read_shape("tile", dims, "dims")
    return repeat(input, (1,) * (input.array.ndim - len(sizes)) + sizes)


@primitive(half="as it is")
def _flip(x: Array, dims: tuple[int, ...]) -> Array:
    return like(np.flip(x, dims), x) if dims and x.size else clone(x)


_flip.vjp(x=lambda g, dims: _flip(g, dims))


@named(dims="*")
def flip(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """The order of the elements reversed along `dims`; a copy.

    >>> import tinygrad_edu as torch
    >>> torch.tensor([1, 2, 3]).flip(0)
    tensor([3, 2, 1])
    """
    if not dims:
        raise TypeError('flip() missing 1 required positional arguments: "dims"')
    ndim = input.array.ndim
    places = read_dims(read_shape("flip", dims, "dims"), ndim)
    return _flip(input, places if ndim else ())


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.joining")
