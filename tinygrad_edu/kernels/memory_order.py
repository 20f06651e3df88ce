"""Filling an array in the order of its memory.

`x.T` shares the memory of `x`, but its elements are enumerated in another order. Random numbers
are stored in the order of memory, as in torch: the same numbers land in the same places of memory
whether a layer's activations are seen transposed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_edu.kernels.repeatable import repeatable

__all__ = [
    "as_real",
    "broadcast_strides",
    "by_columns",
    "cast",
    "channels_last",
    "clone",
    "empty_like",
    "fill",
    "for_leaf",
    "in_order",
    "in_turn",
    "like",
    "like_images",
    "overlap_in_part",
    "owner",
    "slow_to_fast",
    "stored",
]

Array = npt.NDArray[Any]
CHUNK = 16384  # numbers per step: the intermediate arrays then stay in the processor's cache


def slow_to_fast(array: Array) -> list[int]:
    """The axes of `array` from the largest stride to the smallest: the order of its memory."""
    return _ordered(array.shape, [array.strides])


def _ordered(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[int]:
    """The axes from the slowest to the fastest, as the strides of some arrays of `shape` tell.

    An axis of stride zero (a broadcast one) has no place of its own in memory.  The next array
    that steps along both axes decides; if there is none, it keeps its place among its neighbours.
    That is not an ordinary comparison, hence torch's insertion sort.
    """

    def order(a: int, b: int) -> int:
        """1 if axis `a` is the slower one, -1 if it is the faster, 0 if nothing tells."""
        for steps in strides:
            if steps[a] and steps[b]:
                one, other = abs(steps[a]), abs(steps[b])
                if (one, shape[a]) > (other, shape[b]):
                    return 1
                if one < other:
                    return -1
        return 0

    axes = list(range(len(shape)))[::-1]  # the last axis is usually the fastest
    for end in range(1, len(axes)):
        moving = end
        for i in range(end - 1, -1, -1):
            slower = order(axes[i], axes[moving])
            if slower > 0:
                axes[i], axes[moving] = axes[moving], axes[i]
                moving = i
            elif slower < 0:
                break
    return axes[::-1]


def empty_like(array: Array, dtype: npt.DTypeLike | None = None) -> Array:
    """A new array without values, whose axes follow each other in memory as those of `array` do.

    Unlike `np.empty_like`, and like torch's, an axis of stride zero keeps its place.

    >>> empty_like(np.zeros((2, 3), np.int8).T).strides
    (1, 3)
    """
    dtype = array.dtype if dtype is None else dtype
    if array.flags.c_contiguous:
        return np.empty_like(array, dtype, "C")
    axes = slow_to_fast(array)
    shape = tuple([array.shape[a] for a in axes])
    return np.empty_like(array, dtype, "C", shape=shape).transpose(np.argsort(axes).tolist())


_FORMATS = {
    "torch.channels_last": (0, 2, 3, 1),
    "torch.channels_last_3d": (0, 2, 3, 4, 1),
}


def axes_of(memory_format: object, ndim: int) -> tuple[int, ...] | None:
    """The dimensions from the slowest to the fastest in memory; None: as they are.

    Raises:
        RuntimeError: the format is for tensors of another number of dimensions.
    """
    if memory_format in (None, "torch.preserve_format"):
        return None
    if memory_format == "torch.contiguous_format":
        return tuple(range(ndim))
    if memory_format not in _FORMATS:
        raise TypeError(f"memory_format must be one of torch's, not {memory_format!r}")
    axes = _FORMATS[memory_format]
    if len(axes) != ndim:
        name = memory_format.removeprefix("torch.")
        raise RuntimeError(f"required rank {len(axes)} tensor to use {name} format")
    return axes


def empty_in_order(
    xp: Any, shape: Sequence[int], dtype: npt.DTypeLike, axes: Sequence[int]
) -> Array:
    """A new array without values, whose axes follow each other in memory in that order.

    >>> empty_in_order(np, (2, 3), np.int8, (1, 0)).strides
    (1, 2)
    """
    y: Array = xp.empty([shape[a] for a in axes], dtype)
    return y.transpose([[*axes].index(i) for i in range(len(axes))])


def channels_are_last(x: Array) -> bool:
    """Whether torch takes an array of 4 or 5 dimensions for one in channels-last format.

    The sizes do not decide where an axis has one element only, or the strides tell nothing.
    """
    if x.ndim not in (4, 5) or not x.size or not x.strides[1]:
        return False
    least = 0
    for axis in (1, *range(x.ndim - 1, 1, -1), 0):
        if x.strides[axis] < least or (axis == 0 and least == x.strides[1]):
            return False
        least = x.strides[axis] * x.shape[axis]
    return True


def clone(array: Array) -> Array:
    """A copy whose axes follow each other in memory as those of `array` do."""
    if array.flags.c_contiguous:
        return array.copy()
    y = empty_like(array)
    y[...] = array
    return y


@repeatable
def cast(array: Array, dtype: npt.DTypeLike) -> Array:
    """`array.astype(dtype)`; an expanded one is laid out as `clone` does it."""
    if array.flags.c_contiguous or 0 not in array.strides:
        return array.astype(dtype)
    y = empty_like(array, dtype)
    np.copyto(y, array, casting="unsafe")
    return y


def in_order(y: Array) -> Array:
    """`y` itself if its elements lie in C order, else a copy where they do.

    NumPy gives many results the order of their input; torch gives them C order.
    """
    return y if y.flags.c_contiguous else y.copy()


def like(y: Array, x: Array) -> Array:
    """A result `y` with its axes in memory as those of `x`, of the same shape."""
    if x.flags.c_contiguous:
        return in_order(y)
    z = empty_like(x, y.dtype)
    if y.strides == z.strides:
        return y
    z[...] = y
    return z


def for_leaf(x: Array, g: Array, mine: bool) -> Array:
    """`g` or a copy, to be the `.grad` of `x`: it lies as `x` does, or in C order if `x` has gaps.

    Args:
        mine: nobody else holds `g`, so it need not be copied if it lies like that.

    Source: "Default gradient layouts" in torch's documentation of `torch.autograd`.

    >>> for_leaf(np.zeros((2, 3), np.int8).T, np.ones((3, 2), np.int8), True).strides
    (1, 3)
    """
    if mine and g.strides == x.strides:
        return g
    if not x.flags.c_contiguous and x.transpose(slow_to_fast(x)).flags.c_contiguous:
        y = empty_like(x, g.dtype)
        y[...] = g
        return y
    return g.copy()


def in_turn(y: Array, first: Array, *more: Any, dtype: np.dtype[Any] | None = None) -> Array:
    """An elementwise result `y` with its axes in the order that torch gives it.

    Of two axes the first operand that steps along both says which is the slower one.  (To NumPy
    they are in C order unless all operands agree on another.)  Numbers have no say.  Operands
    that torch casts to `dtype` first have no strides of zero when they are asked.

    >>> a, b = np.zeros((3, 2), np.int8).T, np.zeros((2, 3), np.int8)
    >>> in_turn(a + b, a, b).strides, in_turn(b + a, b, a).strides
    ((1, 2), (3, 1))
    """
    shape = y.shape
    if first.shape == shape:
        if first.flags.c_contiguous:
            return y if y.flags.c_contiguous else y.copy()
        if first.strides == y.strides and 0 not in y.strides:
            return y
    given = [first, *[x for x in more if hasattr(x, "strides")]]
    if dtype is not None:
        given = [x if x.dtype == dtype else empty_like(x) for x in given]
    return stored(
        y, *[x.strides if x.shape == shape else broadcast_strides(x, shape) for x in given]
    )


def broadcast_strides(x: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of `x` when it is broadcast to `shape`."""
    missing = len(shape) - x.ndim
    pairs = zip(x.shape, shape[missing:], x.strides, strict=True)
    return (0,) * missing + tuple([step if have == size else 0 for have, size, step in pairs])


