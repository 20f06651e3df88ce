"""Compiling the CUDA sources, and starting their kernels."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from tinygrad_edu.backend import current_gpu, module_of
from tinygrad_edu.dtypes import Array

THREADS = 256
"""Threads of a block; a power of two."""
BLOCKS = 4096
"""The most blocks that share the elements of an array."""
TENSORS, COLUMNS = 70, 6
"""How many tensors one launch of tensors.cu takes, and how many arrays of each: what fits in the
4 KB that a launch's arguments may have."""
FILES = ("softmax", "norm", "elementwise", "attention", "embedding", "tensors")
_TYPES = {
    "f": "typedef float T;", "d": "typedef double T;",
    "e": "typedef float T;\n#define EXPONENT 5", "E": "typedef float T;\n#define EXPONENT 8",
}  # fmt: skip
"""How a source begins for each element type, by NumPy's letters; E is ml_dtypes' bfloat16."""


def source(file: str, dtype: Any, threads: int) -> str:
    """The CUDA source of a file for elements of that dtype."""
    head = (
        f"{_TYPES[np.dtype(dtype).char]}\n#define THREADS {threads}\n"
        f"#define TENSORS {TENSORS}\n#define COLUMNS {COLUMNS}\n"
    )
    for part in ("common.cuh", f"{file}.cu"):
        with open(os.path.join(os.path.dirname(__file__), part), encoding="utf-8") as text:
            head += text.read()
    return head


def ready(*arrays: Array | None, half: bool = False) -> bool:
    """Whether the kernels take these arrays: on a GPU, float32 or float64, all of one dtype.

    Args:
        half: 16-bit floats too.
    """
    first = arrays[0]
    if isinstance(first, np.ndarray) or first is None:
        return False
    if first.dtype.char not in ("fdeE" if half else "fd"):
        return False
    same = all([a is None or a.dtype == first.dtype for a in arrays])
    return same and hasattr(module_of(first), "RawModule")


def takes_half(x: Array) -> bool:
    """Whether 16-bit arrays are computed with as they are here: on a GPU, with our kernels."""
    on_gpu = not isinstance(x, (np.ndarray, np.generic))
    return on_gpu and hasattr(module_of(x), "RawModule")


def start(
    file: str, name: str, blocks: int | tuple[int, int], like: Array, *args: Any, dtype: Any = None
) -> None:
    """Start a kernel.

    Args:
        file, name: where it stands, without the suffix, and what it is called.
        blocks: how many, or how many columns and rows of them.
        like: an array of the dtype that the source is compiled for, on the GPU to use.
        args: arrays; Python's ints, which arrive as 64 bits; bools, as an int of 32; floats, as T.
        dtype: instead of the dtype of `like`.
    """
    shape = blocks if isinstance(blocks, tuple) else (blocks, 1)
    if 0 in shape:
        return
    if like.device.id != current_gpu():
        raise ValueError(
            f"Array device must be same as the current device: array device = {like.device.id}"
            f" while current = {current_gpu()}"
        )
    dtype = like.dtype if dtype is None else np.dtype(dtype)
    function = _function(module_of(like), file, name, dtype, THREADS)
    function(shape, (THREADS,), tuple([_argument(a, dtype) for a in args]))


def _argument(value: Any, dtype: Any) -> Any:
    kind = value.__class__
    if kind is np.ndarray and value.dtype.names is None:  # but for the tables of tensors.py
        raise TypeError("a kernel for the GPU was given an array of the host")
    if kind is bool:
        return np.int32(value)
    if kind is int:
        return np.int64(value)
    if kind is float:
        return np.float32(value) if dtype.itemsize == 2 else dtype.type(value)
    return value


@functools.cache
def _function(xp: Any, file: str, name: str, dtype: Any, threads: int) -> Any:
    return _module(xp, file, dtype, threads).get_function(name)


@functools.cache
def _module(xp: Any, file: str, dtype: Any, threads: int) -> Any:
    return xp.RawModule(code=source(file, dtype, threads), options=("--std=c++14",))


def forget() -> None:
    """Drop what has been compiled: the tests exchange CuPy under it."""
    _function.cache_clear()
    _module.cache_clear()


def blocks_for(n: int) -> int:
    """How many blocks share `n` elements, one or more per thread."""
    return min(BLOCKS, -(-n // THREADS))


def dense(x: Array) -> Array:
    """The array, or a copy of it, in contiguous memory."""
    return x if x.flags.c_contiguous else x.copy(order="C")
