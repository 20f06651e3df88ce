"""Pooling, unfold and fold beside torch's: values, positions, gradients twice, layers."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import beside_torch, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
random = np.random.default_rng(0)


def R(*shape):
    """Distinct numbers, so that the largest is never in doubt."""
    size = int(np.prod(shape))
    return (random.permutation(size) - size / 2).reshape(shape) / 7


MAX = [
    (1, (2, 3, 8), (2,), {}),
    (1, (3, 9), (3,), dict(stride=2, padding=1)),
    (1, (2, 3, 9), (2,), dict(stride=2, ceil_mode=True)),
    (2, (2, 3, 6, 7), (2,), {}),
    (2, (2, 3, 6, 7), (3,), dict(stride=2, padding=1, ceil_mode=True)),
    (2, (2, 3, 8, 7), ((3, 2),), dict(stride=(2, 1), padding=(1, 0), dilation=(1, 3))),
    (2, (3, 6, 7), (3,), dict(stride=1)),
    (3, (2, 2, 4, 5, 4), (2,), dict(stride=1, padding=1)),
    (2, (0, 2, 4, 4), (2,), {}),
]


@pytest.mark.parametrize("n, shape, args, options", MAX)
def test_max_pool(n, shape, args, options):
    def pool(T, x, **more):
        return getattr(T.nn.functional, f"max_pool{n}d")(x, *args, **options, **more)

    x = R(*shape)
    beside_torch(pool, x)
    mine = pool(ours, ours.tensor(x), return_indices=True)[1]
    theirs = pool(torch, torch.tensor(x), return_indices=True)[1]
    assert mine.dtype == ours.int64
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_max_pool_special_values():
    x = np.full((1, 1, 4, 4), -np.inf, "float32")
    x[0, 0, 1, 1], x[0, 0, 3, 3] = np.nan, 2.0
    for options in (dict(), dict(padding=1), dict(stride=1)):
        mine = ours.nn.functional.max_pool2d(ours.tensor(x), 2, return_indices=True, **options)
        theirs = torch.nn.functional.max_pool2d(torch.tensor(x), 2, return_indices=True, **options)
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


AVG = [
    (1, (2, 3, 8), (2,), {}),
    (1, (3, 9), (3,), dict(stride=2, padding=1, count_include_pad=False)),
    (1, (2, 3, 9), (2,), dict(stride=2, ceil_mode=True)),
    (2, (2, 3, 6, 7), (2,), {}),
    (2, (2, 3, 7, 8), (3,), dict(stride=2, padding=1, ceil_mode=True)),
    (2, (2, 3, 7, 8), (3,), dict(stride=2, padding=1, ceil_mode=True, count_include_pad=False)),
    (2, (3, 8, 7), ((3, 2),), dict(stride=(2, 1), padding=(1, 0), divisor_override=4)),
    (2, (1, 1, 5, 5), (2,), dict(stride=3)),
    (3, (2, 2, 4, 5, 4), (2,), dict(stride=1, padding=1)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n, shape, args, options", AVG)
def test_avg_pool(n, shape, args, options, dtype):
    beside_torch(
        lambda T, x: getattr(T.nn.functional, f"avg_pool{n}d")(x, *args, **options),
        R(*shape) / 10, dtype=dtype,
    )  # fmt: skip


ADAPTIVE = [
    (1, (2, 3, 8), 4), (1, (3, 7), 3), (1, (1, 1, 3), 5), (2, (2, 3, 6, 7), 3),
    (2, (2, 3, 6, 8), (3, 2)), (2, (3, 6, 7), (None, 1)), (2, (1, 2, 5, 5), (7, 1)),
    (3, (1, 2, 4, 5, 3), (2, 3, 1)),
]  # fmt: skip


@pytest.mark.parametrize("n, shape, size", ADAPTIVE)
def test_adaptive(n, shape, size):
    for kind in ("avg", "max"):
        name = f"adaptive_{kind}_pool{n}d"
        x = R(*shape)
        beside_torch(lambda T, x, name=name: getattr(T.nn.functional, name)(x, size), x)
    mine = getattr(ours.nn.functional, name)(ours.tensor(x), size, return_indices=True)[1]
    theirs = getattr(torch.nn.functional, name)(torch.tensor(x), size, return_indices=True)[1]
    np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_lp_pool():
    for n, shape in ((1, (2, 3, 8)), (2, (2, 3, 6, 7))):
        beside_torch(
            lambda T, x, n=n: getattr(T.nn.functional, f"lp_pool{n}d")(x, 2, 3, 2),
            abs(R(*shape)) + 0.1,
        )


def test_max_unpool():
    def run(T, x):
        F = T.nn.functional
        y, index = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(y, index, 2, output_size=x.shape)

    beside_torch(run, R(2, 3, 6, 7))
    beside_torch(
        lambda T, x: T.nn.MaxUnpool1d(2)(*T.nn.MaxPool1d(2, return_indices=True)(x)), R(3, 8)
    )


UNFOLD = [((2, 3, 6, 5), ((2, 3),), {}), ((3, 6, 7), (3,), dict(padding=1, stride=2, dilation=2))]


@pytest.mark.parametrize("shape, args, options", UNFOLD)
def test_unfold_and_fold(shape, args, options):
    def back(T, x):
        F = T.nn.functional
        return F.fold(F.unfold(x, *args, **options) ** 2, shape[-2:], *args, **options)

    beside_torch(lambda T, x: T.nn.functional.unfold(x, *args, **options), R(*shape))
    beside_torch(back, R(*shape))
    beside_torch(lambda T, x: T.nn.Unfold(*args, **options)(x), R(*shape), second=False)


@pytest.mark.parametrize(
    "run",
    [
        lambda F, T: F.max_pool2d(T.ones(4, 4), 2),
        lambda F, T: F.max_pool2d(T.ones(1, 1, 4, 4), 2, padding=2),
        lambda F, T: F.max_pool2d(T.ones(1, 1, 4, 4), 5),
        lambda F, T: F.max_pool2d(T.ones(1, 1, 4, 4), (2, 2, 2)),
        lambda F, T: F.avg_pool2d(T.ones(1, 1, 4, 4), 2, divisor_override=0),
        lambda F, T: F.avg_pool2d(T.ones(1, 1, 4, 4), 5),
        lambda F, T: F.adaptive_avg_pool2d(T.ones(4, 4), 2),
        lambda F, T: F.unfold(T.ones(2, 2), 2),
        lambda F, T: F.unfold(T.ones(1, 2, 2, 2), 3),
        lambda F, T: F.fold(T.ones(1, 5, 2), (2, 3), 2),
        lambda F, T: F.fold(T.ones(1, 4, 3), (2, 3), 2),
    ],
)
def test_errors(run):
    same_error(lambda T: run(T.nn.functional, T), "")


@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.MaxPool1d(2),
        lambda nn: nn.MaxPool2d((3, 2), stride=2, padding=1),
        lambda nn: nn.MaxPool2d(2, ceil_mode=True),
        lambda nn: nn.MaxUnpool2d(2),
        lambda nn: nn.AvgPool1d(2),
        lambda nn: nn.AvgPool2d(2, padding=1),
        lambda nn: nn.AdaptiveAvgPool2d((1, 1)),
        lambda nn: nn.AdaptiveMaxPool1d(3),
        lambda nn: nn.LPPool2d(2, 3),
        lambda nn: nn.Unfold(3, padding=1),
        lambda nn: nn.Fold((4, 4), 2),
    ],
)
def test_repr(make):
    assert repr(make(ours.nn)) == repr(make(torch.nn))


@pytest.mark.parametrize("n", [2, 3])
def test_fractional_max_pool_draws_torch_numbers(n):
    """The same windows from the same seed, layer by layer."""
    x = random.standard_normal((2, 3, *[9, 8, 7][:n]))
    found = []
    for T in (ours, torch):
        layer = getattr(T.nn, f"FractionalMaxPool{n}d")(
            2, output_ratio=(0.5,) * n, return_indices=True
        )
        T.manual_seed(0)
        found.append(layer(T.from_numpy(x)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    "options", [{}, dict(output_size=3, output_ratio=0.5), dict(output_ratio=1.5)]
)
def test_fractional_max_pool_refuses(options):
    same_error(lambda T: T.nn.FractionalMaxPool2d(2, **options))
