"""Drawing categories according to their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_edu.dtypes import scalar_type_name

from .distributions import uniform64
from .limits import is_float
from .memory_order import empty_like, fill
from .mersenne_twister import MersenneTwister

__all__ = ["multinomial"]

Array = npt.NDArray[Any]


def multinomial(
    gen: MersenneTwister, p: Array, num_samples: int, replacement: bool = False
) -> npt.NDArray[np.int64]:
    """Draw `num_samples` of the categories 0, ..., C - 1, category c with weight p[..., c].

    `p`: floats of shape (C,) or (N, C), finite, >= 0, in each row not all 0.
    Returns int64 of shape (num_samples,) or (N, num_samples). Without replacement, or for a single
    sample: a race. Category c arrives after a time of exponential law with rate p[c]; the first to
    arrive are chosen. With replacement: u is looked up in the cumulated sums of p.

    Raises RuntimeError for bad weights, shapes or a bad `num_samples`. Unlike torch, of
    categories that arrive together (weights 0; rounding in float16) the first comes first.

    >>> multinomial(MersenneTwister(0), np.array([0.1, 0.0, 0.9], np.float32), 2)
    array([2, 0])
    """
    _check(p, num_samples, replacement)
    rows = p.reshape(-1, p.shape[-1])
    if not replacement or num_samples == 1:
        times = empty_like(p)
        fill(times, lambda n: -np.log1p(-uniform64(gen, n)))
        with np.errstate(divide="ignore", invalid="ignore"):
            np.divide(p, times, out=times)  # large: arrived early
        if num_samples == 1:
            return np.asarray(times.argmax(-1, keepdims=True))
        return np.argsort(-times, axis=-1, kind="stable")[..., :num_samples]
    out = np.empty((len(rows), num_samples), np.int64)
    for i, row in enumerate(rows):
        sums = row.cumsum(dtype=np.promote_types(row.dtype, np.float32))
        sums /= sums[-1]
        sums[-1] = 1
        out[i] = np.searchsorted(sums, uniform64(gen, num_samples))
    return out.reshape(*p.shape[:-1], num_samples)


def _check(p: Array, num_samples: int, replacement: bool) -> None:
    if not is_float(p):
        raise RuntimeError(
            "multinomial only supports floating-point dtypes for input, got:"
            f" {scalar_type_name(p.dtype)}"
        )
    if p.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > p.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement:"
            f" {num_samples} of {p.shape[-1]}"
        )
    if not ((p >= 0) & (p < np.inf)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if not (p.sum(-1) > 0).all():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
