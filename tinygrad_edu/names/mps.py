"""`torch.mps` and `torch.xpu`: Apple's and Intel's GPUs are not used."""

from __future__ import annotations


def is_available() -> bool:
    """False: such GPUs are not used."""
    return False


def device_count() -> int:
    """0: such GPUs are not used."""
    return 0


def empty_cache() -> None:
    """Nothing to empty."""
