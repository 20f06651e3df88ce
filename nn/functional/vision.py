"""Functions of images: resizing, windows, shuffles; see ops/resampling.py and ops/windows.py."""

from __future__ import annotations

from tinygrad_edu.ops.resampling import (
    channel_shuffle,
    interpolate,
    pixel_shuffle,
    pixel_unshuffle,
)
from tinygrad_edu.ops.windows import fold, unfold

__all__ = [
    "channel_shuffle", "fold", "interpolate", "pixel_shuffle", "pixel_unshuffle", "unfold",
    "upsample",
]  # fmt: skip

upsample = interpolate
