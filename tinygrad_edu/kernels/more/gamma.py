"""The logarithm of the gamma function and its derivatives, on NumPy arrays, in float64.

All three come from Stirling's series, which is accurate for x >= 10.  Smaller x are moved up by
gamma(x + 1) = x gamma(x); x below 1/2 are mirrored by gamma(x) gamma(1 - x) = pi / sin(pi x).
Close to 1 and 2, where lgamma is 0, an absolute error of 1e-14 remains.

Source: M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions" (1964), 6.1.17, 6.1.40,
6.3.7, 6.3.18, 6.4.7, and 23.2.10 for the sum of powers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
"""B2, B4, B6, ..."""

_STEPS = 10


def _sin_pi(x: Array) -> Any:
    """`sin(pi*x)` up to its sign, exact at whole numbers."""
    return np.sin(np.pi * (x - np.rint(x)))


def stirling(x: Array) -> Any:
    """What `(x - 1/2) log(x) - x + log(2 pi) / 2` lacks to be `lgamma(x)`, for x of 10 and more."""
    series: Any = 0.0
    for k, b in enumerate(_BERNOULLI, 1):
        series = series + b / (2 * k * (2 * k - 1)) / x ** (2 * k - 1)
    return series


def lgamma(x: Array) -> Array:
    """`log(|gamma(x)|)`; inf at 0, -1, -2, ..."""
    z = x.astype(np.float64)
    mirrored = z < 0.5
    up = np.where(mirrored, 1.0 - z, z)
    small = up < _STEPS
    product = np.ones_like(up)
    for i in range(_STEPS):
        product = product * np.where(small, up + i, 1.0)
    up = np.where(small, up + _STEPS, up)
    series = stirling(up)
    y = (up - 0.5) * np.log(up) - up + 0.5 * math.log(2 * math.pi) + series - np.log(product)
    y = np.where(np.isinf(up), np.inf, y)
    y = np.where((z == 1) | (z == 2), 0.0, y)
    mirror = math.log(math.pi) - np.log(np.abs(_sin_pi(z))) - y
    return np.where(mirrored & ~np.isinf(z), mirror, y).astype(x.dtype)


def digamma(x: Array) -> Array:
    """The derivative of lgamma; -inf at 0 (inf at -0.0), nan at -1, -2, ..."""
    z = x.astype(np.float64)
    mirrored = z < 0.5
    up = np.where(mirrored, 1.0 - z, z)
    small = up < _STEPS
    below = np.zeros_like(up)
    for i in range(_STEPS):
        below = below + np.where(small, 1.0 / (up + i), 0.0)
    up = np.where(small, up + _STEPS, up)
    y = np.log(up) - 0.5 / up - below
    for k, b in enumerate(_BERNOULLI, 1):
        y = y - b / (2 * k) / up ** (2 * k)
    y = np.where(mirrored, y - np.pi / np.tan(np.pi * (z - np.rint(z))), y)
    y = np.where((z < 0) & (z == np.rint(z)), np.nan, y)
    return np.where(z == 0, np.copysign(np.inf, -z), y).astype(x.dtype)


def polygamma(n: int, x: Array) -> Array:
    """The n-th derivative of digamma, n >= 1; negative x are mirrored by that of the cotangent."""
    z = x.astype(np.float64)
    mirrored = z < 0
    up = np.where(mirrored, 1.0 - z, z)
    s = n + 1.0
    total = np.zeros_like(up)
    for i in range(_STEPS):
        total = total + (up + i) ** -s
    up = up + _STEPS
    total = total + up ** (1 - s) / (s - 1) + up**-s / 2
    factor = s  # s (s+1) ... (s+2k-2) / (2k)!
    for k, b in enumerate(_BERNOULLI, 1):
        factor /= 2 * k * (2 * k - 1) if k > 1 else 2
        total = total + b * factor * up ** (1 - s - 2 * k)
        factor *= (s + 2 * k - 1) * (s + 2 * k)
    y = (-1) ** (n + 1) * math.factorial(n) * total
    if n == 1:
        mirror = (np.pi / _sin_pi(z)) ** 2 - y
    else:
        whole = z == np.rint(z)
        cotangent = np.where(whole, 0.0, 1.0 / np.tan(np.pi * (z - np.rint(z))))
        slope = np.polynomial.polynomial.polyval(cotangent, _derivative_of_cot(n))
        mirror = (-1) ** n * y - math.pi ** (n + 1) * slope
        mirror = np.where(whole, (-1) ** (n + 1) * np.inf, mirror)
    return np.where(mirrored, mirror, y).astype(x.dtype)


def _derivative_of_cot(n: int) -> Any:
    """The n-th derivative of the cotangent c as a polynomial in c, for c' = -(1 + c*c)."""
    p = np.polynomial.Polynomial([0.0, 1.0])
    for _ in range(n):
        p = -np.polynomial.Polynomial([1.0, 0.0, 1.0]) * p.deriv()
    return p.coef
