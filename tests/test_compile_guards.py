"""`torch.compile`: what a recording depends on is seen to change, wherever it may be."""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import os
import random
from typing import Any

import pytest
from compiling import bits, both_ways, explained, mlp

import tinygrad_edu as torch
from tinygrad_edu import nn

CONSTANT = 0.5


def test_changes_between_calls_are_seen() -> None:
    torch.manual_seed(0)
    model = mlp()
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin)
    x = torch.randn(4, 6)

    def check() -> None:
        for _ in range(3):
            found = []
            for run, owner in ((model, model), (compiled, twin)):
                torch.manual_seed(1)
                owner.zero_grad()
                given = x.clone()
                y = run(given)
                if y.requires_grad:
                    y.sum().backward()
                found.append([bits(y), y.requires_grad,
                              *[None if p.grad is None else bits(p.grad)
                                for p in owner.parameters()]])  # fmt: skip
            assert found[0] == found[1], explained(compiled)

    def both(change: Any) -> None:
        for one in (model, twin):
            torch.manual_seed(9)
            change(one)

    check()
    both(lambda m: m.eval())
    check()
    with torch.no_grad():
        check()
    both(lambda m: m[0].weight.requires_grad_(False))
    check()
    both(lambda m: m.train())
    check()
    other = mlp().state_dict()
    both(lambda m: m.load_state_dict(other))
    check()
    both(lambda m: setattr(m[3], "weight", nn.Parameter(torch.randn(9, 9))))
    check()
    both(lambda m: setattr(m[5].weight, "data", torch.randn(3, 9)))
    check()
    both(lambda m: setattr(m[2], "p", 0.6))
    check()
    both(lambda m: m.__setitem__(1, nn.Sigmoid()))
    check()
    both(lambda m: m[0].weight.requires_grad_(True))
    check()
    x = torch.randn(7, 6)
    check()
    x = torch.randn(6, 7).T
    check()
    both(lambda m: m.double())
    x = x.double()
    check()
    both(lambda m: m[0].register_forward_hook(lambda mod, args, y: y * 2))
    check()
    with torch.autocast("cpu"):
        check()


def test_python_numbers_and_globals_are_guarded() -> None:
    scale = [1.0]
    state = {"power": 2}

    def function(x: Any, shift: float = 0.0) -> Any:
        return x ** state["power"] * scale[0] + shift + CONSTANT

    compiled, x = torch.compile(function), torch.arange(3.0)
    for number in (1.0, 2.0, -0.0, 0.0):
        scale[0] = number
        for _ in range(3):
            assert bits(compiled(x)) == bits(function(x))
    for power in (2, 3):
        state["power"] = power
        for _ in range(3):
            assert bits(compiled(x, shift=power)) == bits(function(x, shift=power))
    try:
        for number in (1.0, 5.0):
            globals()["CONSTANT"] = number
            for _ in range(3):
                assert bits(compiled(x)) == bits(function(x))
    finally:
        globals()["CONSTANT"] = 0.5


def test_an_argument_twice_and_a_parameter_as_argument() -> None:
    def product(a: Any, b: Any) -> Any:
        return a * b.exp()

    compiled = torch.compile(product)
    x, y = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    for a, b in [(x, y), (x, x), (x, y), (x, x.detach()), (y, y)] * 4:
        found = []
        for run in (product, compiled):
            x.grad = y.grad = None
            run(a, b).sum().backward()
            found.append([None if t.grad is None else bits(t.grad) for t in (x, y)])
        assert found[0] == found[1]
    layer = nn.Linear(3, 3)
    run = torch.compile(layer)
    for given_ in [torch.randn(3, 3), layer.weight, torch.randn(3, 3, requires_grad=True)] * 4:
        assert bits(run(given_)) == bits(layer(given_))


def _prints(x: Any) -> Any:
    print(end="")
    return x * 2


class Table(dict):  # type: ignore[type-arg]
    factor = 1.0


