"""Modules by their other names: torch's paths to those in `names/`, and paths of earlier editions.

`tinygrad_edu.jit` is asked for under torch's name, but such modules hold little and lie together in
`names/`; `tinygrad_edu.ops.special` is where that file once was.  A finder on `sys.meta_path`, of
which there is one for each process, answers for these names with the one module object.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

OWN = __name__.partition(".")[0]


class Handing(Loader):
    """Hands out a module that exists already."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # Python has just replaced it by the spec of the other name


class Moved(MetaPathFinder):
    """Finds the modules of the table, and what is beneath them.

    It is asked twice: first for what is beneath a module with two names, whose file would be loaded
    a second time, and last for what no file has the name of; so most programs read no table.
    """

    def __init__(self, last: bool) -> None:
        self.last = last

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        above = sys.modules.get(fullname.rpartition(".")[0])
        if package != OWN or above is None:
            return None
        if not self.last and fullname.startswith(f"{above.__name__}."):
            return None
        place = _place(name)
        if place is None:
            return None
        module = importlib.import_module(f"{OWN}.{place}")
        return ModuleSpec(fullname, Handing(module), is_package=hasattr(module, "__path__"))


def _place(name: str) -> str | None:
    """Where the module of that name is; of a package in the table, its modules too."""
    from tinygrad_edu.names.places import MODULES

    head, _, rest = name.partition(".")
    if name in MODULES:
        return MODULES[name]
    if MODULES.get(head) == "names.absent":
        return "names.absent"
    return f"{MODULES[head]}.{rest}" if head in MODULES else None


def install() -> None:
    """Let the names of the table lead to the modules."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, Moved(last=False))
        sys.meta_path.append(Moved(last=True))
