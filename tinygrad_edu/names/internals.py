"""Names of torch's insides that libraries ask for without computing with them.

`torch._C`, `torch.fx`, `torch.library` and `torch._dynamo` are all this module: what is asked for
there only registers, marks or switches off something that does not exist here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tinygrad_edu.names.missing import missing

F = TypeVar("F", bound=Callable[..., Any])

__path__: list[str] = []  # `torch._dynamo.utils` is this module, too


def _log_api_usage_once(event: str) -> None:
    """Nothing is logged."""


def _get_tracing_state() -> None:
    """None: nothing is traced."""


class ScriptMethod:
    """No object is one; there to be asked for with isinstance."""


class DisableTorchFunctionSubclass:
    """A block, to no effect: operations never ask subclasses."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


DisableTorchFunction = DisableTorchFunctionSubclass


def _assert(condition: Any, message: str) -> None:
    """`assert` as a function."""
    assert condition, message


# ---- marks for compilers


def wrap(fn_or_name: F | str) -> F | str:
    """The function, or its name, itself."""
    return fn_or_name


def disable(fn: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The function itself; as a decorator, with arguments or without."""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn: F) -> F:
    """The function itself."""
    return fn


def reset() -> None:
    """Nothing has been compiled."""


def is_compile_supported(device_type: str) -> bool:
    """False."""
    return False


# ---- operators of others


def register_fake(op: Any, func: Any = None, /, **kwargs: Any) -> Any:
    """The function itself; as a decorator or not. There are no operators to register it for."""
    return (lambda function: function) if func is None else func


def register_autograd(op: Any, backward: Any, /, **kwargs: Any) -> None:
    """Accepted, to no effect: there are no operators to register it for."""


class Library:
    """A library of operators; what is defined in it cannot be called."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, **kwargs: Any) -> str:
        """The name of the operator."""
        return schema.partition("(")[0]

    def impl(self, op_name: Any, fn: Any, dispatch_key: str = "", **kwargs: Any) -> None:
        """Accepted, to no effect."""


def load_library(path: Any) -> None:
    """OSError: compiled operators of torch's cannot be loaded."""
    raise OSError(f"{path}: operators compiled for PyTorch cannot be loaded")


__getattr__ = missing(__name__)
