"""What torchviz and the tutorials' walks see: the names of nodes and their edges, as in torch."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

import tinygrad_edu as tg


def walk(y: Any, parameters: dict[str, Any]) -> list[str]:
    """Every edge of the graph of `y`, as torchviz meets them; a node met again has its number."""
    names = {id(p): name for name, p in parameters.items()}
    numbers: dict[int, int] = {}
    alive, lines = [], []  # nodes stay alive, so that no two have the same id

    def name(fn: Any) -> str:
        alive.append(fn)
        title = f"{type(fn).__name__}#{numbers.setdefault(id(fn), len(numbers))}"
        if hasattr(fn, "variable"):
            title += f" {names.get(id(fn.variable), '?')} {tuple(fn.variable.shape)}"
        return title

    def look(fn: Any) -> None:
        for below, _ in fn.next_functions:
            if below is not None:
                known = id(below) in numbers
                lines.append(f"{name(fn)} <- {name(below)}")
                if not known:
                    look(below)

    name(y.grad_fn)
    look(y.grad_fn)
    return lines


class Parts:
    """Models of `nn`, one of the two libraries'."""

    def __init__(self, lib: Any) -> None:
        self.lib, self.nn, self.F = lib, lib.nn, lib.nn.functional

    def mlp(self) -> Any:
        nn = self.nn
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2))

    def convnet(self) -> Any:
        nn = self.nn
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
        )  # fmt: skip

    def decoder(self) -> Any:
        nn = self.nn
        return nn.Sequential(
            nn.ConvTranspose2d(2, 4, 2, stride=2), nn.ELU(), nn.GroupNorm(2, 4), nn.AvgPool2d(2),
            nn.Upsample(scale_factor=2),  nn.PixelShuffle(2),
        )  # fmt: skip

    def lstm(self, **how: Any) -> Any:
        return self._net(self.nn.LSTM(4, 5, **how), lambda m, x: m(x)[0])

    def attention(self, fused: bool) -> Any:
        F, nn, lib = self.F, self.nn, self.lib
        model = nn.ModuleDict({"qkv": nn.Linear(8, 24), "out": nn.Linear(8, 8),
                               "norm": nn.LayerNorm(8)})  # fmt: skip

        def forward(m: Any, x: Any) -> Any:
            b, t, c = x.shape
            heads = m["qkv"](m["norm"](x)).split(c, dim=2)
            q, k, v = [z.view(b, t, 2, c // 2).transpose(1, 2) for z in heads]
            if fused:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                return m["out"](y.transpose(1, 2).reshape(b, t, c))
            a = (q @ k.transpose(-2, -1)) * 0.5
            a = a.masked_fill(lib.tril(lib.ones(t, t)) == 0, float("-inf"))
            y = F.softmax(a, dim=-1) @ v
            return x + m["out"](y.transpose(1, 2).contiguous().view(b, t, c))

        return self._net(model, forward)

    def embedding(self) -> Any:
        nn = self.nn
        return nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))

    def _net(self, inner: Any, forward: Callable[..., Any]) -> Any:
        outer = self.nn.Module()
        outer.inner = inner
        outer.forward = lambda x: forward(inner, x)
        return outer


CASES: dict[str, tuple[Callable[[Parts], Any], tuple[int, ...], str]] = {
    "mlp": (Parts.mlp, (3, 4), "mean"),
    "mlp, negative log-likelihood": (Parts.mlp, (3, 4), "nll_loss"),
    "mlp, cross-entropy": (Parts.mlp, (3, 4), "cross_entropy"),
    "convnet": (Parts.convnet, (2, 1, 12, 12), "cross_entropy"),
    "decoder": (Parts.decoder, (1, 2, 4, 4), "mean"),
    "lstm": (Parts.lstm, (6, 2, 4), "mean"),
    "lstm of layers": (lambda p: p.lstm(num_layers=2, batch_first=True), (2, 6, 4), "mean"),
    "lstm, both ways": (lambda p: p.lstm(bidirectional=True), (6, 2, 4), "mean"),
    "lstm without bias": (lambda p: p.lstm(bias=False), (6, 2, 4), "mean"),
    "attention": (lambda p: p.attention(False), (2, 4, 8), "mean"),
    "attention, fused": (lambda p: p.attention(True), (2, 4, 8), "mean"),
    "embedding": (Parts.embedding, (), "mean"),
}


def graph(lib: Any, case: str, needs: bool) -> list[str]:
    make, shape, end = CASES[case]
    model = make(Parts(lib))
    x = lib.ones(*shape, requires_grad=needs) if shape else lib.tensor([[1, 2], [3, 4]])
    y = model(x)
    if end == "mean":
        y = y.mean()
    else:
        y = getattr(lib.nn.functional, end)(y, lib.tensor([0, 1, 1][: len(y)]))
    return walk(y, {**dict(model.named_parameters()), "x": x})


