"""`torch.backends.mha`: whether encoders leave out padding in evaluation, as torch's do."""

from __future__ import annotations

_enabled = True


def get_fastpath_enabled() -> bool:
    """Whether `nn.TransformerEncoder` may return zeros for padding.

    >>> import tinygrad_edu as torch
    >>> torch.backends.mha.get_fastpath_enabled()
    True
    """
    return _enabled


def set_fastpath_enabled(value: bool) -> None:
    """Allow or forbid it; results at all other positions are the same either way."""
    global _enabled
    _enabled = value
