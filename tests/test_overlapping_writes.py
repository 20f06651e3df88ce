"""Writes from memory that overlaps what is written: torch's refusals, and no others.

The programs are made of every in-place operation of two tensors and every pair of parts of one
tensor.  Left out is what neither library promises: products written over their own factors, and
parts with gaps, which torch does not look at.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

PARTS: dict[str, Callable[[Any], Any]] = {
    "y": lambda y: y,
    "y.view": lambda y: y.view(4, 4),
    "y.t()": lambda y: y.t(),
    "y[:3]": lambda y: y[:3],
    "y[1:]": lambda y: y[1:],
    "y[:1]": lambda y: y[:1],
    "y[3:]": lambda y: y[3:],
    "y[0]": lambda y: y[0],
    "y[1]": lambda y: y[1],
    "y[0, 0]": lambda y: y[0, 0],
    "y[3, 3]": lambda y: y[3, 3],
    "y.flip": lambda y: y.flip(0),
}
WRITES: dict[str, Callable[[Any, Any, Any], Any]] = {
    name: lambda t, x, y, name=name: getattr(x, name)(y)  # type: ignore[misc]
    for name in (
        "add_ sub_ mul_ div_ copy_ atan2_ pow_ eq_ lt_ logical_and_ copysign_ fmod_ remainder_"
        " floor_divide_ clamp_min_ clamp_max_ hypot_ xlogy_"
    ).split()
} | {
    "x += y": lambda t, x, y: operator.iadd(x, y),
    "x[:] = y": lambda t, x, y: operator.setitem(x, slice(None), y),
    "x[...] = y": lambda t, x, y: operator.setitem(x, ..., y),
    "clamp_(min=y)": lambda t, x, y: x.clamp_(min=y),
    "lerp_": lambda t, x, y: x.lerp_(y, 0.5),
    "addcmul_": lambda t, x, y: x.addcmul_(y, y),
    "addcdiv_": lambda t, x, y: x.addcdiv_(y + 1, y),
    "masked_fill_": lambda t, x, y: x.masked_fill_(x > 3, y),
    "fill_": lambda t, x, y: x.fill_(y),
    "add, out": lambda t, x, y: t.add(y, 1, out=x),
    "sub, out": lambda t, x, y: t.sub(x, y, out=x),
    "mul, out": lambda t, x, y: t.mul(y, 2, out=x),
    "maximum, out": lambda t, x, y: t.maximum(x, y, out=x),
    "neg, out": lambda t, x, y: t.neg(y, out=x),
    "index_put_": lambda t, x, y: x.index_put_((t.arange(len(x)),), y),
    "x[indices] = y": lambda t, x, y: operator.setitem(x, t.arange(len(x)), y),
    "x[mask] = y": lambda t, x, y: operator.setitem(x, x > 3, y),
    "index_add_": lambda t, x, y: x.index_add_(0, t.arange(len(x)), y),
    "index_copy_": lambda t, x, y: x.index_copy_(0, t.arange(len(x)), y),
    "scatter_": lambda t, x, y: x.scatter_(0, t.zeros(x.shape, dtype=t.int64), y),
    "scatter_add_": lambda t, x, y: x.scatter_add_(0, t.zeros(x.shape, dtype=t.int64), y),
    "scatter_reduce_": lambda t, x, y: x.scatter_reduce_(
        0, t.zeros(x.shape, dtype=t.int64), y, "amax"
    ),
    "put_": lambda t, x, y: x.put_(t.arange(x.numel()), y),
}
INDICES: dict[str, Callable[[Any, Any], Any]] = {
    "y[y] = 5": lambda t, y: operator.setitem(y, y, 5),
    "y[y[:2]] = 5": lambda t, y: operator.setitem(y, y[:2], 5),
    "y[y] = y": lambda t, y: operator.setitem(y, y, y),
    "y[y > 1] = 5": lambda t, y: operator.setitem(y, y > 1, 5),
    "y[y.clone()] = 5": lambda t, y: operator.setitem(y, y.clone(), 5),
    "y[2:][y[:2]] = 5": lambda t, y: operator.setitem(y[2:], y[:2], 5),
    "index_put_": lambda t, y: y.index_put_((y,), t.tensor(5)),
    "index_fill_": lambda t, y: y.index_fill_(0, y, 5),
    "index_add_": lambda t, y: y.index_add_(0, y, t.ones(4, dtype=t.int64)),
    "scatter_": lambda t, y: y.scatter_(0, y, 5),
    "put_": lambda t, y: y.put_(y, t.ones(4, dtype=t.int64)),
}


def outcome(library: Any, run: Callable[[], Any], y: Any) -> Any:
    try:
        run()
    except (RuntimeError, IndexError, TypeError) as error:
        return "overlap" if "single memory" in str(error) else "refused"
    return [[round(value, 3) for value in row] for row in y.view(4, -1).tolist()]


def compare(run: Callable[[Any, Any], Any], make: Callable[[Any], Any], about: str) -> Any:
    found = []
    for library in (ours, torch):
        y = make(library)
        found.append(outcome(library, lambda library=library, y=y: run(library, y), y))  # type: ignore[misc]
    refused = [outcome in ("overlap", "refused") for outcome in found]
    assert all(refused) or found[0] == found[1], f"{about}: {found[0]}, torch {found[1]}"
    return found[1]


@pytest.mark.parametrize("name", WRITES)
def test_writes_into_a_part_from_a_part(name: str) -> None:
    refused = 0
    for (this, into), (that, of) in itertools.product(PARTS.items(), repeat=2):
        if this == "y.flip" or (name in ("x[mask] = y", "masked_fill_") and this == that):
            continue
        whole = torch.zeros(4, 4)
        if "out" in name and into(whole).shape != of(whole).shape:
            continue  # torch gives `out` another shape
        if name.startswith("x[") and this == "y.t()" and into(whole).shape != of(whole).shape:
            continue  # what is expanded first is not looked at, and read when it is overwritten
        found = compare(
            lambda t, y, into=into, of=of: WRITES[name](t, into(y), of(y)),  # type: ignore[misc]
            lambda t: t.arange(16.0).reshape(4, 4) % 7 + 1,
            f"{name} of x = {this} from y = {that}",
        )
        refused += found == "overlap"
    assert refused or name in ("fill_", "masked_fill_", "x[mask] = y")


@pytest.mark.parametrize("name", INDICES)
def test_writes_by_indices_that_are_written(name: str) -> None:
    compare(INDICES[name], lambda t: t.tensor([1, 0, 3, 2]), name)


@pytest.mark.parametrize(
    "write",
    [
        lambda t, y: y.add_(1),
        lambda t, y: y.copy_(t.ones(3, 3)),
        lambda t, y: t.add(t.ones(y.shape), 1, out=y),
        lambda t, y: operator.setitem(y, 0, 5.0),
        lambda t, y: operator.setitem(y, (0, 1), 5.0),
        lambda t, y: operator.setitem(y, slice(0, 1), 5.0),
        lambda t, y: operator.setitem(y, slice(0, 2), 5.0),
        lambda t, y: y.fill_(4),
        lambda t, y: y.zero_(),
        lambda t, y: y[0].add_(1),
        lambda t, y: y[:1].mul_(3),
        lambda t, y: y.t_(),
        lambda t, y: y.squeeze_(),
        lambda t, y: y.unsqueeze_(0),
        lambda t, y: y.transpose_(0, 1),
        lambda t, y: t.nn.init.zeros_(y),
        lambda t, y: t.nn.init.constant_(y, 2.0),
        lambda t, y: y.uniform_(1, 1),
        lambda t, y: operator.iadd(y, 1),
    ],
)
@pytest.mark.parametrize(
    "expand",
    [
        lambda t: t.arange(3.0).expand(3, 3),
        lambda t: t.arange(3.0).expand(1, 3),
        lambda t: t.arange(3.0).expand(3),
        lambda t: t.arange(3.0)[:, None].expand(3, 3),
        lambda t: t.arange(3.0)[:, None].expand(3, 1),
        lambda t: t.tensor(1.0).expand(1, 1),
        lambda t: t.broadcast_tensors(t.zeros(3, 3), t.zeros(3, 3))[0],
        lambda t: t.zeros(0, 3).expand(2, 0, 3),
    ],
)
def test_writes_into_expanded_tensors(
    write: Callable[..., Any], expand: Callable[..., Any]
) -> None:
    found = []
    for library in (ours, torch):
        y = expand(library)
        try:
            write(library, y)
            found.append((tuple(y.shape), y.tolist()))
        except (RuntimeError, IndexError) as error:
            found.append(type(error).__name__)
    assert found[0] == found[1]
