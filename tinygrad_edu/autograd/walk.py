"""The backward pass: one walk over the recorded nodes, from the youngest to the oldest.

A node is always younger than the nodes of its inputs, so taking nodes in the order youngest first
is a topological order: when a node's turn comes, everything that used its output has been dealt
with, and its gradient is complete.  No recursion, no separate sort, one visit per node.

Why not plain depth-first order?  In `b = a * 2; c = a * b; c.backward()` a depth-first walk from c
may reach a before b.  It would pass on the gradient of `a` before the share that comes through `b`
has been added.  Creation order cannot make that mistake: b is younger than a.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from tinygrad_edu.autograd.errors import refuse_expanded
from tinygrad_edu.autograd.graph import (
    RETAIN_GRAD,
    Leaf,
    Node,
    Part,
    Storage,
    Variable,
    check_hook,
)
from tinygrad_edu.autograd.mode import enable_grad, no_grad
from tinygrad_edu.autograd.primitive import primitive
from tinygrad_edu.autograd.record import as_array, wrap
from tinygrad_edu.dtypes import Array, from_numpy

_FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after"
    " they have already been freed). Saved intermediate values of the graph are freed when you"
    " call .backward() or autograd.grad(). Specify retain_graph=True if you need to backward"
    " through the graph a second time or if you need to access saved tensors after calling"
    " backward."
)


def walk(
    roots: Sequence[tuple[Node, Any]],
    *,
    retain: bool,
    create: bool,
    targets: Sequence[Node] | None = None,
    collect: bool = False,
) -> dict[Node, Any]:
    """Carry gradients from the roots down to the leaves.

    Where a tensor was used twice, two gradients are added.  `a += b` is cheaper than `a + b`, but
    allowed only if nobody else holds `a`; likewise `.grad` may take an array without copying it.
    `owned` are the nodes whose pending gradient is such an array: a rule has just made it (it is
    not the `g` handed on, nor a view of anything), and the operation's rules never return an array
    that they keep (`Primitive.owns`).

    Args:
        roots: nodes with the gradients to start from.
        retain: keep what the nodes keep, so that the graph can be walked again.
        create: gradients are tensors and the walk itself is recorded; else they are arrays.
        targets: walk only where it leads to these nodes; None for everywhere.
        collect: return the gradients of the targets instead of adding them to `.grad`.

    Returns:
        The gradients of the targets that were reached, if `collect`; else an empty dict.
    """
    pending: dict[Node, Any] = {}
    queue: list[tuple[int, Node]] = []
    owned: set[Node] = set()
    wanted = set(targets) if targets is not None else None
    needed = _leading_to(wanted, [node for node, _ in roots]) if wanted is not None else None
    collected: dict[Node, Any] = {}

    for node, g in roots:
        if node in pending:
            pending[node] = pending[node] + g
        else:
            pending[node] = g
            heappush(queue, (-node.number, node))

    while queue:
        node = heappop(queue)[1]
        g = pending.pop(node)
        mine = node in owned
        if mine:
            owned.remove(node)
        if node.hooks is not None:
            g, mine = _run_hooks(node, g, create), False
        if wanted is not None and node in wanted:
            if collect:
                collected[node] = g
            elif isinstance(node, Leaf):
                accumulate(node, g, mine, create)
            if node.is_leaf:
                continue
        elif isinstance(node, Leaf):
            accumulate(node, g, mine, create)
            continue
        if isinstance(node, Part):
            whole = node.edges[0]
            assert whole is not None
            if needed is not None and whole not in needed:
                continue
            if whole not in pending:
                pending[whole] = [None] * whole.parts
                heappush(queue, (-whole.number, whole))
            share = pending[whole][node.index]
            pending[whole][node.index] = g if share is None else share + g
            continue
        if needed is not None and not any([edge in needed for edge in node.edges]):
            continue
        for i, gx in gradients(node, g, create):
            edge = node.edges[i]
            if edge is None or gx is None or (needed is not None and edge not in needed):
                continue
            fresh = gx is not g
            if gx.shape != edge.shape:
                gx = unbroadcast(gx, edge.shape)
            if gx.dtype is not edge.dtype and gx.dtype != edge.dtype:  # `is` is the faster
                gx = _cast(gx, edge.dtype)
            so_far = pending.get(edge)
            if so_far is None:
                pending[edge] = gx
                heappush(queue, (-edge.number, edge))
                if fresh and not create and gx.base is None and node.plan.op.owns:
                    owned.add(edge)
            elif edge in owned:
                so_far += gx
                pending[edge] = so_far  # of a 0-d tensor it is a scalar, and += made a new one
            else:
                pending[edge] = so_far + gx
                if not create:
                    owned.add(edge)
        if not retain:
            free(node)
    return collected


def gradients(node: Node, g: Any, create: bool) -> Any:
    """Pairs (input, gradient of that input) of one node."""
    plan, kept = node.plan, node.kept
    if kept is None:
        raise RuntimeError(_FREED)
    number = node.number
    for guard in node.guards:
        if guard.__class__ is Storage:
            if guard.written > number:
                _refuse(node, create)
        elif guard is not None and _written(guard, number):
            _refuse(node, create)
    if create:
        if plan.op.definition is not None:
            return _through_definition(node, g)
        kept = lift(node)
    if plan.joint is not None:
        needs = plan.op.joint_needs
        picked = plan.joint_pick(kept)
        if needs and "live" in needs:
            place = needs.index("live")
            picked = (*picked[:place], plan.live, *picked[place:])
        return enumerate(plan.joint(g, *picked))
    if plan.op.variadic:
        rules = plan.rules
        return enumerate(rules[0][1](g, *rules[0][2](kept))) if rules else ()
    return [(i, rule(g, *pick(kept))) for i, rule, pick in plan.rules]


base_gradients = gradients
"""What `gradients` is while nobody watches it.  half.py exchanges both for functions that round,
once there is a 16-bit tensor; anomaly.py exchanges `gradients`.  A program that asks for neither
pays nothing for them."""


@primitive
def alias(x: Array) -> Array:
    """The same array under a node of its own."""
    return x


alias.vjp(x=lambda g: g)


def _through_definition(node: Node, g: Any) -> Any:
    """Differentiate the operation's definition instead of running its rules.

    The definition is computed again from the inputs, this time recorded.  Each input gets a node of
    its own first: one input may have been computed from another, and that path is not ours.
    """
    op, places = node.plan.op, node.plan.keep
    lifted = dict(zip(places, lift(node), strict=False))
    args = [lifted[i] for i in range(op.arity)]
    live = [i for i, edge in enumerate(node.edges) if edge is not None]
    for i in live:
        args[i] = alias(args[i])
    assert op.definition is not None
    y: Any = op.definition(*args)
    if op.multiple:  # only the outputs that a gradient reached
        y, g = zip(*[pair for pair in zip(y, g, strict=True) if pair[1] is not None], strict=True)
    return zip(live, grad(y, [args[i] for i in live], g, create_graph=True), strict=True)


def _written(guard: Any, number: int) -> bool:
    """Whether a kept array, or one of a tuple of them, was written after node `number` was made."""
    if isinstance(guard, Storage):
        return guard.written > number
    return any([part is not None and _written(part, number) for part in guard])


def _refuse(node: Node, create: bool) -> None:
    """Raise, if what was written is needed: what the definition alone needs is so for `create`."""
    guards = node.guards if create else node.guards[: node.plan.by_rules]
    if any([guard is not None and _written(guard, node.number) for guard in guards]):
        raise _modified(node)


def _modified(node: Node) -> RuntimeError:
    kept = node.kept or ()
    for array, guard in zip(kept, node.guards, strict=False):
        if isinstance(guard, Storage) and guard.written > node.number:
            what = f"[{from_numpy(array.dtype)!r} {list(array.shape)}], kept by {node.name()},"
            at = f"is at version {guard.version}; it was written after it had been kept."
            break
    else:
        what, at = f"kept by {node.name()}", "was written after it had been kept."
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace"
        f" operation: {what} {at}"
    )


def lift(node: Node) -> tuple[Any, ...]:
    """What the node keeps, arrays as tensors tied to the nodes that made them."""
    op, kept = node.plan.op, node.kept
    assert kept is not None
    lifted = list(kept)
    for k, place in enumerate(node.plan.keep):
        guard: Any = node.guards[k]
        if place == op.arity and not op.multiple:
            lifted[k] = wrap(kept[k], node, guard)
        elif op.variadic and place == 0:
            lifted[k] = tuple(
                wrap(a, edge, s) if edge is not None else a
                for a, edge, s in zip(kept[k], node.edges, guard, strict=True)
            )
        elif not op.variadic and place < len(node.edges) and node.edges[place] is not None:
            lifted[k] = wrap(kept[k], node.edges[place], guard)
    return tuple(lifted)


def free(node: Node) -> None:
    """Let go of the arrays that the node keeps; of numbers and shapes there is nothing to free."""
    if node.plan.keep and (node.plan.arrays or not _plain(node.kept)):
        node.kept = None
        node.guards = ()


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all([_plain(part) for part in value])
    return not hasattr(value, "dtype")


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` down to `shape`: broadcasting copies forward, so gradients add up backward."""
    extra = len(g.shape) - len(shape)
    if extra < 0 or any([m not in (1, n) for m, n in zip(shape, g.shape[extra:], strict=True)]):
        raise RuntimeError(
            f"a rule returned an invalid gradient - got {list(g.shape)} but expected shape"
            f" compatible with {list(shape)}"
        )
    dims = tuple(range(extra)) + tuple(
        i + extra for i, size in enumerate(shape) if size == 1 and g.shape[i + extra] != 1
    )
    if isinstance(g, Variable):
        return g.sum(dims).reshape(shape)  # type: ignore[attr-defined]
    if g.__class__ is np.ndarray and len(dims) == extra == g.ndim - 1 and g.dtype.kind == "f":
        return np.ones(len(g), g.dtype) @ g if g.ndim == 2 else g.sum(dims)  # see _add_rows
    return as_array(g.sum(dims)).reshape(shape)


