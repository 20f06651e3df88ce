"""How many bytes a launch reads and writes: each array that it is given, once.

What a kernel reads again (a row three times, a tile for each block of queries) is hoped to lie in a
cache then, and is not counted.
"""

from __future__ import annotations

import ctypes
import math
import re
from typing import Any

import numpy as np

_TABLES = {
    "adam_step": 7, "adam_step_counted": 7, "sum_squares": 1, "clip_all": 2, "add_all": 2,
    "sgd_step": 5,
}  # fmt: skip
"""How often each kernel of tensors.cu reads or writes an element."""
_ITEM = {0: 4, 1: 8, 2: 2, 14: 2}
"""Bytes of an element, by cuBLAS's numbers of the types."""


def size(array: Any) -> int:
    """The bytes that an array lies in: what is broadcast is there once."""
    pairs = zip(array.shape, array.strides, strict=True)
    return math.prod([n for n, step in pairs if step or n == 0]) * array.itemsize


def of_arrays(*arrays: Any) -> int:
    return sum([size(x) for x in arrays if isinstance(x, (np.ndarray, np.generic))])


def of_kernel(name: str, parameters: str, args: tuple[Any, ...], itemsize: int) -> int:
    """Bytes of a kernel of ours, with parameters as its source writes them.

    An array that is given twice takes the place of one that is not needed, but for the first time.
    """
    given: dict[int, int] = {}
    call: Any = None
    total = 0
    for parameter, value in zip(parameters.split(","), args, strict=True):
        kind, _, _ = parameter.strip().rpartition(" ")
        if kind.endswith("*"):
            given[value.data.ptr] = size(value)
        elif kind == "Call":
            call = value[0]
        elif kind == "Table":
            total += int(value["size"].sum()) * itemsize * _TABLES[name]
    total += sum(given.values())
    return total if call is None else total + _of_heads(parameters, call, args, itemsize)


def _of_heads(parameters: str, call: Any, args: tuple[Any, ...], itemsize: int) -> int:
    """Bytes of the heads that a kernel of flash.cu reads and writes, and of dropout's decisions.

    How many heads there are tells lse, which has one number for each query.  Masks, mostly shared
    by all heads, are not counted.
    """
    lse = next(x for p, x in zip(parameters.split(","), args, strict=True) if p.endswith("lse"))
    count, total = lse.size // int(call["queries"]), 0
    for name in re.findall(r"Heads (\w+)", parameters):
        rows = call["keys" if name[-1] in "kv" else "queries"]
        total += count * int(rows) * int(call["values" if name[-1] in "vgy" else "width"])
    decisions = count * int(call["queries"]) * int(call["keys"]) if call["keep"] else 0
    return total * itemsize + decisions


def of_product(name: str, args: tuple[Any, ...]) -> int:
    """Bytes of the two factors and the result of a product of cuBLAS."""
    if name == "cublasLtMatmul":
        return sum([_of_layout(args[i]) for i in (4, 6, 11)])
    m, n, k = args[3:6]
    batched = name == "cublasGemmStridedBatchedEx"
    kinds = (args[8], args[12 if batched else 11], args[17 if batched else 15])
    count = args[-3] if batched else 1
    each = [m * k * _ITEM[kinds[0]], k * n * _ITEM[kinds[1]], m * n * _ITEM[kinds[2]]]
    return int(count * sum(each))


def _of_layout(layout: Any) -> int:
    """Of a matrix as cublas_on_host.cpp describes it."""
    kind = ctypes.c_int.from_address(layout.value)
    rows, columns = (ctypes.c_uint64.from_address(layout.value + 8 * i) for i in (1, 2))
    return rows.value * columns.value * _ITEM[kind.value]
