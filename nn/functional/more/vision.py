"""Functions of images: resizing, windows, shuffles; see ops/resampling.py and ops/windows.py."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_edu.ops.more.resampling import (
    channel_shuffle,
    interpolate,
    pixel_shuffle,
    pixel_unshuffle,
)
from tinygrad_edu.ops.more.windows import fold, unfold
from tinygrad_edu.tensor import Tensor

__all__ = [
    "channel_shuffle", "fold", "interpolate", "pixel_shuffle", "pixel_unshuffle", "unfold",
    "upsample", "upsample_bilinear", "upsample_nearest",
]  # fmt: skip

upsample = interpolate


def upsample_nearest(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | None = None
) -> Tensor:
    """`interpolate` with mode "nearest"."""
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | None = None
) -> Tensor:
    """`interpolate` with mode "bilinear" and aligned corners."""
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
