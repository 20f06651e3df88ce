"""What the tape is made of: variables, the nodes that made them, and the storage they share.

A variable points to the node that made it; a node points to the nodes of its inputs and to the
arrays its derivative rules need.  Nodes never point to variables, so there are no cycles, and the
graph dies by reference count as soon as the last variable of it does.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from tinygrad_edu.dtypes import Array, NumpyDtype
from tinygrad_edu.engine.types import Values

if TYPE_CHECKING:
    from tinygrad_edu.engine.hooks import AfterAccumulate, Hooks
    from tinygrad_edu.engine.primitive import Plan
    from tinygrad_edu.engine.views import Step, View
    from tinygrad_edu.tensor import Tensor

clock = itertools.count(1).__next__
"""Ticks once for every node made and every in-place write, so that any two can be ordered."""


class Storage:
    """The memory that a tensor, its views and its detached twins share.

    `written` is the tick of the last in-place write, `version` how many there were.  A node that
    finds a kept array written after the node was made must not use it.
    """

    version = 0
    written = 0

    def write(self) -> None:
        """Note an in-place write."""
        self.version += 1
        self.written = clock()


INFERENCE = Storage()
"""The storage of all tensors made under `inference_mode`: nobody tracks their versions."""


class TensorBase:
    """What the tape knows of a tensor: an array, its gradient, and the node that made it.

    Ask `current_node(t)` (record.py) rather than `t.node`: a view may be behind its base.
    """

    results: ClassVar[Any]
    """The class of results: tensor.py puts it here, being the one that imports the operations."""

    array: Array
    _storage: Storage
    node: Node | None = None
    _grad: Tensor | None = None
    leaf: Leaf | None = None
    """Its end of the paths, made when it first requires grad and kept for life.  It is also its
    `node` while it requires grad, unless it was computed from others."""
    view_of: View | None = None
    """How it was cut from another tensor's memory, if it was (see views.py)."""
    plain = False
    """It is known to be no view, to lie in C order, and not to come of inference mode.  Who gives a
    tensor another array, or makes it a view, takes that back."""
    rebased = 0
    """How often an in-place write has given this tensor a new history (see inplace.py)."""
    turns: dict[int, tuple[Step, bool]] | None = None
    """Which of those came of another shape, as by `unsqueeze_`: the step back, was it recorded."""


class Node:
    """One recorded operation.

    Attributes:
        number: its place in the order of creation; a node is younger than all its inputs.
        plan: which rules to run on the way back, and what they need.
        edges: the nodes of the inputs, None for an input that needs no gradient.
        kept: the arrays and values the rules need, behind them the shapes; None once freed.
        guards: for each kept array the storage it lives in, to notice later writes.
        shape, dtype: of the output, hence of its gradient.
        hooks: functions of the gradient, run once it is complete (see hooks.py).
        parts: how many outputs the operation has, if it returned a tuple.
        whole, index: of the node of one such output, the operation's node and its place.

    Each operation's nodes are of a class of their own, made in nodes.py, which says of them what
    torch says.
    """

    is_leaf = False
    hooks: Hooks | None = None
    parts = 0
    whole: Node | None = None
    index = 0

    def __init__(
        self,
        plan: Plan,
        edges: tuple[Node | None, ...],
        kept: Values,
        guards: Values,
        shape: tuple[int, ...],
        dtype: NumpyDtype,
    ) -> None:
        if INFERENCE in guards:
            raise self.refused("inference")
        self.number = clock()
        self.plan = plan
        self.edges = edges
        self.kept: Values | None = kept
        self.guards = guards
        self.shape = shape
        self.dtype = dtype

    def name(self) -> str:
        """What it is called in messages and pictures."""
        return type(self).__name__

    def part(self, index: int, shape: tuple[int, ...], dtype: NumpyDtype) -> Part:
        """The node of one of its outputs."""
        return Part(self, index, shape, dtype)

    def refused(self, why: str) -> Exception:
        """The error for a node that cannot be made, or run backward: see nodes.py."""
        return RuntimeError(f"{self.name()}: {why}")

    def check_versions(self) -> None:
        """Raise, for something that it keeps was written since."""
        raise self.refused("modified")


class Part(Node):
    """One output of an operation that has several; hands its gradient to the operation's node."""

    whole: Node

    def __init__(self, whole: Node, index: int, shape: tuple[int, ...], dtype: NumpyDtype) -> None:
        super().__init__(whole.plan, (whole,), (), (), shape, dtype)
        self.whole, self.index = whole, index


class Leaf(Node):
    """The end of a path: adds the gradient that arrives to its tensor's `.grad`.

    It knows its tensor only weakly, and skips one that is gone or no longer requires grad.
    """

    is_leaf = True
    after_accumulate: AfterAccumulate | None = None
    """Functions of the tensor, run when its `.grad` has been added to (see hooks.py)."""
    lock = threading.RLock()
    """Held while adding to a `.grad`, for threads may run backward through the same leaves."""

    def __init__(self, tensor: Tensor) -> None:
        self.number = clock()
        self.edges = self.kept = self.guards = ()
        self.tensor = weakref.ref(tensor)
        tensor.leaf = self

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        tensor = self.tensor()
        return () if tensor is None else tensor.array.shape

    @property
    def dtype(self) -> NumpyDtype | None:  # type: ignore[override]
        tensor = self.tensor()
        return None if tensor is None else tensor.array.dtype
