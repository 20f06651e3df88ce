"""Promotion: every pair of dtypes and kinds of operands gives torch's dtype, value or refusal."""

from __future__ import annotations

import itertools
import operator
import warnings
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytest.importorskip("ml_dtypes")

DTYPES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
]  # fmt: skip
UNSIGNED = ["uint16", "uint32", "uint64"]
NUMBERS: dict[str, Any] = {"True": True, "3": 3, "0.7": 0.7, "-2": -2}
OPERANDS = [f"{kind} {d}" for d in DTYPES for kind in ("tensor", "0-d")] + list(NUMBERS)
PAIRS = [
    p for p in itertools.product(OPERANDS, OPERANDS) if not (p[0] in NUMBERS and p[1] in NUMBERS)
]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def make(lib: Any, operand: str, second: bool) -> Any:
    if operand in NUMBERS:
        return NUMBERS[operand]
    kind, dtype = operand.split()
    values = [3.0, 1.0, 2.0] if second else [1.7, 0.0, 5.3]
    t = lib.tensor(values if kind == "tensor" else values[0], dtype=lib.float64)
    return t.to(getattr(lib, dtype))


def outcome(function: Any, lib: Any, a: str, b: str) -> Any:
    """The dtype and values of the result, or the type of the exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            y = function(lib, make(lib, a, False), make(lib, b, True))
    except Exception as error:
        return RuntimeError if isinstance(error, RuntimeError) else type(error)
    if isinstance(y, (bool, lib.dtype)):
        return repr(y)
    return repr(y.dtype), tuple(y.shape), y.to(lib.float64).numpy()


def check(function: Any, pairs: Any) -> None:
    wrong = []
    for a, b in pairs:
        expected, found = (outcome(function, lib, a, b) for lib in (torch, ours))
        if not isinstance(expected, tuple) or not isinstance(found, tuple):
            if expected is not found and expected != found:
                wrong.append(f"{a}, {b}: {found}, torch {expected}")
            continue
        if expected[:2] != found[:2]:
            wrong.append(f"{a}, {b}: {found}, torch {expected}")
            continue
        eps = {"torch.bfloat16": 2**-7, "torch.float16": 2**-10, "torch.float32": 1e-6}
        rtol = eps.get(expected[0], 1e-12)
        if not np.allclose(found[2], expected[2], rtol=rtol, atol=0, equal_nan=True):
            wrong.append(f"{a}, {b}: {found}, torch {expected}")
    assert not wrong, f"{len(wrong)} of {len(pairs)}:\n" + "\n".join(wrong[:40])


def test_result_type() -> None:
    check(lambda lib, a, b: lib.result_type(a, b), PAIRS)


@pytest.mark.parametrize("name", ["promote_types", "can_cast"])
def test_of_two_dtypes(name: str) -> None:
    def function(lib: Any, a: str, b: str) -> str:
        try:
            return repr(getattr(lib, name)(getattr(lib, a), getattr(lib, b)))
        except RuntimeError:
            return "RuntimeError"

    pairs = list(itertools.product(DTYPES + UNSIGNED, repeat=2))
    mine, theirs = ([function(lib, a, b) for a, b in pairs] for lib in (ours, torch))
    wrong = [x for x in zip(pairs, mine, theirs, strict=True) if x[1] != x[2]]
    assert not wrong, wrong


OPERATORS = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
    "floordiv": operator.floordiv, "mod": operator.mod, "pow": operator.pow, "eq": operator.eq,
    "lt": operator.lt, "and": operator.and_, "lshift": operator.lshift,
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str) -> None:
    """`a op b`, tensors and numbers on either side; a float's remainder by 0.7 is left out."""
    pairs = [p for p in PAIRS if name not in ("mod", "floordiv") or "0.7" not in p]
    check(lambda lib, a, b: OPERATORS[name](a, b), pairs)


@pytest.mark.parametrize("name", OPERATORS)
def test_in_place_operators(name: str) -> None:
    """`a op= b`: the dtype of a stays, or torch refuses."""
    function = getattr(operator, f"i{name}", None)
    if function is None:
        function = {"eq": lambda a, b: a.eq_(b), "lt": lambda a, b: a.lt_(b)}[name]
    if name in ("and", "lshift", "pow"):
        function = {"and": operator.iand, "lshift": operator.ilshift, "pow": operator.ipow}[name]
    pairs = [p for p in PAIRS if p[0] not in NUMBERS]
    pairs = [p for p in pairs if name not in ("mod", "floordiv") or "0.7" not in p]
    check(lambda lib, a, b: function(a, b), pairs)


