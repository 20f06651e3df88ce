"""The census of names sees what programs use, and the repository's own scripts miss nothing."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from tests.census import Census, first_missing, names_in

HERE = pathlib.Path(__file__).parent
PROGRAM = """
import torch, torch.nn as nn, numpy as np
import torch.utils.data
from torch import optim
from torch.nn import functional as F, Linear as L
from torch.sparse import mm
from .torch import nothing
def f(x):
    y = F.relu(x) + torch.fft.rfft(x).real + np.relu(x)
    return optim.SGD([y], 1).step(), nn.Module.forward, L(1, 2).weight, x.sum(), later.Adam
from torch import optim as later
"""


def test_names() -> None:
    assert names_in(PROGRAM) == {
        "torch.nn", "torch.utils.data", "torch.optim", "torch.nn.functional", "torch.nn.Linear",
        "torch.sparse.mm", "torch.nn.functional.relu", "torch.fft.rfft", "torch.optim.SGD",
        "torch.nn.Module.forward", "torch.optim.Adam",
    }  # fmt: skip
    with pytest.raises(SyntaxError):
        names_in("import torch as")


@pytest.mark.parametrize("name, missing", [
    ("torch.nn.functional.relu", None), ("torch.fft.rfft", "torch.fft"),
    ("torch.nn.Lineal", "torch.nn.Lineal"), ("torch.Tensor.sum", None),
    ("torch.Tensor.summ", "torch.Tensor.summ"), ("torch.autograd.forward_ad", None),
    ("torch.nn.modules.activation.MultiheadAttention", None), ("torch.float32.itemsize", None),
    ("torch.pi.real.nothing", None), ("torch.nn.utils.prune.remove", None),
])  # fmt: skip
def test_what_is_missing(name: str, missing: str | None) -> None:
    assert first_missing(name) == missing


def test_files_and_notebooks(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.py").write_text(PROGRAM)
    (tmp_path / "b").mkdir()
    cells = [
        {"cell_type": "markdown", "source": ["torch.nothing"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "import torch\n", "!ls\n"]},
        {"cell_type": "code", "source": "torch.fft.fft(torch.ones(2))"},
    ]
    (tmp_path / "b" / "c.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "d.py").write_text("import torch\ntorch.ones(1)\n")
    (tmp_path / "e.py").write_text("import torch as\n")
    (tmp_path / "f.py").write_text("import numpy\n")
    (tmp_path / "g.ipynb").write_text("torch, but no JSON")
    census = Census()
    census.count(tmp_path)
    assert (census.files, census.unreadable) == (3, 1)
    assert census.missing == {"torch.fft": 2, "torch.sparse": 1}
    assert [pathlib.Path(p).name for p in census.lacking] == ["a.py", "c.ipynb"]
    text = list(census.report(1))
    assert "1 (33.3 %) miss nothing" in text[0] and text[1].split() == ["2", "torch.fft"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.census", "--files", str(tmp_path)],
        capture_output=True, text=True, cwd=HERE.parent, check=True,
    )  # fmt: skip
    assert "3 files use" in done.stdout and "a.py: torch.fft, torch.sparse" in done.stdout


def test_our_own_scripts_miss_nothing() -> None:
    census = Census()
    census.count(HERE / "scripts")
    assert census.files >= 12 and not census.missing
