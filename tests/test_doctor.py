"""The doctor names the bugs of the corpus, by id and line, and leaves the clean programs alone."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import math
import pathlib
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from run_scripts import SCRIPTS

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.diagnosis import CHECKS, Diagnosis, command, explain
from tinygrad_edu.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent
Program = Callable[[], Any]


def programs(*names: str) -> dict[str, Program]:
    """The programs of some files: functions without arguments."""
    found = {}
    for name in names:
        module = importlib.import_module(f"doctor.{name}")
        for key, value in vars(module).items():
            own = inspect.isfunction(value) and value.__module__ == module.__name__
            if own and not inspect.signature(value).parameters:
                found[f"{name}.{key}"] = value
    return found


BUGS = programs(
    "bugs_loop",
    "bugs_flow",
    "bugs_models",
    "bugs_again",
    "bugs_styles",
    "bugs_more_loop",
    "bugs_more_flow",
    "bugs_more_models",
    "bugs_targets",
    "bugs_idioms_loop",
    "bugs_idioms_flow",
    "bugs_idioms_models",
)
CLEAN = programs("clean_training", "clean_traps", "clean_styles", "clean_methods", "clean_idioms")


def expected(program: Program) -> tuple[str, str, int]:
    """The id, the file and the line that a program is marked with."""
    special = getattr(program, "expected", None)
    if special is not None:
        id, file, mark = special
        path = ROOT / "tests" / "doctor" / file
        lines = path.read_text().splitlines()
        return id, str(path), 1 + next(i for i, line in enumerate(lines) if mark in line)
    lines, start = inspect.getsourcelines(program)
    marks = [(found[1], start + i) for i, line in enumerate(lines)
             if (found := re.search(r"# BUG: ([\w-]+)", line))]  # fmt: skip
    assert len(marks) == 1
    return marks[0][0], inspect.getsourcefile(program) or "", marks[0][1]


def watched(program: Program, **options: Any) -> Any:
    """The doctor that has watched a program, which may raise."""
    torch.manual_seed(0)
    d = torch.doctor(file=False, **options)
    with (
        warnings.catch_warnings(),
        contextlib.suppress(RuntimeError, ValueError, TypeError, IndexError),
    ):
        warnings.simplefilter("ignore")
        with d:
            program()
    assert d.broken == []
    return d


@pytest.mark.parametrize("name", BUGS)
def test_bug(name: str) -> None:
    id, file, line = expected(BUGS[name])
    found = watched(BUGS[name]).findings
    hits = [f for f in found if (f.id, f.file, f.line) == (id, file, line)]
    assert hits, [(f.id, f.file, f.line) for f in found]
    assert hits[0].step <= 20
    assert "{" not in str(hits[0]).replace("{}", "")


@pytest.mark.parametrize("name", CLEAN)
def test_clean(name: str) -> None:
    alarms = [str(f) for f in watched(CLEAN[name]).findings if f.level != "note"]
    assert not alarms, "\n".join(alarms)


def test_the_corpus_is_large_and_covers_all_checks() -> None:
    assert len(BUGS) >= 80 and len(CLEAN) >= 60
    assert {expected(program)[0] for program in BUGS.values()} == set(CHECKS)


def test_every_finding_has_a_page() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "write_doctor.py"))
    assert written["PAGE"].read_text() == written["document"]()
    for id in CHECKS:
        assert id in explain(id) and "{" not in explain(id)


def test_checks_are_short_and_the_folder_is_small() -> None:
    from count_lines import code_lines

    folder = ROOT / "tinygrad_edu" / "diagnosis"
    assert sum(code_lines(path.read_text()) for path in folder.glob("*.py")) <= 2163
    for checks in CHECKS.values():
        for check in checks:
            assert len(inspect.getsource(check.run).splitlines()) <= 50, check.id


SHORT = {
    "convnet": "--epochs 1 --width 4 --limit 300",
    "language_model": "--epochs 1 --limit 15000 --emsize 16 --vocab 100 --log-interval 5",
    "vae": "--epochs 2 --hidden 16",
    "gan": "--epochs 1 --ngf 4 --ndf 4 --limit 400 --log-interval 3",
    "translation": "--steps 8 --d-model 16 --log-interval 4",
    "reinforce": "--episodes 8 --log-interval 3",
}


def test_scripts(tmp_path: pathlib.Path) -> None:
    """The ordinary scripts raise no alarm; one process runs them all."""
    pytest.importorskip("sklearn")
    runs = [
        [f"--doctor-json={tmp_path / name}", str(SCRIPTS / f"{name}.py"), *arguments.split()]
        for name, arguments in SHORT.items()
    ]
    code = (
        "import tinygrad_edu as torch\n"
        "from tinygrad_edu import standin\nfrom tinygrad_edu.__main__ import main\n"
        f"for run in {runs!r}:\n    assert main(run) == 0, run"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    for name in SHORT:
        found = json.loads((tmp_path / name).read_text())
        assert [f for f in found if f["level"] != "note"] == [], name


# ---- the block itself


def mistaken(steps: int = 3) -> None:
    """A loop without zero_grad."""
    model, x, y = nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def test_it_prints_once_and_sums_up() -> None:
    file = io.StringIO()
    with torch.doctor(file=file):  # type: ignore[arg-type]
        mistaken(6)
    text = file.getvalue()
    assert text.count("error  zero-grad-missing\n") == 1
    for word in ("Why: ", "Cure: ", 'Silence: doctor(ignore=["zero-grad-missing"])'):
        assert word in text
    assert text.splitlines()[-2] == "doctor: 1 finding"


def test_ignore_raises_every() -> None:
    with torch.doctor(ignore=["zero-grad-missing"], file=False) as d:
        mistaken()
    assert d.findings == []
    with pytest.raises(Diagnosis) as caught, torch.doctor(raises=True, file=False):
        mistaken()
    assert caught.value.finding.id == "zero-grad-missing"
    with torch.doctor(every=5, file=False) as d:
        mistaken(12)
    assert [f.id for f in d.findings] == ["zero-grad-missing"]
    with pytest.raises(ValueError, match="no check 'nonsense'"):
        torch.doctor(ignore=["nonsense"])
    with pytest.raises(ValueError, match="at least 1"):
        torch.doctor(every=0)


def test_decorator_and_switch() -> None:
    run = torch.doctor(file=False)(mistaken)
    run()
    assert [f.id for f in run.doctor.findings] == ["zero-grad-missing"]
    d = torch.doctor(file=False).start()
    with pytest.raises(RuntimeError, match="already"):
        d.start()
    mistaken()
    d.stop()
    assert [f.level for f in d.findings] == ["error"]
    mistaken()
    assert len(d.stop().findings) == 1


def test_nothing_is_left_behind() -> None:
    from tinygrad_edu.engine.mode import state
    from tinygrad_edu.nn.modules.hooks import everywhere
    from tinygrad_edu.optim import optimizer

    before = state.mode.listeners, state.mode.around, len(everywhere)
    hooks = len(optimizer._global_pre_hooks), len(optimizer._global_post_hooks)
    for program in (mistaken, lambda: nn.Linear(2, 2)(torch.ones(3, 3))):
        with contextlib.suppress(RuntimeError), torch.doctor(file=False, every=2):
            program()
        assert (state.mode.listeners, state.mode.around, len(everywhere)) == before
        assert (len(optimizer._global_pre_hooks), len(optimizer._global_post_hooks)) == hooks


def test_results_are_the_same_with_it() -> None:
    def losses() -> list[float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        optimizer = torch.optim.Adam(model.parameters())
        x, y, found = torch.randn(16, 4), torch.arange(16) % 3, []
        for _ in range(5):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x).clone().mul_(2), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    plain = losses()
    with torch.doctor(file=False):
        assert losses() == plain


# ---- what is claimed


def test_softmax_twice_has_the_loss_that_it_names() -> None:
    name = "bugs_flow.softmax_in_the_model"
    (finding,) = [f for f in watched(BUGS[name]).findings if f.id == "softmax-twice"]
    sure = 1e4 * torch.eye(3)
    lowest = F.cross_entropy(sure.softmax(1), torch.arange(3)).item()
    assert finding.evidence["least"] == pytest.approx(lowest, rel=1e-5)
    assert finding.also is not None and finding.evidence["smaller"] > 1
    torch.manual_seed(1)
    scores, y = torch.randn(8, 3, requires_grad=True), torch.arange(8) % 3
    (once,) = torch.autograd.grad(F.cross_entropy(scores, y), scores)
    with torch.doctor(file=False) as d:
        loss = F.cross_entropy(scores.softmax(1), y)
    (twice,) = torch.autograd.grad(loss, scores)
    (finding,) = d.findings
    assert finding.evidence["smaller"] == pytest.approx(
        (once.norm() / twice.norm()).item(), rel=1e-4
    )


def test_the_best_answer_to_pairs_is_the_mean() -> None:
    y = torch.tensor([1.0, 2.0, 6.0])
    p = torch.zeros(3, 1, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=1.0)
    for _ in range(60):
        optimizer.zero_grad()
        ((p - y) ** 2).mean().backward()
        optimizer.step()
    assert p.detach().flatten().tolist() == pytest.approx([3.0] * 3, abs=1e-4)


def test_the_numbers_of_a_sum_of_gradients() -> None:
    with torch.doctor(file=False) as d:
        torch.manual_seed(0)
        w = torch.ones(2, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.0)
        for _ in range(3):
            (3 * w).sum().backward()
            optimizer.step()
    found = next(f for f in d.findings if f.id == "zero-grad-missing")
    assert found.evidence["norm"] == pytest.approx(6 * math.sqrt(2))  # two gradients of 3


def test_options_without_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.read(["--doctor-explain", "softmax-twice"])[0] == 0
    assert "log_softmax" in capsys.readouterr().out
    assert command.read(["--doctor-explain", "softmax-twise"])[0] == 2
    assert "the nearest is softmax-twice" in capsys.readouterr().err
    assert command.read(["--doctor=x", "train.py"])[0] == 2


def test_command_line(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import torch\nfrom torch import nn\nimport sys\n"
        "model = nn.Linear(4, 3)\noptimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)\n"
        "for _ in range(4):\n"
        "    loss = nn.CrossEntropyLoss()(model(torch.randn(8, 4)), torch.arange(8) % 3)\n"
        "    loss.backward()\n    optimizer.step()\nsys.exit(0)\n"
    )

    def run(*arguments: str) -> Any:
        words = [sys.executable, "-m", "tinygrad_edu", *arguments]
        return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)

    done = run("--doctor", str(script))
    assert done.returncode == 0 and done.stdout == ""
    assert "train.py:9  error  zero-grad-missing" in done.stderr
    assert "train.py:6  warning  scheduler-missing" in done.stderr  # which only the end shows
    found = json.loads(run("--doctor-json", str(script)).stderr)
    assert [(f["id"], f["line"]) for f in found] == [
        ("zero-grad-missing", 9), ("scheduler-missing", 6)
    ]  # fmt: skip


def test_cell_magic() -> None:
    from tinygrad_edu.diagnosis import load_ipython_extension

    class Shell:
        user_ns: dict[str, Any] = {"torch": torch}

        def register_magic_function(self, function: Any, kind: str, name: str) -> None:
            assert (kind, name) == ("cell", "doctor")
            self.magic = function

        def run_cell(self, cell: str) -> None:
            exec(cell, {"mistaken": mistaken})

    shell = Shell()
    load_ipython_extension(shell)
    file = io.StringIO()
    with contextlib.redirect_stderr(file):
        shell.magic("every=1", "mistaken()")
    assert "zero-grad-missing" in file.getvalue()
