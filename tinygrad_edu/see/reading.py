"""What the tape says about a loss: its operations in order, what they keep, whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_edu.autograd.saved import unpacked
from tinygrad_edu.engine.graph import Leaf, Node, TensorBase
from tinygrad_edu.engine.record import current_node
from tinygrad_edu.kernels.memory_order import owner
from tinygrad_edu.nn import Module
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.testing.formulas import formula


@dataclass
class Kept:
    """An array that an operation keeps."""

    name: str
    """The argument, or `y` for the output."""
    bytes: int
    rules: tuple[str, ...]
    """The arguments whose rules need it."""
    shared: bool
    """Its memory is a parameter's, or is counted where an older operation keeps it."""


@dataclass
class Operation:
    """One recorded operation, as it is drawn."""

    node: Node
    inputs: list[Operation] = field(default_factory=list)
    leaves: list[tuple[str, Leaf]] = field(default_factory=list)
    """The ends of paths that it reads: the name, and the leaf."""
    kept: list[Kept] = field(default_factory=list)
    freed: bool = False
    path: str = ""
    """The module it belongs to."""

    @property
    def number(self) -> int:
        """Its place in the order of creation."""
        return self.node.number

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.node.plan.op.name

    @property
    def bytes(self) -> int:
        """How much memory lives for its rules alone."""
        return sum([k.bytes for k in self.kept if not k.shared])


@dataclass
class Tape:
    """The operations behind a loss, oldest first."""

    operations: list[Operation]
    names: dict[Leaf, str]
    """What each leaf is called: a parameter's name, or `x0`, `x1`, ... in the order of creation."""
    exact: bool
    """The modules were noted by `watch`; else they are told from the parameters."""

    @property
    def bytes(self) -> int:
        """How much memory lives for the backward pass alone."""
        return sum([o.bytes for o in self.operations])


def read(loss: Tensor, model: Module | None = None) -> Tape:
    """The tape behind `loss`.

    Raises:
        ValueError: nothing was recorded for it.
    """
    root = current_node(loss)
    if root is None or root.is_leaf:
        raise ValueError(
            "see: this tensor was not computed from one that requires grad, so there is no graph;"
            " was it made under no_grad, or detached?"
        )
    nodes = sorted(_reachable(root), key=lambda n: n.number)
    names = _leaf_names(nodes, model)
    found: dict[Node, Operation] = {}
    counted = {id(owner(p.array)) for p in model.parameters()} if model is not None else set()
    for leaf in names:
        tensor = leaf.tensor()
        if tensor is not None:
            counted.add(id(owner(tensor.array)))
    for node in nodes:
        if node.is_leaf or node.whole is not None:
            continue
        one = found[node] = Operation(node)
        for edge in node.edges:
            below = edge.whole or edge if edge is not None else None
            if isinstance(below, Leaf):
                one.leaves.append((names[below], below))
            elif below is not None and found[below] not in one.inputs:
                one.inputs.append(found[below])
        one.freed = node.kept is None
        one.kept = list(_kept(node, counted))
    operations = list(found.values())
    exact = any([hasattr(o.node, "module") for o in operations])
    if exact:
        for one in operations:
            one.path = getattr(one.node, "module", "")
    else:
        _tell(operations, model)
    return Tape(operations, names, exact)


def _reachable(root: Node) -> set[Node]:
    seen: set[Node] = set()
    todo: list[Node] = [root]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += [edge for edge in node.edges if edge is not None]
    return seen


def _leaf_names(nodes: list[Node], model: Module | None) -> dict[Leaf, str]:
    known = {}
    if model is not None:
        known = {id(p): name for name, p in model.named_parameters()}
    found: dict[Leaf, str] = {}
    strangers = 0
    for node in nodes:
        if isinstance(node, Leaf):
            name = known.get(id(node.tensor()))
            if name is None:
                name, strangers = f"x{strangers}", strangers + 1
            found[node] = name
    return found


def _kept(node: Node, counted: set[int]) -> Iterator[Kept]:
    plan = node.plan
    op = plan.op
    for name, value in zip(plan.names, unpacked(node.kept) or (), strict=False):
        parts = value if isinstance(value, tuple) else (value,)
        arrays = [part for part in parts if is_array(part)]
        if not arrays:
            continue
        new = {id(owner(a)): owner(a).nbytes for a in arrays if id(owner(a)) not in counted}
        counted |= set(new)
        users = [arg for arg, needs in op.needs.items() if name in needs]
        if name in op.joint_needs:
            users += op.inputs
        yield Kept(
            name, sum(new.values()) or sum([a.nbytes for a in arrays]), tuple(users), not new
        )


def _tell(operations: list[Operation], model: Module | None) -> None:
    """Whose parameters an operation reads says whose it is; between two such, what both are in."""
    known = {name for name, _ in model.named_parameters()} if model is not None else ()
    own = [_common([n.rpartition(".")[0] for n, _ in o.leaves if n in known]) for o in operations]
    for k, one in enumerate(operations):
        if own[k] is not None:
            one.path = own[k] or ""
            continue
        before = next((p for p in reversed(own[:k]) if p is not None), "")
        after = next((p for p in own[k + 1 :] if p is not None), "")
        one.path = _common([before, after]) or ""


def _common(paths: list[str]) -> str | None:
    """The longest path that all of them begin with; None if there are none."""
    if not paths:
        return None
    found = []
    for parts in zip(*[p.split(".") for p in paths], strict=False):
        if len(set(parts)) > 1:
            break
        found.append(parts[0])
    return ".".join(found)


def tensors(value: Any) -> list[Tensor]:
    """The tensors in a container."""
    if isinstance(value, TensorBase):
        return [value]  # type: ignore[list-item]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors(v)] if isinstance(value, (list, tuple)) else []


def is_array(value: object) -> bool:
    """Whether it is an array, here or on a GPU; not a NumPy number."""
    return (
        hasattr(value, "nbytes") and hasattr(value, "strides") and not isinstance(value, np.generic)
    )


# ---- words


def size(count: float) -> str:
    """Bytes, short.

    >>> size(1536)
    '1.5 KB'
    """
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"


def shape_of(thing: Any) -> str:
    """A shape as it is written in pictures: `64×10`; a scalar's is `()`.

    >>> import tinygrad_edu as torch
    >>> shape_of(torch.ones(2, 3))
    '2×3'
    """
    return "×".join(map(str, thing.shape)) or "()"


def kept_of(one: Operation) -> str:
    """What it keeps, in words: `x 2.0 KB`; what costs nothing of its own in parentheses."""
    return " · ".join(
        [f"({k.name})" if k.shared else f"{k.name} {size(k.bytes)}" for k in one.kept]
    )


def rules_of(node: Node) -> list[tuple[str, str]]:
    """Each argument that gets a gradient, and the formula of it."""
    plan = node.plan
    if plan.joint is not None:
        names = [n for n, live in zip(plan.op.inputs, plan.live, strict=False) if live]
        return [(", ".join(names), formula(plan.joint))]
    return [(plan.op.inputs[i], formula(rule)) for i, rule, _ in plan.rules]
