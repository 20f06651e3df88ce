"""Filling an array in the order of its memory.

`x.T` shares the memory of `x`, but its elements are enumerated in another order. Random numbers
are stored in the order of memory, as in torch: the same numbers land in the same places of memory
whether a layer's activations are seen transposed or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "as_real",
    "by_columns",
    "cast",
    "clone",
    "empty_like",
    "fill",
    "in_order",
    "like",
    "overlap_in_part",
    "slow_to_fast",
]

Array = npt.NDArray[Any]
CHUNK = 16384  # numbers per step: the intermediate arrays then stay in the processor's cache


def slow_to_fast(array: Array) -> list[int]:
    """The axes of `array` from the largest stride to the smallest: the order of its memory.

    An axis of stride zero (a broadcast one) has no place of its own in memory; it keeps its place
    among its neighbours. That is no ordinary comparison, hence torch's insertion sort.
    """
    strides = [abs(s) for s in array.strides]
    axes = list(range(array.ndim))[::-1]  # the last axis is usually the fastest
    for end in range(1, array.ndim):
        moving = end
        for i in range(end - 1, -1, -1):
            a, b = axes[i], axes[moving]
            if strides[a] == 0 or strides[b] == 0:
                continue
            if (strides[a], array.shape[a]) > (strides[b], array.shape[b]):
                axes[i], axes[moving] = b, a
                moving = i
            elif strides[a] < strides[b]:
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


def clone(array: Array) -> Array:
    """A copy whose axes follow each other in memory as those of `array` do."""
    if array.flags.c_contiguous:
        return array.copy()
    y = empty_like(array)
    y[...] = array
    return y


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


def overlap_in_part(a: Array, b: Array) -> bool:
    """Whether two arrays share memory without being the same elements in the same places.

    As in torch, only arrays without gaps are looked at; False is said of others.
    """
    if a is b or not a.size or not b.size:
        return False
    if not all([x.transpose(slow_to_fast(x)).flags.c_contiguous for x in (a, b)]):
        return False
    start, other = [x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr for x in (a, b)]
    if start == other and a.nbytes == b.nbytes:  # steps along a dimension of size 1 do not count
        steps = [[s for s, n in zip(x.strides, x.shape, strict=True) if n > 1] for x in (a, b)]
        return a.ndim != b.ndim or steps[0] != steps[1]
    return bool(start < other + b.nbytes and other < start + a.nbytes)


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
