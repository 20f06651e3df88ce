"""`torch.compile`: the same numbers, bit for bit, and a reason where nothing is recorded."""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import importlib.util
import math
import os
import pathlib
import pickle
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.engine import tree
from tinygrad_edu.nn import functional as F


def explained(compiled: Any) -> str:
    return torch.compiler.explain(compiled)


def recorded(compiled: Any) -> bool:
    text = explained(compiled)
    return "recorded:" in text and "runs as it is" not in text


def bits(t: Any) -> tuple[Any, ...]:
    x = t.array
    return x.shape, x.dtype, x.strides, x.tobytes()


def same_runs(model: Any, *args: Any, calls: int = 4, loss: Any = None) -> Any:
    """Run a model and its compiled twin: equal results and gradients, bit for bit."""
    model.zero_grad()
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin)
    for call in range(calls):
        found = []
        for run, owner in ((model, model), (compiled, twin)):
            torch.manual_seed(call)
            given = [a.detach().clone().requires_grad_(a.requires_grad) for a in args]
            y = run(*given)
            y = tree.flatten(y)
            flat = [t for t in y if t is not None and t.requires_grad]
            if flat:
                total = sum([(t * t.detach().cos()).sum() for t in flat])
                total.backward()
            leaves = [*given, *owner.parameters()]
            found.append([*map(bits, [t for t in y if t is not None]),
                          *[None if p.grad is None else bits(p.grad) for p in leaves],
                          torch.get_rng_state().array.tobytes()])  # fmt: skip
        assert found[0] == found[1], f"call {call}\n{explained(compiled)}"
    return compiled


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, how: str, p: float) -> None:
        super().__init__()
        self.heads, self.how, self.p = heads, how, p
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop = nn.Dropout(p)
        self.register_buffer("mask", torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16))

    def forward(self, x: Any) -> Any:
        n, t, c = x.size()
        q, k, v = self.qkv(x).split(c, dim=2)
        q, k, v = [a.view(n, t, self.heads, c // self.heads).transpose(1, 2) for a in (q, k, v)]
        if self.how == "fused":
            p = self.p if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        else:
            scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            scores = scores.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
            y = self.drop(F.softmax(scores, dim=-1)) @ v
        return self.out(y.transpose(1, 2).contiguous().view(n, t, c))


class Block(nn.Module):
    def __init__(self, width: int, how: str, p: float) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, 2, how, p)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.Dropout(p)
        )

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    """Tied weights: one tensor gets gradients from both ends."""

    def __init__(self, how: str = "fused", p: float = 0.1, layers: int = 2) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(11, 8), nn.Embedding(16, 8)
        self.blocks = nn.ModuleList([Block(8, how, p) for _ in range(layers)])
        self.ln, self.head = nn.LayerNorm(8), nn.Linear(8, 11, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, idx: Any, targets: Any = None) -> Any:
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device)
        x = self.wte(idx) + self.wpe(pos)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.ln(x))
        if targets is None:
            return logits, None
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
        return logits, loss


def mlp(p: float = 0.2) -> Any:
    return nn.Sequential(
        nn.Linear(6, 9), nn.ReLU(), nn.Dropout(p), nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 3)
    )


def convnet() -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.GELU(),
        nn.Flatten(), nn.LazyLinear(5),
    )  # fmt: skip


LAYERS: dict[str, Any] = {
    "linear": lambda: nn.Linear(6, 4),
    "relu": lambda: nn.ReLU(),
    "gelu": lambda: nn.GELU(),
    "gelu tanh": lambda: nn.GELU("tanh"),
    "silu": lambda: nn.SiLU(),
    "elu": lambda: nn.ELU(),
    "sigmoid": lambda: nn.Sigmoid(),
    "leaky": lambda: nn.LeakyReLU(0.3),
    "softplus": lambda: nn.Softplus(),
    "prelu": lambda: nn.PReLU(),
    "hardtanh": lambda: nn.Hardtanh(),
    "layer norm": lambda: nn.LayerNorm(6),
    "rms norm": lambda: nn.RMSNorm(6),
    "softmax": lambda: nn.Softmax(-1),
    "log softmax": lambda: nn.LogSoftmax(-1),
    "dropout": lambda: nn.Dropout(0.3),
    "identity": lambda: nn.Identity(),
}


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(set(LAYERS) - {"linear"})), min_size=1, max_size=5),
    rows=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    training=st.booleans(),
    residual=st.booleans(),
    wants=st.booleans(),
    turned=st.booleans(),
    double=st.booleans(),
)
def test_any_stack_of_layers_is_the_same_compiled(
    names: list[str], rows: list[int], training: bool, residual: bool, wants: bool, turned: bool,
    double: bool,
) -> None:  # fmt: skip
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([LAYERS[name]() for name in names])
            self.residual = residual

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x) + x if self.residual else layer(x)
            return x

    torch.manual_seed(0)
    model = Stack().train(training)
    x = torch.randn(*rows, 6)
    if turned:
        x = torch.randn(6, *rows).movedim(0, -1)
    if double:
        model, x = model.double(), x.double()
    same_runs(model, x.requires_grad_(wants))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_recorded(name: str) -> None:
    compiled = same_runs(LAYERS[name](), torch.randn(4, 6, requires_grad=True))
    assert recorded(compiled), explained(compiled)


