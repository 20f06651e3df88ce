"""One launch for many tensors: the steps of Adam and SGD, the norm of all gradients.

Each launch takes up to TENSORS tensors.  Where their arrays lie goes with the launch's arguments,
so nothing is copied to the GPU first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda.launch import COLUMNS, TENSORS, blocks_for, ready, start

Rows = list[list[Array]]
"""For each tensor its arrays, in the order that the kernel names."""
_TABLE = np.dtype([("size", np.uint64, TENSORS), ("array", np.uint64, (COLUMNS, TENSORS))])
"""`Table` of tensors.cu: CuPy passes an array of one such element by value, but no larger array."""


def fit(*arrays: Array) -> bool:
    """Whether the kernels take these arrays of one tensor: all of one layout, without gaps."""
    first = arrays[0]
    if not ready(*arrays) or not (first.flags.c_contiguous or first.flags.f_contiguous):
        return False
    return all([a.strides == first.strides and a.shape == first.shape for a in arrays])


def tables(rows: Rows) -> Iterator[tuple[Any, tuple[int, int], Rows]]:
    """The rows in parts: the table of their sizes and addresses, the grid to start, the rows."""
    rows = [row for row in rows if row[0].size]
    for first in range(0, len(rows), TENSORS):
        part = rows[first : first + TENSORS]
        table = np.zeros(1, _TABLE)
        for i, row in enumerate(part):
            table["size"][0, i] = row[0].size
            table["array"][0, : len(row), i] = [a.data.ptr for a in row]
        largest = max([row[0].size for row in part])
        yield table, (min(1024, blocks_for(-(-largest // 4))), len(part)), part


def adam(
    rows: Rows, step: float | None, lr: float, beta1: float, beta2: float, eps: float,
    weight_decay: float, decoupled: bool, amsgrad: bool, maximize: bool,
) -> None:  # fmt: skip
    """A step of Adam or AdamW, as `kernels.adam.adam_`.

    Args:
        rows: x, g, m, v and the largest v (v again without amsgrad), then, if `step` is None, the
            number of the step, one float32 each on the GPU.
        step: the number of the step, from 1.
    """
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    penalty = 0.0 if decoupled else weight_decay
    name, size, bound = "adam_step_counted", lr, eps
    if step is not None:
        root = (1 - beta2**step) ** 0.5
        name, size, bound = "adam_step", lr / (1 - beta1**step) * root, eps * root
    for table, grid, part in tables(rows):
        start("tensors", name, grid, part[0][0], table, 1 - beta1, beta2, 1 - beta2, size,
              bound, shrink, penalty, amsgrad, maximize)  # fmt: skip


def sgd(
    rows: Rows, lr: float, momentum: float, dampening: float, weight_decay: float, first: bool,
    nesterov: bool, maximize: bool,
) -> None:  # fmt: skip
    """A step of SGD on rows of x, g and, with momentum, its buffer."""
    for table, grid, part in tables(rows):
        start("tensors", "sgd_step", grid, part[0][0], table, lr, momentum,
              1.0 - dampening, weight_decay, momentum != 0, first, nesterov,
              maximize)  # fmt: skip


def norm(arrays: list[Array]) -> Array:
    """The 2-norm of all arrays as if they were one vector, a 0-d array."""
    sums = []
    for table, grid, part in tables([[a] for a in arrays]):
        partial = np.empty_like(part[0][0], shape=(grid[0] * grid[1],))
        start("tensors", "sum_squares", grid, part[0][0], table, partial)
        sums.append(partial.sum())
    total = sums[0] if sums else new_like(arrays[0], (), 0)
    for more in sums[1:]:
        total = total + more
    return np.sqrt(total)


def scale(arrays: list[Array], factor: Array) -> None:
    """Multiply all arrays by a 0-d array, in place."""
    for table, grid, part in tables([[a] for a in arrays]):
        start("tensors", "scale_all", grid, part[0][0], table, factor)


def add(arrays: list[Array], number: float) -> None:
    """Add a number to all arrays, in place."""
    for table, grid, part in tables([[a] for a in arrays]):
        start("tensors", "add_all", grid, part[0][0], table, number)
