"""The exercises of the course: what is to be mended fails, what is mended passes."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tinygrad_edu.course.__main__ import check, main, task
from tinygrad_edu.course.checks import CHECKS, WRITES, really_raises

ROOT = pathlib.Path(__file__).resolve().parent.parent

SOLUTIONS = {
    1: [('raise NotImplementedError("fill this in")',
         "return Number(self.value / other.value,"
         " [(self, 1 / other.value), (other, -self.value / other.value**2)])")],
    2: [("g / (1 + np.exp(-x))", "g * (s + y * (1 - s)) if (s := 1 / (1 + np.exp(-x))) is not None"
         " else 0"),
        ("# quotient.vjp(a=lambda g, ...: ..., b=lambda g, ...: ...)",
         "quotient.vjp(a=lambda g, b: g / b, b=lambda g, b, y: -g * y / b)")],
    3: [("    y.grad += g\n    for parent, local in y.parents:\n"
         "        backward(parent, g * local)",
         "    import heapq\n    y.grad += g\n    queue, seen = [(-y.number, y)], {y.number}\n"
         "    while queue:\n        _, node = heapq.heappop(queue)\n"
         "        for parent, local in node.parents:\n"
         "            parent.grad += local * node.grad\n"
         "            if parent.number not in seen:\n                seen.add(parent.number)\n"
         "                heapq.heappush(queue, (-parent.number, parent))")],
    4: [("return g.sum(axis=tuple(range(extra)))",
         "g = g.sum(axis=tuple(range(extra)))\n    ones = tuple(i for i, n in enumerate(shape)"
         " if n == 1)\n    return g.sum(axis=ones, keepdims=True)")],
    5: [("lambda g, x: g * np.exp(-x) / (1 + np.exp(-x)) ** 2", "lambda g, y: g * y * (1 - y)")],
    6: [(f'"{case}": None', f'"{case}": {really_raises(case)}') for case in WRITES],
    7: [("[nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)]",
         "nn.ModuleList([nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)])"),
        ("x.softmax(1)", "x"), ("        loss.backward()",
                                "        optimizer.zero_grad()\n        loss.backward()")],
    8: [("tril(1)", "tril()")],
    9: [("torch.tanh(0.5 * state + now)", "state + 0.1 * torch.tanh(0.1 * state + now)")],
}  # fmt: skip


def solved(step: int, but: int | None = None) -> str:
    """The task with its mendings, perhaps all but one."""
    text = task(step)
    for k, (before, after) in enumerate(SOLUTIONS[step]):
        assert before in text
        text = text if k == but else text.replace(before, after)
    return text


@pytest.mark.parametrize("step", CHECKS)
def test_what_is_mended_passes_and_what_is_not_fails(step, tmp_path):
    path = tmp_path / "answer.py"
    path.write_text(task(step))
    assert check(step, path)
    path.write_text(solved(step))
    assert check(step, path) == []


@pytest.mark.parametrize("step", CHECKS)
def test_every_mending_is_needed(step, tmp_path):
    path = tmp_path / "answer.py"
    for k, _ in enumerate(SOLUTIONS[step]):
        path.write_text(solved(step, but=k))
        assert check(step, path), SOLUTIONS[step][k]


SAYS = {
    1: ("def derivative", "def other", "the file defines no derivative"),
    2: ("g / (1 + np.exp(-x))", "-g", "finite differences give something else"),
    4: ("return g.sum", "return g + g.sum", "it has"),
    5: ("lambda g, x: g", "lambda g, x: -g", "finite differences"),
    6: ('"b": None', '"b": True', "a sum keeps nothing"),
    7: ("loss.backward()", "loss.backward()", "what is in .grad as the second begins?"),
    8: ("tril(1)", "tril(-1)", "does not see all up to itself"),
    9: ("0.5 * state", "0.9 * state", "of the greatest gradient, not 1e-3"),
}


@pytest.mark.parametrize("step", SAYS)
def test_a_wrong_answer_is_told_why(step, tmp_path):
    before, after, told = SAYS[step]
    text = task(step)
    assert before in text
    path = tmp_path / "answer.py"
    path.write_text(text.replace(before, after))
    wrong = check(step, path)
    assert any(told in line for line in wrong), wrong
    assert not any("does not run" in line for line in wrong)


def test_every_page_has_an_exercise():
    pages = [int(p.name[0]) for p in (ROOT / "docs/course").glob("[0-9]*.md")]
    assert sorted(pages) == list(CHECKS)


def test_the_command(tmp_path):
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tinygrad_edu.course", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True,
                              env={"PYTHONPATH": str(ROOT), "PATH": ""})  # fmt: skip

    assert run("check", "4").returncode == 2
    assert run("start", "4").returncode == 0
    assert run("start", "4").returncode == 2
    assert "not yet: (2, 1) to (2, 3)" in run("check", "4").stdout
    (tmp_path / "course_4.py").write_text(solved(4))
    done = run("check", "4")
    assert done.returncode == 0 and "step 4 is done" in done.stdout
    (tmp_path / "course_4.py").write_text("1 / 0")
    assert "does not run" in run("check", "4").stdout


@pytest.mark.parametrize("words", [[], ["check"], ["start", "10"], ["start", "x"], ["list", "1"],
                                   ["check", "1", "a", "b"]])  # fmt: skip
def test_what_it_does_not_understand(words, capsys):
    assert main(words) == 2 and "usage" in capsys.readouterr().err


def test_the_list(capsys):
    assert main(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9