@pytest.mark.parametrize("how", ["fused", "by hand"])
@pytest.mark.parametrize("training", [True, False])
def test_gpt_is_recorded(how: str, training: bool) -> None:
    torch.manual_seed(1)
    model = GPT(how).train(training)
    idx = torch.randint(0, 11, (3, 7))
    compiled = same_runs(model, idx, idx)
    assert recorded(compiled), explained(compiled)
    assert recorded(same_runs(model, idx))


def test_convnet_is_recorded() -> None:
    model = convnet()
    model(torch.randn(2, 1, 8, 8))
    compiled = same_runs(model, torch.randn(2, 1, 8, 8))
    assert recorded(compiled), explained(compiled)


@pytest.mark.parametrize(
    "model",
    [
        lambda: nn.LSTM(6, 5), lambda: nn.GRU(6, 5, 2, dropout=0.2),
        lambda: nn.MultiheadAttention(6, 2), lambda: nn.TransformerEncoderLayer(6, 2, 12),
        lambda: nn.BatchNorm1d(4), lambda: nn.BatchNorm1d(4).eval(), lambda: nn.GroupNorm(2, 4),
        lambda: nn.InstanceNorm1d(4), lambda: nn.AvgPool1d(2), lambda: nn.AdaptiveAvgPool1d(2),
        lambda: nn.Dropout1d(0.4), lambda: nn.Upsample(scale_factor=2), lambda: nn.Flatten(),
        lambda: nn.Conv1d(4, 3, 2), lambda: nn.AlphaDropout(0.2), lambda: nn.RReLU(),
        lambda: nn.ReLU(inplace=True), lambda: nn.Bilinear(6, 6, 2), lambda: nn.LazyLinear(3),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 2)),
    ],
)  # fmt: skip
def test_what_is_recorded_or_not_is_right(model: Any) -> None:
    torch.manual_seed(2)
    made, x = model(), torch.randn(2, 4, 6)
    args = {nn.MultiheadAttention: (x, x.clone(), x.clone()), nn.Bilinear: (x, x.clone())}
    kind = type(made)
    if kind is nn.LazyLinear:
        made(x)
    same = [p.detach().clone() for p in made.parameters()]
    same_runs(made, *args.get(kind, (x,)))
    assert len(same) == len(list(made.parameters()))


@pytest.mark.parametrize("kind", ["mlp", "gpt"])
def test_a_hundred_steps_have_equal_losses(kind: str) -> None:
    found = []
    for compiled in (False, True):
        torch.manual_seed(4)
        model = mlp() if kind == "mlp" else GPT()
        run = torch.compile(model) if compiled else model
        opt = torch.optim.AdamW(run.parameters(), lr=1e-2)
        losses = []
        for step in range(100):
            n = 5 if step % 10 == 9 else 8  # the last batch of an epoch is smaller
            opt.zero_grad()
            if kind == "mlp":
                loss = F.cross_entropy(run(torch.randn(n, 6)), torch.randint(0, 3, (n,)))
            else:
                idx = torch.randint(0, 11, (n, 6))
                loss = run(idx, idx)[1]
            loss.backward()
            nn.utils.clip_grad_norm_(run.parameters(), 1.0)
            opt.step()
            losses.append(loss.item())
        if compiled:
            assert recorded(run), explained(run)
        found.append(losses)
    assert found[0] == found[1]


# ---- guards


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


CONSTANT = 0.5


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


def test_two_calls_before_one_backward_add_in_the_same_order() -> None:
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = GPT(p=0.0)
        run = torch.compile(model) if compiled else model
        for _ in range(5):
            model.zero_grad()
            a, b = torch.randint(0, 11, (2, 5)), torch.randint(0, 11, (2, 5))
            (run(a, a)[1] + run(b, b)[1] * 0.3 + (model.wte.weight**2).sum()).backward()
        found.append([bits(p.grad) for p in model.parameters()])
    assert found[0] == found[1]


