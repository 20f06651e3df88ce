"""Which of torch's names do programs use, and which of those are missing here?

    python -m tests.census FOLDER...           Python files and notebooks beneath the folders
    python -m tests.census --files FOLDER...   also which file misses what

A name counts once for each file.  Names are what follows `torch` in attributes and imports, as far
as modules and classes go: `torch.nn.functional.relu`, `torch.optim.LBFGS.step`.  What is reached
through values (`x.sum()`) is not seen.  A file counts as one of torch's if it uses at least one.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import json
import pathlib
import types
import warnings
from collections import Counter
from collections.abc import Iterator

OWN = "tinygrad_edu"


class _Names(ast.NodeVisitor):
    """Collects torch's names, by whatever names the file has imported them."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}  # local name -> torch's
        self.used: set[str] = set()

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.partition(".")[0] == "torch":
                self.used.add(alias.name)
                whole = alias.name if alias.asname else "torch"
                self.known[alias.asname or "torch"] = whole

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or (node.module or "").partition(".")[0] != "torch":
            return
        for alias in node.names:
            name = f"{node.module}.{alias.name}" if alias.name != "*" else str(node.module)
            self.used.add(name)
            self.known[alias.asname or alias.name] = name

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            path.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in self.known:
            self.used.add(".".join([self.known[inner.id], *path[::-1]]))
        else:
            self.visit(inner)


def names_in(source: str) -> set[str]:
    """torch's names in a program; SyntaxError if it is none."""
    with warnings.catch_warnings(action="ignore"):
        tree = ast.parse(source)
    visitor = _Names()
    imports = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    for node in imports:  # first, for functions may use what is imported beneath them
        visitor.visit(node)
    visitor.visit(tree)
    return {name for name in visitor.used if name != "torch"}


def programs(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """The Python files and the notebooks of a folder, with their source."""
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    for path in paths:
        if path.suffix == ".py" and path.is_file():
            yield path, path.read_text(errors="replace")
        elif path.suffix == ".ipynb" and path.is_file():
            try:
                cells = json.loads(path.read_text(errors="replace")).get("cells", [])
            except ValueError:
                continue
            code = ["".join(c["source"]) for c in cells if c.get("cell_type") == "code"]
            lines = "\n".join(code).splitlines()
            yield path, "\n".join([f"pass  # {s}" if s.lstrip()[:1] in "%!" and s.strip() else s
                                   for s in lines])  # fmt: skip


@functools.cache
def first_missing(name: str) -> str | None:
    """The shortest part of a name that is missing here; None if all of it is there.

    What comes behind a class or a function is looked up too, as far as it is an attribute.
    """
    found: object = importlib.import_module(OWN)
    parts = name.split(".")[1:]
    for i, part in enumerate(parts):
        with warnings.catch_warnings(action="ignore"):
            try:
                found = getattr(found, part)
                continue
            except Exception:
                pass
            try:
                found = importlib.import_module(".".join([OWN, *parts[: i + 1]]))
            except Exception:
                if isinstance(found, (types.ModuleType, type)):
                    return ".".join(["torch", *parts[: i + 1]])
                return None  # an attribute of a value
    return None


class Census:
    """What files were found, and what they miss."""

    def __init__(self) -> None:
        self.files = self.unreadable = self.names = 0
        self.missing: Counter[str] = Counter()
        self.lacking: dict[str, list[str]] = {}
        self.seen: set[str] = set()

    def count(self, folder: pathlib.Path) -> None:
        for path, source in programs(folder):
            if "torch" not in source:
                continue
            try:
                names = names_in(source)
            except (SyntaxError, ValueError, RecursionError):
                self.unreadable += 1
                continue
            if not names:
                continue
            self.files += 1
            self.seen |= names
            lacking = sorted({m for m in map(first_missing, names) if m is not None})
            if lacking:
                self.lacking[str(path)] = lacking
                self.missing.update(lacking)

    def report(self, most: int) -> Iterator[str]:
        """The lines that the program prints."""
        whole = self.files - len(self.lacking)
        share = 100 * whole / self.files if self.files else 100.0
        yield (
            f"{self.files} files use {len(self.seen)} names of torch;"
            f" {whole} ({share:.1f} %) miss nothing, {self.unreadable} cannot be read"
        )
        for name, count in sorted(self.missing.items(), key=lambda pair: (-pair[1], pair[0]))[
            :most
        ]:
            yield f"{count:6} {name}"
        if len(self.missing) > most:
            yield f"       and {len(self.missing) - most} more"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--files", action="store_true", help="also which file misses what")
    parser.add_argument("--most", type=int, default=40, help="how many names are listed")
    args = parser.parse_args()
    census = Census()
    for folder in args.folders:
        census.count(folder)
    print("\n".join(census.report(args.most)))
    if args.files:
        for path, names in census.lacking.items():
            print(f"{path}: {', '.join(names)}")


if __name__ == "__main__":
    main()
