"""examples/00_engine.py is the package's engine in small: same words, same numbers."""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.util
import io
import itertools
import math
import pathlib
import re
import sys
import tokenize
import weakref
from typing import Any

import numpy as np
import pytest
from count_lines import code_lines

import tinygrad_edu as torch
from tinygrad_edu import nn

F = nn.functional
ROOT = pathlib.Path(__file__).resolve().parent.parent
PATH = ROOT / "examples" / "00_engine.py"
SOURCE = PATH.read_text()
TREE = ast.parse(SOURCE)
ENGINE = "tinygrad_edu.engine"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file as a module, fresh for every test."""
    monkeypatch.syspath_prepend(str(PATH.parent))
    spec = importlib.util.spec_from_file_location("small", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- what kind of file it is


def test_it_is_small_and_needs_nothing_of_the_package() -> None:
    assert code_lines(SOURCE) <= 200
    first = next(i for i, line in enumerate(SOURCE.splitlines(), 1) if ".vjp(" in line)
    assert first <= 120, "the first operation with its derivative comes late"
    statements = [node.lineno for node in ast.walk(TREE) if isinstance(node, ast.stmt)]
    assert len(set(statements)) == len(statements), "one statement a line"
    imported = {
        name
        for node in ast.walk(TREE)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy", "datasets"}


def test_the_table_names_places_that_exist() -> None:
    """It ends the docstring; a file of the engine that is not left out, or not there, fails."""
    table = (ast.get_docstring(TREE) or "").split("----\n")[-1]
    places = re.findall(r"[\w/]+(?:\.py|/)(?=[,\s]|$)", table)
    assert len(places) > 15
    for place in places:
        assert (ROOT / "tinygrad_edu" / place).exists(), place


# ---- the words

LAYERS = {  # a name of the file, where the package has it
    "Tensor": "Tensor", "Parameter": "nn.Parameter", "parameters": "nn.Module.parameters",
    "Linear": "nn.Linear", "AdamW": "optim.AdamW", "clip_grad_norm_": "nn.utils.clip_grad_norm_",
    **{name: f"nn.functional.{name}" for name in (
        "dropout", "layer_norm", "log_softmax", "cross_entropy", "one_hot")},
}  # fmt: skip
OWN = {"random", "MLP", "Block", "GPT", "train", "main"}
"""Names of this program, which no engine needs."""


def top_level() -> dict[str, ast.stmt]:
    """The names that the file defines."""
    found: dict[str, ast.stmt] = {}
    for node in TREE.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node
    return found


def identifiers(module: str) -> set[str]:
    """The words of a module's code; comments and texts do not count."""
    source = pathlib.Path(importlib.import_module(module).__file__ or "").read_text()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.string.lstrip("_") for token in tokens if token.type == tokenize.NAME}


