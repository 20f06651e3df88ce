"""GELU and random numbers on a GPU: one launch each, see elementwise.cu."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda.launch import blocks_for, dense, start


def gelu(x: Array, approximate: str) -> Array:
    """x p(x), as `kernels.gelu.gelu`."""
    x, y = dense(x), np.empty_like(x, order="C")
    start("elementwise", "gelu_forward", blocks_for(x.size), x, x, y, x.size, approximate == "tanh")
    return y


def gelu_gradient(g: Array, x: Array, approximate: str) -> Array:
    """g (p + x p'); p is computed again, which costs less than fetching it."""
    g, x, gx = dense(g), dense(x), np.empty_like(x, order="C")
    start("elementwise", "gelu_backward", blocks_for(x.size), x, g, x, gx, x.size,
          approximate == "tanh")  # fmt: skip
    return gx


def random_words(state: Array, n: int) -> Array:
    """As `kernels.philox.words`."""
    words = np.empty_like(state, dtype=np.uint32, shape=(n,))
    start("elementwise", "random_words", blocks_for(-(-n // 4)), state, state, words, n,
          dtype=np.float32)  # fmt: skip
    return words


def dropout_noise(state: Array, like: Array, p: float) -> Array:
    """What dropout multiplies an array by, in its shape and dtype: 0, or 1 / (1 - p)."""
    noise = np.empty_like(like, order="C")
    scale = 1 / (1 - p) if p < 1 else 0.0
    start("elementwise", "dropout_noise", blocks_for(-(-like.size // 4)), like, state, noise,
          like.size, 1 - p, scale)  # fmt: skip
    return noise
