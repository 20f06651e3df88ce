"""Numbers that are not finite, in every place of small inputs: the results are torch's.

What becomes of infinities is decided by the order in which an operation computes.
"""

from __future__ import annotations

import itertools
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


def weighed(library: Any, tensors: list[Any]) -> Any:
    """A sum of all elements with weights of both signs; 0 if none has a history."""
    return sum(
        ((library.arange(t.numel()) % 7 - 2.5).reshape(t.shape) * t).sum()
        for t in tensors
        if t.requires_grad
    )


def outcome(run: Callable[[Any, Any], Any], library: Any, numbers: Any) -> Any:
    """The results and the gradient, as arrays; or the error."""
    x = library.tensor(numbers, dtype=library.float64, requires_grad=True)
    try:
        found = run(library, x)
    except RuntimeError as error:
        return str(error)
    tensors = list(found) if isinstance(found, tuple) else [found]
    total = weighed(library, tensors)
    if isinstance(total, library.Tensor):
        tensors.append(library.autograd.grad(total, x)[0])
    return [t.detach().numpy() for t in tensors]


def same(run: Callable[[Any, Any], Any], numbers: Any) -> None:
    mine, theirs = outcome(run, ours, numbers), outcome(run, torch, numbers)
    if isinstance(mine, str) or isinstance(theirs, str):
        assert mine == theirs, numbers
        return
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, 1e-9, err_msg=str(numbers))


INTEGRALS: dict[str, Callable[[Any, Any], Any]] = {
    "steps of 1": lambda t, y: t.trapezoid(y),
    "steps": lambda t, y: t.trapz(y, dx=0.3),
    "no steps": lambda t, y: t.trapezoid(y, dx=0.0),
    "endless steps": lambda t, y: t.trapezoid(y, dx=INF),
    "places": lambda t, y: t.trapezoid(y, t.arange(float(len(y)))),
    "places that are the samples": lambda t, y: t.trapezoid(y, y),
    "rows": lambda t, y: t.trapezoid(y.reshape(1, -1), dim=0),
    "matrix": lambda t, y: t.trapezoid(t.stack([y, y * 2]), y, dim=1),
    "running": lambda t, y: t.cumulative_trapezoid(y),
    "running, steps": lambda t, y: t.cumulative_trapezoid(y, dx=0.3),
    "running, places": lambda t, y: t.cumulative_trapezoid(y, t.arange(float(len(y)))),
}


@pytest.mark.parametrize("name", INTEGRALS)
def test_integrals(name: str) -> None:
    for length, values in enumerate([6, 6, 6, 3]):
        for samples in itertools.product(
            (INF, 1.7e308, 1.0, -INF, NAN, 0.0)[:values], repeat=length
        ):
            same(INTEGRALS[name], samples)


@pytest.mark.parametrize("name", ["trapezoid", "cumulative_trapezoid"])
def test_integrals_of_what_does_not_fit_are_refused(name: str) -> None:
    for shape, places in itertools.product([(0, 2), (2, 0), (2, 3)], [(1,), (2,), (3,), None]):
        for dtype in ("bool", "int64", "float32"):
            results = []
            for library in (ours, torch):
                y = library.ones(shape, dtype=getattr(library, dtype))
                given = () if places is None else (library.ones(places),)
                try:
                    found = getattr(library, name)(y, *given, dim=0)
                    results.append((str(found.dtype)[6:], tuple(found.shape), found.tolist()))
                except RuntimeError as error:
                    results.append(str(error))
            assert results[0] == results[1]


SOLUTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "solve_triangular": lambda t, a, b: t.linalg.solve_triangular(a, b, upper=True),
    "triangular_solve": lambda t, a, b: t.triangular_solve(b, a).solution,
    "transposed": lambda t, a, b: t.triangular_solve(b, a, transpose=True).solution,
    "solve": lambda t, a, b: t.linalg.solve(a, b),
    "inv": lambda t, a, b: t.linalg.inv(a),
    "prod": lambda t, a, b: t.prod(b),
    "prod along": lambda t, a, b: t.prod(b, 0),
    "prod of one": lambda t, a, b: t.prod(b[0, 0]),
    "softmax of one": lambda t, a, b: t.softmax(b[0, 0], 0),
    "log_softmax of one": lambda t, a, b: t.log_softmax(b[0, 0], 0),
    "exp": lambda t, a, b: b.exp(),
}