def stored(y: Array, *strides: Sequence[int]) -> Array:
    """`y` with its axes in the order that these strides tell, the first ones first."""
    axes = _ordered(y.shape, strides)
    if y.transpose(axes).flags.c_contiguous:
        return y
    z = np.empty_like(y, order="C", shape=tuple([y.shape[a] for a in axes]))
    z = z.transpose(np.argsort(axes).tolist())
    z[...] = y
    return z


def like_images(y: Array, *sources: Array, ndims: tuple[int, ...] = (4, 5)) -> Array:
    """A result `y` (N, C, ...) with its channels last in memory if those of a source are, as in
    torch; else in C order.

    Args:
        ndims: the numbers of dimensions of which torch takes this notice.
    """
    images = [x for x in sources if not x.flags.c_contiguous and x.ndim in ndims]
    if not any([channels_last(x) for x in images]):
        return in_order(y)
    return np.moveaxis(in_order(np.moveaxis(y, 1, -1)), -1, 1)


def channels_last(x: Array) -> bool:
    """Whether images (N, C, ...) are stored with the channels last.

    Their strides grow from the channels over the last axis to the first.
    """
    least = 0
    for axis in (1, *range(x.ndim - 1, 1, -1), 0):
        size, step = x.shape[axis], x.strides[axis]
        if not size or step < least or not step or (axis == 0 and least == x.strides[1]):
            return False
        least = step * size
    return True


