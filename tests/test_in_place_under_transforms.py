"""What a function of `torch.func` may write in place: what it has made, not what it has captured.

`vmap` runs the function once per slice here, so a write into a tensor from outside would be done as
often; under a derivative it would leave a history behind that means nothing outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_table import Call, Made, all_rows, arrays

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

NO_WRITES = {"detach_", "requires_grad_", "share_memory_", "conj_physical_"}

TWINS = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh",
    "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "clip": "clamp", "divide": "div",
    "fix": "trunc", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le",
    "multiply": "mul", "mvlgamma": "special.multigammaln", "negative": "neg", "not_equal": "ne",
    "subtract": "sub", "swapaxes": "transpose", "swapdims": "transpose",
}  # fmt: skip

_ROW, _INDEX = [[1.0, 2.0, 3.0]], [[0, 1, 0]]


def _calls() -> dict[str, list[tuple[Any, ...]]]:
    """For each name of an operation the arguments of its calls in the table."""
    calls: dict[str, list[tuple[Any, ...]]] = {}
    for op in all_rows():
        for given in op.calls:
            made: Call = arrays(op, given, "float32")
            for name in {op.name, op.name.removeprefix("Tensor.")}:
                calls.setdefault(name, []).append((made.args, made.kwargs))
    return calls


CALLS = _calls()


class Case:
    """A tensor and the arguments of an in-place method that work with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        for args, kwargs in self.candidates():
            self.kwargs = kwargs
            if not args or not isinstance(args[0], Made):
                continue
            self.values = [a.array if isinstance(a, Made) else a for a in args]
            self.places = [i for i, a in enumerate(args) if isinstance(a, Made) and i]
            if self.values[0].size and self.works():
                return
        raise AssertionError(f"no call of {name} is known: add one to the table, or to this file")

    def candidates(self) -> list[Any]:
        stem = self.name.removesuffix("_")
        x = Made(ours.tensor(_ROW).numpy(), True)
        index = Made(ours.tensor(_INDEX).numpy(), False)
        special: dict[str, Any] = {
            "apply_": (x, lambda v: v + 1),
            "map_": (x, x, lambda v, w: v + w),
            "map2_": (x, x, x, lambda u, v, w: u + v + w),
            "float_power_": (Made(x.array.astype("float64"), True), 2.0),
            "geometric_": (x, 0.5),
            "index_put_": (x, (ours.tensor([0]),), x),
            "polygamma_": (x, 1),
            "resize_as_": (x, Made(x.array.T.copy(), True)),
            "scatter_reduce_": (x, 1, index, x, "sum"),
            "set_": (x, x),
        }
        found = CALLS.get(self.name, []) + CALLS.get(stem, []) + CALLS.get(f"special.{stem}", [])
        found += CALLS.get(TWINS.get(stem, ""), [])
        return [*([(special[self.name], {})] if self.name in special else []), *found, ((x,), {})]

    def works(self) -> bool:
        c, *rest = [self.tensor(i) for i in range(len(self.values))]
        try:
            self.write(c, rest)
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
            return False
        return True

    def tensor(self, i: int) -> Any:
        value = self.values[i]
        return ours.from_numpy(value.copy()) if i in (0, *self.places) else value

    def write(self, c: Any, rest: Any) -> Any:
        return getattr(c, self.name)(*rest, **self.kwargs)

    def mapped(self, slices: Any) -> list[Any]:
        """All arguments, those that are tensors being the given ones."""
        found = dict(zip(self.places, slices, strict=True))
        return [found.get(i, self.values[i]) for i in range(1, len(self.values))]


IN_PLACE = sorted(
    name
    for name in dir(ours.Tensor)
    if name.endswith("_") and not name.startswith("_") and name not in NO_WRITES
)
methods = pytest.mark.parametrize("name", IN_PLACE)


def unchanged(t: Any, before: Any, shape: Any) -> bool:
    return tuple(t.shape) == tuple(shape) and t.tolist() == before and t.grad_fn is None


