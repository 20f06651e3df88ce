"""Losses and normalisation of nothing, of too much and of what is not finite; sorting with nan."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore")

INF, NAN = math.inf, math.nan


def outcome(run: Callable[[Any], Any], library: Any) -> Any:
    """The tensors of the result as (dtype, numbers), or the type of the exception."""
    library.manual_seed(0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = run(library)
        except Exception as error:
            return RuntimeError if isinstance(error, RuntimeError) else type(error)
    parts = found if isinstance(found, tuple) else (found,)
    return [(str(t.dtype), tuple(t.shape), t.detach().double().numpy()) for t in parts]


def same(run: Callable[[Any], Any], rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Both libraries give the same, or raise the same."""
    mine, theirs = outcome(run, ours), outcome(run, torch)
    if isinstance(theirs, type) or isinstance(mine, type):
        assert mine == theirs
        return
    for (kind, shape, a), (kind2, shape2, b) in zip(mine, theirs, strict=True):
        assert (kind, shape) == (kind2, shape2)
        np.testing.assert_allclose(a, b, rtol, atol)


# Normalisation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [1e20, 1e38, 3e38, INF, NAN])
def test_layer_and_group_norm_of_too_much_is_nan(large: float) -> None:
    """The variance overflows: 0 would hide that training diverges."""
    for place in range(4):
        row = [1.0, 2.0, 3.0, 4.0]
        row[place] = large
        same(lambda t, row=row: t.nn.functional.layer_norm(t.tensor([row, [1.0, 2, 3, 4]]), (4,)))
        same(lambda t, row=row: t.nn.functional.group_norm(t.tensor([row]), 1))
        for n in (5, 8, 16, 100):
            x = ours.tensor([row + [1.0] * (n - 4)])
            y = ours.nn.functional.layer_norm(x, (n,))
            assert bool(y.isnan().all())
        # batch and instance norm have no such guard in torch
        same(lambda t, row=row: t.nn.functional.instance_norm(t.tensor([[row]])))
        same(lambda t, row=row: t.nn.functional.rms_norm(t.tensor([row]), (4,)))


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", ["layer_norm", "group_norm", "rms_norm"])
def test_so_is_its_gradient(name: str, create_graph: bool) -> None:
    """By the kernel as by the definition."""

    def gradient(t: Any) -> Any:
        x = t.tensor([[1e20, 1.0, 2.0, 3.0]], requires_grad=True)
        y = getattr(t.nn.functional, name)(x, 1 if name == "group_norm" else (4,))
        return t.autograd.grad((y * t.arange(4.0)).sum(), x, create_graph=create_graph)

    same(gradient)


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("dim", [None, 1])
def test_a_deviation_whose_square_does_not_fit(dim: Any, correction: int) -> None:
    """torch computes in float64: what fits is found, though its variance is inf, or 0."""
    rows = [[1e20, -1e20, 3e20], [1e-30, 2e-30, -3e-30], [1.0, 2.0, 4.0], [5.0, 5.0, 5.0]]
    for some in (rows, *[[row] for row in rows], [[1e20, INF, 0.0]], [[1e20, NAN, 0.0]]):
        for name in ("std", "var", "std_mean"):

            def run(t: Any, some: Any = some, name: str = name) -> Any:
                x = t.tensor(some, requires_grad=True)
                found = getattr(t, name)(x, dim, correction=correction)
                y = found[0] if name == "std_mean" else found
                return y, *t.autograd.grad(y.sum(), x)

            same(run, atol=0 if name == "std" else 1e-42)


@pytest.mark.parametrize("n", [3, 5, 7, 100])
def test_equal_elements_do_not_deviate(n: int) -> None:
    """Their mean is off by a last bit in float32, and a gradient would be of that."""

    def run(t: Any) -> Any:
        x = t.full((2, n), 0.709, requires_grad=True)
        y = t.std(x, 1, correction=0)
        return y, *t.autograd.grad(y.sum(), x)

    same(run, rtol=0, atol=0)


