"""Layers, losses and everything else a model is built from: `Module` first of all."""

from __future__ import annotations

if __name__ != "tinygrad_edu.nn":
    raise ImportError("import this package as tinygrad_edu.nn")

from . import functional, init, modules, utils
from .modules import *  # noqa: F403  (the names in modules.__all__)
from .modules import __all__ as _layers
from .parameter import Buffer, Parameter

__all__ = ["Buffer", "Parameter", "functional", "init", "modules", "utils", *_layers]