@methods
@pytest.mark.parametrize("size", [1, 2])
def test_vmap_writes_into_nothing_that_it_does_not_map(name: str, size: int) -> None:
    case = Case(name)
    c = case.tensor(0)
    before, shape = c.tolist(), c.shape
    batch = [ours.stack([case.tensor(i)] * size) for i in case.places] or [ours.ones(size)]

    def write(*slices: Any) -> Any:
        return case.write(c, case.mapped(slices if case.places else ()))

    with pytest.raises(RuntimeError, match=r"vmap: \w+_?.* is not possible because"):
        ours.vmap(write, randomness="different")(*batch)
    assert unchanged(c, before, shape)
    for view in (c[...], c.detach(), c.data):
        with pytest.raises(RuntimeError, match="vmap"):
            ours.vmap(lambda *s, v=view: case.write(v, case.mapped(s if case.places else ())),
                      randomness="different")(*batch)  # fmt: skip
        assert unchanged(c, before, shape)


@methods
def test_a_derivative_writes_into_nothing_that_it_has_captured(name: str) -> None:
    case = Case(name)
    c = case.tensor(0)
    before, shape = c.tolist(), c.shape
    rest = [case.tensor(i) for i in range(1, len(case.values))]

    def write(x: Any) -> Any:
        case.write(c, rest)
        return (x * x).sum()

    for transform in (ours.func.grad, ours.func.jacrev, ours.func.hessian):
        with pytest.raises(RuntimeError, match="would mutate a captured Tensor"):
            transform(write)(ours.ones(2))
        assert unchanged(c, before, shape)


@methods
def test_what_the_function_made_may_be_written(name: str) -> None:
    case = Case(name)
    rest = [case.tensor(i) for i in range(1, len(case.values))]

    def write(x: Any) -> Any:
        c = ours.empty_like(case.tensor(0)).copy_(case.tensor(0))
        case.write(c, rest)
        return (x * x).sum()

    assert ours.func.grad(write)(ours.ones(2)).tolist() == [2.0, 2.0]
    assert ours.vmap(write, randomness="different")(ours.ones(2, 1)).tolist() == [1.0, 1.0]


ASSIGNMENTS: list[Callable[..., Any]] = [
    lambda t, c, x: c.__setitem__(0, x[0]),
    lambda t, c, x: c.__setitem__(slice(0, 2), x[:2]),
    lambda t, c, x: c.__setitem__(..., x),
    lambda t, c, x: c.__setitem__(t.tensor([True, False, True]), x[0]),
    lambda t, c, x: c.__setitem__(x > 0, 2.0),
    lambda t, c, x: c.__setitem__(t.tensor([0, 1]), x[:2]),
    lambda t, c, x: c.__setitem__((x > 5).long(), 1.0),
    lambda t, c, x: c.__iadd__(x),
    lambda t, c, x: c[:2].mul_(x[:2]),
    lambda t, c, x: c.view(3, 1)[0].copy_(x[:1]),
    lambda t, c, x: t.add(x, 1, out=c),
    lambda t, c, x: t.nn.functional.relu_(c.add_(x)),
]


@pytest.mark.parametrize("place", range(len(ASSIGNMENTS)))
def test_assignments_are_refused_as_in_torch(place: int) -> None:
    for library in (torch, ours):
        c = library.zeros(3)
        with pytest.raises(RuntimeError):
            library.vmap(lambda x, c=c, t=library: (ASSIGNMENTS[place](t, c, x), x)[1])(
                library.ones(2, 3)
            )
        assert c.tolist() == [0.0, 0.0, 0.0]


def test_a_batch_may_be_written() -> None:
    for library in (torch, ours):
        x, shift = library.arange(6.0).view(2, 3), library.tensor([10.0, 20.0])

        def write(x: Any, shift: Any) -> Any:
            x.add_(shift)
            x[0] = 0.0
            return x * 2

        y = library.vmap(write)(x, shift)
        assert x.tolist() == [[0.0, 11.0, 12.0], [0.0, 24.0, 25.0]]
        assert y.tolist() == [[0.0, 22.0, 24.0], [0.0, 48.0, 50.0]]