def overlap_in_part(a: Array, b: Array, or_whole: bool = False, gaps: str = "free") -> bool:
    """Whether two arrays share memory without being the same elements in the same places.

    Args:
        or_whole: say so of those that are the same elements in the same places, too.
        gaps: what to say of arrays with gaps, at which torch does not look: "free" that they share
            nothing; "alone" whether they do; "in turn" whether something is read that was written
            before, if `a` is written element by element; "copied" the same where it is written
            with `b`, so that what was written with itself does no harm; "expanded" if `b` is
            expanded before.
    """
    if not a.size or not b.size:
        return False
    if a is b:
        return or_whole
    grown = gaps == "expanded" and a.shape != b.shape
    if grown or not all([x.transpose(slow_to_fast(x)).flags.c_contiguous for x in (a, b)]):
        if gaps == "free":
            return False
        from tinygrad_edu.kernels.overlap import meets_what_was_written  # few programs need it

        return meets_what_was_written(a, b, gaps)
    start, other = [x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr for x in (a, b)]
    if start == other and a.nbytes == b.nbytes:  # steps along a dimension of size 1 do not count
        steps = [[s for s, n in zip(x.strides, x.shape, strict=True) if n > 1] for x in (a, b)]
        return or_whole or a.ndim != b.ndim or steps[0] != steps[1]
    return bool(start < other + b.nbytes and other < start + a.nbytes)


def owner(array: Array) -> Array:
    """The array that owns the memory, or is the first to see memory of another object."""
    while isinstance(array.base, type(array)):
        array = array.base
    return array


def by_columns(y: Array) -> Array:
    """Matrices (..., m, n) stored column after column, as LAPACK returns them."""
    return in_order(y.swapaxes(-1, -2)).swapaxes(-1, -2)


def fill(array: Array, draw: Callable[[int], Array]) -> None:
    """Overwrite `array`, in memory order, with what `draw(n)` gives, a chunk at a time."""
    view = array if array.flags.c_contiguous else array.transpose(slow_to_fast(array))
    in_place = view.flags.c_contiguous
    flat = view.reshape(-1) if in_place else np.empty(view.size, view.dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes inf
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            values = draw(part.size)
            if flat.dtype.char in "eE":  # torch rounds to 16 bits by way of float32
                values = values.astype(np.float32)
            part[...] = values
    if not in_place:
        view[...] = flat.reshape(view.shape)


def as_real(array: Array) -> Array:
    """A complex array as a real one with a last axis of length 2; any other array unchanged.

    >>> as_real(np.array([1 + 2j])).tolist()
    [[1.0, 2.0]]
    """
    if array.dtype.kind != "c":
        return array
    return array[..., None].view(np.dtype(f"f{array.dtype.itemsize // 2}"))
