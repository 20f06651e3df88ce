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
from tinygrad_edu import numpy_protocol

X = np.random.default_rng(0).uniform(0.2, 0.9, (3, 3))
VALUES: dict[str, list[Any]] = {
    "axis": [0, 1, -1], "keepdims": [True], "dtype": [np.float32], "where": [X > 0.5],
    "initial": [2.0], "ddof": [1], "correction": [1], "shape": [(2,)], "k": [1], "offset": [1],
    "kind": ["stable"], "optimize": [True], "order": ["F"], "subok": [False], "stable": [True],
    "mode": ["same"], "copy": [True], "nan": [0.5], "decimals": [1], "UPLO": ["U"], "mean": [0.1],
    "equal_nan": [True], "rtol": [0.5], "atol": [0.5], "dx": [0.5], "x": [np.array([0.0, 1, 3])],
    "ord": [1], "casting": ["unsafe"], "axis1": [1], "axis2": [0], "copy_": [True],
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
    try:
        expected = function(*given, **keywords)
    except (TypeError, ValueError, np.exceptions.AxisError):
        pytest.skip("NumPy refuses it")
    try:
        found = function(*[as_tensors(a) for a in given], **keywords)
    except (TypeError, ValueError, RuntimeError, IndexError):
        assert keywords, "without keywords it must work"
        return
    several = isinstance(expected, (list, tuple)) and function is not np.shape
    pairs = (found, expected) if several else ([found], [expected])
    for a, b in zip(*[[plain(v) for v in side] for side in pairs], strict=True):
        assert a.shape == b.shape
        if function not in EMPTY:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_reduce_of_a_ufunc_is_along_the_first_axis() -> None:
    t = ours.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert np.asarray(np.add.reduce(t)).tolist() == [4.0, 6.0]
    assert np.asarray(np.add.reduce(t, axis=None)).tolist() == 10.0
    assert np.asarray(np.multiply.reduce(t)).tolist() == [3.0, 8.0]


def test_the_gradient_still_flows_through_keywords_that_are_ours() -> None:
    t = ours.tensor(X, requires_grad=True)
    np.sum(np.tril(t, k=-1), axis=0, keepdims=True).sum().backward()
    assert t.grad is not None and t.grad.tolist() == np.tril(np.ones((3, 3)), -1).tolist()
