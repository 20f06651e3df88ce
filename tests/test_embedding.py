"""Embedding and one-hot against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from beside_torch import beside_torch, close, numbers, ours, same_error, torch
from hypothesis import given
from hypothesis import strategies as st

random = np.random.default_rng(0)


def table(rows: int = 5, columns: int = 3) -> np.ndarray:
    return random.normal(size=(rows, columns))


def look_up(**options: Any) -> Any:
    return lambda t, w, i: t.nn.functional.embedding(i, w, **options)


INDICES = [np.array([1, 0, 1, 1, 4]), np.array([[0, 2], [2, 2]]), np.array(3), np.zeros((0,), int),
           np.array([1, 2], np.int32)]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"padding_idx": 1}, {"padding_idx": -3}, {"scale_grad_by_freq": True},
                {"padding_idx": 2, "scale_grad_by_freq": True}],
)  # fmt: skip
def test_embedding(dtype: str, index: np.ndarray, options: Any) -> None:
    beside_torch(look_up(**options), table(), constants=[index], dtype=dtype, second=False)


@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}, {"scale_grad_by_freq": True}])
def test_second_order(options: Any) -> None:
    """The lookup is linear, so its second derivative comes from what follows it."""
    index = ours.tensor([1, 0, 1, 4])
    w = ours.tensor(table(), requires_grad=True)
    c = ours.tensor(random.normal(size=(5, 3)))

    def slope(weight: Any) -> Any:
        y = (ours.nn.functional.embedding(index, weight, **options) ** 3).sum()
        return (ours.autograd.grad(y, weight, create_graph=True)[0] * c).sum()

    (found,) = ours.autograd.grad(slope(w), w)
    if not options:  # y = w ** 3, counted as often as read
        counts = np.bincount([1, 0, 1, 4], minlength=5)[:, None]
        np.testing.assert_allclose(numbers(found), 6 * numbers(w) * numbers(c) * counts)
    else:
        beside_torch(
            lambda t, w, i: (t.nn.functional.embedding(i, w, **options) ** 3).sum(),
            numbers(w), constants=[np.array([1, 0, 1, 4])], second=False,
        )  # fmt: skip


def test_gradient_in_another_memory_order() -> None:
    index = np.array([1, 0, 1, 4])
    for run in (
        lambda t, w, i: t.nn.functional.embedding(i, w).t() * 1.0,
        lambda t, w, i: t.nn.functional.embedding(i, w.t()),
        lambda t, w, i: t.nn.functional.embedding(i, w)[::2, ::2],
    ):
        beside_torch(run, table(5, 5), constants=[index], second=False)
        w = ours.tensor(table(5, 5), requires_grad=True)
        y = ours.nn.functional.embedding(ours.tensor(index), w)
        g = random.normal(size=(5, 4))
        expected = np.zeros((5, 5))
        np.add.at(expected, index, g.T)
        y.backward(ours.tensor(g).t())
        np.testing.assert_allclose(numbers(w.grad), expected)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_gradient_adds_up(rows: int, columns: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    index, g = rng.integers(0, rows, count), rng.normal(size=(count, columns))
    w = ours.zeros(rows, columns, dtype=ours.float64, requires_grad=True)
    ours.nn.functional.embedding(ours.tensor(index), w).backward(ours.tensor(g))
    expected = np.zeros((rows, columns))
    np.add.at(expected, index, g)
    np.testing.assert_allclose(numbers(w.grad), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
def test_max_norm(norm_type: float) -> None:
    weight, index = table() * 3, np.array([[0, 2], [2, 1]])
    results = []
    for t in (ours, torch):
        w = t.tensor(weight)
        y = t.nn.functional.embedding(t.tensor(index), w, max_norm=1.0, norm_type=norm_type)
        results.append((y, w))
    for a, b in zip(*results, strict=True):
        close(a, b, "float32", "renormalised")  # torch adds 1e-7 to the length, as we do
    assert np.array_equal(numbers(results[0][1])[3:], weight[3:])


def test_errors() -> None:
    F = lambda t: t.nn.functional.embedding  # noqa: E731
    w = lambda t: t.ones(3, 2)  # noqa: E731
    same_error(lambda t: F(t)(t.tensor([3]), w(t)))
    same_error(lambda t: F(t)(t.tensor([-1]), w(t)))
    same_error(lambda t: F(t)(t.tensor([1.0]), w(t)), "Expected tensor for argument #1 'indices'")
    same_error(lambda t: F(t)(t.tensor([1]), t.ones(3)))
    same_error(lambda t: F(t)(t.tensor([1]), w(t), padding_idx=3))
    same_error(lambda t: t.nn.Embedding(3, 2, padding_idx=-4))
    same_error(lambda t: t.nn.Embedding(3, 2, _weight=t.ones(2, 2)))
    same_error(lambda t: t.nn.Embedding.from_pretrained(t.ones(2)))
    with pytest.raises(NotImplementedError, match="sparse=True is not supported"):
        ours.nn.Embedding(3, 2, sparse=True)
    with pytest.raises(NotImplementedError, match="sparse=True is not supported"):
        F(ours)(ours.tensor([0]), w(ours), sparse=True)


@pytest.mark.parametrize("options", [{}, {"padding_idx": -1}, {"max_norm": 0.5, "norm_type": 1.0},
                                     {"scale_grad_by_freq": True}])  # fmt: skip
def test_module(options: Any) -> None:
    ours.manual_seed(3), torch.manual_seed(3)
    mine, theirs = ours.nn.Embedding(6, 4, **options), torch.nn.Embedding(6, 4, **options)
    assert repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == ["weight"]
    np.testing.assert_array_equal(numbers(mine.weight), numbers(theirs.weight))
    index = np.array([[1, 5], [5, 0]])
    for layer, t in ((mine, ours), (theirs, torch)):
        y = layer(t.tensor(index))
        (y * t.arange(16.0).reshape(2, 2, 4)).sum().backward()
    close(mine.weight, theirs.weight, "float32", "table")
    close(mine.weight.grad, theirs.weight.grad, "float32", "gradient")


def test_from_pretrained() -> None:
    given = ours.tensor(table())
    layer = ours.nn.Embedding.from_pretrained(given, padding_idx=2)
    assert not layer.weight.requires_grad and layer.padding_idx == 2
    assert (layer.num_embeddings, layer.embedding_dim) == (5, 3)
    np.testing.assert_array_equal(numbers(layer.weight), numbers(given))
    given[0] = 7.0
    assert float(layer.weight[0, 0]) == 7.0  # the memory is shared
    assert ours.nn.Embedding.from_pretrained(given, freeze=False).weight.requires_grad


def test_one_hot() -> None:
    cases: list[tuple[Any, Any]] = [(np.array([0, 2]), {}), (np.array(3), {})]
    cases += [(np.array([[1, 0]]), {"num_classes": 4}), (np.zeros((0, 2), int), {"num_classes": 3})]
    for index, options in cases:
        beside_torch(lambda t, i, options=options: t.nn.functional.one_hot(i, **options),
                     constants=[index])  # fmt: skip
    F = lambda t: t.nn.functional.one_hot  # noqa: E731
    same_error(lambda t: F(t)(t.tensor([0.0])))
    same_error(lambda t: F(t)(t.tensor([0], dtype=t.int32)))
    same_error(lambda t: F(t)(t.tensor([-1])))
    same_error(lambda t: F(t)(t.tensor([1, 2]), 2))
    same_error(lambda t: F(t)(t.tensor([1, 2]), 0))
    same_error(lambda t: F(t)(t.zeros(0, dtype=t.int64)))
