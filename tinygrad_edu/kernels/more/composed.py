"""Further float32 functions composed of those that NumPy computes by vector instructions.

See kernels/composed.py.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.blocks import constants
from tinygrad_edu.kernels.composed import HALF, ONE, composed_for, log1p, polynomial

_LIKE = np.empty(0, np.float32)
_SINH = tuple(constants(_LIKE, *[1 / math.factorial(2 * n + 1) for n in range(6)]))
_COSH = tuple(constants(_LIKE, *[1 / math.factorial(2 * n) for n in range(6)]))


@composed_for(np.logaddexp)
def logaddexp(a: Array, b: Array) -> Array:
    """`max(a, b) + log1p(exp(-|a - b|))`; of equal infinities the infinity."""
    apart = a - b
    np.abs(apart, out=apart)
    np.negative(apart, out=apart)
    larger = np.maximum(a, b)
    y = log1p(np.exp(apart))
    if np.isnan(apart).any():  # inf - inf, or nan, which `larger` is then as well
        y[np.isnan(apart)] = 0.0
    y += larger
    return y


@composed_for(np.cosh)
def cosh(x: Array) -> Array:
    """`h^2 / 2 + 1 / (2 h^2)`, where `h = exp(|x| / 2)` overflows no sooner than the result."""
    h = np.abs(x)
    h *= HALF
    np.exp(h, out=h)
    y = HALF * h
    y *= h
    rest = np.divide(HALF, h)
    rest /= h
    y += rest
    return y


@composed_for(np.sinh)
def sinh(x: Array) -> Array:
    """`sinh(a) cosh(b) + cosh(a) sinh(b)`: a, the part of |x| up to 1, by series, b by exp."""
    size = np.abs(x)
    a = np.minimum(size, ONE)
    size -= a
    e = np.exp(size, out=size)
    e *= HALF
    inverse = np.divide(HALF * HALF, e)
    square = a * a
    y = polynomial(square, _SINH)
    y *= a
    y *= e + inverse
    e -= inverse
    e *= polynomial(square, _COSH)
    y += e
    return np.copysign(y, x, out=y)


@composed_for(np.tan)
def tan(x: Array) -> Array:
    """`sin(x) / cos(x)`."""
    y = np.sin(x)
    y /= np.cos(x)
    return y
