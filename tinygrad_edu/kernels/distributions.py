"""From the words of a stream to `n` numbers of a distribution, each step as torch does it.

These functions return flat arrays; `random.py` puts the numbers where they belong.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from .mersenne_twister import MersenneTwister
from .rounding import fma32, fma64

__all__ = [
    "affine32", "affine64", "bernoulli", "normal_blocks32", "normal_blocks64",
    "scalar_normals", "uniform32", "uniform64",
]  # fmt: skip

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_LOW_24, _LOW_53 = np.uint32(2**24 - 1), np.uint64(2**53 - 1)
_ULP_24 = np.float32(2.0**-24)


def uniform32(stream: MersenneTwister, n: int) -> _F32:
    """Multiples of 2**-24 in [0, 1): the low 24 bits of one word each."""
    words = stream.words(n)
    words &= _LOW_24
    values = words.astype(np.float32)
    values *= _ULP_24
    return values


def uniform64(stream: MersenneTwister, n: int) -> _F64:
    """Multiples of 2**-53 in [0, 1): the low 53 bits of two words each."""
    words = stream.words64(n)
    words &= _LOW_53
    values = words.view(np.int64).astype(np.float64)  # signed integers convert faster
    values *= 2.0**-53
    return values


def affine32(u: _F32, a: float, b: float) -> _F32:
    """a + (b - a) u, rounded once."""
    if a == 0 and b == 1:
        return u
    if a == -b:  # frequent, and here plain float32 is exact up to the last product
        u *= np.float32(2)
        u -= np.float32(1)
        u *= np.float32(b)
        return u
    return fma32(u, b - a, a)


def affine64(u: _F64, a: float, b: float) -> _F64:
    """a + (b - a) u, rounded once."""
    if a == -b:
        return (2.0 * u - 1.0) * b
    return fma64(u, b - a, a)


def bernoulli(stream: MersenneTwister, n: int, p: float) -> npt.NDArray[np.bool_]:
    """True with probability p: whether a float64 uniform u is below p. Two words each.

    >>> bernoulli(MersenneTwister(0), 4, 0.5)
    array([False, False,  True, False])
    """
    k = stream.words64(n)  # u = k / 2**53 < p means k < p 2**53
    k &= _MASK_53
    keep: npt.NDArray[np.bool_] = k < _limit(p)
    return keep


_MASK_53 = np.array(_LOW_53)  # NumPy takes arrays faster than numbers


@functools.lru_cache(maxsize=16)
def _limit(p: float) -> npt.NDArray[np.uint64]:
    return np.array(math.ceil(p * 2.0**53), np.uint64)


def normal_blocks32(stream: MersenneTwister, n: int, mean: float, std: float) -> _F32:
    """Box-Muller in float32 on blocks of 16 uniforms, where 16 divides `n`; float32 values."""
    from .box_muller import standard_normal_blocks

    normals = standard_normal_blocks(uniform32(stream, n).reshape(-1, 16)).reshape(-1)
    if std == 1:
        normals += np.float32(mean)
        return normals
    return fma32(normals, std, mean)


def normal_blocks64(stream: MersenneTwister, n: int, mean: float, std: float) -> _F64:
    """The same in float64."""
    u = uniform64(stream, n).reshape(-1, 2, 8)
    radius = np.sqrt(-2 * np.log(1 - u[:, 0]))
    angle = 2 * np.pi * u[:, 1]
    u[:, 0] = radius * np.cos(angle)
    u[:, 1] = radius * np.sin(angle)
    return fma64(u.reshape(-1), std, mean)


def scalar_normals(stream: MersenneTwister, n: int) -> _F64:
    """The next `n` standard normal numbers of the one-by-one kind.

    They come in pairs. If `n` ends between the two, the stream keeps the second for the next
    call of this kind.
    """
    out = np.empty(n)
    start = 0
    if n and stream.spare_normal is not None:
        out[0], stream.spare_normal, start = stream.spare_normal, None, 1
    pairs, half_pair = divmod(n - start, 2)
    u = uniform64(stream, 2 * (pairs + half_pair)).reshape(-1, 2)
    if pairs < 32:  # a loop is faster than starting up NumPy's functions
        for i, (angle, radius) in enumerate(u[:pairs].tolist()):
            out[start + 2 * i : start + 2 * i + 2] = _box_muller(angle, radius)
    else:
        length, turn = np.sqrt(-2 * np.log1p(-u[:pairs, 1])), 2 * np.pi * u[:pairs, 0]
        out[start : start + 2 * pairs : 2] = length * np.cos(turn)
        out[start + 1 : start + 2 * pairs : 2] = length * np.sin(turn)
    if half_pair:
        out[-1], stream.spare_normal = _box_muller(*u[-1].tolist())
    return out


def _box_muller(u1: float, u2: float) -> tuple[float, float]:
    """Two independent standard normal numbers from two uniform ones."""
    radius, angle = math.sqrt(-2 * math.log1p(-u2)), 2 * math.pi * u1
    return radius * math.cos(angle), radius * math.sin(angle)
