"""Functions that torch keeps at its root, and scripts call there now and then."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.backend import place_of
from tinygrad_edu.dtypes import dtype as Dtype
from tinygrad_edu.dtypes import float64, get_default_dtype
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.methods.storage import TypedStorage, UntypedStorage
from tinygrad_edu.nn.functional import alpha_dropout as _alpha_dropout
from tinygrad_edu.nn.functional import dropout as _dropout
from tinygrad_edu.nn.functional import feature_alpha_dropout as _feature_alpha_dropout
from tinygrad_edu.nn.functional.dropout import _channel_dropout as _feature_dropout
from tinygrad_edu.ops.creation import arange, from_numpy
from tinygrad_edu.tensor import Tensor

newaxis = None
detach, is_signed = Tensor.detach, Tensor.is_signed


def detach_(input: Tensor) -> Tensor:
    """`input.detach_()`: take the tensor out of its graph."""
    return input.detach_()


def _at_root(function: Callable[..., Tensor], inplace: bool) -> Callable[..., Tensor]:
    def call(input: Tensor, p: float, train: bool) -> Tensor:
        return function(input, p, train, inplace)

    call.__doc__ = f"`nn.functional.{function.__name__.strip('_')}`, every argument given."
    return call


_DROPOUTS = (_dropout, _alpha_dropout, _feature_dropout, _feature_alpha_dropout)
dropout, alpha_dropout, feature_dropout, feature_alpha_dropout = [
    _at_root(function, False) for function in _DROPOUTS
]
dropout_, alpha_dropout_, feature_dropout_, feature_alpha_dropout_ = [
    _at_root(function, True) for function in _DROPOUTS
]


def embedding_renorm_(
    input: Tensor, indices: Tensor, max_norm: float, norm_type: float = 2.0
) -> Tensor:
    """Shorten in place the rows that `indices` name and that are longer than `max_norm`."""
    with no_grad():
        rows = indices.flatten().unique()
        lengths = input[rows].norm(norm_type, 1, keepdim=True)
        input[rows] *= (max_norm / (lengths + 1e-7)).where(lengths > max_norm, 1.0)
    return input


def resize_as_sparse_(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """NotImplementedError: there are no sparse tensors."""
    raise NotImplementedError("resize_as_sparse_: there are no sparse tensors")


def range(start: float, end: float, step: float = 1, **options: Any) -> Tensor:
    """The numbers from `start` to `end`, which is one of them; deprecated in favour of `arange`.

    Args:
        start, end, step: numbers.
        options: `dtype` (the default float unless given), `device`, `requires_grad`.

    >>> import warnings, tinygrad_edu as torch
    >>> with warnings.catch_warnings(action="ignore"):
    ...     torch.range(1, 3)
    tensor([1., 2., 3.])
    """
    warnings.warn(
        "torch.range is deprecated and will be removed in a future release because its behavior"
        " is inconsistent with Python's range builtin. Instead, use torch.arange, which produces"
        " values in [start, end).",
        UserWarning,
        stacklevel=2,
    )
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) / step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    kind = options.pop("dtype", None)
    count = math.floor((end - start) / step) + 1
    made = start + arange(count, dtype=float64) * step
    made = made.to(kind or get_default_dtype(), device=place_of(options.get("device")))
    return made.requires_grad_(options.get("requires_grad", False))


def frombuffer(
    buffer: Any, *, dtype: Dtype, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A 1-d tensor that shares the memory of a bytearray, an array or another buffer.

    Args:
        buffer: any object with Python's buffer protocol.
        dtype: of its elements.
        count: how many of them; as many as there are unless given.
        offset: the bytes to leave out at the beginning.

    Raises:
        ValueError: there is nothing, or less than `count` elements.

    >>> import array, tinygrad_edu as torch
    >>> torch.frombuffer(array.array("i", [1, 2, 3]), dtype=torch.int32, count=2)
    tensor([1, 2], dtype=torch.int32)
    """
    view = memoryview(buffer)
    if not view.nbytes or count == 0:
        raise ValueError(f"both buffer length ({view.nbytes}) and count ({count}) must not be 0")
    if not 0 <= offset < view.nbytes:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length"
            f" ({view.nbytes} bytes) minus 1"
        )
    found = np.frombuffer(view, dtype.numpy, count, offset)
    if view.readonly:
        warnings.warn(
            "The given buffer is not writable, and PyTorch does not support non-writable tensors."
            " This means you can write to the underlying (supposedly non-writable) buffer using"
            " the tensor. You may want to copy the buffer to protect its data or make it writable"
            " before converting it to a tensor.",
            UserWarning,
            stacklevel=2,
        )
        found = found.copy()
    return from_numpy(found).requires_grad_(requires_grad)


def _assert(condition: Any, message: str) -> None:
    """AssertionError with the message unless the condition holds."""
    assert condition, message


def is_storage(obj: object) -> bool:
    """Whether it is the memory of a tensor, as `untyped_storage()` and `storage()` give it."""
    return isinstance(obj, (TypedStorage, UntypedStorage))


def typename(obj: Any) -> str:
    """`torch.FloatTensor` of a tensor, the class or function's full name of anything else."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    named = obj if hasattr(obj, "__qualname__") else type(obj)
    return f"{named.__module__}.{named.__qualname__}".removeprefix("builtins.")
