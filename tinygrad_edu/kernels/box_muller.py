"""From uniform to normal numbers, in float32, to the last bit as torch's CPU kernel does it.

Box and Muller (1958): if `u1` and `u2` are uniform on (0, 1] and independent, then

    radius = sqrt(-2 log u1),   angle = 2 pi u2
    radius * cos(angle)   and   radius * sin(angle)

are two independent standard normal numbers. In two dimensions the normal density depends only on
the distance from the origin, so the angle is uniform, and half of the squared radius follows the
exponential law, which is what `-log u1` produces.

The formula fits on two lines, so why is this file longer? `log`, `cos` and `sin` are computed by
polynomials, and every library rounds them a little differently. To start a network from the same
weights as torch, the same polynomials must be used (those of Moshier's Cephes library, 1989) and
each step must be rounded as torch's compiled code rounds it. That code uses the processor's fused
multiply-add, which computes `a * b + c` with ONE rounding. NumPy has no such operation for
float32, but float64 holds the product exactly. (It rounds the sum a first time, which could go
wrong, see rounding.py. It never does here: all 2**24 possible values of `u1` and of `u2` were
tried against torch.)

Hence the convention below: every array is float64 but holds float32 values, and each `_round` and
`_fma` marks a place where the original rounds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["standard_normal_blocks"]

_F64 = npt.NDArray[np.float64]
_F32 = npt.NDArray[np.float32]


def _constants(*values: float) -> tuple[float, ...]:
    """The float32 numbers nearest to `values`, as Python floats."""
    return tuple(float(np.float32(v)) for v in values)


_TWO_PI, _FOUR_OVER_PI, _SQRT_HALF = _constants(2 * np.pi, 4 / np.pi, 0.5**0.5)
# log 2 and pi/4 are cut into pieces, long ones first, so that (small integer) * piece is exact.
_LOG2_HIGH, _LOG2_LOW = _constants(0.693359375, -2.12194440e-4)
_PI_4 = _constants(0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8)
# Coefficients of the polynomials, highest power first.
_LOG = _constants(
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1,
    -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_SIN = _constants(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = _constants(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
# A rotation by q quarter turns: cos(a + q pi/2) = cos(a) TURN_COS[q] - sin(a) TURN_SIN[q].
_TURN_COS = np.array([1.0, 0.0, -1.0, 0.0, 1.0])
_TURN_SIN = np.array([0.0, 1.0, 0.0, -1.0, 0.0])


def _round(x: _F64) -> _F64:
    """Round to float32, in place; the array stays float64."""
    x[...] = x.astype(np.float32)
    return x


def _fma(a: _F64, b: _F64 | float, c: _F64 | float) -> _F64:
    """a * b + c, rounded once."""
    y = np.multiply(a, b)
    y += c
    return _round(y)


def _horner(x: _F64, coefficients: tuple[float, ...]) -> _F64:
    """The polynomial ((c0 x + c1) x + c2) x + ..., each step rounded once."""
    y = _fma(x, coefficients[0], coefficients[1])
    for c in coefficients[2:]:
        y *= x
        y += c
        _round(y)
    return y


def _log(u: _F32) -> _F64:
    """log u for normal float32 numbers u in (0, 1]."""
    # u = m * 2**e with m in [sqrt(1/2), sqrt(2)): log u = log m + e log 2, and log m is near 0.
    fraction, exponent = np.frexp(u)
    m, e = fraction.astype(np.float64), exponent.astype(np.float64)
    small = (m < _SQRT_HALF).astype(np.float64)
    e -= small
    x = m * small
    x += m
    x -= 1.0  # exact
    # log(1 + x) = x - x**2 / 2 + x**3 P(x)
    z = _round(x * x)
    y = _round(_horner(x, _LOG) * x)
    y = _fma(y, z, _round(e * _LOG2_LOW))
    z *= 0.5
    y -= z
    x += _round(y)
    return _fma(e, _LOG2_HIGH, _round(x))


def _cos_sin(angle: _F64) -> tuple[_F64, _F64]:
    """cos and sin of float32 angles in [0, 2 pi]."""
    # angle = q pi/2 + x with x in [-pi/4, pi/4]; the polynomials serve x, the turn restores q.
    octant = _round(angle * _FOUR_OVER_PI).astype(np.int32)
    octant += 1
    q = octant >> 1
    j = (2 * q).astype(np.float64)
    x = angle
    for piece in _PI_4:
        x = _fma(j, -piece, x)
    z = _round(x * x)
    c = _round(_horner(z, _COS) * z)
    c *= z
    c -= 0.5 * z
    _round(c)
    c += 1.0  # cos x = 1 - z / 2 + z**2 P(z)
    _round(c)
    s = _round(_horner(z, _SIN) * z)
    s = _fma(s, x, x)  # sin x = x + x z Q(z)
    turn_cos, turn_sin = _TURN_COS[q], _TURN_SIN[q]
    cos, sin = c * turn_cos, s * turn_cos
    s *= turn_sin
    c *= turn_sin
    cos -= s
    sin += c
    return cos, sin


def standard_normal_blocks(uniforms: _F32) -> _F32:
    """Box-Muller on rows of 16 float32 uniforms; returns an array of the same shape.

    In each row the first eight numbers give the radii and the last eight the angles; the eight
    cosines come first in the result, then the eight sines (the layout of an 8-lane processor
    register, which is why the numbers are not simply taken in pairs).

    | argument   | shape   | range                           |
    |------------|---------|---------------------------------|
    | `uniforms` | (N, 16) | [0, 1), multiples of 2**-24     |

    Source: Box and Muller, "A note on the generation of random normal deviates", 1958;
    polynomials: S. Moshier, Cephes, single precision `logf`, `sinf`, `cosf`.

    >>> standard_normal_blocks(np.full((1, 16), 0.5, np.float32))[0, 7:9]
    array([-1.17741001e+00, -1.02932454e-07], dtype=float32)
    """
    radius = np.sqrt(-2.0 * _log(np.float32(1.0) - uniforms[:, :8]).astype(np.float32))
    cos, sin = _cos_sin(_round(uniforms[:, 8:] * np.float64(_TWO_PI)))
    normals = np.empty_like(uniforms)
    np.multiply(radius, cos.astype(np.float32), out=normals[:, :8])
    np.multiply(radius, sin.astype(np.float32), out=normals[:, 8:])
    return normals
