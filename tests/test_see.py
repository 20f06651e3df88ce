"""`tinygrad_edu.see`: what pictures say is what the engine did."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as torch
from tinygrad_edu import nn, see
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.see.boxes import boxes
from tinygrad_edu.see.layout import arrange
from tinygrad_edu.see.reading import read
from tinygrad_edu.testing.formulas import formula

SVG = "{http://www.w3.org/2000/svg}"


class Block(nn.Module):
    """Of a ResNet."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1:
            shortcut = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(after))

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


def resnet() -> Any:
    """A small one of 18 layers."""
    sizes = (4, 1), (8, 2), (16, 2), (32, 2)
    layers, before = [], 4
    for after, stride in sizes:
        layers.append(nn.Sequential(Block(before, after, stride), Block(after, after, 1)))
        before = after
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *layers, *ends)


def mlp() -> Any:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


MODELS = {
    "mlp": (mlp, (2, 4)),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
    "lstm": (lambda: nn.LSTM(4, 3, num_layers=2), (5, 2, 4)),
    "resnet": (resnet, (1, 3, 16, 16)),
}
models = pytest.mark.parametrize("name", MODELS)


def run(name: str) -> tuple[Any, Any]:
    make, shape = MODELS[name]
    model = make()
    y = model(torch.randn(shape))
    return model, (y[0] if isinstance(y, tuple) else y).square().mean()


def views(drawing: Any) -> list[ET.Element]:
    return list(ET.fromstring(str(drawing)).findall(f"{SVG}g"))


# ---- the layout


@given(st.data())
def test_boxes_do_not_overlap_and_lines_go_down(data):
    count = data.draw(st.integers(1, 12))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = list(
        {(min(p), max(p)) for p in data.draw(st.lists(pairs, max_size=25)) if p[0] != p[1]}
    )
    sizes = data.draw(st.lists(st.tuples(*[st.floats(5, 90)] * 2), min_size=count, max_size=count))
    found = arrange(sizes, edges)
    for i in range(count):
        (x, y), (w, h) = found.corners[i], sizes[i]
        assert -1e-6 <= x and x + w <= found.width + 1e-6
        assert 0 <= y and y + h <= found.height + 1e-6
        for j in range(i):
            (u, v), (a, b) = found.corners[j], sizes[j]
            assert x + w <= u + 1e-6 or u + a <= x + 1e-6 or y + h <= v + 1e-6 or v + b <= y + 1e-6
    for (a, b), bends in zip(edges, found.bends, strict=True):
        heights = [found.corners[a][1], *[y for _, y in bends], found.corners[b][1]]
        assert heights == sorted(heights) and heights[0] < heights[-1]


def test_a_lattice_has_no_crossings():
    """Two chains side by side, given in a confusing order, are not drawn across each other."""
    found = arrange([(10, 10)] * 6, [(0, 3), (1, 2), (2, 5), (3, 4)])
    order = [sorted(pair, key=lambda i: found.corners[i][0]) for pair in ((0, 1), (2, 3), (4, 5))]
    assert order in ([[0, 1], [3, 2], [4, 5]], [[1, 0], [2, 3], [5, 4]])


# ---- the graph


@models
@pytest.mark.parametrize("depth", [0, 1, 99, None])
def test_every_operation_is_in_one_box(name, depth):
    model, loss = run(name)
    drawing = see.graph(loss, model, depth=depth)
    shown = views(drawing)[0]
    found: list[int] = []
    for box in shown.iter(f"{SVG}g"):
        if "box" in box.get("class", "").split():
            found += map(int, box.get("data-nodes", "").split())
    assert sorted(found) == [o.number for o in drawing.tape.operations]


@models
def test_all_lines_are_there(name):
    model, loss = run(name)
    drawing = see.graph(loss, model, depth=99)
    key_of = {}
    for box in views(drawing)[0].iter(f"{SVG}g"):
        if "box" in box.get("class", "").split():
            key_of |= {int(n): box.get("data-key") for n in box.get("data-nodes", "").split()}
    expected = {
        (key_of[below.number], key_of[one.number])
        for one in drawing.tape.operations
        for below in one.inputs
    }
    lines = {(p.get("data-from"), p.get("data-to")) for p in views(drawing)[0].iter(f"{SVG}path")}
    sources = {a for a, b in expected if a != b}
    assert {a for a, _ in lines} == sources
    assert lines >= {(a, b) for a, b in expected if a != b and one_user(a, expected)}


def one_user(source: str, pairs: set[tuple[str, str]]) -> bool:
    return len({b for a, b in pairs if a == source and a != b}) == 1