def _tensors(lib: Any, *operands: Any) -> list[Any]:
    return [o if isinstance(o, lib.Tensor) else lib.tensor(o) for o in operands]


FUNCTIONS = {
    "where": lambda lib, a, b: lib.where(lib.tensor([True, False, True]), a, b),
    "maximum": lambda lib, a, b: lib.maximum(*_tensors(lib, a, b)),
    "atan2": lambda lib, a, b: lib.atan2(*_tensors(lib, a, b)),
    "cat": lambda lib, a, b: lib.cat([t.reshape(-1) for t in _tensors(lib, a, b)]),
    "stack": lambda lib, a, b: lib.stack([t.reshape(-1)[:1] for t in _tensors(lib, a, b)]),
    "masked_fill": lambda lib, a, b: a.masked_fill(lib.tensor(True), b),
    "clamp": lambda lib, a, b: lib.clamp(a, min=b),
    "copysign": lambda lib, a, b: lib.copysign(a, b),
    "logical_and": lambda lib, a, b: lib.logical_and(*_tensors(lib, a, b)),
    "bitwise_xor": lambda lib, a, b: lib.bitwise_xor(a, b),
    "addcmul": lambda lib, a, b: lib.addcmul(*_tensors(lib, a, b, b)),
    "addcdiv": lambda lib, a, b: lib.addcdiv(*_tensors(lib, a, b, b)),
    "copy_": lambda lib, a, b: _tensors(lib, a)[0].reshape(-1).copy_(_tensors(lib, b)[0]),
    "setitem": lambda lib, a, b: operator.setitem(a, ..., b) or a,
    "fill_": lambda lib, a, b: a.fill_(b),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    check(FUNCTIONS[name], [p for p in PAIRS if p[0] not in NUMBERS or name == "where"])


# ---- lists of numbers of several kinds


def _lists(lib: Any) -> list[Any]:
    def t(value: Any, kind: str) -> Any:
        return lib.tensor(value, dtype=getattr(lib, kind))

    return [
        [2.0, np.float64(1)], [np.float32(1), 2.0], [np.float32(1), 2], [np.float16(1), 2.5],
        [np.int32(1)], [np.int32(1), 2], [[np.float32(1)], [2.0]], [1, True], [True, 2.5],
        [t(1.0, "float32"), 3], [t(1.0, "float64"), 3], [t(1, "int8"), 3], [t(1, "int8"), True],
        [t(1, "int64"), 2.5], [True, t(2.0, "float32")], [t(1, "uint8"), np.int8(1)],
        [t([1.0], "float32"), t([2.0], "float32")], [t([[[1.0]]], "float32"), 2],
        [[t([1.0], "float32")], [t(3, "int64")]], [np.ones(2), [3.0, 4.0]], [[], []],
        [t(1.0, "float32").requires_grad_(), 2.0], (1.5, t(1.0, "float64")),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("make", ["tensor", "as_tensor"])
def test_lists_of_several_kinds(make: str) -> None:
    for mine, theirs in zip(_lists(ours), _lists(torch), strict=True):
        found, expected = getattr(ours, make)(mine), getattr(torch, make)(theirs)
        assert repr(found) == repr(expected), f"{make}({theirs})"
        assert repr(found.dtype) == repr(expected.dtype) and found.shape == expected.shape


@pytest.mark.parametrize("lib", [ours, torch], ids=["ours", "torch"])
def test_lists_that_are_no_tensors(lib: Any) -> None:
    for make in (lib.tensor, lib.as_tensor, lib.FloatTensor):
        with pytest.raises(ValueError, match="only one element tensors can be converted"):
            make([lib.ones(2), lib.ones(2)])
    for value, kind in (([{}], "dict"), ([None], "NoneType"), (object(), "object")):
        with pytest.raises(RuntimeError, match=f"Could not infer dtype of {kind}"):
            lib.tensor(value)
    with pytest.raises(ValueError, match="Overflow when unpacking long"):
        lib.tensor([2**63])
