"""Special functions that are sums of series, far out: right, and after a few dozen terms."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_edu as tg

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("low, high", [(-1, 1), (1, 3), (3, 5)])
@pytest.mark.parametrize("name", ["igamma", "igammac"])
def test_incomplete_gamma_function(name: str, low: int, high: int) -> None:
    rng = np.random.default_rng(0)
    a = 10 ** rng.uniform(low, high, 300)
    x = a * np.exp(rng.normal(size=300) * 2 / np.sqrt(a))
    found = getattr(tg, name)(tg.tensor(a), tg.tensor(x)).numpy()
    expected = getattr(torch, name)(torch.tensor(a), torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("a, x, below, above", [
    (1e6, 999_000.0, 0.158655213574304, 0.841344786425696),
    (1e6, 1_003_000.0, 0.998638259353782, 0.00136174064621759),
    (1e9, 1e9, 0.50000420522087, 0.49999579477913),
    (1e9, 999_900_000.0, 0.000782446139962784, 0.999217553860037),
    (1e9, 1_000_050_000.0, 0.943075043832984, 0.0569249561670159),
    (1e12, 999_998_000_000.0, 0.0227500779571857, 0.977249922042814),
    (1e12, 1_000_001_000_000.0, 0.841344746068583, 0.158655253931417),
    (1e300, 2.0, 0.0, 1.0), (2.0, 1e300, 1.0, 0.0), (1e300, 1e300, 0.5, 0.5),
])  # fmt: skip
def test_where_torch_is_less_exact(a: float, x: float, below: float, above: float) -> None:
    """Integrals in fifty digits."""
    at = [tg.tensor(v, dtype=tg.float64) for v in (a, x)]
    assert math.isclose(tg.igamma(*at).item(), below, rel_tol=1e-13)
    assert math.isclose(tg.igammac(*at).item(), above, rel_tol=1e-13)


def test_it_is_smooth_where_the_formula_changes() -> None:
    a = np.nextafter(1e4, [0, 1e5])
    for x in (9_700.0, 9_990.0, 1e4, 1.02e4):
        x = tg.full((2,), x, dtype=tg.float64)
        for name in ("igamma", "igammac"):
            below, above = getattr(tg, name)(tg.tensor(a), x).tolist()
            assert math.isclose(below, above, rel_tol=1e-11, abs_tol=1e-15)


def test_the_shares_of_halves() -> None:
    """The median of a gamma distribution is about a - 1/3."""
    for a in (1e6, 1e10, 1e14):
        at = tg.tensor(a, dtype=tg.float64)
        assert math.isclose(tg.igamma(at, at).item() - 0.5, 1 / (3 * math.sqrt(2 * math.pi * a)),
                            rel_tol=1e-3)  # fmt: skip
        assert tg.igamma(at, at).item() + tg.igammac(at, at).item() == 1


def test_hurwitz_zeta() -> None:
    rng = np.random.default_rng(1)
    s = np.concatenate([rng.uniform(1.01, 40, 200), rng.integers(2, 9, 200).astype(float)])
    q = rng.uniform(-30, 40, 400)
    q[::17] = np.round(q[::17])
    edges = [1e30, -1e38, np.inf, -np.inf, np.nan, 0.0, -0.0, -29.5]
    s = np.concatenate([s, np.repeat([2.0, 3.0, 2.5, 1.0, 0.5, -2.0, 1e4, np.nan], len(edges))])
    q = np.concatenate([q, np.tile(edges, 8)])
    found = tg.special.zeta(tg.tensor(s), tg.tensor(q)).numpy()
    expected = torch.special.zeta(torch.tensor(s), torch.tensor(q)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_hurwitz_zeta_far_below_zero() -> None:
    """As many terms as q is large would take minutes."""
    found = tg.special.zeta(
        tg.tensor(2.0, dtype=tg.float64), tg.tensor([-1e9 - 0.5], dtype=tg.float64)
    ).item()
    assert math.isclose(found, math.pi**2, rel_tol=1e-8)  # sum of 1 / (k + 1/2)^2 both ways