@models
def test_lines_begin_and_end_at_borders(name):
    """Of a box, or of a frame that they pass; a line of a folded module's view may go outside."""
    model, loss = run(name)
    view = views(see.graph(loss, model))[0]
    borders = []
    for box in view.iter(f"{SVG}g"):
        rect = box.find(f"{SVG}rect")
        if box.get("data-key") and rect is not None:
            x, y, w, h = [float(rect.get(k, "nan")) for k in ("x", "y", "width", "height")]
            edges = y, y + h, y + 24, y + h - 12  # the latter where lines come out of a frame
            borders.append((x, x + w, {round(e + d) for e in edges for d in (-1, 0, 1)}))
    for path in view.iter(f"{SVG}path"):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d", ""))]
        for x, y in (numbers[:2], numbers[-2:]):
            assert any(a - 1 <= x <= b + 1 and round(y) in ys for a, b, ys in borders)


def test_names_shapes_and_sizes_of_gradients():
    model = mlp()
    loss = model(torch.randn(2, 4)).square().sum()
    text = str(see.graph(loss, model))
    assert "weight 8×4<" in text and "keeps" in text and "|grad|" not in text
    loss.backward()
    text = str(see.graph(loss, model))
    norm = math.sqrt(float(model[0].weight.grad.square().sum()))
    assert f"weight 8×4  |grad| {norm:.2g}<" in text and "freed" in text


def test_leaves_that_are_no_parameters_are_drawn():
    a = torch.randn(3, requires_grad=True)
    b = torch.randn(3, requires_grad=True)
    shown = views(see.graph((a * b + a).sum()))[0]
    leaves = [b.get("data-key") for b in shown.iter(f"{SVG}g") if "leaf" in b.get("class", "")]
    assert len(leaves) == 2
    assert sum(p.get("data-from") in leaves for p in shown.iter(f"{SVG}path")) == 3


def test_bytes_are_those_that_live_for_the_backward_pass_alone():
    """Of x @ w, exp, and a product with a view: every memory once, no parameter."""
    model = nn.Linear(4, 8, bias=False)
    x = torch.randn(2, 4)
    h = model(x)
    y = h.exp()
    loss = (y * y.t().t()).sum()
    tape = read(loss, model)
    kept = {o.name: o.bytes for o in tape.operations}
    assert kept["linear"] == 2 * 4 * 4 and kept["exp"] == 2 * 8 * 4 and kept["mul"] == 0
    assert tape.bytes == 32 + 64


def test_a_tensor_without_a_graph_is_refused():
    with pytest.raises(ValueError, match="no graph"):
        see.graph(torch.ones(2))
    with pytest.raises(ValueError, match="no graph"):
        see.graph(torch.ones(2, requires_grad=True))


def test_a_module_called_twice_has_two_frames():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))

        def forward(self, x: Any) -> Any:
            return self.inner(self.inner(x).relu())

    model = Twice()
    with see.watch(model):
        loss = model(torch.randn(2, 3)).sum()
    found = boxes(read(loss, model), model)
    assert [b.title.split("  ")[0] for b in found] == ["inner", "relu", "inner", "sum"]


# ---- watch


@models
def test_watch_knows_the_modules_that_parameters_tell_of(name):
    make, shape = MODELS[name]
    model = make()
    with see.watch(model):
        y = model(torch.randn(shape))
    loss = (y[0] if isinstance(y, tuple) else y).sum()
    tape = read(loss, model)
    assert tape.exact
    for one in tape.operations:
        for parameter, _ in one.leaves:
            assert parameter.rpartition(".")[0] == one.path or parameter.startswith(one.path)


def test_watch_leaves_everything_as_it_was():
    outside = state.mode
    model = mlp()
    with pytest.raises(RuntimeError), see.watch(model):
        model(torch.ones(2, 5))
    assert state.mode is outside
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not hasattr(model(torch.ones(2, 4)).node, "module")


# ---- the walk


@models
def test_the_walk_adds_the_gradients_that_backward_adds(name):
    torch.manual_seed(1)
    model, loss = run(name)
    walk = see.backward(loss, model, retain_graph=True)
    seen = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    loss.backward()
    for n, p in model.named_parameters():
        assert torch.equal(seen[n], p.grad), n
        shares = [s for step in walk.steps for s in step.shares if s.name == f"{n}.grad"]
        assert [s.added for s in shares] == [k > 0 for k in range(len(shares))]
        if len(shares) == 1:
            norm = math.sqrt(float(p.grad.double().square().sum()))
            assert math.isclose(shares[0].gradient.norm, norm, rel_tol=1e-5), n


