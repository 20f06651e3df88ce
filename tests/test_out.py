"""torch's `out=`, of every operation of torch's database that takes one there and is here.

Each is called with tensors to fill: of the right shape, without elements, of another shape, a part
of a larger tensor, of int32; and with an input that requires grad.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

from replay import operations  # noqa: E402
from replay.both import is_tensor, translate  # noqa: E402

import tinygrad_edu as ours  # noqa: E402

LEFT_OUT = {
    "nn.functional.linear": "torch's documentation names none",
    "equal": "its result is no tensor",
    "nn.functional.gelu": "torch leaves a part of a larger tensor as it was",
    "nn.functional.avg_pool3d": "torch writes beside a part of a larger tensor",
}
ENTRIES = [
    op
    for op in operations.ENTRIES
    if op.supports_out and operations.exported(op) and op.name not in LEFT_OUT
]
RANDOM = "empty bernoulli multinomial normal rand randn randint randperm narrow_copy"
UP_TO_SIGN = [*operations.UP_TO_SIGN.split(), "svd", "qr", "linalg.lstsq"]
KINDS = ["exact", "empty", "other", "part", "int32"]


def is_many(y: Any) -> bool:
    return isinstance(y, (tuple, list))


def to_fill(library: Any, y: Any, kind: str) -> Any:
    """A tensor to fill, or as many as `y` has."""
    if is_many(y):
        return tuple([to_fill(library, part, kind) for part in y])
    shape, dtype = tuple(y.shape), getattr(library, str(y.dtype).split(".")[-1])
    if kind == "part":
        return library.ones(*shape, 3, dtype=dtype)[..., 1]
    shape = {"empty": (0,), "other": (7, 3)}.get(kind, shape)
    return library.ones(shape, dtype=library.int32 if kind == "int32" else dtype)


def outcome(library: Any, function: Any, sample: Any, y: Any, kind: str) -> Any:
    """What the call does: the tensors filled; or what it raises."""
    first, args, kwargs = translate([sample.input, sample.args, sample.kwargs], library)
    out = to_fill(library, y, kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = function(first, *args, **kwargs, out=out)
        except Exception as error:
            return type(error)
    filled, found = (out, found) if is_many(out) else ([out], [found])
    assert len(found) == len(filled) and all(a is b for a, b in zip(filled, found, strict=True))
    told = any("resized" in str(w.message) for w in caught)
    return told, [(str(t.dtype), tuple(t.shape), t.detach().double().numpy()) for t in filled]


BY_TITLE = {operations.title(op): op for op in ENTRIES}


def samples(op: Any) -> list[tuple[Any, Any]]:
    return _samples(operations.title(op))


@functools.cache
def _samples(title: str) -> list[tuple[Any, Any]]:
    """The last of the database that torch computes, with its result."""
    op = BY_TITLE[title]
    dtype = torch.float32 if torch.float32 in op.dtypes else operations.dtype_of(op)
    made = list(op.sample_inputs("cpu", dtype, requires_grad=False))
    for sample in made[:-4:-1]:
        try:
            first, args, kwargs = translate([sample.input, sample.args, sample.kwargs], torch)
            return [(sample, op.op(first, *args, **kwargs))]
        except (TypeError, RuntimeError):
            continue
    return []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ENTRIES, ids=operations.title)
def test_the_result_goes_into_out(op: Any) -> None:
    function = operations.counterpart(op.op, op.name)
    for sample, y in samples(op):
        for kind in KINDS:
            theirs = outcome(torch, op.op, sample, y, kind)
            mine = outcome(ours, function, sample, y, kind)
            if isinstance(theirs, type) or isinstance(mine, type):
                assert kind in ("int32", "other") or op.name in ("normal", "nonzero")
                continue
            for a, b in zip(mine[1], theirs[1], strict=True):
                assert a[:2] == b[:2], kind
                if op.name not in RANDOM.split():
                    views = (np.abs(v) if op.name in UP_TO_SIGN else v for v in (a[2], b[2]))
                    np.testing.assert_allclose(*views, rtol=1e-3, atol=1e-3, err_msg=kind)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ENTRIES, ids=operations.title)
def test_out_is_refused_where_a_gradient_would_be_lost(op: Any) -> None:
    function = operations.counterpart(op.op, op.name)
    for sample, y in samples(op):
        first, args, kwargs = translate([sample.input, sample.args, sample.kwargs], ours)
        given = [t for t in (first if is_many(first) else [first]) if is_tensor(t)]
        given = [t.requires_grad_() for t in given if t.is_floating_point()]
        plain = function(first, *args, **kwargs)
        if not any(t.requires_grad for t in (plain if is_many(plain) else [plain])):
            continue
        with pytest.raises(RuntimeError, match="automatic differentiation"):
            function(first, *args, **kwargs, out=to_fill(ours, y, "exact"))


def test_another_shape_warns_and_another_dtype_is_refused() -> None:
    x = ours.ones(2, 3)
    with pytest.warns(UserWarning, match="resized since it had shape"):
        assert ours.sum(x, 0, out=ours.ones(7)).tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(RuntimeError, match="dtype"):
        ours.mm(x, x.t(), out=ours.ones(2, 2, dtype=ours.float64))
    with pytest.raises(RuntimeError, match="single memory location"):
        ours.mul(x, 2, out=ours.zeros(1, 3).expand(2, 3))
    assert ours.sum(x, 0, out=ours.empty(0, dtype=ours.int64)).dtype is ours.int64
    out = ours.zeros(2, 3).t()
    assert ours.add(x.t(), 1, out=out) is out and out.stride() == (1, 3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ENTRIES, ids=operations.title)
def test_what_is_no_tensor_is_refused(op: Any) -> None:
    function = operations.counterpart(op.op, op.name)
    for sample, y in samples(op):
        first, args, kwargs = translate([sample.input, sample.args, sample.kwargs], ours)
        bad = ["out", np.ones(2), ours.ones(2) if is_many(y) else (ours.ones(2),)]
        for out in bad:
            with pytest.raises(TypeError):
                function(first, *args, **kwargs, out=out)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ENTRIES, ids=operations.title)
def test_autocast_knows_nothing_of_out(op: Any) -> None:
    function = operations.counterpart(op.op, op.name)
    for sample, y in samples(op) if op.name != "nonzero" else ():  # none of it with `as_tuple`
        first, args, kwargs = translate([sample.input, sample.args, sample.kwargs], ours)
        out = to_fill(ours, y, "exact")
        with ours.autocast("cpu", dtype=ours.bfloat16):
            found = function(first, *args, **kwargs, out=out)
        filled, found = (out, found) if is_many(out) else ([out], [found])
        assert all(a is b for a, b in zip(filled, found, strict=True))
        for t, part in zip(filled, y if is_many(y) else [y], strict=True):
            assert str(t.dtype) == str(part.dtype)


# ---- what torch asks of the dtype and of the memory of `out`

OUT_DTYPES = "float64 float32 float16 bfloat16 int64 int32 uint8 bool".split()
ALWAYS = [("float32", "float64"), ("float32", "int64"), ("int64", "float32"), ("int64", "bool")]
OTHER_DTYPES = {
    "cholesky": "as linalg.cholesky, which takes one dtype only",
    "inner": "torch multiplies where an input is 0-d, and any dtype holds that",
    "linalg.matrix_power": "powers 0 and 1 are copies in torch, other powers one dtype only",
    "linspace": "torch writes one number into a bool, but no two",
    "logspace": "torch writes one number into a bool, but no two",
    "nanmean": "an integer is refused by another error",
    "nansum": "sums of integers are what `dtype=` asks for",
    "std": "torch's sum over all dimensions takes no 16 bits into wider ones",
    "var": "torch's sum over all dimensions takes no 16 bits into wider ones",
    "normal": "torch takes one dtype only where the mean is a number",
    "nonzero": "its sample is of a tuple, which torch does not fill",
}
OTHER_OVERLAPS = {
    "addr": "torch takes a vector of one element for a part of `out`",
    "histogram": "the bins are copied before anything is written",
    "sort": "torch does not look at the indices",
    "kthvalue": "torch does not look at the indices",
}


def prepared(op: Any, dtype: str, most: int = 2) -> list[tuple[Any, Any]]:
    return _prepared(operations.title(op), dtype, most)


@functools.cache
def _prepared(title: str, dtype: str, most: int) -> list[tuple[Any, Any]]:
    """At most so many samples of that dtype that torch computes, with their results."""
    op = BY_TITLE[title]
    if getattr(torch, dtype) not in op.dtypes:
        return []
    made = op.sample_inputs("cpu", getattr(torch, dtype), requires_grad=False)
    found = []
    for sample in itertools.islice(made, 2 * most):
        try:
            first, args, kwargs = translate([sample.input, sample.args, sample.kwargs], torch)
            y = op.op(first, *args, **kwargs)
            found.append((sample, list(y) if is_many(y) else [y]))
        except (TypeError, RuntimeError):
            continue
    return found if most > 2 else found[:1] + found[1:][-1:]


def raised(function: Any, tree: Any, outs: list[Any]) -> Any:
    """The class of what is raised, or None."""
    first, args, kwargs = tree
    try:
        function(first, *args, **kwargs, out=tuple(outs) if len(outs) > 1 else outs[0])
    except Exception as error:
        return type(error)
    return None


def compare_dtypes(op: Any, pairs: list[tuple[str, str]]) -> None:
    function = operations.counterpart(op.op, op.name)
    for computed, held in pairs:
        for sample, y in prepared(op, computed):
            seen = []
            for library, call in ((ours, function), (torch, op.op)):
                tree = translate([sample.input, sample.args, sample.kwargs], library)
                dtype = getattr(library, held)
                outs = [library.ones(tuple(t.shape), dtype=dtype) for t in y]
                seen.append(raised(call, tree, outs))
            assert seen[0] is seen[1] or op.name in OTHER_DTYPES, (computed, held, seen)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ENTRIES[::9], ids=operations.title)
def test_a_dtype_is_refused_where_torch_refuses_it(op: Any) -> None:
    compare_dtypes(op, ALWAYS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ENTRIES, ids=operations.title)
def test_every_dtype_into_every_other(op: Any) -> None:
    kinds = "float32 float64 bfloat16 int64 bool".split()
    compare_dtypes(op, [(computed, held) for computed in kinds for held in OUT_DTYPES])


def tensors(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, Any]]:
    """The tensors of nested arguments, each with the way to it."""
    if is_tensor(tree):
        return [(path, tree)]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if is_many(tree) else ()
    return [found for key, part in items for found in tensors(part, (*path, key))]


def replaced(tree: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy if isinstance(tree, dict) else type(tree)(copy)


def overlapping(library: Any, sample: Any, y: list[Any], i: int, j: int, start: int) -> Any:
    """The arguments, the i-th tensor in one memory with the j-th to fill, which begins `start` on.

    None if that cannot be: another dtype, or no elements.
    """
    tree = translate([sample.input, sample.args, sample.kwargs], library)
    outs = [library.empty(tuple(t.shape), dtype=getattr(library, str(t.dtype)[6:])) for t in y]
    found = tensors(tree)
    if i >= len(found) or found[i][1].dtype != outs[j].dtype:
        return None
    path, x = found[i]
    n, m = x.numel(), outs[j].numel()
    if not n or not m:
        return None
    memory = library.zeros(max(n, m) + 1, dtype=x.dtype)
    part = memory[:n].view(tuple(x.shape))
    part.copy_(x)
    outs[j] = memory[start : start + m].view(tuple(outs[j].shape))
    return replaced(tree, path, part), outs


def compare_overlaps(op: Any, most: int = 2) -> None:
    function = operations.counterpart(op.op, op.name)
    for dtype in ("float32", "int64"):
        for sample, y in prepared(op, dtype, most):
            for i, j, start in itertools.product(range(3), range(len(y)), (0, 1)):
                seen = []
                for library, call in ((ours, function), (torch, op.op)):
                    made = overlapping(library, sample, y, i, j, start)
                    seen += [raised(call, *made)] if made else []
                same = len(set(seen)) < 2
                assert same or op.name in OTHER_OVERLAPS, (dtype, i, j, start, seen)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ENTRIES[4::9], ids=operations.title)
def test_memory_shared_with_an_argument_is_refused_where_torch_refuses_it(op: Any) -> None:
    compare_overlaps(op)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ENTRIES, ids=operations.title)
def test_memory_shared_with_an_argument_of_every_operation(op: Any) -> None:
    compare_overlaps(op)


OF_THEIR_OWN = (
    "addmm addmv addr aminmax baddbmm cumprod cumsum diff inner linalg.solve_triangular logit"
    " nan_to_num take_along_dim"
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OF_THEIR_OWN.split())
def test_operations_with_rules_of_their_own(name: str) -> None:
    for op in ENTRIES:
        if op.name == name:
            compare_dtypes(op, ALWAYS)
            compare_overlaps(op, most=8)


def test_what_has_no_out_in_torch_has_none_here() -> None:
    x = ours.ones(3)
    for name in "isclose isfinite isinf isnan isreal real conj resolve_neg".split():
        more = (x,) if name == "isclose" else ()
        with pytest.raises(TypeError, match="unexpected keyword argument 'out'"):
            getattr(ours, name)(x, *more, out=ours.ones(3))


def test_integers_are_combined_with_integers() -> None:
    """`addr` of integers takes no fractions, and of bools it is of bools."""
    v = ours.tensor([True, False])
    x = ours.zeros(2, 2, dtype=ours.bool)
    assert ours.addr(x, v, v, alpha=2).tolist() == [[True, False], [False, False]]
    with pytest.raises(RuntimeError, match="alpha must not be a floating point"):
        ours.addr(x.long(), v.long(), v.long(), alpha=2.5)
