"""Padding; see ops/padding.py."""

from tinygrad_edu.ops.padding import pad

__all__ = ["pad"]