def test_what_arrives_is_what_hooks_see():
    a = torch.randn(3, 4, requires_grad=True)
    b = torch.randn(4, requires_grad=True)
    c = a * b
    d = (c + a).relu() * c
    told: dict[int, Any] = {}
    for t in (c, d):
        t.register_hook(lambda g, n=t.node.number: told.__setitem__(n, g.clone()))
    walk = see.backward(d.sum())
    assert [s.number for s in walk.steps] == sorted([s.number for s in walk.steps], reverse=True)
    for step in walk.steps:
        if step.number in told:
            (seen,) = step.arrives
            expected = told[step.number].double().norm().item()
            assert seen is not None and math.isclose(seen.norm, expected, rel_tol=1e-6)
    to_b = next(s for step in walk.steps for s in step.shares if s.name == "x1.grad")
    assert to_b.summed and to_b.gradient.shape == "4"
    np.testing.assert_allclose(to_b.gradient.values, b.grad.numpy(), rtol=1e-6)


def test_what_is_freed():
    outside = state.mode
    x = torch.ones(1000, requires_grad=True)
    loss = x.exp().sum()
    assert all(s.freed == 0 for s in see.backward(loss, retain_graph=True).steps)
    assert {s.name: s.freed for s in see.backward(loss).steps} == {"sum": 0, "exp": 4000}
    assert state.mode is outside


def test_outputs_of_one_operation_arrive_apart():
    x = torch.arange(6.0, requires_grad=True)
    first, _, last = x.split(2)
    walk = see.backward((first * 2 + last).sum())
    (step,) = [s for s in walk.steps if s.name == "split"]
    assert [g and g.values for g in step.arrives] == [[2.0, 2.0], None, [1.0, 1.0]]


def test_formulas_are_those_of_the_source():
    import tinygrad_edu.names.further  # noqa: F401  all operations

    made = [op.forward for op in Primitive.everyone]
    files = {f: f.__code__.co_filename for f in made if f.__module__.startswith("tinygrad_edu")}
    ops = [op for op in Primitive.everyone if "doctest" not in files.get(op.forward, "doctest")]
    for op in ops:
        for rule in [*op.rules.values(), *([op.joint] if op.joint else [])]:
            assert not formula(rule).startswith(f"{rule.__name__}("), (op.name, formula(rule))
    assert formula(torch.mul.primitive.rules["a"]) == "g * b"
    one, other = lambda g, x: g + x, lambda g, x: g - x
    assert (formula(one), formula(other)) == ("g + x", "g - x")


# ---- tables


def test_summary_counts_what_there_is():
    model = resnet()
    found = see.summary(model, torch.randn(2, 3, 16, 16))
    assert found.total.parameters == sum(p.numel() for p in model.parameters())
    first = found.rows[1]
    assert first.multiply_adds == 2 * 4 * 14 * 14 * (3 * 9 + 1) and first.output == "2×4×14×14"
    assert found.total.multiply_adds == sum(r.multiply_adds for r in found.rows if "Conv" in r.kind
                                            or r.kind == "Linear")  # fmt: skip
    assert found.total.bytes == read(model(torch.randn(2, 3, 16, 16)), model).bytes
    assert "Block" in str(found)


def test_summary_agrees_with_torchinfo():
    torchinfo = pytest.importorskip("torchinfo")
    theirs = pytest.importorskip("torch")
    for make, shape in (
        (lambda n: n.Sequential(n.Linear(4, 8), n.ReLU(), n.Linear(8, 3, bias=False)), (5, 4)),
        (lambda n: n.Sequential(n.Conv2d(3, 8, 3, 2), n.ReLU(), n.Conv2d(8, 4, 3, groups=4)),
         (2, 3, 9, 9)),
    ):  # fmt: skip
        reference = torchinfo.summary(make(theirs.nn), input_size=shape, verbose=0, device="cpu")
        found = see.summary(make(nn), torch.randn(shape))
        assert found.total.parameters == reference.total_params
        assert found.total.multiply_adds == reference.total_mult_adds


def test_products_of_attention_and_recurrent_cells():
    found = see.summary(nn.LSTM(4, 3), torch.randn(5, 2, 4))
    assert found.total.multiply_adds == 5 * 2 * (12 * 4 + 12 + 12 * 3 + 12)
    q = torch.randn(2, 4, 5, 8)
    flat = nn.Module()
    flat.forward = lambda: nn.functional.scaled_dot_product_attention(q, q, q)  # type: ignore
    assert see.summary(flat).total.multiply_adds == 2 * 4 * 5 * 5 * (8 + 8)


