"""Operands that are laid out differently: results, views and refusals are torch's.

Random layouts (permuted, stepped, expanded, with fewer dimensions) of random shapes; the seeds are
fixed, one per operation.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


class Layout(NamedTuple):
    """A shape, the order of its dimensions in memory, and what each is: "", step, expand or one."""

    shape: tuple[int, ...]
    order: tuple[int, ...]
    kinds: tuple[str, ...]
    drop: bool

    def make(self, library: Any, dtype: str = "float32") -> Any:
        """The tensor; the same one in both libraries."""
        sizes = [1 if kind in ("expand", "one") else size * (2 if kind == "step" else 1)
                 for size, kind in zip(self.shape, self.kinds, strict=True)]  # fmt: skip
        stored = [sizes[d] for d in self.order]
        values = (np.arange(np.prod(stored)) % 5 + 1).astype(dtype).reshape(stored)
        x = library.from_numpy(values).permute(*np.argsort(self.order).tolist())
        x = x[tuple([slice(None, None, 2 if kind == "step" else 1) for kind in self.kinds])]
        x = x.expand([1 if k == "one" else n for n, k in zip(self.shape, self.kinds, strict=True)])
        return x[0] if self.drop and len(self.shape) > 1 else x


def layout(choose: random.Random, shape: tuple[int, ...]) -> Layout:
    order = list(range(len(shape)))
    choose.shuffle(order)
    kinds = tuple([choose.choice([""] * 6 + ["step", "expand", "one"]) for _ in shape])
    return Layout(shape, tuple(order), kinds, choose.random() < 0.15)


def shape_of(choose: random.Random) -> tuple[int, ...]:
    return tuple([choose.choice([2, 3, 4]) for _ in range(choose.choice([1, 2, 2, 3, 3, 4]))])


def seen(x: Any) -> tuple[Any, ...]:
    """What can be told of how `x` lies in memory: steps along which nobody steps are left out."""
    pairs = zip(x.shape, x.stride(), strict=True)
    return (tuple(x.shape), x.is_contiguous(), [step for size, step in pairs if size > 1])


FLOATS = (
    "add sub mul div pow atan2 maximum minimum fmax fmin eq ne lt le gt ge remainder fmod"
    " floor_divide logical_and logical_or logical_xor hypot logaddexp logaddexp2 copysign nextafter"
    " xlogy heaviside float_power true_divide isclose rsub ldexp"
).split()
INTEGERS = (
    "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift gcd lcm"
    " add mul eq logical_and"
).split()
TERNARY: dict[str, Callable[..., Any]] = {
    "where": lambda t, a, b, c: t.where(a > 2, b, c),
    "where, a number": lambda t, a, b, c: t.where(a > 2, b, 0.0),
    "lerp": lambda t, a, b, c: t.lerp(a, b, c),
    "lerp, a number": lambda t, a, b, c: t.lerp(a, b, 0.3),
    "addcmul": lambda t, a, b, c: t.addcmul(a, b, c, value=2.0),
    "addcdiv": lambda t, a, b, c: t.addcdiv(a, b, c),
    "clamp": lambda t, a, b, c: t.clamp(a, b, c),
    "masked_fill": lambda t, a, b, c: a.masked_fill(b > 2, 0.0),
    "a + b * c": lambda t, a, b, c: a + b * c,
    "cat": lambda t, a, b, c: t.cat([a.expand(b.shape), b]) if a.dim() == b.dim() else a,
}


def compare(choose: random.Random, run: Callable[..., Any], count: int, dtype: str) -> None:
    done = 0
    for _ in range(60):
        shape = shape_of(choose)
        layouts = [layout(choose, shape) for _ in range(count)]
        found = []
        for library in (ours, torch):
            try:
                found.append(seen(run(library, *[one.make(library, dtype) for one in layouts])))
            except (RuntimeError, NotImplementedError) as error:
                found.append((type(error).__name__,))
        done += len(found[0]) > 1
        assert found[0] == found[1], f"{layouts}: {found[0]}, torch {found[1]}"
    assert done > 20


@pytest.mark.parametrize("name", FLOATS)
def test_two_operands(name: str) -> None:
    compare(random.Random(name), lambda t, a, b: getattr(t, name)(a, b), 2, "float32")


@pytest.mark.parametrize("name", INTEGERS)
def test_two_operands_of_integers(name: str) -> None:
    compare(random.Random(name), lambda t, a, b: getattr(t, name)(a, b), 2, "int64")


@pytest.mark.parametrize("name", ["add", "mul", "div", "atan2", "le", "maximum", "rsub", "pow"])
def test_two_operands_of_two_dtypes(name: str) -> None:
    compare(random.Random(name), lambda t, a, b: getattr(t, name)(a, b.int()), 2, "float32")


@pytest.mark.parametrize("name", TERNARY)
def test_three_operands(name: str) -> None:
    compare(random.Random(name), lambda t, a, b, c: TERNARY[name](t, a, b, c), 3, "float32")


UNARY: dict[str, Callable[..., Any]] = {
    "x[[0, 0]]": lambda t, x: x[[0, 0]],
    "x[..., [0, 0]]": lambda t, x: x[..., [0, 0]],
    "x[:, [0]]": lambda t, x: x[:, [0]],
    "x[:, indices.t()]": lambda t, x: x[:, t.tensor([[0, 1], [1, 0]]).t()],
    "x[[0, 1], :, [0, 1]]": lambda t, x: x[[0, 1], :, [0, 1]],
    "x[:, [0, 1], [0, 1]]": lambda t, x: x[:, [0, 1], [0, 1]],
    "x[mask]": lambda t, x: x[[True] * len(x)],
    "x[None, [0]]": lambda t, x: x[None, [0]],
    "1 - x": lambda t, x: 1 - x,
    "2 / x": lambda t, x: 2 / x,
    "sum": lambda t, x: x.sum(0),
    "mean, kept": lambda t, x: x.mean(-1, keepdim=True),
    "max": lambda t, x: x.max(0)[0],
    "median": lambda t, x: x.median(0)[0],
    "logsumexp": lambda t, x: x.logsumexp(0),
    "norm": lambda t, x: x.norm(dim=0),
    "var": lambda t, x: x.var(0),
    "any": lambda t, x: x.any(0),
    "count_nonzero": lambda t, x: x.count_nonzero(0),
    "sort": lambda t, x: x.sort(0)[1],
    "relu": lambda t, x: t.nn.functional.relu(x),
    "gelu": lambda t, x: t.nn.functional.gelu(x),
    "elu": lambda t, x: t.nn.functional.elu(x),
    "tensor": lambda t, x: t.tensor(x),
    "select_scatter": lambda t, x: x.select_scatter(x[0], 0, 0),
    "slice_scatter": lambda t, x: x.slice_scatter(x[:1], 0, 0, 1),
    "diagonal_scatter": lambda t, x: x.diagonal_scatter(x.diagonal()),
    "put": lambda t, x: x.put(t.tensor([0, -1]), t.tensor([1.0, 2.0])),
    "pad by nothing": lambda t, x: t.nn.functional.pad(x, (0, 0)),
    "rot90": lambda t, x: t.rot90(x),
    "flip": lambda t, x: x.flip(0),
    "cumsum": lambda t, x: x.cumsum(0),
    "svd": lambda t, x: t.linalg.svd(x)[2],
    "kron": lambda t, x: t.kron(x, x),
}


ODD = ("kron", "x[:, indices.t()]")
"""Here steps along dimensions of size 1, which NumPy chooses anew, have a say in torch."""


@pytest.mark.parametrize("name", UNARY)
def test_one_operand(name: str) -> None:
    choose = random.Random(name)
    for _ in range(60):
        one = layout(choose, shape_of(choose))
        if name in ODD and "one" in one.kinds:
            continue
        found = []
        for library in (ours, torch):
            try:
                found.append(seen(UNARY[name](library, one.make(library))))
            except (RuntimeError, IndexError, UserWarning) as error:
                found.append((type(error).__name__,))
        assert found[0] == found[1], f"{one}: {found[0]}, torch {found[1]}"


# Views --------------------------------------------------------------------------------------------


def split(choose: random.Random, count: int) -> list[int]:
    """Sizes with that product, some of them 1, one perhaps -1."""
    sizes = []
    while count > 1 and choose.random() < 0.7:
        sizes.append(choose.choice([d for d in range(1, count + 1) if count % d == 0]))
        count //= sizes[-1]
    sizes.append(count)
    for _ in range(choose.choice([0, 0, 1])):
        sizes.insert(choose.randrange(len(sizes) + 1), 1)
    if choose.random() < 0.2:
        sizes[choose.randrange(len(sizes))] = -1
    return sizes + [2] * (choose.random() < 0.05)


@pytest.mark.parametrize("name", ["view", "reshape", "flatten", "ravel", "contiguous", "squeeze"])
def test_views_share_copy_and_refuse_as_in_torch(name: str) -> None:
    choose = random.Random(name)
    kinds = set()
    for _ in range(400):
        one = layout(choose, shape_of(choose))
        sizes = split(choose, one.make(torch).numel())
        found: list[Any] = []
        for library in (ours, torch):
            x = one.make(library)
            try:
                y = getattr(x, name)(*[sizes] * (name in ("view", "reshape")))
                found.append((seen(y), y is x, y.data_ptr() == x.data_ptr()))
            except RuntimeError as error:
                found.append(str(error))
        assert found[0] == found[1], f"{one} {sizes}: {found[0]}, torch {found[1]}"
        kinds.add("refused" if isinstance(found[0], str) else "same" if found[0][2] else "copy")
    assert len(kinds) > (name == "view" or name in ("reshape", "flatten", "ravel", "contiguous"))


@pytest.mark.parametrize(
    "run",
    [
        lambda t: t.zeros(2, 3)[None],
        lambda t: t.zeros(2, 3)[:, None],
        lambda t: t.zeros(2, 3)[1, None, :],
        lambda t: t.zeros(3).unsqueeze(0),
        lambda t: t.zeros(2, 1).expand(4, 2, 1),
        lambda t: t.zeros(3).expand(1, 3),
        lambda t: t.zeros(2, 3).t().expand(1, 3, 2),
        lambda t: t.zeros(()).expand(1, 1),
        lambda t: t.zeros(1, 3).t(),
        lambda t: t.zeros(2, 3).sum(0, keepdim=True),
        lambda t: t.zeros(0, 3),
        lambda t: t.zeros(1, 0, 3),
    ],
)
def test_steps_along_dimensions_of_size_one(run: Callable[[Any], Any]) -> None:
    assert run(ours).stride() == run(torch).stride()
