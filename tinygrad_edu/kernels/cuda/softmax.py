"""Softmax, its logarithm and cross-entropy on a GPU: one launch each, see softmax.cu."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda import checks
from tinygrad_edu.kernels.cuda.launch import dense, start


def _along_rows(name: str, like: Array, *arrays: Array) -> Array:
    """Start a kernel on each row, the last dimension; its result has the shape of `like`."""
    y = np.empty_like(like, order="C")
    n = like.shape[-1]
    if like.size:
        start("softmax", name, like.size // n, like, *[dense(a) for a in arrays], y, n)
    return y


def softmax(x: Array) -> Array:
    """exp(x - m) / sum(exp(x - m)) along the last dimension, m its largest element."""
    return _along_rows("softmax_forward", x, x)


def softmax_gradient(g: Array, y: Array) -> Array:
    """y (g - sum(g y)) along the last dimension."""
    return _along_rows("softmax_backward", y, g, y)


def log_softmax(x: Array) -> Array:
    """x - log(sum(exp(x))) along the last dimension."""
    return _along_rows("log_softmax_forward", x, x)


def log_softmax_gradient(g: Array, y: Array) -> Array:
    """g - exp(y) sum(g) along the last dimension."""
    return _along_rows("log_softmax_backward", y, g, y)


def cross_entropy(x: Array, target: Array) -> tuple[Array, Array, Array]:
    """As `kernels.cross_entropy.forward`; a class that does not exist is noted in `checks`."""
    count, n = x.shape
    losses, sums = np.empty_like(x, shape=(count,)), np.empty_like(x, shape=(count,))
    exponentials = np.empty_like(x, order="C")
    start("softmax", "cross_entropy_forward", count, x, dense(x), dense(target), losses,
          exponentials, sums, n, checks.note())  # fmt: skip
    return losses, exponentials, sums


def cross_entropy_gradient(g: Array, target: Array, exponentials: Array, sums: Array) -> Array:
    """As `kernels.cross_entropy.backward`."""
    count, n = exponentials.shape
    gx = np.empty_like(exponentials)
    g = np.broadcast_to(g, (count,))
    start("softmax", "cross_entropy_backward", count, gx, dense(g), dense(target), exponentials,
          sums, gx, n)  # fmt: skip
    return gx
