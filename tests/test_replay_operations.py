"""torch's database of operations, replayed: the first, the last and every few samples of each.

All samples: `python -m tests.replay operations`.  What is left out, and why: replay/exclusions.py.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

from replay import exclusions, operations  # noqa: E402
from replay.both import quiet  # noqa: E402

import tinygrad_edu  # noqa: E402

EVERY = 5


@pytest.fixture(autouse=True)
def one_thread():
    """torch's threads would only get in each other's way on such small inputs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("op", operations.ENTRIES, ids=operations.title)
def test_replay(op) -> None:
    """Results, gradients, methods, in-place forms and refusals equal torch's."""
    with quiet():
        outcomes = list(operations.replay(op, EVERY))
    problems = [f"{o.sample}: {o.problem}" for o in outcomes if o.problem is not None]
    assert not problems, "\n".join(problems)


def test_what_is_lacking_is_listed() -> None:
    """With a reason; what has been written must leave the list."""
    names = {operations.title(op): operations.exported(op) for op in operations.ENTRIES}
    assert [name for name, ours in names.items() if not ours and not exclusions.lacking(name)] == []
    assert [name for name, ours in names.items() if ours and exclusions.lacking(name)] == []
    for patterns in exclusions.NOT_EXPORTED:
        for pattern in patterns.split():
            assert any(fnmatchcase(name, pattern) for name in names), pattern


def test_every_exclusion_names_an_operation() -> None:
    """Whether its samples still fail is checked by the replay itself."""
    known = {operations.title(op) for op in operations.ENTRIES}
    for entry in exclusions.EXCLUSIONS:
        assert entry.operations == "*" or set(entry.operations.split()) <= known, entry


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (lambda x: x.cos(), "values"),
        (lambda x: x.sin().float(), "values"),
        (lambda x: x.detach().sin() + x - x.detach(), "gradients"),
        (lambda x: x.detach().sin() + (x - x.detach()) * x.detach().cos(), "second"),
    ],
)
def test_what_is_wrong_is_found(monkeypatch, wrong, check: str) -> None:
    """A replay that cannot fail would show nothing."""
    monkeypatch.setattr(tinygrad_edu, "sin", wrong)
    (sin,) = [op for op in operations.ENTRIES if op.name == "sin"]
    with quiet():
        outcomes = list(operations.replay(sin))
    assert any(f"[{check}]" in (o.problem or "") for o in outcomes)


def test_enough_is_replayed() -> None:
    """At least 250 operations of the database."""
    exported = {op.name for op in operations.ENTRIES if operations.exported(op)}
    assert len(exported) >= 400
