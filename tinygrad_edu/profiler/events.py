"""Events of a profile, their sums by name, and how both are printed."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tinygrad_edu.profiler.table import as_time, table

OFFSET = time.time_ns() / 1000 - time.perf_counter_ns() / 1000
"""What makes a time of the day, in microseconds, of a reading of the clock."""


class Interval:
    """From when to when, in microseconds."""

    start = end = 0.0

    def elapsed_us(self) -> float:
        """How long."""
        return self.end - self.start

    def __repr__(self) -> str:
        return f"Interval(start={self.start:.3f}, end={self.end:.3f})"


class _Times:
    """What events and sums of events have in common: times as text, and absent devices."""

    count: int
    cpu_time_total: float
    self_cpu_time_total: float
    device_time_total = self_device_time_total = device_time = 0.0
    cuda_time_total = self_cuda_time_total = cuda_time = 0.0
    device_memory_usage = self_device_memory_usage = 0
    cuda_memory_usage = self_cuda_memory_usage = 0
    is_async = is_remote = is_legacy = False
    use_device = None
    device_type = "DeviceType.CPU"
    node_id = -1

    @property
    def cpu_time(self) -> float:
        """The mean of one call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def cpu_time_str(self) -> str:
        """The mean of one call, as a text."""
        return as_time(self.cpu_time)

    @property
    def cpu_time_total_str(self) -> str:
        """The time with all that was called, as a text."""
        return as_time(self.cpu_time_total)

    @property
    def self_cpu_time_total_str(self) -> str:
        """The time without what was called, as a text."""
        return as_time(self.self_cpu_time_total)


class FunctionEvent(_Times):
    """One call, one backward step or one named block.

    Attributes:
        name, key, trace_name: what it is called, summed up with, and called in a trace.
        id, thread: which, where.
        time_range: from when to when.
        cpu_parent, cpu_children: what it ran in, what ran in it.
        input_shapes, stack: as far as they were asked for.
        cpu_memory_usage, self_cpu_memory_usage: bytes of results, with and without the children's.
    """

    count = 1
    sequence_nr = -1
    flops = None
    self_cpu_memory_usage = 0

    def __init__(self, name: str, id: int, thread: int, scope: str) -> None:
        self.name = self.key = "ProfilerStep*" if name.startswith("ProfilerStep#") else name
        self.trace_name = name
        self.id, self.thread, self.activity_type = id, thread, scope
        self.time_range = Interval()
        self.cpu_children: list[FunctionEvent] = []
        self.cpu_parent: FunctionEvent | None = None
        self.input_shapes: list[Any] = []
        self.stack: list[str] = []

    @property
    def is_user_annotation(self) -> bool:
        """Whether it is a block that the user named."""
        return self.activity_type == "user_annotation"

    @property
    def cpu_time_total(self) -> float:  # type: ignore[override]
        """Its time, with the children's."""
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self) -> float:  # type: ignore[override]
        """Its time without the children's."""
        return self.cpu_time_total - sum([child.cpu_time_total for child in self.cpu_children])

    @property
    def cpu_memory_usage(self) -> int:
        """Bytes of its results and of the children's."""
        below = sum([child.cpu_memory_usage for child in self.cpu_children])
        return self.self_cpu_memory_usage + below

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent id={self.id} name={self.name} cpu_time={self.cpu_time_str}"
            f" start_us={self.time_range.start:.3f} end_us={self.time_range.end:.3f}"
            f" cpu_children={[child.id for child in self.cpu_children]} thread={self.thread}"
            f" input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage}>"
        )


class FunctionEventAvg(_Times):
    """The sum of all events of one name."""

    flops = 0

    def __init__(self, first: FunctionEvent | None = None) -> None:
        self.key = "Total" if first is None else first.key
        self.count = 0
        self.input_shapes: Any = [] if first is None else first.input_shapes
        self.stack: list[str] = [] if first is None else first.stack
        self.is_user_annotation = first is not None and first.is_user_annotation
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = self.self_cpu_memory_usage = 0

    def add(self, event: FunctionEvent | FunctionEventAvg) -> None:
        """One more."""
        self.cpu_time_total += event.cpu_time_total
        self.cpu_memory_usage += event.cpu_memory_usage
        self.self_cpu_time_total += event.self_cpu_time_total
        self.self_cpu_memory_usage += event.self_cpu_memory_usage
        self.count += event.count

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str}"
            f" cpu_time={self.cpu_time_str} input_shapes={self.input_shapes}"
            f" cpu_memory_usage={self.cpu_memory_usage}>"
        )


