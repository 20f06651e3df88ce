"""Every rule of a graph run by itself for `gradcheck`: what it returns, what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu.backend import module_of
from tinygrad_edu.dtypes import Array, from_numpy, is_floating
from tinygrad_edu.engine.graph import Node, Part
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.engine.walk import gradients


class GradcheckError(RuntimeError):
    """A gradient is not what finite differences say; the message shows both."""


def recorded(outputs: Sequence[Any]) -> list[Node]:
    """The nodes of all operations that led to the outputs."""
    seen: dict[Node, None] = {}
    todo = [y.node for y in outputs if y.node is not None]
    while todo:
        node = todo.pop()
        if node in seen or node.is_leaf:
            continue
        seen[node] = None
        todo.extend([edge for edge in node.edges if edge is not None])
    return list(seen)


def check_rules(outputs: Sequence[Any], dtypes: bool) -> None:
    """Run every rule once by itself, with a random gradient, and look at what it returns.

    The walk would hide some faults: it sums a gradient down to the shape of its input and casts it
    to its type.
    """
    nodes = recorded(outputs)
    parts: dict[Node, list[Any]] = {}
    for node in nodes:
        if isinstance(node, Part):
            whole = node.edges[0]
            assert whole is not None
            parts.setdefault(whole, [None] * whole.parts)[node.index] = _gradient_for(node)
    for node in nodes:
        if not isinstance(node, Part):
            g = parts[node] if node.parts else _gradient_for(node)
            _check_rules_of(node, g, dtypes)


def _gradient_for(node: Node) -> Array:
    g = np.random.default_rng(3).standard_normal(node.shape).astype(node.dtype)
    example = next((k for k in node.kept or () if hasattr(k, "dtype")), g)
    return module_of(example).asarray(g)


def _check_rules_of(node: Node, g: Any, dtypes: bool) -> None:
    before = [None if part is None else part.copy() for part in g] if node.parts else g.copy()
    with no_grad(), np.errstate(all="ignore"):
        results = list(gradients(node, node.kept, g))
    if not all(
        a is b or (a == b).all()
        for a, b in zip(g if node.parts else [g], before if node.parts else [before], strict=True)
    ):
        raise GradcheckError(f"a rule of {node.name()} writes into the gradient it is given")
    for i, gx in results:
        edge = node.edges[i] if i < len(node.edges) else None
        if edge is None or gx is None:
            continue
        which = f"{node.name()} returned an invalid gradient at index {i}"
        if not _sums_to(gx.shape, edge.shape):
            raise GradcheckError(
                f"{which} - got {list(gx.shape)} but expected shape compatible with"
                f" {list(edge.shape)}"
            )
        least = min(edge.dtype, node.dtype, key=lambda d: d.itemsize)
        if dtypes and (not is_floating(gx.dtype) or gx.dtype.itemsize < least.itemsize):
            raise GradcheckError(
                f"{which} - expected dtype {from_numpy(least)!r} but got {from_numpy(gx.dtype)!r}"
            )


def _sums_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether broadcasting can lead from `target` to `shape`."""
    extra = len(shape) - len(target)
    return extra >= 0 and all(
        size in (1, big) for size, big in zip(target, shape[extra:], strict=True)
    )
