"""`testing.examine` finds what is wrong with an operation, and says whose rule it is."""

from __future__ import annotations

import copy
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.testing import (
    away_from,
    examine,
    index_expressions,
    modules,
    optimizers,
    shapes,
    tensors,
    view_programs,
)

reference = pytest.importorskip("torch")
ROOT = pathlib.Path(__file__).resolve().parent.parent


def made(forward: Any, **rules: Any) -> Any:
    op = primitive(forward)
    op.vjp(**rules)
    return op


def product(a: Any, b: Any) -> Any:
    return a * b


STATE = np.zeros(1)


def counted(x: Any) -> Any:
    STATE[0] += 1
    return x + STATE[0]


def spoiled(g: Any) -> Any:
    """A rule that writes into what it is given."""
    if isinstance(g, np.ndarray) and g.ndim:
        g *= 2
    return g


def by_memory(x: Any) -> Any:
    """Looks at memory, not at elements."""
    if isinstance(x, np.ndarray) and not x.flags.c_contiguous:
        return x * 2.0
    return x * 1.0


def widened(x: Any) -> Any:
    return np.asarray(x, np.float64) * 2.0


def writes(x: Any) -> Any:
    x += 1.0
    return x * 1.0


def keeps(x: Any) -> Any:
    return x * 2.0


def raises(g: Any) -> Any:
    return g.nothing


def cut(x: Any) -> Any:
    """Leaves the graph."""
    return torch.tensor(np.exp(x.detach().numpy()))


def constant_twice(g: Any, x: Any) -> Any:
    """Right, but its own derivative is not."""
    return 2 * g * (x if isinstance(x, np.ndarray) else x.detach())


