"""Every example runs, in a short form, from another folder than its own."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest
from devices import ON_A_GPU

from tinygrad_edu.backend import cupy_problem

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"

SHORT = {  # example: arguments, what it must print, files it must write
    "01_mlp_digits.py": (
        ["--epochs", "1", "--hidden", "16"], "test accuracy", ["outputs/mlp_digits.png"]
    ),  # fmt: skip
    "02_same_curve.py": (["--steps", "20"], "identical|torch is not", ["outputs/same_curve.png"]),
    "03_attention.py": (
        ["--steps", "3", "--longest", "256"], "differ by .*e-0[78]", ["outputs/attention.png"]
    ),
    "04_char_gpt.py": (
        ["--steps", "2", "--limit", "5000", "--layers", "1", "--width", "16", "--length", "20"],
        "20 characters", ["outputs/char_gpt.png", "outputs/char_gpt.pt"],
    ),
    "05_encoder_classifier.py": (
        ["--epochs", "1"], "transformer encoder", ["outputs/encoder_classifier.png"]
    ),
    "08_rnn_or_transformer.py": (
        ["--steps", "2", "--longest", "8"], "the gradient shrinks by",
        ["outputs/rnn_or_transformer.png"],
    ),  # fmt: skip
    "07_mistakes.py": (
        ["--epochs", "1"], "(?s)second time.*nothing to say.*error  zero-grad-missing"
        ".*train-forgotten.*eval-forgotten.*graph-cut.*softmax-twice.*clip-before-backward.*scheduler-per-batch",
        ["outputs/mistakes.png"],
    ),
}  # fmt: skip


def run(folder: pathlib.Path, *command: str) -> str:
    """What a command prints; it must end well and without a warning."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
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


@pytest.mark.parametrize("where", ["strict", ON_A_GPU])
@pytest.mark.parametrize("name", ["01_mlp_digits.py", "04_char_gpt.py", "05_encoder_classifier.py"])
def test_example_on_a_gpu(name: str, where: str, tmp_path: pathlib.Path) -> None:
    """With `--device cuda`, on the stand-in for CuPy and on a GPU if there is one."""
    pytest.importorskip("sklearn")
    arguments, words, _ = SHORT[name]
    command = [str(EXAMPLES / name), *arguments, "--device", "cuda"]
    if where == "strict":
        script = (
            "import runpy, sys; from devices import placed; from strict_cupy import kernels;"
            "kernels.COMPILER = None;"  # kernels run on the host are slow
            f"sys.path.insert(0, {str(EXAMPLES)!r}); sys.argv[1:] = {command[1:]!r}\n"
            f"with placed('strict'): runpy.run_path({command[0]!r}, run_name='__main__')"
        )
        command = ["-c", script]
    elif cupy_problem() is not None:
        pytest.skip(f"no GPU: {cupy_problem()}")
    printed = run(tmp_path, *command)
    assert re.search(words, printed), printed


def test_mistakes_cost_the_same_on_torch(tmp_path: pathlib.Path) -> None:
    """The table of losses and accuracies, to the last digit that is printed."""
    pytest.importorskip("sklearn")
    pytest.importorskip("torch")
    source = (EXAMPLES / "07_mistakes.py").read_text()
    source = source.replace("tinygrad_edu as torch", "torch").replace("tinygrad_edu", "torch")
    (tmp_path / "on_torch.py").write_text(source)
    start = f"import runpy, sys; sys.path.insert(0, {str(EXAMPLES)!r}); sys.argv[1:] = "
    tables = []
    for path in (EXAMPLES / "07_mistakes.py", tmp_path / "on_torch.py"):
        script = f"{start}['--epochs', '3']; runpy.run_path({str(path)!r}, run_name='__main__')"
        tables.append(run(tmp_path, "-c", script).split("total +=")[0])
    assert tables[0] == tables[1]


def test_no_example_is_left_out() -> None:
    numbered = {path.name for path in EXAMPLES.glob("[0-9]*.py")}
    # test_00_engine.py, test_load_gpt2.py and test_distributed_scripts.py run the others
    elsewhere = {"00_engine.py", "06_load_gpt2.py", "09_data_parallel.py", "10_tensor_parallel.py"}
    assert numbered == {*SHORT, *elsewhere}


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
