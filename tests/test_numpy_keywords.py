"""Keywords of NumPy's functions are honoured or refused for tensors, never ignored.

Every function of `numpy_protocol.FUNCTIONS` is called on a plain array with each of its keywords in
turn, and on a tensor: the tensor gives the same, or raises.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours
from tinygrad_edu.methods import numpy_protocol

X = np.random.default_rng(0).uniform(0.2, 0.9, (3, 3))
VALUES: dict[str, list[Any]] = {
    "axis": [0, 1, -1], "keepdims": [True], "dtype": [np.float32], "where": [X > 0.5],
    "initial": [2.0], "ddof": [1], "correction": [1], "shape": [(2,)], "k": [1], "offset": [1],
    "kind": ["stable"], "optimize": [True], "order": ["F"], "subok": [False], "stable": [True],
    "mode": ["same"], "copy": [True], "nan": [0.5], "decimals": [1], "UPLO": ["U"], "mean": [0.1],
    "equal_nan": [True], "rtol": [0.5], "atol": [0.5], "dx": [0.5], "x": [np.array([0.0, 1, 3])],
    "ord": [1, 2, np.inf, "fro"], "casting": ["unsafe"], "out": ["filled"],
    "axis1": [1], "axis2": [0], "copy_": [True],
}  # fmt: skip
ARGUMENTS: dict[Any, tuple[Any, ...]] = {
    np.split: (X, 3), np.array_split: (X, 2), np.reshape: (X, (9,)), np.swapaxes: (X, 0, 1),
    np.moveaxis: (X, 0, 1), np.expand_dims: (X, 0), np.broadcast_to: (X, (2, 3, 3)),
    np.roll: (X, 1), np.tile: (X, 2), np.repeat: (X, 2), np.where: (X > 0.5, X, X + 1),
    np.clip: (X, 0.3, 0.6), np.dot: (X, X), np.inner: (X, X), np.outer: (X[0], X[1]),
    np.tensordot: (X, X), np.einsum: ("ij,jk->ik", X, X), np.kron: (X, X), np.isclose: (X, X + 0.1),
    np.linalg.solve: (X + np.eye(3), X), np.allclose: (X, X), np.array_equal: (X, X),
    np.full_like: (X, 2.0),
    **dict.fromkeys([np.concatenate, np.stack, np.vstack, np.hstack, np.dstack, np.column_stack],
                    ([X, X],)),
}  # fmt: skip
EMPTY = [np.empty_like]


def cases() -> list[Any]:
    found = []
    for function in numpy_protocol.FUNCTIONS:
        try:
            names = list(inspect.signature(function).parameters)
        except ValueError:
            names = ["axis", "dtype", "casting"]
        names += ["optimize"] if function is np.einsum else []
        found += [(function, {})]
        found += [(function, {name: v}) for name in names for v in VALUES.get(name, [])]
    return found


def plain(value: Any) -> Any:
    return np.asarray(value.detach() if isinstance(value, ours.Tensor) else value)


def as_tensors(value: Any) -> Any:
    if isinstance(value, list):
        return [as_tensors(v) for v in value]
    return ours.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(
    ("function", "keywords"), cases(), ids=lambda v: getattr(v, "__name__", None) or str([*v])
)
def test_a_keyword_is_honoured_or_refused(function: Any, keywords: dict[str, Any]) -> None:
    given = ARGUMENTS.get(function, (X,))
    if "out" in keywords:
        y = np.asarray(function(*given))
        keywords = {"out": np.zeros(y.shape, y.dtype)}
    try:
        expected = function(*given, **keywords)
    except (TypeError, ValueError, np.exceptions.AxisError):
        pytest.skip("NumPy refuses it")
    try:
        tensors = {k: as_tensors(v) for k, v in keywords.items()}
        found = function(*[as_tensors(a) for a in given], **tensors)
    except (TypeError, ValueError, RuntimeError, IndexError):
        assert keywords, "without keywords it must work"
        return
    several = isinstance(expected, (list, tuple)) and function is not np.shape
    pairs = (found, expected) if several else ([found], [expected])
    for a, b in zip(*[[plain(v) for v in side] for side in pairs], strict=True):
        assert a.shape == b.shape
        if function not in EMPTY:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


UFUNCS = [u for u in vars(np).values() if isinstance(u, np.ufunc) and u.signature is None]
WAYS: dict[str, Any] = {
    "call": lambda u, x: u(*[x, x * 0.5][: u.nin]),
    "where": lambda u, x: u(*[x, x * 0.5][: u.nin], where=x > 0.5, out=x * 0),
    "out": lambda u, x: u(*[x, x * 0.5][: u.nin], out=(*[x * 0 for _ in range(u.nout)],)),
    "dtype": lambda u, x: u(*[x, x * 0.5][: u.nin], dtype=np.float64),
    "reduce": lambda u, x: u.reduce(x),
    "reduce, last": lambda u, x: u.reduce(x, axis=-1, keepdims=True),
    "reduce, all": lambda u, x: u.reduce(x, axis=None),
    "reduce, where": lambda u, x: u.reduce(x, where=x > 0.5, initial=1.0),
    "reduce, out": lambda u, x: u.reduce(x, out=x[0] * 0),
    "accumulate": lambda u, x: u.accumulate(x, axis=1),
    "outer": lambda u, x: u.outer(x, x[0]),
    "reduceat": lambda u, x: u.reduceat(x, [0, 2]),
    "at": lambda u, x: u.at(x, [0, 0, 1], *[x[0] * 2][: u.nin - 1]) or x,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("u", UFUNCS, ids=lambda u: u.__name__)
@pytest.mark.filterwarnings("ignore")
def test_every_way_to_call_a_ufunc(u: Any, way: str) -> None:
    try:
        expected = WAYS[way](u, X.copy())
    except (TypeError, ValueError):
        return
    found = WAYS[way](u, ours.from_numpy(X.copy()))
    for a, b in zip(*[v if u.nout > 1 else [v] for v in (found, expected)], strict=True):
        np.testing.assert_allclose(plain(a), b, rtol=1e-6, atol=1e-12)


def test_what_is_filled_is_the_tensor_given() -> None:
    t, out, mask = ours.from_numpy(X), ours.full((3, 3), 7.0).double(), ours.from_numpy(X > 0.5)
    assert np.exp(t, out=out, where=mask) is out
    np.testing.assert_allclose(plain(out), np.where(X > 0.5, np.exp(X), 7))
    total = ours.zeros(3, dtype=ours.float64)
    before = total._version
    assert np.sum(t, axis=0, out=total) is total and total._version > before
    before = t._version
    np.add.at(t, [0], 1.0)
    assert t._version > before
    leaf = ours.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError):
        np.multiply(leaf, leaf, where=ours.tensor([True, False]), out=ours.zeros(2))
    with pytest.raises(ValueError, match="size not equal to one"):
        np.squeeze(t, axis=0)


def test_reduce_of_a_ufunc_is_along_the_first_axis() -> None:
    t = ours.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert np.asarray(np.add.reduce(t)).tolist() == [4.0, 6.0]
    assert np.asarray(np.add.reduce(t, axis=None)).tolist() == 10.0
    assert np.asarray(np.multiply.reduce(t)).tolist() == [3.0, 8.0]


def test_the_gradient_still_flows_through_keywords_that_are_ours() -> None:
    t = ours.tensor(X, requires_grad=True)
    np.sum(np.tril(t, k=-1), axis=0, keepdims=True).sum().backward()
    assert t.grad is not None and t.grad.tolist() == np.tril(np.ones((3, 3)), -1).tolist()
