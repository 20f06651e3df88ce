"""A number that a dtype cannot hold is refused, not wrapped around: as in torch, in all places.

Written into a tensor (tensor, full, fill_, assignment, where, clamp, masked_fill, ...), a number
must fit.  In arithmetic, comparisons and casts of tensors, torch wraps integers, and so do we.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

DTYPES = ["uint8", "int8", "int16", "int32", "int64", "bool", "float16", "bfloat16", "float32",
          "float64"]  # fmt: skip
INTEGERS = [3, 300, -1, -200, -300, 40000, 2**31, -(2**31) - 1, 2**32 + 5, 2**63 - 1, 2**63,
            -(2**63), -(2**63) - 1, 2**64, 2**70]  # fmt: skip
FLOATS = [1.5, -1.5, -0.5, 255.5, 300.7, 7e4, 1e10, 1e19, 1e20, 1e39, -1e39, 1e300, math.inf,
          -math.inf, math.nan]  # fmt: skip
VALUES = [*INTEGERS, *FLOATS, True, False]


def _set(x: Any, index: Any, value: Any) -> Any:
    y = x.clone()
    y[index] = value
    return y


PLACES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "tensor": lambda t, x, v: t.tensor(v, dtype=x.dtype),
    "tensor of a list": lambda t, x, v: t.tensor([[v, 1]], dtype=x.dtype),
    "as_tensor": lambda t, x, v: t.as_tensor([v], dtype=x.dtype),
    "new_tensor": lambda t, x, v: x.new_tensor([v]),
    "scalar_tensor": lambda t, x, v: t.scalar_tensor(v, dtype=x.dtype),
    "full": lambda t, x, v: t.full((2,), v, dtype=x.dtype),
    "full_like": lambda t, x, v: t.full_like(x, v),
    "new_full": lambda t, x, v: x.new_full((2,), v),
    "fill": lambda t, x, v: t.fill(x, v),
    "fill_": lambda t, x, v: x.clone().fill_(v),
    "x[0] = v": lambda t, x, v: _set(x, 0, v),
    "x[1:] = v": lambda t, x, v: _set(x, slice(1, None), v),
    "x[...] = v": lambda t, x, v: _set(x, ..., v),
    "x[mask] = v": lambda t, x, v: _set(x, x == 1, v),
    "x[list] = v": lambda t, x, v: _set(x, [0, 2], v),
    "masked_fill": lambda t, x, v: x.masked_fill(x == 1, v),
    "masked_fill_": lambda t, x, v: x.clone().masked_fill_(x == 1, v),
    "masked_fill of nothing": lambda t, x, v: x.masked_fill(x == 7, v),
    "masked_fill by a tensor": lambda t, x, v: x.masked_fill(x == 1, t.tensor(v)),
    "where": lambda t, x, v: t.where(x == 1, x, v),
    "where the other way": lambda t, x, v: t.where(x == 1, v, x),
    "clamp, low": lambda t, x, v: x.clamp(min=v),
    "clamp, high": lambda t, x, v: x.clamp(max=v),
    "clamp_": lambda t, x, v: x.clone().clamp_(min=v),
    "clamp_min": lambda t, x, v: t.clamp_min(x, v),
    "index_fill": lambda t, x, v: x.index_fill(0, t.tensor([1]), v),
    "scatter": lambda t, x, v: x.scatter(0, t.tensor([1]), v),
    "scatter_": lambda t, x, v: x.clone().scatter_(0, t.tensor([1]), value=v),
    "fill_diagonal_": lambda t, x, v: x.repeat(3, 1).fill_diagonal_(v),
    "pad": lambda t, x, v: t.nn.functional.pad(x, (1, 1), value=v),
    "threshold": lambda t, x, v: t.nn.functional.threshold(x, 0, v),
    "hardtanh": lambda t, x, v: t.nn.functional.hardtanh(x, 0 if v >= 0 else v, max(v, 1)),
    "add, alpha": lambda t, x, v: t.add(x, x, alpha=v),
    "addcmul": lambda t, x, v: t.addcmul(x, x, x, value=v),
    "linspace": lambda t, x, v: t.linspace(0, v, 2, dtype=x.dtype),
    "arange": lambda t, x, v: t.arange(v, v + 2, dtype=x.dtype),
    "pow": lambda t, x, v: x**v,
    "searchsorted": lambda t, x, v: t.searchsorted(x, v),
    # what wraps in torch
    "copy_": lambda t, x, v: x.clone().copy_(t.tensor(v)),
    "fill_ by a tensor": lambda t, x, v: x.clone().fill_(t.tensor(v)),
    "x[0] = tensor": lambda t, x, v: _set(x, 0, t.tensor(v)),
    "+": lambda t, x, v: x + v,
    "*": lambda t, x, v: x * v,
    "-": lambda t, x, v: v - x,
    "+=": lambda t, x, v: x.clone().add_(v),
    "==": lambda t, x, v: x == v,
    "<": lambda t, x, v: x < v,
    "//": lambda t, x, v: x // v,
    "%": lambda t, x, v: x % v,
    "&": lambda t, x, v: x & v,
}

_WIDE = "computed in float32, where it fits"
_ANY = "torch refuses integers of more than 64 bits also where a float is computed with"
_UNDEFINED = "a cast that C++ leaves undefined"


def _differs(place: str, dtype: str, value: Any) -> str:
    """Why torch's outcome may be another one; empty where it must be the same."""
    half, floats = dtype in ("float16", "bfloat16"), "float" in dtype
    large = isinstance(value, int) and not -(2**63) <= value < 2**64
    if half and place in ("clamp, low", "clamp, high", "clamp_", "clamp_min", "threshold", "pow"):
        return _WIDE
    if large and (floats or dtype == "bool"):
        if place in ("+", "*", "-", "+=", "==", "<", "//", "%", "&", "pow", "searchsorted"):
            return _ANY
        if place in ("where", "where the other way", "linspace", "addcmul", "threshold", "arange",
                     "hardtanh"):  # fmt: skip
            return _ANY
    if large and place in ("&", "pow", "arange", "fill_ by a tensor"):
        return _ANY
    if place == "arange" and (dtype == "bool" or not abs(value) < 1e18):
        return "the end of a range may not fit where its start does"
    if place == "pad" and dtype == "int64" and value in (2**63 - 1, 2**63):
        return "as a float64 it is 2**63, which torch casts to -2**63"
    if place in ("copy_", "fill_ by a tensor", "x[0] = tensor") and "int" in dtype:
        if isinstance(value, float) and not -128 <= value <= 127:
            return _UNDEFINED
    if place in ("+", "+=", "-") and dtype == "bfloat16" and value in (255.5, 300.7):
        return "torch rounds the number first"
    if dtype == "bool" and value == 2**63 or place == "pow" and dtype == "bool":
        return "torch promotes bool and uint64, or has no power of bools"
    if place == "searchsorted" and dtype == "bool":
        return "torch has no search among bools"
    return ""


