"""Which element of an array is read after it has been written, where memory has gaps."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.memory_order import slow_to_fast

PATIENCE: Any = 10_000
"""How many solutions NumPy may try; what is harder is taken for apart."""


def meets_what_was_written(a: Array, b: Array, gaps: str) -> bool:
    """Whether writing `a` from `b`, in the order of its memory, reads what was written before.

    Args:
        gaps: as of `overlap_in_part`.
    """
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return False  # who comes first on a GPU is left to chance
    try:
        if not np.shares_memory(a, b, max_work=PATIENCE):
            return False
        source = np.broadcast_to(b, a.shape)
    except (np.exceptions.TooHardError, ValueError):
        return False
    if gaps == "alone":
        return True
    start, other = a.ctypes.data, b.ctypes.data
    steps = [[s for s, n in zip(x.strides, a.shape, strict=True) if n > 1] for x in (a, source)]
    if steps[0] == steps[1] and min(steps[0], default=1) > 0:
        return other < start
    order = slow_to_fast(a)
    written, read = [_addresses(x.transpose(order)) for x in (a, source)]
    read += other - start
    by_address = np.argsort(written, kind="stable")
    place = np.searchsorted(written, read, sorter=by_address).clip(max=written.size - 1)
    writer = by_address[place]  # who wrote what is read, and when
    met = (written[writer] == read) & (writer < np.arange(read.size))
    if gaps in ("copied", "expanded"):
        met &= read[writer] != written[writer]
    return bool(met.any())


def _addresses(x: Array) -> Array:
    """Of each element, how far in memory it lies behind the first."""
    places: Array = np.zeros((), np.int64)
    for count, step in zip(x.shape, x.strides, strict=True):
        places = places[..., None] + np.arange(count) * step
    return places.reshape(-1)
