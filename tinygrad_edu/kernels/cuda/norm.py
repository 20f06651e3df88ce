"""Layer norm and RMS norm on a GPU, see norm.cu: as kernels/layer_norm.py, in one launch each."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda.launch import blocks_for, dense, start

SHARES = 64
"""Into how many parts the rows are cut for the gradients of weight and bias, at most."""


def forward(
    x: Array, weight: Array | None, bias: Array | None, eps: float, center: bool
) -> tuple[Array, Array | None, Array]:
    """As `kernels.layer_norm.forward`."""
    count, n = x.shape
    x, y = dense(x), np.empty_like(x, order="C")
    rstd = np.empty_like(x, shape=(count, 1))
    mean = np.empty_like(rstd) if center else None
    start("norm", "norm_forward", count, x, x, x if weight is None else dense(weight),
          x if bias is None else dense(bias), y, rstd if mean is None else mean, rstd, n, eps,
          center, weight is not None, bias is not None)  # fmt: skip
    return y, mean, rstd


def backward(
    g: Array, x: Array, weight: Array | None, mean: Array | None, rstd: Array,
    live: tuple[bool, bool, bool],
) -> tuple[Array | None, Array | None, Array | None]:  # fmt: skip
    """As `kernels.layer_norm.backward`; the gradients of weight and bias take two launches."""
    (count, n), gx = x.shape, None
    g, x = dense(g), dense(x)
    means = rstd if mean is None else mean
    if live[0]:
        gx = np.empty_like(x)
        start("norm", "norm_backward", count, x, g, x, x if weight is None else dense(weight),
              means, rstd, gx, n, mean is not None, weight is not None)  # fmt: skip
    if not (live[1] or live[2]):
        return gx, None, None
    share = max(1, -(-count // SHARES))
    parts = -(-count // share)
    both = np.empty_like(x, shape=(2, parts, n))
    start("norm", "norm_backward_weight", (blocks_for(n), parts), x, g, x, means, rstd, both[0],
          both[1], count, n, share, mean is not None)  # fmt: skip
    g_weight, g_bias = both.sum(1)
    return gx, g_weight if live[1] else None, g_bias if live[2] else None
