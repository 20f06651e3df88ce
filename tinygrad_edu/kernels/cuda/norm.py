"""Layer norm and RMS norm on a GPU, see norm.cu: as kernels/layer_norm.py."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda import launch
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
    """As `kernels.layer_norm.backward`: one launch, and one more for weight and bias.

    The gradient may have 16 bits.
    """
    (count, n), affine = x.shape, live[1] or live[2]
    g, x = dense(g), dense(x)
    gx = np.empty_like(x) if live[0] else None
    share = max(1, -(-count // SHARES))
    parts = -(-count // share) if affine else 0
    both = np.empty_like(x, shape=(2, parts, n))
    of_rows = count if live[0] else 0
    blocks = of_rows + parts * -(-n // launch.THREADS)
    start("norm", "norm_backward", blocks, x, g, x, x if weight is None else dense(weight),
          rstd if mean is None else mean, rstd, x if gx is None else gx, both, of_rows, count, n,
          share, parts, mean is not None, weight is not None, dtype=g.dtype)  # fmt: skip
    if not affine:
        return gx, None, None
    g_weight, g_bias = np.empty_like(x, shape=(n,)), np.empty_like(x, shape=(n,))
    start("norm", "norm_add_parts", blocks_for(n), x, both, g_weight, g_bias, n, parts)
    return gx, g_weight if live[1] else None, g_bias if live[2] else None
