"""`torch.backends.mps`: Apple's GPUs are not used."""

from __future__ import annotations

enabled = False


def is_available() -> bool:
    """False: Apple's GPUs are not used."""
    return False


def is_built() -> bool:
    """False: Apple's GPUs are not used."""
    return False
