"""What the stand-in counts, and its own error."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

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
    may_synchronize = True
    capturing = False

    @classmethod
    def reset(cls) -> None:
        cls.synchronizations = cls.uploads = cls.downloads = 0
        cls.may_synchronize, cls.capturing = True, False


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
