"""Indices out of range on a GPU.

CuPy lets such an index wrap around.  To look at the indices before they are used, the host would
have to wait for the GPU; so the kernel that uses them, or one before it, notes what it finds in the
GPU's memory, and the note is read when the host next waits anyway, for `.item()` or a copy.  torch
reports them as late.
"""

from __future__ import annotations

import importlib

import numpy as np

from tinygrad_edu.backend import current_gpu, device, module_for, module_of
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda.launch import blocks_for, dense, start

_notes: dict[int, Array] = {}
"""For each GPU that has been given indices: 1 if one of them was out of range."""


def require(index: Array, low: int, high: int) -> None:
    """Let the GPU check that all of `index`, an array on it, lie in [low, high)."""
    if not hasattr(module_of(index), "RawModule"):
        return
    start("embedding", "check_range", blocks_for(index.size), index,
          dense(index.astype(np.int64, copy=False)), index.size, low, high, note(),
          dtype=np.float32)  # fmt: skip


def wrong_index(index: Array, low: int, high: int) -> int | None:
    """An index that is not in [low, high), if there is one.

    Of an array on a GPU it is always None: the GPU checks it, and `download` tells.
    """
    if not index.size:
        return None
    if not isinstance(index, np.ndarray):
        require(index, low, high)
        return None
    least, most = int(index.min()), int(index.max())
    return most if most >= high else least if least < low else None


def note() -> Array:
    """Where a kernel on the current GPU writes 1 when it finds an index out of range."""
    here = current_gpu()
    if here not in _notes:
        _notes[here] = module_for(device("cuda")).zeros(1, np.int32)
    return _notes[here]


def download(array: Array) -> Array:
    """The array, copied to the host; RuntimeError if an index was out of range on its GPU.

    The note is asked for first and comes with it: the host waits once.
    """
    noted = _notes.get(array.device.id)
    if noted is None:
        return array.get()
    found = importlib.import_module("cupyx").empty_pinned(1, np.int32)
    noted.get(out=found, blocking=not array.size)  # CuPy does not wait for an empty array
    host = array.get()
    if found[0]:
        noted[...] = 0
        raise RuntimeError(
            "CUDA error: device-side assert triggered: an index was out of range in an operation"
            " since the GPU was last waited for"
        )
    return host


def forget() -> None:
    """Drop all notes: the tests exchange CuPy under them."""
    _notes.clear()
