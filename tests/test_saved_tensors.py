"""Saved-tensor hooks and anomaly detection: what they do, and that they leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from beside_torch import same, same_error

import tinygrad_edu as ours
from tinygrad_edu.engine.graph import Node

torch = pytest.importorskip("torch")
PLAIN = Node.__init__


def net(T: Any, x: Any, w: Any) -> Any:
    h = (x @ w).tanh()
    h.mul_(2)
    a, b = T.cat([h, h.exp()]) * 1, (h + 2).repeat(2, 1)
    T.relu_(a)
    return (a * b).softmax(-1).var()


def close(run: Any) -> None:
    for a, b in zip(run(ours), run(torch), strict=True):
        ours.testing.assert_close(a.detach(), b.detach().numpy())


def leaves(T: Any) -> Any:
    T.manual_seed(1)
    x = T.randn(2, 3, dtype=T.float64, requires_grad=True)
    return x, T.randn(3, 4, dtype=T.float64, requires_grad=True)


@pytest.mark.parametrize("create", [False, True])
def test_packing_changes_no_gradient(create: bool) -> None:
    def run(T: Any) -> Any:
        hooks = T.autograd.graph.saved_tensors_hooks
        x, w = leaves(T)
        with hooks(lambda t: t.detach().numpy().copy(), T.from_numpy):
            y = net(T, x, w)
        g = T.autograd.grad(y, (x, w), create_graph=create)
        return [*g, *(T.autograd.grad((g[0] ** 2).sum(), (x, w)) if create else ())]

    close(run)
    assert Node.__init__ is PLAIN


def test_what_hooks_see() -> None:
    def run(T: Any) -> Any:
        log: list[Any] = []
        x = T.tensor([16.0, 4.0], requires_grad=True)

        def pack(t: Any) -> Any:
            log.append(("pack", t.detach().clone()))
            return t.detach() * 10

        def unpack(t: Any) -> Any:
            log.append(("unpack", t))
            return t

        with T.autograd.graph.saved_tensors_hooks(pack, unpack):
            y = x.sqrt() + 1
        z = y * y  # outside: not packed
        z.sum().backward()
        return log, x.grad

    same(run)


def test_nesting_and_bad_unpack() -> None:
    def nested(T: Any) -> Any:
        seen: list[str] = []
        hooks = T.autograd.graph.saved_tensors_hooks
        x = T.tensor([2.0], requires_grad=True)
        with hooks(lambda t: (seen.append("outer"), t)[1], lambda t: t):
            y = x.exp()
            with hooks(lambda t: (seen.append("inner"), t)[1], lambda t: t):
                y = y.exp()
            y = y.exp()
        y.sum().backward()
        return seen, x.grad

    def bad(T: Any) -> None:
        x = T.tensor([2.0], requires_grad=True)
        with T.autograd.graph.saved_tensors_hooks(lambda t: 1, lambda n: n):
            y = x.exp()
        y.sum().backward()

    same(nested)
    same_error(bad, TypeError, "unpack_hook", "Tensor")


def test_save_on_cpu_and_functions() -> None:
    def run(T: Any) -> Any:
        class Square(T.autograd.Function):  # type: ignore[misc,name-defined]
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return 2 * ctx.saved_tensors[0] * g

        x, w = leaves(T)
        with T.autograd.graph.save_on_cpu():
            y = Square.apply(net(T, x, w))
        y.backward()
        return x.grad, w.grad

    close(run)


def test_second_backward_is_still_refused() -> None:
    def run(T: Any) -> None:
        x, w = leaves(T)
        with T.autograd.graph.save_on_cpu():
            y = net(T, x, w)
        y.backward()
        y.backward()

    same_error(run, RuntimeError, "a second time")


def test_anomaly() -> None:
    def run(T: Any) -> None:
        with T.autograd.detect_anomaly():
            x = T.zeros(1, requires_grad=True)
            (x.sqrt() * 0).backward()

    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="SqrtBackward0"):
        run(torch)
    with pytest.raises(RuntimeError) as caught:
        run(ours)
    assert str(caught.value) == "Function 'SqrtBackward0' returned nan values in its 0th output."
    note = "\n".join(caught.value.__notes__)
    assert "(x.sqrt() * 0).backward()" in note and "test_saved_tensors.py" in note
    assert "tinygrad_edu/ops" not in note
    assert Node.__init__ is PLAIN


def test_anomaly_switches() -> None:
    x = ours.zeros(1, requires_grad=True)
    y = x.sqrt() * 0
    with ours.autograd.set_detect_anomaly(True), pytest.raises(RuntimeError) as caught:
        y.backward(retain_graph=True)
    assert "no forward pass information" in "\n".join(caught.value.__notes__)
    ours.autograd.set_detect_anomaly(True)
    ours.autograd.set_detect_anomaly(False)
    y.backward(retain_graph=True)
    with ours.autograd.detect_anomaly(check_nan=False):
        y.backward()
    assert x.grad.isnan().all() and Node.__init__ is PLAIN


def test_anomaly_notes_errors_of_rules() -> None:
    with ours.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="inplace") as caught:
        x = ours.ones(2, requires_grad=True) * 1
        y = x * x
        x.mul_(2)
        y.sum().backward()
    assert "y = x * x" in "\n".join(caught.value.__notes__)


HALF_AFTER_HOOKS = """
import tinygrad_edu as torch
with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
    pass  # before anybody has met 16 bits
def gradient(hooks):
    torch.manual_seed(0)
    x = torch.randn(64).bfloat16().requires_grad_()
    same = torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    with same if hooks else torch.enable_grad():
        y = torch.nn.functional.gelu(x.view(8, 8)).softmax(1).std(0)
    return torch.autograd.grad(y.sum(), x)[0]
assert torch.equal(gradient(True), gradient(False))
"""


def test_what_hooks_unpack_is_widened_whatever_was_used_first() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", HALF_AFTER_HOOKS], check=True)
