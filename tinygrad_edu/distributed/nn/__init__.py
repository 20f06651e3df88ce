"""`torch.distributed.nn`: `functional`, the collectives with gradients."""

from __future__ import annotations

from tinygrad_edu.distributed.nn import functional
from tinygrad_edu.distributed.nn.functional import *  # noqa: F403

__all__ = ["functional", *functional.__all__]
