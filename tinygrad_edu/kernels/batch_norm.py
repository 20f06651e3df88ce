"""Channels brought to mean 0 and variance 1 over a batch, then scaled.

    y = (x - mean) * rstd * weight + bias        rstd = 1 / sqrt(variance + eps)

Written as one multiplication and one addition: `x * scale + shift`.
The definition that this computes faster stands in ops/normalization.py.
"""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.repeatable import repeatable


def _sum(x: Array) -> Array:
    """The sum of `x` (N, C, L) over all but the channels."""
    if x.shape[2] == 1:
        return x[:, :, 0].sum(0)
    return x.sum(2).sum(0)


def _dot(a: Array, b: Array) -> Array:
    """The sum of `a * b` over all but the channels."""
    if not isinstance(a, np.ndarray):
        return (a * b).sum((0, 2))
    if a.shape[2] == 1:
        return np.einsum("nc,nc->c", a[:, :, 0], b[:, :, 0])
    return np.einsum("ncl,ncl->nc", a, b).sum(0)


@repeatable
def statistics(x: Array) -> tuple[Array, Array]:
    """The mean (C,) and the biased variance (C,) of `x` (N, C, L)."""
    count = max(x.shape[0] * x.shape[2], 1)
    mean = _sum(x) / count
    centered = x - mean[:, None]
    return mean, _dot(centered, centered) / count


def forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    variance: Array,
    eps: float,
) -> Array:
    """The normalised, scaled values.

    Args:
        x: shape (N, C, L), floats of at least 32 bits.
        weight, bias: shape (C,) or None.
        mean, variance: shape (C,), of `x`.
    """
    scale = 1 / np.sqrt(variance + eps)
    if weight is not None:
        scale *= weight
    y = x - mean[:, None]
    y *= scale[:, None]
    if bias is not None:
        y += bias[:, None]
    return y


def backward(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    variance: Array,
    eps: float,
    live: tuple[bool, bool, bool],
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of x, weight and bias, those that are `live`; None for the others.

    With z = (x - mean) * rstd:  gx = weight * rstd * (g - average(g) - z * average(g * z)).
    """
    count = max(x.shape[0] * x.shape[2], 1)
    rstd = 1 / np.sqrt(variance + eps)
    z = x - mean[:, None]
    z *= rstd[:, None]
    g_sum, gz_sum = _sum(g), _dot(g, z)
    if not live[0]:
        return None, gz_sum, g_sum
    scale = rstd if weight is None else rstd * weight
    z *= (gz_sum / count)[:, None]
    z += (g_sum / count)[:, None]
    gx = np.subtract(g, z, out=z)
    gx *= scale[:, None]
    return gx, gz_sum, g_sum
