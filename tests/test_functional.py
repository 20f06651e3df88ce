"""`autograd.functional` against torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from beside_torch import same_error

import tinygrad_edu as ours
from tinygrad_edu.testing import assert_close

torch = pytest.importorskip("torch")
F = "autograd.functional"


def flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for v in value for leaf in flat(v)]
    if isinstance(value, dict):
        return [leaf for v in value.values() for leaf in flat(v)]
    return [value]


def shape(value: Any) -> Any:
    """The structure of nested results."""
    if isinstance(value, (tuple, list)):
        return [shape(v) for v in value]
    return {k: shape(v) for k, v in value.items()} if isinstance(value, dict) else None


def close(run: Any) -> None:
    """Both libraries give the same structure of the same tensors."""
    found, expected = run(ours), run(torch)
    assert shape(found) == shape(expected)
    for a, b in zip(flat(found), flat(expected), strict=True):
        if isinstance(b, torch.Tensor):
            assert a.requires_grad == b.requires_grad
            assert_close(a.detach(), b.detach().numpy(), rtol=1e-9, atol=1e-12)
        else:
            assert a == b


def t(T: Any, *size: int, seed: int = 0) -> Any:
    return T.from_numpy(np.random.default_rng(seed).standard_normal(size))


def one(x: Any) -> Any:
    return x.exp() * x.sum()


def two(x: Any, y: Any) -> Any:
    return x * y.sin(), (x.sum() * y).exp()


def scalar(x: Any) -> Any:
    return (x**3).sum() * x[0].sin()


def scalar_of_two(x: Any, y: Any) -> Any:
    return ((x * y) ** 2).sum() + y.exp().prod()


@pytest.mark.parametrize("create", [False, True])
def test_products(create: bool) -> None:
    def run(T: Any) -> Any:
        f = T.autograd.functional
        x, y, u, v = (t(T, 3, seed=s) for s in range(4))
        return [
            f.vjp(one, x, u, create_graph=create),
            f.vjp(two, (x, y), (u, v), create_graph=create),
            f.jvp(one, x, u, create_graph=create),
            f.jvp(two, (x, y), (u, v), create_graph=create),
            f.vhp(scalar, x, u, create_graph=create),
            f.hvp(scalar, x, u, create_graph=create),
            f.vhp(scalar_of_two, (x, y), (u, v)),
            f.hvp(scalar_of_two, (x, y), (u, v)),
            f.vjp(scalar, x),
            f.jvp(scalar, x[:1], t(T, 1)),
        ]

    found, expected = run(ours), run(torch)
    assert shape(found) == shape(expected)
    for a, b in zip(flat(found), flat(expected), strict=True):
        assert_close(a.detach(), b.detach().numpy(), rtol=1e-9, atol=1e-12)
        if not create:
            assert not a.requires_grad


def test_matrices() -> None:
    def run(T: Any) -> Any:
        f = T.autograd.functional
        x, y = t(T, 2, 3), t(T, 2, 3, seed=1)
        return [
            f.jacobian(one, x),
            f.jacobian(two, (x, y)),
            f.jacobian(lambda x: x.sum(), x),
            f.jacobian(lambda x: T.ones(2).double(), x),
            f.hessian(lambda x: scalar(x[0]), x),
            f.hessian(scalar_of_two, (x[0], y[0])),
            f.hessian(lambda x: x.sum(), x),
        ]

    close(run)


def test_differentiating_the_results() -> None:
    def run(T: Any) -> Any:
        f = T.autograd.functional
        x = t(T, 3).requires_grad_()
        out = []
        for y in (
            f.jacobian(one, x, create_graph=True),
            f.hessian(scalar, x, create_graph=True),
            f.vjp(one, x, t(T, 3, seed=1), create_graph=True)[1],
            f.jvp(one, x, t(T, 3, seed=1), create_graph=True)[1],
            f.hvp(scalar, x, t(T, 3, seed=1), create_graph=True)[1],
        ):
            out += T.autograd.grad((y * t(T, *y.shape, seed=2)).sum(), x)
        return out

    close(run)


@pytest.mark.parametrize(
    ("run", "kind", "facts"),
    [
        (lambda T, f: f.vjp(one, T.ones(2)), RuntimeError, ["v can only be None"]),
        (lambda T, f: f.jvp(one, T.ones(2)), RuntimeError, ["v can only be None", "input"]),
        (lambda T, f: f.vjp(one, T.ones(2), T.ones(3)), RuntimeError, ["[2]", "[3]"]),
        (lambda T, f: f.vjp(one, T.ones(2), (T.ones(2),) * 2), RuntimeError, []),
        (lambda T, f: f.jacobian(lambda x: 2, T.ones(2)), TypeError, ["outputs", "int"]),
        (lambda T, f: f.jacobian(one, 2), TypeError, ["inputs", "int"]),
        (
            lambda T, f: f.jacobian(lambda x: x.detach(), T.ones(2), strict=True),
            RuntimeError,
            ["Output 0", "strict mode"],
        ),
        (
            lambda T, f: f.jacobian(lambda x, y: x * 1, (T.ones(2), T.ones(2)), strict=True),
            RuntimeError,
            ["independent of input 1", "strict mode"],
        ),
        (lambda T, f: f.hessian(one, T.ones(2)), RuntimeError, ["single element"]),
        (lambda T, f: f.hvp(two, (T.ones(2),) * 2, (T.ones(2),) * 2), RuntimeError, ["single"]),
    ],
)
def test_refusals(run: Any, kind: type[Exception], facts: list[str]) -> None:
    same_error(lambda T: run(T, T.autograd.functional), kind, *facts)
