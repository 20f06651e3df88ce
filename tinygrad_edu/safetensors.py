"""Files in the safetensors format, through its own library: tensors by name, and nothing else.

    from tinygrad_edu.safetensors import load_file, save_file

The functions have the names and the arguments of `safetensors.torch`.  The library needs to be
installed: pip install 'tinygrad-edu[safetensors]'.
"""

from __future__ import annotations

import importlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu import dtypes
from tinygrad_edu.autograd.record import wrap
from tinygrad_edu.backend import CPU, device, to_device
from tinygrad_edu.dtypes import Array
from tinygrad_edu.serialization.atomic import replacing
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from typing import Protocol

    class HasState(Protocol):
        """A module, as far as it matters here."""

        def state_dict(self) -> Any: ...
        def load_state_dict(self, state_dict: Any, strict: bool = True) -> Any: ...


__all__ = ["load", "load_file", "load_model", "safe_open", "save", "save_file", "save_model"]

_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32",
    "int32": "I32", "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64",
}  # fmt: skip
_DTYPES = {short: dtypes.dtype._by_name[name] for name, short in _NAMES.items()}


def _library() -> Any:
    try:
        return importlib.import_module("safetensors")
    except ImportError:
        raise ImportError(
            "this needs the package safetensors: pip install 'tinygrad-edu[safetensors]'"
        ) from None


def save(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Tensors by name as the bytes of a safetensors file.

    Args:
        tensors: of any dtype and layout; what is not contiguous is copied first, because the
            library would write the bytes in the order in which they lie in memory.
        metadata: strings by name, for the file's head.

    Raises:
        TypeError: a name is no string, or a value no tensor.
        RuntimeError: two tensors share memory, which this format cannot say.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.safetensors import load, save
    >>> load(save({"weight": torch.ones(2, 3).T}))["weight"].shape
    torch.Size([3, 2])
    """
    _refuse_shared(tensors)
    entries, alive = {}, []
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise TypeError(
                "tensors must be a dict of tensors by name, but it has"
                f" {name!r}: {type(tensor).__name__}"
            )
        array = np.ascontiguousarray(to_device(tensor.array, CPU)).reshape(tensor.shape)
        alive.append(array)
        entries[name] = {
            "dtype": tensor.dtype.name,
            "shape": list(array.shape),
            "data": array.tobytes(),
        }
    found: bytes = _library().serialize(entries, metadata=metadata)
    return found
