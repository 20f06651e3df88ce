"""Layers, losses and everything else a model is built from: `Module` first of all."""

from __future__ import annotations

from typing import TYPE_CHECKING as _TYPE_CHECKING

if __name__ != "tinygrad_edu.nn":
    raise ImportError("import this package as tinygrad_edu.nn")

from tinygrad_edu.names.missing import missing as _missing

from . import attention, common_types, functional, init, modules, parallel, utils
from .modules import *  # noqa: F403  (the names in modules.__all__)
from .modules import __all__ as _layers
from .parallel import DataParallel
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer", "DataParallel", "Parameter", "UninitializedBuffer", "UninitializedParameter",
    "attention", "common_types", "functional", "init", "modules", "parallel", "utils", *_layers,
]  # fmt: skip

if not _TYPE_CHECKING:  # a type checker finds unknown names by itself
    __getattr__ = _missing(__name__)
