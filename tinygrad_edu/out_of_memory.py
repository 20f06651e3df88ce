"""The errors of memory that is not there: how much was asked for, and by which operation."""

from __future__ import annotations

import ctypes
import functools
import gc
import math
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class OutOfMemoryError(RuntimeError):
    """A GPU has not the memory that was asked for; `torch.OutOfMemoryError`."""


class CPUOutOfMemoryError(OutOfMemoryError, MemoryError):
    """The main memory has not what was asked for.

    torch raises a plain RuntimeError; this is one, and Python's MemoryError besides.
    """


def out_of_memory(operation: str, error: MemoryError) -> MemoryError:
    """torch's error in place of NumPy's, which lets go of the arrays of the operation.

    Rubbish that only the collector finds is freed, and the C library is told to give back what it
    keeps, so that something smaller can be tried.
    """
    if isinstance(error, OutOfMemoryError):
        return error
    error.__traceback__ = None
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    if shape is None or dtype is None:  # Python's own, which says nothing
        return CPUOutOfMemoryError(
            f"DefaultCPUAllocator: can't allocate memory for what {operation} makes"
        )
    size = math.prod(shape) * dtype.itemsize
    return CPUOutOfMemoryError(
        f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {size} bytes"
        f" ({size / 2**30:.2f} GiB in {operation}: shape {list(shape)} of {dtype})"
    )


def overflowed(error: ValueError) -> Exception:
    """torch's error, if NumPy says that the bytes of an array cannot even be counted."""
    if str(error).startswith(("array is too big", "Maximum allowed dimension")):
        return RuntimeError("Storage size calculation overflowed: more than 2^63 bytes")
    return error


def told(function: F) -> F:
    """A function that computes outside of the engine, whose lack of memory is told as torch's."""

    @functools.wraps(function)
    def call(*args: object, **kwargs: object) -> Any:
        try:
            return function(*args, **kwargs)
        except MemoryError as error:
            raise out_of_memory(function.__name__.strip("_"), error) from None

    anything: Any = call
    same: F = anything
    return same


_INNER = {"on", "call"}
"""Names without a leading _ that are no operations' all the same."""


def public_caller() -> str:
    """The name of the innermost public function of the package that is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if module.startswith("tinygrad_edu.") and name[0] not in "_<" and name not in _INNER:
            return str(name)
        frame = frame.f_back
    return "an operation"
