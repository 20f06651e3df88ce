"""`torch.backends.opt_einsum`: opt_einsum is not used."""

from __future__ import annotations

enabled = False


def is_available() -> bool:
    """False: opt_einsum is not used."""
    return False
