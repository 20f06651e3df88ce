"""float32 functions composed of those that NumPy computes by vector instructions.

On a processor without AVX-512 NumPy has such code for exp, log, sin, cos and tanh only; the
functions here it takes from the C library, one number after the other, which lasts 3 to 5 times as
long as these compositions.  They are within 5 units of the last place (NumPy's exp, of which they
are made, within 2.4) and right for infinities, nan and zeros.  Small arrays, other types, and
processors with AVX-512 get NumPy's function.

`python tests/benchmarks/functions.py` prints error and time of each, beside NumPy's and torch's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.blocks import blocks, constants

SMALL = 1024
"""Arrays of fewer elements are left to NumPy: a composition is a dozen calls."""
BLOCK = 1 << 15


@functools.cache
def _needed() -> bool:
    """Whether NumPy lacks vector code for these functions on this processor."""
    try:
        features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    except AttributeError:
        return False
    return not features.get("AVX512_SKX", False)


def composed_for(by_numpy: np.ufunc) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Let a composition serve where it is faster than `by_numpy`, block by block."""

    def decorate(compose: Callable[..., Array]) -> Callable[..., Array]:
        @functools.wraps(compose)
        def function(*args: Array) -> Array:
            x = args[0]
            if not (
                isinstance(x, np.ndarray)
                and x.size >= SMALL
                and all([a.dtype == np.float32 and a.shape == x.shape for a in args])
                and all([a.flags.c_contiguous for a in args])
                and _needed()
            ):
                return by_numpy(*args)
            y = np.empty_like(x)
            for *parts, out in blocks(*args, y, scratch=0, length=BLOCK):
                out[...] = compose(*parts)
            return y

        return function

    return decorate


def polynomial(x: Array, coefficients: Sequence[Any]) -> Array:
    """`c0 + c1 x + c2 x^2 + ...`, of the coefficients in this order."""
    y = coefficients[-1] * x
    for c in coefficients[-2:0:-1]:
        y += c
        y *= x
    y += coefficients[0]
    return y


_LIKE = np.empty(0, np.float32)
ONE, HALF, _TINY, _HUGE = constants(_LIKE, 1.0, 0.5, 1e-38, 3e38)
_EXPM1 = tuple(constants(_LIKE, *[1 / math.factorial(n) for n in range(1, 9)]))


@composed_for(np.expm1)
def expm1(x: Array) -> Array:
    """`exp(x) - 1`: of the part of x within [-1/2, 1/2] by the series, of the rest by exp.

    `exp(a + b) - 1 = p + (1 + p) (exp(b) - 1)` with `p = exp(a) - 1`; and b is 0 for small x.
    """
    a = np.clip(x, -HALF, HALF)
    rest = np.exp(x - a)
    rest -= ONE
    p = polynomial(a, _EXPM1)
    p *= a
    rest *= p + ONE
    p += rest
    return np.copysign(p, x, out=p)  # of -0.0


@composed_for(np.log1p)
def log1p(x: Array) -> Array:
    """`log(u)` with `u = 1 + x`, and what rounding took from u: `(x - (u - 1)) / u`."""
    u = x + ONE
    y = np.log(u)
    bounded = np.minimum(x, _HUGE)
    u = bounded + ONE
    bounded -= u - ONE
    bounded /= np.maximum(u, _TINY)
    y += bounded
    return np.copysign(y, x, out=y)  # of -0.0
