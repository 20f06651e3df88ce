"""Index tensors that an operation keeps are watched for later writes, as other tensors are."""

from __future__ import annotations

from typing import Any, TypeVar

from tinygrad_edu.engine.graph import Variable

T = TypeVar("T")


def watched(y: T, argument: str, tensors: Any) -> T:
    """The result of an operation that keeps an index: a later write into one of these is refused.

    Operations are given the arrays of index tensors, which do not say whose they are.
    """
    node: Any = getattr(y, "node", None)
    owners = tuple([t.storage for t in tensors if isinstance(t, Variable)])
    if node is not None and owners and argument in node.plan.names:
        slot = node.plan.names.index(argument)
        node.guards = (*node.guards[:slot], owners, *node.guards[slot + 1 :])
    return y
