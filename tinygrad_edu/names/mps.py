"""`torch.mps`: Apple's GPUs are not used."""

from __future__ import annotations


def is_available() -> bool:
    """False: Apple's GPUs are not used."""
    return False


def device_count() -> int:
    """0: Apple's GPUs are not used."""
    return 0


def empty_cache() -> None:
    """Nothing to empty."""
