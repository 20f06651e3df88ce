"""torch's `autograd.graph`: nodes, edges, and hooks on what operations keep."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from tinygrad_edu.autograd.saved import (
    allow_mutation_on_saved_tensors,
    disable_saved_tensors_hooks,
    save_on_cpu,
    saved_tensors_hooks,
)
from tinygrad_edu.engine.gradients import GradientEdge
from tinygrad_edu.engine.graph import Node, TensorBase
from tinygrad_edu.engine.hooks import RemovableHandle
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.record import current_node
from tinygrad_edu.engine.types import Call

__all__ = [
    "GradientEdge",
    "Node",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]


def get_gradient_edge(tensor: Any) -> GradientEdge:
    """The place in the graph where the gradient of a tensor arrives; `grad` takes it as an input.

    Raises:
        RuntimeError: the tensor requires no gradient.

    >>> import tinygrad_edu as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> y = x * 2
    >>> edge = torch.autograd.graph.get_gradient_edge(y)
    >>> torch.autograd.grad((y * 3).sum(), edge)
    (tensor([3., 3.]),)
    """
    node = current_node(tensor)
    if node is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does"
                           " not require gradients")  # fmt: skip
    return GradientEdge(node.whole or node, node.index)


def increment_version(tensor: Any) -> None:
    """Note that tensors (one, or several) were written to, by means that are not seen here.

    >>> import tinygrad_edu as torch
    >>> x = torch.ones(2)
    >>> torch.autograd.graph.increment_version(x); x._version
    1
    """
    for t in [tensor] if isinstance(tensor, TensorBase) else tensor:
        t._storage.write()


class _Together:
    """Waits until the gradients of all tensors that one backward pass reaches are there."""

    def __init__(self, nodes: Sequence[Node], fn: Call, mode: str) -> None:
        self.nodes, self.fn, self.mode = nodes, fn, mode
        self.roots: tuple[Node, ...] = ()
        self.waiting: set[int] = set()
        self.found: list[Any] = []

    def arrived(self, i: int, g: object) -> None:
        if state.mode.roots is not self.roots:  # another backward pass
            self.roots = state.mode.roots
            reached = reachable(self.roots)
            self.waiting = {k for k, node in enumerate(self.nodes) if node in reached}
            self.found = [None] * len(self.nodes)
            if self.mode == "any":
                self.waiting = set()
                self.fn(g)
                return
        elif self.mode == "any":
            return
        self.found[i] = g
        self.waiting.discard(i)
        if not self.waiting:
            self.roots = ()
            self.fn(self.found)


def reachable(roots: Sequence[Node]) -> set[Node]:
    """The nodes that a walk from these roots comes to."""
    seen: set[Node] = set()
    todo = list(roots)
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend([edge for edge in node.edges if edge is not None])
    return seen


def register_multi_grad_hook(
    tensors: Sequence[Any], fn: Call, *, mode: str = "all"
) -> RemovableHandle:
    """Call `fn` once in each backward pass that computes gradients of these tensors.

    Args:
        tensors: tensors that require grad.
        fn: with mode "all" it is given the list of gradients when all are there, None for a tensor
            that the backward pass does not reach; with "any" the first gradient that is there.

    Raises:
        ValueError: another mode.
        RuntimeError: a tensor does not require grad.

    >>> import tinygrad_edu as torch
    >>> x, y = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    >>> handle = torch.autograd.graph.register_multi_grad_hook((x, y), print)
    >>> (x * 2 + y).backward()
    [tensor([2.]), tensor([1.])]
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    for t in tensors:
        get_gradient_edge(t)  # which refuses one that requires none
    nodes = [node for node in map(current_node, tensors) if node is not None]
    together = _Together(nodes, fn, mode)
    handles = [
        t.register_hook(lambda g, i=i: together.arrived(i, g)) for i, t in enumerate(tensors)
    ]
    return _Handles(handles)


class _Handles(RemovableHandle):
    """Takes back several hooks at once."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        super().__init__(OrderedDict(), None)
        self.handles = handles

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
