"""Same seed, same numbers as torch, from the first weights to the last loss.

Everything a training script draws: initial weights, dropout masks, shuffles, splits; and a whole
training run, whose losses stay with torch's and whose generator ends in the same state.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

LIBRARIES = (ours, torch)
SEEDS = (0, 1, 12345)


def state(library: Any) -> list[int]:
    return list(library.get_rng_state().tolist())


def data_of(library: Any) -> Any:
    return importlib.import_module(f"{library.__name__}.utils.data")


def bits(tensor: Any) -> tuple[str, tuple[int, ...], bytes]:
    """All there is to know of a tensor's value; two NaNs of the same bits are equal."""
    array = tensor.detach().numpy()
    return str(array.dtype), array.shape, np.ascontiguousarray(array).tobytes()


def same(run: Callable[[Any], Any], seed: int = 0) -> Any:
    """`run` returns the same with both libraries, and leaves both generators in one state."""
    found = []
    for library in LIBRARIES:
        library.manual_seed(seed)
        found.append((run(library), state(library)))
    assert found[0] == found[1]
    return found[0][0]


# Initial weights ----------------------------------------------------------------------------------

LAYERS = """
    Linear(7, 5)
    Linear(300, 200, bias=False)
    Linear(3, 4, dtype=T.float64)
    Bilinear(3, 4, 5)
    Bilinear(3, 4, 5, bias=False)
    Embedding(10, 6)
    Embedding(7, 3, padding_idx=2)
    Embedding(1000, 48)
    EmbeddingBag(10, 6)
    PReLU()
    PReLU(4, 0.3)
    LayerNorm(5)
    LayerNorm((3, 5), bias=False)
    RMSNorm(5)
    GroupNorm(2, 6)
    BatchNorm1d(5)
    BatchNorm2d(5, affine=False)
    BatchNorm3d(5, track_running_stats=False)
    SyncBatchNorm(5)
    InstanceNorm1d(5, affine=True)
    InstanceNorm2d(5, affine=True, track_running_stats=True)
    InstanceNorm3d(5)
    Conv1d(4, 6, 3)
    Conv2d(4, 6, 3, groups=2)
    Conv3d(2, 3, 3, bias=False)
    ConvTranspose1d(4, 6, 3)
    ConvTranspose2d(4, 6, 3, groups=2)
    ConvTranspose3d(2, 3, 3)
    RNN(3, 5, 2)
    LSTM(3, 5, 2, bidirectional=True)
    LSTM(3, 5, proj_size=2)
    GRU(3, 5, bias=False)
    RNNCell(3, 5)
    LSTMCell(3, 5)
    GRUCell(3, 5)
    MultiheadAttention(8, 2)
    MultiheadAttention(8, 2, bias=False)
    MultiheadAttention(8, 2, kdim=3, vdim=5, add_bias_kv=True)
    TransformerEncoderLayer(8, 2, 16)
    TransformerDecoderLayer(8, 2, 16)
    TransformerEncoder(T.nn.TransformerEncoderLayer(8, 2, 16), 3)
    TransformerDecoder(T.nn.TransformerDecoderLayer(8, 2, 16), 2)
    Transformer(8, 2, 2, 2, 16)
    AdaptiveLogSoftmaxWithLoss(16, 20, [5, 10], 2.0)
    LinearCrossEntropyLoss(5, 10, bias=True)
    Sequential(T.nn.Linear(4, 5), T.nn.Embedding(3, 2), T.nn.Linear(5, 1))
"""
ROWS = [line.strip() for line in LAYERS.strip().splitlines()]
ROWS = [row for row in ROWS if hasattr(ours.nn, row.partition("(")[0])]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
@pytest.mark.parametrize("row", ROWS)
def test_initial_weights(row: str) -> None:
    def run(T: Any) -> Any:
        layer = eval(f"T.nn.{row}", {"T": T})  # noqa: S307
        start = [(name, bits(t)) for name, t in layer.state_dict().items()]
        for module in layer.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        again = [(name, bits(t)) for name, t in layer.state_dict().items()]
        return start, again

    for seed in SEEDS:
        same(run, seed)


def test_every_layer_with_parameters_has_a_row() -> None:
    known = {row.partition("(")[0] for row in ROWS}
    for name in dir(ours.nn):
        kind = getattr(ours.nn, name)
        if isinstance(kind, type) and issubclass(kind, ours.nn.Module) and name not in known:
            if name.startswith("Lazy") or name in ("RNNBase", "RNNCellBase"):
                continue  # parameters come with the first input, or with a subclass
            try:
                made = kind()
            except TypeError:  # needs arguments: sizes, so it may well have parameters
                made = None
            draws = made is not None and list(made.parameters())
            assert not draws and (made is not None or name in NO_PARAMETERS), name


NO_PARAMETERS = {
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d",
    "ChannelShuffle", "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d",
    "ConstantPad2d", "ConstantPad3d", "DataParallel", "Fold", "FractionalMaxPool2d",
    "FractionalMaxPool3d", "LPPool1d", "LPPool2d", "LPPool3d",
    "LocalResponseNorm", "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d",
    "MaxUnpool3d", "PixelShuffle", "PixelUnshuffle", "ReflectionPad1d", "ReflectionPad2d",
    "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d", "Threshold",
    "Unflatten", "Unfold", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
}  # fmt: skip

