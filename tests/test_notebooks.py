"""Notebooks: the extension, the installed kernel, tracebacks that end in the user's cell."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = pathlib.Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run cells in a kernel; returns what each prints, or the traceback it ends with."""
    prefix = tmp_path / "prefix"
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("JUPYTER_PATH", str(prefix / "share" / "jupyter"))
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))

    def start(*cells: str, kernel: str | None = None) -> list[str]:
        if kernel is None:
            kernel = "plain"
            folder = prefix / "share" / "jupyter" / "kernels" / kernel
            folder.mkdir(parents=True, exist_ok=True)
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            spec = {"argv": argv, "display_name": kernel, "language": "python"}
            (folder / "kernel.json").write_text(json.dumps(spec))
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        client = nbclient.NotebookClient(notebook, timeout=120, kernel_name=kernel,
                                         allow_errors=True)  # fmt: skip
        client.execute(cwd=str(tmp_path))
        return ["".join([_text(part) for part in cell.outputs]) for cell in notebook.cells]

    start.prefix = prefix  # type: ignore[attr-defined]
    return start


def _text(part: Any) -> str:
    if part.output_type == "error":
        return "\n".join(part.traceback)
    return part.get("text", "") or part.get("data", {}).get("text/plain", "")


def test_the_extension(run: Any) -> None:
    shown = run(
        "%load_ext tinygrad_edu",
        "import torch, torch.nn as nn\n"
        "print(torch.__name__, nn.Linear(2, 1)(torch.ones(1, 2)).shape)",
        "def layer(a, b):\n    return a @ b\nlayer(torch.ones(2, 3), torch.ones(2, 3))",
        "try:\n    torch.ones(2) + torch.ones(3)\n"
        "except RuntimeError as e:\n    raise ValueError('mine') from e",
        "x = y = 1 / 0",
        "torch.ones(2)",
        "%unload_ext tinygrad_edu",
        "import sys, importlib.util\n"
        "print([m for m in sys.modules if m.startswith('torch')], type(sys.meta_path[0]).__name__)",
    )  # fmt: skip
    assert shown[:2] == ["", "tinygrad_edu torch.Size([1, 1])\n"]
    assert "layer" in shown[2] and "RuntimeError" in shown[2]
    assert "tinygrad_edu" not in shown[2] and "/engine/" not in shown[2], shown[2]
    assert "ValueError" in shown[3] and "must match" in shown[3] and "/engine/" not in shown[3]
    assert "ZeroDivisionError" in shown[4]
    assert shown[5] == "tensor([1., 1.])"
    assert shown[7].startswith("[] ") and "Standin" not in shown[7]


def test_another_torch_is_there_already(run: Any) -> None:
    shown = run(
        "import sys, types; sys.modules['torch'] = types.ModuleType('torch')",
        "%load_ext tinygrad_edu",
    )
    assert "imported already" in shown[1]


def test_the_installed_kernel(run: Any, tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_edu", "install-kernel", str(run.prefix)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and "tinygrad-edu" in done.stdout, done.stderr
    shown = run(
        "import torch\nfrom torch.utils.data import DataLoader\nprint(torch.__name__)",
        "import subprocess, sys\n"
        "print(subprocess.run([sys.executable, '-c', 'import torch; print(torch.__name__)'],"
        " capture_output=True, text=True).stdout)",
        "torch.ones(2, 3) @ torch.ones(2, 3)",
        kernel="tinygrad-edu",
    )
    assert shown[0] == "tinygrad_edu\n" and shown[1] == "tinygrad_edu\n\n"
    assert "RuntimeError" in shown[2] and "/engine/" not in shown[2]
