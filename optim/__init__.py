"""Optimizers, each the equation of its update, in order of increasing complexity; and schedules."""

from __future__ import annotations

import typing as _typing

if __name__ != "tinygrad_edu.optim":
    raise ImportError("import this package as tinygrad_edu.optim")

from tinygrad_edu.names.missing import later as _later

if _typing.TYPE_CHECKING:
    from . import lr_scheduler, swa_utils
    from .adam import Adam
    from .adamw import AdamW
    from .more.adadelta import Adadelta
    from .more.adafactor import Adafactor
    from .more.adagrad import Adagrad
    from .more.adamax import Adamax
    from .more.asgd import ASGD
    from .more.lbfgs import LBFGS
    from .more.muon import Muon
    from .more.nadam import NAdam
    from .more.radam import RAdam
    from .more.rmsprop import RMSprop
    from .more.rprop import Rprop
    from .optimizer import Optimizer
    from .sgd import SGD

# Imported when it is asked for: each name, and the module that it is in.
_IN = {
    "": ["lr_scheduler", "swa_utils"],
    "more.adadelta": ["Adadelta"],
    "more.adafactor": ["Adafactor"],
    "more.adagrad": ["Adagrad"],
    "adam": ["Adam"],
    "more.adamax": ["Adamax"],
    "adamw": ["AdamW"],
    "more.asgd": ["ASGD"],
    "more.lbfgs": ["LBFGS"],
    "more.muon": ["Muon"],
    "more.nadam": ["NAdam"],
    "optimizer": ["Optimizer"],
    "more.radam": ["RAdam"],
    "more.rmsprop": ["RMSprop"],
    "more.rprop": ["Rprop"],
    "sgd": ["SGD"],
}  # fmt: skip


__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]

if not _typing.TYPE_CHECKING:  # a type checker finds unknown names by itself
    __getattr__, __dir__ = _later(__name__, _IN)