def test_levels_nest() -> None:
    def outer(x: Any, library: Any, write: Any) -> Any:
        made = library.zeros(3)

        def inner(z: Any) -> Any:
            write(made, z)
            return (z * z).sum()

        return library.func.grad(inner)(x).sum() + made.sum() * 0

    for library in (torch, ours):
        for transform in (library.func.grad, library.vmap):
            x = library.ones(3) if transform is library.func.grad else library.ones(2, 3)
            with pytest.raises(RuntimeError, match="would mutate a captured Tensor"):
                transform(lambda v, t=library: outer(v, t, lambda c, z: c.add_(z)))(x)

        def slope(x: Any, t: Any = library) -> Any:
            return t.func.grad(lambda z: z.clone().mul_(z).sum())(x).sum()

        assert library.func.grad(slope)(library.ones(3)).tolist() == [2.0, 2.0, 2.0]


def test_an_input_is_a_leaf_and_other_arguments_may_be_written() -> None:
    for library in (torch, ours):
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            library.func.grad(lambda x: x.mul_(2).sum())(library.ones(3))
        count = library.zeros(2)

        def f(x: Any, count: Any) -> Any:
            count.add_(1)
            return (x * count).sum()

        assert library.func.grad(f)(library.ones(2), count).tolist() == [1.0, 1.0]
        assert count.tolist() == [1.0, 1.0]
        same = library.ones(3)
        with pytest.raises(RuntimeError, match="would mutate a captured Tensor"):
            library.func.grad(lambda x, c=same: (c.mul_(2) * x).sum())(same)
        assert same.tolist() == [1.0, 1.0, 1.0]


def test_running_statistics_are_captured() -> None:
    for library in (torch, ours):
        bn = library.nn.BatchNorm1d(3)
        x = library.arange(12.0).view(2, 2, 3)
        with pytest.raises(RuntimeError):
            library.vmap(bn)(x)
        with pytest.raises(RuntimeError, match="would mutate a captured Tensor"):
            library.func.grad(lambda x, bn=bn: bn(x).pow(3).sum())(x[0])
        assert bn.running_mean.tolist() == [0.0, 0.0, 0.0]
        bn.num_batches_tracked = None
        with pytest.raises(RuntimeError):
            library.vmap(bn)(x)
        assert bn.running_mean.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("transform", ["grad", "vmap"])
def test_backward_is_refused_inside(transform: str) -> None:
    for library in (torch, ours):
        w = library.ones(3, requires_grad=True)

        def f(x: Any, w: Any = w) -> Any:
            (w * x).sum().backward()
            return (x * x).sum()

        with pytest.raises(RuntimeError, match="called inside a functorch transform"):
            x = library.ones(3) if transform == "grad" else library.ones(2, 3)
            getattr(library.func, transform)(f)(x)
        assert w.grad is None


def test_vjp_under_no_grad_gives_no_history() -> None:
    for library in (torch, ours):
        x = library.ones(3, requires_grad=True)
        y, pull = library.func.vjp(lambda x: x * x, x)
        with library.no_grad():
            (g,) = pull(library.ones(3))
        assert y.grad_fn is not None and g.grad_fn is None and g.tolist() == [2.0, 2.0, 2.0]


def test_the_level_ends_with_an_error() -> None:
    def fail(x: Any) -> Any:
        raise KeyError("mine")

    c = ours.zeros(2)
    for transform in (ours.func.grad, ours.vmap):
        with pytest.raises(KeyError):
            transform(fail)(ours.ones(2, 2))
        assert c.add_(1) is c


# ---- what has been cut off from the history, and `.data`


def _data_of(x: Any) -> Any:
    return x.data