WRONG = {
    "a factor": (made(product, a=lambda g, b: g * b, b=lambda g, a: g * a * 1.1),
                 "first derivative", "b"),
    "mixed up": (made(product, a=lambda g, a: g * a, b=lambda g, b: g * b),
                 "first derivative", "a"),
    "averaged": (made(product, a=lambda g, b: (g * 0 + g.mean()) * b, b=lambda g, a: g * a),
                 "first derivative", "a"),
    "not random": (made(counted, x=lambda g: g), "determinism", ""),
    "writes g": (made(lambda x: x * 1.0, x=spoiled), "in-place writes", "x"),
    "memory": (made(by_memory, x=lambda g: g), "memory layouts", ""),
    "type": (made(widened, x=lambda g: g * 2.0), "single precision", ""),
    "raises": (made(lambda x: x * 1.0, x=raises), "computes", "x"),
    "no rule": (primitive(lambda x: x * 1.0), "computes", "x"),
    "cut": (cut, "first derivative", "x"),
    "second": (made(lambda x: x * x, x=constant_twice), "second derivative", "x"),
    "recorded": (made(lambda x: np.floor(x), x=lambda g: g * (not isinstance(g, np.ndarray))),
                 "second derivative", "x"),
    "0-d": (made(lambda x: np.exp(x), x=lambda g, y: g * y * (1 if y.ndim else 2)),
            "empty and 0-d", "x"),
    "empty": (made(lambda x: np.exp(x), x=lambda g, y: g * y if y.size else g.sum()),
              "empty and 0-d", "x"),
    "writes its input": (made(writes, x=lambda g: g), "computes", "x"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name):
    operation, check, argument = WRONG[name]
    report = examine(operation, quiet=True, max_examples=10)
    found = {c.name: c.argument for c in report.failures}
    assert check in found, str(report)
    assert not argument or found[check] == argument
    assert not report.ok and "smallest example" in str(report)
    with pytest.raises(AssertionError, match="FAILED"):
        report.raise_if_failed()


@pytest.mark.parametrize("operation", [
    made(product, a=lambda g, b: g * b, b=lambda g, a: g * a),
    torch.hypot, torch.exp, lambda x, y: (x * y).sum(-1) if x.dim() and y.dim() else x * y,
])  # fmt: skip
def test_what_is_right_passes(operation):
    report = examine(operation, quiet=True, max_examples=5)
    assert report.ok, str(report)
    done = {c.name for c in report.checks if c.examples > c.refused}
    assert {"first derivative", "second derivative", "memory layouts", "in-place writes"} <= done


def test_values_are_compared_with_a_reference():
    report = examine(
        torch.hypot, lambda a, b: np.hypot(a.numpy(), b.numpy()) * 1.001, quiet=True, max_examples=5
    )
    assert [c.name for c in report.failures] == ["values"]
    wrong_gradient = examine(
        torch.exp, lambda x: x.exp().detach() + 0 * x, quiet=True, max_examples=5
    )
    assert [(c.name, c.argument) for c in wrong_gradient.failures] == [("values", "x")]


def test_the_smallest_example_is_small():
    op = made(lambda x: np.abs(x), x=lambda g, x: g)  # wrong below 0
    inputs = st.tuples(tensors(elements=away_from(0.0), dtype=torch.float64))
    report = examine(op, inputs=inputs, quiet=True)
    (failure,) = [c for c in report.failures if c.name == "first derivative"]
    assert failure.example in ("tensor(-0.125, shape ())", "tensor([-0.125], shape (1,))")


def test_an_operation_that_never_computes_is_not_fine():
    def never(x: Any) -> Any:
        raise ValueError("never")

    report = examine(never, quiet=True, max_examples=3)
    assert not report.ok and not report.failures and "computed nothing" in str(report)


def test_no_rule_is_blamed_for_what_the_operation_does():
    for name in ("not random", "writes its input"):
        report = examine(WRONG[name][0], quiet=True, max_examples=3)
        (failure,) = report.failures
        assert report.stopped and not failure.rule and "the rule of" not in str(report)


def test_the_report_names_the_rule_and_the_cotangent():
    operation = WRONG["a factor"][0]
    text = str(examine(operation, quiet=True, max_examples=5))
    assert "first derivative     FAILED, the rule of 'b': g * a * 1.1\n" in text
    assert "from the cotangent 1.125" in text


def test_constants_are_not_differentiated():
    operation = made(product, a=lambda g, b: g * b, b=None)
    assert examine(operation, quiet=True, max_examples=5).ok


def test_why_nothing_is_computed_is_told():
    report = examine(lambda x: torch.ones(3)[x], quiet=True, max_examples=3)
    assert "IndexError" in str(report) and report.stopped


def test_examples_may_be_given():
    x = torch.randn(3, 4).double()
    target = torch.tensor([0, 3, 1])
    report = examine(nn.functional.cross_entropy, inputs=[(x, target)], quiet=True)
    assert report.ok, str(report)


# ---- the command


def run(*arguments: str, cwd: pathlib.Path) -> Any:
    command = [sys.executable, "-m", "tinygrad_edu.testing", *arguments]
    env = {"PYTHONPATH": f"{ROOT}:{cwd}", "PATH": ""}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_the_command_writes_tests_that_run(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from tinygrad_edu.autograd import primitive\n"
        "@primitive\ndef cube(x):\n    return x * x * x\n"
        "cube.vjp(x=lambda g, x: 3 * g * x * x)\n"
    )
    done = run("mine:cube", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "examine(cube): passed" in done.stdout and (tmp_path / "test_cube.py").exists()
    env = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""}
    tests = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "test_cube.py"]
    passed = subprocess.run(tests, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert passed.returncode == 0 and "2 passed" in passed.stdout, passed.stdout
    assert "left as it is" in run("mine:cube", cwd=tmp_path).stdout


@pytest.mark.parametrize("arguments", [(), ("math",), ("nowhere:f",), ("math:nothing",),
                                       ("math:pi",)])  # fmt: skip
def test_the_command_refuses_what_it_cannot_examine(arguments, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr and not [*tmp_path.iterdir()]


# ---- the plugin


LEAKING = """
import pytest, tinygrad_edu as torch
pytest_plugins = ["tinygrad_edu.testing.plugin"]
HELD = []

def test_fine(no_leaks, seed, tolerance):
    x = torch.randn(2, requires_grad=True)
    (x * x).sum().backward()
    assert seed == 3 and tolerance(torch.float32)["rtol"] == 1.3e-6

def test_same(seed):
    HELD.append(torch.randn(1).item())
    torch.manual_seed(3)
    assert HELD[-1] == torch.randn(1).item()

def test_mode(no_leaks):
    torch.set_grad_enabled(False)

def test_graph(no_leaks):
    HELD.append(torch.ones(1, requires_grad=True).exp())

def test_dtype(no_leaks):
    torch.set_default_dtype(torch.float64)
"""


def test_the_plugin(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tinygrad_edu.testing.plugin"]\n')
    (tmp_path / "test_leaks.py").write_text(LEAKING.replace(
        'pytest_plugins = ["tinygrad_edu.testing.plugin"]\n', ""))  # fmt: skip
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path),
               "--seed", "3", "test_leaks.py"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "5 passed, 3 errors" in done.stdout, done.stdout + done.stderr
    assert "leaves a mode" in done.stdout and "leaves a default dtype" in done.stdout
    assert "a graph of ExpBackward0" in done.stdout


# ---- the strategies


@settings(max_examples=20)
@given(st.data())
def test_index_expressions_are_right_for_torch_too(data):
    shape = data.draw(shapes(min_side=0))
    index = data.draw(index_expressions(shape))
    array = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    found, expected = torch.tensor(array)[index], reference.tensor(array)[index]
    assert found.shape == expected.shape and found.tolist() == expected.tolist()


@settings(max_examples=20)
@given(st.data())
def test_programs_of_views_agree_with_torch(data):
    shape = data.draw(shapes())
    program, text = data.draw(view_programs(shape))
    array = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)
    results = []
    for library in (torch, reference):
        x = library.tensor(array, requires_grad=True)
        y = program(x)
        u = library.tensor(np.cos(array))
        (g,) = library.autograd.grad(y, x, u)
        results.append((y.tolist(), g.tolist()))
    assert results[0] == results[1], text


@settings(max_examples=20)
@given(modules(3), optimizers(), st.integers(0, 3))
def test_modules_learn_by_optimizers(model, make, seed):
    """A small step down the gradient, and rows that do not see each other."""
    torch.manual_seed(seed)
    x = torch.randn(4, 3)
    model = copy.deepcopy(model)
    together = model(x)
    apart = torch.cat([model(row.reshape(1, 3)) for row in x])
    assert torch.allclose(together, apart, atol=1e-5)
    parameters = list(model.parameters())
    if not parameters:
        return
    optimizer = make(parameters)
    loss = model(x).square().mean()
    loss.backward()
    before = [p.detach().clone() for p in parameters]
    optimizer.step()
    assert all(torch.isfinite(p).all() for p in parameters)
    if any(p.grad is not None and p.grad.any() for p in parameters):
        assert any(not torch.equal(p, q) for p, q in zip(parameters, before, strict=True))
