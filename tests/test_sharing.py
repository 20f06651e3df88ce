"""What shares memory with what, who may write there, and whose operator is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import outcome, same
from op_table import Call, Op, all_rows, arrays
from test_operations import Run, is_tensor

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


def written_views(make: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def run(t: Any) -> Any:
        x = t.arange(12.0).reshape(3, 4).requires_grad_() * 1
        parts = make(t, x)
        parts[0].mul_(3)
        (x * x).sum().backward()
        return x, parts[0]

    return run


@pytest.mark.parametrize(
    "make",
    [
        lambda t, x: x.tensor_split(2),
        lambda t, x: x.tensor_split((1, 2), 1),
        lambda t, x: t.hsplit(x, 2),
        lambda t, x: t.vsplit(x, [1]),
        lambda t, x: [x.movedim(0, 1)],
        lambda t, x: [x[0].t()],
        lambda t, x: [x[0, 0].movedim(0, -1)],
        lambda t, x: x.split(2),
    ],
)
def test_parts_may_be_written_as_in_torch(make: Callable[[Any, Any], Any]) -> None:
    mine, theirs = (outcome(written_views(make), library) for library in (ours, torch))
    assert mine == theirs or mine[0] == theirs[0] == "RuntimeError"


def memory_of(library: Any, op: Op, given: Call) -> Any:
    """For every result of a call: in which of its inputs' memory it lies."""
    library.manual_seed(0)
    try:
        run = Run(library, op, given)
    except Exception:
        return None  # refusals are compared elsewhere
    seen = [[(y, x) for x in run.tensors] for y in run.outputs if is_tensor(y) and y.numel()]
    if library is ours:
        return [[np.may_share_memory(y.array, x.array) for y, x in row] for row in seen]
    where = torch.Tensor.untyped_storage
    return [[where(y).data_ptr() == where(x).data_ptr() for y, x in row] for row in seen]


def test_results_lie_in_the_memory_of_an_input_where_torchs_do() -> None:
    wrong, count = [], 0
    for op in all_rows():
        for given in op.calls:
            made = arrays(op, given, "float32")
            mine, theirs = (memory_of(library, op, made) for library in (ours, torch))
            if mine is not None and theirs is not None:
                count += 1
                if mine != theirs:
                    wrong.append(f"{op.name}{given}: {mine} torch {theirs}")
    assert count > 1500
    assert not wrong, "\n".join(wrong)


def test_t_of_a_vector_is_a_tensor_of_its_own() -> None:
    x = ours.tensor([1.0, 2.0])
    y = x.t()
    assert y is not x
    y[0] = 5
    assert x.tolist() == [5.0, 2.0]
    y.data = y.data * 10
    assert x.tolist() == [5.0, 2.0]


OVERLAPS = [
    "a[None] = a", "a[None].copy_(a)", "a.copy_(a[None][0])", "m[None] = m", "m[None].add_(m)",
    "m[0][None] = m[0]", "a[:1] = a[0]", "m[:, None].copy_(m[:, None])", "a[0][None] = a[0]",
    "a[1:] = a[:-1]", "a[1:].copy_(a[:-1])", "a[1:].add_(a[:-1])", "a[:] = a", "a.copy_(a)",
    "a.view(2, 3).add_(a.view(2, 3))", "m += m.t()", "m.copy_(m.t())", "a[:3] = a[3:]",
    "a[:4].mul_(a[2:])", "a[1:].fill_(a[0])", "m[0] = m[:, 0]", "a[[0, 1]] = a[[1, 2]]",
    "a[t.tensor([0, 1])] = a[1:3]", "a[1:].add_(1)", "m.t().add_(m.t())", "m.copy_(m.flip(0))",
    "a[::2].copy_(a[1::2])", "a[1:].relu_()", "a[1:].lerp_(a[:-1], 0.5)",
    "a[1:].masked_fill_(a[:-1] > 0, 1)", "a[1:].addcmul_(a[:-1], a[1:])", "a[:-1].sub_(a[1:])",
    "a[1:].clamp_(a[:-1])", "m[0].add_(m[:, 1])", "a.detach()[1:].sub_(a[:-1])",
]  # fmt: skip


@pytest.mark.parametrize("line", OVERLAPS)
def test_a_write_from_overlapping_memory_is_refused_as_in_torch(line: str) -> None:
    def run(t: Any) -> Any:
        names = {"t": t, "a": t.arange(6.0), "m": t.arange(9.0).reshape(3, 3)}
        exec(line, names)
        return names["a"], names["m"]

    same(run)


PUTS = [
    (value, index, dtype)
    for value in ("1.5 float64 [1]", "2 float64 []", "2 int64 []", "2 int64 [1]", "5", "2.5")
    for index in ("long", "mask", "list", "int", "slice")
    for dtype in ("float32", "int64")
]


@pytest.mark.parametrize(("value", "index", "dtype"), PUTS)
def test_an_assignment_casts_only_where_torch_does(value: str, index: str, dtype: str) -> None:
    def run(t: Any) -> Any:
        a = t.ones(3, dtype=getattr(t, dtype))
        number, *kind = value.split()
        if dtype == "int64" and number in ("1.5", "2.5"):
            return None
        v: Any = float(number) if "." in number else int(number)
        if kind:
            v = t.full((1,) if kind[1] == "[1]" else (), v, dtype=getattr(t, kind[0]))
        at = {
            "long": t.tensor([0]), "mask": t.tensor([True, False, False]), "list": [0], "int": 0,
            "slice": slice(0, 1),
        }[index]  # fmt: skip
        a[at] = v
        return a

    same(run)


