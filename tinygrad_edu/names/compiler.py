"""`torch.compiler`: nothing is compiled, so there is nothing to switch off."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.names.settings import compile as compile


def is_compiling() -> bool:
    """False."""
    return False


def is_dynamo_compiling() -> bool:
    """False."""
    return False


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself; also as a decorator."""
    return fn if fn is not None else lambda function: function


def reset() -> None:
    """Nothing to reset."""


def cudagraph_mark_step_begin() -> None:
    """Nothing to mark."""


def allow_in_graph(fn: Any) -> Any:
    """The function itself."""
    return fn


def assume_constant_result(fn: Any) -> Any:
    """The function itself."""
    return fn
