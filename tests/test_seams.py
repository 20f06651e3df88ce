"""The seams of the engine: who listens to calls, makes nodes, stands around backward steps."""

from __future__ import annotations

import ast
import gc
import pathlib
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tinygrad_edu as torch
from tinygrad_edu.engine import mode
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def same_mode_after() -> Iterator[None]:
    before = state.mode
    yield
    state.mode = before


def listening(*listeners: Callable[..., Any]) -> None:
    state.mode = state.mode.but(listeners=listeners)


# ---- the call


def logger(log: list[str], name: str) -> Callable[..., Any]:
    def listener(op: Any, make: Any, *args: Any, **kwargs: Any) -> Any:
        log.append(f"{name} {op.name}")
        return make(*args, **kwargs)

    return listener


def test_listeners_are_told_the_latest_first() -> None:
    log: list[str] = []
    listening(logger(log, "first"), logger(log, "second"))
    x = torch.ones(2)
    assert torch.equal(torch.exp(x) * x, torch.exp(x) * x)
    assert log[:4] == ["second exp", "first exp", "second mul", "first mul"]


def test_all_forms_of_a_call_are_heard() -> None:
    log: list[str] = []
    listening(logger(log, "to"))
    x = torch.ones(2, 2, requires_grad=True)
    torch.exp(x)
    torch.mul(x, x)
    torch.lerp(x, x, 0.5)
    torch.cat([x, x])
    x.t()
    assert log == ["to exp", "to mul", "to lerp", "to cat", "to transpose"]


def test_a_composed_function_is_heard_and_so_is_what_it_is_made_of() -> None:
    log: list[str] = []
    listening(logger(log, "to"))
    F.mse_loss(torch.ones(2), torch.zeros(2))
    assert log[0] == "to mse_loss" and "to squared_error" in log


def test_a_listener_may_change_what_is_computed() -> None:
    def doubled(op: Any, make: Any, *args: Any, **kwargs: Any) -> Any:
        y = make(*args, **kwargs)
        return make(*args, **kwargs) if op.name != "exp" else y * 2

    x = torch.zeros(2, requires_grad=True)
    listening(doubled)
    y = torch.exp(x)
    state.mode = state.mode.but(listeners=())
    y.sum().backward()
    assert y.tolist() == [2.0, 2.0] and x.grad.tolist() == [2.0, 2.0]


def test_autocast_listens_beside_others() -> None:
    log: list[str] = []
    listening(logger(log, "to"))
    with torch.autocast("cpu"), torch.no_grad():
        y = torch.ones(2, 2) @ torch.ones(2, 2)
        assert len(state.mode.listeners) == 2
    assert y.dtype is torch.bfloat16 and "to matmul" in log


def test_another_thread_hears_nothing() -> None:
    log: list[str] = []
    listening(logger(log, "to"))
    thread = threading.Thread(target=lambda: torch.exp(torch.ones(1)))
    thread.start()
    thread.join()
    assert not log


# ---- the recorder, and around a step


def test_anomalies_are_noted_while_tensors_are_packed() -> None:
    """A recorder wraps the one outside of it, and so do the wrappers of a step."""
    packed: list[Any] = []
    x = torch.zeros(2, requires_grad=True)
    with (
        torch.autograd.detect_anomaly(),
        torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t),
    ):
        y = (x.sqrt() * 0.0).sum()
        with pytest.raises(RuntimeError, match="SqrtBackward0") as caught:
            y.backward()
    assert packed and "x.sqrt()" in "".join(caught.value.__notes__)


def test_nothing_is_kept_of_a_recorder_afterwards() -> None:
    plain = state.mode
    with torch.autograd.detect_anomaly(), torch.autograd.graph.save_on_cpu(), torch.no_grad():
        assert state.mode is not plain
    assert state.mode is plain


def test_a_block_puts_back_only_what_it_changed() -> None:
    with torch.autocast("cpu"):
        torch.set_grad_enabled(False)
    assert not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


# ---- what an operation declares


@primitive
def scaled(a: Any, b: Any) -> Any:
    """`a * b`, differentiable in `a` only: the rule of `b` was forgotten."""
    return a * b


scaled.vjp(a=lambda g, b: g * b)


@primitive
def weighted(x: Any, weight: Any, unused: Any) -> Any:
    return x * weight


weighted.vjp(x=lambda g, weight: g * weight, weight=None)


