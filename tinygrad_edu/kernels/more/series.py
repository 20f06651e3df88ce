"""Special functions that are sums of series, on NumPy arrays, in float64.

Each has a series for small arguments, whose terms have one sign or fall quickly, and an asymptotic
series, a continued fraction or a sum of powers for large ones.

Source: M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions" (1964), 6.5.29 and 6.5.31
(incomplete gamma function), 7.1.23 (error function), 9.6.10 and 9.7.1 (Bessel functions), 23.2.9
(zeta function).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.erf import erfc, erfinv
from tinygrad_edu.kernels.more.gamma import _BERNOULLI, lgamma, stirling

_BETWEEN = 20.0
"""Up to here the Bessel functions come from their power series; it needs 50 terms there."""


def bessel(order: int, x: Array) -> Array:
    """`exp(-|x|)` times the modified Bessel function of the first kind of that order, 0 or 1."""
    z = np.abs(x.astype(np.float64))
    small = np.minimum(z, _BETWEEN)
    term = (small / 2) ** order
    total = term
    for k in range(1, 60):
        term = term * (small / 2) ** 2 / (k * (k + order))
        total = total + term
    large = np.maximum(z, _BETWEEN)
    term = np.ones_like(large)
    asymptotic = term
    for k in range(1, 25):
        term = -term * (4 * order**2 - (2 * k - 1) ** 2) / (8 * k * large)
        asymptotic = asymptotic + term
    asymptotic = asymptotic / np.sqrt(2 * np.pi * large)
    y = np.where(z <= _BETWEEN, total * np.exp(-small), asymptotic)
    y = np.where(np.isnan(z), z, y)
    return (np.copysign(y, x) if order else y).astype(x.dtype)


def erfcx(x: Array) -> Array:
    """`exp(x*x) * erfc(x)`."""
    z = x.astype(np.float64)
    near, far = np.minimum(z, 25.0), np.maximum(z, 25.0)
    tail: Any = 1.0
    for k in range(9, 0, -2):
        tail = 1 - k / (2 * far * far) * tail
    return np.where(
        z < 25, np.exp(near * near) * erfc(near), tail / (far * math.sqrt(math.pi))
    ).astype(x.dtype)


def log_ndtr(x: Array) -> Array:
    """The logarithm of the normal distribution function."""
    z = x.astype(np.float64) / math.sqrt(2)
    low, high = np.minimum(z, -0.7), np.maximum(z, -0.7)
    left = np.log(erfcx(-low) / 2) - low * low
    return np.where(z < -0.7, left, np.log1p(-erfc(high) / 2)).astype(x.dtype)


def ndtri(p: Array) -> Array:
    """The number below which a normal variable lies with probability p."""
    q = p.astype(np.float64)
    tail = np.minimum(q, 1 - q)
    middle = math.sqrt(2) * erfinv(2 * np.maximum(tail, 0.02) - 1)
    rare = np.clip(tail, 5e-324, 0.02)
    x = -np.sqrt(-2 * np.log(rare))
    for _ in range(12):  # Newton's steps on the logarithm, which is almost a parabola
        log = log_ndtr(x)
        x = x - (log - np.log(rare)) * np.exp(log + x * x / 2) * math.sqrt(2 * math.pi)
    y = np.where(tail < 0.02, x, middle)
    y = np.where(tail == 0, -np.inf, np.where(tail < 0, np.nan, y))
    return np.where(q > 0.5, -y, y).astype(p.dtype)


def zeta(s: Array, q: Array) -> Array:
    """Hurwitz's zeta function: the sum of `(q + k) ** -s` over k = 0, 1, 2, ..."""
    s, q = np.broadcast_arrays(s.astype(np.float64), q.astype(np.float64))
    whole, odd = q == np.floor(q), np.where(s % 2 == 1, -1.0, 1.0)
    below = (q < 0) & ~whole & (s > 1)
    up = np.where(below, q - np.floor(q), np.where(q > 0, q, 1.0))
    # The terms from a negative q on, as the difference of two sums of positive ones.
    mirrored = _zeta(s, np.where(below, 1 - up, 1.0)) - _zeta(s, np.where(below, 1 - q, 1.0))
    y = _zeta(s, up) + np.where(below, odd * mirrored, 0.0)
    y = np.where((q < 0) & (s != np.floor(s)) | np.isnan(q) | (q == np.inf), np.nan, y)
    y = np.where((q <= 0) & whole, np.inf, y)
    return np.where(s == 1, np.inf, np.where(s < 1, np.nan, y))


_FAR = 35
"""From here on the terms of the zeta function are summed by their integral."""


