"""Nested lists of numbers as arrays, with the dtype that torch infers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array, NumpyDtype, default, promote_types
from tinygrad_edu.dtypes import from_numpy as dtype_of
from tinygrad_edu.engine.graph import Variable


def as_numpy(data: Any, infer: bool = True) -> Array:
    """Nested lists, numbers or arrays as an array, if `infer` of the dtype that torch infers."""
    if isinstance(data, (np.ndarray, np.generic)) or hasattr(data, "__cuda_array_interface__"):
        dtype_of(data.dtype)  # refuses what has no counterpart
        return data
    kinds: set[NumpyDtype] = set()
    plain = _plain(data, kinds)
    try:
        array = np.array(plain)
    except ValueError:
        raise _ragged(data) from None
    if array.dtype.kind in "USO":
        raise _no_numbers(array)
    if array.dtype.kind == "c":
        raise TypeError("complex numbers are not supported")
    if not infer:
        return array
    if not kinds:
        return array.astype(default()) if array.dtype == np.float64 else array
    if array.dtype == np.uint64 and array.dtype not in kinds:
        raise ValueError("Overflow when unpacking long long")
    return array.astype(functools.reduce(promote_types, kinds), copy=False)


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


def _plain(data: Any, kinds: set[NumpyDtype]) -> Any:
    """The data with the tensors in its lists replaced by numbers; notes the dtype of each entry."""
    if isinstance(data, (list, tuple)):
        types = set(map(type, data))
        if not types <= _PYTHON.keys():
            return [_plain(item, kinds) for item in data]
        kinds.update([_PYTHON[kind] or default() for kind in types])
    elif isinstance(data, Variable):
        if data.array.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        kinds.add(data.array.dtype)
        return data.array.item()
    elif isinstance(data, (np.ndarray, np.generic)):
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
