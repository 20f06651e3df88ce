"""Whole rooms of torch's that are not here, for libraries that import them and seldom enter.

`torch.fx`, `torch.ao` and `torch.onnx.symbolic_helper` are this module.  What is asked for there is
a class that may be named, derived from and asked for with isinstance; an object of it is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

__path__: list[str] = []  # `torch.fx.graph_module` is this module, too


class Absent:
    """What is not here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            f"{type(self).__name__} is not available in tinygrad_edu: there is no compiler, nothing"
            " is exported or quantised"
        )

    def __class_getitem__(cls, item: object) -> type[Absent]:
        return cls


def wrap(fn_or_name: F | str) -> F | str:
    """The function, or its name, itself."""
    return fn_or_name


def parse_args(*arguments: str) -> Callable[[F], F]:
    """A decorator that gives back the function."""
    return lambda function: function


def __getattr__(name: str) -> type[Absent]:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    made = type(name, (Absent,), {"__module__": __name__})
    setattr(sys.modules[__name__], name, made)
    return made
