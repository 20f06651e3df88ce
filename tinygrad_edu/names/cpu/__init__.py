"""`torch.cpu`: the answers of the one device that is always there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import missing

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike


def is_available() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1: all cores together are one device."""
    return 1


def current_device() -> str:
    """ "cpu"."""
    return "cpu"


def synchronize(device: DeviceLike = None) -> None:
    """Nothing to wait for: work on the CPU is done when its function returns."""


__getattr__ = missing(__name__, {"amp": ""})
