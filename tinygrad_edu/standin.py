"""`import torch` and all beneath it, answered with this package.

A finder on `sys.meta_path` hands out the very modules of tinygrad_edu: `torch.nn` is
`tinygrad_edu.nn`, the same object under another name, so every class exists once.  (Entries in
`sys.modules` would do for `torch` itself; but then Python would load `torch.nn.functional` from
the files of `torch.nn` a second time.)
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tinygrad_edu.missing import why

OWN = __name__.partition(".")[0]


class _Handing(Loader):
    """Hands out a module that exists already."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # Python has just replaced it by the spec of the other name


class Standin(MetaPathFinder):
    """Finds `torch` and `torch.…` here, whether PyTorch is installed or not."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "torch":
            return None
        module = _find(OWN + fullname.removeprefix("torch"))
        if module is None:
            parent, _, name = fullname.rpartition(".")
            raise ModuleNotFoundError(
                f"No module named {fullname!r} in tinygrad_edu{hint(sys.modules[parent], name)}",
                name=fullname,
            )
        is_package = hasattr(module, "__path__")
        return ModuleSpec(fullname, _Handing(module), is_package=is_package)


def _find(name: str) -> ModuleType | None:
    """Our module of that name; None if there is none."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise  # it is there, but something that it imports is not
    parent, _, last = name.rpartition(".")
    found = vars(importlib.import_module(parent)).get(last)
    return found if isinstance(found, ModuleType) else None


def hint(module: ModuleType, name: str) -> str:
    """Why the module has no such name, or which similar one it has; empty if neither is known."""
    return why(list(vars(module)), name)


def install() -> None:
    """From now on `import torch` gives this package.

    Raises:
        RuntimeError: another `torch` has been imported already.

    >>> import tinygrad_edu.standin
    >>> tinygrad_edu.standin.install()  # doctest: +SKIP
    """
    loaded = sys.modules.get("torch")
    if loaded is not None and loaded.__name__ != OWN:
        raise RuntimeError("PyTorch has been imported already; install the stand-in before that")
    if not any(isinstance(finder, Standin) for finder in sys.meta_path):
        sys.meta_path.insert(0, Standin())
        version = importlib.import_module(OWN + ".version")
        for module in (version, importlib.import_module(OWN)):
            vars(module)["__version__"] = version.torch_version
        own = importlib.import_module(OWN)  # libraries ask a tensor's class for its library
        own.Tensor.__module__, own.nn.Parameter.__module__ = "torch", "torch.nn.parameter"
