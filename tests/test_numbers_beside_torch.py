"""A slice of the page of numbers: some functions in each run, all of them with `--sweep`."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from numbers_beside_torch import PAGE, calls, compared, reason  # noqa: E402

SLICE = ["maximum", "floor_divide", "exp", "var", "nn.functional.softplus", "isclose", "cumprod"]


def test_functions_at_the_edges(request: pytest.FixtureRequest) -> None:
    """Whatever differs from torch has its reason in the list."""
    everything = request.config.getoption("--sweep")
    tally = compared([] if everything else SLICE)
    assert tally.calls > 3000
    assert not [key for key in tally.differing if reason(*key) is None]


def test_the_page_has_all_functions() -> None:
    text = PAGE.read_text()
    assert "| ? |" not in text
    names = {call.name for call in calls()}
    assert len(names) > 150 and not {name for name in names if f"| `{name}` |" not in text}
