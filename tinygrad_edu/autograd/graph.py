"""What the tape is made of: variables, the nodes that made them, and the storage they share.

A variable points to the node that made it; a node points to the nodes of its inputs and to the
arrays its derivative rules need.  Nodes never point to variables, so there are no cycles, and the
graph dies by reference count as soon as the last variable of it does.
"""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tinygrad_edu.dtypes import Array, NumpyDtype

if TYPE_CHECKING:
    from tinygrad_edu.autograd.primitive import Plan
    from tinygrad_edu.tensor import Tensor

Result = TypeVar("Result")

clock = itertools.count(1).__next__
"""Ticks once for every node made and every in-place write, so that any two can be ordered."""


Step = tuple[Callable[..., Any], Sequence[Any], int | None]
"""A view operation, its arguments, and which of its results if there are several."""


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


class Variable:
    """What the tape knows of a tensor: an array, its gradient, and the node that made it."""

    array: Array
    storage: Storage
    node: Node | None = None
    _grad: Tensor | None = None
    base: Tensor | None = None
    """The tensor this one is a view of, or None."""
    rebased = 0
    """How often an in-place write has given this tensor a new history (see inplace.py)."""
    path: tuple[Step, ...] = ()
    """For a view: the view operations that lead to it from its base, with their arguments."""
    turns: Mapping[int, Step] = {}
    """Which of those histories came of another shape, as by `unsqueeze_`, and the step back."""
    made_without_grad = False
    """For a view: it was made while recording was off."""
    leaf: Leaf | None = None
    """Its end of the paths, made when it first asks for a gradient and kept for life.  It is also
    its `node` while it asks for one, unless it was computed from others."""


