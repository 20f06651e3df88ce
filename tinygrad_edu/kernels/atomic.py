"""Writing several values to one element: sums and products by index.

NumPy's `ufunc.at` does this for every dtype.  CuPy has only sums, of a few dtypes, by atomic
additions in no fixed order; the others are reduced to them here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.backend import module_of, new_like, switches
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.cuda import launch

_BLOCK = 1 << 15
_STAND_IN = {np.dtype(np.int64): np.dtype(np.uint64)}
"""Sums of these are sums of those, bit for bit."""
_SUMS = [np.dtype(d) for d in ("int32", "uint32", "uint64", "float16", "float32", "float64")]


def add_at(target: Array, index: tuple[Any, ...], values: Array) -> Array:
    """Add `values` to `target[index]` in place, once for every time an element is named."""
    arrays = [i for i in index if hasattr(i, "dtype")]
    if len(arrays) == 1 and arrays[0].dtype == bool:
        target[index] += values  # a mask names no element twice
    elif not isinstance(target, np.ndarray):
        _add_on_gpu(target, index, values)
    elif target.size and target.ndim > 1 and _names_rows(target, index, len(arrays)):
        _add_rows(target, arrays, values)
    else:
        np.add.at(target, index, values)
    return target


def _names_rows(target: Array, index: tuple[Any, ...], count: int) -> bool:
    """Whether the index is `count` arrays, of the first dimensions, and leads to whole rows."""
    first, rest = index[:count], index[count:]
    return (
        count > 0
        and bool(target.flags.c_contiguous)
        and all([hasattr(i, "dtype") and i.dtype != bool for i in first])
        and all([i == slice(None) for i in rest])
    )


def _add_rows(target: Array, index: list[Array], values: Any) -> None:
    """Where the index names whole rows: NumPy adds at single numbers six times as fast as at rows.

    The sums are the same bit for bit, as they are added in the same order.
    """
    count, lead = len(index), target.shape[: len(index)]
    rows: Array = np.zeros((), np.int64)
    for i, size in zip(index, lead, strict=True):
        rows = rows * size + np.where(i < 0, i + size, i)
    width = target[(0,) * count].size
    given = np.broadcast_to(values, rows.shape + target.shape[count:]).reshape(-1, width)
    rows, columns, flat = rows.reshape(-1, 1) * width, np.arange(width), target.reshape(-1)
    step = max(1, _BLOCK // max(width, 1))  # what is made of the index stays in the cache
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        np.add.at(flat, (rows[part] + columns).reshape(-1), given[part].reshape(-1))


def _add_on_gpu(target: Array, index: tuple[Any, ...], values: Any) -> None:
    dtype = target.dtype
    if hasattr(values, "astype"):
        values = values.astype(dtype, copy=False)
    if switches.deterministic and launch.ready(target) and target.size:
        places = np.arange(target.size, like=target).reshape(target.shape)[index]
        given = np.asarray(values, dtype=dtype, like=target)
        column = np.broadcast_to(given, places.shape).reshape(-1, 1)
        table = cuda.embedding.gradient(column, places.reshape(-1), target.size, True)
        target += table.reshape(target.shape)
        return
    add = module_of(target).add  # np.add.at does not pass a tuple of indices on to CuPy
    if dtype in _STAND_IN:
        word = _STAND_IN[dtype]
        given = values if hasattr(values, "view") else new_like(target, (), values)
        add.at(target.view(word), index, given.view(word))
    elif dtype in _SUMS:
        add.at(target, index, values)
    else:  # small integers, bool, bfloat16
        wide = np.zeros_like(target, dtype=np.int32 if dtype.kind in "iub" else np.float32)
        given = values.astype(wide.dtype) if hasattr(values, "astype") else values
        add.at(wide, index, given)
        target[...] = (target + wide).astype(dtype)


def multiply_at(target: Array, index: tuple[Any, ...], values: Any) -> None:
    """`target[index] *= values` in place, once for every time an element is named."""
    if isinstance(target, np.ndarray):
        np.multiply.at(target, index, values)
        return
    places = np.arange(target.size, like=target).reshape(target.shape)[index]
    factors = np.broadcast_to(np.asarray(values, like=target), places.shape).reshape(-1)
    order = np.argsort(places.reshape(-1))
    places, factors = places.reshape(-1)[order], factors[order]
    # The first naming of every element, then the second, ...: none is named twice in one step.
    turn = np.arange(places.size, like=places) - np.searchsorted(places, places)
    flat = target.reshape(-1)
    for time in range(int(turn.max()) + 1 if turn.size else 0):
        now = turn == time
        flat[places[now]] *= factors[now]
    target[...] = flat.reshape(target.shape)
