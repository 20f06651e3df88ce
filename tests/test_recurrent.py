"""RNN, LSTM, GRU, their cells and packed sequences beside torch's."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import close, pair, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
random = np.random.default_rng(0)
LAYERS = ("RNN", "LSTM", "GRU")


def R(*shape):
    return random.standard_normal(shape)


def states(hx):
    return list(hx) if isinstance(hx, tuple) else [hx]


def total(outputs):
    """One number that depends on everything in its own way."""
    weights = np.random.default_rng(1)
    result = 0.0
    for y in outputs:
        w = weights.standard_normal(tuple(y.shape))
        library = ours if isinstance(y, ours.Tensor) else torch
        result = result + (y * library.tensor(w, dtype=y.dtype)).sum()
    return result


def both(make, use, second=False):
    """Build and use the same layer in both libraries; compare outputs and all gradients."""
    found = []
    for T, layer in zip((ours, torch), pair(lambda T: make(T.nn).double()), strict=True):
        T.manual_seed(6)
        outputs, inputs = use(T, layer)
        leaves = [*inputs, *layer.parameters()]
        grads = T.autograd.grad(total(outputs), leaves, create_graph=second)
        numbers = [*outputs, *grads]
        if second:
            numbers += T.autograd.grad(total(grads), leaves, allow_unused=True)
        found.append(numbers)
    for i, (a, b) in enumerate(zip(*found, strict=True)):
        assert (a is None) == (b is None), i
        if a is not None:
            close(a, b, "float64", str(i))


OPTIONS = [
    {},
    dict(num_layers=2, bidirectional=True),
    dict(num_layers=3, dropout=0.4, batch_first=True),
    dict(bias=False, bidirectional=True, batch_first=True),
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, options):
    x = R(4, 3, 5)

    def use(T, layer):
        leaf = T.tensor(x, requires_grad=True)
        y, hx = layer(leaf)
        return [y, *states(hx)], [leaf]

    both(lambda nn: getattr(nn, name)(5, 6, **options), use)


@pytest.mark.parametrize("name", LAYERS)
def test_given_states_second_order(name):
    x = R(3, 2, 4)
    first = [R(2, 2, 3), R(2, 2, 3)][: 2 if name == "LSTM" else 1]

    def use(T, layer):
        leaf = T.tensor(x, requires_grad=True)
        hx = [T.tensor(s, requires_grad=True) for s in first]
        y, last = layer(leaf, tuple(hx) if name == "LSTM" else hx[0])
        return [y, *states(last)], [leaf, *hx]

    both(lambda nn: getattr(nn, name)(4, 3, 2), use, second=True)


def test_only_some_outputs_used():
    """A gradient through the last cell alone, or the states alone, first and second order."""
    x = R(3, 2, 4)
    for which in range(3):

        def use(T, layer, which=which):
            leaf = T.tensor(x, requires_grad=True)
            y, (h, c) = layer(leaf)
            return [(y, h, c)[which]], [leaf]

        both(lambda nn: nn.LSTM(4, 3), use, second=True)


def test_relu_projection_and_single_sequence():
    x, single = R(4, 2, 5), R(4, 5)

    def use(T, layer):
        a, b = (T.tensor(v, requires_grad=True) for v in (x, single))
        (y, hx), (z, hz) = layer(a), layer(b)
        return [y, *states(hx), z, *states(hz)], [a, b]

    both(lambda nn: nn.RNN(5, 6, 2, "relu"), use)
    both(lambda nn: nn.LSTM(5, 6, 2, proj_size=3, bidirectional=True), use, second=True)


@pytest.mark.parametrize("options", [{}, dict(num_layers=2, bidirectional=True, dropout=0.3)])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("lengths", [[5, 3, 3, 1], [2, 5, 1, 4]])
def test_packed(name, options, lengths):
    x = R(4, 5, 3)

    def use(T, layer):
        rnn = T.nn.utils.rnn
        leaf = T.tensor(x, requires_grad=True)
        packed = rnn.pack_padded_sequence(
            leaf, T.tensor(lengths), batch_first=True, enforce_sorted=lengths[0] == 5
        )
        out, hx = layer(packed)
        y, n = rnn.pad_packed_sequence(out, batch_first=True, padding_value=-1.0, total_length=6)
        assert n.tolist() == lengths
        assert out.batch_sizes.tolist() == packed.batch_sizes.tolist()
        return [y, *states(hx)], [leaf]

    both(lambda nn: getattr(nn, name)(3, 4, **options), use)


def test_names_of_weights():
    for options in OPTIONS:
        mine, theirs = ours.nn.LSTM(3, 4, **options), torch.nn.LSTM(3, 4, **options)
        assert mine._all_weights == theirs._all_weights
        shapes = [[tuple(w.shape) for w in ws] for ws in mine.all_weights]
        assert shapes == [[tuple(w.shape) for w in ws] for ws in theirs.all_weights]


def test_gradient_of_the_first_state_alone():
    """Everything else is constant, also on the way through the definition."""
    for name in LAYERS:

        def use(T, layer, name=name):
            layer.requires_grad_(False)
            h = T.tensor(np.linspace(-1, 1, 8).reshape(1, 2, 4), requires_grad=True)
            hx = (h, T.ones(1, 2, 4).double()) if name == "LSTM" else h
            y, last = layer(T.ones(5, 2, 3).double(), hx)
            layer.parameters = lambda: []
            return [y, *states(last)], [h]

        both(lambda nn, name=name: getattr(nn, name)(3, 4), use, second=True)


def test_packing():
    for T in (ours, torch):
        rnn = T.nn.utils.rnn
        parts = [T.arange(2.0), T.arange(4.0), T.arange(1.0)]
        packed = rnn.pack_sequence(parts, enforce_sorted=False)
        assert packed.data.tolist() == [0, 0, 0, 1, 1, 2, 3]
        assert packed.batch_sizes.tolist() == [3, 2, 1, 1]
        assert packed.sorted_indices.tolist() == [1, 0, 2]
        back = rnn.unpack_sequence(packed)
        assert [p.tolist() for p in back] == [p.tolist() for p in parts]
        assert (
            isinstance(packed, rnn.PackedSequence) and packed.to(T.float64).data.dtype == T.float64
        )


@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.RNNCell(4, 3),
        lambda nn: nn.RNNCell(4, 3, nonlinearity="relu", bias=False),
        lambda nn: nn.LSTMCell(4, 3),
        lambda nn: nn.GRUCell(4, 3),
        lambda nn: nn.GRUCell(4, 3, bias=False),
    ],
)
def test_cells(make):
    x, one = R(2, 4), R(4)

    def use(T, layer):
        a, b = T.tensor(x, requires_grad=True), T.tensor(one, requires_grad=True)
        hx = None
        for _ in range(3):
            hx = layer(a, hx)
        return [*states(hx), *states(layer(b))], [a, b]

    both(make, use, second=True)


def test_float32():
    for name in LAYERS:
        found = []
        for T in (ours, torch):
            T.manual_seed(1)
            layer = getattr(T.nn, name)(8, 16)
            y, _ = layer(T.tensor(np.linspace(-1, 1, 7 * 2 * 8, dtype="float32").reshape(7, 2, 8)))
            y.square().sum().backward()
            found.append([y, *[p.grad for p in layer.parameters()]])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-4, 1e-5)


@pytest.mark.parametrize(
    "run",
    [
        lambda T: T.nn.LSTM(3, 4)(T.ones(2, 2, 2, 3)),
        lambda T: T.nn.LSTM(3, 4)(T.ones(2, 2, 5)),
        lambda T: T.nn.LSTM(3, 4)(T.ones(2, 2, 3), (T.ones(1, 2, 5), T.ones(1, 2, 4))),
        lambda T: T.nn.GRU(3, 4)(T.ones(2, 2, 3), T.ones(2, 4)),
        lambda T: T.nn.GRU(3, 4)(T.ones(2, 2, 3), T.ones(2, 2, 4)),
        lambda T: T.nn.GRU(3, 4, proj_size=2),
        lambda T: T.nn.RNN(3, 4, nonlinearity="gelu"),
        lambda T: T.nn.LSTM(3, 0),
        lambda T: T.nn.LSTM(3, 4, dropout=2),
        lambda T: T.nn.LSTM(3, 4, proj_size=5),
        lambda T: T.nn.LSTMCell(3, 4)(T.ones(2, 5)),
        lambda T: T.nn.LSTMCell(3, 4)(T.ones(2, 2, 3)),
        lambda T: T.nn.utils.rnn.pack_padded_sequence(T.ones(3, 2), [1, 2]),
        lambda T: T.nn.utils.rnn.pack_padded_sequence(T.ones(3, 2), [1, 0]),
        lambda T: T.nn.utils.rnn.pack_padded_sequence(T.ones(3, 2), [1]),
        lambda T: T.nn.utils.rnn.pad_packed_sequence(
            T.nn.utils.rnn.pack_sequence([T.ones(3)]), total_length=2
        ),
    ],
)
def test_errors(run):
    same_error(run, "")


def test_an_input_of_another_dtype_is_refused_outside_autocast():
    same_error(lambda T: T.nn.LSTM(4, 3)(T.ones(2, 1, 4).double()))
    found = []
    for T in (ours, torch):
        T.manual_seed(0)
        layer, rnn = T.nn.Linear(4, 4), T.nn.LSTM(4, 3)
        with T.autocast("cpu", dtype=T.bfloat16):
            y, _ = rnn(layer(T.ones(2, 1, 4)))  # 16-bit numbers and 32-bit weights
        found.append((str(y.dtype), y.detach().float().numpy()))
    assert found[0][0] == found[1][0]
    np.testing.assert_allclose(found[0][1], found[1][1], atol=0.02)
