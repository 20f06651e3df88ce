"""`torch.compile` of functions and models: the same numbers, bit for bit, and torch's forms."""

from __future__ import annotations

import copy
import importlib.util
import pathlib
import pickle
from typing import Any

import pytest
from compiling import GPT, bits, both_ways, explained, mlp, recorded, same_runs
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F


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


@pytest.mark.parametrize("name", [*sorted({*LAYERS} - {"identity"}), "gpt", "lstm"])
def test_second_derivatives_and_hooks_go_through_a_recording(name: str) -> None:
    def script(compile: Any) -> list[Any]:
        make: Any = {"gpt": GPT, "lstm": lambda: nn.LSTM(6, 5)}.get(name) or LAYERS[name]
        model = make().double()
        x = torch.randint(0, 11, (2, 6)) if name == "gpt" else torch.randn(4, 2, 6).double()
        run, found = compile(model), []
        leaves = [*model.parameters()] or [x.requires_grad_()]
        for _ in range(4):
            y = run(x)
            y = y[0] if isinstance(y, tuple) else y
            names = [y.grad_fn.name(), *[fn.name() for fn, _ in y.grad_fn.next_functions if fn]]
            y.register_hook(lambda g: g * 2)
            gs = torch.autograd.grad(y.cos().sum(), leaves, create_graph=True, allow_unused=True)
            total = sum([(g * g).sum() for g in gs if g is not None and g.requires_grad])
            if isinstance(total, torch.Tensor):
                total.backward()
            found.append([names, [bits(g) for g in gs], [bits(t.grad) for t in leaves]])
        return found

    both_ways(script)


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
    def script(compile: Any) -> list[float]:
        run = compile(mlp() if kind == "mlp" else GPT())
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
        return losses

    both_ways(script)


def test_two_calls_before_one_backward_add_in_the_same_order() -> None:
    def script(compile: Any) -> list[Any]:
        model = GPT(p=0.0)
        run = compile(model)
        for _ in range(5):
            model.zero_grad()
            a, b = torch.randint(0, 11, (2, 5)), torch.randint(0, 11, (2, 5))
            (run(a, a)[1] + run(b, b)[1] * 0.3 + (model.wte.weight**2).sum()).backward()
        return [bits(p.grad) for p in model.parameters()]

    both_ways(script)


def test_gradients_of_two_leaves_are_two_arrays() -> None:
    compiled = torch.compile(lambda a, b: (a + b).exp())
    a, b = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    for call in range(1, 7):
        compiled(a, b).sum().backward()
        assert a.grad.tolist() == b.grad.tolist() == [call] * 3
    a.grad.zero_()
    assert b.grad.tolist() == [6] * 3


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


def test_a_result_in_another_layout_than_it_is_computed() -> None:
    compiled = torch.compile(lambda x: torch.relu(x.expand(4, 3)))
    x = torch.randn(1, 3)
    expected = bits(torch.relu(x.expand(4, 3)))
    assert [bits(compiled(x)) for _ in range(4)] == [expected] * 4
    assert "stored(" in explained(compiled)


def test_hooks_of_a_leaf_and_of_its_node_in_a_replay() -> None:
    """The node's hook is given the gradient as the tensor's hook has left it."""

    def heard(compiled: bool) -> list[float]:
        w, told = torch.ones(1, requires_grad=True), []
        w.register_hook(lambda g: g * 3)
        node = (w * 1).grad_fn.next_functions[0][0]
        node.register_hook(lambda inputs, outputs: told.append(outputs[0].item()))

        def step(x: torch.Tensor) -> None:
            (w * x).sum().backward()

        run = torch.compile(step, fullgraph=True) if compiled else step
        for x in (1.0, 2.0, 4.0):
            run(torch.tensor([x]))
        assert not compiled or "land" in torch.compiler.explain(run)
        return [*told, w.grad.item()]

    assert heard(True) == heard(False) == [3.0, 6.0, 12.0, 21.0]