@pytest.mark.parametrize("needs", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_names_and_edges_are_torchs(case: str, needs: bool) -> None:
    if needs and case == "embedding":
        pytest.skip("integers need no gradient")
    assert graph(tg, case, needs) == graph(torch, case, needs)


EXPRESSIONS = [
    "F.linear(a.transpose(0, 1), w, b)", "F.linear(a.transpose(0, 1), w)", "F.linear(a, w, b)",
    "F.linear(a[0], w, b)", "F.linear(a.mT.contiguous().mT, w, b)", "a.transpose(0, 1).reshape(-1)",
    "a.split(1)[1] * a.split(1)[0]", "a.chunk(2)[1]", "a.unbind(1)[0] + 1", "a.max(1)[0]",
    "torch.stack(a.unbind(0))", "torch.addmm(b, w, w.t())", "torch.addmv(b, w, w[0])",
    "torch.baddbmm(a @ w.t(), a, a.mT, alpha=2)", "F.avg_pool1d(a, 2)",
    "F.cross_entropy(a, torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]]))", "w[:, :3].trace()",
    "F.nll_loss(F.log_softmax(a, 1), torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]]))",
    "a[None].transpose(1, 2) @ a[None].permute(0, 2, 3, 1)", "(a @ a.mT)[:, 0]",
]  # fmt: skip


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions(text: str) -> None:
    found = []
    for lib in (tg, torch):
        names = {"torch": lib, "F": lib.nn.functional}
        names |= {"a": lib.ones(2, 3, 4, requires_grad=True), "b": lib.ones(3, requires_grad=True)}
        names["w"] = lib.ones(3, 4, requires_grad=True)
        y = eval(text, names)
        found.append(walk(y, {"a": names["a"], "w": names["w"], "b": names["b"]}))
    assert found[0] == found[1]


def test_the_parts_of_one_operation_share_its_node() -> None:
    for lib in (tg, torch):
        x = lib.arange(6.0, requires_grad=True)
        a, b, c = (x * 2).split(2)
        assert a.grad_fn is b.grad_fn is c.grad_fn
        y = a * 1 + b * 10
        (fn_a, i), (fn_b, j) = (f.next_functions[0] for f, _ in y.grad_fn.next_functions)
        assert fn_a is fn_b is a.grad_fn and (i, j) == (0, 1)
        edges = [lib.autograd.graph.get_gradient_edge(t) for t in (a, b)]
        assert edges[0].node is a.grad_fn and [e.output_nr for e in edges] == [0, 1]
        found = lib.autograd.grad(y.sum(), [*edges, x])
        assert [g.tolist() for g in found] == [[1, 1], [10, 10], [2, 2, 20, 20, 0, 0]]
        edge = lib.autograd.graph.GradientEdge(fn_b, j)
        y = a * 1 + b * 10
        assert lib.autograd.grad(y.sum(), edge)[0].tolist() == [10, 10]


def test_hooks_on_several_parts_wait_for_those_that_are_reached() -> None:
    for lib in (tg, torch):
        x = lib.arange(4.0, requires_grad=True)
        a, b = (x * 2).split(2)
        seen: list[Any] = []
        lib.autograd.graph.register_multi_grad_hook(
            [a, b],
            lambda gs, seen=seen: seen.append([None if g is None else g.tolist() for g in gs]),
        )
        (a * 3).sum().backward()
        assert seen == [[[3.0, 3.0], None]]


def test_views_say_what_they_are_views_of() -> None:
    for lib in (tg, torch):
        x = lib.ones(2, 3, requires_grad=True)
        y = x[0].view(3, 1)
        assert y._is_view() and y._base is x and not x._is_view() and x._base is None
        assert not (x * 2)._is_view() and not x.sum()._is_view()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchviz_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchviz = pytest.importorskip("torchviz.dot")
    sources = []
    for lib in (tg, torch):
        monkeypatch.setattr(torchviz, "torch", lib)
        monkeypatch.setattr(torchviz, "Variable", lib.Tensor)
        model = Parts(lib).mlp()
        y = lib.nn.functional.cross_entropy(model(lib.ones(3, 4)), lib.tensor([0, 1, 1]))
        source = torchviz.make_dot(y, dict(model.named_parameters())).source
        numbers: dict[str, str] = {}
        sources.append(
            re.sub(r"\b\d{9,}\b", lambda m, n=numbers: n.setdefault(m[0], f"n{len(n)}"), source)
        )
    assert sources[0] == sources[1]