def _cast(g: Any, dtype: Any) -> Any:
    if isinstance(g, Variable):
        return g.to(from_numpy(dtype))  # type: ignore[attr-defined]
    return g.astype(dtype)


def accumulate(leaf: Leaf, g: Any, mine: bool, create: bool) -> None:
    """Add a complete gradient to the `.grad` of the leaf's tensor, which nobody else holds."""
    tensor = leaf.variable
    if tensor is None or tensor.node is not leaf:
        return
    before = tensor._grad
    if create:
        tensor._grad = g.clone() if before is None else before + g
    elif before is None:
        tensor._grad = wrap(g if mine else g.copy())
    elif before.node is not None:
        tensor._grad = before + wrap(g)
    else:
        refuse_expanded(before.array)
        before.array += g
        before.storage.write()
    for hook in [*leaf.after_accumulate.values()] if leaf.after_accumulate else ():
        check_hook(hook, hook(tensor), None)


def _run_hooks(node: Node, g: Any, create: bool) -> Any:
    """The gradient as the hooks leave it; the one that fills `.grad` of no leaf sees that."""
    hooks = dict(node.hooks or {})
    last = hooks.pop(RETAIN_GRAD, None)
    for hook in [*hooks.values(), *([] if last is None else [last])]:
        with enable_grad() if create else no_grad():
            before = g if create else wrap(g)
            result = check_hook(hook, hook(before), before)
        if result is not None:
            g = result if create else result.array
    return g


