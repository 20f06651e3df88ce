"""Functions composed of operations that those who listen hear of as one call.

autocast's lists name not only operations but also functions made of several, such as losses.  The
decorator asks what every operation's call asks first: does anybody listen?  (See mode.py.)

The same goes for steps of training that are no operations: a backward pass, a step of a schedule.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tinygrad_edu.engine.boundary import refuse_operand, tell
from tinygrad_edu.engine.mode import named_like, state
from tinygrad_edu.engine.types import Call, typed_as

F = TypeVar("F", bound=Call)


class Composed:
    """What listeners are told of such a function.

    Attributes:
        name: its name.
        autocast: the precision that autocast runs it in, by device (see amp/autocast_mode.py);
            None for what autocast is not concerned with.
    """

    def __init__(self, name: str, autocast: Mapping[str, str] | None) -> None:
        self.name, self.autocast = name, autocast


def of_tensors(function: F) -> F:
    """Let a function composed of operations name an argument that should have been a tensor."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except AttributeError as error:
            refuse_operand(function, error, args, kwargs)
            raise

    return typed_as(function, call)


def composed(*, autocast: str | Mapping[str, str]) -> Callable[[F], F]:
    """Let listeners see a function as one operation.

    Args:
        autocast: the precision that autocast runs it in, on every device or by device.
    """
    policies = {"cpu": autocast, "cuda": autocast} if isinstance(autocast, str) else autocast

    def decorate(function: F) -> F:
        op = Composed(function.__name__, policies)

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                if state.mode.listeners:
                    return tell(op, function, args, kwargs)
                return function(*args, **kwargs)
            except AttributeError as error:
                refuse_operand(function, error, args, kwargs)
                raise

        made: Any = functools.update_wrapper(named_like(function, call), function)
        made.composed = op
        return typed_as(function, made)

    return decorate


def heard(name: str) -> Callable[[F], F]:
    """Let those who listen hear of a function that is no operation, under that name."""

    def decorate(function: F) -> F:
        op = Composed(name, None)

        def call(*args: Any, **kwargs: Any) -> Any:
            if state.mode.listeners:
                return tell(op, function, args, kwargs)
            return function(*args, **kwargs)

        return typed_as(function, functools.update_wrapper(named_like(function, call), function))

    return decorate