def test_gradients_of_two_leaves_are_two_arrays() -> None:
    compiled = torch.compile(lambda a, b: (a + b).exp())
    a, b = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    for call in range(1, 7):
        compiled(a, b).sum().backward()
        assert a.grad.tolist() == b.grad.tolist() == [call] * 3
    a.grad.zero_()
    assert b.grad.tolist() == [6] * 3


# ---- what is not recorded


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
          _custom, _hooked, _full, _viewed]  # fmt: skip


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


def test_written_results_and_second_walks_are_noticed() -> None:
    def function(x: Any) -> Any:
        return (x * 2).exp()

    compiled = torch.compile(function)
    x = torch.randn(3, requires_grad=True)
    for _ in range(3):
        y = compiled(x)
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    y = compiled(x)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        y.sum().backward()
    for run in (function, compiled):
        (g,) = torch.autograd.grad(run(x).sum(), x, create_graph=True)
        assert torch.autograd.grad(g.sum(), x)[0].tolist() == (4 * function(x)).tolist()
    y = compiled(x)
    assert torch.autograd.grad(compiled(x).sum(), x)[0].tolist() == (2 * y).tolist()


# ---- forms


def test_forms_of_compile() -> None:
    model = mlp(0.0)
    compiled = torch.compile(model, mode="max-autotune", fullgraph=True, dynamic=False)
    assert compiled._orig_mod is model and compiled.training
    assert [n for n, _ in compiled.named_parameters()][0] == "_orig_mod.0.weight"
    assert compiled.eval().training is False and model.training is False
    compiled.train()
    x = torch.randn(2, 6)
    for _ in range(4):
        assert bits(compiled(x)) == bits(model(x))
    assert recorded(compiled)
    twin = pickle.loads(pickle.dumps(compiled))
    assert bits(twin(x)) == bits(model(x))
    assert torch.compile(compiled) is compiled and torch.compile(model, disable=True) is model
    assert torch.compiler.disable(compiled) is model

    inside = mlp(0.0)
    other = copy.deepcopy(inside)
    inside.compile()
    for _ in range(4):
        assert bits(inside(x)) == bits(other(x))
    assert recorded(inside), explained(inside)
    assert list(inside.state_dict()) == list(other.state_dict())
    changed = copy.deepcopy(inside)
    with torch.no_grad():
        changed[0].weight.zero_()
    for _ in range(4):
        assert bits(inside(x)) == bits(other(x)) != bits(changed(x))

    @torch.compile(backend="eager", options={"a": 1})
    def with_options(x: Any) -> Any:
        return x + 2

    assert with_options(torch.ones(1)).tolist() == [3] and with_options.__name__ == "with_options"


def test_refusals() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="mode or options"):
        torch.compile(model, mode="default", options={})
    with pytest.raises(RuntimeError, match="int"):
        torch.compile(3)
    with pytest.raises(RuntimeError, match="Unrecognized mode"):
        torch.compile(model, mode="fastest")
    with pytest.raises(RuntimeError, match="backend"):
        torch.compile(model, backend="nothing")


def test_results_of_all_shapes() -> None:
    weight = torch.randn(3, requires_grad=True)

    def function(x: Any, flag: bool) -> Any:
        a, b = (x * weight).chunk(1)[0], x.sum()
        return {"a": a, "b": [b, None, 3, "text"], "same": x, "weight": weight, "flag": flag}

    compiled = torch.compile(function)
    for _ in range(4):
        x = torch.randn(2, 3)
        found = compiled(x, True)
        assert (
            found["same"] is x and found["weight"] is weight and found["b"][1:] == [None, 3, "text"]
        )
        assert bits(found["a"]) == bits(function(x, True)["a"])
        weight.grad = None
        found["a"].sum().backward()
        assert bits(weight.grad) == bits(x.sum(0))


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


# ---- Python's state, wherever it may be


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


# ---- the examples


def example(name: str) -> Any:
    """An example script, as a module."""
    folder = pathlib.Path(__file__).parent.parent / "examples"
    spec = importlib.util.spec_from_file_location(f"example_{name}", folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        spec.loader.exec_module(module)
    return module


MODELS: dict[str, Any] = {
    "01_mlp_digits": lambda m: (m.MLP(64, 16, 10), torch.rand(5, 64)),
    "04_char_gpt": lambda m: (m.GPT(11, 8, 2, 2, 8, 0.1), torch.randint(0, 11, (2, 8))),
    "05_encoder_classifier": lambda m: (m.RowReader(width=8, heads=2), torch.rand(3, 64)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_models_of_the_examples_are_recorded(name: str, training: bool) -> None:
    torch.manual_seed(0)
    model, x = MODELS[name](example(name))
    compiled = same_runs(model.train(training), x)
    assert recorded(compiled), explained(compiled)
    with torch.no_grad():
        same_runs(model, x)
