"""`torch.profiler`: how long operations take, how often they are called, what memory they fill.

`recording` notes events at two of the engine's seams, `events` sums them up, `table` prints them;
`legacy`, `torch.autograd.profiler`, records a block, and `profiler` the steps of a schedule.
"""

from tinygrad_edu.profiler.profiler import (
    ExecutionTraceObserver,
    ProfilerAction,
    ProfilerActivity,
    profile,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)
from tinygrad_edu.profiler.recording import record_function

__all__ = [
    "ExecutionTraceObserver", "ProfilerAction", "ProfilerActivity", "kineto_available", "profile",
    "record_function", "schedule", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip


def kineto_available() -> bool:
    """False: events are noted by the engine itself."""
    return False
