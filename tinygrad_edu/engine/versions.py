"""The errors of values that were needed backward and are no longer what they were."""

from __future__ import annotations

from typing import Any, TypeVar

from tinygrad_edu.dtypes import from_numpy
from tinygrad_edu.engine.graph import Node, Storage, TensorBase
from tinygrad_edu.engine.types import Values

T = TypeVar("T")

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after"
    " they have already been freed). Saved intermediate values of the graph are freed when you"
    " call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward"
    " through the graph a second time or if you need to access saved tensors after calling"
    " backward."
)
INFERENCE = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference"
    " mode in computation tracked by autograd. To work around this, you can make a clone to get a"
    " normal tensor and use it in autograd, or use `torch.no_grad()` instead of"
    " `torch.inference_mode()`."
)


def modified(node: Node) -> str:
    """What to say of a node that kept an array which was written afterwards."""
    what, at = f"kept by {node.name()}", "was written after it had been kept."
    for array, guard in zip(node.kept or (), node.guards, strict=False):
        if isinstance(guard, Storage) and guard.written > node.number:
            what = f"[{from_numpy(array.dtype)!r} {list(array.shape)}], kept by {node.name()},"
            at = f"is at version {guard.version}; it was written after it had been kept."
            break
    return (
        "one of the variables needed for gradient computation has been modified by an inplace"
        f" operation: {what} {at}"
    )


def any_written(guards: Values, number: int) -> bool:
    """Whether one of the arrays that a node keeps was written after node `number` was made."""
    return any([guard is not None and _written_since(guard, number) for guard in guards])


def _written_since(guard: Any, number: int) -> bool:
    if isinstance(guard, Storage):
        return guard.written > number
    return any([part is not None and _written_since(part, number) for part in guard])


def watched(y: T, argument: str, tensors: Any) -> T:
    """The result of an operation that keeps an index: a later write into one of these is refused.

    Operations are given the arrays of index tensors, which do not say whose they are.
    """
    node: Any = getattr(y, "node", None)
    owners = tuple([t._storage for t in tensors if isinstance(t, TensorBase)])
    if node is not None and owners and argument in node.plan.names:
        slot = node.plan.names.index(argument)
        node.guards = (*node.guards[:slot], owners, *node.guards[slot + 1 :])
    return y
