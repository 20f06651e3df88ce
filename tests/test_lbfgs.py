"""LBFGS takes torch's steps, with and without a line search."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


def rosenbrock(x: Any) -> Any:
    return ((1 - x[0][:-1]) ** 2).sum() + 10 * ((x[0][1:] - x[0][:-1] ** 2) ** 2).sum()


def network(x: Any) -> Any:
    lib = type(x[0]).__module__.partition(".")[0]
    lib = {"torch": torch}.get(lib, ours)
    inputs = lib.linspace(-2, 2, 40, dtype=x[0].dtype).reshape(-1, 1)
    y = lib.tanh(inputs @ x[0].reshape(1, -1) + x[1]) @ x[2].reshape(-1, 1)
    return ((y - lib.sin(2 * inputs)) ** 2).mean()


def quartic(x: Any) -> Any:
    return ((x[0] - 3) ** 4).sum() + (x[0] ** 2).sum()


def unused(x: Any) -> Any:
    return ((x[1] - 1) ** 2).sum()


PROBLEMS = {
    "rosenbrock": (rosenbrock, [(4,)]),
    "network": (network, [(5,), (5,), (5,)]),
    "quartic": (quartic, [(2, 3)]),
    "a parameter without a gradient": (unused, [(2,), (3, 2)]),
}
OPTIONS = [
    {}, {"line_search_fn": "strong_wolfe"}, {"lr": 0.01, "max_iter": 4},
    {"line_search_fn": "strong_wolfe", "history_size": 2, "max_iter": 7, "lr": 0.5},
    {"line_search_fn": "strong_wolfe", "max_eval": 3},
    {"max_iter": 1}, {"tolerance_change": 1e-3, "lr": 0.1}, {"tolerance_grad": 1e-2, "lr": 0.1},
]  # fmt: skip


def test_without_a_history_it_fails_as_on_torch() -> None:
    """At the second step: there is nothing to drop for what is to be remembered."""
    for lib in (ours, torch):
        with pytest.raises(IndexError, match="pop from empty list"):
            train(lib, "quartic", {"history_size": 0}, 2, "float64")


def train(
    lib: Any, problem: str, options: dict[str, Any], steps: int, dtype: str, by: float = 1.0
) -> Any:
    loss_of, shapes = PROBLEMS[problem]
    draw = np.random.default_rng(0)
    xs = [lib.tensor(by * draw.normal(size=shape), dtype=getattr(lib, dtype)) for shape in shapes]
    for x in xs:
        x.requires_grad_()
    optimizer = lib.optim.LBFGS(xs, **options)
    losses = []

    def closure() -> Any:
        optimizer.zero_grad()
        loss = loss_of(xs)
        loss.backward()
        return loss

    for _ in range(steps):
        losses.append(optimizer.step(closure).item())
    state = optimizer.state[xs[0]]
    return losses, [x.detach().numpy() for x in xs], (state["n_iter"], state["func_evals"])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_fifty_steps(problem: str, options: dict[str, Any]) -> None:
    """To rounding, which is magnified: by how much, torch shows that starts a rounding apart."""
    steps = 6 if problem == "network" else 50
    mine = train(ours, problem, options, steps, "float64")
    theirs = train(torch, problem, options, steps, "float64")
    other = train(torch, problem, options, steps, "float64", 1 + 1e-15)
    found, expected, rounded = [np.array(run[0]) for run in (mine, theirs, other)]
    apart = np.maximum.accumulate(np.abs(rounded - expected))  # by torch itself
    allowed = 1e-9 + 1e-6 * np.abs(expected) + 1000 * apart
    both = np.isfinite(expected) & np.isfinite(rounded)
    assert (np.abs(found - expected) <= allowed)[both].all()
    if apart[-1] < 1e-9:
        assert mine[2] == theirs[2] or problem == "network"
        for x, y in zip(mine[1], theirs[1], strict=True):
            assert x == pytest.approx(y, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_single_precision(problem: str) -> None:
    options = {"line_search_fn": "strong_wolfe", "max_iter": 5}
    mine = train(ours, problem, options, 10, "float32")
    theirs = train(torch, problem, options, 10, "float32")
    assert mine[0] == pytest.approx(theirs[0], rel=1e-3, abs=1e-5)


def test_the_state_goes_to_a_file_and_back() -> None:
    def run(stop: bool) -> list[float]:
        x = ours.tensor([-1.5, 2.0, 0.5], dtype=ours.float64, requires_grad=True)
        optimizer = ours.optim.LBFGS([x], max_iter=3, line_search_fn="strong_wolfe")

        def closure() -> Any:
            optimizer.zero_grad()
            loss = rosenbrock([x])
            loss.backward()
            return loss

        for step in range(6):
            if stop and step == 3:
                file = io.BytesIO()
                ours.save(optimizer.state_dict(), file)
                file.seek(0)
                optimizer = ours.optim.LBFGS([x], max_iter=3, line_search_fn="strong_wolfe")
                optimizer.load_state_dict(copy.deepcopy(ours.load(file)))
            optimizer.step(closure)
        return x.tolist()  # type: ignore[no-any-return]

    assert run(True) == run(False)


def test_what_is_refused() -> None:
    x, y = ours.ones(1, requires_grad=True), ours.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="parameter groups"):
        ours.optim.LBFGS([{"params": [x]}, {"params": [y]}])
    with pytest.raises(RuntimeError, match="strong_wolfe"):
        ours.optim.LBFGS([x], line_search_fn="armijo").step(lambda: (x * x).sum())
    with pytest.raises(TypeError, match="closure"):
        ours.optim.LBFGS([x]).step()