def words(node: ast.AST) -> set[str]:
    """The names that a class or function of the file gives: to itself, to parameters, to values."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.ClassDef)):
            found.add(part.name)
        elif isinstance(part, ast.arg):
            found.add(part.arg)
        elif isinstance(part, (ast.Name, ast.Attribute)) and isinstance(part.ctx, ast.Store):
            found.add(part.id if isinstance(part, ast.Name) else part.attr)
    return {name for name in found if not name.startswith("_")}


def test_every_idea_is_called_what_it_is_called_in_the_engine(small: Any) -> None:
    """A name here that the engine does not know, or one renamed there, fails."""
    places = {
        "graph": ("clock", "Node", "Leaf"),
        "primitive": ("primitive", "names"),
        "record": ("note",),
        "walk": ("walk_back", "gradients", "unbroadcast", "accumulate"),
    }
    defined = top_level()
    known = set().union(*[identifiers(f"{ENGINE}.{module}") for module in places])
    for module, names in places.items():
        theirs = importlib.import_module(f"{ENGINE}.{module}")
        for name in names:
            assert hasattr(theirs, name) or hasattr(theirs, f"_{name}"), f"{module}.{name}"
            unknown = words(defined[name]) - known
            assert not unknown, f"{name} says {unknown}, which the engine does not"
    operations = {name for name in defined if hasattr(getattr(small, name), "vjp")}
    for name in operations:
        assert callable(getattr(torch, name)), name
    for path in LAYERS.values():
        place: Any = torch
        for part in path.split("."):
            place = getattr(place, part)
    ideas = {name for names in places.values() for name in names}
    assert ideas | operations | set(LAYERS) | OWN == set(defined), "a name is not accounted for"


def test_nodes_have_the_same_fields(small: Any) -> None:
    x = small.Parameter(np.ones(2))
    mine = (x * x).node
    theirs = torch.ones(2, requires_grad=True).square().grad_fn
    for field in vars(mine):
        assert hasattr(theirs, field), field
    for field in vars(x):
        assert hasattr(torch.ones(2), field), field


# ---- the numbers

SAMPLES: dict[str, list[Any]] = {  # an operation's arguments; arrays are shapes to fill
    "add": [(3, 4), (4,)], "sub": [(3, 1), (3, 4)], "mul": [(2, 3, 4), (3, 1)],
    "div": [(3, 4), (1, 4)], "matmul": [(2, 3, 4), (4, 5)], "exp": [(3, 4)], "log": [(3, 4)],
    "sqrt": [(3, 4)], "relu": [(3, 4)], "sum": [(3, 4), [1]], "reshape": [(3, 4), [(2, 6)]],
    "transpose": [(2, 3, 4), [0], [2]],
}  # fmt: skip


def test_every_operation_against_the_package(small: Any) -> None:
    """Values and gradients, from random cotangents; no operation may be left out."""
    operations = [name for name in top_level() if hasattr(getattr(small, name), "vjp")]
    assert set(operations) == set(SAMPLES)
    draw = np.random.default_rng(3)
    for name, sample in SAMPLES.items():
        arrays = [draw.uniform(0.5, 2, s) if isinstance(s, tuple) else s[0] for s in sample]
        if name == "relu":
            arrays[0] -= 1
        mine = [small.Parameter(a) if isinstance(a, np.ndarray) else a for a in arrays]
        for x, a in zip(mine, arrays, strict=True):
            if isinstance(x, small.Parameter):
                x.array = a
        theirs = [
            torch.tensor(a, requires_grad=True) if isinstance(a, np.ndarray) else a for a in arrays
        ]
        y = getattr(small, name)(*mine)
        expected = getattr(torch, name)(*theirs, **({"keepdim": True} if name == "sum" else {}))
        np.testing.assert_allclose(y.array, expected.detach().numpy(), rtol=1e-12)
        g = draw.standard_normal(y.array.shape)
        small.walk_back(y.node, g)
        expected.backward(torch.from_numpy(g))
        for x, t in zip(mine, theirs, strict=True):
            if isinstance(x, small.Parameter):
                np.testing.assert_allclose(x.grad, t.grad.numpy(), rtol=1e-12, err_msg=name)


class Drop(nn.Module):
    """Dropout with the masks that the file draws."""

    def __init__(self, draw: Any, p: float) -> None:
        super().__init__()
        self.draw, self.p = draw, p

    def forward(self, x: Any) -> Any:
        mask = (self.draw.random(tuple(x.shape)) >= self.p) / (1 - self.p)
        return x * torch.from_numpy(mask)


def mlp(draw: Any, p: float, *widths: int) -> Any:
    layers: list[Any] = []
    for m, n in itertools.pairwise(widths):
        layers += [nn.Linear(m, n), nn.ReLU(), Drop(draw, p)]
    return nn.Sequential(*layers[:-2])


class Block(nn.Module):
    def __init__(self, draw: Any, p: float, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.out, self.mlp = nn.Linear(width, width), mlp(draw, 0.0, width, 4 * width, width)
        self.drop = Drop(draw, p)

    def forward(self, x: Any) -> Any:
        B, T, C = x.shape
        z = F.layer_norm(x, (C,))
        q, k, v = [f(z).reshape(B, T, self.heads, -1).transpose(1, 2) for f in self.qkv]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.drop(self.out(y.transpose(1, 2).reshape(B, T, C)))
        return x + self.drop(self.mlp(F.layer_norm(x, (C,))))


class GPT(nn.Module):
    def __init__(self, draw: Any, p: float, vocab: int, length: int, width: int, heads: int,
                 blocks: int) -> None:  # fmt: skip
        super().__init__()
        self.characters, self.positions = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(draw, p, width, heads) for _ in range(blocks))
        self.head, self.drop = nn.Linear(width, vocab), Drop(draw, p)

    def forward(self, ids: Any) -> Any:
        x = self.drop(self.characters(ids) + self.positions.weight)
        for block in self.blocks:
            x = block(x)
        return self.head(F.layer_norm(x, (x.shape[-1],)))


def models(small: Any, kind: str, p: float, draw: Any) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A model of the file, the package's with the same weights in float64, inputs and targets."""
    data = np.random.default_rng(5)
    if kind == "MLP":
        sizes = (12, 16, 16, 5)
        mine, theirs = small.MLP(*sizes), mlp(draw, p, *sizes)
        x, target = data.standard_normal((40, 12)), data.integers(5, size=40)
    else:
        mine, theirs = small.GPT(11, 6, 8, 2, 2), GPT(draw, p, 11, 6, 8, 2, 2)
        windows = np.lib.stride_tricks.sliding_window_view(data.integers(11, size=60), 7)
        x, target = windows[:, :-1], windows[:, 1:]
    theirs.double()
    pairs = list(zip(small.parameters(mine), theirs.parameters(), strict=True))
    assert len(pairs) >= 6
    for a, b in pairs:
        a.array = 3.5 * a.array.astype(np.float64)  # some gradients are large then, and clipped
        b.data = torch.from_numpy(a.array.copy()).reshape(b.shape)
    return mine, theirs, x, target