def _leading_to(targets: set[Node], roots: Sequence[Node]) -> set[Node]:
    """The nodes from which a target can be reached, found oldest first."""
    seen: set[Node] = set()
    todo = list(roots)
    oldest = min([t.number for t in targets], default=0)
    while todo:
        node = todo.pop()
        if node in seen or node.number < oldest:
            continue
        seen.add(node)
        todo.extend([edge for edge in node.edges if edge is not None])
    leading = set(targets)
    for node in sorted(seen, key=lambda n: n.number):
        if any([edge in leading for edge in node.edges]):
            leading.add(node)
    return leading


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Add the gradient of `tensors` to the `.grad` of every leaf they were computed from.

    Args:
        tensors: a tensor or a sequence of them.
        grad_tensors: the gradient to start from, one per tensor, of the same shape; may be None
            for a tensor of one element, and is 1 then.
        retain_graph: keep the graph for another walk; `create_graph` unless given.
        create_graph: record the walk itself, so that gradients can be differentiated again.
        grad_variables: the old name of `grad_tensors`.
        inputs: add gradients to these tensors only.

    Raises:
        RuntimeError: a tensor needs no gradient, has several elements and no start gradient, the
            shapes differ, the graph was freed by an earlier walk, or a value that a rule needs
            was overwritten in place.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> torch.autograd.backward((x * x).sum())
    >>> x.grad
    tensor([2., 4.])
    """
    grad_tensors = grad_variables if grad_tensors is None else grad_tensors
    roots = _roots(tensors, grad_tensors, create_graph)
    retain = create_graph if retain_graph is None else retain_graph
    targets = None
    if inputs is not None:
        inputs = [inputs] if isinstance(inputs, Variable) else list(inputs)
        if not inputs:
            raise RuntimeError("'inputs' argument to backward() cannot be empty.")
        targets = [_node_of(x, i) for i, x in enumerate(inputs)]
        for x in inputs:
            if not x.is_leaf:
                x.retain_grad()
    with enable_grad() if create_graph else no_grad(), np.errstate(all="ignore"):
        walk(roots, retain=retain, create=create_graph, targets=targets)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; `.grad` is left alone.

    Args:
        outputs: a tensor or a sequence of them.
        inputs: a tensor or a sequence of them, leaves or not.
        grad_outputs: the gradients to start from, as in `backward`.
        retain_graph, create_graph: as in `backward`.
        only_inputs: of no effect; False warns of that.
        allow_unused: None for an input that the outputs do not depend on, instead of an error.
        materialize_grads: zeros for such an input.

    Raises:
        RuntimeError: as `backward`, and for an unused input.
        NotImplementedError: `is_grads_batched`; `torch.func.vmap` of `torch.func.vjp` does that.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> g, = torch.autograd.grad(x ** 3, x, create_graph=True)
    >>> torch.autograd.grad(g, x)
    (tensor(18.),)
    """
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads")
    if is_grads_batched:
        raise NotImplementedError("grad(): is_grads_batched is not supported; use torch.func.vmap")
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To"
            " accumulate gradient for other parts of the graph, please use"
            " torch.autograd.backward.",
            FutureWarning,
            stacklevel=2,
        )
    roots = _roots(outputs, grad_outputs, create_graph)
    inputs = [inputs] if isinstance(inputs, Variable) else list(inputs)
    nodes = [_node_of(x, i) for i, x in enumerate(inputs)]
    retain = create_graph if retain_graph is None else retain_graph
    with enable_grad() if create_graph else no_grad(), np.errstate(all="ignore"):
        found = walk(roots, retain=retain, create=create_graph, targets=nodes, collect=True)
    results = []
    for i, (x, node) in enumerate(zip(inputs, nodes, strict=True)):
        g = found.get(node)
        if g is None and materialize_grads:
            g = wrap(np.zeros_like(x.array))
        elif g is None and not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {i} appears to not have been used in the"
                " graph. Set allow_unused=True if this is the desired behavior."
            )
        elif g is not None and not isinstance(g, Variable):
            g = wrap(g)
        results.append(g)
    return tuple(results)


