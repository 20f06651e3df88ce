"""Optimizers, each the equation of its update, in order of increasing complexity; and schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING as _TYPE_CHECKING

if __name__ != "tinygrad_edu.optim":
    raise ImportError("import this package as tinygrad_edu.optim")

from tinygrad_edu.names.missing import missing as _missing

from . import lr_scheduler, swa_utils
from .adadelta import Adadelta
from .adafactor import Adafactor
from .adagrad import Adagrad
from .adam import Adam
from .adamax import Adamax
from .adamw import AdamW
from .asgd import ASGD
from .muon import Muon
from .nadam import NAdam
from .optimizer import Optimizer
from .radam import RAdam
from .rmsprop import RMSprop
from .rprop import Rprop
from .sgd import SGD

__all__ = [
    "ASGD",
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

if not _TYPE_CHECKING:  # a type checker finds unknown names by itself
    __getattr__ = _missing(__name__)
