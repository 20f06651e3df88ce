"""Small programs that answered otherwise than torch, each run by both."""

from __future__ import annotations

from typing import Any

import pytest

import tinygrad_edu as tg

torch = pytest.importorskip("torch")

PROGRAMS = {
    "one class as a vector": lambda lib, x: lib.nn.functional.cross_entropy(
        x, lib.tensor([2]), reduction="none"
    ),
    "one class as a vector, of log-probabilities": lambda lib, x: lib.nn.functional.nll_loss(
        x, lib.tensor([2])
    ),
    "two classes for one row": lambda lib, x: lib.nn.functional.nll_loss(x, lib.tensor([2, 1])),
    "a condition of bytes": lambda lib, x: lib.where(
        lib.tensor([1, 0, 2, 0, 1], dtype=lib.uint8), x, -x
    ),
    "a condition of integers": lambda lib, x: lib.where(lib.tensor([1, 0, 2, 0, 1]), x, -x),
    "split before indices": lambda lib, x: x.tensor_split(lib.tensor([1, 3]))[1],
    "split into sections": lambda lib, x: x.tensor_split(lib.tensor(2))[1],
    "split before short indices": lambda lib, x: x.tensor_split(
        lib.tensor([1, 3], dtype=lib.int32)
    )[1],
    "split into short sections": lambda lib, x: x.tensor_split(lib.tensor(2, dtype=lib.int32))[1],
}


def outcome(lib: Any, name: str) -> Any:
    classes = "class" in name  # torch has no gradient of a vector whose class is a vector
    x = lib.arange(5.0, requires_grad=not classes)
    try:
        y = PROGRAMS[name](lib, x)
    except (RuntimeError, ValueError) as error:
        return type(error), str(error)
    if not classes:
        y.sum().backward()
    return tuple(y.shape), y.tolist(), None if classes else x.grad.tolist()


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.filterwarnings("ignore:where received a uint8")
def test_as_torch(name: str) -> None:
    ours, theirs = outcome(tg, name), outcome(torch, name)
    if isinstance(theirs[0], type):
        assert ours == theirs
    else:
        assert ours[0] == theirs[0]
        assert ours[1] == pytest.approx(theirs[1], rel=1e-6)
        assert ours[2] == theirs[2]


def test_the_gradient_of_a_vector_whose_class_is_a_vector() -> None:
    x = tg.arange(5.0, requires_grad=True)
    tg.nn.functional.cross_entropy(x, tg.tensor([2])).backward()
    p = tg.softmax(tg.arange(5.0), 0)
    assert x.grad.tolist() == pytest.approx((p - tg.eye(5)[2]).tolist(), abs=1e-6)
