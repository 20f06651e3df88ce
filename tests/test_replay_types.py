"""torch's database of operations with other element types than float64: the first and last sample.

All samples: `python -m tests.replay types`.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

from replay import operations  # noqa: E402
from replay.both import quiet  # noqa: E402
from replay.types import replay_types  # noqa: E402

DTYPES = (torch.float32, torch.int64)
EXPORTED = [op for op in operations.ENTRIES if operations.exported(op)]


@pytest.mark.parametrize("op", EXPORTED, ids=operations.title)
def test_types(op) -> None:
    """The dtypes and shapes of results, and refusals, are torch's."""
    with quiet():
        outcomes = list(replay_types(op, 10**6, DTYPES))
    problems = [f"{o.sample}: {o.problem}" for o in outcomes if o.problem is not None]
    assert not problems, "\n".join(problems)
