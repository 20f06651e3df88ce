"""`torch.backends.cpu`: what the processor can do."""

from __future__ import annotations

import importlib
from typing import Any


def get_cpu_capability() -> str:
    """The widest vector instructions that NumPy found: "AVX512", "AVX2" or "DEFAULT".

    >>> import tinygrad_edu as torch
    >>> torch.backends.cpu.get_cpu_capability() in ("AVX512", "AVX2", "DEFAULT")
    True
    """
    try:
        umath: Any = importlib.import_module("numpy._core._multiarray_umath")
    except ImportError:
        return "DEFAULT"
    features = getattr(umath, "__cpu_features__", {})
    if features.get("AVX512F"):
        return "AVX512"
    return "AVX2" if features.get("AVX2") else "DEFAULT"
