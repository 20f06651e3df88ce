"""Rows brought to mean 0 and variance 1 (layer norm) or to mean square 1 (RMS norm), then scaled.

    y = (x - mean) * rstd * weight + bias        rstd = 1 / sqrt(variance + eps)

RMS norm is the same with mean = 0.  Rows are taken in groups that fit in the cache, so that the
passes over a group find it there.  Means are products with a vector of 1/D, which the BLAS computes
in a sixth to a half of the time of `sum`; einsum takes half the time of `(z * z).sum`, as it keeps
no squares (one thread, 64 to 4096 columns).  The definitions that this computes faster stand in
ops/normalization.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.blocks import filled
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.kernels.cuda import norm as gpu

GROUP = 1 << 19
"""Bytes of one group of rows."""


def _groups(x: Array) -> Iterator[slice]:
    """Slices that cut the rows of `x` into groups; a GPU takes them all at once."""
    n = len(x)
    step = n
    if isinstance(x, np.ndarray) and x.size:
        step = max(1, GROUP // (x.shape[1] * x.itemsize))
    for start in range(0, n, max(step, 1)):
        yield slice(start, start + step)


def forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float, center: bool
) -> tuple[Array, Array | None, Array]:
    """The normalised rows, their means (None unless `center`) and their 1 / sqrt(variance + eps).

    Args:
        x: shape (N, D), floats of at least 32 bits.
        weight, bias: shape (D,) or None.
        eps: added to the variance.
        center: subtract the mean (layer norm) or not (RMS norm).

    Returns:
        y (N, D), mean (N, 1) or None, rstd (N, 1).
    """
    size = x.shape[1]
    if size and launch.ready(x, weight, bias):
        return gpu.forward(x, weight, bias, eps, center)
    y = np.empty_like(x, order="C")
    mean = np.empty_like(x, shape=(len(x), 1)) if center else None
    rstd = np.empty_like(x, shape=(len(x), 1))
    share = filled(x, size, 1 / max(size, 1))
    for rows in _groups(x):
        z = y[rows]
        if mean is None:
            z[...] = x[rows]
        else:
            mean[rows, 0] = x[rows] @ share
            np.subtract(x[rows], mean[rows], out=z)
        variance = np.einsum("nd,nd->n", z, z) / max(size, 1)
        if mean is not None:  # inf becomes nan, as in torch: 0 would hide a divergence
            variance += variance - variance
        rstd[rows, 0] = 1 / np.sqrt(variance + eps)
        z *= rstd[rows]
        if weight is not None:
            z *= weight
        if bias is not None:
            z += bias
    return y, mean, rstd


def backward(
    g: Array,
    x: Array,
    weight: Array | None,
    mean: Array | None,
    rstd: Array,
    live: tuple[bool, bool, bool],
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of x, weight and bias, those that are `live`; None for the others.

    With z = (x - mean) * rstd and gz = g * weight:
    gx = rstd * (gz - average(gz) - z * average(gz * z)), without average(gz) for RMS norm.
    """
    size = x.shape[1]
    if (
        size
        and launch.ready(x, weight)
        and (g.dtype == x.dtype or x.itemsize == 2 * g.itemsize == 4)
    ):
        return gpu.backward(g, x, weight, mean, rstd, live)
    gx = np.empty_like(x, order="C") if live[0] else None
    g_weight = np.zeros_like(x, shape=size) if live[1] else None
    g_bias = np.zeros_like(x, shape=size) if live[2] else None
    share = filled(x, size, 1 / max(size, 1))
    weighted = share if weight is None else weight * share
    for rows in _groups(x):
        gy, r = g[rows], rstd[rows]
        centered = x[rows] if mean is None else x[rows] - mean[rows]
        gz = np.empty_like(gy) if gx is None else gx[rows]
        if g_bias is not None:
            g_bias += filled(x, len(gy), 1.0) @ gy
        np.multiply(gy, centered, out=gz)
        if g_weight is not None:
            g_weight += r[:, 0] @ gz
        if gx is not None:  # r (gz - average(gz) - centered r r average(gz centered))
            along = r * (r * (gz @ weighted)[:, None])
            np.multiply(gy, 1.0 if weight is None else weight, out=gz)
            z = np.multiply(centered, along, out=None if mean is None else centered)
            if mean is not None:
                z += (gz @ share)[:, None]
            gz -= z
            gz *= r
    return gx, g_weight, g_bias
