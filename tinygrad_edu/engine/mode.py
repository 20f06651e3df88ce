"""What a thread's calls do besides computing: whether they are recorded, and who listens.

A thread's mode is one value that never changes.  Entering a block puts another one in its place,
leaving the block puts the former back: one assignment each, so that an interrupt finds either the
one or the other, never something between.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.graph import INFERENCE, Storage
from tinygrad_edu.engine.types import Call

if TYPE_CHECKING:
    from tinygrad_edu.engine.graph import Node
    from tinygrad_edu.engine.runs import Level

Recorder = Callable[..., "Node"]
"""`recorder(cls, plan, edges, kept, guards, shape, dtype)` makes the node of a call."""
Listener = Call
"""`listener(op, make, *args, **kwargs)` is told of a call and returns its result, as a rule by
`make(*args, **kwargs)`, which makes it."""
Around = Call
"""`around(step, node, kept, g)` returns the gradients of a node's inputs, as a rule by
`step(node, kept, g)`."""


class Mode:
    """What a thread's calls do besides computing.

    Attributes:
        enabled: whether calls are recorded.
        maker: makes the nodes of recorded calls; `operator.call` just makes them.
        recorder: `maker` while calls are recorded, else None.
        inference: results are for no later training: see `inference_mode`.
        listeners: who is told of each call before it is made, the first nearest to it.
        around: wrappers of a node's backward step, the first nearest to it.
        roots: the nodes that the present backward pass started from; empty outside of one.
        level: the run of a function under a transform of `torch.func`, if any (see runs.py).
        own: gives a new tensor's storage.
    """

    __slots__ = (
        "enabled", "recorder", "maker", "inference", "listeners", "around", "roots", "level",
        "own",
    )  # fmt: skip

    def __init__(self) -> None:
        self.enabled, self.inference = True, False
        self.maker: Recorder = operator.call
        self.recorder: Recorder | None = operator.call
        self.listeners: tuple[Listener, ...] = ()
        self.around: tuple[Around, ...] = ()
        self.roots: tuple[Node, ...] = ()
        self.level: Level | None = None
        self.own: Callable[[], Storage] = Storage

    def but(self, **changes: object) -> Mode:
        """This mode with some attributes changed; `recorder` and `own` follow from the others."""
        made = object.__new__(Mode)
        made.enabled, made.maker, made.inference = self.enabled, self.maker, self.inference
        made.listeners, made.around, made.roots = self.listeners, self.around, self.roots
        made.level = self.level
        for name, value in changes.items():
            setattr(made, name, value)
        made.recorder = made.maker if made.enabled else None
        inside = Storage if made.level is None else made.level.own
        made.own = _inference if made.inference else inside
        return made


def _inference() -> Storage:
    return INFERENCE


PLAIN = Mode()
"""Record, and tell nobody."""


class _State(threading.local):
    mode = PLAIN


state = _State()

listeners: list[Listener] = []
"""Who is told of every thread's calls, once for all: the 16-bit floats (half.py), when one is first
met.  They stand nearer to the call than the threads' own."""
around: list[Around] = []
"""The same of backward steps."""


def is_recording() -> bool:
    """Whether operations of this thread are recorded."""
    return state.mode.recorder is not None


def named_like(function: Call, call: Any) -> Any:
    """`call` with a code of its own that has the name of `function`.

    Tracebacks and profiles then say `mul`, not `call`; and Python, which adapts a code to what
    runs in it, adapts each operation's to that operation alone.
    """
    name = function.__name__
    code = call.__code__.replace(co_name=name, co_qualname=name)
    made = FunctionType(code, call.__globals__, name, call.__defaults__, call.__closure__)
    made.__kwdefaults__ = call.__kwdefaults__
    return made
