"""`torch.autograd.profiler`: the older way to profile, whose events are all there is."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.names.settings import unavailable
from tinygrad_edu.profiler.events import EventList, FunctionEvent, FunctionEventAvg
from tinygrad_edu.profiler.profiler import Window
from tinygrad_edu.profiler.recording import record_function

__all__ = [
    "EventList", "FunctionEvent", "FunctionEventAvg", "emit_itt", "emit_nvtx", "load_nvprof",
    "profile", "record_function",
]  # fmt: skip


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
        use_cuda: bool = False,
        use_device: str | None = None,
        record_shapes: bool = False,
        with_flops: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_modules: bool = False,
        use_kineto: bool = False,
        use_cpu: bool = True,
        experimental_config: Any = None,
        acc_events: bool = False,
        custom_trace_id_callback: Any = None,
        post_processing_timeout_s: float | None = None,
        activity_filters: Any = None,
    ) -> None:
        self.enabled, self.profile_memory = enabled, profile_memory
        self.window = Window(record_shapes, profile_memory, with_stack)
        self.found: EventList | None = None

    def __enter__(self) -> profile:
        if self.enabled:
            self.window.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.enabled:
            self.window.stop()
            self.found = EventList(self.window.recorder.events, memory=self.profile_memory)

    @property
    def function_events(self) -> EventList:
        """The events.

        Raises:
            RuntimeError: the block has not ended.
        """
        if self.found is None:
            raise RuntimeError("Profiler didn't finish running")
        return self.found

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0
    ) -> EventList:
        """The sums of the events of each name."""
        return self.function_events.key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self) -> FunctionEventAvg:
        """The sum of all events."""
        return self.function_events.total_average()

    def table(self, *args: Any, **kwargs: Any) -> str:
        """A table of the events; see `EventList.table`."""
        return self.function_events.table(*args, **kwargs)

    def export_chrome_trace(self, path: object) -> None:
        """Write a Chrome trace."""
        self.function_events.export_chrome_trace(path)

    def export_stacks(self, path: object, metric: str = "self_cpu_time_total") -> None:
        """Write the user's lines and the times for a flame graph; needs `with_stack=True`."""
        self.function_events.export_stacks(path, metric)

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all events, in microseconds."""
        return self.function_events.self_cpu_time_total

    def __str__(self) -> str:
        return "<unfinished torch.autograd.profile>" if self.found is None else str(self.found)


_REASON = "use torch.profiler.profile and its export_chrome_trace"
emit_nvtx = unavailable("torch.autograd.profiler.emit_nvtx", _REASON)
emit_itt = unavailable("torch.autograd.profiler.emit_itt", _REASON)
load_nvprof = unavailable("torch.autograd.profiler.load_nvprof", _REASON)
