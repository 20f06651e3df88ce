"""What a profile is made of: a listener of calls and a wrapper of backward steps note the time.

Both are set in the thread's mode (engine/mode.py) while a profile records, and are not there at
any other time: a program that profiles nothing pays nothing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from tinygrad_edu.engine.boundary import is_ours
from tinygrad_edu.engine.composed import Composed
from tinygrad_edu.engine.graph import Node, TensorBase
from tinygrad_edu.engine.mode import Mode, state
from tinygrad_edu.engine.types import Call, Gradient
from tinygrad_edu.profiler.events import FunctionEvent

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive


F = TypeVar("F", bound=Callable[..., Any])


_OF_IMAGES = {"_conv": "conv{}d", "max_pool": "max_pool{}d", "max_pool_nd": "max_pool{}d"}
_NAMES = {"convolve": "_convolution", "convolve_input": "convolution_backward",
          "convolve_weight": "convolution_backward"}  # fmt: skip


def _aten(op: Any, args: Any) -> str:
    """What torch calls the operation."""
    if op.name in _OF_IMAGES:
        n = next((a.ndim for a in args if hasattr(a, "ndim")), 4) - 2
        return "aten::" + _OF_IMAGES[op.name].format(max(n, 1))
    return f"aten::{_NAMES.get(op.name, op.name)}"


class Recorder:
    """Notes what runs in the block that `on` makes of it.

    Args:
        shapes: note the shapes of the inputs.
        memory: note the bytes of the results.
        stack: note the user's lines that led to each call.
    """

    def __init__(self, shapes: bool, memory: bool, stack: bool) -> None:
        self.shapes, self.memory, self.stack = shapes, memory, stack
        self.events: list[FunctionEvent] = []
        self.open: list[FunctionEvent] = []

    def begin(self, name: str, inputs: object = (), scope: str = "cpu_op") -> FunctionEvent:
        """An event starts, inside of those that have not ended."""
        event = FunctionEvent(name, len(self.events), threading.get_native_id(), scope)
        if self.shapes:
            event.input_shapes = _shapes(inputs)
        if self.stack:
            event.stack = _stack()
        if self.open:
            event.cpu_parent = self.open[-1]
            event.cpu_parent.cpu_children.append(event)
        self.events.append(event)
        self.open.append(event)
        event.time_range.start = time.perf_counter_ns() / 1000
        return event

    def end(self, event: FunctionEvent, results: object = ()) -> None:
        """It ends, and with it all inside of it that an error has left open."""
        now = time.perf_counter_ns() / 1000
        while self.open:
            last = self.open.pop()
            last.time_range.end = now
            if last is event:
                break
        if self.memory:
            event.self_cpu_memory_usage += _bytes(results)

    def heard(self, op: Primitive, make: Call, *args: object, **kwargs: object) -> Any:
        """The listener: one event for each call; a function composed of operations, and the one of
        its own name in it, share theirs.  A step of training is no operation."""
        if isinstance(op, Composed) and op.autocast is None:
            return make(*args, **kwargs)
        name = _aten(op, args)
        new_memory = self.memory and not getattr(op, "view", True)
        if self.open and self.open[-1].name == name:
            result = make(*args, **kwargs)
            self.open[-1].self_cpu_memory_usage += _bytes(result) if new_memory else 0
            return result
        event, result = self.begin(name, args), ()
        try:
            result = make(*args, **kwargs)
            return result
        finally:
            self.end(event, result if new_memory else ())

    def stepped(self, step: Call, node: Node, kept: object, g: Gradient) -> Any:
        """The wrapper of backward steps: one event for each node."""
        event = self.begin(node.name(), (g,))
        found: Any = ()
        try:
            found = list(step(node, kept, g))
            return found
        finally:
            below = sum([child.cpu_memory_usage for child in event.cpu_children])
            self.end(event, [gx for _, gx in found if gx is not g])
            event.self_cpu_memory_usage = max(0, event.self_cpu_memory_usage - below)

    def added(self, mode: Mode) -> Mode:
        """That mode with this recorder in it."""
        return mode.but(
            listeners=(*mode.listeners, self.heard), around=(*mode.around, self.stepped)
        )

    def removed(self, mode: Mode) -> Mode:
        """That mode without it."""
        return mode.but(
            listeners=tuple([x for x in mode.listeners if x != self.heard]),
            around=tuple([x for x in mode.around if x != self.stepped]),
        )


def recorders() -> Iterator[Recorder]:
    """Those that record this thread."""
    for listener in state.mode.listeners:
        owner = getattr(listener, "__self__", None)
        if isinstance(owner, Recorder):
            yield owner


def _shapes(value: Any) -> list[Any]:
    """Of each argument its shape, an empty list for what is no tensor."""
    return [
        list(v.shape) if hasattr(v, "shape") else
        _shapes(v) if isinstance(v, (list, tuple)) and any([hasattr(t, "shape") for t in v]) else []
        for v in value
    ]  # fmt: skip


def _bytes(value: object) -> int:
    if isinstance(value, TensorBase):
        return int(value.array.nbytes)
    if isinstance(value, (list, tuple)):
        return sum([_bytes(part) for part in value])
    return int(getattr(value, "nbytes", 0))


def _stack() -> list[str]:
    found = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not is_ours(frame):
            code = frame.f_code
            found.append(f"{code.co_filename}({frame.f_lineno}): {code.co_name}")
        frame = frame.f_back
    return found


class record_function(contextlib.ContextDecorator):
    """A block, or a decorated function, that has a name of its own in profiles.

    >>> import tinygrad_edu as torch
    >>> with torch.profiler.profile() as prof:
    ...     with torch.profiler.record_function("forward"):
    ...         y = torch.ones(2) + 1
    >>> sorted([(e.key, e.count) for e in prof.key_averages()])
    [('aten::add', 1), ('forward', 1)]
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args
        self.begun: list[list[tuple[Recorder, FunctionEvent]]] = []

    def __enter__(self) -> record_function:
        here = [(r, r.begin(self.name, scope="user_annotation")) for r in recorders()]
        self.begun.append(here)
        return self

    def __exit__(self, *exc: object) -> None:
        for recorder, event in self.begun.pop():
            recorder.end(event)

    def _recreate_cm(self) -> record_function:
        return self
