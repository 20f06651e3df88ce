"""The backward pass: one walk over the recorded nodes, from the youngest to the oldest.

A node is always younger than the nodes of its inputs, so taking nodes in the order youngest first
is a topological order: when a node's turn comes, everything that used its output has been dealt
with, and its gradient is complete.  No recursion, no separate sort, one visit per node.

Why not plain depth-first order?  In `b = a * 2; c = a * b; c.backward()` a depth-first walk from c
may reach a before b.  It would pass on the gradient of `a` before the share that comes through `b`
has been added.  Creation order cannot make that mistake: b is younger than a.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import from_numpy
from tinygrad_edu.engine.boundary import no_memory_for_gradients, refuse_expanded
from tinygrad_edu.engine.graph import Leaf, Node, Storage, TensorBase
from tinygrad_edu.engine.mode import Around
from tinygrad_edu.engine.record import as_array, wrap
from tinygrad_edu.engine.types import Call, Gradient, Values
from tinygrad_edu.kernels.memory_order import for_leaf


class Arrivals:
    """Gradients on their way: what has arrived at each node so far.

    Where a tensor was used twice, two gradients are added.  `a += b` is cheaper than `a + b`, but
    allowed only if nobody else holds `a`; likewise `.grad` may take an array without copying it.
    `owned` are the nodes whose gradient is such an array: a rule has just made it (it is not the
    `g` handed on, nor a view of anything), and the operation's rules never return an array that
    they keep (`Primitive.owns`).
    """

    def __init__(self, create: bool) -> None:
        self.create = create
        self.pending: dict[Node, Gradient] = {}
        self.queue: list[tuple[int, Node]] = []
        self.owned: set[Node] = set()

    def add(self, node: Node, g: Gradient, mine: bool) -> None:
        """The first gradient for `node`, or one more; `mine` if it may be owned."""
        so_far = self.pending.get(node)
        if so_far is None:
            self.pending[node] = g
            heappush(self.queue, (-node.number, node))
            if mine:
                self.owned.add(node)
        elif node in self.owned:
            so_far += g
            self.pending[node] = so_far  # of a 0-d tensor it is a scalar, and += made a new one
        else:
            self.pending[node] = so_far + g
            if not self.create:
                self.owned.add(node)

    def add_part(self, whole: Node, index: int, g: Gradient) -> None:
        """The gradient of one of the outputs of `whole`."""
        if whole not in self.pending:
            self.pending[whole] = [None] * whole.parts
            heappush(self.queue, (-whole.number, whole))
        share = self.pending[whole][index]
        self.pending[whole][index] = g if share is None else share + g


def walk_back(
    roots: Sequence[tuple[Node, Gradient]],
    *,
    retain: bool,
    create: bool,
    at_leaf: Callable[[Any, Any, bool, bool], None] | None,
    targets: Sequence[Node] = (),
    around: Sequence[Around] = (),
) -> dict[Node, Gradient]:
    """Carry gradients from the roots down to the leaves.

    Args:
        roots: nodes with the gradients to start from.
        retain: keep what the nodes keep, so that the graph can be walked again.
        create: gradients are tensors and the walk itself is recorded; else they are arrays.
        at_leaf: what to do with the gradient of a leaf, such as `accumulate`; None to return it.
        targets: walk only where it leads to these nodes; everywhere if there are none.
        around: wrappers of `gradients`, the first nearest to it.

    Returns:
        The gradients of the targets that were reached, if `at_leaf` is None; else an empty dict.
    """
    needed = leading_to(targets, [node for node, _ in roots]) if targets else None
    step: Call = gradients if needed is None else functools.partial(gradients, needed=needed)
    for wrapper in around:
        step = functools.partial(wrapper, step)
    collected: dict[Node, Gradient] = dict.fromkeys(targets) if at_leaf is None else {}
    arrivals = Arrivals(create)
    for node, g in roots:
        if needed is None or node in needed:
            arrivals.add(node, g, False)
    queue, pending, owned = arrivals.queue, arrivals.pending, arrivals.owned
    while queue:
        node = heappop(queue)[1]
        before, mine, hooks = pending.pop(node), node in owned, node.hooks
        owned.discard(node)
        g = before if hooks is None else hooks.arrived(before, create)
        mine = mine and hooks is None
        if collected and node in collected:  # as torch: where the walk goes on, without its hooks
            collected[node] = before if needed and not needed.isdisjoint(node.edges) else g
        if node.is_leaf:
            if at_leaf is not None:
                at_leaf(node, g, mine, create)
            if hooks is not None:
                hooks.handed_on(node, (), g, create)
        elif needed is None or not needed.isdisjoint(node.edges):
            go_on(node, g, step, needed, arrivals)
            if not retain and node.plan.names:
                free(node)
    return {node: g for node, g in collected.items() if g is not None}


def go_on(node: Node, g: Gradient, step: Call, needed: set[Any] | None, arrivals: Arrivals) -> None:
    """Give the gradients of a node's inputs to the nodes of these."""
    if node.whole is not None:
        arrivals.add_part(node.whole, node.index, g)
        return
    try:
        found = step(node, node.kept, g)
    except MemoryError as error:
        raise no_memory_for_gradients(node, error) from None
    if node.hooks is not None:
        found = node.hooks.handed_on(node, found, g, arrivals.create)
    owns = node.plan.op.owns and not arrivals.create
    edges, pending = node.edges, arrivals.pending
    for i, gx in found:
        edge = edges[i]
        if edge is None or gx is None or (needed is not None and edge not in needed):
            continue
        x = getattr(gx, "array", gx) if arrivals.create else gx  # a tensor is slow to say these
        if x.shape != edge.shape:
            gx = unbroadcast(gx, edge.shape)
        if x.dtype is not edge.dtype and x.dtype != edge.dtype:  # `is` is the faster
            if gx is not g or needed is not None or edge in pending or not _waits(edge, gx):
                gx = _cast(gx, edge.dtype)
        mine = owns and gx is not g and gx.base is None
        if edge in pending:
            arrivals.add(edge, gx, mine)
            continue
        pending[edge] = gx
        heappush(arrivals.queue, (-edge.number, edge))
        if mine:
            arrivals.owned.add(edge)


