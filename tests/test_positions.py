"""Positions are computed in torch's order: their last bit tells on which side of a pixel they lie.

At the centre of a pixel the derivative of bilinear interpolation jumps: an identity map whose
positions are off by one bit gives a spatial transformer another gradient altogether.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MAPS = {
    "identity": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
    "mirror": [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
    "quarter turn": [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]],
    "half": [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]],
    "twice": [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]],
    "any": [[0.9, 0.1, 0.0], [0.2, 0.8, 0.1]],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("align", [False, True])
def test_affine_grid_to_the_last_bit(align: bool, dtype: str) -> None:
    """At the identity for every size; at random maps of images and volumes."""
    cases: list[tuple[Any, list[int]]] = [
        (np.array([MAPS["identity"]], dtype), [n, 3]) for n in [*range(1, 80), 224, 255, 299]
    ]
    random = np.random.default_rng(0)
    for dims in ([5, 7], [28, 28], [40, 33], [3, 4, 5], [9, 1, 6]):
        shape = (2, len(dims), len(dims) + 1)
        cases += [(random.standard_normal(shape).astype(dtype), dims) for _ in range(4)]
    for theta, dims in cases:
        size = (len(theta), 1, *dims)
        mine = ours.nn.functional.affine_grid(ours.tensor(theta), size, align_corners=align)
        theirs = torch.nn.functional.affine_grid(torch.tensor(theta), size, align_corners=align)
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy(), f"{dims}")
        assert mine.stride() == theirs.stride()


def transformer(library: Any, theta: Any, x: Any, u: Any, *options: Any) -> list[Any]:
    """What a spatial transformer gives: its output, and the gradients of map and image."""
    F = library.nn.functional
    theta, x = (library.tensor(a, requires_grad=True) for a in (theta, x))
    grid = F.affine_grid(theta, u.shape, align_corners=options[-1])
    y = F.grid_sample(x, grid, *options)
    gradients = library.autograd.grad(y, [theta, x], library.tensor(u), allow_unused=True)
    return [y.detach(), *gradients]


@pytest.mark.parametrize("name", [*MAPS, "whole pixels"])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_spatial_transformer(mode: str, padding: str, align: bool, name: str) -> None:
    random = np.random.default_rng(1)
    for dtype, rtol in (("float32", 1e-3), ("float64", 1e-9)):
        for n in (3, 5, 7, 10, 13, 28, 33, 57, 100):
            shift = [[1.0, 0.0, 2 / n], [0.0, 1.0, -4 / n]]
            theta = np.array([MAPS.get(name, shift)], dtype)
            x, u = random.standard_normal((2, 1, 2, n, n)).astype(dtype)
            mine = transformer(ours, theta, x, u, mode, padding, align)
            theirs = transformer(torch, theta, x, u, mode, padding, align)
            for a, b in zip(mine, theirs, strict=True):
                expected = 0 if b is None else b.numpy()
                found = np.zeros(np.shape(expected)) if a is None else a.numpy()
                size = max(1.0, float(np.abs(expected).max()))
                np.testing.assert_allclose(found, expected, rtol, rtol * size, err_msg=f"n = {n}")


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [False, True])
def test_volumes(align: bool, padding: str) -> None:
    random = np.random.default_rng(2)
    theta = np.array([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]])
    for n in (2, 3, 5, 7, 10):
        x, u = random.standard_normal((2, 1, 1, n, n, n))
        mine = transformer(ours, theta, x, u, "bilinear", padding, align)
        theirs = transformer(torch, theta, x, u, "bilinear", padding, align)
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-9, 1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "area"])
def test_interpolation_to_every_size(mode: str, dtype: str) -> None:
    """Which elements are taken, and their weights, in the precision of the input."""
    random = np.random.default_rng(3)
    tolerance = 2e-6 if dtype == "float32" else 1e-12
    for n in (1, 2, 3, 5, 7, 14, 18, 22, 26, 34, 36, 127, 224):
        x = random.standard_normal((1, 1, n)).astype(dtype)
        for out in (1, 2, 3, 5, 8, 10, 14, 28, 33, 100, 127, 200):
            for align in (False, True) if mode == "linear" else (None,):
                for options in ({"size": out}, {"scale_factor": out / n}):
                    given = {"mode": mode, "align_corners": align, **options}
                    mine = ours.nn.functional.interpolate(ours.tensor(x), **given)
                    theirs = torch.nn.functional.interpolate(torch.tensor(x), **given)
                    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), 0, tolerance,
                                               err_msg=f"{n} to {options}")  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("align", [False, True])
def test_bicubic_interpolation(align: bool, dtype: str) -> None:
    random = np.random.default_rng(4)
    for n, out in ((3, 7), (7, 3), (10, 33), (28, 100), (100, 28)):
        x = random.standard_normal((1, 1, n, 4)).astype(dtype)
        given = {"size": (out, 5), "mode": "bicubic", "align_corners": align}
        mine = ours.nn.functional.interpolate(ours.tensor(x), **given)
        theirs = torch.nn.functional.interpolate(torch.tensor(x), **given)
        np.testing.assert_allclose(
            mine.numpy(), theirs.numpy(), 0, 3e-6 if dtype == "float32" else 1e-12
        )


def test_adaptive_pooling_to_every_size() -> None:
    random = np.random.default_rng(5)
    for name in ("adaptive_avg_pool1d", "adaptive_max_pool1d"):
        for n in range(1, 20):
            for out in range(1, 20):
                x = random.standard_normal((1, 1, n))
                u = random.standard_normal((1, 1, out))
                found = []
                for library in (ours, torch):
                    leaf = library.tensor(x, requires_grad=True)
                    y = getattr(library.nn.functional, name)(leaf, out)
                    (g,) = library.autograd.grad(y, leaf, library.tensor(u))
                    found.append((y.detach().numpy(), g.numpy()))
                for a, b in zip(*found, strict=True):
                    np.testing.assert_allclose(a, b, 1e-12, 1e-13)
