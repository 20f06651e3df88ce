"""Importing stays light: what example 01 brings into memory."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from benchmarks.import_weight import lines_of_example  # noqa: E402


def test_example_01_imports_at_most_15000_lines() -> None:
    lines = lines_of_example()
    assert len(lines) > 50
    assert sum(lines.values()) <= 15_000, sorted(lines.items(), key=lambda pair: -pair[1])
