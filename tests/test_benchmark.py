"""`torch.utils.benchmark`: what is measured, how often, and what the tables say."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch.utils.benchmark as theirs

import tinygrad_edu as tg
from tinygrad_edu.utils import benchmark as mine


@pytest.mark.parametrize("lib", [mine, theirs])
def test_a_clock_that_ticks_gives_known_times(lib: Any) -> None:
    ticks = itertools.count(0.0, 0.5)
    measured = lib.Timer("pass", timer=lambda: next(ticks)).timeit(100)
    assert measured.number_per_run == 100 and measured.raw_times == [0.5]
    assert measured.median == measured.mean == 0.005 and measured.times == [0.005]
    ticks = itertools.count(0.0, 0.5)
    measured = lib.Timer("pass", timer=lambda: next(ticks)).blocked_autorange(min_run_time=2.0)
    assert sum(measured.raw_times) >= 2.0 and measured.median == 0.5 / measured.number_per_run
    assert measured.iqr == 0 and not measured.has_warnings


def test_the_statement_runs_with_its_setup_and_names() -> None:
    seen: list[Any] = []
    timer = mine.Timer("seen.append((x, torch))", "x = 3", globals={"seen": seen})
    timer.timeit(200)
    assert len(seen) == 202 and seen[0] == (3, tg)
    with pytest.raises(SyntaxError):
        mine.Timer("x x")
    with pytest.raises(ValueError, match="only Python"):
        mine.Timer("1", language="cpp")
    with pytest.raises(ValueError, match="str"):
        mine.Timer(len)  # type: ignore[arg-type]
    for refused in (timer.repeat, timer.autorange, timer.collect_callgrind):
        with pytest.raises(NotImplementedError):
            refused()


def test_threads_are_as_before() -> None:
    before, seen = tg.get_num_threads(), set()
    mine.Timer("seen.add(torch.get_num_threads())", globals={"seen": seen}, num_threads=1).timeit(1)
    assert seen == {1} and tg.get_num_threads() == before
    with pytest.raises(ZeroDivisionError):
        mine.Timer("1 / 0", num_threads=1).timeit(1)
    assert tg.get_num_threads() == before


@pytest.mark.parametrize("seconds", [1e-9, 5e-7, 1e-6, 2e-4, 1e-3, 0.5, 1.0, 70.0])
def test_units_are_torchs(seconds: float) -> None:
    assert mine.select_unit(seconds) == theirs.select_unit(seconds)


def test_a_table_has_a_row_for_each_label_and_a_column_for_each_description() -> None:
    made = []
    for threads, label, how in itertools.product((1, 2), ("small", "big"), ("add", "mul")):
        spec = mine.TaskSpec("x", "pass", label="op", sub_label=label, description=how,
                             num_threads=threads)  # fmt: skip
        made.append(mine.Measurement(10, [3e-5 * (1 + (how == "mul"))], spec))
    lines = str(mine.Compare(made)).splitlines()
    assert lines[0] == "[ op ]" and lines[1].split("|")[1:] == ["      add ", "      mul"]
    assert [line.split("|")[0].strip() for line in lines[2:8]] == [
        "1 threads: " + "-" * (len(lines[1]) - 11), "small", "big",
        "2 threads: " + "-" * (len(lines[1]) - 11), "small", "big",
    ]  # fmt: skip
    assert [cell.strip() for cell in lines[3].split("|")[1:]] == ["3", "6"]
    assert "microseconds" in lines[-1]
    assert "10 runs, 2 threads" in repr(made[-1]) and made[-1].label == "op"


def test_adaptive_stops() -> None:
    measured = mine.Timer("1 + 1").adaptive_autorange(max_run_time=0.2)
    assert len(measured.times) > 3 or sum(measured.raw_times) >= 0.2
