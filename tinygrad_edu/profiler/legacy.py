"""`torch.autograd.profiler`: the older way to profile, whose events are all there is."""

from __future__ import annotations

from typing import Any, Self

from tinygrad_edu.names.settings import unavailable
from tinygrad_edu.profiler.events import EventList, FunctionEvent, FunctionEventAvg
from tinygrad_edu.profiler.recording import Recorder, record_function

__all__ = [
    "EventList", "FunctionEvent", "FunctionEventAvg", "emit_itt", "emit_nvtx", "load_nvprof",
    "profile", "record_function",
]  # fmt: skip

_TO_NO_EFFECT = {
    "activity_filters", "custom_trace_id_callback", "execution_trace_observer",
    "experimental_config", "post_processing_timeout_s", "use_cpu", "use_cuda", "use_device",
    "use_kineto", "with_flops", "with_modules",
}  # fmt: skip
"""Options of torch's that are accepted."""


class profile:
    """Records what the operations of the block take; see `torch.profiler.profile`.

    >>> import tinygrad_edu as torch
    >>> with torch.autograd.profiler.profile() as prof:
    ...     y = torch.ones(2) + 1
    >>> [(e.key, e.count) for e in prof.key_averages()]
    [('aten::add', 1)]
    """

    def __init__(
        self,
        enabled: bool = True,
        *,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        acc_events: bool = False,
        **accepted: object,
    ) -> None:
        unknown = accepted.keys() - _TO_NO_EFFECT
        if unknown:
            name = min(unknown)
            raise TypeError(f"profile.__init__() got an unexpected keyword argument {name!r}")
        self.enabled, self.record_shapes, self.with_stack = enabled, record_shapes, with_stack
        self.profile_memory, self.acc_events = profile_memory, acc_events
        self.recorder = Recorder(record_shapes, profile_memory, with_stack)
        self.metadata: dict[str, Any] = {}
        self.found: EventList | None = None

    def __enter__(self) -> Self:
        if self.enabled:
            self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start_trace(self) -> None:
        """Recording begins."""
        if not self.acc_events:
            self.recorder.events = []
        self.recorder.start()

    def stop_trace(self) -> None:
        """Recording ends."""
        if self.recorder.running:
            self.recorder.stop()
            self.found = EventList(self.recorder.events, memory=self.profile_memory)

    start, stop = start_trace, stop_trace

    def events(self) -> EventList:
        """The events, in the order of their beginning.

        Raises:
            RuntimeError: the block has not ended.
        """
        if self.found is None:
            raise RuntimeError("Profiler didn't finish running")
        return self.found

    @property
    def function_events(self) -> EventList:
        """The events; see `events`."""
        return self.events()

    def key_averages(
        self,
        group_by_input_shape: bool = False,
        group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:
        """The sums of the events of each name; `.table()` prints them."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self) -> FunctionEventAvg:
        """The sum of all events."""
        return self.events().total_average()

    def table(self, *args: Any, **kwargs: Any) -> str:
        """A table of the events; see `EventList.table`."""
        return self.events().table(*args, **kwargs)

    def export_chrome_trace(self, path: object) -> None:
        """Write a Chrome trace, compressed if the name ends in .gz."""
        self.events().export_chrome_trace(path, self.metadata)

    def export_stacks(self, path: object, metric: str = "self_cpu_time_total") -> None:
        """Write the user's lines and the times for a flame graph; needs `with_stack=True`."""
        self.events().export_stacks(path, metric)

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all events, in microseconds."""
        return self.events().self_cpu_time_total

    def __str__(self) -> str:
        return "<unfinished torch.autograd.profile>" if self.found is None else str(self.found)


_REASON = "use torch.profiler.profile and its export_chrome_trace"
emit_nvtx = unavailable("torch.autograd.profiler.emit_nvtx", _REASON)
emit_itt = unavailable("torch.autograd.profiler.emit_itt", _REASON)
load_nvprof = unavailable("torch.autograd.profiler.load_nvprof", _REASON)
