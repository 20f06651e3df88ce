"""Hooks: functions of a gradient, run by the walk when it is complete."""

from __future__ import annotations

import itertools
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.graph import Leaf, Node, TensorBase, clock
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.types import Gradient, Values
from tinygrad_edu.engine.walk import unbroadcast

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


_next_handle = itertools.count().__next__


class RemovableHandle:
    """Removes the hook it was returned for; as a context manager, at the end of the block.

    >>> import tinygrad_edu as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> handle = x.register_hook(print)
    >>> handle.remove()
    """

    def __init__(self, hooks: OrderedDict[int, Any], hook: Any, *, prepend: bool = False) -> None:
        self.id = _next_handle()
        while self.id in hooks:  # they were unpickled, with the numbers of another process
            self.id = _next_handle()
        self._hooks = weakref.ref(hooks)  # a handle does not keep a module alive
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


class Hooks:
    """The hooks of one node, in the order in which they run.

    Attributes:
        functions: what `register_hook` of its tensor was given, by the number of its handle.
        retain: fills `.grad` of a tensor that is not a leaf.
        before, after: what `register_prehook` and `register_hook` of the node were given.
    """

    def __init__(self) -> None:
        self.functions: OrderedDict[int, Callable[[Any], Any]] = OrderedDict()
        self.retain: Callable[[Any], Any] | None = None
        self.before: OrderedDict[int, Callable[[Any], Any]] = OrderedDict()
        self.after: OrderedDict[int, Callable[[Any, Any], Any]] = OrderedDict()

    def arrived(self, g: Gradient, create: bool) -> Any:
        """The gradient of the node's output (of several, a list) as the hooks leave it."""
        last = [] if self.retain is None else [self.retain]
        for hook in [*self.functions.values(), *last]:
            g = _changed(hook, (_tensor(g, create),), g, create)
        for pre_hook in [*self.before.values()]:
            several = isinstance(g, list)
            gs = tuple([_tensor(part, create) for part in (g if several else [g])])
            found = pre_hook(gs)
            if found is None:
                continue
            found = found if isinstance(found, (tuple, list)) else (found,)
            changed = [_plain(check_hook(pre_hook, x, y), y, create)
                       for x, y in zip(found, gs, strict=True)]  # fmt: skip
            g = changed if several else changed[0]
        return g

    def handed_on(self, node: Node, found: Any, g: Gradient, create: bool) -> Any:
        """The gradients of the inputs as the node's own hooks leave them."""
        if not self.after:
            return found
        inputs: list[Any] = [None] * len(node.edges)
        for i, gx in found:
            edge = node.edges[i] if i < len(node.edges) else None
            if edge is not None and gx is not None:
                inputs[i] = _tensor(unbroadcast(gx, edge.shape), create)
        outputs = tuple([_tensor(part, create) for part in (g if isinstance(g, list) else [g])])
        for hook in [*self.after.values()]:
            changed = hook(tuple(inputs), outputs)
            if changed is not None:
                inputs = _changed_inputs(hook, changed, inputs)
        return [(i, gx if gx is None or create else gx.array) for i, gx in enumerate(inputs)]

    def follow(self, node: Node) -> None:
        """`retain_grad` is about the tensor as it is now: that hook goes along to the new node."""
        if self.retain is not None:
            hooks_of(node).retain, self.retain = self.retain, None


def _changed_inputs(hook: object, changed: object, inputs: list[Any]) -> list[Any]:
    """What a node's hook makes of the gradients of its inputs: as many tensors, or None."""
    if not isinstance(changed, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(changed).__name__}'")
    if len(changed) != len(inputs):
        name = getattr(hook, "__name__", type(hook).__name__)
        raise RuntimeError(
            f"hook '{name}' has returned an incorrect number of values (got {len(changed)}, but"
            f" expected {len(inputs)})"
        )
    return [check_hook(hook, gx, before) for gx, before in zip(changed, inputs, strict=True)]


def _tensor(g: Gradient, create: bool) -> Any:
    return g if create or g is None else wrap(g)


def _plain(changed: Any, before: Any, create: bool) -> Any:
    found = before if changed is None else changed
    return found if create or found is None else found.array


def _changed(hook: Any, given: Values, g: Gradient, create: bool) -> Any:
    found = check_hook(hook, hook(*given), given[0])
    return g if found is None else _plain(found, None, create)


def copy_as(node: Node, cls: type[Node]) -> Any:
    """The same node, of another class."""
    made = object.__new__(cls)
    made.__dict__.update(node.__dict__)
    return made


def unhooked(node: Node, base: Node | None, steps: int) -> Node:
    """The same view of the base, so many steps from it, without hooks: they are not told what is
    overwritten through a view.

    Nor are those of the views between. The twins have numbers of their own, for two nodes of one
    number could not be ordered.
    """
    if node is base or not steps or node.is_leaf or node.whole is not None:
        return node
    edges = tuple([edge and unhooked(edge, base, steps - 1) for edge in node.edges])
    if node.hooks is None and edges == node.edges:
        return node
    twin: Node = copy_as(node, type(node))
    twin.number, twin.hooks, twin.edges = clock(), None, edges
    return twin


def hooks_of(node: Node) -> Hooks:
    """The node's hooks, to add to."""
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks


def on_gradient(node: Node, hook: Callable[[Any], Any]) -> RemovableHandle:
    """Call `hook(gradient)` when the gradient of this node's output is complete."""
    return RemovableHandle(hooks_of(node).functions, hook)


class AfterAccumulate:
    """The hooks that wait for a leaf's `.grad` to be accumulated."""

    def __init__(self) -> None:
        self.functions: OrderedDict[int, Callable[[Any], None]] = OrderedDict()

    def run(self, tensor: Tensor) -> None:
        """Run them: the gradient has been added."""
        for hook in [*self.functions.values()]:
            found = hook(tensor)
            if found is not None and not isinstance(found, TensorBase):
                raise TypeError(f"expected Variable, but hook returned '{type(found).__name__}'")
            if found is not None:
                raise RuntimeError("Tensor post accumulate grad hooks should return None.")


def check_hook(hook: object, result: Any, before: Any) -> Any:
    """What a hook returned, if it is None or a gradient like the one `before`.

    Raises:
        TypeError: it is not a tensor.
        RuntimeError: its shape or dtype differs.
    """
    if result is None:
        return None
    if not isinstance(result, TensorBase) or before is None:
        raise TypeError(f"expected Variable, but hook returned '{type(result).__name__}'")
    name = getattr(hook, "__name__", type(hook).__name__)
    given: tuple[Any, ...] = (before, result)
    if result.array.dtype != before.array.dtype:
        was, got = [tensor.type() for tensor in given]
        raise RuntimeError(f"hook '{name}' has changed the type of value (was {was} got {got})")
    if result.array.shape != before.array.shape:
        raise RuntimeError(f"hook '{name}' has changed the size of value")
    return result


if hasattr(os, "register_at_fork"):  # a child must not inherit a lock that another thread holds
    os.register_at_fork(
        before=Leaf.lock.acquire,
        after_in_parent=Leaf.lock.release,
        after_in_child=Leaf.lock.release,
    )