@pytest.mark.parametrize("name", SOLUTIONS)
def test_what_is_kept_is_the_result_itself(name: str) -> None:
    """`retain_grad` hears of a second derivative; a write through `.data` is seen by the rule."""
    results = []
    for library in (ours, torch):
        numbers = np.random.default_rng(0).random((3, 3)) + 1
        a = library.tensor(numbers, requires_grad=True)
        b = library.tensor(numbers[:, :2], requires_grad=True)
        y = SOLUTIONS[name](library, a, b)
        y.retain_grad()
        found = library.autograd.grad(
            weighed(library, [y]), [a, b], create_graph=True, allow_unused=True
        )
        again = weighed(library, [g for g in found if g is not None])
        if isinstance(again, library.Tensor):
            again.backward()
        kept = [y.grad, a.grad, b.grad]
        y = SOLUTIONS[name](library, a, b)
        y.data.add_(0.25)
        kept += library.autograd.grad(weighed(library, [y]), [a, b], allow_unused=True)
        results.append([0.0 if g is None else g.detach().numpy() for g in kept])
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine, theirs, 1e-9)


def placed(value: float) -> list[Any]:
    """Matrices of all kinds with this number in every place."""
    found = []
    for n in (1, 2, 3):
        general = np.random.default_rng(n).standard_normal((n, n)) + 2 * np.eye(n)
        for matrix in (general, general @ general.T, np.zeros((n, n))):
            for i in range(n * n):
                changed = matrix.copy()
                changed.flat[i] = value
                found.append(changed)
    return found


def test_what_nan_does_to_determinants_and_factors() -> None:
    for matrix in placed(NAN):
        same(lambda t, a: t.linalg.slogdet(a.detach()), matrix)
        same(lambda t, a: t.det(a), matrix)
        same(lambda t, a: t.logdet(a.detach()), matrix)
        same(lambda t, a: t.linalg.cholesky_ex(a.detach()).info, matrix)
        found = [outcome(lambda t, a: t.linalg.cholesky(a), t, matrix) for t in (ours, torch)]
        assert isinstance(found[0], str) == isinstance(found[1], str)
        L, info = ours.linalg.cholesky_ex(ours.tensor(matrix))
        read = np.isnan(np.tril(matrix)).any()
        assert (L.isnan().any().item() or not read) and (info.item() > 0 or not read)


def test_exponentials_of_huge_matrices() -> None:
    for value in (1e3, -1e3, 1e10, 1e200, NAN):
        for matrix in placed(value):
            if np.isfinite(matrix).all() and np.tril(matrix, -1).any() and np.triu(matrix, 1).any():
                continue  # it overflows by rounding
            with_small = np.stack([matrix, np.eye(len(matrix)) * 0.3])
            same(lambda t, a: t.matrix_exp(a.detach()), with_small)


def test_powers_are_multiplied_in_order() -> None:
    for matrix in placed(1e200)[-18:]:
        same(lambda t, a: t.linalg.matrix_power(a.detach(), 3), matrix)


def test_an_attention_lies_in_memory_as_in_torch() -> None:
    for ndim in (2, 3, 4):
        shape = (2, 3, 4, 5)[4 - ndim :]
        orders = list(itertools.permutations(range(ndim)))
        for q, k, v in itertools.product(orders, orders[:2], orders[:2]):
            results = []
            for library in (ours, torch):
                given = []
                for order in (q, k, v):
                    sizes = [shape[order.index(i)] for i in range(ndim)]
                    given.append(library.ones(sizes).permute(order))
                y = library.nn.functional.scaled_dot_product_attention(*given)
                results.append(y.stride())
            assert results[0] == results[1], (q, k, v)


@pytest.mark.parametrize("name", ["det", "slogdet", "logdet"])
@pytest.mark.parametrize("values", [[[1.0, NAN], [0.0, 1.0]], [[1e38, 1e38], [1e38, -1e38]]])
def test_functions_of_numpys_own_do_not_warn(name: str, values: Any) -> None:
    """The filter of this package knows its own modules only."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        getattr(ours, name)(ours.tensor(values))
    assert not [w for w in told if "numpy" in w.filename]


@pytest.mark.parametrize("shapes", [((3, 1), (3, 4)), ((4,), (3, 4)), ((3, 4), (4,)), ((), (4,))])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_a_multilabel_loss_is_averaged_over_the_classes_of_the_scores(
    shapes: Any, reduction: str
) -> None:
    found: list[Any] = []
    for library in (ours, torch):
        x, y = [library.arange(math.prod(s)).reshape(s).double() / 7 - 0.3 for s in shapes]
        loss = library.nn.functional.multilabel_soft_margin_loss
        try:
            found.append(loss(x, y, reduction=reduction).numpy())
        except IndexError:
            found.append(None)
    assert (found[0] is None) is (found[1] is None)
    if found[0] is not None:
        np.testing.assert_allclose(*found)


def test_running_statistics_that_share_memory_are_refused() -> None:
    """torch moves them several times over, by numbers that it has moved already."""
    x, one = ours.ones(4, 3), ours.zeros(())
    for place in (0, 1):
        running = [ours.zeros(3), ours.ones(3)]
        running[place] = one.expand(3)
        with pytest.raises(RuntimeError, match="refers to a single memory location"):
            ours.nn.functional.batch_norm(x, *running, training=True)
        ours.nn.functional.batch_norm(x, *running)  # there they are only read
