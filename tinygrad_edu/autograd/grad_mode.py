"""Blocks that switch recording on or off, under torch's path."""

from tinygrad_edu.engine.switches import (
    enable_grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
)

__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled"]
