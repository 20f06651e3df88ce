"""Evenly spaced float32 and float64 numbers, rounded in the last bit as torch rounds them.

torch's kernels multiply and add in one rounding (fma), and for `arange` count in steps of a vector
of 32 bytes: each vector starts from its own first number, and only what two vectors no longer
fill is computed number by number.
"""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array, NumpyDtype
from tinygrad_edu.kernels.rounding import fma32, fma64

VECTOR = 32
"""Bytes of a vector."""


def arange(start: float, step: float, count: int, dtype: NumpyDtype) -> Array:
    """start, start + step, ...: `count` numbers.

    Unlike torch, which cuts ranges of more than 32,768 numbers for its threads, and so rounds
    differently on each number of threads, this is what one thread computes.

    >>> arange(0.1, 0.1, 3, np.dtype(np.float32)).tolist()
    [0.10000000149011612, 0.20000000298023224, 0.30000001192092896]
    """
    lanes = VECTOR // dtype.itemsize
    whole = count // (2 * lanes) * 2 * lanes
    values = np.empty(count, dtype)
    firsts = fma64(np.arange(0, whole, lanes, dtype=np.float64), step, start)
    firsts = firsts.astype(dtype).astype(np.float64)[:, None]
    values[:whole] = fma64(np.arange(lanes, dtype=np.float64), step, firsts).reshape(-1)
    values[whole:] = fma64(np.arange(whole, count, dtype=np.float64), step, start)
    return values


def linspace(start: float, end: float, count: int, dtype: NumpyDtype) -> Array:
    """`count` >= 2 numbers from `start` to `end`: the first half up from the one, the rest down
    from the other.

    >>> linspace(0.0, 1.0, 3, np.dtype(np.float32)).tolist()
    [0.0, 0.5, 1.0]
    """
    fma = fma32 if dtype == np.float32 else fma64
    first, last = dtype.type(start), dtype.type(end)
    step = (last - first) / dtype.type(count - 1)
    half = count // 2
    up = fma(np.arange(half, dtype=dtype), step, first)
    down = fma(np.arange(count - 1 - half, -1, -1, dtype=dtype), -step, last)
    return np.concatenate([up, down])
