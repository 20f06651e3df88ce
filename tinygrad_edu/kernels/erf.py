"""The error function on NumPy arrays, which NumPy itself lacks, by polynomials.

    erf(x) = 2/sqrt(pi) * (integral of exp(-s*s) for s from 0 to x),    erfc(x) = 1 - erf(x)

float32 needs one polynomial: -log(erfc(x))/x is smooth on [0, 4], and beyond 4 erf rounds to 1, so

    erf(x) = -expm1(-x * P(x)).

Its error is below 2.1e-7 of the result, with P in float32.

float64 takes two.  Up to 1, erf(x)/x is a polynomial in x*x.  Beyond 1, what varies wildly is
divided out, and the axis is folded into a short interval, on which a polynomial does the rest:

    (1 + 2x) * exp(x*x) * erfc(x) = Q(t),    t = (x - 3.75) / (x + 3.75).

The errors are below 5e-16 of the result for erf, and below 1e-15 for erfc until it underflows.

Source: the folded form is M. M. Shepherd and J. G. Laframboise, "Chebyshev Approximation of
(1 + 2x) exp(x^2) erfc x in 0 <= x < infinity", Mathematics of Computation 36 (1981) 249-253, used
here from 1 to 28.  The coefficients are our own fits: P by weighted least squares with the weights
raised where the error is largest, the others by Chebyshev interpolation in 50 digits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.composed import polynomial

BLOCK = 32768
"""Elements worked on at a time, so that the many passes stay in a fast cache."""

_P = (
    1.128379225730896, 0.6366193890571594, 0.10277783125638962, -0.019153064116835594,
    -0.00016039663751143962, 0.0016670282930135727, -0.0006328374147415161,
    0.000117641466204077, -9.2562913778238e-06,
)  # fmt: skip

_P32 = [np.asarray(-c, np.float32) for c in _P]  # 0-d arrays: NumPy converts a number each time
_FOUR = np.asarray(4.0, np.float32)

_SMALL = (
    1.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
    0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271,
    -1.4925595266831182e-05, 1.6461000484121368e-06, -1.6350312701054695e-07,
    1.4659775274047436e-08, -1.1372848856791674e-09, 5.957176147748911e-11,
)  # fmt: skip

_Q = (
    1.2375126308378275, -0.14024059858554702, 0.0035854154854635593, 0.0822767384901513,
    -0.10880393014169672, 0.09230432116018016, -0.05869339859089595, 0.02836227742210683,
    -0.009746579541833052, 0.00175562582176333, 0.00029371353996306723,
    -0.0002901538647719593, 5.164971354482691e-05, 2.2383151402961077e-05,
    -1.1446001370734845e-05, -9.697070231106e-07, 1.7546400095299177e-06,
    -6.609520343026278e-08, -2.596043494756306e-07, 3.4971649988380526e-08,
    3.423517810142159e-08, -1.024031985032228e-08,
)  # fmt: skip


def erf(x: Array) -> Array:
    """erf of an array of floats, in its own precision."""
    if x.dtype == np.float64:
        return _by_blocks(_erf64, x)
    single = np.ascontiguousarray(x, np.float32).reshape(x.shape)
    return _by_blocks(_erf32, single).astype(x.dtype, copy=False)


def erfc(x: Array) -> Array:
    """erfc of an array of floats; accurate where it is tiny, too."""
    return _by_blocks(_erfc64, x)


def _by_blocks(function: Callable[[Array], Array], x: Array) -> Array:
    flat = x.reshape(-1)
    if flat.size <= BLOCK:
        return function(flat).reshape(x.shape).astype(x.dtype, copy=False)
    y = np.empty(flat.shape, x.dtype)
    for start in range(0, flat.size, BLOCK):
        y[start : start + BLOCK] = function(flat[start : start + BLOCK])
    return y.reshape(x.shape)


def _erf32(x: Array) -> Array:
    size = np.abs(x)
    np.minimum(size, _FOUR, out=size)
    y = polynomial(size, _P32)
    y *= size
    np.expm1(y, out=y)  # -erf(|x|)
    # Its sign bit is set: keep it where that of x is set.
    signs = np.bitwise_or(x.view(np.int32), 0x7FFFFFFF, out=size.view(np.int32))
    np.bitwise_and(y.view(np.int32), signs, out=y.view(np.int32))
    return y


def _erf64(x: Array) -> Array:
    size = np.abs(x)
    y = 1.0 - _erfc_beyond_1(size)
    return np.where(size < 1.0, _erf_up_to_1(x), np.copysign(y, x))


def _erfc64(x: Array) -> Array:
    x = x.astype(np.float64, copy=False)
    beyond = _erfc_beyond_1(np.abs(x))
    beyond = np.where(x < 0, 2.0 - beyond, beyond)
    return np.where(np.abs(x) < 1.0, 1.0 - _erf_up_to_1(x), beyond)


def _erf_up_to_1(x: Array) -> Array:
    x = np.clip(x, -1.0, 1.0)
    return x * polynomial(x * x, _SMALL)


def _erfc_beyond_1(x: Array) -> Array:
    x = np.clip(x, 1.0, 28.0)
    y = polynomial((x - 3.75) / (x + 3.75), _Q)
    y /= 1.0 + 2.0 * x
    # exp(-x*x) without the rounding error of x*x, which exp would magnify: x = near + rest, with a
    # `near` of so few digits that its square is exact.
    near = np.floor(x * 16.0)
    near /= 16.0
    y *= np.exp(-near * near)
    y *= np.exp((near - x) * (near + x))
    return y


def erfinv(y: Array) -> Array:
    """The x with erf(x) = y, for y in [-1, 1]; beyond, nan.  Computed in float64.

    Winitzki's closed form is within 0.4 % everywhere; Halley's method triples the digits a step.
    The residual is taken of erfc, because 1 - |y| is exact where erf(x) is nearly 1.

    Source: S. Winitzki, "A handy approximation for the error function and its inverse" (2008).
    """
    size = np.abs(y.astype(np.float64))
    tail = 1.0 - size
    log = np.log(np.where(size < 1.0, (1.0 - size) * (1.0 + size), 1.0))
    half = 2.0 / (np.pi * 0.147) + 0.5 * log
    x = np.sqrt(np.sqrt(half * half - log / 0.147) - half)
    for _ in range(3):
        wrong = np.where(size < 0.5, erf(x) - size, tail - erfc(x))
        step = wrong * (0.5 * np.pi**0.5) * np.exp(x * x)
        x = x - step / (1.0 + x * step)
    x = np.where(size < 1.0, x, np.where(size == 1.0, np.inf, np.nan))
    return np.copysign(x, y).astype(y.dtype)