WRITES = [
    "z.index_put_((t.tensor([0]),), v)", "z.index_put((t.tensor([0]),), v)", "z.put_(i, v)",
    "z.index_put_((z == 0,), v)", "z.index_put_((i,), v, accumulate=True)", "z[z == 0] = v",
    "t.index_put_(z, (i,), v)", "z.masked_scatter_(z == 0, v)", "z.masked_scatter(z == 0, v)",
    "z.index_copy_(0, i, v)", "z.index_add_(0, i, v)", "z.scatter_(0, i, v)", "z.lerp_(v, 0.5)",
    "z.scatter_add_(0, i, v)", "z.slice_scatter(v, 0, 0, 1)", "z.select_scatter(v, 0, 0)",
    "z.masked_fill_(z == 0, v)", "z.index_fill_(0, i, v)", "z.copy_(v)", "z[0] = v", "z[i] = v",
    "z.index_reduce_(0, i, v, 'prod')", "z.add_(v)", "z.div_(v)", "z.addcmul_(v, v)", "z[:1] = v",
    "z.clamp_(v)", "z.scatter_reduce_(0, i, v, 'sum')", "z.copysign_(v)", "z.eq_(v)", "z.pow_(v)",
    "z.put_(i, v, accumulate=True)", "z.maximum(v)", "t.cat([z, v])", "t.where(z == 0, z, v)",
]  # fmt: skip


@pytest.mark.parametrize("line", WRITES)
def test_a_write_of_another_dtype_or_shape_is_cast_or_refused_as_in_torch(line: str) -> None:
    kinds = ("float32", "float64", "int64", "float16", "bool")
    for into in kinds:
        for given in kinds[:3]:
            for shape in ((), (1,), (2,)):
                for library in (ours, torch):
                    names = {"t": library, "i": library.tensor([0])}
                    names["z"] = library.zeros(2, dtype=getattr(library, into))
                    names["v"] = library.ones(shape, dtype=getattr(library, given))
                    try:
                        exec(line if " = " in line else f"r = {line}", names)
                        y = names.get("r", names["z"])
                        found = (str(y.dtype), y.tolist(), names["z"].tolist())
                    except Exception as error:
                        found = type(error).__name__
                    if library is ours:
                        mine = found
                if into == "bool" and found == "NotImplementedError":
                    continue  # torch has no kernel
                assert mine == found, (into, given, shape)


def test_a_list_of_sequences_is_a_tuple_of_indices() -> None:
    def run(t: Any) -> Any:
        x, i = t.arange(16.0).reshape(4, 4), t.tensor([1, 2])
        z = t.zeros(4, 4)
        z[[[1, 2], [0, 3]]] = 1
        return x[[i, i]], x[[[1, 2], [0, 3]]], x[[1, 2]], x[[slice(1), i]], x[[None, 1]], z

    same(run)


class Wrapped:
    """Another library's type, which torch does not know."""

    def answer(self, other: Any) -> str:
        return "mine"

    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = answer
    __rand__ = __ror__ = __rxor__ = __rlshift__ = __rrshift__ = __rmatmul__ = answer


OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "<<", ">>", "@"]


@pytest.mark.parametrize("sign", [*OPERATORS, *[f"{sign}=" for sign in OPERATORS[:7]]])
def test_an_unknown_operand_is_asked(sign: str) -> None:
    for library in (ours, torch):
        names = {"x": library.ones(2, dtype=library.int64), "w": Wrapped()}
        exec(f"x {sign} w" if "=" in sign else f"x = x {sign} w", names)
        assert names["x"] == "mine"


@pytest.mark.parametrize("name", ["add", "mul", "div", "pow"])
def test_functions_still_refuse_it(name: str) -> None:
    with pytest.raises(TypeError):
        getattr(ours, name)(ours.ones(2), Wrapped())


def test_the_stand_in_says_that_its_tensors_are_of_torch() -> None:
    code = (
        "import tinygrad_edu.standin as s; s.install(); import torch;"
        "assert type(torch.ones(1)).__module__ == 'torch', torch.Tensor.__module__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


MAKERS: list[Callable[[Any, Any], Any]] = [
    lambda t, out: t.zeros(2, out=out),
    lambda t, out: t.ones(2, out=out),
    lambda t, out: t.full((2,), 3, out=out),
    lambda t, out: t.arange(2, out=out),
    lambda t, out: t.linspace(0, 1, 2, out=out),
    lambda t, out: t.logspace(0, 1, 2, out=out),
    lambda t, out: t.rand(2, out=out),
    lambda t, out: t.randn(2, out=out),
    lambda t, out: t.randint(5, (2,), out=out),
    lambda t, out: t.zeros(2, dtype=t.int64, out=out),
]


@pytest.mark.parametrize("make", MAKERS)
def test_out_of_what_makes_tensors(make: Callable[[Any, Any], Any]) -> None:
    def run(t: Any) -> Any:
        out = t.full((2,), 7.0)
        return make(t, out) is out, out

    mine, theirs = outcome(run, ours), outcome(run, torch)
    assert mine[0] == theirs[0]
    if theirs[0] is True:
        assert mine[1][:2] == theirs[1][:2]
        np.testing.assert_allclose(mine[1][2], theirs[1][2], rtol=1e-6)


def test_the_processor_may_have_a_number() -> None:
    x = ours.ones(2)
    assert x.to("cpu:0").device.type == "cpu"
    assert ours.nn.Linear(1, 1).to(ours.device("cpu", 0)).weight.device.type == "cpu"
