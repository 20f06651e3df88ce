"""Methods that are imported when they are first asked for.

special = room("tinygrad_edu.ops.more.special")
erfc = special.erfc                     # nothing is imported yet
erfc_ = lazily(inplace)(special.erfc)   # nor anything made of it
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


class Later:
    """A method, once it is asked for: a descriptor that looks it up the first time."""

    __slots__ = ("make", "made")
    made: Any

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def value(self) -> Any:
        """The method itself; one object, however often it is asked for."""
        try:
            return self.made
        except AttributeError:
            self.made = self.make()
        return self.made

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.value().__get__(instance, owner)


class room:  # noqa: N801
    """A module whose names stand for themselves until one is asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Later:
        return Later(lambda: getattr(importlib.import_module(self._module), name))


def lazily(make: Callable[..., Any]) -> Callable[..., Later]:
    """`make`, called with what its arguments are once the result is asked for."""

    def noted(*args: object, **options: object) -> Later:
        return Later(
            lambda: make(*[a.value() if isinstance(a, Later) else a for a in args], **options)
        )

    return noted
