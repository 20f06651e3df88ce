"""What type checkers say of a script: its mistakes, marked `# wrong` there, and nothing else."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import tinygrad_edu

SCRIPT = pathlib.Path(__file__).parent / "user_types" / "user.py"
WRONG = {i for i, line in enumerate(SCRIPT.read_text().splitlines(), 1) if "# wrong" in line}
COMMANDS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict"],
    "pyright": [shutil.which("pyright") or "", "--pythonpath", sys.executable],
}


@pytest.mark.parametrize("checker", COMMANDS)
def test_only_the_mistakes_are_reported(checker: str, tmp_path: pathlib.Path) -> None:
    pytest.importorskip(checker)
    script = tmp_path / SCRIPT.name  # a folder of its own, without this project's settings
    script.write_bytes(SCRIPT.read_bytes())
    root = pathlib.Path(tinygrad_edu.__file__).parents[1]
    done = subprocess.run(
        [*COMMANDS[checker], script.name],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "MYPYPATH": str(root), "PYTHONPATH": str(root)},
    )  # fmt: skip
    if checker == "pyright" and not re.search(r"\d+ errors?,", done.stdout):
        pytest.skip("pyright has not been able to get its program")
    found = {
        int(n) for n in re.findall(rf"{SCRIPT.name}:(\d+)(?::\d+)?(?: -|:) error", done.stdout)
    }
    assert found == WRONG, done.stdout + done.stderr
