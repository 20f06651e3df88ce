"""GELU and its derivative, in one sweep over memory.

    exact: y = x * p(x),  p(x) = (1 + erf(x / sqrt(2))) / 2, the normal distribution function;
    tanh:  y = x * p(x),  p(x) = (1 + tanh(k * (x + 0.044715 x^3))) / 2,  k = sqrt(2 / pi).

The derivative, `p + x p'`, shares most of the work with the value; kept, it makes of the backward
pass a single product.

In float32 the exact form takes one exponential and one polynomial: with a = |x|,

    1 - p(a) = exp(-x^2 / 2) * T(t),   t = 1 / (1 + 0.275 a),   T(t) = c1 t + ... + c6 t^6,

whose coefficients are our own fit, by least squares with the weights raised where the error of the
value is largest: 1.5e-8, less than rounding does.  What remains is 2.4e-7 (1e-7 of max(1, |x|)).

Source: that form of the normal distribution function is C. Hastings, "Approximations for Digital
Computers" (1955), sheet 45 ff.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_edu.backend import special_function
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels import erf as _erf
from tinygrad_edu.kernels.blocks import blocks, constants
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.kernels.threads import spread_elements

K = math.sqrt(2 / math.pi)
CUBIC = 0.044715
_DENSITY = 1 / math.sqrt(2 * math.pi)

_T = (0.11761249, 0.04336026, 0.33078616, -0.32705948, 0.44955675, -0.11425617)
_FAR = 20.0
"""From here on `exp(-x^2 / 2)` is 0, and so must be its product with |x|, even if x is infinite."""
_SIGN = np.array(-(2**31), np.int32)
"""The bit that a float32 has if it is negative."""


def gelu(x: Array, approximate: str, sloped: bool = True) -> tuple[Array, Array]:
    """y and its derivative; without it if it is not asked for, and on a GPU.

    There it is computed again for the backward pass.
    """
    if launch.ready(x, half=True):
        return cuda.elementwise.gelu(x, approximate), np.empty_like(x, shape=(0,))
    y, slope = np.empty_like(x), np.empty_like(x)
    if approximate == "tanh":
        for part in blocks(x, y, slope):
            _by_tanh(sloped, *part)
    elif isinstance(x, np.ndarray) and x.dtype == np.float32:

        def sweep(*arrays: Array) -> None:
            for part in blocks(*arrays, scratch=3):
                _by_polynomial(sloped, *part)

        spread_elements(sweep, x, y, slope)
    else:
        for part in blocks(x, y, slope):
            _by_erf(sloped, *part)
    return y, slope if sloped else np.empty_like(x, shape=(0,))


def gelu_gradient(g: Array, x: Array, slope: Array, approximate: str) -> Array:
    """`g * y'(x)`."""
    if launch.ready(x, g, half=True):
        return cuda.elementwise.gelu_gradient(g, x, approximate)
    return g * slope


def _by_tanh(sloped: bool, x: Array, y: Array, slope: Array, t: Array) -> None:
    """`p' = 2 p (1 - p) k (1 + 3 * 0.044715 x^2)`."""
    np.multiply(x, x, out=t)
    np.multiply(t, CUBIC, out=y)
    y += 1.0
    y *= x
    y *= K
    np.tanh(y, out=y)
    y += 1.0
    y *= 0.5  # p
    if sloped:
        t *= 3 * CUBIC * 2 * K
        t += 2 * K
        t *= y
        np.subtract(1.0, y, out=slope)
        slope *= t
        slope *= x
        slope += y
    y *= x


def _by_erf(sloped: bool, x: Array, y: Array, slope: Array, t: Array) -> None:
    """`p' = exp(-x^2 / 2) / sqrt(2 pi)`."""
    np.multiply(x, math.sqrt(0.5), out=t)
    y[...] = special_function("erf", _erf.erf)(t)
    y += 1.0
    y *= 0.5  # p
    if sloped:
        np.multiply(x, x, out=slope)
        slope *= -0.5
        np.exp(slope, out=slope)
        slope *= _DENSITY
        slope *= x
        slope += y
    y *= x


def _by_polynomial(
    sloped: bool, x: Array, y: Array, slope: Array, a: Array, t: Array, e: Array
) -> None:
    """`y = max(x, 0) - a e T` and `y' = 1/2 + sign(x) (1/2 + e (a / sqrt(2 pi) - T))`."""
    one, half, fold, density, far = constants(x, 1.0, 0.5, 0.275, _DENSITY, _FAR)
    np.multiply(x, x, out=e)
    e *= constants(x, -0.5)[0]
    np.exp(e, out=e)
    np.abs(x, out=a)
    np.multiply(a, fold, out=t)
    t += one
    np.divide(one, t, out=t)
    *rest, last = constants(x, *_T)
    np.multiply(t, last, out=y)
    for c in rest[::-1]:
        y += c
        y *= t  # in the end T
    if sloped:
        np.multiply(a, density, out=slope)
        slope -= y
        slope *= e
        slope += half
        _turn(slope, x, t)
        slope += half
    np.add(x, a, out=t)
    t *= half  # max(x, 0), but nan for -inf, as in torch
    y *= e
    if not (a.size and a.max() <= far):  # looking costs a sixth of it
        np.minimum(a, far, out=a)
    y *= a
    np.subtract(t, y, out=y)


def _turn(y: Array, x: Array, scratch: Array) -> None:
    """`y *= sign(x)`, by the bits, in a third of the time of `copysign`."""
    bits = scratch.view(np.int32)
    np.bitwise_and(x.view(np.int32), _SIGN, out=bits)
    np.bitwise_xor(y.view(np.int32), bits, out=y.view(np.int32))
