"""What beginners do wrong raises torch's exception, and says what torch says."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


class Case:
    """One library, and what the mistakes below are made with."""

    def __init__(self, lib: Any) -> None:
        lib.manual_seed(0)
        self.t, self.nn, self.F = lib, lib.nn, lib.nn.functional
        self.linear = lib.nn.Linear(4, 3)
        self.x = lib.randn(2, 4)
        self.scores = self.linear(self.x)
        self.y = lib.tensor([0, 2])
        self.cross_entropy = lib.nn.CrossEntropyLoss()
        self.leaf = lib.ones(3, requires_grad=True)
        self.data = lib.utils.data

    def batch(self, *shape: int) -> Any:
        return self.t.ones(*shape)


def twice(c: Case) -> None:
    loss = c.scores.pow(2).sum()
    loss.backward()
    loss.backward()


def written(c: Case) -> None:
    y = c.leaf.exp()
    y += 1
    y.sum().backward()


def row_of_leaf(c: Case) -> None:
    c.leaf[0] = 1


def sgd(c: Case, parameters: Any, **options: Any) -> Any:
    return c.t.optim.SGD(parameters, lr=0.1, **options)


def assign(thing: Any, name: str, value: Any) -> None:
    setattr(thing, name, value)


MISTAKES: dict[str, Callable[[Case], Any]] = {
    # layers
    "width of a linear layer": lambda c: c.linear(c.batch(2, 5)),
    "the same, in batches": lambda c: c.linear(c.batch(2, 5, 5)),
    "integers into a linear layer": lambda c: c.linear(c.batch(2, 4).long()),
    "float64 into a linear layer": lambda c: c.linear(c.batch(2, 4).double()),
    "the same, without a bias": lambda c: c.F.linear(c.batch(2, 4).double(), c.linear.weight),
    "an array into a linear layer": lambda c: c.linear(np.zeros((2, 4), np.float32)),
    "channels of a convolution": lambda c: c.nn.Conv2d(3, 4, 3)(c.batch(1, 1, 8, 8)),
    "dimensions of a convolution": lambda c: c.nn.Conv2d(3, 4, 3)(c.batch(8, 8)),
    "a kernel too large": lambda c: c.nn.Conv2d(1, 4, 5)(c.batch(1, 1, 3, 3)),
    "bytes into a convolution": lambda c: c.nn.Conv2d(1, 4, 3)(c.batch(1, 1, 8, 8).byte()),
    "float64 into a convolution": lambda c: c.nn.Conv2d(1, 4, 3)(c.batch(1, 1, 8, 8).double()),
    "one value a channel": lambda c: c.nn.BatchNorm1d(3)(c.batch(1, 3)),
    "features of a batch norm": lambda c: c.nn.BatchNorm1d(3)(c.batch(4, 5)),
    "dimensions of a batch norm": lambda c: c.nn.BatchNorm2d(3)(c.batch(4, 3)),
    "shape of a layer norm": lambda c: c.nn.LayerNorm(3)(c.batch(4, 5)),
    "groups": lambda c: c.nn.GroupNorm(2, 3),
    "width of an LSTM": lambda c: c.nn.LSTM(3, 4)(c.batch(2, 2, 5)),
    "state of an LSTM": lambda c: c.nn.LSTM(3, 4)(c.batch(2, 2, 3), (c.batch(1, 1, 4),) * 2),
    "dimensions of a GRU": lambda c: c.nn.GRU(3, 4)(c.batch(2, 2, 2, 3)),
    "heads": lambda c: c.nn.MultiheadAttention(5, 2),
    "word outside the vocabulary": lambda c: c.nn.Embedding(3, 2)(c.t.tensor([3])),
    "words as floats": lambda c: c.nn.Embedding(3, 2)(c.t.tensor([1.0])),
    "words as an array": lambda c: c.nn.Embedding(3, 2)(np.array([1])),
    "a share above one": lambda c: c.nn.Dropout(1.5),
    # losses
    "classes as floats": lambda c: c.cross_entropy(c.scores, c.y.float()),
    "classes as int32": lambda c: c.cross_entropy(c.scores, c.y.int()),
    "classes as a column": lambda c: c.cross_entropy(c.scores, c.y.view(-1, 1)),
    "class too large": lambda c: c.cross_entropy(c.scores, c.t.tensor([0, 3])),
    "negative class": lambda c: c.cross_entropy(c.scores, c.t.tensor([0, -1])),
    "sizes of batches": lambda c: c.cross_entropy(c.scores, c.t.tensor([0, 1, 2])),
    "classes as a list": lambda c: c.cross_entropy(c.scores, [0, 1]),
    "scores and classes swapped": lambda c: c.cross_entropy(c.y, c.scores),
    "classes as floats, NLL": lambda c: c.F.nll_loss(c.scores, c.y.float()),
    "scores for probabilities": lambda c: c.F.binary_cross_entropy(c.scores, c.batch(2, 3)),
    "shape of yes and no": lambda c: c.F.binary_cross_entropy(c.batch(2, 3), c.batch(2)),
    "yes and no as integers": lambda c: c.F.binary_cross_entropy(c.batch(2), c.batch(2).long()),
    "the same, scores": lambda c: c.F.binary_cross_entropy_with_logits(c.batch(2), c.y),
    "scores and yes": lambda c: c.F.binary_cross_entropy_with_logits(c.batch(2, 1), c.batch(2)),
    "squares of integers": lambda c: c.F.mse_loss(c.y, c.y),
    "shapes of a regression": lambda c: c.F.mse_loss(c.batch(2, 3), c.batch(4)),
    # gradients
    "numpy() of what needs a gradient": lambda c: c.scores.numpy(),
    "np.asarray of a parameter": lambda c: np.asarray(c.linear.weight),
    "backward twice": twice,
    "backward of many": lambda c: c.scores.backward(),
    "backward of a constant": lambda c: c.x.sum().backward(),
    "in place on a leaf": lambda c: c.leaf.add_(1),
    "a row of a leaf": row_of_leaf,
    "needs a gradient of integers": lambda c: c.t.tensor([1, 2]).requires_grad_(),
    "deepcopy of a result": lambda c: copy.deepcopy(c.scores),
    "no gradient wanted": lambda c: c.t.autograd.grad(c.scores.sum(), c.x),
    "unused": lambda c: c.t.autograd.grad(c.scores.sum(), [c.linear.bias, c.leaf]),
    "shape of a gradient": lambda c: assign(c.linear.weight, "grad", c.batch(1)),
    "flag of a result": lambda c: assign(c.scores, "requires_grad", False),
    # numbers
    "item of many": lambda c: c.scores.item(),
    "float of many": lambda c: float(c.x),
    "truth of many": lambda c: bool(c.x > 0),
    "truth of none": lambda c: bool(c.t.zeros(0)),
    "length of a number": lambda c: len(c.t.tensor(1)),
    "items of a number": lambda c: list(c.t.tensor(1)),
    "mean of integers": lambda c: c.y.mean(),
    "half of an integer, in place": lambda c: c.t.ones(2).long().div_(2),
    "minus a bool": lambda c: -c.t.ones(2).bool(),
    # shapes
    "mm": lambda c: c.t.mm(c.batch(2, 3), c.batch(2, 3)),
    "@": lambda c: c.batch(2, 3) @ c.batch(2, 3),
    "bmm": lambda c: c.t.bmm(c.batch(2, 3, 4), c.batch(2, 3, 4)),
    "+": lambda c: c.batch(2, 3) + c.batch(2, 4),
    "cat": lambda c: c.t.cat([c.batch(2, 3), c.batch(3, 4)]),
    "cat of numbers": lambda c: c.t.cat([c.t.tensor(1), c.t.tensor(2)]),
    "stack": lambda c: c.t.stack([c.batch(2), c.batch(3)]),
    "view": lambda c: c.batch(2, 3).view(4),
    "view of a transposed": lambda c: c.batch(2, 3).t().view(-1),
    "reshape": lambda c: c.batch(2, 3).reshape(4, -1),
    "two unknown sizes": lambda c: c.batch(2, 3).view(-1, -1),
    "a dimension too many": lambda c: c.batch(2, 3).sum(2),
    "softmax": lambda c: c.F.softmax(c.batch(2, 3), dim=2),
    "expand": lambda c: c.batch(2, 3).expand(4, 3),
    "transpose": lambda c: c.batch(2, 3).transpose(1, 2),
    "size": lambda c: c.x.size(3),
    # indices
    "index too large": lambda c: c.x[2],
    "too many indices": lambda c: c.x[0, 0, 0],
    "float index": lambda c: c.x[c.t.tensor([0.5])],
    "mask of another shape": lambda c: c.x[c.t.ones(3).bool()],
    "list with an index too large": lambda c: c.leaf[[0, 3]],
    "gather": lambda c: c.x.gather(1, c.t.tensor([[5]])),
    "gather by floats": lambda c: c.x.gather(1, c.t.tensor([[0.0]])),
    "topk": lambda c: c.batch(3).topk(5),
    # data
    "ragged": lambda c: c.t.tensor([[1, 2], [3]]),
    "list of tensors": lambda c: c.t.tensor([c.batch(2), c.batch(2)]),
    "text": lambda c: c.t.tensor(["a"]),
    "from_numpy of a list": lambda c: c.t.from_numpy([1, 2]),
    "items of unequal shape": lambda c: next(iter(c.data.DataLoader([c.batch(2), c.batch(3)], 2))),
    "both sampler and shuffle": lambda c: c.data.DataLoader([1], shuffle=True, sampler=[0]),
    "sizes of a dataset": lambda c: c.data.TensorDataset(c.batch(2), c.batch(3)),
    # modules and optimizers
    "no such layer": lambda c: c.linear.foo,
    "no forward": lambda c: c.nn.Module()(c.x),
    "a tensor for a parameter": lambda c: assign(c.linear, "weight", c.batch(3, 4)),
    "no super().__init__()": lambda c: assign(object.__new__(c.nn.Module), "l", c.linear),
    "nothing to load": lambda c: c.linear.load_state_dict({}),
    "no parameters": lambda c: sgd(c, []),
    "one tensor for a list": lambda c: sgd(c, c.linear.weight),
    "a result for a parameter": lambda c: sgd(c, [c.linear.weight * 2]),
    "nesterov alone": lambda c: sgd(c, c.linear.parameters(), nesterov=True),
    "betas": lambda c: c.t.optim.Adam(c.linear.parameters(), betas=(1.0, 0.9)),
    "not a layer": lambda c: c.nn.ModuleList([5]),
    "index of a Sequential": lambda c: c.nn.Sequential(c.linear)[3],
}


def said(lib: Any, mistake: Callable[[Case], Any]) -> tuple[type, str]:
    """The exception, and the first line of its message."""
    case = Case(lib)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception) as caught:
            mistake(case)
    first, *_ = str(caught.value).splitlines() or [""]
    return caught.type, first.replace("numpy.ndarray", "ndarray")


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    """The same type; ours may say more than torch, behind the same words."""
    kind, text = said(ours, MISTAKES[name])
    expected_kind, expected = said(torch, MISTAKES[name])
    assert kind is expected_kind and text.startswith(expected.split("  ")[0]), (text, expected)


@pytest.mark.parametrize("lib", [ours, torch], ids=["ours", "torch"])
def test_a_result_overwritten_before_its_backward(lib: Any) -> None:
    kind, text = said(lib, written)
    assert kind is RuntimeError
    assert "modified by an inplace operation" in text and "is at version 1" in text


def test_a_number_made_of_what_needs_a_gradient_warns() -> None:
    t = ours.ones((), requires_grad=True)
    with pytest.warns(UserWarning, match="Converting a tensor with requires_grad=True to a scalar"):
        assert float(t) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert t.item() == float(t.detach()) == 1


UNKNOWN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "softmax": (lambda x: ours.softmax(x, axes=0), "dim"),
    "F.softmax": (lambda x: ours.nn.functional.softmax(x, axes=0), "dim"),
    "x.softmax": (lambda x: x.softmax(axes=0), "dim"),
    "log_softmax": (lambda x: ours.nn.functional.log_softmax(x, dims=0), "dim"),
    "sum": (lambda x: x.sum(dims=0), "dim"),
    "keep_dim": (lambda x: x.sum(0, keep_dim=True), "keepdim"),
    "cat": (lambda x: ours.cat([x, x], axes=0), "dim"),
    "var": (lambda x: x.var(unbias=True), "unbiased"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_keyword_is_told_the_nearest(name: str) -> None:
    call, nearest = UNKNOWN[name]
    with pytest.raises(TypeError, match=rf"unexpected keyword .*; the nearest is '({nearest})'"):
        call(ours.ones(2, 3))
    with pytest.raises(TypeError) as caught:
        ours.ones(2, 3).sum(quite_another=1)
    assert "nearest" not in str(caught.value)
