"""`torch.backends.mkl`: Intel's MKL is not used."""

from __future__ import annotations

enabled = False


def is_available() -> bool:
    """False: Intel's MKL is not used."""
    return False
