"""torch's path to what is in checking.py: a module cannot be named like a function beside it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinygrad_edu.autograd.checking import GradcheckError as GradcheckError
    from tinygrad_edu.autograd.checking import gradcheck as gradcheck
    from tinygrad_edu.autograd.checking import gradgradcheck as gradgradcheck
else:

    def __getattr__(name: str) -> Any:
        return getattr(importlib.import_module("tinygrad_edu.autograd.checking"), name)
