"""Interpolation, shuffles and padding layers beside torch's."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import beside_torch, same_error, same_warning

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
random = np.random.default_rng(0)


def R(*shape):
    return random.standard_normal(shape)


CASES = [
    ((2, 3, 5), dict(size=8)),
    ((2, 3, 5), dict(scale_factor=2.7)),
    ((2, 3, 7), dict(scale_factor=0.6, mode="nearest-exact")),
    ((2, 3, 5), dict(size=8, mode="linear")),
    ((2, 3, 5), dict(scale_factor=0.6, mode="linear", align_corners=True)),
    ((2, 3, 5, 4), dict(scale_factor=2)),
    ((2, 3, 5, 4), dict(size=(3, 9), mode="nearest-exact")),
    ((2, 3, 5, 4), dict(scale_factor=(2, 1.5), mode="bilinear")),
    ((2, 3, 5, 4), dict(scale_factor=1.7, mode="bilinear", recompute_scale_factor=True)),
    ((2, 3, 5, 4), dict(size=(3, 9), mode="bilinear", align_corners=True)),
    ((2, 3, 5, 4), dict(size=(1, 2), mode="bilinear", align_corners=True)),
    ((2, 3, 5, 4), dict(scale_factor=2, mode="bicubic")),
    ((2, 3, 5, 4), dict(size=(3, 7), mode="bicubic", align_corners=True)),
    ((2, 3, 6, 4), dict(size=(4, 2), mode="area")),
    ((1, 2, 3, 4, 2), dict(scale_factor=2, mode="trilinear")),
    ((1, 2, 3, 4, 2), dict(scale_factor=2)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape, options", CASES)
def test_interpolate(shape, options, dtype):
    beside_torch(
        lambda T, x: T.nn.functional.interpolate(x, **options), R(*shape), dtype=dtype,
        second=dtype == "float64",
    )  # fmt: skip


def test_nearest_at_every_size():
    """The rounding of the positions is torch's, in float32."""
    x = np.arange(97, dtype="float32").reshape(1, 1, -1)
    for mode in ("nearest", "nearest-exact"):
        for size in range(1, 300):
            mine = ours.nn.functional.interpolate(ours.tensor(x), size, mode=mode)
            theirs = torch.nn.functional.interpolate(torch.tensor(x), size, mode=mode)
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy(), err_msg=f"{mode} {size}")
        for scale in (0.1, 0.3, 1.1, 1.7, 2.3, 3.3):
            mine = ours.nn.functional.interpolate(ours.tensor(x), scale_factor=scale, mode=mode)
            theirs = torch.nn.functional.interpolate(torch.tensor(x), scale_factor=scale, mode=mode)
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy(), err_msg=f"{mode} {scale}")


def test_infinities_stay_where_they_are():
    x = np.array([[[1.0, 2.0, 3.0, np.inf]]])
    for mode in ("linear", "nearest"):
        mine = ours.nn.functional.interpolate(ours.tensor(x), 8, mode=mode)
        theirs = torch.nn.functional.interpolate(torch.tensor(x), 8, mode=mode)
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    "run",
    [
        lambda F, T: F.interpolate(T.ones(1, 1, 2)),
        lambda F, T: F.interpolate(T.ones(1, 1, 2), 2, 2),
        lambda F, T: F.interpolate(T.ones(1, 1, 2), (2, 2)),
        lambda F, T: F.interpolate(T.ones(1, 1, 2), 2, align_corners=True),
        lambda F, T: F.interpolate(T.ones(1, 1, 2), 2, mode="bilinear"),
        lambda F, T: F.interpolate(T.ones(1, 1, 2), 2, mode="other"),
        lambda F, T: F.interpolate(T.ones(1, 1, 2), 0),
        lambda F, T: F.interpolate(T.ones(1, 2), 3),
        lambda F, T: F.pixel_shuffle(T.ones(1, 3, 2, 2), 2),
        lambda F, T: F.pixel_shuffle(T.ones(2, 2), 2),
        lambda F, T: F.pixel_unshuffle(T.ones(1, 1, 3, 2), 2),
        lambda F, T: F.channel_shuffle(T.ones(1, 3, 2), 2),
    ],
)
def test_errors(run):
    same_error(lambda T: run(T.nn.functional, T), "")