def _node_of(x: Any, i: int) -> Node:
    if not isinstance(x, Variable):
        raise TypeError(f"argument 'inputs' must be Tensors, not {type(x).__name__} (at {i})")
    if x.node is None:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    return x.node


def _roots(tensors: Any, grads: Any, create: bool) -> list[tuple[Node, Any]]:
    tensors = [tensors] if isinstance(tensors, Variable) else list(tensors)
    if grads is None:
        grads = [None] * len(tensors)
    elif isinstance(grads, Variable):
        grads = [grads]
    if len(grads) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(grads)} gradients")
    return [_root(i, t, g, create) for i, (t, g) in enumerate(zip(tensors, grads, strict=True))]


def _root(i: int, t: Any, g: Any, create: bool) -> tuple[Node, Any]:
    if not isinstance(t, Variable):
        raise TypeError(f"element {i} must be a Tensor, not {type(t).__name__}")
    if t.node is None:
        raise RuntimeError(
            f"element {i} of tensors does not require grad and does not have a grad_fn"
        )
    shape = list(t.array.shape)
    if g is None:
        if t.array.size != 1:
            raise RuntimeError(
                f"grad can be implicitly created only for scalar outputs (output {i} has a shape"
                f" of {shape})"
            )
        g = wrap(np.ones_like(t.array))
    if not isinstance(g, Variable):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    if list(g.array.shape) != shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {list(g.array.shape)}"
            f" and output[{i}] has a shape of {shape}."
        )
    if g.array.dtype != t.array.dtype:
        g = g.to(from_numpy(t.array.dtype)) if create else wrap(g.array.astype(t.array.dtype))  # type: ignore[attr-defined]
    return t.node, (g if create else g.array)
