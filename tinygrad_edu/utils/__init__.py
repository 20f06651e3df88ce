"""Around training: `utils.data` feeds it."""

from __future__ import annotations

from tinygrad_edu.utils import data

__all__ = ["data"]
