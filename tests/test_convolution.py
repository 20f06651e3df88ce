"""Convolutions beside torch's: values, gradients twice, every option, layers and their draws."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import beside_torch, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
random = np.random.default_rng(0)


def R(*shape):
    return random.standard_normal(shape)


CASES = [
    (1, (2, 4, 9), (6, 4, 3), {}),
    (1, (4, 9), (6, 2, 3), dict(groups=2, stride=2)),
    (1, (2, 4, 9), (6, 4, 4), dict(padding="same")),
    (1, (2, 4, 9), (6, 4, 2), dict(padding="valid", dilation=3)),
    (2, (2, 3, 6, 7), (4, 3, 3, 2), dict(stride=(2, 1), padding=(1, 0))),
    (2, (2, 4, 6, 7), (4, 1, 3, 3), dict(groups=4, padding=1)),
    (2, (3, 6, 7), (4, 3, 2, 2), dict(padding="same", dilation=(1, 3))),
    (2, (2, 3, 5, 5), (4, 3, 1, 1), {}),
    (2, (2, 3, 7, 7), (4, 3, 3, 3), dict(stride=3)),
    (2, (0, 3, 7, 7), (4, 3, 3, 3), {}),
    (3, (2, 2, 4, 5, 3), (3, 2, 2, 3, 2), dict(stride=(1, 2, 1), padding=1)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n, x, w, options", CASES)
def test_conv(n, x, w, options, dtype):
    def run(T, x, w, b=None):
        return getattr(T.nn.functional, f"conv{n}d")(x, w, b, **options)

    scale = 0.3
    arrays = [R(*x) * scale, R(*w) * scale, R(w[0])]
    beside_torch(run, *arrays, dtype=dtype, second=dtype == "float64")
    beside_torch(run, *arrays[:2], dtype=dtype, second=False)


TRANSPOSED = [
    (1, (2, 4, 5), (4, 3, 3), {}),
    (1, (4, 5), (4, 3, 3), dict(stride=2, output_padding=1)),
    (2, (2, 4, 3, 4), (4, 3, 3, 2), dict(stride=(2, 3), padding=1, output_padding=(1, 0))),
    (2, (2, 4, 3, 4), (4, 3, 2, 2), dict(groups=2, dilation=2)),
    (3, (2, 2, 3, 2, 3), (2, 1, 2, 2, 2), dict(stride=2)),
]


@pytest.mark.parametrize("n, x, w, options", TRANSPOSED)
def test_conv_transpose(n, x, w, options):
    def run(T, x, w, b):
        return getattr(T.nn.functional, f"conv_transpose{n}d")(x, w, b, **options)

    beside_torch(run, R(*x), R(*w), R(w[1] * options.get("groups", 1)))


def test_many_samples_in_blocks():
    """More columns than one block holds."""
    x, w = R(40, 8, 20, 20), R(5, 8, 3, 3)
    beside_torch(lambda T, x, w: T.nn.functional.conv2d(x, w), x, w, second=False)


def test_not_contiguous():
    beside_torch(lambda T, x, w: T.nn.functional.conv2d(x.transpose(1, 3), w.transpose(0, 1)),
                 R(2, 9, 6, 3), R(3, 4, 2, 2))  # fmt: skip


def test_half():
    x, w = R(2, 3, 6, 6).astype("float16"), R(4, 3, 3, 3).astype("float16")
    mine = ours.nn.functional.conv2d(ours.tensor(x), ours.tensor(w))
    theirs = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w))
    assert mine.dtype == ours.float16
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "run",
    [
        lambda T: T.nn.functional.conv2d(T.ones(2, 2), T.ones(1, 1, 1, 1)),
        lambda T: T.nn.functional.conv2d(T.ones(1, 2, 4, 4), T.ones(1, 3, 1, 1)),
        lambda T: T.nn.functional.conv2d(T.ones(1, 2, 2, 2), T.ones(1, 2, 3, 3)),
        lambda T: T.nn.functional.conv1d(T.ones(1, 2, 4), T.ones(1, 2, 1).double()),
        lambda T: T.nn.functional.conv1d(T.ones(1, 2, 4), T.ones(1, 2, 1), T.ones(3)),
        lambda T: T.nn.functional.conv1d(T.ones(1, 2, 4), T.ones(1, 2, 1), stride=0),
        lambda T: T.nn.functional.conv1d(
            T.ones(1, 2, 4), T.ones(1, 2, 1), stride=2, padding="same"
        ),
        lambda T: T.nn.functional.conv1d(T.ones(1, 2, 4), T.ones(1, 2, 1), padding="other"),
        lambda T: T.nn.functional.conv2d(T.ones(1, 2, 4, 4), T.ones(1, 2, 1, 1), stride=(1, 2, 3)),
        lambda T: T.nn.functional.conv_transpose1d(T.ones(1, 2, 4), T.ones(3, 2, 1)),
        lambda T: T.nn.functional.conv_transpose1d(
            T.ones(1, 2, 4), T.ones(2, 2, 1), output_padding=1
        ),
        lambda T: T.nn.Conv2d(3, 4, 1, groups=2),
        lambda T: T.nn.Conv2d(3, 4, 1, padding="some"),
        lambda T: T.nn.Conv2d(3, 4, 1, stride=2, padding="same"),
        lambda T: T.nn.Conv2d(3, 4, 1, padding_mode="some"),
        lambda T: T.nn.ConvTranspose2d(3, 4, 1, padding_mode="reflect"),
    ],
)
def test_errors(run):
    same_error(run, "")


LAYERS = [
    ("Conv1d", (4, 6, 3), dict(padding=2, padding_mode="circular"), (2, 4, 9)),
    ("Conv1d", (4, 6, 4), dict(padding="same", padding_mode="replicate"), (2, 4, 9)),
    ("Conv2d", (3, 4, 3), dict(stride=2, bias=False), (2, 3, 8, 8)),
    ("Conv2d", (4, 4, (3, 2)), dict(padding=1, groups=2, padding_mode="reflect"), (4, 8, 8)),
    ("Conv2d", (4, 8, 3), dict(dilation=2, padding="same"), (1, 4, 8, 8)),
    ("Conv3d", (2, 3, 2), {}, (1, 2, 4, 4, 4)),
    ("ConvTranspose1d", (2, 3, 3), dict(stride=2), (1, 2, 5)),
    ("ConvTranspose2d", (2, 4, 3), dict(stride=2, output_padding=1, groups=2), (1, 2, 5, 5)),
    ("ConvTranspose3d", (2, 4, 2), dict(bias=False), (1, 2, 2, 3, 2)),
]


@pytest.mark.parametrize("name, sizes, options, shape", LAYERS)
def test_layers(name, sizes, options, shape):
    x = R(*shape).astype("float32")
    made = []
    for T in (ours, torch):
        T.manual_seed(3)
        layer = getattr(T.nn, name)(*sizes, **options)
        y = layer(T.tensor(x))
        (y * y).sum().backward()
        made.append((repr(layer), layer.state_dict(), y, [p.grad for p in layer.parameters()]))
    (r, s, y, g), (tr, ts, ty, tg) = made
    assert r == tr and list(s) == list(ts)
    for key in s:
        np.testing.assert_array_equal(s[key].numpy(), ts[key].numpy())
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-4, atol=1e-5)
    for a, b in zip(g, tg, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-4)


def test_output_size():
    for T in (ours, torch):
        layer = T.nn.ConvTranspose2d(1, 1, 3, stride=2)
        assert tuple(layer(T.ones(1, 1, 4, 4), output_size=(10, 9)).shape) == (1, 1, 10, 9)
        with pytest.raises(ValueError):
            layer(T.ones(1, 1, 4, 4), output_size=(12, 9))
