"""`torch.profiler.profile`: when to record, and what to do with what was recorded."""

from __future__ import annotations

import contextlib
import enum
import json
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_edu import backend
from tinygrad_edu.names.settings import unavailable
from tinygrad_edu.profiler import legacy
from tinygrad_edu.profiler.events import EventList
from tinygrad_edu.profiler.recording import record_function


class ProfilerActivity(enum.Enum):
    """What is profiled: work of the processor, of a device."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(enum.Enum):
    """What to do during a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


def supported_activities() -> set[ProfilerActivity]:
    """The CPU: what is noted is the time of the host."""
    return {ProfilerActivity.CPU}


def schedule(
    *,
    wait: int,
    warmup: int,
    active: int,
    repeat: int = 0,
    skip_first: int = 0,
    skip_first_wait: int = 0,
) -> Callable[[int], ProfilerAction]:
    """A function that says of each step whether it is recorded.

    Args:
        wait, warmup, active: so many steps of a cycle are left out, left out as well, recorded.
        repeat: so many cycles; 0 for ever.
        skip_first: so many steps before the first cycle are left out.
        skip_first_wait: if not 0, the first cycle does not wait.

    >>> import tinygrad_edu as torch
    >>> when = torch.profiler.schedule(wait=1, warmup=1, active=1, repeat=1)
    >>> [when(step).name for step in range(4)]
    ['NONE', 'WARMUP', 'RECORD_AND_SAVE', 'NONE']
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise AssertionError("Invalid profiler schedule arguments")
    if warmup == 0:
        warnings.warn(
            "Profiler won't be using warmup, this can skew profiler results", stacklevel=2
        )

    def action(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        if step < skip_first:
            return ProfilerAction.NONE
        first = skip_first - wait if skip_first_wait else skip_first
        cycle, place = divmod(step - first, wait + warmup + active)
        if (repeat and cycle >= repeat) or place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        last = place == wait + warmup + active - 1
        return ProfilerAction.RECORD_AND_SAVE if last else ProfilerAction.RECORD

    return action


def tensorboard_trace_handler(
    dir_name: str,
    worker_name: str | None = None,
    use_gzip: bool = False,
    use_python_export: bool = False,
) -> Callable[[Any], None]:
    """An `on_trace_ready` that writes each trace into a folder, as a file of its own.

    Args:
        dir_name: the folder, made if it is not there.
        worker_name: which begins the file's name; the machine's name and the process by default.
        use_gzip: compress them.
        use_python_export: accepted.
    """

    def write(prof: Any) -> None:
        os.makedirs(dir_name, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        end = ".gz" if use_gzip else ""
        name = f"{worker}.{time.time_ns()}.pt.trace.json{end}"
        prof.export_chrome_trace(os.path.join(dir_name, name))

    return write


class profile(legacy.profile):
    """Records what the operations of the block take: time, calls, memory.

    Args:
        activities: accepted; what is noted is the host's time, so on a GPU that of the launches.
        schedule: which of the steps that `step()` ends are recorded; all by default.
        on_trace_ready: called with the profile at the end of each recorded cycle.
        record_shapes: note the shapes of inputs.
        profile_memory: note the bytes of results.  Unlike torch, memory that is freed is not noted.
        with_stack: note the user's lines that led to each call.
        acc_events: keep the events of all cycles, not only of the last one.
        with_flops, with_modules and the others: accepted, to no effect.

    Unlike torch, an operation is one event however many steps torch takes for it, tensors that no
    operation makes (`torch.ones`) have none, and only the thread that starts the profile is in it.

    >>> import tinygrad_edu as torch
    >>> w = torch.ones(3, requires_grad=True)
    >>> with torch.profiler.profile(record_shapes=True) as prof:
    ...     (w * 2).sum().backward()
    >>> [(e.name, e.input_shapes) for e in prof.events()][:2]
    [('aten::mul', [[3], []]), ('aten::sum', [[3]])]
    >>> [e.name for e in prof.events() if e.cpu_parent is None][2:]
    ['SumBackward0', 'MulBackward0']
    """

    def __init__(
        self,
        *,
        activities: Iterable[Any] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[..., Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        acc_events: bool = False,
        **accepted: Any,
    ) -> None:
        super().__init__(
            True, record_shapes=record_shapes, profile_memory=profile_memory,
            with_stack=with_stack, acc_events=acc_events, **accepted,
        )  # fmt: skip
        self.activities = supported_activities() if activities is None else set(activities)
        if not self.activities:
            raise AssertionError("No valid profiler activities found")
        if ProfilerActivity.CUDA in self.activities and backend.cupy_problem() is not None:
            warnings.warn("CUDA is not available, disabling CUDA profiling", stacklevel=2)
        self.schedule, self.on_trace_ready = schedule, on_trace_ready
        self.step_num = 0
        self.current_action = self._action()
        self.in_step = contextlib.ExitStack()

    def _action(self) -> ProfilerAction:
        return ProfilerAction.RECORD if self.schedule is None else self.schedule(self.step_num)

    def start(self) -> None:
        """A step begins."""
        if self.current_action in _RECORDING:
            if not self.recorder.running:
                self.start_trace()
            if self.schedule is not None:
                self.in_step.enter_context(record_function(f"ProfilerStep#{self.step_num}"))

    def step(self) -> None:
        """The next step begins."""
        self.in_step.close()
        before = self.current_action
        self.step_num += 1
        self.current_action = self._action()
        if before is ProfilerAction.RECORD_AND_SAVE:
            self.stop()
        elif self.current_action not in _RECORDING:
            self.stop_trace()
        self.start()

    def stop(self) -> None:
        """A step ends, and with it the recording, if there is one."""
        self.in_step.close()
        if self.recorder.running:
            self.stop_trace()
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)

    def toggle_collection_dynamic(self, enable: bool, activities: Iterable[Any]) -> None:
        """Go on without recording, or with it."""
        if self.recorder.running:
            self.recorder.listen(enable)

    def events(self) -> EventList:
        """The events, in the order of their beginning.

        Raises:
            AssertionError: nothing has been recorded.
        """
        if self.found is None:
            raise AssertionError("Profiler must be initialized before getting events")
        return self.found

    def add_metadata(self, key: str, value: str) -> None:
        """A text that is written into the Chrome trace."""
        self.metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """A text in JSON that is written into the Chrome trace."""
        self.metadata[key] = json.loads(value)

    preset_metadata_json = add_metadata_json

    export_memory_timeline = unavailable(
        "profile.export_memory_timeline", "only the bytes of results are noted: profile_memory=True"
    )


ExecutionTraceObserver = unavailable(
    "torch.profiler.ExecutionTraceObserver", "export_chrome_trace writes what was recorded"
)
