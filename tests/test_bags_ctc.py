"""EmbeddingBag, CTC and the adaptive softmax beside torch: layers, and targets out of reach."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import beside_torch, close, ours, pair, same_error, torch

random = np.random.default_rng(0)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("options", [{}, dict(padding_idx=2), dict(include_last_offset=True)])
def test_embedding_bag(mode, options):
    mine, theirs = pair(lambda T: T.nn.EmbeddingBag(6, 4, mode=mode, **options).double())
    assert not isinstance(mine, ours.nn.Embedding)
    index, offsets = random.integers(0, 6, 9), np.array([0, 3, 3, 9])
    results = []
    for library, layer in ((ours, mine), (torch, theirs)):
        y = layer(library.from_numpy(index), library.from_numpy(offsets))
        y.backward(library.from_numpy(np.random.default_rng(1).standard_normal(tuple(y.shape))))
        results.append((y, layer.weight.grad))
    for a, b in zip(*results, strict=True):
        close(a, b, "float64", mode)


def test_bag_of_pretrained_rows():
    table = random.standard_normal((3, 2))
    for freeze in (True, False):
        bags = [
            T.nn.EmbeddingBag.from_pretrained(T.from_numpy(table), freeze, padding_idx=-1)
            for T in (ours, torch)
        ]
        assert bags[0].weight.requires_grad == bags[1].weight.requires_grad
        assert bags[0].padding_idx == bags[1].padding_idx
        assert np.shares_memory(bags[0].weight.detach().numpy(), table)


def test_bag_shrinks_long_rows_in_place():
    table, index = random.standard_normal((5, 3)) * 3, np.array([[0, 1], [1, 3]])
    tables = [T.from_numpy(table.copy()) for T in (ours, torch)]
    found = [
        T.nn.functional.embedding_bag(T.from_numpy(index), w, max_norm=1.0, mode="sum")
        for T, w in zip((ours, torch), tables, strict=True)
    ]
    close(*found, "float64", "value")
    close(*tables, "float64", "table")


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bag_divides_gradients_by_how_often_a_row_was_used(mode):
    """As Embedding does; torch's CPU code for bags divides by the count of another row."""
    index, offsets = ours.tensor([0, 0, 1, 2, 2]), ours.tensor([0, 2])
    table = ours.ones(4, 2).requires_grad_()
    y = ours.nn.functional.embedding_bag(index, table, offsets, mode=mode, scale_grad_by_freq=True)
    y.sum().backward()
    sizes = np.array([2, 2, 3, 3, 3]) if mode == "mean" else np.ones(5)
    expected = np.array([(2 / sizes[0]) / 2, 1 / sizes[2], (2 / sizes[3]) / 2, 0])
    np.testing.assert_allclose(table.grad.numpy(), np.stack([expected, expected], 1), rtol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc_of_targets_that_do_not_fit(reduction, zero_infinity):
    """Too little time for the repeated labels; no time at all; the empty target."""
    x = random.standard_normal((4, 5, 3))
    targets = np.array([[1, 1, 1], [1, 2, 1], [1, 1, 1], [2, 2, 2], [1, 2, 2]])
    times, ends = (4, 4, 0, 3, 4), (3, 3, 2, 0, 2)
    found = []
    for T in (ours, torch):
        p = T.from_numpy(x).log_softmax(2).detach().requires_grad_()
        loss = T.nn.CTCLoss(reduction=reduction, zero_infinity=zero_infinity)
        y = loss(p, T.from_numpy(targets), T.tensor(times), T.tensor(ends))
        y.sum().backward()
        found.append((y, p.grad))
    for a, b in zip(*found, strict=True):
        close(a, b, "float64", reduction)


def test_ctc_is_the_sum_over_all_paths():
    """The probability that the loss gives is that of all paths that spell the target, added up."""
    probabilities = random.dirichlet(np.ones(3), 5)
    target, total = [1, 2], 0.0
    for path in np.ndindex(*[3] * 5):
        merged = [k for i, k in enumerate(path) if k and (i == 0 or path[i - 1] != k)]
        if merged == target:
            total += np.prod([probabilities[t, k] for t, k in enumerate(path)])
    y = ours.nn.functional.ctc_loss(
        ours.from_numpy(probabilities).log(), ours.tensor(target), (5,), (2,), reduction="none"
    )
    np.testing.assert_allclose(np.exp(-y.item()), total, rtol=1e-12)


def test_ctc_of_targets_one_after_the_other():
    """torch misreads them where they are no contiguous memory; ours takes any."""
    x, targets = random.standard_normal((6, 2, 4)), np.array([1, 2, 2, 0])

    def run(T, x):
        p = x.log_softmax(2)
        return T.nn.functional.ctc_loss(p, T.from_numpy(targets), (6, 5), (3, 1), blank=3)

    beside_torch(run, x, second=False)
    apart = ours.from_numpy(np.repeat(targets, 2))[::2]
    p = ours.from_numpy(x).log_softmax(2)
    y = ours.nn.functional.ctc_loss(p, apart, (6, 5), (3, 1), blank=3)
    assert y.item() == run(ours, ours.from_numpy(x)).item()


def test_ctc_has_no_second_derivative():
    def run(T):
        x = T.zeros(3, 1, 2).log_softmax(2).requires_grad_()
        y = T.nn.functional.ctc_loss(x, T.tensor([[1]]), (3,), (1,))
        (g,) = T.autograd.grad(y, x, create_graph=True)
        g.sum().backward()

    same_error(run)


def test_a_label_out_of_range_is_refused():
    with pytest.raises(RuntimeError, match=r"labels in \[0, 3\)"):
        ours.nn.functional.ctc_loss(ours.zeros(2, 1, 3), ours.tensor([[3]]), (2,), (1,))


@pytest.mark.parametrize("target", [np.array([0, 3, 9, 4, 1]), np.array(7), np.array([9, 9, 8])])
def test_adaptive_softmax(target):
    mine, theirs = pair(
        lambda T: T.nn.AdaptiveLogSoftmaxWithLoss(
            8, 10, [2, 5], div_value=2.0, head_bias=True, dtype=T.float64
        )
    )
    x = random.standard_normal((*target.shape, 8))
    results = []
    for library, layer in ((ours, mine), (torch, theirs)):
        inputs = library.from_numpy(x).requires_grad_()
        output, loss = layer(inputs, library.from_numpy(target))
        (loss + (output * output).sum()).backward()
        found = [output, loss, inputs.grad, *[p.grad for p in layer.parameters()]]
        if target.ndim:
            found += [layer.log_prob(inputs), layer.predict(inputs)]
        results.append([library.zeros(1).double() if f is None else f for f in found])
    for i, (a, b) in enumerate(zip(*results, strict=True)):
        close(a, b, "float64", str(i))


@pytest.mark.parametrize(
    "run",
    [
        lambda T: T.nn.AdaptiveLogSoftmaxWithLoss(8, 10, []),
        lambda T: T.nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5, 2]),
        lambda T: T.nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5, 10]),
        lambda T: T.nn.AdaptiveLogSoftmaxWithLoss(8, 10, [2])(T.ones(8), T.tensor([1])),
        lambda T: T.nn.AdaptiveLogSoftmaxWithLoss(8, 10, [2])(T.ones(2, 8), T.tensor([1, 10])),
    ],
)
def test_adaptive_softmax_refuses(run):
    same_error(run)


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_local_response_norm(size):
    beside_torch(lambda T, x: T.nn.LocalResponseNorm(size, 0.3)(x), random.normal(size=(2, 5, 3)))
