"""What the stand-in counts, and its own error."""

from __future__ import annotations

import collections
import json
import pathlib
from typing import Any

import numpy as np

from .traffic import of_arrays

API: dict[str, Any] = json.loads(pathlib.Path(__file__).with_name("cupy_api.json").read_text())
MISSING = {name: set(words) for name, words in API["missing_kw"].items()}
"""Keyword arguments that CuPy's function of that name lacks."""


class StrictError(AssertionError):
    """CuPy would not raise here, but its result is undefined or another than NumPy's."""


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class Counters:
    """How often host and device waited for each other or copied; whether they may wait."""

    synchronizations = uploads = downloads = 0
    launches: collections.Counter[str] = collections.Counter()
    """How often each kernel was started: once for each call of CuPy that computes or copies on the
    device (its sorts and scans start more), each kernel of ours, each product of cuBLAS."""
    bytes: collections.Counter[str] = collections.Counter()
    """What these have read and written, see traffic.py."""
    may_synchronize = True
    only_counting = False
    """Whether kernels and products are counted without being run; results are then arbitrary."""
    capturing = False

    @classmethod
    def reset(cls) -> None:
        cls.synchronizations = cls.uploads = cls.downloads = 0
        cls.may_synchronize, cls.capturing = True, False
        cls.only_counting = False
        cls.launches, cls.bytes = collections.Counter(), collections.Counter()


def launched(name: str, result: Any = None, *sources: Any, read: Any = None) -> None:
    """Note that a kernel was started; not where the result is empty or a view of a source.

    Args:
        read: the arrays that it has read, instead of the sources.
    """
    hosts = [x for x in sources if isinstance(x, np.ndarray)]
    for made in result if isinstance(result, (tuple, list)) else (result,):
        if isinstance(made, (np.ndarray, np.generic)) and (
            not made.size or any([np.may_share_memory(made, x) for x in hosts])
        ):
            return
    Counters.launches[name] += 1
    made = result if isinstance(result, (tuple, list)) else (result,)
    Counters.bytes[name] += of_arrays(*made, *(sources if read is None else read))


def synchronize(what: str) -> None:
    """Note that the host waits for the device."""
    Counters.synchronizations += 1
    if Counters.capturing:
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what}")
    if not Counters.may_synchronize:
        raise StrictError(f"the host waits for the device: {what}")


def check_dtype(dtype: Any) -> Any:
    """ValueError for element types that CuPy lacks."""
    found = np.dtype(dtype)
    known = found.kind in "biuf" and found.itemsize <= 8 or found.kind == "c"
    if not known and found.name != "bfloat16" or found.itemsize > 16:
        raise ValueError(f"Unsupported dtype {found}")
    return found


def refuse(name: str, kwargs: dict[str, Any]) -> None:
    """TypeError for a keyword argument that CuPy lacks."""
    bad = MISSING.get(name, set()) & set(kwargs)
    if bad:
        raise TypeError(f"{name}() got an unexpected keyword argument {sorted(bad)[0]!r}")
