"""The course and the questions as notebooks, made from the pages.

    python docs/notebooks.py [folder]

The first cell installs the package, so that a hosted notebook runs them too.
"""

import json
import pathlib
import re
import sys

DOCS = pathlib.Path(__file__).resolve().parent
INSTALL = "%pip install --quiet tinygrad-edu matplotlib hypothesis"


def cell(kind: str, text: str) -> dict[str, object]:
    found: dict[str, object] = {"cell_type": kind, "metadata": {}}
    found["source"] = text.strip("\n").splitlines(keepends=True)
    if kind == "code":
        found |= {"outputs": [], "execution_count": None}
    return found


def notebook(text: str) -> dict[str, object]:
    """The notebook of a page: its blocks of Python are cells of code."""
    cells = [cell("code", INSTALL)]
    for k, part in enumerate(re.split(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)):
        if part.strip():
            cells.append(cell("code" if k % 2 else "markdown", part))
    for number, one in enumerate(cells):
        one["id"] = f"cell-{number}"
    language = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": language, "cells": cells}


def main(arguments: list[str]) -> int:
    folder = pathlib.Path(arguments[0] if arguments else "notebooks")
    folder.mkdir(parents=True, exist_ok=True)
    for page in [*sorted(DOCS.glob("course/*.md")), DOCS / "questions.md"]:
        if page.name != "index.md":
            book = json.dumps(notebook(page.read_text(encoding="utf-8")), indent=1)
            (folder / f"{page.stem}.ipynb").write_text(book + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
