"""Layers, losses and everything else a model is built from: `Module` first of all."""

from __future__ import annotations

import typing as _typing

if __name__ != "tinygrad_edu.nn":
    raise ImportError("import this package as tinygrad_edu.nn")

from tinygrad_edu.names.missing import later as _later

from . import functional, modules
from .modules import __all__ as _layers

if _typing.TYPE_CHECKING:
    from . import attention, common_types, init, parallel, parameter, utils
    from .modules import *  # noqa: F403  (the names in modules.__all__)
    from .parallel import DataParallel
    from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

# Imported when it is asked for: each name, and the module that it is in.
_IN = {
    "": ["attention", "common_types", "init", "parallel", "parameter", "utils"],
    "parallel": ["DataParallel"],
    "parameter": ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter"],
    "modules": _layers,
}

__all__ = [
    "Buffer", "DataParallel", "Parameter", "UninitializedBuffer", "UninitializedParameter",
    "attention", "common_types", "functional", "init", "modules", "parallel", "parameter",
    "utils", *_layers,
]  # fmt: skip

if not _typing.TYPE_CHECKING:  # a type checker finds unknown names by itself
    __getattr__, __dir__ = _later(__name__, _IN)
