"""Reading rows of a table and adding into them on a GPU, see embedding.cu."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda import checks
from tinygrad_edu.kernels.cuda.launch import dense, start


def read(table: Array, index: Array) -> Array:
    """The rows of `table` that `index` names; one that does not exist is noted in `checks`."""
    width = table.shape[1]
    rows = dense(index.reshape(-1).astype(np.int64, copy=False))
    y = np.empty_like(table, shape=(*index.shape, width), order="C")
    start("embedding", "embedding_read", rows.size, table, dense(table), rows, y, width, len(table),
          checks.note())  # fmt: skip
    return y


def gradient(g: Array, rows: Array, count: int, deterministic: bool) -> Array:
    """Zeros (count, width) to which row g[i] is added at rows[i].

    Args:
        g: shape (N, width).
        rows: int64 (N,).
        deterministic: add in the order of `rows`, instead of by atomic additions in any order.
    """
    n, width = g.shape
    table = np.zeros_like(g, shape=(count, width), order="C")
    g, rows = dense(g), dense(rows)
    if not deterministic:
        start("embedding", "embedding_add", n, g, g, rows, table, width, count)
        return table
    order = np.argsort(rows)
    start("embedding", "embedding_sum", n, g, g, rows[order], order.astype(np.int64, copy=False),
          table, n, width, count)  # fmt: skip
    return table
