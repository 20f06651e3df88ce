"""All paths ever imported can be, each leads to one module object; rings and layers hold."""

from __future__ import annotations

import importlib
import pathlib
import subprocess
import sys

import pytest

import tinygrad_edu
from tinygrad_edu.names.places import MODULES

HERE = pathlib.Path(__file__).parent
PATHS = (HERE / "old_files" / "modules.txt").read_text().split()
NAMES = [line.split() for line in (HERE / "old_files" / "names.txt").read_text().splitlines()]
"""Modules, and what torch or an earlier edition has there that is in other modules here."""
ROOM = pathlib.Path(tinygrad_edu.__file__).parent
GONE = {
    # What the first edition exchanged at run time, and the lists that it did it by.
    f"tinygrad_edu.{name}"
    for name in (
        "amp.detour",
        "amp.lists",
        "autograd.naming",
        "autograd.observers",
        "autograd.primitive",  # the function of this name is the way to an operation of one's own
    )  # fmt: skip
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_of_the_first_edition(path: str) -> None:
    if path in GONE:
        pytest.skip("its subject is gone")
    importlib.import_module(path)


def test_one_module_object_for_each_file() -> None:
    for name in [*PATHS, *[f"tinygrad_edu.{old}" for old in MODULES]]:
        if name not in GONE:
            importlib.import_module(name)
    files: dict[str, set[int]] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] == "tinygrad_edu" and file:
            files.setdefault(str(pathlib.Path(file).resolve()), set()).add(id(module))
    assert len(files) > 200
    assert [file for file, objects in files.items() if len(objects) > 1] == []


def test_every_other_name_is_needed() -> None:
    """No row of the table names a file that is still where it was, or one that is not there."""
    for old, new in MODULES.items():
        importlib.import_module(f"tinygrad_edu.{new}")
        assert not (ROOM / f"{old.replace('.', '/')}.py").exists(), old


@pytest.mark.parametrize(("module", "names"), [(module, names) for module, *names in NAMES])
def test_names_that_are_elsewhere(module: str, names: list[str]) -> None:
    old = importlib.import_module(module)
    for name in names:
        assert name not in vars(old), name
        assert callable(getattr(old, name)), name
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'no_such'"):
        old.no_such  # noqa: B018


def test_importing_a_module_hides_no_function_of_its_name() -> None:
    code = (
        "import importlib, types, tinygrad_edu as torch\n"
        "from tinygrad_edu import nn\n"
        "for room in (torch, nn, nn.functional, nn.utils, torch.autograd, torch.optim):\n"
        "    before = {n: getattr(room, n) for n in dir(room) if not n.startswith('_')}\n"
        f"    for path in {PATHS!r}:\n"
        "        parent, _, name = path.rpartition('.')\n"
        "        if parent == room.__name__:\n"
        "            try: importlib.import_module(path)\n"
        "            except ImportError: continue\n"
        "            if name in before and not isinstance(before[name], types.ModuleType):\n"
        "                assert getattr(room, name) is before[name], path\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_root_stays_small() -> None:
    linked = {"nn", "optim", "__init__.py", "__main__.py", "py.typed", "__pycache__"}
    entries = [p.name for p in ROOM.iterdir() if p.name not in linked]
    later = {"compiler", "course", "diagnosis", "profiler", "see"}  # a folder for each such subject
    assert len([e for e in entries if e not in later]) <= 30
    text = tinygrad_edu.__doc__ or ""
    assert [e for e in entries if f"\n    {e.removesuffix('.py')} " not in text] == []


def test_the_first_ring_of_operations_is_small() -> None:
    files = [p for p in (ROOM / "ops").glob("*.py") if p.name != "__init__.py"]
    assert len(files) <= 28


def test_layers_of_imports() -> None:
    pytest.importorskip("importlinter")
    root = HERE.parent
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
