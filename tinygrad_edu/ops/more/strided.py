"""Tensors laid over memory by hand: as_strided and kin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import beside, module_for, place_of, strided
from tinygrad_edu.dtypes import Array, default, to_numpy
from tinygrad_edu.engine.inplace import check_writable
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import as_array
from tinygrad_edu.engine.views import Step
from tinygrad_edu.kernels.atomic import add_at
from tinygrad_edu.kernels.memory_order import slow_to_fast
from tinygrad_edu.ops.arguments import named
from tinygrad_edu.ops.creation import DeviceLike, Dtype, finish
from tinygrad_edu.ops.reduction import sum
from tinygrad_edu.ops.shape import _permute, _view
from tinygrad_edu.size import read_new_shape, read_shape

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _places(size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Array:
    """For each element, its position in memory."""
    places: Array = np.asarray(offset)
    for count, step in zip(size, stride, strict=True):
        places = places[..., None] + np.arange(count) * step
    return places


@primitive(view=True)
def _as_strided(x: Array, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Array:
    flat = x.reshape(-1)[offset:]
    steps = [step * x.itemsize for step in stride]
    return strided(flat, size, steps)


@primitive
def _as_strided_back(
    x: Array, shape: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> Array:
    """What arrives at each element of a strided view, added up where it lies in memory."""
    y = np.zeros_like(x, shape=(math.prod(shape),), order="C")
    add_at(y, (beside(_places(size, stride, offset), as_array(x)),), x)
    return y.reshape(shape)


_as_strided.vjp(
    x=lambda g, x_shape, size, stride, offset: _as_strided_back(
        g, tuple(x_shape), size, stride, offset
    )
)
_as_strided_back.vjp(x=lambda g, size, stride, offset: _as_strided(g, size, stride, offset))


def as_strided(
    input: Any, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A view of the memory of `input` with these sizes and steps, in elements.

    Args:
        storage_offset: where in memory the first element lies; where that of `input` does, if None.

    Raises:
        RuntimeError: an element would lie outside, or the memory has gaps.

    Unlike torch, the memory is that of the tensor that `input` is a view of, or its own; and of a
    leaf that requires grad, or a detached tensor, its own.  All of it gets gradients, also what
    lies outside of `input`.

    >>> import tinygrad_edu as torch
    >>> torch.as_strided(torch.arange(5), (3, 3), (1, 1))
    tensor([[0, 1, 2],
            [1, 2, 3],
            [2, 3, 4]])
    """
    size, stride = read_shape("as_strided", (size,)), read_shape("as_strided", (stride,))
    offset = input.storage_offset() if storage_offset is None else storage_offset
    whole = input if input._base is None else input._base
    if input.requires_grad and input.node is input.leaf:  # its history starts here
        whole = input
    else:
        whole = _beginning_alike(whole, input)
    at, before, part = offset, whole.storage_offset(), whole.view_of is not None
    offset -= before
    if not whole.array.flags.c_contiguous:
        whole = _permute(whole, tuple(slow_to_fast(whole.array)))
    if not whole.array.flags.c_contiguous:
        raise RuntimeError("as_strided: the elements do not lie in order, without gaps, in memory")
    if len(size) != len(stride):
        raise RuntimeError(
            f"mismatch in length of strides and shape: {len(stride)} and {len(size)}"
        )
    ends = [(count - 1) * step for count, step in zip(size, stride, strict=True)]
    item, held = whole.array.itemsize, whole.array.size
    if all(size) and (offset < 0 or math.fsum(ends) + offset >= held):
        if part and at >= 0:
            raise RuntimeError(
                f"as_strided: sizes {list(size)}, strides {list(stride)} and storage offset {at}"
                f" reach beyond the tensor that requires grad: elements {before} to"
                f" {before + held - 1} of the memory"
            )
        needed = (int(math.fsum(ends)) + at + 1) * item
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {at}, and"
            f" itemsize {item} requiring a storage size of {needed} are out of bounds for storage"
            f" of size {held * item}"
        )
    return _as_strided(whole, size, stride, offset)


def _beginning_alike(whole: Any, view: Any) -> Any:
    """The memory `whole`, with a history that begins where that of its `view` does."""
    start = view.node
    for _ in () if view.view_of is None else view.view_of.path:
        if start is None or start is whole.node or not start.edges:  # of the base, or cut off
            break
        start = (start.whole or start).edges[0]
    if whole is view or start is whole.node:
        return whole
    twin = _view(whole, whole.array.shape)
    twin.node = start
    return twin


def no_step_back(step: Step, x: Array) -> Step:
    """A step that is refused: how an array lay in memory cannot be told from one in another way."""

    def refuse(view: object) -> Any:
        raise RuntimeError("a view made before `as_strided_` of its base has no history any more")

    return refuse, (), None


def empty_strided(
    size: Any, stride: Any, *, dtype: Dtype = None, device: DeviceLike = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor with these steps in memory, whose values are whatever the memory held."""
    shape, steps = read_new_shape("empty_strided", (size,)), read_shape("empty_strided", (stride,))
    target = default() if dtype is None else to_numpy(dtype)
    ends = [(count - 1) * step for count, step in zip(shape, steps, strict=True)]
    memory = module_for(place_of(device)).empty(
        int(math.fsum(ends)) + 1 if all(shape) else 0, target
    )
    return finish(_as_strided.primitive.forward(memory, shape, steps, 0), device, requires_grad)


def new_empty_strided(input: Any, size: Any, stride: Any, **options: Any) -> Tensor:
    """`empty_strided` with the dtype and device of `input`."""
    options = {"dtype": input.dtype, "device": input.device} | options
    return empty_strided(size, stride, **options)


@named(size="*")
def resize_(input: Tensor, *sizes: int | Sequence[int], memory_format: object = None) -> Tensor:
    """Give the tensor another shape, in place: the elements it has, in the order of memory.

    Raises:
        RuntimeError: it requires grad, or is a view.
    """
    shape = read_new_shape("resize_", sizes)
    check_writable(input)
    if input.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if input.view_of is not None:
        raise RuntimeError("cannot resize a view: its memory belongs to another tensor")
    count = math.prod(shape)
    flat = input.array.ravel(order="K")
    if count > flat.size:
        more = np.empty_like(flat, shape=(count,))
        more[: flat.size] = flat
        flat = more
    input.array = flat[:count].reshape(shape)
    input._storage.write()
    return input


@named(the_template="other")
def resize_as_(input: Tensor, other: Tensor, *, memory_format: object = None) -> Tensor:
    """`resize_` to the shape of `other`."""
    return resize_(input, other.array.shape)


@named(size="*")
def sum_to_size(input: Tensor, *size: int | Sequence[int]) -> Tensor:
    """The sum over those dimensions in which `size` is 1, or that it lacks: undoes `expand`.

    >>> import tinygrad_edu as torch
    >>> torch.ones(2, 3).sum_to_size(1, 3)
    tensor([[2., 2., 2.]])
    """
    target, shape = read_shape("sum_to_size", size), input.array.shape
    extra = len(shape) - len(target)
    fits = [a in (1, b) for a, b in zip(target, shape[max(extra, 0) :], strict=False)]
    if extra < 0 or not all(fits):
        raise RuntimeError(f"size {list(target)} is not expandable to size {list(shape)}.")
    if not target:
        return sum(input)
    dims = [i for i, n in enumerate(shape) if i < extra or (target[i - extra] == 1 != n)]
    if not dims:
        return input
    return sum(input, dims, True).reshape(target)
