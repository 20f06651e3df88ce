"""A pytest plugin: `pytest -p tinygrad_edu.testing.plugin`, or in a conftest.py

    pytest_plugins = ["tinygrad_edu.testing.plugin"]

Fixtures:

    seed        seeds the generator before the test, and is the seed; `--seed` changes it
    tolerance   `tolerance(dtype)` are the keywords `rtol` and `atol` of `assert_close`
    no_leaks    fails the test if it leaves a mode, a default or a graph behind
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from tinygrad_edu.dtypes import dtype, get_default_dtype
from tinygrad_edu.engine import mode
from tinygrad_edu.engine.graph import Node, clock
from tinygrad_edu.engine.mode import state
from tinygrad_edu.random import manual_seed
from tinygrad_edu.testing.comparison import tolerances


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--seed`."""
    parser.addoption("--seed", type=int, default=0, help="what the fixture `seed` seeds with")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seeds the generator; the number it was seeded with."""
    number: int = request.config.getoption("--seed")
    manual_seed(number)
    return number


@pytest.fixture
def tolerance() -> Callable[[dtype], dict[str, float]]:
    """How far results of a type may be from each other, as `assert_close` takes it."""
    return lambda kind: dict(zip(("rtol", "atol"), tolerances(kind), strict=True))


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fails the test if it leaves a mode, a listener, a default dtype or a graph behind.

    Graphs die as soon as nobody holds a tensor of them: one that outlives its test hangs on a
    global, a cache or a cycle.
    """
    before = state.mode, [*mode.listeners], [*mode.around], get_default_dtype()
    start = clock()
    yield
    after = state.mode, [*mode.listeners], [*mode.around], get_default_dtype()
    names = ("a mode (no_grad, autocast, ...)", "a listener", "a wrapper", "a default dtype")
    left = [name for name, a, b in zip(names, before, after, strict=True) if a != b]
    state.mode = before[0]
    gc.collect()
    alive = [n for n in gc.get_objects() if isinstance(n, Node) and n.number > start]
    nodes = sorted({n.name() for n in alive if not n.is_leaf})
    if nodes:
        left.append(f"a graph of {', '.join(nodes)}")
    if left:
        pytest.fail(f"the test leaves {' and '.join(left)} behind", pytrace=False)
