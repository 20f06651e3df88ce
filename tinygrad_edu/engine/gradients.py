"""`backward` and `grad`: checks of their arguments around the walk."""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_edu.dtypes import from_numpy
from tinygrad_edu.engine.boundary import users_level
from tinygrad_edu.engine.composed import heard
from tinygrad_edu.engine.graph import Leaf, Node, TensorBase
from tinygrad_edu.engine.mode import around, state
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.engine.types import Gradient, Values
from tinygrad_edu.engine.views import CutOff
from tinygrad_edu.engine.walk import accumulate, walk_back


def _run(
    roots: Sequence[tuple[Node, Any]],
    retain_graph: bool | None,
    create: bool,
    targets: Sequence[Node],
    collect: bool,
) -> dict[Node, Any]:
    """The walk, in a mode of its own: recorded only if a graph of the gradients is wanted."""
    mode = state.mode
    wrappers = [*around, *mode.around]
    if create:
        from tinygrad_edu.engine.second import tied

        wrappers.insert(0, tied)
    retain = create if retain_graph is None else retain_graph
    try:
        state.mode = mode.but(enabled=create, roots=tuple([node for node, _ in roots]))
        with np.errstate(all="ignore"):
            return walk_back(
                roots,
                retain=retain,
                create=create,
                at_leaf=None if collect else accumulate,
                targets=targets,
                around=wrappers,
            )
    except BaseException:
        _let_others_add()
        raise
    finally:
        state.mode = mode


def _let_others_add() -> None:
    """Release the lock of the leaves, if this thread holds it.

    Python may be interrupted between the last step of a `with` block and the release.
    """
    with contextlib.suppress(RuntimeError):  # it is not ours
        while True:
            Leaf.lock.release()


@heard("backward")
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
    if state.mode.level is not None:
        raise RuntimeError(
            "backward() called inside a functorch transform. This is not supported, please use"
            " functorch.grad or functorch.vjp instead or call backward() outside of functorch"
            " transforms."
        )
    grad_tensors = grad_variables if grad_tensors is None else grad_tensors
    roots = _roots(tensors, grad_tensors, create_graph)
    targets = []
    if inputs is not None:
        inputs = [inputs] if isinstance(inputs, TensorBase) else list(inputs)
        if not inputs:
            raise RuntimeError("'inputs' argument to backward() cannot be empty.")
        targets = [_node_of(x, i) for i, x in enumerate(inputs)]
        for x in inputs:
            if not x.is_leaf:
                x.retain_grad()
    _run(roots, retain_graph, create_graph, targets, collect=False)


@heard("autograd.grad")
def grad(
    outputs: object,
    inputs: Any,
    grad_outputs: object = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> Values:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; `.grad` is left alone.

    Args:
        outputs: a tensor or a sequence of them.
        inputs: a tensor or a sequence of them, leaves or not.
        grad_outputs: the gradients to start from, as in `backward`.
        retain_graph, create_graph: as in `backward`.
        only_inputs: has no effect; False gives a warning.
        allow_unused: None for an input that the outputs do not depend on, instead of an error.
        is_grads_batched: `grad_outputs` have one more dimension in front, the results too: one
            walk is made for each.
        materialize_grads: zeros for such an input.

    Raises:
        RuntimeError: as `backward`, and for an unused input.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> g, = torch.autograd.grad(x ** 3, x, create_graph=True)
    >>> torch.autograd.grad(g, x)
    (tensor(18.),)
    """
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads")
    if is_grads_batched:
        return _batched(outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused)
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To"
            " accumulate gradient for other parts of the graph, please use"
            " torch.autograd.backward.",
            FutureWarning,
            stacklevel=users_level(),
        )
    roots = _roots(outputs, grad_outputs, create_graph)
    inputs = [inputs] if isinstance(inputs, (TensorBase, GradientEdge)) else list(inputs)
    if not inputs:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    nodes = [_node_of(x, i) for i, x in enumerate(inputs)]
    found = _run(roots, retain_graph, create_graph, nodes, collect=True)
    results = []
    for i, (x, node) in enumerate(zip(inputs, nodes, strict=True)):
        g = None if isinstance(node, CutOff) else found.get(node)
        g = g[x.output_nr] if isinstance(g, list) else g
        if g is None and materialize_grads:
            g = wrap(np.zeros_like(x.array))
        elif g is None and not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {i} appears to not have been used in the"
                " graph. Set allow_unused=True if this is the desired behavior."
            )
        elif g is not None and not isinstance(g, TensorBase):
            g = wrap(g)
        results.append(g)
    return tuple(results)


def _batched(
    outputs: object, inputs: object, grad_outputs: Any, retain: bool | None, create: bool,
    allow_unused: bool | None,
) -> Values:  # fmt: skip
    """`grad`, once for every row of the `grad_outputs`, stacked."""
    if grad_outputs is None:
        raise ValueError("grad(): is_grads_batched needs grad_outputs, a batch of gradients")
    rows = [grad_outputs] if isinstance(grad_outputs, TensorBase) else list(grad_outputs)
    batch = [list(row) for row in zip(*rows, strict=True)]
    walk = functools.partial(grad, outputs, inputs, create_graph=create, allow_unused=allow_unused)
    each = [walk(row, retain_graph=retain if row is batch[-1] else True) for row in batch]
    stack: Any = sys.modules["tinygrad_edu.ops.joining"].stack
    return tuple([None if g[0] is None else stack(g) for g in zip(*each, strict=True)])


class GradientEdge(NamedTuple):
    """A place in the graph: an output of a node.  `grad` takes it for a tensor."""

    node: Node
    output_nr: int
    ownership_token: Any = None


def _node_of(x: object, i: int) -> Node:
    if isinstance(x, GradientEdge):
        return x.node
    if not isinstance(x, TensorBase):
        raise TypeError(f"argument 'inputs' must be Tensors, not {type(x).__name__} (at {i})")
    node = current_node(x)
    if node is None:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    return node


def _roots(tensors: Any, grads: Any, create: bool) -> list[tuple[Node, Any]]:
    tensors = [tensors] if isinstance(tensors, TensorBase) else list(tensors)
    if grads is None:
        grads = [None] * len(tensors)
    elif isinstance(grads, TensorBase):
        grads = [grads]
    if len(grads) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(grads)} gradients")
    return [_root(i, t, g, create) for i, (t, g) in enumerate(zip(tensors, grads, strict=True))]


def _root(i: int, t: object, g: Gradient, create: bool) -> tuple[Node, Any]:
    if not isinstance(t, TensorBase):
        raise TypeError(f"element {i} must be a Tensor, not {type(t).__name__}")
    node = current_node(t)
    if node is None or isinstance(node, CutOff):
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
        x = t.array
        quick = x.__class__ is np.ndarray and not x.ndim  # a GPU would have to fetch the number
        g = wrap(np.array(1, x.dtype) if quick else np.ones_like(x))
    if not isinstance(g, TensorBase):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    if list(g.array.shape) != shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {list(g.array.shape)}"
            f" and output[{i}] has a shape of {shape}."
        )
    if g.array.dtype != t.array.dtype:
        g = g.to(from_numpy(t.array.dtype)) if create else wrap(g.array.astype(t.array.dtype))  # type: ignore[attr-defined]
    return node, (g if create else g.array)
