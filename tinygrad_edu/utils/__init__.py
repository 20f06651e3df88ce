"""Around training: `data` feeds it, `checkpoint` trades time for memory."""

from __future__ import annotations

import typing as _typing

from tinygrad_edu.names.missing import later as _later

__all__ = ["checkpoint", "data", "dlpack", "hooks"]

if _typing.TYPE_CHECKING:
    from tinygrad_edu.utils import checkpoint, data, dlpack, hooks
else:  # imported when they are asked for
    __getattr__, __dir__ = _later(__name__, {"": [*__all__, "_pytree"]})
