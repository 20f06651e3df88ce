"""Freed memory stays with the process, ready for the next training step.

Every step allocates the same arrays and frees them again.  By default the C library of Linux gives
large ones back to the system at once, so the next step gets fresh pages, which the system must
first fill with zeros, one fault per 4 KB.  Told to keep up to 256 MB, it reuses the old memory,
which is still in the cache.  Measured on one core: a step of a GPT of 4 layers, 128 wide, takes 52
instead of 67 ms, a step of a perceptron with batches of 256 takes 3.9 instead of 4.6 ms.

(Arrays aligned to 64 bytes, which speed up some single operations, changed no training step by more
than 1 %, so arrays are not aligned.)
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from <malloc.h>
KEEP = 256 << 20
"""Bytes free at the end of the heap above which they go back to the system."""
LARGEST = 64 << 20
"""Bytes from which on an array gets pages of its own, given back as soon as it is freed."""


def keep_freed_memory() -> bool:
    """Tell the C library so; False where there is no such setting, or where the user chose one.

    The user's choice are the environment variables MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_
    and GLIBC_TUNABLES.
    """
    chosen = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    if not sys.platform.startswith("linux") or any(name in os.environ for name in chosen):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    return mallopt is not None and bool(
        mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, KEEP)
    )