@primitive
def undeclared(x: Any) -> Any:
    return x * 2


def test_an_argument_without_a_rule_is_an_error_when_a_gradient_arrives() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.full((2,), 3.0, requires_grad=True)
    y = (scaled(a, b) + b).sum()
    with pytest.raises(NotImplementedError, match=r"scaled.*'b'.*vjp\(b=None\)"):
        y.backward()
    y = scaled(a, b).sum()
    assert torch.autograd.grad(y, a)[0].tolist() == [3.0, 3.0]  # none flows to b
    with pytest.raises(NotImplementedError, match="undeclared"):
        undeclared(a).sum().backward()


def test_a_constant_argument_gets_no_gradient() -> None:
    x, w = torch.ones(2, requires_grad=True), torch.full((2,), 3.0, requires_grad=True)
    (weighted(x, w, 1) + w).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0] and w.grad.tolist() == [1.0, 1.0]
    with pytest.raises(NotImplementedError, match="'unused'"):
        weighted(x, w, w).sum().backward()


# ---- errors at the edge


def broken(x: Any) -> Any:
    return torch.nn.functional.linear(x, torch.ones(3, 4))


def test_an_error_is_not_its_own_cause_and_shows_two_lines_of_the_engine() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(4, 8))
    failing: list[tuple[Callable[[], Any], int]] = [
        (lambda: torch.ones(2, 3) @ torch.ones(2, 3), 0),
        (lambda: torch.ones(2) + torch.ones(3), 0),
        (lambda: torch.cat([torch.ones(2), torch.ones(2, 2)]), 0),
        (lambda: torch.ones(2, 3).view(5), 0),
        (lambda: torch.ones(2).unsqueeze(4), 0),
        (lambda: layer(torch.ones(2, 5)), 2),
    ]
    for call, modules in failing:
        with pytest.raises((RuntimeError, IndexError)) as caught:
            call()
        error = caught.value
        assert error.__cause__ is not error and error.__context__ is not error
        ours = [
            f for f in traceback.extract_tb(error.__traceback__) if "tinygrad_edu" in f.filename
        ]
        engine = [f for f in ours if "/engine/" in f.filename]
        assert len(engine) <= 2, traceback.format_exception(error)
        if modules:
            assert len([f for f in ours if f.name == "__call__"]) <= modules


def test_no_array_is_kept_alive_by_a_failure() -> None:
    def attempt(call: Callable[[Any], Any]) -> Any:
        x = torch.ones(100, 3)
        alive = weakref.ref(x.array)
        try:
            call(x)
        except (RuntimeError, IndexError, TypeError):
            pass
        return alive

    gc.collect()
    gc.disable()
    try:
        for call in (
            lambda x: x @ x,
            lambda x: x + torch.ones(7),
            lambda x: torch.lerp(x, x, torch.ones(7)),
            lambda x: torch.cat([x, torch.ones(2)]),
            lambda x: x.view(7),
            lambda x: F.grid_sample(x, x),
            broken,
        ):
            assert attempt(call)() is None
        with torch.autocast("cpu"):
            assert attempt(lambda x: x @ x)() is None
    finally:
        gc.enable()


# ---- threads


def test_gradients_of_several_threads_add_up() -> None:
    w = torch.zeros(2000, requires_grad=True)
    x = torch.ones(2000)

    def run() -> None:
        for _ in range(40):
            (w * x).sum().backward()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert w.grad.min().item() == w.grad.max().item() == 160.0


# ---- nothing is exchanged


def test_nothing_is_exchanged_at_run_time() -> None:
    """No code, class, constructor or other module's global is assigned to, but by nn's layers that
    become others, as torch's do."""
    allowed = {"nn/modules/lazy.py", "nn/parameter.py", "nn/utils/parametrize.py"}
    found = []
    for folder in ("tinygrad_edu", "nn", "optim"):
        for path in (ROOT / folder).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            if path.is_symlink() or name in allowed or name.startswith("tinygrad_edu/nn"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                targets = node.targets if isinstance(node, ast.Assign) else []
                for target in targets:
                    if isinstance(target, ast.Attribute) and target.attr in (
                        "__code__", "__class__", "__init__", "__call__",
                    ):  # fmt: skip
                        found.append((name, node.lineno, target.attr))
    assert not found


def test_modes_are_values() -> None:
    with pytest.raises(AttributeError):
        mode.Mode().something = 1  # type: ignore[attr-defined]
