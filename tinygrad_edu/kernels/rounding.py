"""Fused multiply-add: `a * b + c` rounded once, which NumPy lacks and torch's compiled code uses.

A float has room for a fixed number of bits (float32: 24, float64: 53), so a product is usually
rounded, and then the sum is rounded again. A processor with a fused multiply-add rounds only the
final result. To reproduce numbers to the last bit, the same single rounding is needed.

float32: a product of two 24-bit numbers has at most 48 bits, so float64 holds it exactly.
float64: there is no wider type; the product is held as the sum of two numbers.

In both cases a first rounding, finer than the final one, remains. It does harm only if it turns a
number near the middle of two neighbours into their exact middle. "Rounding to odd" prevents that:
an inexact result goes to the neighbour whose last bit is 1, which no middle has.

Source: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using
rounding to odd", 2008.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["fma32", "fma64"]

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]


def fma32(a: _F32, b: float, c: float) -> _F32:
    """`a * b + c` for float32 numbers; `b` and `c` are rounded to float32 first.

    >>> x = np.array([1 + 2.0**-12], np.float32)
    >>> fma32(x, 1 + 2.0**-12, -1.0)[0] == 2.0**-11 + 2.0**-24
    np.True_
    >>> x * x - 1 == 2.0**-11 + 2.0**-24  # two roundings lose the last bit
    array([False])
    """
    if c == 0:
        return a * np.float32(b)
    product = np.multiply(a, float(np.float32(b)), dtype=np.float64)
    return _add_to_odd(product, np.array(c, np.float32).astype(np.float64)).astype(np.float32)


def fma64(a: _F64, b: float, c: float | _F64) -> _F64:
    """`a * b + c` for float64 numbers far from overflow and underflow.

    Source: besides the above, Dekker, "A floating-point technique for extending the available
    precision", 1971, for the error of the product.

    >>> fma64(np.array([1 + 2.0**-30]), 1 + 2.0**-30, -1.0)[0] == 2.0**-29 + 2.0**-60
    np.True_
    """
    product = a * b
    if isinstance(c, float) and c == 0:
        return product
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(np.array(b))
    # Products of halves are exact, so this is what rounding took from a * b.
    product_error = a_high * b_high - product + a_high * b_low + a_low * b_high + a_low * b_low
    small, error = _two_sum(product_error, np.asarray(c))
    total, total_error = _two_sum(product, small)
    total += _add_to_odd(error, total_error)
    return total


def _halves(x: _F64) -> tuple[_F64, _F64]:
    """x = high + low exactly, each of at most 26 bits."""
    scaled = x * (2.0**27 + 1)
    high = scaled - (scaled - x)
    return high, x - high


def _two_sum(x: _F64, y: _F64) -> tuple[_F64, _F64]:
    """The rounded sum, and exactly what rounding took from it (Knuth, TAOCP 4.2.2)."""
    total = x + y
    y_kept = total - x
    return total, (x - (total - y_kept)) + (y - y_kept)


def _add_to_odd(x: _F64, y: _F64) -> _F64:
    """x + y, rounded to odd."""
    total, error = _two_sum(x, y)
    even = np.flatnonzero((error != 0) & (total.view(np.int64) & 1 == 0))
    total[even] = np.nextafter(total[even], np.copysign(np.inf, error[even]))
    return total
