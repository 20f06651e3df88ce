"""`torch.backends.openmp`: OpenMP is not used."""

from __future__ import annotations

enabled = False


def is_available() -> bool:
    """False: OpenMP is not used."""
    return False
