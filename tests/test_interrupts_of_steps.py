"""KeyboardInterrupt and MemoryError anywhere in a training step: what is left is consistent.

The generator goes on with its stream, gradients are added whole, modes are as they were, and the
next step runs.  A sample of the places; `pytest --sweep` tries every bytecode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from interrupting import sweep

import tinygrad_edu as torch
from tinygrad_edu import nn

KINDS = [KeyboardInterrupt, MemoryError]
A = torch.optim


def training() -> Callable[[], None]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = A.AdamW(model.parameters())
    x, y = torch.randn(6, 4), torch.tensor([0, 1, 0, 1, 0, 1])

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step(kind: type[BaseException], request: pytest.FixtureRequest) -> None:
    """Whatever was interrupted, the numbers go on, and the next step runs."""
    step = training()
    step()
    stream = torch.default_generator
    for interrupter in sweep(request, step, 40, kind=kind):
        start = stream.clone_state()
        interrupter.run(step)
        # the numbers go on where they were, or behind those that a dropout has taken
        coming = start.clone_state().words(208).tobytes()
        assert stream.clone_state().words(8).tobytes() in coming, interrupter.where
        assert torch.is_grad_enabled()
    step()


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 2 * g + 0 * x


@pytest.mark.parametrize("kind", KINDS)
def test_function_backward_and_hooks(
    kind: type[BaseException], request: pytest.FixtureRequest
) -> None:
    """A gradient is the old one, or the old one and the new; hooks fire again in the next pass."""
    fired: list[str] = []
    w = torch.ones(3, requires_grad=True)
    w.register_hook(lambda g: fired.append("tensor"))
    w.register_post_accumulate_grad_hook(lambda p: fired.append("accumulated"))
    linear = nn.Linear(3, 1)
    linear.register_forward_hook(lambda *args: fired.append("forward"))
    linear.register_full_backward_hook(lambda *args: fired.append("backward"))

    def run() -> None:
        linear(Doubled.apply(w)).sum().backward()

    run()
    assert w.grad is not None
    one = w.grad.tolist()
    for interrupter in sweep(request, run, 40, kind=kind):
        w.grad = torch.zeros(3)
        interrupter.run(run)
        assert w.grad.tolist() in ([0.0] * 3, one), interrupter.where
        w.grad = None
        fired.clear()
        run()
        assert w.grad.tolist() == one
        assert fired == ["forward", "backward", "tensor", "accumulated"], interrupter.where
