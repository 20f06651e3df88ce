"""NumPy's functions on tensors: NumPy's values, tensors as results, gradients through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours
from tinygrad_edu.methods import numpy_protocol
from tinygrad_edu.testing import assert_close

A = np.random.default_rng(0).uniform(0.2, 0.9, (3, 4))
B = np.random.default_rng(1).uniform(0.2, 0.9, (3, 4))
S = np.random.default_rng(2).uniform(0.2, 0.9, (3, 3)) + 3 * np.eye(3)

BINARY = [name for name in numpy_protocol.UFUNCS if getattr(np, name).nin == 2]


def arguments(name: str) -> list[Any]:
    ufunc = getattr(np, name)
    if name.startswith(("bitwise", "invert")):
        return [(A > 0.5) for _ in range(ufunc.nin)]
    if name == "matmul":
        return [A, B.T.copy()]
    if name == "arccosh":
        return [A + 1]
    return [A, B][: ufunc.nin]


@pytest.mark.parametrize("name", sorted(numpy_protocol.UFUNCS))
def test_ufunc(name: str) -> None:
    ufunc, args = getattr(np, name), arguments(name)
    expected = ufunc(*args)
    tensors = [ours.from_numpy(a.copy()) for a in args]
    mixed = [tensors] if len(args) == 1 else [tensors, [tensors[0], args[1]], [args[0], tensors[1]]]
    for given in mixed:
        found = ufunc(*given)
        assert isinstance(found, ours.Tensor)
        assert_close(found, expected, rtol=1e-12, atol=1e-12)
    if expected.dtype.kind == "f":
        for t in tensors:
            t.requires_grad_()
        assert ours.autograd.gradcheck(lambda *ts: ufunc(*ts), tuple(tensors))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: np.sum(x),
    "sum axis": lambda x: np.sum(x, axis=0),
    "sum axes keepdims": lambda x: np.sum(x, axis=(0, 1), keepdims=True),
    "mean": lambda x: np.mean(x, 1),
    "mean of all": lambda x: np.mean(x),
    "prod": lambda x: np.prod(x),
    "prod axes": lambda x: np.prod(x, axis=(0, 1), keepdims=True),
    "std": lambda x: np.std(x),
    "std axis": lambda x: np.std(x, axis=1, keepdims=True),
    "var ddof": lambda x: np.var(x, axis=0, ddof=1),
    "max": lambda x: np.max(x),
    "amin": lambda x: np.amin(x),
    "amax": lambda x: np.amax(x, axis=1),
    "min": lambda x: np.min(x, axis=0, keepdims=True),
    "argmax": lambda x: np.argmax(x),
    "argmin": lambda x: np.argmin(x, axis=1),
    "any": lambda x: np.any(x > 0.8, axis=0),
    "all": lambda x: np.all(x > 0.8),
    "cumsum": lambda x: np.cumsum(x),
    "cumprod": lambda x: np.cumprod(x, axis=1),
    "trapezoid": lambda x: np.trapezoid(x, dx=0.5, axis=0),
    "concatenate": lambda x: np.concatenate([x, x * 2], axis=1),
    "concatenate an array": lambda x: np.concatenate((x, B)),
    "stack": lambda x: np.stack([x, B, x], axis=-1),
    "vstack": lambda x: np.vstack([x, x]),
    "hstack": lambda x: np.hstack([x, x]),
    "dstack": lambda x: np.dstack([x, x]),
    "column_stack": lambda x: np.column_stack([x, x]),
    "split": lambda x: np.split(x, 2, axis=1)[1],
    "split at": lambda x: np.split(x, [1, 3], axis=1)[1],
    "array_split": lambda x: np.array_split(x, 3, axis=1)[0],
    "reshape": lambda x: np.reshape(x, (2, -1)),
    "ravel": lambda x: np.ravel(x),
    "transpose": lambda x: np.transpose(x),
    "transpose axes": lambda x: np.transpose(x, (1, 0)),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "moveaxis": lambda x: np.moveaxis(x, 0, -1),
    "expand_dims": lambda x: np.expand_dims(x, (0, 2)),
    "squeeze": lambda x: np.squeeze(np.expand_dims(x, 1), axis=1),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 3, 4)),
    "flip": lambda x: np.flip(x),
    "flip axis": lambda x: np.flip(x, axis=1),
    "roll": lambda x: np.roll(x, 2),
    "roll axis": lambda x: np.roll(x, 1, axis=0),
    "tile": lambda x: np.tile(x, (2, 1)),
    "repeat": lambda x: np.repeat(x, 2, axis=0),
    "where": lambda x: np.where(x > 0.5, x, 0.0),
    "clip": lambda x: np.clip(x, 0.3, 0.6),
    "dot": lambda x: np.dot(x, B.T),
    "inner": lambda x: np.inner(x, B),
    "outer": lambda x: np.outer(x[0], B[1]),
    "tensordot": lambda x: np.tensordot(x, B, axes=([0], [0])),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, B),
    "kron": lambda x: np.kron(x, B),
    "diag": lambda x: np.diag(x[:, :3]),
    "trace": lambda x: np.trace(x),
    "tril": lambda x: np.tril(x, k=1) if False else np.tril(x, 1),
    "triu": lambda x: np.triu(x),
    "sort": lambda x: np.sort(x, axis=0),
    "argsort": lambda x: np.argsort(x),
    "norm": lambda x: np.linalg.norm(x),
    "norm axis": lambda x: np.linalg.norm(x, axis=1, ord=1),
    "zeros_like": lambda x: np.zeros_like(x),
    "ones_like": lambda x: np.ones_like(x),
    "full_like": lambda x: np.full_like(x, 3.0),
    "copy": lambda x: np.copy(x),
    "nan_to_num": lambda x: np.nan_to_num(x),
    "round": lambda x: np.round(x, 1),
    "isclose": lambda x: np.isclose(x, B),
    "absolute value": lambda x: abs(-x) + np.abs(x - 1),
    "operators": lambda x: B * x + B / x - B @ x.T @ B + (B < x) + B**x,
    "add.reduce": lambda x: np.add.reduce(x, axis=0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    function = FUNCTIONS[name]
    expected = function(A)
    x = ours.from_numpy(A.copy())
    found = function(x)
    assert isinstance(found, ours.Tensor)
    assert_close(found, np.asarray(expected), rtol=1e-12, atol=1e-12)
    y = function(x.requires_grad_())
    if y.requires_grad:
        assert ours.autograd.gradcheck(function, x)


@pytest.mark.parametrize("name", ["inv", "det"])
def test_linalg(name: str) -> None:
    function = getattr(np.linalg, name)
    x = ours.from_numpy(S).requires_grad_()
    assert_close(function(x).detach(), np.asarray(function(S)))
    assert ours.autograd.gradcheck(function, x)
    assert_close(np.linalg.solve(x, B).detach(), np.linalg.solve(S, B))


def test_every_function_of_the_table_is_tried() -> None:
    tried = " ".join(FUNCTIONS) + " linalg inv det solve"
    missing = [
        f.__name__
        for f in numpy_protocol.FUNCTIONS
        if f.__name__ not in tried
        and f.__name__ not in ("shape", "ndim", "size", "empty_like", "allclose", "array_equal")
    ]
    assert not missing


def test_what_returns_no_tensor() -> None:
    x = ours.from_numpy(A)
    assert np.shape(x) == (3, 4) and np.ndim(x) == 2 and np.size(x) == 12 and np.size(x, 1) == 4
    assert np.allclose(x, A) is True and np.array_equal(x, A) is True
    assert np.empty_like(x).shape == x.shape
    assert type(np.median(x)) is np.float64  # not in the tables: NumPy computes, on the array
    with pytest.raises(RuntimeError, match="requires grad"):
        np.median(ours.ones(3, requires_grad=True))


def test_writing_into_arrays_and_tensors() -> None:
    a = A.copy()
    a += ours.from_numpy(B)
    assert type(a) is np.ndarray and (a == A + B).all()
    t = ours.zeros(3, 4, dtype=ours.float64)
    assert np.add(A, B, out=t) is t and (t.numpy() == A + B).all()
    with pytest.raises(RuntimeError, match="requires grad"):
        a += ours.ones(3, 4, requires_grad=True)
    a[0] = ours.ones(4)
    assert (a[0] == 1).all()


def test_scalars() -> None:
    x = ours.ones(2, requires_grad=True)
    for y in (np.float64(2.0) * x, x * np.float64(2.0), np.float32(2) * x, 2 * np.ones(()) * x):
        assert isinstance(y, ours.Tensor) and y.tolist() == [2, 2] and y.requires_grad
    assert (np.float64(2.0) * x).dtype == ours.float32  # a scalar does not widen


def test_as_arrays() -> None:
    x = ours.arange(6.0).reshape(2, 3)
    a = np.asarray(x)
    assert type(a) is np.ndarray and np.shares_memory(a, x.array)
    assert (
        not np.shares_memory(np.array(x), x.array)
        and np.asarray(x, dtype="float64").dtype == np.float64
    )
    assert [row.tolist() for row in x] == a.tolist() and len(x) == 2 and 5.0 in x
    assert a[ours.tensor(1)].tolist() == [3, 4, 5] and list("abc")[ours.tensor(2)] == "c"
    assert f"{ours.tensor(3.14159):.2f}" == "3.14" and np.testing.assert_allclose(x, a) is None
    with pytest.raises(RuntimeError, match="requires grad"):
        np.asarray(ours.ones(1, requires_grad=True))


def test_dlpack() -> None:
    torch = pytest.importorskip("torch")
    a = np.arange(4.0)
    for source in (a, torch.arange(4.0), ours.arange(4.0)):
        t = ours.from_dlpack(source)
        t[0] = 7
        assert source[0] == 7 and isinstance(t, ours.Tensor)
    t = ours.arange(4.0)
    theirs, array = torch.from_dlpack(t), np.from_dlpack(t)
    t[1] = 9
    assert theirs[1] == 9 and array[1] == 9 and t.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="require gradient"):
        torch.from_dlpack(ours.ones(1, requires_grad=True))
    with pytest.raises(TypeError, match="__dlpack__"):
        ours.from_dlpack([1, 2])
