"""float32 functions composed of others: exact to a few units of the last place, right at the edges.

The compositions themselves are called, also where the processor has better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_edu.kernels import composed
from tinygrad_edu.kernels.more import composed as more

UNARY = {
    "expm1": composed.expm1, "log1p": composed.log1p,
    "cosh": more.cosh, "sinh": more.sinh, "tan": more.tan,
}  # fmt: skip
EDGES = np.array(
    [0, -0.0, np.inf, -np.inf, np.nan, 1e38, -1e38, 88.7, 88.8, 89, 89.4, 89.5, -1, -2, 0.5, -0.5],
    np.float32,
)
SPREAD = np.concatenate(
    [s * np.geomspace(1e-30, 1e3, 20_000) for s in (1, -1)] + [np.linspace(-3, 3, 20_001)]
).astype(np.float32)


def units(y: Any, exact: Any) -> float:
    """The largest error, in units of the last place of float32."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        known = np.isfinite(rounded) & (np.abs(exact) > 1e-30)
        found: Any = (np.abs(y.astype(np.float64) - exact) / np.spacing(np.abs(rounded)))[known]
    return float(found.max())


@pytest.mark.parametrize("name", UNARY)
def test_errors_are_a_few_units_of_the_last_place(name: str) -> None:
    compose: Callable[..., Any] = UNARY[name].__wrapped__  # type: ignore[attr-defined]
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(SPREAD.astype(np.float64))
        assert units(compose(SPREAD), exact) < 5.5


@pytest.mark.parametrize("name", UNARY)
def test_edges(name: str) -> None:
    compose: Callable[..., Any] = UNARY[name].__wrapped__  # type: ignore[attr-defined]
    with np.errstate(all="ignore"):
        want = getattr(np, name)(EDGES.astype(np.float64)).astype(np.float32)
        found = compose(EDGES)
        np.testing.assert_allclose(found, want, rtol=1e-6)
        np.testing.assert_array_equal(np.signbit(found[:2]), np.signbit(want[:2]))


def test_logaddexp() -> None:
    some = np.array([np.inf, -np.inf, np.nan, 0, 1, -3, 80, 1e-20], np.float32)
    a, b = (part.reshape(-1).copy() for part in np.meshgrid(some, some))
    compose: Callable[..., Any] = more.logaddexp.__wrapped__  # type: ignore[attr-defined]
    with np.errstate(all="ignore"):
        want = np.logaddexp(a.astype(np.float64), b.astype(np.float64))
        np.testing.assert_allclose(compose(a, b), want, rtol=4e-7, atol=1e-37)


@pytest.mark.parametrize("size", [0, 1, composed.SMALL, composed.BLOCK + 7])
def test_large_and_small_arrays_agree(size: int) -> None:
    x = np.linspace(-4, 4, size, dtype=np.float32)
    for name, function in UNARY.items():
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(function(x), getattr(np, name)(x), rtol=1e-6, atol=1e-38)
            backward = x[::-1]
            np.testing.assert_array_equal(function(backward), getattr(np, name)(backward))