def gradients(node: Node, kept: Values | None, g: Gradient, needed: Any = None) -> Any:
    """Pairs (input, gradient of that input) of one node, of inputs that lead to a target."""
    if kept is None:
        raise node.refused("freed")
    plan, number = node.plan, node.number
    for guard in node.guards:
        if guard.__class__ is Storage:
            if guard.written > number:
                node.check_versions()
        elif guard and any([part is not None and part.written > number for part in guard]):
            node.check_versions()
    if plan.joint is not None:
        needs = plan.op.joint_needs
        picked = plan.joint_pick(kept)
        if "live" in needs:
            place = needs.index("live")
            picked = (*picked[:place], plan.live, *picked[place:])
        return enumerate(plan.joint(g, *picked))
    if plan.op.variadic:
        return [pair for _, rule, pick in plan.rules for pair in enumerate(rule(g, *pick(kept)))]
    rules = plan.rules if needed is None else [r for r in plan.rules if node.edges[r[0]] in needed]
    return [(i, rule(g, *pick(kept))) for i, rule, pick in rules]


def free(node: Node) -> None:
    """Let go of the arrays that the node keeps; of numbers and shapes there is nothing to free."""
    if node.plan.arrays or (node.plan.arrays is False and node.plan.keep and not _plain(node.kept)):
        node.kept, node.guards = None, ()


def _plain(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return all([_plain(part) for part in value])
    return value.__class__ is int or not hasattr(value, "dtype")


def _waits(node: Node, g: Gradient) -> bool:
    """Whether an array of 16 bits, on its way through a cast, may wait for a node of 32 as it is.

    What joins it there makes the sum wide.
    """
    op = None if node.is_leaf or node.hooks or isinstance(g, TensorBase) else node.plan.op
    return getattr(op, "narrow", False) is True and 2 * g.itemsize == node.dtype.itemsize == 4


def unbroadcast(g: Gradient, shape: tuple[int, ...]) -> Any:
    """Sum `g` down to `shape`: broadcasting copies forward, so gradients add up backward."""
    if g.__class__ is np.ndarray and g.ndim == 2 and g.shape == (1, *shape):
        return g[0].copy()  # there is nothing to add up
    have = tuple(g.shape)
    extra = len(have) - len(shape)
    if extra < 0 or any([m not in (1, n) for m, n in zip(shape, have[extra:], strict=True)]):
        raise RuntimeError(
            f"a rule returned an invalid gradient - got {list(have)} but expected shape"
            f" compatible with {list(shape)}"
        )
    dims = (*range(extra), *[i for i, n in enumerate(shape, extra) if n == 1 != have[i]])
    if isinstance(g, TensorBase):
        return g.sum(dims).reshape(shape)  # type: ignore[attr-defined]
    if g.__class__ is np.ndarray and len(dims) == extra == g.ndim - 1 and g.dtype.kind == "f":
        return np.ones(len(g), g.dtype) @ g if g.ndim == 2 else g.sum(dims)  # see _add_rows
    return as_array(g.sum(dims)).reshape(shape)


def _cast(g: Gradient, dtype: Any) -> Any:
    if isinstance(g, TensorBase):
        return g if g.array.dtype == dtype else g.to(from_numpy(dtype))  # type: ignore[attr-defined]
    return g.astype(dtype)


def accumulate(leaf: Leaf, g: Gradient, mine: bool, create: bool) -> None:
    """Add a complete gradient to the `.grad` of the leaf's tensor, which nobody else holds."""
    tensor = leaf.tensor()
    if tensor is None or tensor.node is not leaf:
        return
    with leaf.lock:
        before = tensor._grad
        if before is None:
            values, node = (g.array, g.clone().node) if create else (g, None)
            tensor._grad = wrap(for_leaf(tensor.array, values, mine), node)
        elif create or before.node is not None:
            tensor._grad = before + (g if create else wrap(g))
        else:
            refuse_expanded(before.array)
            before.array += g
            before._storage.write()
    if leaf.after_accumulate is not None:
        leaf.after_accumulate.run(tensor)


def leading_to(targets: Sequence[Node], roots: Sequence[Node]) -> set[Any]:
    """The nodes from which a target can be reached, found oldest first."""
    seen: set[Node] = set()
    todo = list(roots)
    oldest = min([t.number for t in targets], default=0)
    while todo:
        node = todo.pop()
        if node not in seen and node.number >= oldest:
            seen.add(node)
            todo.extend([edge for edge in node.edges if edge is not None])
    leading = set(targets)
    for node in sorted(seen, key=lambda n: n.number):
        if any([edge in leading for edge in node.edges]):
            leading.add(node)
    return leading
