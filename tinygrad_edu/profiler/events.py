"""Events of a profile, their sums by name, and how both are printed."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_edu.profiler.table import as_time, table

OFFSET = time.time_ns() / 1000 - time.perf_counter_ns() / 1000
"""What makes a time of the day, in microseconds, of a reading of the clock."""


@dataclass
class Interval:
    """From when to when, in microseconds."""

    start: float = 0.0
    end: float = 0.0

    def elapsed_us(self) -> float:
        """How long."""
        return self.end - self.start


def _text_of(name: str) -> Any:
    return property(lambda event: as_time(getattr(event, name)), doc=f"`{name}` as a text.")


class _Times:
    """What events and sums of events have in common: times as text, and absent devices."""

    count: int
    cpu_time_total: float
    self_cpu_time_total: float
    device_time_total = self_device_time_total = device_time = 0.0
    cuda_time_total = self_cuda_time_total = cuda_time = 0.0
    device_memory_usage = self_device_memory_usage = 0
    is_async = is_remote = is_legacy = False
    use_device = None
    device_type = "DeviceType.CPU"
    node_id = -1
    _shown: tuple[str, ...] = ()

    cpu_time_str = _text_of("cpu_time")
    cpu_time_total_str = _text_of("cpu_time_total")
    self_cpu_time_total_str = _text_of("self_cpu_time_total")

    @property
    def cpu_time(self) -> float:
        """The mean of one call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    def __repr__(self) -> str:
        values = " ".join([f"{name}={getattr(self, name)}" for name in self._shown])
        return f"<{type(self).__name__} {values}>"


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
    _shown = ("id", "name", "time_range", "thread", "input_shapes", "cpu_memory_usage")
    flops = None
    self_cpu_memory_usage = 0

    def __init__(self, name: str, id: int, thread: int, scope: str) -> None:
        self.name = self.key = "ProfilerStep*" if name.startswith("ProfilerStep#") else name
        self.trace_name = name
        self.id, self.thread, self.activity_type = id, thread, scope
        self.is_user_annotation = scope == "user_annotation"
        self.time_range = Interval()
        self.cpu_children: list[FunctionEvent] = []
        self.cpu_parent: FunctionEvent | None = None
        self.input_shapes: list[Any] = []
        self.stack: list[str] = []

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


@dataclass(repr=False, eq=False)
class FunctionEventAvg(_Times):
    """The sum of all events of one name."""

    key: str = "Total"
    input_shapes: Any = ""
    stack: Sequence[str] = ()
    is_user_annotation: bool = False
    count: int = 0
    cpu_time_total: float = 0.0
    self_cpu_time_total: float = 0.0
    cpu_memory_usage: int = 0
    self_cpu_memory_usage: int = 0
    flops = 0
    _shown = ("key", "self_cpu_time_total_str", "cpu_time_str", "input_shapes", "cpu_memory_usage")

    def add(self, event: FunctionEvent | FunctionEventAvg) -> None:
        """One more."""
        self.cpu_time_total += event.cpu_time_total
        self.cpu_memory_usage += event.cpu_memory_usage
        self.self_cpu_time_total += event.self_cpu_time_total
        self.self_cpu_memory_usage += event.self_cpu_memory_usage
        self.count += event.count


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
        for e in self:
            shapes = e.input_shapes if group_by_input_shapes else ""
            stack = e.stack[:group_by_stack_n]
            first = FunctionEventAvg(e.key, shapes, stack, e.is_user_annotation)
            found.setdefault((e.key, str(shapes), *stack), first).add(e)
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
        rows: list[Any] = self
        if sort_by:
            name = sort_by.replace("cuda", "device")
            rows = sorted(self, key=lambda e: getattr(e, name), reverse=True)
        if top_level_events_only:
            rows = [e for e in rows if getattr(e, "cpu_parent", None) is None]
        widths = max_name_column_width, max_shapes_column_width, max_src_column_width
        some = rows if row_limit < 0 else rows[:row_limit]
        text = table(some, self.self_cpu_time_total, self.memory, widths, time_unit)
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
                value = int(getattr(event, metric))
                if event.stack and value > 0:
                    line = ";".join([s.translate(_OF_FLAMES) for s in event.stack[::-1]])
                    file.write(f"{line} {value}\n")


_OF_FLAMES = str.maketrans(" ;\t\n", "____")


def _traced(event: FunctionEvent, process: int) -> dict[str, Any]:
    noted = {
        "Input Dims": event.input_shapes,
        "Call stack": event.stack,
        "Bytes": event.self_cpu_memory_usage,
    }
    return {
        "ph": "X", "cat": event.activity_type, "name": event.trace_name, "pid": process,
        "tid": event.thread, "ts": event.time_range.start + OFFSET,
        "dur": event.time_range.elapsed_us(),
        "args": {"Ev Idx": event.id, **{name: value for name, value in noted.items() if value}},
    }  # fmt: skip
