"""GELU, forward and backward, in few passes over memory.

    exact: y = x * p(x),  p(x) = (1 + erf(x / sqrt(2))) / 2, the normal distribution function;
    tanh:  y = x * p(x),  p(x) = (1 + tanh(k * (x + 0.044715 x^3))) / 2,  k = sqrt(2 / pi).

p is kept for the backward pass: it costs more to compute than to keep.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_edu.backend import special_function
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels import erf as _erf
from tinygrad_edu.kernels.blocks import blocks
from tinygrad_edu.kernels.cuda import launch

K = math.sqrt(2 / math.pi)
CUBIC = 0.044715


def gelu(x: Array, approximate: str) -> tuple[Array, Array]:
    """y and p; on a GPU p is empty, and computed again for the backward pass."""
    if launch.ready(x, half=True):
        return cuda.elementwise.gelu(x, approximate), np.empty_like(x, shape=(0,))
    y, p = np.empty_like(x), np.empty_like(x)
    erf = special_function("erf", _erf.erf)
    for xs, ys, ps in blocks(x, y, p, scratch=0):
        if approximate == "tanh":
            np.multiply(xs, xs, out=ps)
            ps *= CUBIC
            ps += 1.0
            ps *= xs
            ps *= K
            np.tanh(ps, out=ps)
        else:
            np.multiply(xs, math.sqrt(0.5), out=ys)
            ps[...] = erf(ys)
        ps += 1.0
        ps *= 0.5
        np.multiply(xs, ps, out=ys)
    return y, p


def gelu_gradient(g: Array, x: Array, p: Array, approximate: str) -> Array:
    """`g * (p + x * p'(x))`; for tanh, `p' = 2 p (1 - p) k (1 + 3 * 0.044715 x^2)`."""
    if launch.ready(x, g, half=True):
        return cuda.elementwise.gelu_gradient(g, x, approximate)
    gx = np.empty_like(x)
    for gs, xs, ps, out, t in blocks(g, x, p, gx):
        np.multiply(xs, xs, out=out)
        if approximate == "tanh":
            out *= 3 * CUBIC * 2 * K
            out += 2 * K
            np.subtract(1.0, ps, out=t)
            t *= ps
            out *= t
        else:
            out *= -0.5
            np.exp(out, out=out)
            out *= 1 / math.sqrt(2 * math.pi)
        out *= xs
        out += ps
        out *= gs
    return gx
