"""Copies, and the order in which a tensor's elements lie in memory.

The order changes no shape and no value: a batch of images (N, C, H, W) in `channels_last` has the
channels of each pixel side by side, and is still indexed [n, c, h, w].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.graph import Variable
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels import memory_order

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

_FORMATS = {
    "torch.channels_last": (0, 2, 3, 1),
    "torch.channels_last_3d": (0, 2, 3, 4, 1),
}


def axes_of(memory_format: Any, ndim: int) -> tuple[int, ...] | None:
    """The dimensions from the slowest to the fastest in memory; None: as they are.

    Raises:
        RuntimeError: the format is for tensors of another number of dimensions.
    """
    if memory_format in (None, "torch.preserve_format"):
        return None
    if memory_format == "torch.contiguous_format":
        return tuple(range(ndim))
    if memory_format not in _FORMATS:
        raise TypeError(f"memory_format must be one of torch's, not {memory_format!r}")
    axes = _FORMATS[memory_format]
    if len(axes) != ndim:
        name = memory_format.removeprefix("torch.")
        raise RuntimeError(f"required rank {len(axes)} tensor to use {name} format")
    return axes


def follows(x: Array, axes: tuple[int, ...] | None) -> bool:
    """Whether the elements lie in that order, without gaps."""
    return axes is None or bool(x.transpose(axes).flags.c_contiguous)


@primitive(half="as it is")
def _clone(x: Array, axes: tuple[int, ...] | None = None) -> Array:
    if axes is not None:
        back = sorted(range(x.ndim), key=axes.__getitem__)
        return x.transpose(axes).copy(order="C").transpose(back)
    return memory_order.clone(x)


_clone.vjp(x=lambda g: g)


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy in memory of its own; gradients flow through it.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([1.0, 2.0]); x.clone() is x
    False
    """
    if not isinstance(input, Variable):
        raise TypeError(f"clone(): argument 'input' must be Tensor, not {type(input).__name__}")
    return _clone(input, axes_of(memory_format, input.array.ndim))


def arranged(input: Tensor, memory_format: Any) -> Tensor:
    """The tensor itself if its elements lie in that order, else a copy where they do."""
    axes = axes_of(memory_format, input.array.ndim)
    return input if follows(input.array, axes) else _clone(input, axes)


def contiguous(input: Tensor, memory_format: Any = "torch.contiguous_format") -> Tensor:
    """The tensor itself if its elements lie in order in memory, else a copy where they do.

    >>> import tinygrad_edu as torch
    >>> torch.ones(2, 3).T.contiguous().stride()
    (2, 1)
    """
    if input.array.flags.c_contiguous and memory_format == "torch.contiguous_format":
        return input
    return arranged(input, memory_format)
