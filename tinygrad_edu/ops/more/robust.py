"""Squared errors that grow no faster than a line beyond a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    promote,
)
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.ops.extrema import gate

if TYPE_CHECKING:
    pass


@primitive
def _cut(d: Array, most: float) -> Array:
    """`d`, but not beyond `-most` and `most`; there its derivative is 0."""
    return np.clip(d, -most, most)


_cut.vjp(d=lambda g, d, most: gate(g, (d > -most) & (d < most)))


@primitive(node="SmoothL1Loss")
def smooth_l1(a: Array, b: Array, beta: float) -> Array:
    """`d**2 / (2 * beta)` where `d = |a - b|` is below `beta` > 0, else `d - beta / 2`."""
    a, b = promote(a, b)
    d = np.abs(np.subtract(a, b))
    return np.where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta)


smooth_l1.vjp(a=lambda g, a, b, beta: _cut((a - b) / beta, 1.0) * g,
              b=lambda g, a, b, beta: _cut((b - a) / beta, 1.0) * g)  # fmt: skip


@primitive(node="HuberLoss")
def huber(a: Array, b: Array, delta: float) -> Array:
    """`d**2 / 2` where `d = |a - b|` is at most `delta`, else `delta * (d - delta / 2)`."""
    a, b = promote(a, b)
    d = np.abs(np.subtract(a, b))
    return np.where(d <= delta, d * d * 0.5, (d - 0.5 * delta) * delta)


huber.vjp(a=lambda g, a, b, delta: _cut(a - b, delta) * g,
          b=lambda g, a, b, delta: _cut(b - a, delta) * g)  # fmt: skip
