"""docs/scaling.py still runs: its ranks' part, with its own functions, in two short jobs."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest
from launching import MPI, ROOT


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "docs" / "scaling.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scaling", module)  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not MPI, reason="mpi4py or an MPI is not installed")
@pytest.mark.parametrize("delays", [(), (1e-3, 1e9)], ids=["plain", "held back"])
def test_ranks_measure(scaling: Any, delays: tuple[float, ...], capsys: Any) -> None:
    found = {"link": "here", **scaling.job(2, False, *delays, most=2)}
    assert found["ranks"] == 2
    assert [int(size) for size in found["all_reduce"]] == scaling.SIZES
    assert [step["width"] for step in found["steps"]] == [256, 512, 1024]
    least = scaling.Link(*delays) if delays else None
    for size, seconds in found["all_reduce"].items():
        assert seconds > (least.ring(int(size), 2) if least else 0)
    for step in found["steps"]:
        assert step["alone"] > 0
        assert step["step"] > (least.ring(step["bytes"], 2) if least else 0)
    link = scaling.fitted([found], "here")
    assert link.latency > (delays[0] if delays else 0)
    scaling.tables({"measured": [found]})
    assert "| here |" in capsys.readouterr().out
