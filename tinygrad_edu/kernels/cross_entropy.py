"""Cross-entropy of rows of scores with class indices, in one sweep forward and one backward.

The loss of a row x with class t is  -log softmax(x)[t] = log(sum(exp(x - m))) - (x[t] - m),
where m is the largest score.  Its gradient is  softmax(x) - onehot(t).
The definition that this computes faster stands in ops/losses.py, what a GPU does in
cuda/softmax.py.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.blocks import filled

_FEW = 1 << 13
"""Up to so many rows their numbers are kept."""


def forward(x: Array, target: Array) -> tuple[Array, Array, Array]:
    """The loss of every row, and what `backward` needs.

    Args:
        x: scores, shape (N, C), C >= 1, floats of at least 32 bits.
        target: classes, shape (N,), each in [0, C).

    Returns:
        losses (N,); exponentials exp(x - m) (N, C); their sums (N,).
    """
    largest = np.maximum.reduce(x, 1) if isinstance(x, np.ndarray) else x.max(1)
    exponentials = x - largest[:, None]
    np.exp(exponentials, out=exponentials)
    # A product with ones sums the rows in one pass; .sum(1) starts anew for every row.
    sums = exponentials @ filled(x, x.shape[1], 1.0)
    losses = np.log(sums)
    losses -= x[_rows(target), target] - largest
    return losses, exponentials, sums


def backward(g: Array, target: Array, exponentials: Array, sums: Array) -> Array:
    """The gradient of the scores, given the gradient `g` (N,) of the losses."""
    gx = exponentials * (g / sums)[:, None]
    gx[_rows(target), target] -= g
    return gx


def _rows(target: Array) -> Array:
    known = isinstance(target, np.ndarray) and len(target) <= _FEW
    return _counted(len(target)) if known else np.arange(len(target), like=target)


@lru_cache(maxsize=8)
def _counted(n: int) -> Array:
    """0, 1, ..., n - 1, made once; nobody may write to it."""
    made = np.arange(n)
    made.flags.writeable = False
    return made
