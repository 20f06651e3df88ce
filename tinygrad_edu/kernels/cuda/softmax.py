"""Softmax, its logarithm and cross-entropy on a GPU, see softmax.cu."""

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


def cross_entropy(
    x: Array, target: Array, weight: Array | None, ignored: int, reduction: str
) -> tuple[Array, Array, Array, Array]:
    """The loss of rows of scores in one launch, their sum or mean in another.

    Args:
        x: scores, shape (N, C), not empty.
        target: classes, int64 (N,); one that does not exist is noted in `checks`.
        weight: what each class counts, (C,), or None.
        ignored: a class whose rows do not count.

    Returns:
        The loss; then what the gradient needs: exponentials exp(x - m) (N, C), m the largest score
        of a row, their sums (N,), and each row's share in the loss (N,).
    """
    count, n = x.shape
    losses, shares, sums = (np.empty_like(x, shape=(count,)) for _ in range(3))
    exponentials = np.empty_like(x, order="C")
    start("softmax", "cross_entropy_forward", count, x, dense(x), dense(target),
          x if weight is None else dense(weight), losses, shares, exponentials, sums, n, ignored,
          weight is not None, checks.note())  # fmt: skip
    if reduction == "none":
        return losses, exponentials, sums, shares
    y = np.empty_like(x, shape=(1,))
    start("softmax", "cross_entropy_total", 1, x, losses, shares, y, count, reduction == "mean")
    return y.reshape(()), exponentials, sums, shares


def cross_entropy_gradient(
    g: Array, target: Array, exponentials: Array, sums: Array, shares: Array, ignored: int
) -> Array:
    """The gradient of the scores, `g` being that of the loss, or of each row's."""
    count, n = exponentials.shape
    gx = np.empty_like(exponentials)
    start("softmax", "cross_entropy_backward", count, gx, dense(g), shares, dense(target),
          exponentials, sums, gx, n, ignored, not g.ndim)  # fmt: skip
    return gx
