"""`import torch` and all beneath it, answered with this package.

A finder on `sys.meta_path` hands out the very modules of tinygrad_edu: `torch.nn` is
`tinygrad_edu.nn`, the same object under another name, so every class exists once.  (Entries in
`sys.modules` would do for `torch` itself; but then Python would load `torch.nn.functional` from
the files of `torch.nn` a second time.)
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution
from types import ModuleType
from typing import Any

import tinygrad_edu
from tinygrad_edu import version
from tinygrad_edu.names.missing import why
from tinygrad_edu.names.moved import Handing

OWN = __name__.partition(".")[0]


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
        return ModuleSpec(fullname, Handing(module), is_package=is_package)

    def find_distributions(self, context: object = None) -> Iterator[Distribution]:
        """What `importlib.metadata` knows of torch: its version."""
        name = getattr(context, "name", None)
        if name is None or name.lower() == "torch":
            yield _Distribution()


class _Distribution(Distribution):
    """torch, as far as libraries that look for it need."""

    def read_text(self, filename: str) -> str | None:
        number = version.torch_version.partition("+")[0]
        text = f"Metadata-Version: 2.1\nName: torch\nVersion: {number}\n"
        return text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Any:
        return pathlib.Path(str(path))


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
    return why(dir(module), name)


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
        _show("torch", "torch.nn.parameter", version.torch_version)


def uninstall() -> None:
    """From now on `import torch` means what it meant before `install`."""
    if any(isinstance(finder, Standin) for finder in sys.meta_path):
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Standin)]
        for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
            del sys.modules[name]
        _show(OWN + ".tensor", OWN + ".nn.parameter", _VERSION)


_VERSION = version.__version__


def _show(tensor: str, parameter: str, shown: str) -> None:
    """Libraries ask a tensor's class for its library, and the library for its version."""
    version.__version__ = tinygrad_edu.__version__ = shown
    tinygrad_edu.Tensor.__module__, tinygrad_edu.nn.Parameter.__module__ = tensor, parameter


def for_children() -> None:
    """Let processes of the same Python that this one starts `import torch` and have this package.

    >>> import tinygrad_edu.standin
    >>> tinygrad_edu.standin.for_children()  # doctest: +SKIP
    """
    folder = str(pathlib.Path(__file__).resolve().parent / "names" / "children")
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if folder not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, paths)])
    os.environ["TINYGRAD_EDU_PYTHON"] = os.path.dirname(sys.executable)
