"""`torch.profiler`: importable; nothing is profiled."""

from __future__ import annotations

import contextlib
from typing import Any

from tinygrad_edu.names.settings import unavailable

_REASON = "every operation is one Python call: use cProfile, or py-spy"
profile = unavailable("torch.profiler.profile", _REASON)
schedule = unavailable("torch.profiler.schedule", _REASON)
tensorboard_trace_handler = unavailable("torch.profiler.tensorboard_trace_handler", _REASON)


class record_function(contextlib.ContextDecorator):
    """A block with a name, to no effect.

    >>> import tinygrad_edu as torch
    >>> with torch.profiler.record_function("forward"): print("run")
    run
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class ProfilerActivity:
    """What could be profiled."""

    CPU: Any = "CPU"
    CUDA: Any = "CUDA"
