"""torch's `out=`, of every operation of torch's database that takes one there and is here.

Each is called with tensors to fill: of the right shape, without elements, of another shape, a part
of a larger tensor, of int32; and with an input that requires grad.
"""

from __future__ import annotations

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


def samples(op: Any) -> list[tuple[Any, Any]]:
    """The last of the database that torch computes, with its result."""
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