INITS = """
    uniform_(x, -0.5, 2)
    normal_(x, 1, 0.2)
    trunc_normal_(x)
    trunc_normal_(x, 0.5, 2, -0.5, 0.5)
    trunc_normal_(x, std=0.02)
    xavier_uniform_(x, 1.7)
    xavier_normal_(x)
    kaiming_uniform_(x, 5**0.5)
    kaiming_uniform_(x, mode="fan_out", nonlinearity="relu")
    kaiming_normal_(x, 0.1)
    sparse_(x, 0.3)
    eye_(x)
    ones_(x)
    constant_(x, 3)
    zeros_(x)
"""


@pytest.mark.parametrize("call", [line.strip() for line in INITS.strip().splitlines()])
@pytest.mark.parametrize("shape", [(3, 4), (40, 30), (17, 1)])
def test_init(call: str, shape: tuple[int, int]) -> None:
    def run(T: Any) -> Any:
        results = []
        for x in (T.empty(shape), T.empty(shape).t(), T.empty(60, 60)[::3, 1::2]):
            eval(f"T.nn.init.{call}", {"T": T, "x": x})  # noqa: S307
            results.append(bits(x))
        return results

    for seed in SEEDS:
        same(run, seed)


@pytest.mark.parametrize("shape", [(4, 4), (3, 70), (70, 3), (4, 3, 2)])
def test_orthogonal_init_draws_the_same(shape: tuple[int, ...]) -> None:
    """Its numbers come from a QR decomposition, which rounds differently."""
    drawn = []
    for T in LIBRARIES:
        T.manual_seed(3)
        drawn.append((T.nn.init.orthogonal_(T.empty(shape)).numpy(), state(T)))
    np.testing.assert_allclose(drawn[0][0], drawn[1][0], atol=1e-6)
    assert drawn[0][1] == drawn[1][1]


# Dropout ------------------------------------------------------------------------------------------

