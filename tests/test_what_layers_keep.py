"""Layers, losses, distributions and chains of writes: a later write changes no gradient.

As test_what_rules_keep.py, for what is composed of operations: after the call every input,
parameter, buffer and result is overwritten, in turn, and the gradients are asked for, once and
twice.  A write that torch allows is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_what_rules_keep import overwrite, same

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

RANDOM = np.random.default_rng(0)
Make = Callable[[Any], Any]


def f(*shape: int) -> np.ndarray:
    return RANDOM.uniform(0.1, 0.9, shape)


def ix(size: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, size, shape)


def layer(name: str, *args: Any, **kwargs: Any) -> Make:
    return lambda lib: getattr(lib.nn, name)(*args, **kwargs).double()


def loss(name: str, weights: bool = True, **kwargs: Any) -> Make:
    """A loss with a weight for each of three classes."""

    def make(lib: Any) -> Any:
        weight = {"weight": lib.tensor([0.2, 0.3, 0.5], dtype=lib.float64)} if weights else {}
        return getattr(lib.nn, name)(**weight, **kwargs)

    return make


def call(function: Callable[..., Any]) -> Make:
    return lambda lib: lambda *xs: function(lib, *xs)


def through(function: Callable[..., Any]) -> Make:
    """An in-place change of a tensor that was computed."""

    def changed(lib: Any, x: Any, *rest: Any) -> Any:
        y = x * 1
        function(y, *rest)
        return y

    return call(changed)


def attention(**options: Any) -> Make:
    def make(lib: Any) -> Any:
        m = lib.nn.MultiheadAttention(4, 2, batch_first=True).double()
        return lambda x, *masks: m(x, x, x, *masks, **options)

    return make


def packed(lib: Any) -> Any:
    m, pack = lib.nn.RNN(2, 3).double(), lib.nn.utils.rnn.pack_padded_sequence
    return lambda x, lengths: m(pack(x, lengths, enforce_sorted=False))[0].data


def distribution(name: str) -> Make:
    return lambda lib: lambda *xs: getattr(lib.distributions, name)(*xs[:-1]).log_prob(xs[-1])


MASK, CHOSEN, PLACES = f(2, 3) < 0.3, np.array([True, False, True, False, False]), np.array([1, 3])
SETS = np.array([[0, 2, -1], [1, -1, 0]])  # of classes, each ended by -1
LENGTHS = np.array([2, 5, 3])
SIGNS = np.array([1.0, -1.0, 1.0, -1.0])
CASES: dict[str, tuple[Any, ...]] = {
    "embedding": (layer("Embedding", 5, 3, padding_idx=1), ix(5, 4)),
    "bag sum": (layer("EmbeddingBag", 5, 3, mode="sum"), ix(5, 6), np.array([0, 2])),
    "bag mean": (layer("EmbeddingBag", 5, 3), ix(5, 2, 3)),
    "bag max": (layer("EmbeddingBag", 5, 3, mode="max"), ix(5, 6), np.array([0, 2])),
    "cross-entropy": (loss("CrossEntropyLoss"), f(4, 3), ix(3, 4)),
    "smoothed": (loss("CrossEntropyLoss", label_smoothing=0.1), f(4, 3), ix(3, 4)),
    "ignoring": (loss("CrossEntropyLoss", False, ignore_index=1), f(4, 3, 5), ix(3, 4, 5)),
    "probabilities": (loss("CrossEntropyLoss"), f(4, 3), f(4, 3)),
    "nll": (loss("NLLLoss"), f(4, 3), ix(3, 4)),
    "nll, unreduced": (loss("NLLLoss", reduction="none"), f(4, 3, 2, 2), ix(3, 4, 2, 2)),
    "bce": (loss("BCELoss"), f(4, 3), f(4, 3)),
    "bce of logits": (loss("BCEWithLogitsLoss"), f(4, 3), f(4, 3)),
    "multi-margin": (loss("MultiMarginLoss"), f(4, 3), ix(3, 4)),
    "multi-label": (loss("MultiLabelMarginLoss", False), f(2, 3), SETS),
    "multi-label soft": (loss("MultiLabelSoftMarginLoss"), f(4, 3), f(4, 3)),
    "cosine": (loss("CosineEmbeddingLoss", False, margin=0.1), f(4, 3), f(4, 3), SIGNS.astype(int)),
    "hinge": (loss("HingeEmbeddingLoss", False), f(4), SIGNS.astype(int)),
    "ranking": (loss("MarginRankingLoss", False, margin=0.1), f(4), f(4), SIGNS),
    "gaussian": (loss("GaussianNLLLoss", False), f(4), f(4), f(4)),
    "poisson": (loss("PoissonNLLLoss", False, full=True), f(4), f(4) + 1),
    "kl": (loss("KLDivLoss", False), f(4, 3), f(4, 3)),
    "huber": (loss("HuberLoss", False), f(4), f(4)),
    "soft margin": (loss("SoftMarginLoss", False), f(4), SIGNS),
    "triplet": (loss("TripletMarginLoss", False, swap=True), f(4, 3), f(4, 3), f(4, 3)),
    "adaptive": (layer("AdaptiveLogSoftmaxWithLoss", 4, 8, [2, 5]), f(5, 4), ix(8, 5)),
    "batch norm": (layer("BatchNorm1d", 3), f(4, 3)),
    "batch norm, eval": (lambda lib: lib.nn.BatchNorm1d(3).double().eval(), f(4, 3)),
    "instance norm": (layer("InstanceNorm1d", 3, track_running_stats=True), f(2, 3, 5)),
    "layer norm": (layer("LayerNorm", 3), f(4, 3)),
    "group norm": (layer("GroupNorm", 2, 4), f(2, 4, 3)),
    "rms norm": (layer("RMSNorm", 3), f(4, 3)),
    "lstm": (layer("LSTM", 3, 4, 2, bidirectional=True), f(5, 2, 3)),
    "lstm, projected": (layer("LSTM", 3, 4, proj_size=2), f(5, 2, 3)),
    "gru": (layer("GRU", 3, 4, 2, batch_first=True), f(2, 5, 3)),
    "rnn": (layer("RNN", 3, 4, 2), f(5, 2, 3)),
    "rnn, relu": (layer("RNN", 3, 4, nonlinearity="relu"), f(5, 2, 3)),
    "rnn, both ways": (layer("RNN", 3, 4, bidirectional=True), f(5, 2, 3)),
    "rnn, batch first": (layer("RNN", 3, 4, batch_first=True), f(2, 5, 3)),
    "rnn, packed": (packed, f(5, 3, 2), LENGTHS),
    "attention": (attention(), f(2, 3, 4), MASK),
    "attention, no weights": (attention(need_weights=False), f(2, 3, 4), MASK),
    "encoder": (layer("TransformerEncoderLayer", 4, 2, 8, 0.0), f(3, 2, 4), f(3, 3)),
    "encoder, batch first": (
        layer("TransformerEncoderLayer", 4, 2, 8, 0.0, batch_first=True), f(2, 3, 4), f(3, 3),
    ),
    "bilinear": (layer("Bilinear", 3, 2, 4), f(4, 3), f(4, 2)),
    "prelu": (layer("PReLU", 3), f(4, 3) - 0.5),
    "max pool": (layer("MaxPool2d", 2, return_indices=True), f(2, 3, 4, 4)),
    "adaptive max pool": (layer("AdaptiveMaxPool2d", 2, return_indices=True), f(2, 3, 5, 5)),
    "dropout": (layer("Dropout", 0.5), f(4, 5)),
    "gumbel": (call(lambda lib, x: lib.nn.functional.gumbel_softmax(x, hard=True)), f(4, 5)),
    "categorical": (distribution("Categorical"), f(4, 5), ix(5, 4)),
    "normal": (distribution("Normal"), f(4), f(4), f(4)),
    "repeated": (call(lambda lib, x, n: lib.repeat_interleave(x, n, 0)), f(3, 2), LENGTHS),
    "x[i] = v": (through(lambda y, i, v: y.__setitem__(i, v)), f(5), PLACES, f(2)),
    "x[mask] = v": (through(lambda y, m, v: y.__setitem__(m, v)), f(5), CHOSEN, f(2)),
    "x[mask] = 2": (through(lambda y, m: y.__setitem__(m, 2.0)), f(5), CHOSEN),
    "index_put_": (through(lambda y, i, v: y.index_put_((i,), v)), f(5), PLACES, f(2)),
    "index_add_": (through(lambda y, i, v: y.index_add_(0, i, v)), f(5), PLACES, f(2)),
    "index_copy_": (through(lambda y, i, v: y.index_copy_(0, i, v)), f(5), PLACES, f(2)),
    "index_fill_": (through(lambda y, i: y.index_fill_(0, i, 2.0)), f(5), PLACES),
    "put_": (through(lambda y, i, v: y.put_(i, v)), f(5), PLACES, f(2)),
    "scatter_": (through(lambda y, i, v: y.scatter_(0, i, v)), f(5), PLACES, f(2)),
    "scatter_add_": (through(lambda y, i, v: y.scatter_add_(0, i, v)), f(5), PLACES, f(2)),
    "scatter_reduce_": (
        through(lambda y, i, v: y.scatter_reduce_(0, i, v, "amax")), f(5), PLACES, f(2),
    ),
    "masked_fill_": (through(lambda y, m: y.masked_fill_(m, 2.0)), f(5), CHOSEN),
    "masked_scatter_": (through(lambda y, m, v: y.masked_scatter_(m, v)), f(5), CHOSEN, f(4)),
    "mul_": (through(lambda y, v: y.mul_(v)), f(5), f(5)),
    "div_": (through(lambda y, v: y.div_(v)), f(5), f(5)),
    "lerp_": (through(lambda y, v, w: y.lerp_(v, w)), f(5), f(5), f(5)),
    "mul_ of a view": (through(lambda y, v: y[1:3].mul_(v)), f(5), f(2)),
}  # fmt: skip


def flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in flat(part)]
    return [value] if hasattr(value, "requires_grad") else []


def parameters(lib: Any, function: Any) -> list[Any]:
    """The parameters and buffers of a layer, or of one inside a function."""
    if isinstance(function, lib.nn.Module):
        return [*function.parameters(), *function.buffers()]
    cells = getattr(function, "__closure__", None) or ()
    return [t for cell in cells for t in parameters(lib, cell.cell_contents)]


class Attempt:
    def __init__(self, lib: Any, name: str, order: int) -> None:
        self.lib, (make, *values) = lib, CASES[name]
        lib.manual_seed(0)
        function = make(lib)
        xs = [lib.from_numpy(np.array(value)) for value in values]
        xs[0].requires_grad_(xs[0].is_floating_point())
        own = parameters(lib, function)
        outputs = flat(function(*xs))
        self.inputs = [t for t in (*xs, *own) if t.requires_grad]
        self.roots = [y for y in outputs if y.requires_grad]
        self.places = {"input": xs, "own": own, "output": outputs}
        if order == 2:
            squares = [(y * y).sum() for y in self.roots]
            found = lib.autograd.grad(squares, self.inputs, create_graph=True, allow_unused=True)
            self.roots = [g for g in found if g is not None and g.requires_grad]

    def gradients(self, place: str = "", i: int = 0) -> Any:
        """After a write; "refused", or None if nothing can be written."""
        if place and not overwrite(self.lib, self.places[place][i]):
            return None
        random = np.random.default_rng(1)
        us = [self.lib.from_numpy(random.standard_normal(tuple(y.shape))) for y in self.roots]
        us = [u.to(y.dtype) for u, y in zip(us, self.roots, strict=True)]
        try:
            return self.lib.autograd.grad(self.roots, self.inputs, us, allow_unused=True)
        except RuntimeError as error:
            if "modified by an inplace operation" in str(error):
                return "refused"
            assert self.lib is torch and "is not implemented" in str(error), error
            return "no derivative"


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_later_write_changes_no_gradient(name: str, order: int) -> None:
    first = Attempt(ours, name, order)
    clean = first.gradients()
    for place, tensors in first.places.items():
        for i in range(len(tensors)):
            mine = Attempt(ours, name, order).gradients(place, i)
            if mine == "refused":
                theirs = Attempt(torch, name, order).gradients(place, i)
                assert theirs in ("refused", "no derivative"), (place, i)
            elif mine is not None:
                assert all(same(a, b) for a, b in zip(mine, clean, strict=True)), (place, i)
