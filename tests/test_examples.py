"""Every example runs, in a short form, from another folder than its own."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"

SHORT = {  # example: arguments, what it must print, files it must write
    "01_mlp_digits.py": (["--epochs", "1", "--hidden", "16"], "test accuracy", ["mlp_digits.png"]),
    "02_same_curve.py": (["--steps", "20"], "identical|torch is not", ["same_curve.png"]),
    "03_attention.py": (
        ["--steps", "3", "--longest", "256"], "differ by .*e-0[78]", ["attention.png"]
    ),
    "04_char_gpt.py": (
        ["--steps", "2", "--limit", "5000", "--layers", "1", "--width", "16", "--length", "20"],
        "20 characters", ["char_gpt.png", "char_gpt.npz"],
    ),
    "05_encoder_classifier.py": (
        ["--epochs", "1"], "transformer encoder", ["encoder_classifier.png"]
    ),
}  # fmt: skip


def run(folder: pathlib.Path, *command: str) -> str:
    """What a command prints; it must end well and without a warning."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", *command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SHORT)
def test_example(name: str, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("sklearn")
    arguments, words, files = SHORT[name]
    printed = run(tmp_path, str(EXAMPLES / name), *arguments)
    assert re.search(words, printed), printed
    if "no picture" not in printed:
        for file in files:
            assert (tmp_path / file).stat().st_size > 1000


def test_no_example_is_left_out() -> None:
    numbered = {path.name for path in EXAMPLES.glob("[0-9]*.py")}
    assert numbered == {*SHORT, "06_load_gpt2.py"}  # which test_load_gpt2.py runs


def test_same_curve_without_torch(tmp_path: pathlib.Path) -> None:
    """Beside the curve that is stored, which is as long as a full run."""
    pytest.importorskip("sklearn")
    script = (
        "import importlib.util, runpy, sys; find = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name, *rest: name != 'torch' and find(name, *rest);"
        f"sys.path.insert(0, {str(EXAMPLES)!r}); sys.argv[1:] = [];"
        f"runpy.run_path({str(EXAMPLES / '02_same_curve.py')!r}, run_name='__main__')"
    )
    printed = run(tmp_path, "-c", script)
    assert "(stored)" in printed
    assert "the generators end in identical states" in printed
    found = re.search(r"largest difference (\S+);", printed)
    assert found is not None and float(found[1]) < 1e-3