def outcome(library: Any, place: str, dtype: str, value: Any) -> Any:
    x = library.tensor([0, 1, 1]).to(getattr(library, dtype))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            y = PLACES[place](library, x, value)
        except Exception as error:
            kind = type(error)
            return RuntimeError if issubclass(kind, RuntimeError) else kind
    return str(y.dtype), y.double().tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", list(PLACES))
def test_every_place_and_dtype(place: str, dtype: str) -> None:
    for value in VALUES:
        if _differs(place, dtype, value):
            continue
        mine, theirs = outcome(ours, place, dtype, value), outcome(torch, place, dtype, value)
        same = mine == theirs or (
            isinstance(mine, tuple)
            and isinstance(theirs, tuple)
            and mine[0] == theirs[0]
            and np.array_equal(mine[1], theirs[1], equal_nan=True)
        )
        assert same, f"{place}, {dtype}, {value!r}: {mine}, torch has {theirs}"


def test_what_is_excepted_is_little() -> None:
    cases = [(p, d, v) for p in PLACES for d in DTYPES for v in VALUES]
    excepted = sum(bool(_differs(*case)) for case in cases)
    assert excepted < 0.1 * len(cases)


def test_the_message_names_the_type() -> None:
    u = ours.zeros(3, dtype=ours.uint8)
    for write in (lambda: u.fill_(300), lambda: u.masked_fill(u == 0, 300), lambda: u.clamp(300)):
        with pytest.raises(RuntimeError, match="value cannot be converted to type uint8_t without"):
            write()
    with pytest.raises(RuntimeError, match="to type uint8 without overflow"):
        ours.tensor([1, 300], dtype=ours.uint8)
    with pytest.raises(RuntimeError, match="to type int without overflow"):
        ours.full((2,), math.nan, dtype=ours.int32)
    with pytest.raises(RuntimeError, match="to type c10::Half without overflow"):
        ours.zeros(2, dtype=ours.float16).masked_fill(ours.tensor([True, False]), -1e9)


def test_arrays_and_tensors_are_cast() -> None:
    """Only Python's numbers are looked at: an array is cast as NumPy, and torch, cast it."""
    for library in (ours, torch):
        a = np.array([300, -1])
        assert library.tensor(a, dtype=library.uint8).tolist() == [44, 255]
        assert library.tensor(a).to(library.uint8).tolist() == [44, 255]


def test_large_integers_become_floats() -> None:
    for value in (2**64, 2**70, -(2**63) - 1, 10**30):
        for data in (value, [value, 1], [[value, 0.5]], [True, value]):
            for dtype in ("float64", "float32", "float16", "bfloat16", "bool"):
                mine, theirs = [
                    T.tensor(data, dtype=getattr(T, dtype)).double().tolist() for T in (ours, torch)
                ]
                assert mine == theirs
    for library in (ours, torch):
        with pytest.raises((ValueError, RuntimeError), match="Overflow when unpacking"):
            library.tensor([2**70])