def loss_of(model: Any, x: np.ndarray, target: np.ndarray) -> Any:
    y = model(torch.from_numpy(np.ascontiguousarray(x)))
    t = torch.from_numpy(np.ascontiguousarray(target))
    return F.cross_entropy(y.flatten(0, -2), t.flatten())


@pytest.mark.parametrize("kind", ["MLP", "GPT"])
def test_gradients_are_the_packages(small: Any, kind: str) -> None:
    small.random, draw = np.random.default_rng(7), np.random.default_rng(7)
    mine, theirs, x, target = models(small, kind, 0.3, draw)
    draw.bit_generator.state = small.random.bit_generator.state
    loss = small.cross_entropy(mine(x, 0.3), target)
    loss.backward()
    expected = loss_of(theirs, x, target)
    expected.backward()
    assert abs(loss.array.item() - expected.item()) < 1e-9
    for a, b in zip(small.parameters(mine), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["MLP", "GPT"])
def test_fifty_losses_are_the_packages(small: Any, kind: str) -> None:
    """Batches, dropout, clipping, AdamW and the cosine; the losses fall."""
    small.random, draw = np.random.default_rng(7), np.random.default_rng(7)
    mine, theirs, x, target = models(small, kind, 0.1, draw)
    draw.bit_generator.state = small.random.bit_generator.state
    losses = list(small.train(mine, x, target, steps=50, lr=0.02, p=0.1, size=16))
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    expected, norms = [], []
    for _ in range(50):
        batch = draw.integers(len(x), size=16)
        optimizer.zero_grad()
        loss = loss_of(theirs, x[batch], target[batch])
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(theirs.parameters(), 1.0).item())
        optimizer.step()
        scheduler.step()
        expected.append(loss.item())
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    assert min(norms) < 1 < max(norms), "the norms are clipped sometimes, not always"


# ---- memory, depth, order


def test_a_graph_dies_with_its_last_tensor_and_a_walk_frees_what_is_kept(small: Any) -> None:
    x = small.Parameter(np.ones(3))
    gc.disable()
    try:
        y = small.exp(x * x)
        node, leaf = weakref.ref(y.node.edges[0]), weakref.ref(x.node)
        kept = weakref.ref(y.node.kept["y"])
        assert kept() is y.array
        loss = small.sum(y, None)
        del y
        assert kept() is not None
        loss.backward()
        assert kept() is None and node() is not None
        del loss
        assert node() is None and leaf() is not None
        del x
        assert leaf() is None
    finally:
        gc.enable()


def test_only_what_the_rules_name_is_kept(small: Any) -> None:
    x, c = small.Parameter(np.ones(2)), np.full(2, 3.0)
    assert set((x * c).node.kept) == {"b"} and set(small.mul(c, x).node.kept) == {"a"}
    assert set((x + x).node.kept) == set() and set(small.exp(x).node.kept) == {"y"}
    assert small.sum(x, 0).node.kept == {"x_shape": (2,)}
    assert small.exp(small.Tensor(c)).node is None


def test_long_chains_and_what_is_used_twice(small: Any) -> None:
    """No recursion; and a gradient goes on only when all shares of it have come."""
    x = small.Parameter(np.array([1.0]))
    y = x
    for _ in range(5000):
        y = y + x * 0.5
    y.backward()
    assert x.grad == 2501
    x = small.Parameter(np.array([1.0]))
    y = x
    for _ in range(40):
        y = y + y  # two to the power of 40 paths
    y.backward()
    assert x.grad == 2.0**40


# ---- the program


def test_the_program(small: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A short form of it: both models are trained, both losses printed, some text written."""
    pytest.importorskip("sklearn")
    whole = small.train
    monkeypatch.setattr(small, "train", lambda *a, **kw: itertools.islice(whole(*a, **kw), 201))
    small.main()
    printed = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"step +\d+: loss (\d+\.\d+)", printed)]
    assert len(losses) == 4 and "digits" in printed and "characters of this file" in printed
    assert abs(losses[0] - math.log(10)) < 0.1 and losses[1] < 1
    assert 3.5 < losses[2] < 6 and losses[3] < 2.5
    text = printed.partition('"""The whole idea in one')[2]
    assert len(text) > 250 and set(text) <= set(SOURCE)