def test_shuffles():
    beside_torch(lambda T, x: T.nn.functional.pixel_shuffle(x, 2), R(2, 8, 3, 2))
    beside_torch(lambda T, x: T.nn.functional.pixel_unshuffle(x, 2), R(2, 2, 4, 6))
    beside_torch(lambda T, x: T.pixel_shuffle(x, 3), R(9, 1, 2))
    beside_torch(lambda T, x: T.nn.ChannelShuffle(3)(x), R(2, 6, 3, 2))


LAYERS = [
    (lambda nn: nn.Upsample(scale_factor=2), (1, 2, 3, 4)),
    (lambda nn: nn.Upsample(size=(5, 3), mode="bilinear", align_corners=True), (1, 2, 3, 4)),
    (lambda nn: nn.UpsamplingBilinear2d(scale_factor=2), (1, 2, 3, 4)),
    (lambda nn: nn.PixelShuffle(2), (1, 4, 3, 4)),
    (lambda nn: nn.PixelUnshuffle(2), (1, 1, 4, 4)),
    (lambda nn: nn.ZeroPad1d(2), (1, 2, 3)),
    (lambda nn: nn.ZeroPad2d((1, 0, 2, 1)), (1, 2, 3, 4)),
    (lambda nn: nn.ConstantPad1d(2, 1.5), (2, 3)),
    (lambda nn: nn.ConstantPad2d(1, 3), (1, 2, 3, 4)),
    (lambda nn: nn.ConstantPad3d(1, 3.5), (1, 2, 3, 4)),
    (lambda nn: nn.ReflectionPad1d((2, 1)), (1, 2, 4)),
    (lambda nn: nn.ReflectionPad2d(1), (1, 2, 4, 3)),
    (lambda nn: nn.ReplicationPad1d(1), (1, 2, 4)),
    (lambda nn: nn.ReplicationPad2d((1, 2, 0, 3)), (1, 2, 4, 3)),
    (lambda nn: nn.ReplicationPad3d(1), (1, 2, 4, 3, 2)),
    (lambda nn: nn.CircularPad2d(1), (1, 2, 4, 3)),
]


@pytest.mark.parametrize("make, shape", LAYERS)
def test_layers(make, shape):
    assert repr(make(ours.nn)) == repr(make(torch.nn))
    beside_torch(lambda T, x: make(T.nn)(x), R(*shape))


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [False, True])
def test_grid_sample_far_outside_and_at_no_number(mode, padding, align):
    """Many turns of the reflection, the very edge, positions that are infinite or no number."""
    places = np.array([-1e12, -7.3, -1.0, -0.2, 0.0, 1.0, 6.9, 1e12, np.inf, -np.inf])
    if padding == "zeros":
        places = np.append(places, np.nan)
    grid = np.stack(np.meshgrid(places, places), -1)[None]
    x = R(1, 2, 3, 4)
    mine, theirs = (
        T.nn.functional.grid_sample(T.from_numpy(x), T.from_numpy(grid), mode, padding, align)
        for T in (ours, torch)
    )
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-9, atol=1e-11)


def test_grid_sample_of_one_pixel_and_of_the_identity():
    x = R(1, 2, 4, 5)
    identity = ours.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], dtype=ours.float64)
    for align in (False, True):
        grid = ours.nn.functional.affine_grid(identity, x.shape, align)
        y = ours.nn.functional.grid_sample(ours.from_numpy(x), grid, align_corners=align)
        np.testing.assert_allclose(y.numpy(), x, rtol=1e-12)
    for padding in ("zeros", "border", "reflection"):
        beside_torch(
            lambda T, x, grid, padding=padding: T.nn.functional.grid_sample(
                x, grid, padding_mode=padding, align_corners=True
            ),
            R(1, 1, 1, 1), R(1, 2, 2, 2),
        )  # fmt: skip


def test_default_of_align_corners_warns():
    same_warning(lambda T: T.nn.functional.grid_sample(T.ones(1, 1, 2, 2), T.zeros(1, 1, 1, 2)))
    same_warning(lambda T: T.nn.functional.affine_grid(T.ones(1, 2, 3), (1, 1, 2, 2)))