class Node:
    """One recorded operation.

    Attributes:
        number: its place in the order of creation; a node is younger than all its inputs.
        plan: which rules to run on the way back, and what they need.
        edges: the nodes of the inputs, None for an input that needs no gradient.
        kept: the arrays and values the rules need, behind them the shapes; None once freed.
        guards: for each kept array the storage it lives in, to notice later writes.
        shape, dtype: of the output, hence of its gradient.
        hooks: functions of the gradient, run once it is complete.
    """

    is_leaf = False
    hooks: OrderedDict[int, Callable[[Any], Any]] | None = None
    title: str | None = None
    """torch's name for it, if that is of the operation that called the one recorded."""
    parts = 0
    """How many outputs the operation has, if it returned a tuple."""

    def __init__(
        self,
        plan: Plan,
        edges: tuple[Node | None, ...],
        kept: tuple[Any, ...],
        guards: tuple[Storage | None, ...],
        shape: tuple[int, ...],
        dtype: NumpyDtype,
    ) -> None:
        if INFERENCE in guards:
            raise RuntimeError(
                "Inference tensors cannot be saved for backward. Please do not use Tensors created"
                " in inference mode in computation tracked by autograd. To work around this, you"
                " can make a clone to get a normal tensor and use it in autograd, or use"
                " `torch.no_grad()` instead of `torch.inference_mode()`."
            )
        self.number = clock()
        self.plan = plan
        self.edges = edges
        self.kept: tuple[Any, ...] | None = kept
        self.guards = guards
        self.shape = shape
        self.dtype = dtype

    def name(self) -> str:
        """torch's name for it: `MulBackward0`."""
        from tinygrad_edu.autograd.naming import name_of

        return self.title or name_of(self)

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The nodes of the inputs, each with the index of the output it stands for."""
        return tuple((edge, edge.index if edge is not None else 0) for edge in self.edges)

    @property
    def index(self) -> int:
        """Which of its operation's outputs this node stands for."""
        return 0

    def hook_table(self) -> OrderedDict[int, Callable[[Any], Any]]:
        """Its hooks by the number of their handle, as a dictionary to add to."""
        if self.hooks is None:
            self.hooks = OrderedDict()
        return self.hooks

    def on_gradient(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call `hook(gradient)` when the gradient of this node's output is complete."""
        return RemovableHandle(self.hook_table(), hook)

    def register_prehook(self, fn: Callable[[tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call `fn((gradient,))` at that time; it returns None or such a tuple."""

        def hook(g: Any) -> Any:
            result = fn((g,))
            return result if result is None else result[0]

        return self.on_gradient(hook)

    def register_hook(self, fn: Callable[[Any, Any], Any]) -> RemovableHandle:
        """Raises NotImplementedError: inputs' gradients are seen by hooks on the inputs."""
        raise NotImplementedError(
            "register_hook of a node is not supported: use its register_prehook, or register_hook"
            " of the tensors"
        )

    def __repr__(self) -> str:
        return f"<{self.name().rpartition(':')[2]} object at {id(self):#x}>"


def entitle(result: Result, title: str) -> Result:
    """The result of an operation; its node, if it has one, is called by the name of another."""
    node = getattr(result, "node", None)
    if node is not None:
        node.title = title
    return result


class Part(Node):
    """One output of an operation that has several; hands its gradient to the operation's node."""

    def __init__(self, whole: Node, index: int, shape: tuple[int, ...], dtype: NumpyDtype) -> None:
        super().__init__(whole.plan, (whole,), (), (), shape, dtype)
        self._index = index

    @property
    def index(self) -> int:
        return self._index

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        whole = self.edges[0]
        assert whole is not None
        return whole.next_functions


class Leaf(Node):
    """The end of a path: adds the gradient that arrives to its tensor's `.grad`.

    It knows its tensor only weakly, and skips one that no longer exists or asks for no gradient.
    """

    is_leaf = True
    after_accumulate: OrderedDict[int, Callable[[Tensor], None]] | None = None

    def __init__(self, tensor: Tensor) -> None:
        self.number = clock()
        self.edges = ()
        self.kept = ()
        self.tensor = weakref.ref(tensor)
        tensor.leaf = self

    @property
    def variable(self) -> Tensor | None:
        """The tensor, while it lives."""
        return self.tensor()

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        tensor = self.tensor()
        return () if tensor is None else tensor.array.shape

    @property
    def dtype(self) -> NumpyDtype | None:  # type: ignore[override]
        tensor = self.tensor()
        return None if tensor is None else tensor.array.dtype

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"


RETAIN_GRAD = 0
"""The key, among the hooks of a node, of the one that fills `.grad` after all others."""
_next_handle = itertools.count(1).__next__


class RemovableHandle:
    """Takes back the hook that it was returned for; as a context manager, when the block ends.

    >>> import tinygrad_edu as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> handle = x.register_hook(print)
    >>> handle.remove()
    """

    def __init__(self, hooks: OrderedDict[int, Any], hook: Any, *, prepend: bool = False) -> None:
        self.id = _next_handle()
        while self.id in hooks:  # they were unpickled, with the numbers of another process
            self.id = _next_handle()
        self._hooks = weakref.ref(hooks)  # a handle that is kept keeps nobody's module alive
        hooks[self.id] = hook
        if prepend:
            hooks.move_to_end(self.id, last=False)

    def remove(self) -> None:
        """Unregister; a second call does nothing."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __getstate__(self) -> tuple[OrderedDict[int, Any] | None, int]:
        return self._hooks(), self.id

    def __setstate__(self, state: tuple[OrderedDict[int, Any] | None, int]) -> None:
        hooks, self.id = state
        self._hooks = weakref.ref(OrderedDict() if hooks is None else hooks)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def check_hook(hook: Any, result: Any, before: Any) -> Any:
    """What a hook returned, if it is None or a gradient like the one `before`.

    Raises:
        TypeError: it is no tensor.
        RuntimeError: its shape or its dtype is another one.
    """
    if result is None:
        return None
    if not isinstance(result, Variable) or before is None:
        raise TypeError(f"expected Variable, but hook returned '{type(result).__name__}'")
    name = getattr(hook, "__name__", type(hook).__name__)
    if result.array.dtype != before.array.dtype:
        raise RuntimeError(
            f"hook '{name}' has changed the type of value (was {before.type()} got {result.type()})"  # type: ignore[attr-defined]
        )
    if result.array.shape != before.array.shape:
        raise RuntimeError(f"hook '{name}' has changed the size of value")
    return result
