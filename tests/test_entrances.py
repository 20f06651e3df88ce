"""Whatever comes in as an array is a plain one inside, with its dtype.

A `np.matrix` stays two-dimensional when it is indexed and multiplies by `*` as matrices do; a
masked array counts only some of its elements.  torch takes the memory of both, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass")

VALUES = np.array([[1.0, 2.0], [3.0, 4.0]])


class Odd(np.ndarray):
    """An array that changes all that is asked of it."""

    def __getitem__(self, index: Any) -> Any:
        return -1.0

    def __array_finalize__(self, other: Any) -> None:
        pass


class Column:
    """What pandas' Series and its kin are: a sequence that is no array, but says which it holds."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, i: int) -> Any:
        return self.values[i]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values if dtype is None else self.values.astype(dtype)


def _memmap(tmp_path: Path) -> Any:
    file = np.memmap(tmp_path / "numbers", np.float64, "w+", shape=(2, 2))
    file[...] = VALUES
    return file


KINDS: dict[str, Callable[[Path], Any]] = {
    "matrix": lambda path: np.asmatrix(VALUES.copy()),
    "masked array": lambda path: np.ma.masked_array(VALUES.copy(), mask=[[0, 1], [0, 0]]),
    "memmap": _memmap,
    "subclass": lambda path: VALUES.copy().view(Odd),
}

ENTRANCES: dict[str, Callable[[Any, Any], Any]] = {
    "tensor": lambda t, a: t.tensor(a),
    "tensor with dtype": lambda t, a: t.tensor(a, dtype=t.float32),
    "as_tensor": lambda t, a: t.as_tensor(a),
    "asarray": lambda t, a: t.asarray(a),
    "from_numpy": lambda t, a: t.from_numpy(a),
    "new_tensor": lambda t, a: t.zeros(1).new_tensor(a),
    "Tensor": lambda t, a: t.Tensor(a),
    "DoubleTensor": lambda t, a: t.DoubleTensor(a),
    "collate": lambda t, a: t.utils.data.default_collate([a, a]),
    "copied": lambda t, a: t.zeros(2, 2).copy_(t.from_numpy(a)),
    "Parameter": lambda t, a: t.nn.Parameter(t.from_numpy(a)).detach(),
    "assigned": lambda t, a: _assigned(t, t.from_numpy(a)),
    "index": lambda t, a: t.arange(5)[t.from_numpy(a).long()],
    "sums": lambda t, a: t.from_numpy(a).sum(0),
}


def _assigned(t: Any, value: Any) -> Any:
    y = t.zeros(3, 2, 2)
    y[1] = value
    return y


@pytest.mark.parametrize("entrance", list(ENTRANCES))
@pytest.mark.parametrize("kind", list(KINDS))
def test_plain_inside(kind: str, entrance: str, tmp_path: Path) -> None:
    found = []
    for library in (ours, torch):
        t = ENTRANCES[entrance](library, KINDS[kind](tmp_path))
        assert type(t.numpy()) is np.ndarray
        first = t[0]
        products = (t.double() * t.double()).sum().item()
        found.append((str(t.dtype), t.tolist(), tuple(first.shape), first.tolist(), products))
    assert found[0] == found[1]


def test_memory_is_shared_with_a_subclass() -> None:
    for make in (ours.from_numpy, ours.as_tensor):
        a = np.asmatrix(VALUES.copy())
        t = make(a)
        t[0, 1] = 9.0
        assert a[0, 1] == 9.0


def test_gradients_beside_a_matrix_are_elementwise() -> None:
    x = ours.ones(2, 2, dtype=ours.float64, requires_grad=True)
    (x * ours.from_numpy(np.asmatrix(VALUES))).sum().backward()
    assert x.grad is not None and x.grad.tolist() == VALUES.tolist()


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "uint8", "bool"])
def test_a_column_keeps_its_dtype(dtype: str) -> None:
    """Also of pandas' Series, which are sequences of NumPy's numbers."""
    column = Column(np.array([1, 0, 2]).astype(dtype))
    for make in (ours.tensor, ours.as_tensor, ours.asarray):
        t = make(column)
        assert str(t.dtype) == f"torch.{dtype}" and t.tolist() == column.values.tolist()
    assert ours.tensor(column, dtype=ours.float32).dtype == ours.float32
    pair = ours.tensor([column, column])
    assert tuple(pair.shape) == (2, 3) and str(pair.dtype) == f"torch.{dtype}"
    assert str(torch.tensor(column).dtype) == f"torch.{dtype}"


def test_a_column_of_texts_is_refused() -> None:
    for values in (np.array(["a", "b"], object), np.array([None, 1.0], object)):
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            ours.tensor(Column(values))


def test_frames_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.5, 2.5], "b": [3.5, 4.5]})
    assert ours.tensor(frame["a"]).dtype == ours.float64
    assert ours.tensor(frame["a"].astype("float32")).dtype == ours.float32
    assert ours.tensor(frame.values).tolist() == [[1.5, 3.5], [2.5, 4.5]]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("kind", ["matrix", "masked array", "subclass"])
def test_operands(kind: str, told: bool, tmp_path: Path) -> None:
    """An array as an operand: its values count, not its class, forward and backward.

    So it is when somebody listens to calls, as in a process where 16-bit floats were met.
    """
    if told:
        ours.zeros(1, dtype=ours.bfloat16)
    a = KINDS[kind](tmp_path)
    for operate in (lambda x: x * a, lambda x: x + a, lambda x: ours.maximum(x, ours.tensor(a))):
        x = ours.full((2, 2), 2.0, dtype=ours.float64, requires_grad=True)
        y = operate(x)
        assert type(y.detach().numpy()) is np.ndarray
        y.sum().backward()
    x = ours.full((2, 2), 2.0, dtype=ours.float64, requires_grad=True)
    (x * a).sum().backward()
    assert x.grad is not None and x.grad.tolist() == VALUES.tolist()


OPERANDS: dict[str, Callable[[Any, Any], Any]] = {
    "x * a": lambda x, a: x * a, "a * x": lambda x, a: a * x, "x + a": lambda x, a: x + a,
    "x == a": lambda x, a: x == a, "x / a": lambda x, a: x / a, "add": lambda x, a: ours.add(x, a),
    "np.add": lambda x, a: np.add(a, x), "x -= a": lambda x, a: x.__isub__(a),
    "where": lambda x, a: ours.where(x > 0, x, a), "clamp": lambda x, a: x.clamp(a),
}  # fmt: skip


@pytest.mark.parametrize("call", OPERANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_as_an_operand_it_leaves_a_plain_array(kind: str, call: str, tmp_path: Path) -> None:
    try:
        y = OPERANDS[call](ours.ones(2, 2, dtype=ours.float64), KINDS[kind](tmp_path))
    except (TypeError, RuntimeError):
        return  # torch knows no such operand
    if y is NotImplemented:  # `x -= a` then is `x = x - a`
        return
    assert type(y.array) is np.ndarray


@pytest.mark.parametrize("data", [[2**63, 1], [[2**63], [-1]], [2**63, True], [-(2**63) - 1, 0]])
def test_lists_of_integers_of_more_than_64_bits(data: Any) -> None:
    for library in (ours, torch):
        with pytest.raises(ValueError, match="Overflow when unpacking long long"):
            library.tensor(data)