def _zeta(s: Array, q: Array) -> Array:
    """The same for positive q, by the formula of Euler and Maclaurin."""
    at, total = q, np.zeros_like(q)
    for _ in range(_FAR):
        total = total + np.where(at < _FAR, np.power(at, -s), 0.0)
        at = np.where(at < _FAR, at + 1, at)
    total = total + np.power(at, 1 - s) / (s - 1) + np.power(at, -s) / 2
    factor = s / 2
    for k, b in enumerate(_BERNOULLI, 1):
        power = np.power(at, 1 - s - 2 * k)
        total = total + np.where(power == 0, 0.0, b * factor * power)
        factor = factor * (s + 2 * k - 1) * (s + 2 * k) / ((2 * k + 1) * (2 * k + 2))
    return np.asarray(total)


_LARGE = 1e4
"""From here on the incomplete gamma function comes from the error function."""
_DENSE = (
    (-1 / 3, 1 / 12, -2 / 135, 1 / 864, 1 / 2835, -139 / 777600, 1 / 25515),
    (-1 / 540, -1 / 288, 1 / 378, -77 / 77760),
)
"""Temme's coefficients, by powers of 1 / a and then of eta."""


def igamma(a: Array, x: Array) -> Array:
    """The share of the integral of `t**(a-1) exp(-t)` that lies below x."""
    return _edges(_shares(a, x, 0), a, x, 0.0, 1.0)


def igammac(a: Array, x: Array) -> Array:
    """`1 - igamma(a, x)`, accurate where that is close to 0."""
    return _edges(_shares(a, x, 1), a, x, 1.0, 0.0)


def _shares(a: Array, x: Array, which: int) -> Array:
    """The share below x or, if `which` is 1, above."""
    a, x = np.broadcast_arrays(a.astype(np.float64), x.astype(np.float64))
    usual = (a > 0) & (x > 0) & (a < np.inf) & (x < np.inf)
    small, left = usual & (a < _LARGE), x < a + 1
    below = _below(np.where(small & left, a, 1.0), np.where(small & left, x, 1.0))
    above = _above(np.where(small & ~left, a, 1.0), np.where(small & ~left, x, 2.0))
    shares = (np.where(left, below, 1 - above), np.where(left, 1 - below, above))
    large = _of_large(np.where(usual & ~small, a, _LARGE), np.where(usual & ~small, x, _LARGE))
    return np.where(small, shares[which], large[which])


def _edges(y: Array, a: Array, x: Array, at_zero: float, at_infinity: float) -> Array:
    y = np.where(x == 0, at_zero, np.where(np.isinf(x), at_infinity, y))
    y = np.where((a == 0) & (x > 0), at_infinity, y)
    y = np.where(np.isinf(a) & ~np.isnan(x), np.where(np.isinf(x), np.nan, at_zero), y)
    return np.where((x < 0) | (a < 0) | np.isnan(a) | ((a == 0) & (x == 0)), np.nan, y)


def _excess(u: Array) -> Array:
    """`u - log(1 + u)`, from its series where the two are close."""
    near = np.where(np.abs(u) < 0.01, u, 0.0)
    series: Any = 0.0
    for k in range(10, 1, -1):
        series = (-1) ** k / k + near * series
    return np.where(np.abs(u) < 0.01, near * near * series, u - np.log1p(u))


def _factor(a: Array, x: Array) -> Array:
    """`x**a exp(-x) / gamma(a)`; of a large `a` by Stirling's series, for its parts are huge."""
    up = np.maximum(a, 10.0)
    large = np.sqrt(up / (2 * np.pi)) * np.exp(-up * _excess((x - up) / up) - stirling(up))
    down = np.minimum(a, 10.0)
    return np.where(a < 10, np.exp(down * np.log(x) - x - lgamma(down)), large)


def _of_large(a: Array, x: Array) -> tuple[Array, Array]:
    """The shares below and above x, for a large `a`: Temme's expansion around the error function.

    Source: NIST Digital Library of Mathematical Functions, 8.12.3 and 8.12.4.
    """
    u = np.minimum((x - a) / a, 1e300)
    half = _excess(u)
    eta = np.sqrt(2 * half) * np.sign(u)
    near = np.clip(eta, -0.5, 0.5)  # beyond, all of this is 0
    first, second = [sum([c * near**k for k, c in enumerate(row)]) for row in _DENSE]
    rest = np.exp(-a * half) / np.sqrt(2 * np.pi * a) * (first + second / a)
    z = eta * np.sqrt(a / 2)
    return erfc(-z) / 2 - rest, erfc(z) / 2 + rest


def _below(a: Array, x: Array) -> Array:
    term = 1 / a
    total = term
    for n in range(1, 100000):
        term = term * x / (a + n)
        total = total + term
        if not (np.abs(term) > 1e-16 * np.abs(total)).any():
            break
    return total * _factor(a, x)


def _above(a: Array, x: Array) -> Array:
    """The continued fraction by Lentz's method."""
    b = x + 1 - a
    c = np.full_like(b, 1e300)
    d = 1 / b
    h = d
    for n in range(1, 100000):
        step = -n * (n - a)
        b = b + 2
        d = 1 / (step * d + b)
        c = b + step / c
        change = c * d
        h = h * change
        if not (np.abs(change - 1) > 4e-16).any():
            break
    return h * _factor(a, x)
