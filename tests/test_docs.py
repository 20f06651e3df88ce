"""Every block of Python in the documentation runs, page by page; files they name are there."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
import notebooks  # noqa: E402

PAGES = sorted([*DOCS.glob("course/*.md"), *DOCS.glob("how-to/*.md"), DOCS / "questions.md"])
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]


def blocks(page: pathlib.Path) -> list[tuple[int, str]]:
    """The blocks of Python with the line that each begins on."""
    text = page.read_text()
    return [
        (text[: match.start(1)].count("\n"), match[1])
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S)
    ]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_blocks_run(page, tmp_path):
    """In a process of its own: the blocks of a page share their names."""
    found = blocks(page)
    lines: list[str] = []
    for start, code in found:
        lines += [""] * (start - len(lines)) + code.splitlines()  # lines keep their numbers
    script = tmp_path / f"{page.stem}.py"
    script.write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_pages_name_are_there(page):
    named = re.findall(
        r"`((?:tinygrad_edu|nn|optim|examples|docs|tests)/[\w./]*)`", page.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_fifteen_questions():
    headings = re.findall(r"^## (\d+)\. .*\?$", (DOCS / "questions.md").read_text(), re.M)
    assert headings == [str(n) for n in range(1, 16)]


def test_every_question_is_answered_with_code():
    text = (DOCS / "questions.md").read_text()
    answers = re.split(r"^## ", text, flags=re.M)[1:]
    assert [answer.splitlines()[0] for answer in answers if "assert " not in answer] == []


def test_notebooks_hold_what_the_pages_say(tmp_path):
    assert notebooks.main([str(tmp_path)]) == 0
    made = sorted(tmp_path.glob("*.ipynb"))
    assert len(made) == 10
    for page in [*DOCS.glob("course/[0-9]*.md"), DOCS / "questions.md"]:
        book = json.loads((tmp_path / f"{page.stem}.ipynb").read_text())
        code = ["".join(c["source"]) for c in book["cells"] if c["cell_type"] == "code"]
        assert code[0].startswith("%pip install")
        assert code[1:] == [block.rstrip("\n") for _, block in blocks(page)]
        assert book["nbformat"] == 4
