"""Around training: `data` feeds it, `checkpoint` trades time for memory."""

from __future__ import annotations

from tinygrad_edu.utils import checkpoint, data, dlpack, hooks

__all__ = ["checkpoint", "data", "dlpack", "hooks"]
