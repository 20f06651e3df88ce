"""Around training: `data` feeds it, `checkpoint` trades time for memory."""

from __future__ import annotations

import typing as _typing

from tinygrad_edu.names.missing import listing as _listing
from tinygrad_edu.names.missing import missing as _missing

__all__ = ["checkpoint", "data", "dlpack", "hooks"]

if _typing.TYPE_CHECKING:
    from tinygrad_edu.utils import checkpoint, data, dlpack, hooks
else:  # imported when they are asked for
    _LATER = dict.fromkeys(__all__, "")
    __getattr__, __dir__ = _missing(__name__, _LATER), _listing(__name__, _LATER)