def test_memory_at_its_peak():
    outside = state.mode
    w = torch.ones(1000, requires_grad=True)
    found = see.memory(lambda: (w * 2).exp().sin().sum().backward())
    by = dict(found.at_peak)
    assert found.peak == sum(by.values()) == max(
        a + b for a, b in zip(found.forward, found.backward, strict=True)
    )  # fmt: skip
    assert by["exp"] == 4000 and found.measured >= found.peak
    assert state.mode is outside


def test_memory_that_is_passed_on_is_counted_once():
    x = torch.ones(1000)
    assert see.memory(lambda: x.reshape(10, 100).t()).peak == 0
    assert see.memory(lambda: (x * 2).reshape(10, 100).t()).peak == 4000


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_what_multiplies_the_values(causal):
    seen = {}

    class Heads(nn.Module):
        def forward(self, x: Any) -> Any:
            q, k, v = x
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
            seen["y"] = y
            return y

    q, k, v = [torch.randn(2, 3, 5, 4) for _ in range(3)]
    (weights,) = see.attention(Heads(), (q, k, v), list("abcde"), sample=1).weights
    np.testing.assert_allclose(weights @ v.numpy()[1], seen["y"].numpy()[1], rtol=1e-4, atol=1e-6)


def test_attention_of_a_model_and_of_none():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    maps = see.attention(
        nn.TransformerEncoder(layer, 3), torch.randn(1, 4, 8), ["<", "a", "b", "&"]
    )
    assert [w.shape for w in maps.weights] == [(2, 4, 4)] * 3
    drawn = ET.fromstring(maps.svg())
    assert sum(r.find(f"{SVG}title") is not None for r in drawn.iter(f"{SVG}rect")) == 3 * 2 * 16
    with pytest.raises(ValueError, match="no attention"):
        see.attention(mlp(), torch.ones(1, 4))


def test_training_says_what_the_optimizer_did():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with see.training(model, optimizer, every=0) as watched:
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(torch.ones(4, 4)).square().mean()
            loss.backward()
            optimizer.step()
            watched(loss)
    weight = model[0].weight
    norm, ratio = watched.layers["0.weight"]
    assert math.isclose(norm, float(weight.grad.norm()), rel_tol=1e-5)
    before = weight.detach() + 0.1 * weight.grad
    assert math.isclose(ratio, 0.1 * norm / float(before.norm()), rel_tol=1e-4)
    assert watched.losses[-1] == loss.item() and "0.weight" in str(watched)
    steps = len(watched.norms)
    optimizer.step()
    assert len(watched.norms) == steps


def test_dead_units():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-100.0, 100.0, -100.0, 100.0]))
    with see.training(model, torch.optim.SGD(model.parameters(), lr=0.1), every=0) as watched:
        model(torch.randn(8, 2))
    assert watched.dead == {"1": 0.5}


def test_learning_rate_puts_everything_back():
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
    before = {n: p.clone() for n, p in model.state_dict().items()}
    x = torch.randn(32, 2)
    curve = see.learning_rate(model, [(x, (x[:, 0] > 0).long())], optimizer=optimizer, steps=60)
    assert all(torch.equal(before[n], p) for n, p in model.state_dict().items())
    assert optimizer.param_groups[0]["lr"] == 0.5 and not optimizer.state
    assert curve.rates[0] < curve.suggestion < 10 and "learning rate" in repr(curve)
    with pytest.raises(ValueError, match="no batches"):
        see.learning_rate(model, [])
    with pytest.raises(ValueError, match="low"):
        see.learning_rate(model, [], low=0)


@pytest.mark.parametrize("value", [
    torch.ones(0, 3), torch.tensor(2.5), torch.tensor([True, False]), torch.arange(5),
    torch.full((3, 40, 50), float("nan")), torch.tensor([float("inf"), -1.0]),
    torch.ones(3, dtype=torch.float16), torch.ones(20, 30).to(torch.bfloat16), np.ones(3),
])  # fmt: skip
def test_a_tensor_at_a_glance(value):
    found = see.tensor(value)
    assert str(found).startswith("×".join(map(str, value.shape)) or "()")
    assert "<svg" in found._repr_html_()


# ---- what it costs those who do not ask


def test_nothing_of_it_is_imported_unless_asked_for():
    code = (
        "import sys, tinygrad_edu as T; T.nn.Linear, T.optim.SGD;"
        "print([m for m in sys.modules if m.startswith('tinygrad_edu.see')]); T.see.graph"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_stays_small():
    from count_lines import PACKAGE, code_lines

    files = (PACKAGE / "see").glob("*.py")
    assert sum([code_lines(file.read_text()) for file in files]) <= 1500
