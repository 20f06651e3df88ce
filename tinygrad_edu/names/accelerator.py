"""`torch.accelerator`: the GPU, if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_edu import cuda
from tinygrad_edu.backend import device

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike


def is_available() -> bool:
    """Whether a GPU can be used.

    >>> import tinygrad_edu as torch
    >>> torch.accelerator.is_available() == torch.cuda.is_available()
    True
    """
    return cuda.is_available()


def device_count() -> int:
    """How many GPUs can be used."""
    return cuda.device_count()


def current_accelerator(check_available: bool = False) -> device | None:
    """`device("cuda")`, or None without a GPU."""
    return device("cuda") if cuda.is_available() else None


def current_device_index() -> int:
    """The index of the GPU that "cuda" stands for; RuntimeError without one."""
    return cuda.current_device()


def set_device_index(device: DeviceLike) -> None:
    """Make a GPU the one that "cuda" stands for; RuntimeError without one."""
    cuda.set_device(device)


def synchronize(device: DeviceLike = None) -> None:
    """Wait until the GPU has done everything asked of it so far."""
    cuda.synchronize(device)


class device_index:
    """Within it "cuda" stands for the GPU of that number; None: nothing changes."""

    def __init__(self, device: int | None) -> None:
        self.index, self.before = device, None if device is None else current_device_index()

    def __enter__(self) -> None:
        if self.index is not None:
            set_device_index(self.index)

    def __exit__(self, *exc: object) -> None:
        if self.before is not None:
            set_device_index(self.before)
