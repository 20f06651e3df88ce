"""`torch.compile` of what cannot be recorded: it runs as it is, and says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiling import GPT, bits, explained

import tinygrad_edu as torch
from tinygrad_edu import nn

RUNNING = torch.zeros(2), torch.ones(2)


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.seen: list[Any] = []
        self.last = None

    def forward(self, x: Any, how: str) -> Any:
        if how == "count":
            self.calls += 1
        elif how == "append":
            self.seen.append(x.shape)
        elif how == "keep":
            self.last = x * 2
        return x * self.calls + len(self.seen)


@pytest.mark.parametrize("how", ["count", "append", "keep"])
def test_side_effects_happen_at_every_call(how: str) -> None:
    model = Counter()
    compiled = torch.compile(model)
    for call in range(1, 30):
        y = compiled(torch.full((2,), float(call)), how)
        if how == "count":
            assert model.calls == call and y.tolist() == [call * call] * 2
        elif how == "append":
            assert len(model.seen) == call and y.tolist() == [call] * 2
        else:
            assert model.last.tolist() == [2.0 * call] * 2
    assert "runs as it is" in explained(compiled)


def _branch(x: Any) -> Any:
    return x * 2 if x.sum() > 0 else x - 1


def _item(x: Any) -> Any:
    return x * x.max().item()


def _numbers(x: Any) -> Any:
    return x * float(x[0]) + int(x[1]) + x.tolist()[0] + x.numpy()[0]


def _mask(x: Any) -> Any:
    return x[x > 0].sum() + x


def _where_at(x: Any) -> Any:
    return x[torch.nonzero(x > 0).flatten()].sum() + x


def _written(x: Any) -> Any:
    y = x * 1
    y[0] = 5
    y += x
    return y


def _drawn(x: Any) -> Any:
    return x + torch.randn(2) + torch.rand_like(x)


def _seed(x: Any) -> Any:
    return x * (torch.initial_seed() % 7)


def _moved(x: Any) -> Any:
    return nn.functional.batch_norm(torch.stack([x, 2 * x]), *RUNNING, training=True)


def _numpy(x: Any) -> Any:
    return x + float(np.random.rand())


def _index(x: Any) -> Any:
    return x[int(x.argmax())] + x


def _backward(x: Any) -> Any:
    z = x.detach().clone().requires_grad_()
    (z * z).sum().backward()
    return z.grad + x


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 3


def _custom(x: Any) -> Any:
    return Doubled.apply(x)


def _hooked(x: Any) -> Any:
    y = x * 2
    if y.requires_grad:
        y.register_hook(lambda g: g * 5)
    return y.exp()


def _full(x: Any) -> Any:
    return x + torch.full((2,), x[0])


def _viewed(x: Any) -> Any:
    return x.view(1, 2)


def _threshold(x: Any) -> Any:
    return x.masked_fill(x > 0, x.sum().detach())


UNSAFE = [_branch, _item, _numbers, _mask, _where_at, _written, _drawn, _numpy, _index, _backward,
          _custom, _hooked, _full, _viewed, _seed, _moved]  # fmt: skip


@pytest.mark.parametrize("function", [*UNSAFE, _threshold])
def test_what_cannot_be_recorded_runs_as_it_is(function: Any) -> None:
    compiled = torch.compile(function)
    for call in range(12):
        found = []
        for run in (function, compiled):
            torch.manual_seed(call)
            np.random.seed(call)
            x = torch.randn(2).requires_grad_(function not in (_numbers,))
            y = run(x)
            y.sum().backward() if y.requires_grad else None
            found.append((bits(y), None if x.grad is None else bits(x.grad)))
        assert found[0] == found[1], explained(compiled)
    if function in UNSAFE:
        assert "runs as it is: " in explained(compiled) and "recorded" not in explained(compiled)
        strict = torch.compile(function, fullgraph=True)
        with pytest.raises(torch.compiler.Unsupported, match="fullgraph"):
            for _ in range(3):
                strict(torch.randn(2).requires_grad_(function is not _numbers))


def test_errors_are_those_of_the_function() -> None:
    model = GPT(p=0.5)
    compiled = torch.compile(model)
    good, bad = torch.zeros(1, 4).long(), torch.full((1, 4), 99)
    for _ in range(3):
        compiled(good, good)
    before = torch.get_rng_state()
    with pytest.raises(IndexError) as ours:
        compiled(bad, good)
    torch.set_rng_state(before)
    with pytest.raises(IndexError) as plain:
        model(bad, good)
    assert str(ours.value) == str(plain.value)
    with pytest.raises(RuntimeError, match="shape|match|size"):
        torch.compile(nn.Linear(2, 2))(torch.ones(3))
