"""vmap on all slices at once, and the rows of a Jacobian by one walk, against one by one.

Every row of the table of operations is mapped: over all its tensors, and over the first alone;
values and gradients are those of a loop.  What cannot be done at once must say so by `Unbatched`,
or raise; never give another number.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_table import Call, Input, Op, all_rows

import tinygrad_edu as ours
from tinygrad_edu.autograd import functional
from tinygrad_edu.autograd.batched import Unbatched
from tinygrad_edu.engine import tree
from tinygrad_edu.func import batching

pytestmark = pytest.mark.filterwarnings("ignore")

SIZE = 3
ROWS = [op for op in all_rows() if op.calls]


def described(given: Call) -> list[Input]:
    """The descriptions of the tensors of a call, nested ones included."""
    leaves = tree.flatten([list(given.args), given.kwargs])
    return [leaf for leaf in leaves if isinstance(leaf, Input)]


def called(op: Op, given: Call) -> Callable[..., Any]:
    """The call as a function of its tensors, that returns tensors alone."""

    def function(*tensors: Any) -> Any:
        following = iter(tensors)

        def put(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return type(value)(put(v) for v in value)
            if type(value).__name__ == "Dtype":
                return getattr(ours, value)
            return next(following) if isinstance(value, Input) else value

        args = [put(a) for a in given.args]
        kwargs = {k: put(v) for k, v in given.kwargs.items()}
        result = op(ours, *args, **kwargs)
        found = [y for y in tree.flatten(result) if isinstance(y, ours.Tensor)]
        if not found:
            raise ValueError("no tensors")
        return tuple(found)

    return function


def batches(op: Op, given: Call, first_only: bool) -> tuple[list[Any], tuple[int | None, ...]]:
    """A batch for each tensor of a call, or one tensor for all slices; and `in_dims`."""
    tensors: list[Any] = []
    dims: list[int | None] = []
    for i, one in enumerate(described(given)):
        many = not (first_only and i)
        seeds = [zlib.crc32(f"{op.name}{i}{k}".encode()) for k in range(SIZE if many else 1)]
        slices = [one.make(np.random.default_rng(seed), "float64") for seed in seeds]
        tensors.append(ours.tensor(np.stack(slices) if many else slices[0]))
        dims.append(0 if many else None)
    return tensors, tuple(dims)


def one_by_one(function: Any, tensors: list[Any], dims: Any) -> Any:
    rows = [
        function(*[t if d is None else t[i] for t, d in zip(tensors, dims, strict=True)])
        for i in range(SIZE)
    ]
    return tuple([ours.stack(list(column)) for column in zip(*rows, strict=True)])


def at_once(function: Any, tensors: list[Any], dims: Any) -> Any:
    """The result of all slices at once; None where that is refused."""
    try:
        given = (tuple(tensors), {}, tensors, list(dims), SIZE, 0)
        return batching._at_once(function, *given, ours.get_rng_state().array)
    except (Unbatched, Exception):
        return None


def weighted(function: Any, places: list[int]) -> Any:
    """The gradients of a sum of all results, each element with a weight of its own."""

    def total(*tensors: Any) -> Any:
        sums = [
            (y * (ours.arange(y.numel(), dtype=y.dtype).reshape(y.shape) * 0.1 + 0.5)).sum()
            for y in function(*tensors)
            if y.is_floating_point()
        ]
        return sum(sums[1:], sums[0])

    return ours.func.grad(total, argnums=tuple(places))


def close(mine: Any, theirs: Any) -> None:
    for a, b in zip(mine, theirs, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(
            a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-10, equal_nan=True
        )


@pytest.mark.parametrize("op", ROWS, ids=repr)
def test_every_operation(op: Op) -> None:
    for given in op.calls:
        if not described(given):
            continue
        for first_only in (False, True):
            tensors, dims = batches(op, given, first_only)
            function = called(op, given)
            try:
                expected = one_by_one(function, tensors, dims)
            except Exception:
                continue  # results of different shapes, or of no shape
            found = at_once(function, tensors, dims)
            if found is not None:
                close(found, expected)
            places = [i for i, t in enumerate(tensors) if t.is_floating_point()]
            if not places:
                continue
            gradient = weighted(function, places)
            try:
                expected = one_by_one(gradient, tensors, dims)
            except Exception:
                continue
            found = at_once(gradient, tensors, dims)
            if found is not None:
                close(found, expected)


def jacobians(f: Any, x: Any, create: bool = False) -> Any:
    x = x.clone().requires_grad_()
    return [functional._rows_at_once(y, [x], create)[0] for y in f(x) if y.requires_grad]


@pytest.mark.parametrize("op", ROWS, ids=repr)
def test_rows_of_jacobians(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    row_by_row = []
    for given in op.calls:
        tensors, dims = batches(op, given, True)
        if not tensors or not tensors[0].is_floating_point() or tensors[0].numel() > 60:
            continue
        function = called(op, given)

        def first(x: Any, function: Any = function, rest: Any = tensors[1:]) -> Any:
            return function(x, *rest)

        try:
            found = jacobians(first, tensors[0][0])
        except (Unbatched, Exception):
            continue
        row_by_row.append((first, tensors[0][0], found))
    monkeypatch.setattr(functional, "_rows_at_once", lambda *_: next(iter(())))
    for first, x, found in row_by_row:
        x = x.clone().requires_grad_()
        expected = [functional.jacobian_of(y, [x], False)[0] for y in first(x) if y.requires_grad]
        close(found, expected)


NEVER_SLICED = """
    add mul matmul nn.functional.linear conv2d nn.functional.max_pool2d softmax
    log_softmax nn.functional.layer_norm sum mean amax exp tanh where cat stack reshape transpose
    nn.functional.gelu nn.functional.mse_loss nn.functional.cross_entropy
""".split()


@pytest.mark.parametrize("name", NEVER_SLICED)
def test_what_networks_are_made_of_is_done_at_once(name: str) -> None:
    op = next(op for op in ROWS if op.name == name)
    given = op.calls[0]
    tensors, dims = batches(op, given, False)
    assert at_once(called(op, given), tensors, dims) is not None
