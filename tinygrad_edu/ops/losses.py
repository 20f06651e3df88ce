"""Losses element by element: how far a prediction lies from its target.

Reductions and torch's argument lists are added in nn/functional/losses.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array, floating, promote
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.ops.activation import log_sigmoid, logsigmoid
from tinygrad_edu.ops.arithmetic import _sub
from tinygrad_edu.ops.elementary import log, sigmoid
from tinygrad_edu.ops.extrema import clamp, gate
from tinygrad_edu.ops.rounding import abs


@primitive(node="MseLoss")
def squared_error(a: Array, b: Array) -> Array:
    """`(a - b)**2`."""
    a, b = promote(a, b)
    d = np.subtract(a, b)
    return np.multiply(d, d, out=d if d.ndim else None)


squared_error.vjp(a=lambda g, a, b: (a - b) * (2 * g),
                  b=lambda g, a, b: (b - a) * (2 * g))  # fmt: skip


def absolute_error(a: Any, b: Any) -> Any:
    """`|a - b|`; its derivative at 0 is taken to be 0."""
    return abs(_sub(a, b))


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


def _log(x: Any) -> Any:
    """The logarithm, but not below -100: a probability of 0 costs 100, not infinity."""
    return clamp(log(x), -100.0, None)


@primitive(node="BinaryCrossEntropy")
def bce(x: Array, t: Array) -> Array:
    """`-(t * log(x) + (1 - t) * log(1 - x))` of a probability x, logarithms not below -100."""
    right = np.maximum(np.log(x), -100.0)
    wrong = np.maximum(np.log1p(-x), -100.0)
    return (t - 1) * wrong - t * right


bce.vjp(x=lambda g, x, t: g * (x - t) / clamp(x * (1 - x), 1e-12, None),
        t=lambda g, x: g * (_log(1 - x) - _log(x)))  # fmt: skip


@primitive(node="BinaryCrossEntropyWithLogits")
def bce_logits(x: Array, t: Array, yes: Array | None = None) -> Array:
    """`bce(sigmoid(x), t)` without the rounding of sigmoid: `(1 - t) * x - log(sigmoid(x))`.

    Args:
        yes: how much more a yes counts than a no.
    """
    x, t = promote(floating(x), t)
    log = log_sigmoid(x)
    return (1 - t) * x - (log if yes is None else ((yes - 1) * t + 1) * log)


def _bce_logits_gradient(g: Any, x: Any, t: Any, yes: Any) -> Any:
    if yes is None:
        return g * (sigmoid(x) - t)
    return g * ((yes * t + 1 - t) * sigmoid(x) - yes * t)


def _bce_logits_of_target(g: Any, x: Any, yes: Any) -> Any:
    return -g * x if yes is None else g * (logsigmoid(-x) - yes * logsigmoid(x))


bce_logits.vjp(x=_bce_logits_gradient, t=_bce_logits_of_target)
