"""Hooks: functions of a gradient, run by the walk when it is complete."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tinygrad_edu.engine.graph import Node, Variable
from tinygrad_edu.engine.record import wrap

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
        self._hooks = hooks
        hooks[self.id] = hook
        if prepend:
            hooks.move_to_end(self.id, last=False)

    def remove(self) -> None:
        """Unregister; a second call does nothing."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class Hooks:
    """The hooks of one node.

    Attributes:
        functions: what `register_hook` was given, by the number of its handle.
        retain: fills `.grad` of a tensor that is no leaf, after all others.
    """

    def __init__(self) -> None:
        self.functions: OrderedDict[int, Callable[[Any], Any]] = OrderedDict()
        self.retain: Callable[[Any], Any] | None = None

    def run(self, g: Any, create: bool) -> Any:
        """The gradient as the hooks leave it; `retain` sees that."""
        last = [] if self.retain is None else [self.retain]
        for hook in [*self.functions.values(), *last]:
            before = g if create else wrap(g)
            result = check_hook(hook, hook(before), before)
            if result is not None:
                g = result if create else result.array
        return g

    def follow(self, node: Node) -> None:
        """`retain_grad` is about the tensor as it is now: that hook goes along to the new node."""
        if self.retain is not None:
            hooks_of(node).retain, self.retain = self.retain, None


def hooks_of(node: Node) -> Hooks:
    """The node's hooks, to add to."""
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks


def on_gradient(node: Node, hook: Callable[[Any], Any]) -> RemovableHandle:
    """Call `hook(gradient)` when the gradient of this node's output is complete."""
    return RemovableHandle(hooks_of(node).functions, hook)


class AfterAccumulate:
    """Those who wait for a leaf's `.grad` to be added to."""

    def __init__(self) -> None:
        self.functions: OrderedDict[int, Callable[[Any], None]] = OrderedDict()

    def run(self, tensor: Any) -> None:
        """Tell them that it was."""
        for hook in [*self.functions.values()]:
            check_hook(hook, hook(tensor), None)


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
