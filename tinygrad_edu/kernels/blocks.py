"""Chains of elementwise operations, a block at a time.

NumPy runs one operation over a whole array before the next.  For arrays larger than the cache each
operation then waits for memory.  Cut into blocks, the operations of a chain find their operands
still in the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array

BLOCK = 1 << 18
"""Bytes of one array's block.  The few blocks a chain works on take 1 to 2 MB, a core's share of
the cache; and the 0.2 us that every call of NumPy costs are little beside the work on a block."""


Pool = dict[Any, Array]
"""Scratch arrays, as vectors, by dtype and number."""


def blocks(
    *arrays: Array, scratch: int = 1, length: int = 0, pool: Pool | None = None
) -> Iterable[tuple[Array, ...]]:
    """The arrays, block by block, and after them scratch arrays of the block's shape and dtype.

    Args:
        arrays: of equal shape and dtype; written in place by the caller.
        scratch: how many scratch arrays.
        length: elements of a block; as many as `BLOCK` bytes hold unless given.
        pool: keeps the scratch arrays, for calls to come; the arrays are in C order.

    >>> x = np.arange(5.0)
    >>> for part, square in blocks(x):
    ...     _ = np.multiply(part, part, out=square)
    ...     _ = np.add(part, square, out=part)
    >>> x.tolist()
    [0.0, 2.0, 6.0, 12.0, 20.0]
    """
    first = arrays[0]
    length = length or BLOCK // first.itemsize
    if pool is not None:
        spare = [_pooled(pool, first.dtype, i, min(length, first.size)) for i in range(scratch)]
        if first.size <= length:
            return [(*arrays, *[s.reshape(first.shape) for s in spare])]
        return _cut([a.reshape(-1) for a in arrays], spare, length)
    if first.size <= length and first.__class__ is np.ndarray and first.flags.c_contiguous:
        return [(*arrays, *[np.empty(first.shape, first.dtype) for _ in range(scratch)])]
    whole = flat(arrays) if first.size > length and isinstance(first, np.ndarray) else None
    if whole is None:  # small; or on the GPU; or in different orders: no block fits all arrays
        return [(*arrays, *[np.empty_like(first) for _ in range(scratch)])]
    return _cut(whole, [np.empty(length, first.dtype) for _ in range(scratch)], length)


def _pooled(pool: Pool, dtype: Any, i: int, length: int) -> Array:
    found = pool.get((dtype, i))
    if found is None or found.size < length:
        found = pool[dtype, i] = np.empty(length, dtype)
    return found[:length]


def _cut(whole: list[Array], spare: list[Array], length: int) -> Iterator[tuple[Array, ...]]:
    for start in range(0, whole[0].size, length):
        parts = [a[start : start + length] for a in whole]
        if parts[0].size < length:
            spare = [s[: parts[0].size] for s in spare]
        yield *parts, *spare


def flat(arrays: tuple[Array, ...]) -> list[Array] | None:
    """The arrays as vectors that share their memory, if they all lie in one order."""
    if all(a.flags.c_contiguous for a in arrays):
        return [a.reshape(-1) for a in arrays]
    if all(a.flags.f_contiguous for a in arrays):
        return [a.T.reshape(-1) for a in arrays]
    return None


def constants(x: Array, *values: float) -> tuple[Any, ...]:
    """Numbers in the form that costs least per operation with `x`: 0-d arrays for NumPy.

    They have the dtype of `x`, so they never widen it.
    """
    return _constants(x.dtype, *values) if isinstance(x, np.ndarray) else values


@lru_cache(maxsize=64)
def _constants(dtype: Any, *values: float) -> tuple[Any, ...]:
    """Made once for all the parameters of a step, and all the steps of a training."""
    return tuple([np.array(value, dtype) for value in values])


def filled(x: Array, n: int, value: float) -> Array:
    """A vector of `n` equal numbers like those of `x`, to add up rows or columns by a product.

    It is made once if it is not long; nobody may write to it.
    """
    if isinstance(x, np.ndarray) and n <= BLOCK // 8:
        return _filled(x.dtype, n, value)
    return np.full_like(x, value, shape=n)


@lru_cache(maxsize=32)
def _filled(dtype: Any, n: int, value: float) -> Array:
    vector = np.full(n, value, dtype)
    vector.flags.writeable = False
    return vector
