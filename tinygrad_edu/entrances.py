"""Nested lists of numbers as arrays, with the dtype that torch infers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array, NumpyDtype, default, fitting, promote_types
from tinygrad_edu.dtypes import from_numpy as dtype_of
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.kernels.repeatable import repeatable


@repeatable
def as_numpy(data: Any, target: NumpyDtype | None = None) -> Array:
    """Nested lists, numbers or arrays as an array that can be cast to `target`.

    Args:
        target: None for the dtype that torch infers.

    Raises:
        RuntimeError: a Python number does not fit the target.
    """
    if hasattr(data, "__cuda_array_interface__"):
        dtype_of(data.dtype)  # refuses what has no counterpart
        return data
    if isinstance(data, (np.ndarray, np.generic)) or _is_column(data):
        array = np.asarray(data)  # plain, also of a matrix, a masked array, a pandas Series
        if array.dtype.kind == "O":
            raise _no_numbers(array)
        dtype_of(array.dtype)
        return array
    kinds: set[NumpyDtype] = set()
    plain = _plain(data, kinds)
    try:
        array = np.array(plain)
    except ValueError:
        raise _ragged(data) from None
    if array.dtype.kind == "O" and target is not None and kinds <= _FOR_LARGE:
        array = _of_large(array, target)
    if array.dtype.kind in "USO":
        raise _no_numbers(array)
    if array.dtype.kind == "c":
        raise TypeError("complex numbers are not supported")
    if target is not None:
        if target.kind in "iu" and kinds <= _WHOLE and array.dtype.kind in "fu" and array.size:
            raise ValueError("Overflow when unpacking long long")
        _check_range(array, target)
        return array
    if not kinds:
        return array.astype(default()) if array.dtype == np.float64 else array
    large = array.dtype == np.uint64 or (array.dtype == np.float64 and kinds <= _WHOLE)
    if large and array.dtype not in kinds and array.size:
        raise ValueError("Overflow when unpacking long long")
    return array.astype(functools.reduce(promote_types, kinds), copy=False)


def _is_column(data: object) -> bool:
    """Whether something other than a list or a tensor says what array it holds."""
    return hasattr(data, "__array__") and not isinstance(data, (TensorBase, type))


_WHOLE = {np.dtype(bool), np.dtype(np.int64)}
_FOR_LARGE = {np.dtype(bool), np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.float64)}


def _of_large(array: Array, target: NumpyDtype) -> Array:
    """Integers of more than 64 bits, of which a float or a bool can be made."""
    if target.kind in "iu":
        return array
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        return array


def _check_range(array: Array, target: NumpyDtype) -> None:
    """Raise torch's error where an element does not fit an integer dtype."""
    if target.kind not in "iu" or not array.size:
        return
    if array.dtype.kind in "iuf" and array.dtype != target:
        for extreme in (array.min(), array.max()):  # nan is both
            fitting(target, extreme, target.name)


def _no_numbers(array: Array) -> Exception:
    """The error for an array of texts, of objects, or of integers too large for one."""
    types = {type(entry).__name__ for entry in array.ravel().tolist()}
    if types == {"str"}:
        if array.ndim:
            return ValueError("too many dimensions 'str'")
        return TypeError("new(): invalid data type 'str'")
    others = sorted(types - {"int", "float", "bool"})
    if not others:
        return ValueError("Overflow when unpacking long long")
    return RuntimeError(f"Could not infer dtype of {others[0]}")


def _plain(data: object, kinds: set[NumpyDtype]) -> Any:
    """The data with the tensors in its lists replaced by numbers; notes the dtype of each entry."""
    if isinstance(data, (list, tuple)):
        types = set(map(type, data))
        if not types <= _PYTHON.keys():
            return [_plain(item, kinds) for item in data]
        kinds.update([_PYTHON[kind] or default() for kind in types])
    elif isinstance(data, TensorBase):
        if data.array.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        kinds.add(data.array.dtype)
        return data.array.item()
    elif isinstance(data, (np.ndarray, np.generic)) or _is_column(data):
        data = np.asarray(data)
        dtype_of(data.dtype)
        kinds.add(data.dtype)
    elif type(data) in _PYTHON:
        kinds.add(_PYTHON[type(data)] or default())
    return data


_PYTHON = {bool: np.dtype(bool), int: np.dtype(np.int64), float: None}
"""The dtype of Python's numbers; None is the default."""


def _ragged(data: Any, dim: int = 1) -> ValueError:
    lengths = [len(item) if isinstance(item, (list, tuple)) else 0 for item in data]
    for length in lengths:
        if length != lengths[0]:
            return ValueError(
                f"expected sequence of length {lengths[0]} at dim {dim} (got {length})"
            )
    for item in data:
        if isinstance(item, (list, tuple)) and item:
            return _ragged(item, dim + 1)
    return ValueError(f"cannot make a tensor of {data!r}")
