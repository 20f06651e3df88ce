"""What `torch.compile` returns: a function that looks twice, and then replays.

The first call with some signature runs the function as it is, and is watched; behind it is written
down what it depends on.  The second, if that still holds, is recorded.  From the third on the
recording is replayed, while its guards hold.  What cannot be recorded runs as it is, always.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from operator import attrgetter
from operator import call as just_make
from typing import Any

import numpy as np

from tinygrad_edu import random
from tinygrad_edu.compiler.capture import Recorder
from tinygrad_edu.compiler.guards import State, Wrapper
from tinygrad_edu.compiler.watch import SIMPLE, Refused, Watch, inside, is_ours, refuse
from tinygrad_edu.dtypes import get_default_dtype, is_half
from tinygrad_edu.engine.graph import INFERENCE, TensorBase
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.record import current_node
from tinygrad_edu.names.backends.mha import get_fastpath_enabled
from tinygrad_edu.nn.modules.hooks import everywhere

_LOOKS = 16  # so many calls may be watched before what is not recorded yet just runs
_arrays = attrgetter("array")


class Unsupported(RuntimeError):
    """With `fullgraph=True`: the function cannot be recorded."""


class Recording:
    """What is known of calls that find the program in some state: that, and then a recording.

    Attributes:
        codes: the code that ran at the first look.
        state: what must be as it was; None if nothing is known to change the reason.
        reason: why the function runs as it is; empty if it does not, or may not from now on.
        source, used, program: the recording, and the tensors from outside that it is given.
        begun: it has handed out gradients, and cannot be begun anew.
    """

    state: Any = None
    program: Any = None
    used: Sequence[Any] = ()
    reason, source, begun = "", "", False

    def __init__(self, codes: Any) -> None:
        self.codes = codes


class Compiled(Wrapper):
    """A function or module that records itself.

    Args:
        function: what to call.
        fullgraph: raise where it cannot be recorded.

    Attributes:
        known: by signature, what has been seen.
        looks: how many calls were watched.
    """

    def __init__(self, function: Any, fullgraph: bool = False) -> None:
        self.function, self.fullgraph = function, fullgraph
        self.known: dict[Any, list[Any]] = {}
        self.looks = 0
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mode = state.mode
        if mode.listeners or mode.around or mode.level is not None or mode.maker is not just_make:
            return self.function(*args, **kwargs)
        given: list[Any] = []
        try:
            key = (mode.enabled, mode.inference, get_default_dtype(), get_fastpath_enabled(),
                   sign(args, given), sign(kwargs, given) if kwargs else None)  # fmt: skip
        except Refused as unseen:
            return self.plain(str(unseen), args, kwargs)
        seen = () if everywhere else self.known.get(key, ())
        found = next((s for s in seen if s.state is None or s.state.holds()), None)
        if found is not None and found.reason:
            return self.plain(found.reason, args, kwargs)
        if found is not None and found.program is not None:
            return self.replay(found, given, args, kwargs)
        if self.looks >= _LOOKS or everywhere:
            return self.plain("it was called in too many ways", args, kwargs)
        return self.look(found, key, given, args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> Any:
        return Compiled, (self.function, self.fullgraph)

    def plain(self, reason: str, args: Any, kwargs: Any) -> Any:
        """Run the function as it is; with `fullgraph`, say why that is not possible."""
        if self.fullgraph:
            raise Unsupported(f"torch.compile with fullgraph=True cannot record this: {reason}")
        return self.function(*args, **kwargs)

    def replay(self, found: Recording, given: list[Any], args: Any, kwargs: Any) -> Any:
        """Run a recording; where it raises, the function, for its own error."""
        found.begun = False
        given = [*given, *found.used]
        try:
            return found.program(given, *map(_arrays, given))
        except Exception as problem:
            if found.begun:
                raise
            reached = random.default_generator.get_state_bytes()
            try:
                answer = self.function(*args, **kwargs)
            except Exception:  # what it has drawn, the replay had drawn before
                random.default_generator.set_state_bytes(reached)
                raise
            found.reason = f"its replay raised what the function does not: {_told(problem)}"
            return answer

    def look(self, first: Any, key: Any, given: list[Any], args: Any, kwargs: Any) -> Any:
        """Run the function, watched; if it is as at a `first` look, record it."""
        self.looks += 1
        watch = Watch()
        recorder = Recorder(watch, given, first.state.tensors) if first else Recorder(watch)
        with inside(state.mode.but(listeners=(recorder.heard,))), watch:
            answer = self.function(*args, **kwargs)
        found = first or Recording(watch.codes)
        try:
            if first is None:
                found.state = State(self.function, watch)
            refuse(watch.problem, str(watch.problem))
            new = watch.codes.keys() - found.codes.keys()
            refuse(new, "two equal calls took different ways")
            refuse(
                first and not first.state.holds(), "the run changes something that it depends on"
            )
            if first is not None:
                recorder.writer.names["recording"] = found
                found.source, found.used, found.program = recorder.finish(answer)
        except Exception as problem:  # whatever it is, the function's own answer stands
            found.reason = watch.problem or _told(problem)
        if first is None:
            self.known.setdefault(key, []).append(found)
        if self.fullgraph and found.reason:
            return self.plain(found.reason, args, kwargs)
        return answer


def _told(problem: Exception) -> str:
    """The reason, if it is one of ours; of another error its type as well."""
    ours = isinstance(problem, Refused)
    return str(problem) if ours else f"{type(problem).__name__}: {problem}"


def sign(value: Any, given: list[Any]) -> Any:
    """A description of an argument by which equal calls are known; its tensors go to `given`."""
    if isinstance(value, TensorBase):
        for i, t in enumerate(given):
            if t is value:
                return i
            if t.array is value.array or (t.node is not None and t.node is value.node):
                raise Refused("two arguments are one array")
        given.append(value)
        x, kind = value.array, value.__class__
        strange = not isinstance(x, np.ndarray) or is_half(x.dtype)
        strange = strange or not is_ours({"__name__": kind.__module__})
        refuse(strange, "an argument is on a GPU, in 16 bits, or of a class of one's own")
        free = current_node(value) is None
        return x.shape, x.dtype.num, x.strides, free, value._storage is INFERENCE, kind
    kind = type(value)
    if kind in SIMPLE:
        return kind, repr(value)  # -0.0 is not 0.0, and nan is nan
    if kind is tuple or kind is list:
        return (kind, *[sign(part, given) for part in value])
    if kind is dict:
        return (kind, *[(sign(k, given), sign(v, given)) for k, v in value.items()])
    raise Refused(f"an argument is a {kind.__name__}")
