"""What a profile is made of: a listener of calls and a wrapper of backward steps note the time.

Both are set in the thread's mode (engine/mode.py) while a profile records, and are not there at
any other time: a program that profiles nothing pays nothing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.boundary import is_ours
from tinygrad_edu.engine.composed import Composed
from tinygrad_edu.engine.graph import Node
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.tree import flatten
from tinygrad_edu.engine.types import Call, Gradient
from tinygrad_edu.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from tinygrad_edu.profiler.events import FunctionEvent

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive
    from tinygrad_edu.optim.optimizer import Optimizer


_NAMES = {"_conv": "conv{}d", "max_pool": "max_pool{}d", "max_pool_nd": "max_pool{}d",
          "convolve": "_convolution", "convolve_input": "convolution_backward",
          "convolve_weight": "convolution_backward"}  # fmt: skip


def _aten(op: Any, args: Any) -> str:
    """What torch calls the operation."""
    if op.name not in _NAMES:
        return f"aten::{op.name}"
    images = next((a.ndim for a in args if hasattr(a, "ndim")), 4) - 2
    return f"aten::{_NAMES[op.name].format(max(images, 1))}"


class Recorder:
    """Notes what its thread does between `start` and `stop`.

    Args:
        shapes: note the shapes of the inputs.
        memory: note the bytes of the results.
        stack: note the user's lines that led to each call.
    """

    def __init__(self, shapes: bool, memory: bool, stack: bool) -> None:
        self.shapes, self.memory, self.stack = shapes, memory, stack
        self.events: list[FunctionEvent] = []
        self.open: list[FunctionEvent] = []
        self.running = False

    def start(self) -> None:
        """From now on what this thread does is noted."""
        before, self.running = state.mode, True
        self.handles = (
            register_optimizer_step_pre_hook(self._step_begins),
            register_optimizer_step_post_hook(self._step_ends),
        )
        self.listen(True)
        self.modes = before, state.mode

    def stop(self) -> None:
        """No longer; what is open ends."""
        before, inside = self.modes
        if state.mode is inside:
            state.mode = before
        else:
            self.listen(False)
        for handle in self.handles:
            handle.remove()
        if self.open:
            self.end(self.open[0])
        self.running = False
        del self.modes  # which hold this recorder

    def listen(self, on: bool) -> None:
        """Be in this thread's mode, or not."""
        listeners = [x for x in state.mode.listeners if x != self.heard]
        around = [x for x in state.mode.around if x != self.stepped]
        if on:
            listeners.append(self.heard)
            around.append(self.stepped)
        state.mode = state.mode.but(listeners=tuple(listeners), around=tuple(around))

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

    def end(self, event: FunctionEvent) -> None:
        """It ends, and with it all inside of it that an error has left open."""
        now = time.perf_counter_ns() / 1000
        while self.open:
            last = self.open.pop()
            last.time_range.end = now
            if last is event:
                break

    def heard(self, op: Primitive, make: Call, *args: object, **kwargs: object) -> Any:
        """The listener: one event for each call; a function composed of operations, and the one of
        its own name in it, share theirs.  A step of training is no operation."""
        if isinstance(op, Composed) and op.autocast is None:
            return make(*args, **kwargs)
        name = _aten(op, args)
        shared = bool(self.open) and self.open[-1].name == name
        event = self.open[-1] if shared else self.begin(name, args)
        try:
            result = make(*args, **kwargs)
            if self.memory and not getattr(op, "view", True):
                event.self_cpu_memory_usage += _bytes(result)
            return result
        finally:
            if not shared:
                self.end(event)

    def stepped(self, step: Call, node: Node, kept: object, g: Gradient) -> Any:
        """The wrapper of backward steps: one event for each node."""
        event = self.begin(node.name(), (g,))
        try:
            found: Any = list(step(node, kept, g))
            if self.memory:
                below = sum([child.cpu_memory_usage for child in event.cpu_children])
                new = _bytes([gx for _, gx in found if gx is not g])
                event.self_cpu_memory_usage = max(0, new - below)
            return found
        finally:
            self.end(event)

    def _step_begins(self, optimizer: Optimizer, *args: object) -> None:
        if self in recorders():
            self.begin(f"{_STEP}{type(optimizer).__name__}.step", scope="user_annotation")

    def _step_ends(self, *args: object) -> None:
        steps = [event for event in self.open if event.name.startswith(_STEP)]
        if steps and self in recorders():
            self.end(steps[-1])


_STEP = "Optimizer.step#"


def recorders() -> list[Recorder]:
    """Those that record this thread."""
    owners = [getattr(listener, "__self__", None) for listener in state.mode.listeners]
    return [owner for owner in owners if isinstance(owner, Recorder)]


def _shapes(value: Any) -> list[Any]:
    """Of each argument its shape, an empty list for what is no tensor."""
    return [
        list(v.shape) if hasattr(v, "shape") else
        _shapes(v) if isinstance(v, (list, tuple)) and any([hasattr(t, "shape") for t in v]) else []
        for v in value
    ]  # fmt: skip


def _bytes(value: object) -> int:
    return sum([int(getattr(part, "nbytes", 0)) for part in flatten(value)])


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