def test_state_in_unusual_places_is_guarded_or_refused() -> None:
    config, weight, ticks = Table(a=1.0), torch.ones(2), iter(range(100))
    weight.tag = 1.0

    class Holder:
        factor = 1.0

    holder = Holder()

    def reads_all(x: Any) -> Any:
        scale = config["a"] * config.factor * weight.tag * holder.factor
        return x * scale * weight if not weight.requires_grad else x - scale

    def ticking(x: Any) -> Any:
        return x + next(ticks)

    def change_nothing() -> None: ...

    def change_weight() -> None:
        nonlocal weight
        weight = torch.full((2,), 3.0)
        weight.tag = 2.0

    changes = [
        change_nothing, lambda: config.update(a=2.0), lambda: setattr(config, "factor", 5.0),
        lambda: setattr(weight, "tag", 7.0), lambda: setattr(Holder, "factor", 11.0),
        lambda: setattr(holder, "factor", 13.0), change_weight,
        lambda: weight.requires_grad_(),
    ]  # fmt: skip
    compiled, x = torch.compile(reads_all), torch.arange(2.0)
    for change in changes:
        change()
        for _ in range(3):
            assert bits(compiled(x)) == bits(reads_all(x)), explained(compiled)
    run = torch.compile(ticking)
    assert [run(torch.zeros(1)).item() for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    shown = torch.compile(_prints)
    for _ in range(3):
        shown(x)
    assert "calls print" in explained(shown)


def test_a_view_from_outside_may_get_another_history() -> None:
    def script(compile: Any) -> list[Any]:
        w = torch.randn(4, 3, requires_grad=True)
        base = w * 2
        view = base[1:3]
        run, found = compile(lambda x: (x * view).sum()), []
        for i in range(12):
            if i in (5, 9):
                base.mul_(1.5)
            w.grad = None
            y = run(torch.full((3,), i + 1.0))
            y.backward(retain_graph=True)
            found.append((bits(y), bits(w.grad)))
        return found

    both_ways(script)


@dataclasses.dataclass
class Config:
    scale: float = 1.0


config = Config()


@functools.lru_cache
def cached(k: float) -> float:
    return k * config.scale


class Reader(nn.Module):
    """Each method reads one thing that a recording cannot see."""

    missing: Any

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.config, self.queue = nn.Linear(3, 3), config, collections.deque([1.0])
        self.table, self.layers = {"a": torch.ones(3)}, [nn.Linear(3, 3)]
        self.schedule, self.i, self.random = [1.0, 2.0], 0, random.Random(0)

    def attribute_of_object(self, x: Any) -> Any:
        return self.layer(x) * self.config.scale

    def element_of_deque(self, x: Any) -> Any:
        return self.layer(x) * self.queue[0]

    def draw(self, x: Any) -> Any:
        return self.layer(x) * self.random.random()

    def element_of_list(self, x: Any) -> Any:
        return self.layer(x) * self.schedule[self.i]

    def tensor_in_table(self, x: Any) -> Any:
        return self.layer(x) * self.table["a"]

    def layer_in_list(self, x: Any) -> Any:
        return self.layers[0](x)

    @property
    def count(self) -> int:
        return self.i + 1

    def by_property(self, x: Any) -> Any:
        return x * self.count

    def helper(self, k: float) -> float:
        return k * self.config.scale

    def by_method(self, x: Any) -> Any:
        return x * self.helper(2)

    def by_environment(self, x: Any) -> Any:
        return x * float(os.environ.get("A_SCALE", "1"))

    def by_cache(self, x: Any) -> Any:
        return x * cached(2)

    def by_lambda(self, x: Any) -> Any:
        return (lambda y: y * self.i)(x)

    def by_comprehension(self, x: Any) -> Any:
        return sum([x * k for k in self.schedule if k > self.i])

    def by_getattr(self, x: Any) -> Any:
        return x * getattr(self, "i")  # noqa: B009

    def by_gradient(self, x: Any) -> Any:
        return x * (self.layer.weight.grad is None)

    def by_absence(self, x: Any) -> Any:
        try:
            return x * self.missing
        except AttributeError:
            return x * 3

    def by_mode(self, x: Any) -> Any:
        return x * (2 if self.training else 3) * (5 if torch.is_grad_enabled() else 7)

    def by_fill(self, x: Any) -> Any:
        return x + torch.zeros(3).fill_(self.i)

    def by_tensor(self, x: Any) -> Any:
        return x + torch.tensor([1.0, 2.0, 3.0]) * self.i + torch.as_tensor(x)


CHANGES: list[Any] = [
    lambda m: None,
    lambda m: setattr(config, "scale", 2.0),
    lambda m: m.queue.appendleft(7.0),
    lambda m: setattr(m, "i", 1),
    lambda m: m.table.update(a=torch.full((3,), 4.0)),
    lambda m: m.layers.__setitem__(0, nn.Linear(3, 3)),
    lambda m: (os.environ.update(A_SCALE="3"), cached.cache_clear()),
    lambda m: setattr(m, "missing", 9),
    lambda m: setattr(m.layer.weight, "grad", torch.ones(3, 3)),
    lambda m: m.eval(),
    lambda m: m.schedule.append(5.0),
    lambda m: m.schedule.__setitem__(1, 9.0),
]


@pytest.mark.parametrize("name", [n for n in vars(Reader) if n[0] != "_" and n not in (
    "count", "helper", "missing")])  # fmt: skip
def test_no_state_is_stale(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SCALE", "1")
    monkeypatch.setattr(config, "scale", 1.0)
    cached.cache_clear()
    changes = [
        *CHANGES,
        lambda m: monkeypatch.setattr(Reader, "helper", lambda self, k: k * 100),
        lambda m: monkeypatch.setattr(Reader, "count", property(lambda self: 50)),
    ]
    torch.manual_seed(0)
    model, x = Reader(), torch.randn(2, 3)
    function = getattr(model, name)
    compiled = torch.compile(function)
    for change in changes:
        change(model)
        for _ in range(3):
            before = model.random.getstate()
            expected = function(x)
            model.random.setstate(before)
            assert bits(compiled(x)) == bits(expected), explained(compiled)


def test_an_attribute_of_a_list_is_guarded_whatever_its_name() -> None:
    class Scales(list[float]):
        plain = leaf = 0.0

    scales = Scales([2.0])
    scales.plain = scales.leaf = 1.0

    @torch.compile
    def scaled(x: torch.Tensor) -> torch.Tensor:
        return x * scales[0] * scales.plain + scales.leaf

    for name in ("plain", "leaf"):
        for _ in range(3):
            scaled(torch.ones(2))
        setattr(scales, name, 5.0)
        assert scaled(torch.ones(2)).tolist() == [2.0 * scales.plain + scales.leaf] * 2
