"""The Python of CONTRIBUTING.md runs, and what it says is found where it says."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_its_python_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    assert len(blocks) >= 6
    subprocess.run([sys.executable, "-c", "\n".join(blocks)], check=True)


def test_one_operation_at_a_time() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.op", "lerp"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checks = re.search(r"lerp: (\d+) checks, 0 failed", done.stdout)
    assert checks is not None and int(checks[1]) > 5


def test_the_picture_of_the_layers_is_drawn_from_the_contract() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import draw_layers
    finally:
        sys.path.pop(0)
    names = re.findall(r'font-size="1[02]">([\w.]+)</text>', (ROOT / "docs/layers.svg").read_text())
    rooms = [room for row in draw_layers.layers() for room in row]
    assert {name.removeprefix("names.") for name in rooms} <= {
        n.removeprefix("names.") for n in names
    }
