"""Learning-rate schedules: `scheduler.step()` after each epoch (or batch) sets `group["lr"]`."""

from __future__ import annotations

import typing as _typing

from tinygrad_edu.names.missing import later as _later

if _typing.TYPE_CHECKING:
    from .base import LRScheduler, _LRScheduler
    from .composed import ChainedScheduler, SequentialLR
    from .cosine import CosineAnnealingLR
    from .cyclic import CyclicLR, OneCycleLR
    from .factors import (
        ConstantLR,
        ExponentialLR,
        LambdaLR,
        LinearLR,
        MultiplicativeLR,
        MultiStepLR,
        PolynomialLR,
        StepLR,
    )
    from .plateau import ReduceLROnPlateau
    from .restarts import CosineAnnealingWarmRestarts

# Imported when it is asked for: each name, and the module that it is in.
_IN = {
    "base": ["LRScheduler", "_LRScheduler"],
    "composed": ["ChainedScheduler", "SequentialLR"],
    "cosine": ["CosineAnnealingLR"],
    "cyclic": ["CyclicLR", "OneCycleLR"],
    "factors": [
        "ConstantLR", "ExponentialLR", "LambdaLR", "LinearLR", "MultiplicativeLR",
        "MultiStepLR", "PolynomialLR", "StepLR",
    ],
    "plateau": ["ReduceLROnPlateau"],
    "restarts": ["CosineAnnealingWarmRestarts"],
}  # fmt: skip


__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "_LRScheduler",
]

if not _typing.TYPE_CHECKING:  # a type checker finds unknown names by itself
    __getattr__, __dir__ = _later(__name__, _IN)
