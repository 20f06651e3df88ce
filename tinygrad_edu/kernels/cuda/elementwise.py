"""ReLU, GELU, random numbers and sums of rows on a GPU: one launch each but for many rows, see
elementwise.cu."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.kernels.cuda.launch import blocks_for, dense, start

ROWS, SIDE_BY_SIDE = 256, 8
"""How many rows a block adds up, at least, and how many of them at once."""


def relu(x: Array) -> Array:
    """max(x, 0); nan for nan."""
    x, y = dense(x), np.empty_like(x, order="C")
    start("elementwise", "relu_forward", blocks_for(x.size), x, x, y, x.size)
    return y


def relu_gradient(g: Array, y: Array) -> Array:
    """`g` where the result `y` is not 0, else 0."""
    g, y, gx = dense(g), dense(y), np.empty_like(g, order="C")
    start("elementwise", "relu_backward", blocks_for(g.size), g, g, y, gx, g.size)
    return gx


def add_rows(x: Array) -> Array:
    """The sums of the columns of a matrix, always in the same order; 16 bits by way of 32."""
    count, n = x.shape
    x, y = dense(x), np.empty_like(x, shape=(n,))
    if not count:
        y[...] = 0
        return y
    columns = -(-n // (launch.THREADS // SIDE_BY_SIDE))
    share = max(ROWS, -(-count // ROWS))
    parts = -(-count // share)
    if parts == 1:
        start("elementwise", "add_rows", (columns, 1), x, x, y, count, n, share)
        return y
    wide = np.float32 if x.itemsize == 2 else x.dtype
    sums = np.empty_like(x, shape=(parts, n), dtype=wide)
    start("elementwise", "add_rows_in_parts", (columns, parts), x, x, sums, count, n, share)
    start("elementwise", "add_parts", (columns, 1), x, sums, y, parts, n, parts)
    return y


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


def dropout(state: Array, x: Array, p: float) -> tuple[Array, Array]:
    """`x` times 0 or 1 / (1 - p), and where it is the latter; the state goes on to the next draw.

    Args:
        state: uint64 (3,): the seed, the number of the draw, and 0.
        p: the probability of 0, in [0, 1].
    """
    x, y = dense(x), np.empty_like(x, order="C")
    kept = np.empty_like(y, dtype=np.bool_)
    start("elementwise", "dropout_forward", blocks_for(-(-x.size // 4)), x, state, x, y, kept,
          x.size, 1 - p, _scale(p))  # fmt: skip
    return y, kept


def dropout_again(x: Array, kept: Array, p: float) -> Array:
    """Another array times the same factors."""
    x, y = dense(x), np.empty_like(x, order="C")
    start("elementwise", "dropout_again", blocks_for(x.size), x, x, dense(kept), y, x.size,
          _scale(p))  # fmt: skip
    return y


def _scale(p: float) -> float:
    return 1 / (1 - p) if p < 1 else 0.0
