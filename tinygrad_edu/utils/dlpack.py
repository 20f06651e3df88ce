"""`torch.utils.dlpack`: tensors to and from other libraries, sharing memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu.ops.creation import from_dlpack as _from_dlpack
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike


class _Holder:
    """A capsule of the CPU's memory as an object that NumPy reads."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: object) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def to_dlpack(tensor: Tensor) -> Any:
    """The tensor's memory as a DLPack capsule.

    >>> import tinygrad_edu as torch
    >>> torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(torch.ones(2)))
    tensor([1., 1.])
    """
    return tensor.__dlpack__(max_version=(1, 0))


def from_dlpack(
    ext_tensor: object, *, device: DeviceLike = None, copy: bool | None = None
) -> Tensor:
    """A tensor that shares the memory of a capsule, or of an object that gives one."""
    holder = ext_tensor if hasattr(ext_tensor, "__dlpack__") else _Holder(ext_tensor)
    return _from_dlpack(holder, device=device, copy=copy)


__all__ = ["from_dlpack", "to_dlpack"]