class EventList(list[Any]):
    """Events, or their sums, that can be summed up, printed and written."""

    def __init__(self, events: Iterable[Any] = (), *, memory: bool = False) -> None:
        super().__init__(events)
        self.memory = memory

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all, in microseconds."""
        return float(sum([event.self_cpu_time_total for event in self]))

    def total_average(self) -> FunctionEventAvg:
        """The sum of all."""
        total = FunctionEventAvg()
        for event in self:
            total.add(event)
        return total

    def key_averages(
        self,
        group_by_input_shapes: bool = False,
        group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:
        """The sums of the events of each name.

        Args:
            group_by_input_shapes: by name and shapes of the inputs.
            group_by_stack_n: by name and so many of the user's lines that led there.
            group_by_overload_name: accepted; operations have one form here.
        """
        found: dict[Any, FunctionEventAvg] = {}
        for event in self:
            shapes = str(event.input_shapes) if group_by_input_shapes else ""
            key = (event.key, shapes, *event.stack[:group_by_stack_n])
            found.setdefault(key, FunctionEventAvg(event)).add(event)
        for one in found.values():
            one.input_shapes = one.input_shapes if group_by_input_shapes else ""
            one.stack = one.stack[:group_by_stack_n]
        return EventList(found.values(), memory=self.memory)

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int = 75,
        max_name_column_width: int = 55,
        max_shapes_column_width: int = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
        time_unit: str | None = None,
    ) -> str:
        """A table of the events, one a row.

        Args:
            sort_by: an attribute, such as "cpu_time_total" or "self_cpu_memory_usage"; the largest
                comes first.
            row_limit: so many rows; -1 for all.
            max_src_column_width, max_name_column_width, max_shapes_column_width: longer ones are
                cut.
            header: a line above.
            top_level_events_only: leave out what ran in another event.
            time_unit: "s", "ms" or "us" for all times; None for the one that fits each.

        Raises:
            AttributeError: there is no such attribute to sort by.
        """
        rows = sorted(self, key=lambda e: getattr(e, sort_by), reverse=True) if sort_by else self
        if top_level_events_only:
            rows = [e for e in rows if getattr(e, "cpu_parent", None) is None]
        widths = max_name_column_width, max_shapes_column_width, max_src_column_width
        text = table(
            rows if row_limit < 0 else rows[:row_limit], self.self_cpu_time_total, self.memory,
            widths, time_unit,
        )  # fmt: skip
        return text if header is None else f"{header}\n{text}"

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: Any, metadata: dict[str, Any] | None = None) -> None:
        """Write the events as a Chrome trace: JSON, which chrome://tracing and Perfetto show."""
        process = os.getpid()
        trace: dict[str, Any] = {
            "schemaVersion": 1,
            "displayTimeUnit": "ms",
            "host_name": socket.gethostname(),
            "traceName": str(path),
            **(metadata or {}),
            "traceEvents": [
                {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "ts": 0,
                 "args": {"name": "python"}},
                *[_traced(event, process) for event in self],
            ],
        }  # fmt: skip
        name = os.fspath(path)
        with gzip.open(name, "wt") if name.endswith(".gz") else open(name, "w") as file:
            json.dump(trace, file)

    supported_export_stacks_metrics = ("self_cpu_time_total", "self_cuda_time_total")

    def export_stacks(self, path: Any, metric: str = "self_cpu_time_total") -> None:
        """Write the user's lines that led to each event, and its time, as flame graphs want them.

        Raises:
            ValueError: another metric.
        """
        if metric not in self.supported_export_stacks_metrics:
            known = ", ".join(self.supported_export_stacks_metrics)
            raise ValueError(f"metric should be one of: {known}, but got {metric!r}")
        with open(path, "w") as file:
            for event in self:
                if event.stack and int(getattr(event, metric)) > 0:
                    lines = [line.replace(" ", "_").replace(";", "_") for line in event.stack]
                    file.write(f"{';'.join(lines[::-1])} {int(getattr(event, metric))}\n")


def _traced(event: FunctionEvent, process: int) -> dict[str, Any]:
    more: Iterator[tuple[str, Any]] = zip(
        ("Input Dims", "Call stack", "Bytes"),
        (event.input_shapes, event.stack, event.self_cpu_memory_usage),
        strict=True,
    )
    return {
        "ph": "X", "cat": event.activity_type, "name": event.trace_name, "pid": process,
        "tid": event.thread, "ts": event.time_range.start + OFFSET,
        "dur": event.time_range.elapsed_us(),
        "args": {"Ev Idx": event.id, **{name: value for name, value in more if value}},
    }  # fmt: skip
