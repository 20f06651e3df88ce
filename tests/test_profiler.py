"""Profiles: when they record, what they note, how they are printed and written, beside torch's."""

from __future__ import annotations

import gzip
import json
import pathlib
import threading
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu.engine.mode import state

small = st.integers(0, 3)


def cycles(lib: Any, steps: int, **how: int) -> list[Any]:
    """Which steps each trace that is ready holds."""
    found = []

    def ready(prof: Any) -> None:
        names = [e.trace_name for e in prof.events() if e.name == "ProfilerStep*"]
        found.append((prof.step_num, sorted(names)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        when = lib.profiler.schedule(**how)
        with lib.profiler.profile(
            activities=[lib.profiler.ProfilerActivity.CPU], schedule=when, on_trace_ready=ready
        ) as prof:
            for _ in range(steps):
                lib.ones(2) + 1
                prof.step()
    return found


@given(small, small, st.integers(1, 3), small, small, small)
def test_schedules_are_torchs(
    wait: int, warmup: int, active: int, repeat: int, first: int, first_wait: int
) -> None:
    how = {"wait": wait, "warmup": warmup, "active": active, "repeat": repeat, "skip_first": first}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine = tg.profiler.schedule(**how, skip_first_wait=first_wait)
        theirs = torch.profiler.schedule(**how, skip_first_wait=first_wait)
    assert [mine(i).name for i in range(25)] == [theirs(i).name for i in range(25)]


@given(small, small, st.integers(1, 2), small, st.integers(0, 7))
@settings(max_examples=15, deadline=None)
def test_traces_are_ready_when_torchs_are(
    wait: int, warmup: int, active: int, repeat: int, steps: int
) -> None:
    how = {"wait": wait, "warmup": warmup, "active": active, "repeat": repeat}
    assert cycles(tg, steps, **how) == cycles(torch, steps, **how)


def test_mistakes_in_a_schedule() -> None:
    with pytest.raises(AssertionError, match="Invalid profiler schedule"):
        tg.profiler.schedule(wait=0, warmup=1, active=0)
    with pytest.warns(UserWarning, match="won't be using warmup"):
        tg.profiler.schedule(wait=0, warmup=0, active=1)


def step(lib: Any, prof: Any) -> Any:
    """A training step of a perceptron, profiled."""
    lib.manual_seed(0)
    nn = lib.nn
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
    x = lib.randn(3, 4)
    with prof:
        with lib.autograd.profiler.record_function("forward"):
            loss = model(x).sum()
        loss.backward()
        optimizer.step()
    return prof


@pytest.mark.parametrize("options", [{}, {"record_shapes": True}, {"profile_memory": True}])
def test_table_has_torchs_columns_and_rows(options: dict[str, bool]) -> None:
    shapes = options.get("record_shapes", False)
    tables, counts = [], []
    for lib in (tg, torch):
        prof = step(lib, lib.profiler.profile(activities=[lib.profiler.ProfilerActivity.CPU],
                                              **options))  # fmt: skip
        sums = prof.key_averages(group_by_input_shape=shapes)
        tables.append(sums.table(sort_by="self_cpu_time_total", row_limit=4).splitlines())
        counts.append({(e.key, str(e.input_shapes)): e.count for e in sums})
    mine, theirs = tables
    assert mine[1].split() == theirs[1].split() and len(mine) == len(theirs)
    assert mine[-2 if not mine[-1] else -1].startswith("Self CPU time total: ")
    names = {"forward", "aten::linear", "aten::relu", "AddmmBackward0", "ReluBackward0",
             "Optimizer.step#SGD.step"}  # fmt: skip
    pairs = [{key: n for key, n in one.items() if key[0] in names} for one in counts]
    assert pairs[0] == pairs[1] and {key for key, _ in pairs[0]} == names


def test_times_and_memory_add_up() -> None:
    prof = step(tg, tg.profiler.profile(profile_memory=True))
    events = prof.events()
    outer = [e for e in events if e.cpu_parent is None]
    whole = sum([e.cpu_time_total for e in outer])
    assert events.self_cpu_time_total == pytest.approx(whole) and whole > 0
    assert prof.key_averages().self_cpu_time_total == pytest.approx(whole)
    for event in events:
        assert event.self_cpu_time_total >= 0 and event.time_range.end > event.time_range.start
        for child in event.cpu_children:
            assert child.time_range.start >= event.time_range.start
            assert child.time_range.end <= event.time_range.end
    forward = next(e for e in events if e.name == "forward")
    assert [c.name for c in forward.cpu_children] == [
        "aten::linear", "aten::relu", "aten::linear", "aten::sum"
    ]  # fmt: skip
    assert forward.cpu_memory_usage == 4 * (3 * 8 + 3 * 8 + 3 * 2 + 1)


def test_memory_of_a_view_is_none() -> None:
    x = tg.ones(4, 4)
    with tg.profiler.profile(profile_memory=True) as prof:
        (x.transpose(0, 1) * 2).view(4, 2, 2)
    assert {e.key: e.cpu_memory_usage for e in prof.key_averages()} == {
        "aten::transpose": 0, "aten::mul": 64, "aten::view": 0
    }  # fmt: skip


def test_chrome_trace(tmp_path: pathlib.Path) -> None:
    prof = step(tg, tg.profiler.profile(record_shapes=True, with_stack=True))
    prof.add_metadata_json("batch", "3")
    for name in ("trace.json", "trace.json.gz"):
        prof.export_chrome_trace(str(tmp_path / name))
        opened: Any = gzip.open if name.endswith("gz") else open
        with opened(tmp_path / name, "rt") as file:
            trace = json.load(file)
        spans = [e for e in trace["traceEvents"] if e["ph"] == "X"]
        assert [e["name"] for e in spans] == [e.name for e in prof.events()] and trace["batch"] == 3
        assert all({"cat", "name", "pid", "tid", "ts", "dur", "args"} <= {*e} for e in spans)
        linear = next(e for e in spans if e["name"] == "aten::linear")
        assert linear["args"]["Input Dims"] == [[3, 4], [8, 4], [8]]
        assert "test_profiler.py" in linear["args"]["Call stack"][0]
    prof.export_stacks(tmp_path / "stacks")
    first = (tmp_path / "stacks").read_text().splitlines()[0]
    assert ";" in first and int(first.split()[-1]) >= 1
    with pytest.raises(ValueError, match="metric should be one of"):
        prof.export_stacks(tmp_path / "stacks", "count")


def test_handler_writes_one_file_for_each_cycle(tmp_path: pathlib.Path) -> None:
    handler = tg.profiler.tensorboard_trace_handler(str(tmp_path / "log"), "me")
    when = tg.profiler.schedule(wait=0, warmup=1, active=1, repeat=2)
    with tg.profiler.profile(schedule=when, on_trace_ready=handler) as prof:
        for _ in range(6):
            tg.ones(2) + 1
            prof.step()
    files = sorted((tmp_path / "log").iterdir())
    assert len(files) == 2
    assert all(f.name.startswith("me.") and f.name.endswith(".pt.trace.json") for f in files)


def test_nothing_is_there_when_it_is_off() -> None:
    outside = state.mode
    with pytest.raises(ZeroDivisionError), tg.profiler.profile() as prof:
        assert state.mode is not outside
        tg.ones(2) + 1
        _ = 1 / 0
    assert state.mode is outside and [e.name for e in prof.events()] == ["aten::add"]
    with tg.autograd.profiler.profile(enabled=False):
        assert state.mode is outside
    from tinygrad_edu.optim import optimizer

    model = tg.nn.Linear(2, 1)
    sgd = tg.optim.SGD(model.parameters(), lr=0.1)
    model(tg.ones(1, 2)).sum().backward()
    sgd.step()
    assert len(prof.events()) == 1 and optimizer is not None


def test_an_operation_that_fails_ends_its_event() -> None:
    with tg.profiler.profile() as prof:
        with pytest.raises(RuntimeError):
            tg.ones(2, 3) @ tg.ones(2, 3)
        tg.ones(2) + 1
    assert [(e.name, e.cpu_parent) for e in prof.events()] == [
        ("aten::matmul", None), ("aten::add", None)
    ]  # fmt: skip


def test_it_changes_no_number_and_lives_with_autocast_and_anomaly() -> None:
    def losses() -> list[float]:
        tg.manual_seed(3)
        model = tg.nn.Sequential(tg.nn.Linear(5, 7), tg.nn.GELU(), tg.nn.Linear(7, 3))
        optimizer = tg.optim.AdamW(model.parameters(), lr=0.01)
        found = []
        for _ in range(3):
            optimizer.zero_grad()
            with tg.autocast("cpu"), tg.autograd.detect_anomaly():
                loss = tg.nn.functional.cross_entropy(
                    model(tg.randn(4, 5)), tg.tensor([0, 1, 2, 0])
                )
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    plain = losses()
    with tg.profiler.profile(profile_memory=True, record_shapes=True) as prof:
        assert losses() == plain
    assert {"aten::linear", "aten::log_softmax"} <= {e.key for e in prof.key_averages()}
    before = tg.autocast("cpu").__enter__()
    prof.start()
    before.__exit__()
    prof.stop()
    assert not state.mode.listeners


def test_another_thread_is_not_recorded() -> None:
    with tg.profiler.profile() as prof:
        other = threading.Thread(target=lambda: tg.ones(2) + 1)
        other.start()
        other.join()
    assert not prof.events()


def test_pause() -> None:
    with tg.profiler.profile() as prof:
        tg.ones(2) + 1
        prof.toggle_collection_dynamic(False, [tg.profiler.ProfilerActivity.CPU])
        tg.ones(2) * 1
        prof.toggle_collection_dynamic(True, [tg.profiler.ProfilerActivity.CPU])
        tg.ones(2) - 1
    assert [e.name for e in prof.events()] == ["aten::add", "aten::sub"]


def test_older_name() -> None:
    prof = step(tg, tg.autograd.profiler.profile(record_shapes=True))
    assert prof.self_cpu_time_total > 0 and prof.total_average().count == len(prof.function_events)
    assert "aten::linear" in prof.table(sort_by="cpu_time_total") and "Self CPU" in str(prof)
    with pytest.raises(AttributeError, match="nonsense"):
        prof.key_averages().table(sort_by="nonsense")
    with tg.autograd.profiler.profile() as open_one, pytest.raises(RuntimeError, match="finish"):
        open_one.key_averages()


def test_options_to_no_effect_are_accepted_and_misspelt_ones_are_not() -> None:
    for profile in (tg.profiler.profile, tg.autograd.profiler.profile):
        with profile(with_flops=True, with_modules=True, post_processing_timeout_s=1.0) as prof:
            tg.ones(2) + 1
        assert [e.name for e in prof.function_events] == ["aten::add"]
        assert "aten::add" in prof.key_averages().table(sort_by="self_cuda_time_total")
        with pytest.raises(TypeError, match="unexpected keyword argument 'with_shapes'"):
            profile(with_shapes=True)


def test_an_optimizer_that_fails_leaves_the_next_step_its_own_event() -> None:
    class Fails(tg.optim.SGD):
        def step(self, closure: Any = None) -> None:
            raise ValueError("no")

    w = tg.ones(2, requires_grad=True)
    with tg.profiler.profile() as prof:
        with tg.profiler.record_function("first"), pytest.raises(ValueError):
            Fails([w], lr=1.0).step()
        with tg.profiler.record_function("second"):
            tg.optim.SGD([w], lr=1.0).step()
    parents = {e.name: e.cpu_parent and e.cpu_parent.name for e in prof.events()}
    assert parents["Optimizer.step#Fails.step"] == "first"
    assert parents["Optimizer.step#SGD.step"] == "second" and parents["second"] is None


def test_what_was_asked_for_can_be_read() -> None:
    found = tg.profiler.profile(record_shapes=True, profile_memory=True)
    assert (found.record_shapes, found.profile_memory, found.with_stack) == (True, True, False)
