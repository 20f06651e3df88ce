"""Arguments by further names: NumPy's, and those that torch's overloads give the same argument."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from tinygrad_edu.engine.graph import Variable
from tinygrad_edu.engine.types import Call
from tinygrad_edu.out_of_memory import out_of_memory

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
                try:
                    return function(*args, **kwargs)
                except TypeError as error:
                    _point_to_the_nearest(function, error, kwargs, names)
                    raise
            try:
                return function(*args, **kwargs)
            except MemoryError as error:
                raise out_of_memory(function.__name__, error) from None

        call.further_names = names  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def _point_to_the_nearest(
    function: Callable[..., Any], error: TypeError, kwargs: dict[str, Any], names: dict[str, str]
) -> None:
    """Say in an error about an unknown keyword which known one is the nearest."""
    text = str(error)
    for name in kwargs:
        if text == f"{function.__name__}() got an unexpected keyword argument {name!r}":
            known = {n: n for n in inspect.signature(function).parameters}
            known |= {n: meant for n, meant in _NUMPY.items() if meant in known} | names
            near = difflib.get_close_matches(name, known, 1, 0.6)
            if near:
                meant = near[0] if known[near[0]] == "*" else known[near[0]]
                error.args = (f"{text}; the nearest is {meant!r}",)


_NUMPY = {"axis": "dim", "keepdims": "keepdim"}
numpy_names = named(**_NUMPY)


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
