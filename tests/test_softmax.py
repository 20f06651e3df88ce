"""Softmax and log-softmax against torch: values, derivatives, extreme scores, errors."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import beside_torch, numbers, ours, same_error, same_warning
from hypothesis import given
from hypothesis import strategies as st

NAMES = ("softmax", "log_softmax")
random = np.random.default_rng(0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "dim"),
    [((4, 7), 1), ((4, 7), 0), ((2, 3, 5), -2), ((5,), 0), ((), 0), ((), -1), ((0, 3), 1),
     ((3, 0), 1), ((0, 3), 0)],
)  # fmt: skip
def test_against_torch(name: str, dtype: str, shape: tuple[int, ...], dim: int) -> None:
    beside_torch(
        lambda library, x: getattr(library, name)(x, dim), random.normal(size=shape), dtype=dtype
    )


@pytest.mark.parametrize("name", NAMES)
def test_memory_orders_and_methods(name: str) -> None:
    beside_torch(lambda library, x: getattr(x.t(), name)(0), random.normal(size=(3, 4)))
    beside_torch(lambda library, x: getattr(x[:, ::2], name)(-1), random.normal(size=(3, 6)))
    beside_torch(
        lambda library, x: getattr(x.expand(5, 3), name)(dim=1), random.normal(size=(1, 3))
    )


@pytest.mark.parametrize("name", [*NAMES, "softmin"])
@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4])
def test_functional_chooses_a_dim(name: str, ndim: int) -> None:
    x = random.normal(size=(2, 3, 4, 2)[:ndim])
    run = lambda library, t: getattr(library.nn.functional, name)(t)  # noqa: E731
    beside_torch(run, x)
    same_warning(lambda library: run(library, library.tensor(x)))


@pytest.mark.parametrize("name", NAMES)
def test_extreme_scores(name: str) -> None:
    inf = float("inf")
    for row in ([1e4, -1e4, 0.0], [-inf, 0.0, 1.0], [-inf, -inf, 5.0]):
        beside_torch(lambda library, x: getattr(library, name)(x, 1), [row], second=False)
    for row in ([-inf, -inf], [inf, 0.0], [float("nan"), 0.0]):
        beside_torch(lambda library, x: getattr(library, name)(x, 1), constants=[[row]])


@pytest.mark.parametrize("name", NAMES)
def test_dtypes(name: str) -> None:
    beside_torch(lambda library, x: getattr(library, name)(x, 1), [[1.0, 2.0]], dtype="float16",
                 second=False)  # fmt: skip
    for kind in ("float32", "float64"):
        beside_torch(
            lambda library, t, kind=kind: getattr(library, name)(t, 0, getattr(library, kind)),
            constants=[np.arange(3)],
        )
    beside_torch(
        lambda library, x: getattr(library, name)(x, 1, dtype=library.float64),
        [[1.0, 2.0]], dtype="float32", second=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_errors(name: str) -> None:
    same_error(lambda library: getattr(library, name)(library.zeros(2, 3), 2))
    same_error(lambda library: getattr(library, name)(library.tensor([1, 2]), 0), "not implemented")
    with pytest.raises(TypeError):
        getattr(ours, name)(ours.zeros(2))


def test_keeps_only_its_result() -> None:
    """The scores may be overwritten before the backward pass."""
    for name in NAMES:
        x = ours.randn(2, 3, requires_grad=True)
        scores = x * 1.0
        y = getattr(ours, name)(scores, 1)
        with ours.no_grad():
            scores.zero_()
        y.sum().backward()


@given(st.integers(1, 5), st.integers(1, 5), st.floats(-50, 50), st.integers(0, 2**32 - 1))
def test_shift_invariant_and_sums_to_one(rows: int, columns: int, shift: float, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(rows, columns)) * 5
    y = numbers(ours.softmax(ours.tensor(x), 1))
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(numbers(ours.softmax(ours.tensor(x + shift), 1)), y, rtol=1e-9)
    logs = numbers(ours.log_softmax(ours.tensor(x), 1))
    np.testing.assert_allclose(np.exp(logs), y, rtol=1e-9)
