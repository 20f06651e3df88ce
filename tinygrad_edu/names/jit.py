"""`torch.jit`: importable; there is no compiler behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from tinygrad_edu.names.settings import unavailable

__all__ = [
    "Final", "ScriptModule", "annotate", "export", "freeze", "ignore", "is_scripting", "is_tracing",
    "load", "save", "script", "trace", "unused",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])

_REASON = "there is no TorchScript compiler; call the function or module itself"
script = unavailable("torch.jit.script", _REASON)
trace = unavailable("torch.jit.trace", _REASON)
save = unavailable("torch.jit.save", _REASON)
load = unavailable("torch.jit.load", _REASON)
freeze = unavailable("torch.jit.freeze", _REASON)


class ScriptModule:
    """No object is one; there to be asked for with isinstance."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        unavailable("torch.jit.ScriptModule", _REASON)()


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value."""
    return the_value


def is_scripting() -> bool:
    """False."""
    return False


def is_tracing() -> bool:
    """False."""
    return False


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """The decorated function itself."""
    return drop if callable(drop) else lambda function: function


def unused(fn: F) -> F:
    """The decorated function itself."""
    return fn


def export(fn: F) -> F:
    """The decorated function itself."""
    return fn
