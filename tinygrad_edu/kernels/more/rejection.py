"""Numbers drawn until one is accepted: the gamma and the Poisson law, each step as torch does it.

How much of the stream a number takes depends on what comes up, so these are loops, not arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_edu.kernels.distributions import scalar_normals, uniform64
from tinygrad_edu.kernels.mersenne_twister import MersenneTwister

_F64 = npt.NDArray[np.float64]
_THIRD = float(np.float32(1 / 3))  # torch's constant is a float32


def _each(stream: MersenneTwister, law: Callable[[MersenneTwister, float], float], x: Any) -> _F64:
    values = [law(stream, float(parameter)) for parameter in x.reshape(-1)]
    return np.array(values, np.float64).reshape(x.shape)


def standard_gamma(stream: MersenneTwister, concentration: npt.NDArray[Any]) -> _F64:
    """One number of density x^(a - 1) exp(-x) / Gamma(a) for each a > 0.

    Source: G. Marsaglia and W. Tsang, "A simple method for generating gamma variables", 2000.
    """
    return _each(stream, _gamma, concentration)


def _gamma(stream: MersenneTwister, a: float) -> float:
    if math.isnan(a) or a < 0:
        return math.nan
    if a == 0:
        return 0.0
    scale = 1.0
    if a < 1:  # their method wants a >= 1: G(a) is G(a + 1) u^(1 / a)
        scale, a = (1 - float(uniform64(stream, 1)[0])) ** (1 / a), a + 1
    d = a - _THIRD
    c = 1 / math.sqrt(9 * d)
    while True:
        x = float(scalar_normals(stream, 1)[0])
        v = (1 + c * x) ** 3
        if v <= 0:
            continue
        u = 1 - float(uniform64(stream, 1)[0])
        if u < 1 - 0.0331 * x**4 or math.log(u) < 0.5 * x * x + d * (1 - v + math.log(v)):
            return scale * d * v


def poisson(stream: MersenneTwister, rate: npt.NDArray[Any]) -> _F64:
    """One count for each rate >= 0.

    Raises RuntimeError if a rate is negative.
    Source: W. Hörmann, "The transformed rejection method for generating Poisson random variables",
    1993, from a rate of 10; below, uniform numbers multiplied until they fall under exp(-rate).
    """
    if not (rate >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return _each(stream, _poisson, rate)


def _poisson(stream: MersenneTwister, rate: float) -> float:
    if rate == 0:
        return 0
    if rate >= 10:
        return _poisson_by_rejection(stream, rate)
    count, product, limit = 0, float(uniform64(stream, 1)[0]), math.exp(-rate)
    while product > limit:
        count += 1
        product *= float(uniform64(stream, 1)[0])
    return count


def _poisson_by_rejection(stream: MersenneTwister, rate: float) -> float:
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = uniform64(stream, 2).tolist()
        u -= 0.5
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + rate + 0.43) if us > 0 else -1
        if us >= 0.07 and v <= v_r:
            return k
        if k < 0 or (us < 0.013 and v > us) or v == 0:
            continue
        hat = math.log(v) + math.log(inverse_alpha) - math.log(a / (us * us) + b)
        if hat <= k * math.log(rate) - rate - math.lgamma(k + 1):
            return k
