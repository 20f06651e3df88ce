"""What a name that is not here answers: that it is not, why, and which similar one is."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def missing(
    module: str, later: Mapping[str, str] | None = None, further: str = ""
) -> Callable[[str], Any]:
    """The `__getattr__` of a module: imports what is needed `later`, or says what is missing.

    Args:
        module: its full name.
        later: names that most programs never touch, and in which submodule each of them is; an
            empty string means that the name is itself a submodule.
        further: a module that is imported for whatever else it has in its `__all__`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.Liner
    Traceback (most recent call last):
    AttributeError: module 'tinygrad_edu.nn' has no attribute 'Liner'; the nearest is 'Linear'
    """
    known = later or {}

    def __getattr__(name: str) -> Any:
        if name in known:
            found = importlib.import_module(f"{module}.{known[name] or name}")
            value = getattr(found, name) if known[name] else found
            setattr(sys.modules[module], name, value)  # the next time, nobody asks here
            return value
        text = f"module {module!r} has no attribute {name!r}"
        if not name.startswith("__"):
            more: Any = importlib.import_module(f"{module}.{further}") if further else None
            names = more.__all__ if further else []
            if name in names:
                setattr(sys.modules[module], name, getattr(more, name))
                return getattr(more, name)
            text += why([*vars(sys.modules[module]), *known, *names], name)
        raise AttributeError(text, name=name)

    return __getattr__


def elsewhere(module: str, *places: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module part of whose names, or all, are in other modules.

    torch's paths ask it for them, or pickles of an earlier edition.

    Args:
        module: its full name.
        places: the other modules, without the package's name.
    """

    def __getattr__(name: str) -> Any:
        for place in () if name.startswith("__") else places:  # every import asks for `__path__`
            found = importlib.import_module(f"tinygrad_edu.{place}")
            if hasattr(found, name):
                return getattr(found, name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}", name=name)

    return __getattr__


def uncover(package: str, *names: str) -> None:
    """Let functions be found that have the names of modules in their package.

    An import binds the module to its name in the package, but only the first one does: so the
    modules, which are small, are imported here and their names freed for `__getattr__`.
    """
    for name in names:
        importlib.import_module(f"{package}.{name}")
        delattr(sys.modules[package], name)


def later(
    module: str, places: Mapping[str, Iterable[str]], further: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a module whose names are imported when asked for.

    Args:
        module: its full name.
        places: its submodules, and the names that are in each; an empty string has submodules.
        further: see `missing`.
    """
    known = {name: place for place, names in places.items() for name in names}

    def __dir__() -> list[str]:
        more: Any = importlib.import_module(f"{module}.{further}").__all__ if further else []
        return sorted({*vars(sys.modules[module]), *known, *more})

    return missing(module, known, further), __dir__


def why(known: list[str], name: str) -> str:
    from tinygrad_edu.names.reasons import REASONS  # here, because only errors need these

    if name in REASONS:
        return f": {REASONS[name]}"
    from difflib import get_close_matches

    near = get_close_matches(name, [n for n in known if not n.startswith("_")], 1, 0.6)
    return f"; the nearest is {near[0]!r}" if near else ""