def test_what_barely_fits_is_normalised() -> None:
    same(lambda t: t.nn.functional.layer_norm(t.tensor([[1e18, 1.0, 2.0, 3.0]]), (4,)))


def test_overflow_in_half_precision() -> None:
    """16-bit floats are normalised in float32, where their squares fit."""
    x = ours.tensor([[6e4, 1.0, 2.0, 3.0]], dtype=ours.float16)
    assert bool(ours.nn.functional.layer_norm(x, (4,)).isfinite().all())


@pytest.mark.parametrize("stats", ["float64", "float32", "float16"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_instance_norm_with_statistics_of_another_dtype(dtype: str, stats: str) -> None:
    def run(t: Any) -> Any:
        m = t.nn.InstanceNorm1d(3, track_running_stats=True).to(getattr(t, stats))
        x = t.arange(24.0).reshape(2, 3, 4).to(getattr(t, dtype)) ** 1.5
        y = m(x.requires_grad_())
        (g,) = t.autograd.grad(y, x, t.arange(24).reshape(2, 3, 4).to(y.dtype))
        return y, g, m.running_mean, m.running_var

    same(run, 1e-3 if stats == "float16" else 1e-5, 1e-4)


def test_parameters_of_another_dtype_are_refused_in_torch_words() -> None:
    for dtype, words in (("float32", "all inputs must share same"), ("float16", "type of Float")):
        for library in (ours, torch):
            m = library.nn.InstanceNorm1d(3, affine=True).to(getattr(library, dtype))
            with pytest.raises(RuntimeError, match=rf"mixed dtype \(CPU\): .*{words}"):
                m(library.ones(2, 3, 4, dtype=library.float64))


# Losses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("pos_weight", [None, 2.0])
def test_binary_cross_entropy_with_logits_at_infinity(reduction: str, pos_weight: Any) -> None:
    x = [INF, INF, INF, -INF, -INF, -INF, NAN, 1.0, 1e30, -1e30, -1e30, 40.0, -40.0]
    target = [0.0, 1.0, 0.5, 0.0, 1.0, 0.5, 1.0, INF, 0.0, 1.0, 0.0, 1.0, 0.0]

    def run(t: Any, i: int) -> Any:
        s = slice(None) if reduction == "none" else slice(i, i + 1)
        logits, to = (t.tensor(v[s], requires_grad=True) for v in (x, target))
        weight = None if pos_weight is None else t.tensor(pos_weight)
        f = t.nn.functional.binary_cross_entropy_with_logits
        y = f(logits, to, pos_weight=weight, reduction=reduction)
        return y, *t.autograd.grad(y.sum(), [logits, to])

    for i in range(len(x)):
        same(lambda t, i=i: run(t, i))


def test_pos_weight_has_no_gradient() -> None:
    def run(t: Any) -> Any:
        w = t.ones(1, requires_grad=True)
        return t.nn.functional.binary_cross_entropy_with_logits(t.ones(1), t.ones(1), pos_weight=w)

    same(run)


TARGETS: dict[str, Any] = {
    "all empty": ([[], []], (4, 4), (0, 0)),
    "all empty, in one": ([], (4, 4), (0, 0)),
    "one empty": ([[1, 2], [0, 0]], (4, 4), (2, 0)),
    "one empty, in one": ([1, 2], (4, 4), (2, 0)),
    "no time": ([[1, 2], [1, 1]], (4, 0), (2, 1)),
    "no time, nothing to say": ([[1, 2], [1, 1]], (4, 0), (2, 0)),
    "no time at all": ([[], []], (0, 0), (0, 0)),
    "too short": ([[1, 1], [2, 2]], (2, 4), (2, 2)),
}


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", list(TARGETS))
def test_ctc_of_empty_targets(name: str, reduction: str, zero_infinity: bool) -> None:
    labels, times, ends = TARGETS[name]

    def run(t: Any) -> Any:
        scores = (t.arange(24.0).reshape(4, 2, 3) * 0.37).sin().requires_grad_()
        targets = t.tensor(labels, dtype=t.int64)
        y = t.nn.functional.ctc_loss(scores.log_softmax(2), targets, times, ends,
                                     reduction=reduction, zero_infinity=zero_infinity)  # fmt: skip
        return y, *t.autograd.grad(y.sum(), scores)

    same(run, 1e-4, 1e-5)


SHAPES: dict[str, Any] = {
    "no rows": ((0, 3), (0,), 0),
    "no rows, no classes": ((0, 0), (0,), 0),
    "no classes": ((2, 0), (2,), 0),
    "no classes, all ignored": ((2, 0), (2,), -100),
    "no classes, one row": ((0,), (), 0),
    "no positions": ((2, 3, 0), (2, 0), 0),
    "no rows of positions": ((0, 3, 2), (0, 2), 0),
    "all ignored": ((2, 3), (2,), -100),
}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", list(SHAPES))
def test_cross_entropy_of_nothing(name: str, reduction: str, smoothing: float) -> None:
    shape, classes, which = SHAPES[name]

    def run(t: Any, f: str, **options: Any) -> Any:
        x = t.zeros(shape, requires_grad=True)
        target = t.full(classes, which, dtype=t.int64)
        y = getattr(t.nn.functional, f)(x, target, reduction=reduction, **options)
        return y, *t.autograd.grad(y.sum(), x)

    same(lambda t: run(t, "cross_entropy", label_smoothing=smoothing))
    same(lambda t: run(t, "nll_loss"))
    weight = [1.0] * (shape[1] if len(shape) > 1 else shape[0])
    same(lambda t: run(t, "cross_entropy", weight=t.tensor(weight)))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_cross_entropy_with_probabilities_of_nothing(reduction: str) -> None:
    for shape in ((0, 3), (2, 0), (2, 3, 0), (2, 0, 2)):

        def run(t: Any, shape: Any = shape) -> Any:
            x = t.zeros(shape, requires_grad=True)
            y = t.nn.functional.cross_entropy(x, t.zeros(shape), reduction=reduction)
            return y, *t.autograd.grad(y.sum(), x)

        same(run)


def test_classes_that_weigh_nothing() -> None:
    def run(t: Any) -> Any:
        x = t.zeros(2, 3, requires_grad=True)
        y = t.nn.functional.cross_entropy(x, t.tensor([0, -100]), weight=t.zeros(3))
        return y, *t.autograd.grad(y, x)

    same(run)


# Sorting ----------------------------------------------------------------------------------------

ROWS = [
    [1.0, NAN, NAN, 1.0, 1.0, 2.0], [NAN, NAN, 3.0, 3.0, 2.0, 2.0], [3.0, 2.0, 1.0, NAN, NAN, INF],
    [INF, -INF, NAN, INF, NAN, NAN], [NAN] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, NAN],
]  # fmt: skip

SORTED: dict[str, Callable[[Any, Any], Any]] = {
    "sort": lambda t, x: tuple(x.sort(stable=True)),
    "sort, falling": lambda t, x: tuple(x.sort(descending=True, stable=True)),
    "sort of columns": lambda t, x: x.sort(0)[0],
    "msort": lambda t, x: x.msort(),
    "argsort": lambda t, x: x.argsort(dim=1, stable=True),
    "topk": lambda t, x: x.topk(2)[0],
    "topk, all": lambda t, x: x.topk(6)[0],
    "topk, least": lambda t, x: x.topk(3, largest=False)[0],
    "kthvalue": lambda t, x: x.kthvalue(5)[0],
    "median": lambda t, x: (x.median(), x.median(1)[0]),
    "nanmedian": lambda t, x: (x.nanmedian(), x.nanmedian(1)[0]),
    "mode": lambda t, x: tuple(x.mode()),
    "max": lambda t, x: (x.max(), *x.max(1)),
    "min": lambda t, x: (x.min(), *x.min(1)),
    "argmax": lambda t, x: x.argmax(1),
    "cummax": lambda t, x: tuple(x.cummax(1)),
    "unique": lambda t, x: x.unique(),
    "unique, counts": lambda t, x: (x[5].unique(return_counts=True)[1], x[0].unique()),
    "unique_consecutive": lambda t, x: tuple(x.unique_consecutive(return_counts=True)),
    "searchsorted": lambda t, x: t.searchsorted(x[5], x),
    "searchsorted, right": lambda t, x: t.searchsorted(x[5], x, right=True),
    "bucketize": lambda t, x: t.bucketize(x, x[5, :4]),
    "isin": lambda t, x: t.isin(x, x[5]),
    "maximum": lambda t, x: (t.maximum(x, x[0]), t.fmax(x, x[0])),
    "nextafter": lambda t, x: (t.nextafter(x, x + 1), t.nextafter(x, x[1])),
    "nextafter 0": lambda t, x: t.nextafter(x * 0, -x),
    "clamp": lambda t, x: x.clamp(0, 2),
    "comparisons": lambda t, x: (x > 1.0, x <= x[0], x == x),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", list(SORTED))
def test_sorting_with_nan(name: str, dtype: str) -> None:
    """nan is larger than anything, in every dtype."""

    def run(t: Any) -> Any:
        x = t.tensor(ROWS, dtype=getattr(t, dtype))
        found = SORTED[name](t, x)
        return found if isinstance(found, tuple) else (found,)

    if name == "mode" and dtype == "bfloat16":
        pytest.skip("torch sorts these rows in another way")
    same(run, 0, 0)


def test_mode_of_rows_with_nan() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        row = random.choice([1.0, 2.0, 3.0, NAN], int(random.integers(1, 17)))
        same(lambda t, row=row: tuple(t.tensor(row).mode()), 0, 0)


def test_gradients_pass_a_sort_of_bfloat16() -> None:
    x = ours.tensor([NAN, 1.0, 3.0, 2.0], dtype=ours.bfloat16, requires_grad=True)
    y = x.sort()[0]
    (g,) = ours.autograd.grad(y, x, ours.tensor([1.0, 2.0, 3.0, 4.0], dtype=ours.bfloat16))
    assert g.tolist() == [4.0, 1.0, 3.0, 2.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_comparisons_of_16_bits_with_a_number(dtype: str) -> None:
    """The number is rounded to the tensor's dtype first."""
    for number in (1.1, 0.1, 300.7, -2.3, 1e-3, 70000):
        for compare in ("eq", "ne", "lt", "le", "gt", "ge"):
            same(
                lambda t, n=number, c=compare: getattr(t, c)(
                    t.tensor([n, 1.0, -n], dtype=getattr(t, dtype)), n
                )
            )


@pytest.mark.parametrize("edge_order", [1, 2])
def test_slopes_near_infinities(edge_order: int) -> None:
    x = [1.0, 4.0, INF, 9.0, 16.0, 25.0, -INF, NAN, 3.0, 5.0, 7.0]
    same(lambda t: t.gradient(t.tensor(x), edge_order=edge_order))
    same(lambda t: t.gradient(t.tensor(x), spacing=0.5, edge_order=edge_order))
    at = [0.0, 0.5, 1.5, 2.0, 4.0, 5.0, 6.0, 6.5, 7.0, 9.0, 9.5]
    same(lambda t: t.gradient(t.tensor(x), spacing=(t.tensor(at),), edge_order=edge_order))
    rows = np.array(x * 3).reshape(3, 11)
    same(lambda t: t.gradient(t.tensor(rows), dim=1, edge_order=edge_order))
    same(lambda t: t.gradient(t.tensor(rows), spacing=(2.0, 3.0), edge_order=edge_order))
