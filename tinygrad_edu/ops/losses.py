"""Losses element by element: how far a prediction lies from its target.

Reductions and torch's argument lists are added in nn/functional/losses.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.autograd.primitive import primitive
from tinygrad_edu.dtypes import Array, floating, promote
from tinygrad_edu.ops.activation import sigmoid
from tinygrad_edu.ops.arithmetic import _sub
from tinygrad_edu.ops.elementary import log
from tinygrad_edu.ops.extrema import clamp
from tinygrad_edu.ops.rounding import abs


@primitive
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
def smooth_l1(a: Array, b: Array, beta: float) -> Array:
    """`d**2 / (2 * beta)` where `d = |a - b|` is below `beta` > 0, else `d - beta / 2`."""
    a, b = promote(a, b)
    d = np.abs(np.subtract(a, b))
    return np.where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta)


smooth_l1.vjp(a=lambda g, a, b, beta: clamp((a - b) / beta, -1.0, 1.0) * g,
              b=lambda g, a, b, beta: clamp((b - a) / beta, -1.0, 1.0) * g)  # fmt: skip


@primitive
def huber(a: Array, b: Array, delta: float) -> Array:
    """`d**2 / 2` where `d = |a - b|` is at most `delta`, else `delta * (d - delta / 2)`."""
    a, b = promote(a, b)
    d = np.abs(np.subtract(a, b))
    return np.where(d <= delta, d * d * 0.5, (d - 0.5 * delta) * delta)


huber.vjp(a=lambda g, a, b, delta: clamp(a - b, -delta, delta) * g,
          b=lambda g, a, b, delta: clamp(b - a, -delta, delta) * g)  # fmt: skip


def _log(x: Any) -> Any:
    """The logarithm, but not below -100: a probability of 0 costs 100, not infinity."""
    return clamp(log(x), -100.0, None)


@primitive
def bce(x: Array, t: Array) -> Array:
    """`-(t * log(x) + (1 - t) * log(1 - x))` of a probability x, logarithms not below -100."""
    right = np.maximum(np.log(x), -100.0)
    wrong = np.maximum(np.log1p(-x), -100.0)
    return (t - 1) * wrong - t * right


bce.vjp(x=lambda g, x, t: g * (x - t) / clamp(x * (1 - x), 1e-12, None),
        t=lambda g, x: g * (_log(1 - x) - _log(x)))  # fmt: skip


@primitive
def bce_logits(x: Array, t: Any) -> Array:
    """`bce(sigmoid(x), t)` without the rounding of sigmoid: `max(x, 0) - x * t + log1p(e^-|x|)`."""
    x, t = promote(floating(x), t)
    return np.maximum(x, 0.0) - x * t + np.log1p(np.exp(-np.abs(x)))


bce_logits.vjp(x=lambda g, x, t: g * (sigmoid(x) - t),
               t=lambda g, x: -g * x)  # fmt: skip


def softplus_of_minus(x: Any) -> Any:
    """`log(1 + e^-x)`, the loss of a score x whose right answer is yes."""
    return bce_logits(x, 1.0)
