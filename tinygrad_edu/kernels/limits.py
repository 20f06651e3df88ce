"""Which numbers an element type can hold, and torch's errors for those it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_edu.dtypes import from_numpy, scalar_type_name
from tinygrad_edu.engine.boundary import not_implemented

__all__ = [
    "check_integer_range", "check_uniform_bounds", "is_float", "largest_integer",
    "require_continuous", "require_float",
]  # fmt: skip

Array = npt.NDArray[Any]

# Float types, by NumPy's letter: bits of the significand, largest number.
_FLOATS = {
    "e": (11, 65504.0),  # float16
    "E": (8, 2.0**128 - 2.0**120),  # bfloat16, of the package ml_dtypes
    "f": (24, 2.0**128 - 2.0**104),  # float32
    "d": (53, float(np.finfo(np.float64).max)),  # float64
}
# Integer types, by NumPy's letter: smallest and largest number. (Both "l" and "q" are 64 bits.)
_INTEGERS = {"?": (0, 1)} | {
    np.dtype(kind).char: (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
    for kind in ("uint8", "int8", "int16", "int32", "int64", np.longlong)
}


def is_float(array: Array) -> bool:
    """Whether it holds floats."""
    return array.dtype.char in _FLOATS


def require_float(array: Array, kernel: str) -> None:
    """Raise NotImplementedError unless the array holds floats."""
    if array.dtype.char not in _FLOATS:
        raise not_implemented(kernel, array.dtype)


def require_continuous(name: str, array: Array) -> None:
    """Raise RuntimeError unless the array holds floats."""
    if array.dtype.char not in _FLOATS:
        raise RuntimeError(
            f"{name} distribution is a continuous probability distribution. "
            f"dtype must be a floating point but you specified {scalar_type_name(array.dtype)}"
        )


def check_uniform_bounds(dtype: np.dtype[Any], low: float, high: float) -> None:
    """Raise RuntimeError unless low <= high and the type can hold both and their difference."""
    limit = _FLOATS[dtype.char][1]
    for name, bound in (("from", low), ("to", high)):
        if not -limit <= bound <= limit:
            raise RuntimeError(f"{name} is out of bounds for {from_numpy(dtype).c_name}")
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}"
        )
    if high - low > limit:
        raise RuntimeError(
            f"uniform_ expects to-from <= {limit:g}, the largest {dtype}, "
            f"but found to={high:g} and from={low:g}"
        )


def check_integer_range(dtype: np.dtype[Any], low: int | None, high: int | None) -> tuple[int, int]:
    """The range [first, end) of integers meant by two bounds that may be missing.

    Raises RuntimeError if it is empty or the type cannot hold it, NotImplementedError for types
    without a rule.

    >>> check_integer_range(np.dtype(np.uint8), None, None)
    (0, 256)
    """
    letter = dtype.char
    if letter in _FLOATS:
        least, most = None, 2 ** _FLOATS[letter][0]
    elif letter in _INTEGERS:
        least, most = _INTEGERS[letter]
    else:
        raise not_implemented("random_kernel_cpu", dtype)
    first, end = low or 0, most + 1 if high is None else high
    if first >= end:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={first} >= to={end}"
        )
    if least is not None:
        for text, value in (("from", first), ("to - 1", end - 1)):
            if not least <= value <= most:
                raise RuntimeError(f"{text} is out of bounds for {from_numpy(dtype).c_name}")
    return first, end


def largest_integer(dtype: np.dtype[Any], kernel: str) -> int:
    """Up to where a type holds all integers; NotImplementedError for types without a rule.

    >>> largest_integer(np.dtype(np.float16), "randperm")
    2049
    """
    if dtype.char in _FLOATS:
        return int(2 ** _FLOATS[dtype.char][0] + 1)  # torch's, one too many
    if dtype.char in _INTEGERS and dtype.char != "?":
        return _INTEGERS[dtype.char][1]
    raise not_implemented(kernel, dtype)