CUT = {
    "detach": lambda x: x.detach(),
    "detach twice": lambda x: x.detach().detach(),
    "a part": lambda x: x[:2].detach(),
    "a part of it": lambda x: x.detach()[:2],
    "data": _data_of,
}
AROUND: dict[str, Callable[..., Any]] = {
    "grad": lambda lib, f, x: lib.func.grad(f)(x),
    "grad_and_value": lambda lib, f, x: lib.func.grad_and_value(f)(x),
    "vjp": lambda lib, f, x: lib.func.vjp(f, x)[0],
    "jvp": lambda lib, f, x: lib.func.jvp(f, (x,), (lib.ones_like(x),)),
    "jacrev": lambda lib, f, x: lib.func.jacrev(f)(x),
    "grad of grad": lambda lib, f, x: lib.func.grad(lambda z: lib.func.grad(f)(z).sum())(x),
    "vmap": lambda lib, f, x: lib.vmap(f)(lib.stack([x, x + 1])),
    "vmap of grad": lambda lib, f, x: lib.vmap(lib.func.grad(f))(lib.stack([x, x + 1])),
    "grad of vmap": lambda lib, f, x: lib.func.grad(
        lambda z: lib.vmap(f)(lib.stack([z, z + 1])).sum()
    )(x),
}
PROGRAMS: dict[str, Callable[..., Any]] = {
    "an input": lambda x, cut: (cut(x).mul_(2), (x * x).sum())[1],
    "a result": lambda x, cut: (lambda y: (cut(y).mul_(2), (y * y).sum())[1])(x.sin()),
    "a kept input": lambda x, cut: (lambda y: (cut(x).mul_(2), y.sum())[1])(x * x),
    "read": lambda x, cut: (cut(x).sum() * x).sum(),
}


STRICTER = {
    ("a kept input", "data", "*"): "torch does not notice that what a rule needs was written",
    ("a kept input", "*", "jvp"): "torch had used what is written then",
    ("an input", "*", "grad of vmap"): "slices are written one after the other, and share memory",
    ("an input", "a part", "grad of grad"): "its base is the tensor of the outer transform",
    ("*", "data", "grad of grad"): "torch cuts off from the inner transform only",
}
"""Where it is an error here, and why: program, cut, transform."""


def is_stricter(*case: str) -> bool:
    return any(
        all(asked in ("*", given) for asked, given in zip(one, case, strict=True))
        for one in STRICTER
    )


def numbers(y: Any) -> list[float]:
    """All elements, one after the other."""
    if isinstance(y, (list, tuple)):
        return [number for part in y for number in numbers(part)]
    return list(y.detach().reshape(-1).tolist())


def happens(lib: Any, program: str, cut: str, around: str) -> Any:
    """The result and what became of the input; or the class of the error."""
    x = lib.tensor([0.5, 1.0, 2.0], dtype=lib.float64)
    try:
        y = AROUND[around](lib, lambda z: PROGRAMS[program](z, CUT[cut]), x)
    except Exception as error:
        return type(error).__name__
    return numbers(y), x.tolist()


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("cut", CUT)
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_cut_off_is_written_as_in_torch(program: str, cut: str, around: str) -> None:
    mine, theirs = (happens(lib, program, cut, around) for lib in (ours, torch))
    if is_stricter(program, cut, around) and mine != theirs:
        assert mine == "RuntimeError"
    elif isinstance(mine, str) or isinstance(theirs, str):
        assert mine == theirs
    else:
        for a, b in zip(mine, theirs, strict=True):
            assert np.allclose(a, b)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("made", ["input", "result"])
def test_data_is_not_set_under_a_transform(made: str, around: str) -> None:
    def f(x: Any) -> Any:
        y = x if made == "input" else x * 1
        y.data = x.detach()
        return (y * x).sum()

    for lib in (ours, torch):
        with pytest.raises(RuntimeError, match=r"mutating directly with `.data`|would mutate"):
            AROUND[around](lib, f, lib.ones(3))


def test_what_was_cut_off_outside_is_captured() -> None:
    x = ours.ones(3)
    y = x.detach()
    for write in (lambda: x.mul_(2), lambda: y.mul_(2), lambda: x.detach().mul_(2)):

        def f(z: Any, write: Any = write) -> Any:
            write()
            return (z * z).sum()

        with pytest.raises(RuntimeError, match="captured"):
            ours.func.grad(f)(x)
    assert x.tolist() == [1.0, 1.0, 1.0]
