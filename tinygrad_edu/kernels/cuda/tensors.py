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
from tinygrad_edu.kernels.cuda.launch import COLUMNS, TENSORS, blocks_for, calls, ready, start
from tinygrad_edu.kernels.undivided import Calls, undivided

Rows = list[list[Array]]
"""For each tensor its arrays, in the order that the kernel names."""
_TABLE = np.dtype([("size", np.uint64, TENSORS), ("array", np.uint64, (COLUMNS, TENSORS)),
                   ("first", np.uint32, TENSORS + 1), ("end", np.uint32)])  # fmt: skip
"""`Table` of tensors.cu: CuPy passes an array of one such element by value, but no larger array."""


def fit(*arrays: Array) -> bool:
    """Whether the kernels take these arrays of one tensor: all of one layout, without gaps."""
    first = arrays[0]
    if not ready(*arrays) or not (first.flags.c_contiguous or first.flags.f_contiguous):
        return False
    return all([a.strides == first.strides and a.shape == first.shape for a in arrays])


def tables(rows: Rows) -> Iterator[tuple[Any, int, Rows]]:
    """The rows in parts: the table of their sizes and addresses, the blocks to start, the rows."""
    rows = [row for row in rows if row[0].size]
    for first in range(0, len(rows), TENSORS):
        part = rows[first : first + TENSORS]
        table, blocks = np.zeros(1, _TABLE), 0
        for i, row in enumerate(part):
            table["size"][0, i], table["first"][0, i] = row[0].size, blocks
            table["array"][0, : len(row), i] = [a.data.ptr for a in row]
            blocks += blocks_for(-(-row[0].size // 4))
        table["first"][0, len(part) :] = blocks
        yield table, blocks, part


def adam_calls(
    rows: Rows, step: float | None, lr: float, beta1: float, beta2: float, eps: float,
    weight_decay: float, decoupled: bool, amsgrad: bool, maximize: bool,
) -> Calls:  # fmt: skip
    """The launches of a step of Adam or AdamW, as `kernels.adam.adam_calls`.

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
    return _for_each_table(
        name, rows, 1 - beta1, beta2, 1 - beta2, size, bound, shrink, penalty, amsgrad, maximize
    )


def sgd_calls(
    rows: Rows, lr: float, momentum: float, dampening: float, weight_decay: float, first: bool,
    nesterov: bool, maximize: bool,
) -> Calls:  # fmt: skip
    """The launches of a step of SGD on rows of x, g and, with momentum, its buffer."""
    return _for_each_table(
        "sgd_step", rows, lr, momentum, 1.0 - dampening, weight_decay, momentum != 0, first,
        nesterov, maximize,
    )  # fmt: skip


def add_calls(arrays: list[Array], number: float) -> Calls:
    """The launches that add a number to all arrays, in place."""
    return _for_each_table("add_all", [[a] for a in arrays], number)


def _for_each_table(name: str, rows: Rows, *args: object) -> Calls:
    """The launches of a kernel that takes a table and `args`."""
    found: Calls = []
    for table, blocks, part in tables(rows):
        found += calls("tensors", name, blocks, part[0][0], table, *args)
    return found


def norm(arrays: list[Array]) -> Array:
    """The 2-norm of all arrays as if they were one vector, a 0-d array."""
    if not arrays or not any([a.size for a in arrays]):
        return new_like(arrays[0], (), 0)
    parts = list(tables([[a] for a in arrays]))
    partial = np.empty_like(arrays[0], shape=(sum([blocks for _, blocks, _ in parts]),))
    first, y = 0, np.empty_like(partial, shape=(1,))
    for table, blocks, _ in parts:
        start("tensors", "sum_squares", blocks, partial, table, partial, first)
        first += blocks
    start("tensors", "root_of_sum", 1, partial, partial, y, first)
    return y.reshape(())


def clip(arrays: list[Array], norm: Array, most: float) -> None:
    """Multiply all arrays by min(1, most / (norm + 1e-6)), in place; `norm` is a 0-d array."""
    undivided(_for_each_table("clip_all", [[a] for a in arrays], norm, most))