INPUTS: dict[str, Callable[[Any, Any], Any]] = {
    "contiguous": lambda T, x: x,
    "transposed": lambda T, x: x.transpose(0, -1),
    "permuted": lambda T, x: x.permute(1, 0, *range(2, x.ndim)),
    "part": lambda T, x: x[..., 1:],
    "steps": lambda T, x: x[:, ::2],
    "expanded": lambda T, x: x[:1].expand(4, *x.shape[1:]),
    "computed": lambda T, x: x.transpose(-1, -2) * 2,
    "one element": lambda T, x: x[:1, :1],
}
DROPOUTS = {  # layer: shapes of its input
    "Dropout": [(9,), (5, 7), (2, 3, 4)], "Dropout1d": [(6, 8), (2, 6, 5)],
    "Dropout2d": [(3, 4, 5, 2), (3, 4, 5)], "Dropout3d": [(2, 3, 4, 5, 2), (3, 4, 5, 2)],
    "AlphaDropout": [(9,), (5, 7)], "FeatureAlphaDropout": [(4, 5), (2, 6, 5)],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", DROPOUTS)
@pytest.mark.parametrize("view", INPUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_dropout(name: str, view: str, dtype: str) -> None:
    def run(T: Any) -> Any:
        results = []
        for shape, p in itertools.product(DROPOUTS[name], (0.0, 0.1, 0.5, 1.0)):
            if len(shape) == 1 and view not in ("contiguous", "part"):
                continue
            leaf = (T.randint(-8, 9, shape) / 8).to(getattr(T, dtype)).requires_grad_()
            x = INPUTS[view](T, leaf)
            layer = getattr(T.nn, name)(p)
            y = layer(x)
            weights = T.rand(y.shape).to(y.dtype)
            (y * weights).sum().backward()
            results += [bits(y), bits(layer.eval()(x))]
            if view != "expanded":  # the sum over copies may be rounded differently
                results.append(bits(leaf.grad))
            in_place = getattr(T.nn, name)(p, inplace=True)(x.detach().clone())
            results.append(bits(in_place))
        return results

    same(run)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data(), st.integers(0, 2**32))
def test_dropout_of_any_memory_order(shape: list[int], data: st.DataObject, seed: int) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    p = data.draw(st.floats(0, 1, width=32))
    grad = data.draw(st.booleans())

    def run(T: Any) -> Any:
        x = T.ones(shape, requires_grad=grad).permute(*order)
        return bits(T.nn.functional.dropout(x, p))

    same(run, seed)


ATTENTIVE = """
    MultiheadAttention(8, 2, 0.3)
    MultiheadAttention(8, 2, 0.3, batch_first=True)
    TransformerEncoderLayer(8, 2, 16, 0.3)
    TransformerEncoderLayer(8, 2, 16, 0.3, batch_first=True)
    TransformerEncoderLayer(8, 2, 16, 0.3, activation="gelu", norm_first=True, batch_first=True)
    TransformerDecoderLayer(8, 2, 16, 0.3, batch_first=True)
    TransformerEncoder(T.nn.TransformerEncoderLayer(8, 2, 16, 0.3, batch_first=True), 2)
    Transformer(8, 2, 2, 2, 16, 0.3)
    LSTM(8, 5, 2, dropout=0.3)
    GRU(8, 5, 2, dropout=0.3, bidirectional=True)
"""
PARTS = [line.strip() for line in ATTENTIVE.strip().splitlines()]


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
@pytest.mark.parametrize("row", [r for r in PARTS if hasattr(ours.nn, r.partition("(")[0])])
def test_layers_with_dropout_inside(row: str) -> None:
    """The masks are torch's: else whole numbers would be missing, not last bits."""
    results = []
    for T in LIBRARIES:
        T.manual_seed(1)
        layer = eval(f"T.nn.{row}", {"T": T})  # noqa: S307
        x, memory = T.rand(3, 5, 8), T.rand(3, 5, 8)
        if "Attention" in row:
            y = layer(x, x, memory)[0]
        elif "Decoder" in row or row.startswith("Transformer("):
            y = layer(x, memory)
        else:
            y = layer(x)
        y = y[0] if isinstance(y, tuple) else y
        results.append((y.detach().numpy(), state(T)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    assert results[0][1] == results[1][1]


# Samplers and loaders -----------------------------------------------------------------------------


@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize("order", ["sequential", "shuffle", "weighted", "subset", "random", "race"])
@given(data=st.data(), seed=st.integers(0, 2**32))
@settings(max_examples=8)
def test_epochs_and_splits(order: str, own_generator: bool, data: st.DataObject, seed: int) -> None:
    """Loaders with all settings, epochs broken off, draws of the script in between."""
    n = data.draw(st.integers(2, 40))
    batch_size = data.draw(st.integers(1, 12))
    drop_last = data.draw(st.booleans())
    lengths = data.draw(st.lists(st.integers(0, 60), max_size=3))  # batches before breaking off

    def run(T: Any) -> Any:
        d = data_of(T)
        generator = T.Generator().manual_seed(seed) if own_generator else None
        whole = d.TensorDataset(T.arange(n), T.randn(n))
        train, held_out = d.random_split(whole, [n - n // 4, n // 4], generator=generator)
        chosen = {
            "sequential": lambda: None,
            "shuffle": lambda: None,
            "weighted": lambda: d.WeightedRandomSampler(T.rand(len(train)).tolist(), 2 * n),
            "race": lambda: d.WeightedRandomSampler(T.ones(len(train)), n // 2, False, generator),
            "subset": lambda: d.SubsetRandomSampler(range(len(train)), generator),
            "random": lambda: d.RandomSampler(train, True, 3 * n, generator),
        }[order]()
        loader = d.DataLoader(
            train, batch_size, order == "shuffle", chosen, drop_last=drop_last,
            generator=generator,
        )  # fmt: skip
        seen: list[Any] = [list(train.indices), list(held_out.indices)]
        for length in [*lengths, 1000]:
            seen.append([(a.tolist(), bits(b)) for a, b in itertools.islice(loader, length)])
            seen.append(bits(T.rand(2)))
        if generator is not None:
            seen.append(generator.get_state().tolist())
        return seen

    same(run, seed)


# End to end ---------------------------------------------------------------------------------------


def train(T: Any, seed: int, inputs: int, steps: int) -> tuple[list[float], list[int], Any]:
    """The reference training script; returns its losses, the generator's state and weights."""
    T.manual_seed(seed)
    nn, d = T.nn, data_of(T)
    model = nn.Sequential(
        nn.Linear(inputs, 128), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10),
    )  # fmt: skip
    X = T.rand(400, inputs)
    y = (X @ T.randn(inputs, 10)).argmax(1)
    loader = d.DataLoader(d.TensorDataset(X, y), batch_size=32, shuffle=True)
    optimizer = T.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = T.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    criterion = nn.CrossEntropyLoss()
    losses: list[float] = []
    while len(losses) < steps:
        for X_batch, y_batch in loader:
            optimizer.zero_grad()
            loss = criterion(model(X_batch), y_batch)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return losses, state(T), [p.detach().numpy() for p in model.parameters()]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch's threads and those of NumPy's BLAS would wait for each other, tens of seconds."""
    limit: Any = contextlib.nullcontext
    if importlib.util.find_spec("threadpoolctl"):  # comes with scikit-learn
        limit = importlib.import_module("threadpoolctl").threadpool_limits
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with limit(1):
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("inputs", [64, 784])
@pytest.mark.usefixtures("one_thread")
def test_a_training_run(seed: int, inputs: int) -> None:
    mine, my_state, my_weights = train(ours, seed, inputs, 200)
    theirs, their_state, their_weights = train(torch, seed, inputs, 200)
    assert my_state == their_state
    assert np.abs(np.subtract(mine, theirs)).max() < 1e-4
    assert sum(mine[-20:]) < 0.9 * sum(mine[:20])  # it did learn
    for a, b in zip(my_weights, their_weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
