"""Arguments by further names: NumPy's, and those that torch's overloads give the same argument."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from tinygrad_edu.engine.graph import Variable
from tinygrad_edu.engine.types import Call

F = TypeVar("F", bound=Call)


def named(**names: str) -> Callable[[F], F]:
    """Let arguments be given by these names too: `named(axis="dim")`.

    "*" stands for the arguments that have no names: `named(size="*")` takes `zeros(size=(2, 3))`.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if kwargs:
                for name, meant in names.items():
                    if name in kwargs and meant not in kwargs:
                        value = kwargs.pop(name)
                        if meant == "*":
                            first = [kwargs.pop("input")] if "input" in kwargs else []
                            args = (*args, *first, value)
                        else:
                            kwargs[meant] = value
            return function(*args, **kwargs)

        call.further_names = names  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


numpy_names = named(axis="dim", keepdims="keepdim")


def numbers_first(count: int, *numbers: str) -> Callable[[F], F]:
    """Understand torch's old order of arguments, too: `add(x, 2, y)` for `add(x, y, alpha=2)`.

    Args:
        count: how many arguments have no names.
        numbers: the names of those that once stood before the tensors they multiply.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(args) > count:
                given = [a for a in args if not isinstance(a, Variable)]
                kwargs.update(zip(numbers, given, strict=False))
                args = tuple([a for a in args if isinstance(a, Variable)])
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


UFUNCS: dict[str, Call] = {}
"""NumPy's elementwise functions, by name, and ours: filled by `ufunc`."""


def ufunc(*names: str) -> Callable[[F], F]:
    """Say what NumPy calls the function: `ufunc("arccos")` lets `np.arccos(tensor)` call it."""

    def decorate(function: F) -> F:
        UFUNCS.update(dict.fromkeys(names, function))
        return function

    return decorate
