"""Compiling the CUDA sources, and starting their kernels."""

from __future__ import annotations

import functools
import operator
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.backend import current_gpu, module_of
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.undivided import Calls

THREADS = 256
"""Threads of a block; a power of two."""
BLOCKS = 4096
"""The most blocks that share the elements of an array."""
TENSORS, COLUMNS = 64, 6
"""How many tensors one launch of tensors.cu takes, and how many arrays of each: what fits in the
4 KB that a launch's arguments may have."""
FILES = ("softmax", "norm", "elementwise", "attention", "embedding", "tensors", "flash")
_BEGIN = {"flash": ("common.cuh", "tiles.cuh")}
"""What a source begins with, where that is not common.cuh alone."""
Sizes = tuple[tuple[str, int], ...]
"""Names that a source leaves open, and their numbers."""
_TYPES = {
    "f": "typedef float T;", "d": "typedef double T;",
    "e": "typedef float T;\n#define EXPONENT 5", "E": "typedef float T;\n#define EXPONENT 8",
}  # fmt: skip
"""How a source begins for each element type, by NumPy's letters; E is ml_dtypes' bfloat16."""


def source(file: str, dtype: Any, threads: int, sizes: Sizes = ()) -> str:
    """The CUDA source of a file for elements of that dtype."""
    head = (
        f"{_TYPES[np.dtype(dtype).char]}\n#define THREADS {threads}\n"
        f"#define TENSORS {TENSORS}\n#define COLUMNS {COLUMNS}\n"
    )
    head += "".join([f"#define {name} {number}\n" for name, number in sizes])
    for part in (*_BEGIN.get(file, ("common.cuh",)), f"{file}.cu"):
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
    file: str, name: str, blocks: int | tuple[int, int], like: Array, *args: object,
    dtype: Any = None, threads: int | None = None, sizes: Sizes = (),
) -> None:  # fmt: skip
    """Start a kernel.

    Args:
        file, name: where it stands, without the suffix, and what it is called.
        blocks: how many, or how many columns and rows of them.
        like: an array of the dtype that the source is compiled for, on the GPU to use.
        args: arrays on the GPU, and numbers, which become what the kernel declares.
        dtype: instead of the dtype of `like`.
        threads: of a block, instead of THREADS.
        sizes: what the source leaves open.
    """
    for call in calls(file, name, blocks, like, *args, dtype=dtype, threads=threads, sizes=sizes):
        call[0](*call[1:])


def calls(
    file: str, name: str, blocks: int | tuple[int, int], like: Array, *args: object,
    dtype: Any = None, threads: int | None = None, sizes: Sizes = (),
) -> Calls:  # fmt: skip
    """What `start` calls, the kernel being compiled; nothing if there are no blocks."""
    shape = blocks if isinstance(blocks, tuple) else (blocks, 1)
    if 0 in shape:
        return []
    if like.device.id != current_gpu():
        raise ValueError(
            f"Array device must be same as the current device: array device = {like.device.id}"
            f" while current = {current_gpu()}"
        )
    dtype = like.dtype if dtype is None else np.dtype(dtype)
    threads = THREADS if threads is None else threads
    here = module_of(like), like.device.id
    function, convert = _function(*here, file, name, dtype, threads, sizes)
    arguments = tuple([to(a) for to, a in zip(convert, args, strict=True)])
    return [(function, shape, (threads,), arguments)]


@functools.cache
def _function(
    xp: Any, gpu: int, file: str, name: str, dtype: Any, threads: int, sizes: Sizes = ()
) -> tuple[Any, list[Any]]:
    """A kernel compiled for a GPU, and for each parameter what makes its argument of what is given.

    CuPy passes a scalar as the bytes that it has, and does not look at how many the kernel reads.
    """
    kernel = _module(xp, file, dtype, threads, sizes).get_function(name)
    kernel.compile()  # else the first call would, which runs Python
    parameters = re.search(rf"KERNEL {name}\(([^)]*)\)", source(file, dtype, threads, sizes))
    assert parameters is not None

    def array(value: Any) -> Any:
        if not isinstance(value, xp.ndarray):
            raise TypeError(f"{name}: an array of the GPU is needed, not {type(value).__name__}")
        return value

    ways: dict[str, Callable[[Any], Any]] = {
        "T": np.float32 if dtype.itemsize == 2 else dtype.type,
        "float": np.float32,
        "Int": lambda value: np.int64(operator.index(value)),
        "int": lambda value: np.int32(bool(value)),  # all of them are flags
    }
    for structure in ("Table", "Heads", "Mask", "Call"):  # of tensors.py and flash.py
        ways[structure] = lambda value: value
    kinds = [p.rpartition(" ")[0].strip() for p in parameters[1].split(",")]
    return kernel, [array if kind.endswith("*") else ways[kind] for kind in kinds]


@functools.cache
def _module(xp: Any, file: str, dtype: Any, threads: int, sizes: Sizes) -> Any:
    return xp.RawModule(code=source(file, dtype, threads, sizes), options=("--std=c++14",))


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
