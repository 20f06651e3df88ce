"""A second backward pass without `retain_graph` is allowed exactly where torch allows it.

Torch frees what it saved.  An operation that saved nothing but sizes and numbers can be walked
again; so it can here, whatever our rule keeps.  Asked of every operation of torch's database.

Derivatives of derivatives are asked for in test_replay_operations.py, wherever torch has them.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

from replay import operations  # noqa: E402
from replay.both import cotangent  # noqa: E402

import tinygrad_edu as ours  # noqa: E402

STRICTER = {
    "nn.functional.linear_cross_entropy:chunked": "torch has the gradients before they are asked",
    "lerp": "a weight that is a number is freed as a tensor would be",
}
LOOSER = {
    "angle": "the gradient is 0 wherever it is asked for here",
    "sgn": "the gradient is 0",
    "div:floor_rounding": "the gradient is 0",
    "div:trunc_rounding": "the gradient is 0",
    **dict.fromkeys(["max:reduction_with_dim", "min:reduction_with_dim", "cummax", "cummin"],
                    "of a 0-d tensor torch saves an index"),
    **dict.fromkeys([f"nn.functional.adaptive_avg_pool{n}d" for n in (1, 2, 3)]
                    + ["nn.functional.interpolate:area"],
                    "torch saves the input, of which only the shape is needed"),
}  # fmt: skip
"""Where it is allowed here, but not in torch, and why."""

ENTRIES = [
    op
    for op in operations.ENTRIES
    if operations.exported(op)
    and op.supports_autograd
    and operations.dtype_of(op).is_floating_point
]
ONCE_REFUSED = (
    "add sub rsub linalg.matrix_power gradient trapezoid cumulative_trapezoid"
    " repeat_interleave nn.functional.interpolate nn.functional.upsample_bilinear"
).split()


def walked_twice(library: Any, outputs: list[Any], inputs: list[Any]) -> str:
    """Whether the second pass is allowed; it gives what the first one gave."""
    starts = [cotangent(y, library, i) for i, y in enumerate(outputs)]
    first = library.autograd.grad(outputs, inputs, starts, allow_unused=True)
    try:
        second = library.autograd.grad(outputs, inputs, starts, allow_unused=True)
    except RuntimeError as error:
        assert "a second time" in str(error)
        return "refused"
    for a, b in zip(first, second, strict=True):
        assert (a is None and b is None) or library.equal(a.nan_to_num(), b.nan_to_num())
    return "allowed"


def both(op: Any, most: int) -> Any:
    """What the libraries say, of each sample that has a gradient in torch."""
    mine = operations.counterpart(op.op, op.name)
    made = op.sample_inputs("cpu", operations.dtype_of(op), requires_grad=True)
    for sample in itertools.islice(made, most):
        try:
            theirs = operations.Call(torch, op.op, sample)
            here = operations.Call(ours, mine, sample)
        except Exception:  # who refuses what is asked by the replay
            continue
        if theirs.outputs and theirs.inputs and len(here.outputs) == len(theirs.outputs):
            yield (
                walked_twice(ours, here.outputs, here.inputs),
                walked_twice(torch, theirs.outputs, theirs.inputs),
            )


def check(op: Any, most: int) -> None:
    name = operations.title(op)
    for found, expected in both(op, most):
        if found == "refused" and expected == "allowed":
            assert name in STRICTER
        if found == "allowed" and expected == "refused":
            assert name in LOOSER


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ENTRIES, ids=operations.title)
def test_every_operation(op: Any) -> None:
    check(op, 25)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ONCE_REFUSED)
def test_what_keeps_sizes_and_numbers_only(name: str) -> None:
    found = [op for op in ENTRIES if op.name == name]
    assert found
    for op in found:
        check(op, 25)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(2, 1, 3, 4), (2, 1, 1, 3, 4)])
def test_affine_grid(size: tuple[int, ...], align: bool) -> None:
    n = len(size) - 2
    results = []
    for library in (ours, torch):
        theta = library.linspace(-1, 1, 2 * n * (n + 1), dtype=library.float64)
        theta = theta.reshape(2, n, n + 1).requires_grad_()
        y = library.nn.functional.affine_grid(theta, size, align_corners=align)
        results.append(walked_twice(library, [y], [theta]))
    assert results == ["allowed", "allowed"]


def test_what_was_freed_is_refused() -> None:
    x = ours.ones(3, requires_grad=True)
    for y in (x * x, x * 2.0, ours.repeat_interleave(x, ours.tensor([1, 2, 0])), x.exp()):
        assert walked_twice(ours, [y], [x]) == "refused"


def test_repeats_that_are_a_number_need_no_index() -> None:
    for shape, times, dim in [
        ((2, 3), 2, 1),
        ((0, 3), 2, 1),
        ((2, 3), 0, 0),
        ((2,), 1, -1),
    ]:
        results = []
        for library in (ours, torch):
            x = library.ones(shape, dtype=library.float64, requires_grad=True)
            y = x.repeat_interleave(times, dim)
            names = [y.grad_fn.name(), y.grad_fn.next_functions[0][0].name()]
            results.append((tuple(y.shape), y.stride(), y.tolist(), names))
        assert results[0] == results[1]
    with pytest.raises(IndexError, match="no dimensions"):
        ours.ones(()).repeat_interleave(2, 0)
