"""The installed package holds every folder of the tree, under one name each; doctests run."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import pathlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONF = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = CONF["tool"]["setuptools"]
FOLDERS = {package: ROOT / folder for package, folder in SETUPTOOLS["package-dir"].items()}

EXAMPLES = "tinygrad_edu.examples"
"""Scripts that are installed to be listed and copied; nobody imports them."""


def tree() -> set[str]:
    """Every package found on disk, those behind the links left out."""
    found = set()
    for package, folder in FOLDERS.items():
        for init in folder.rglob("__init__.py"):
            inside = init.parent.relative_to(folder)
            linked = any((folder / part).is_symlink() for part in [inside, *inside.parents])
            if not linked and "children" not in inside.parts:  # it is nobody's package
                found.add(".".join([package, *inside.parts]))
    return found


def modules() -> list[str]:
    """Every module of the listed packages."""
    packages = [package for package in SETUPTOOLS["packages"] if package != EXAMPLES]
    found = set(packages)
    for package in packages:
        path = importlib.import_module(package).__path__
        found |= {info.name for info in pkgutil.iter_modules(path, package + ".")}
    return sorted(name for name in found if not name.endswith(".__main__"))


def test_packages_listed():
    assert sorted({*tree(), EXAMPLES}) == sorted(SETUPTOOLS["packages"])


def test_core_needs_numpy_alone():
    assert CONF["project"]["dependencies"] == ["numpy>=2.0"]


@pytest.mark.parametrize("package", ["tinygrad_edu.nn", "tinygrad_edu.optim"])
def test_links(package):
    folder, link = FOLDERS[package], ROOT / package.replace(".", "/")
    if not link.exists():
        pytest.skip("an sdist has no links")
    if link.is_symlink():
        assert link.resolve() == folder
    elif not link.is_dir():  # a checkout with core.symlinks=false
        assert link.read_text().strip() == f"../{folder.name}"


@pytest.mark.parametrize("name", ["nn", "optim"])
def test_not_importable_as_top_level(name):
    path = ROOT / name / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    with pytest.raises(ImportError, match="import this package as"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert name not in sys.modules


@pytest.mark.parametrize("name", ["nn", "optim"])
def test_relative_imports_stay_inside(name):
    for path in (ROOT / name).rglob("*.py"):
        depth = len(path.relative_to(ROOT / name).parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= depth, f"{path}:{node.lineno} climbs out of {name}/"


@pytest.mark.parametrize("folder", ["autograd", "ops", "kernels", "utils", "."])
def test_engine_does_not_import_nn_or_optim(folder):
    pattern = "*.py" if folder == "." else "**/*.py"
    for path in (ROOT / "tinygrad_edu" / folder).glob(pattern):
        if path.name in ("__init__.py", "__main__.py", "func.py"):  # func is about modules, too
            continue
        tree = ast.parse(path.read_text())
        imported = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        imported += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        for name in imported:
            assert not name.startswith(("tinygrad_edu.nn", "tinygrad_edu.optim")), path


@pytest.mark.parametrize("name", modules())
def test_doctest(name):
    module = importlib.import_module(name)
    assert module.__name__ == name
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=flags).failed == 0


def test_readme_quotes_the_source():
    """The operation that it shows is there, word for word."""
    quoted = (ROOT / "README.md").read_text().split("```python\n@primitive")[1].split("```")[0]
    assert f"@primitive{quoted}" in (ROOT / "tinygrad_edu/ops/more/trigonometric.py").read_text()


def test_one_file_one_module():
    seen: dict[pathlib.Path, Any] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name.split(".")[0] in ("tinygrad_edu", "nn", "optim"):
            path = pathlib.Path(file).resolve()
            assert seen.setdefault(path, module) is module, (path, name, seen[path])


def imported(tmp_path: pathlib.Path, statement: str, names: set[str]) -> str:
    """Which of these modules a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport sys; print(sorted({names!r} & set(sys.modules)))"
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_needs_no_torch_and_no_cupy(tmp_path):
    everything = "import tinygrad_edu, tinygrad_edu.nn, tinygrad_edu.optim, tinygrad_edu.utils.data"
    assert imported(tmp_path, everything, {"torch", "cupy", "scipy", "matplotlib"}) == "[]"


def test_import_leaves_for_later_what_most_scripts_do_not_need_at_once(tmp_path):
    slow = {"multiprocessing", "zipfile", "numpy.random", "tinygrad_edu.nn", "tinygrad_edu.optim"}
    assert imported(tmp_path, "import tinygrad_edu", slow) == "[]"
    asked = "import tinygrad_edu as T; T.nn.Linear, T.optim.SGD, T.save"
    files = "tinygrad_edu.serialization"
    assert (
        imported(tmp_path, asked, {"tinygrad_edu.nn", files}) == f"['tinygrad_edu.nn', {files!r}]"
    )


def test_pictures_of_the_readme_are_files_of_the_project() -> None:
    """Package indexes show the README alone: its pictures need addresses, and these must hold."""
    home = CONF["project"]["urls"]["Repository"].replace("github.com", "raw.githubusercontent.com")
    shown = re.findall(r"!\[[^]]*\]\(([^)]*)\)", (ROOT / "README.md").read_text())
    assert shown
    for address in shown:
        assert address.startswith(f"{home}/main/")
        assert (ROOT / address.removeprefix(f"{home}/main/")).exists()
