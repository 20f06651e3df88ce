"""The one table of operations: what every operation is called, and what inputs it is tried on.

A row is `Op(name, call, call, ...)`.  A call lists arguments; those that are tensors are described,
not made: `F(2, 3)` is a float tensor of shape (2, 3).  tests/test_operations.py makes the same
arrays into our tensors and into torch's, runs both, and compares everything there is to compare.

    Op("add",
       call(F(2, 3), F(3)),               # torch.add(a, b) with a [2, 3] and b [3]
       call(F(2, 3), 2.5, alpha=3),
       bad=[call(F(2), F(3))])            # torch raises, so must we, with the same type

A new operation needs a row here, or `test_every_primitive_has_a_row` fails.
"""

from __future__ import annotations

import importlib
import pkgutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Input:
    """How to make one tensor argument."""

    shape: tuple[int, ...]
    kind: str = "float"
    low: float = -2.0
    high: float = 2.0
    away: tuple[float, ...] = ()
    margin: float = 0.1
    distinct: bool = False
    grad: bool = True
    values: Any = None

    def make(self, random: np.random.Generator, dtype: str) -> np.ndarray:
        """An array; `dtype` counts for those of kind "float" only."""
        if self.values is not None:
            array = np.array(self.values)
        elif self.kind == "bool":
            return np.asarray(random.random(self.shape) < 0.5)
        elif self.kind == "int":
            return np.asarray(random.integers(int(self.low), int(self.high), self.shape))
        elif self.distinct:
            steps = random.permutation(int(np.prod(self.shape))).reshape(self.shape)
            array = (steps - steps.size // 2) * 0.25 + 0.1
        else:
            array = np.asarray(random.uniform(self.low, self.high, self.shape))
            for point in self.away:
                side = np.where(array < point, -1.0, 1.0)
                near = np.abs(array - point) < self.margin
                array = np.where(near, point + side * self.margin * 1.5, array)
        array = np.asarray(array)
        if self.kind != "float":
            return array.astype({"int": "int64", "bool": "bool"}[self.kind])
        if dtype == "bool":
            return array > 0
        if "int" in dtype:
            array = np.rint(np.nan_to_num(array, posinf=9, neginf=-9))
        if dtype == "uint8":
            array = abs(array)
        return np.asarray(array, dtype)

    def __repr__(self) -> str:
        return f"{self.kind}{list(self.shape)}"


def F(*shape: int, **options: Any) -> Input:
    """Floats in [-2, 2); `away=(0,)` keeps them from a kink; `grad=False` makes it a constant."""
    return Input(shape, **options)


def Pos(*shape: int, low: float = 0.3, high: float = 2.5, **options: Any) -> Input:
    """Positive floats."""
    return Input(shape, low=low, high=high, **options)


def Prob(*shape: int, **options: Any) -> Input:
    """Floats inside (0, 1)."""
    return Input(shape, low=0.05, high=0.95, **options)


def Distinct(*shape: int) -> Input:
    """Floats of which no two are closer than 0.25, nor any close to 0."""
    return Input(shape, distinct=True)


def Ties(*shape: int) -> Input:
    """Floats from {-1, 0, 1}: equal ones occur."""
    size = int(np.prod(shape))
    return Input(shape, values=(np.arange(size) * 7 % 3 - 1.0).reshape(shape))


def I(*shape: int, low: int = -4, high: int = 5) -> Input:  # noqa: E743
    """int64 in [low, high)."""
    return Input(shape, "int", low, high)


def Ix(size: int, *shape: int) -> Input:
    """Positions in a dimension of that size."""
    return Input(shape, "int", 0, size)


def B(*shape: int) -> Input:
    """Bools."""
    return Input(shape, "bool")


def V(values: Any, kind: str = "float", **options: Any) -> Input:
    """These values."""
    return Input(np.shape(values), kind, values=values, **options)


@dataclass(frozen=True)
class Call:
    """The arguments of one call.

    Attributes:
        smooth: finite differences hold at these inputs (they do not where values tie).
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    smooth: bool = True

    def __repr__(self) -> str:
        parts = [_show(a) for a in self.args] + [f"{k}={_show(v)}" for k, v in self.kwargs.items()]
        return f"({', '.join(parts)})"


def _show(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_show(v) for v in value) + "]"
    return value if isinstance(value, str) else repr(value)


class Dtype(str):
    """A dtype by name, looked up in either library: `call(F(2), dtype=Dtype("float64"))`."""


def call(*args: Any, **kwargs: Any) -> Call:
    """The arguments of a call; `call(...)` of tied values: see `tied`."""
    return Call(args, kwargs)


def tied(*args: Any, **kwargs: Any) -> Call:
    """A call at a kink: its first derivative is compared with torch's, and with nothing else."""
    return Call(args, kwargs, smooth=False)


class Op:
    """One row.

    Args:
        name: the path in both libraries: "add", "nn.functional.relu", "Tensor.expand"; with
            `run`, just a label.
        calls: what to try.
        bad: calls at which torch raises; ours must raise the same type.
        run: how to call it, if not by its name: `run(torch, *args)` with either library.
        second: whether second derivatives are compared.
        skip: dtypes not to try, each of "float32", "int64", "bool".
        tolerance: (rtol, atol) in float32.
        covers: further public names that this row stands for.
    """

    def __init__(
        self,
        name: str,
        *calls: Call,
        bad: Sequence[Call] = (),
        run: Callable[..., Any] | None = None,
        second: bool = True,
        skip: Sequence[str] = (),
        tolerance: tuple[float, float] = (2e-5, 2e-5),
        covers: Sequence[str] = (),
    ) -> None:
        self.name, self.calls, self.bad, self.run = name, calls, tuple(bad), run
        self.second, self.skip, self.tolerance = second, tuple(skip), tolerance
        self.covers = tuple(covers)

    def __repr__(self) -> str:
        return self.name

    def __call__(self, torch: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the operation of that library."""
        if self.run is not None:
            return self.run(torch, *args, **kwargs)
        return self.find(torch)(*args, **kwargs)

    def find(self, torch: Any) -> Any:
        """The function or method of that library."""
        found = torch
        for part in self.name.split("."):
            found = getattr(found, part)
        return found


def arrays(op: Op, given: Call, dtype: str) -> Call:
    """The call with arrays in place of descriptions; always the same ones."""
    random = np.random.default_rng(zlib.crc32(f"{op.name}{given!r}".encode()))

    def make(value: Any) -> Any:
        if isinstance(value, Input):
            return Made(value.make(random, dtype), value.grad)
        if isinstance(value, (list, tuple)) and any(isinstance(v, Input) for v in value):
            return type(value)(make(v) for v in value)
        return value

    return Call(
        tuple(make(a) for a in given.args),
        {k: make(v) for k, v in given.kwargs.items()},
        given.smooth,
    )


@dataclass
class Made:
    """An array that a tensor is to be made of."""

    array: np.ndarray
    grad: bool


# Shapes every elementwise operation is tried on: ordinary, 0-d, empty, size-1 dimensions.
SHAPES = ((3, 4), (), (0, 3), (2, 1, 3))
PAIRS = (((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (3,)), ((), ()), ((0, 3), (1,)))


def unary(name: str, make: Callable[..., Input] = F, *more: Call, **options: Any) -> Op:
    """The row of an elementwise function of one tensor; `more` are further calls."""
    inputs = {k: options.pop(k) for k in ("low", "high", "away", "margin") if k in options}
    return Op(name, *[call(make(*shape, **inputs)) for shape in SHAPES], *more, **options)


def binary(
    name: str,
    a: Callable[..., Input] = F,
    b: Callable[..., Input] | None = None,
    *more: Call,
    **options: Any,
) -> Op:
    """The row of an elementwise function of two tensors, broadcast in all ways."""
    b = a if b is None else b
    calls = [call(a(*one), b(*two)) for one, two in PAIRS]
    bad = [call(a(2, 3), b(4)), call(a(2), "two"), *options.pop("bad", [])]
    return Op(name, *calls, *more, bad=bad, **options)


def all_rows() -> list[Op]:
    """The rows of all families, in the order of the files' names."""
    rows: list[Op] = []
    for info in pkgutil.iter_modules(__path__):
        rows += importlib.import_module(f"{__name__}.{info.name}").ROWS
    return rows
