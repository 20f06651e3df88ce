"""The graph of a model as it runs once: what `SummaryWriter.add_graph` draws.

A listener of calls (engine/mode.py) notes each operation, and hooks on the modules note where in
the model it was.  Tensors are told apart by their arrays, which a write in place keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tinygrad_edu.engine.graph import Storage, TensorBase
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.engine.types import Call


@dataclass
class GraphNode:
    """An operation, a parameter, an input or an output.

    Attributes:
        name: its place in the model and its own name: `Net/Linear[head]/linear`.
        op: what it does: `aten::linear`, `prim::GetAttr`, `IO Node`.
        inputs: the names of the nodes it reads.
        shapes: of its results.
    """

    name: str
    op: str
    inputs: list[str] = field(default_factory=list)
    shapes: list[list[int]] = field(default_factory=list)


class Tracer:
    """Notes what runs while it listens."""

    def __init__(self, model: Any) -> None:
        self.nodes: list[GraphNode] = []
        self.scopes = _scopes(model)
        self.within: list[str] = []
        self.taken: set[str] = set()
        self.makers: dict[int, tuple[Any, int, str]] = {}
        """By array: the array, the version of its memory then, and the node that made it."""
        self.readers: dict[Storage, tuple[int, str]] = {}
        """By memory: its version when it was last read, and the node that read it."""
        named = [*model.named_parameters(), *model.named_buffers()]
        self.owned = {id(t.array): _place(self.scopes, model, name) for name, t in named}

    def add(self, name: str, op: str, inputs: list[str], tensors: Sequence[Any]) -> str:
        """One more node, which made these tensors; its name is changed if it is taken."""
        own, count = name, 0
        while own in self.taken:
            count += 1
            own = f"{name}_{count}"
        self.taken.add(own)
        self.nodes.append(GraphNode(own, op, inputs, [[*t.array.shape] for t in tensors]))
        for t in tensors:
            self.makers[id(t.array)] = (t.array, t._storage.version, own)
        return own

    def maker(self, t: Any) -> str:
        """The node that made a tensor; of one that came from elsewhere, a new one."""
        if id(t.array) not in self.makers:
            place = self.owned.get(id(t.array))
            name = f"{'/'.join(self.within[-1:]) or 'model'}/constant" if place is None else place
            return self.add(name, "prim::Constant" if place is None else "prim::GetAttr", [], [t])
        array, version, name = self.makers[id(t.array)]
        now = t._storage.version
        read_at, reader = self.readers.get(t._storage, (-1, ""))
        if version <= read_at < now:  # what was read last has been written in place
            self.makers[id(t.array)] = array, now, reader
            return reader
        return name

    def heard(self, op: Primitive, make: Call, *args: object, **kwargs: object) -> Any:
        """The listener: one node for each operation."""
        tensors = list(_tensors((args, kwargs)))
        if not isinstance(op, Primitive) or not tensors:
            return make(*args, **kwargs)
        inputs = [self.maker(t) for t in tensors]
        version = tensors[0]._storage.version
        result = make(*args, **kwargs)
        scope = self.within[-1] if self.within else "model"
        name = self.add(f"{scope}/{op.name}", f"aten::{op.name}", inputs, list(_tensors(result)))
        self.readers[tensors[0]._storage] = version, name
        return result


def _scopes(model: Any) -> dict[int, str]:
    """Of each module its place: `Net/Sequential[body]/Linear[0]`."""
    found: dict[int, str] = {}

    def look(module: Any, place: str) -> None:
        found.setdefault(id(module), place)
        for name, child in module.named_children():
            look(child, f"{place}/{type(child).__name__}[{name}]")

    look(model, type(model).__name__)
    return found


def _place(scopes: dict[int, str], model: Any, name: str) -> str:
    owner, _, last = name.rpartition(".")
    return f"{scopes[id(model.get_submodule(owner))]}/{last}"


def _tensors(value: object) -> Any:
    if isinstance(value, TensorBase):
        yield value
    elif isinstance(value, dict):
        yield from _tensors([*value.values()])
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)


def trace(model: Any, inputs: object) -> list[GraphNode]:
    """Run a model once, in eval mode and without a gradient, and say what ran.

    Args:
        model: a module.
        inputs: a tensor, or a list or tuple of what the model is called with.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.utils.model_graph import trace
    >>> nodes = trace(torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.ReLU()), torch.ones(3, 2))
    >>> [(node.name, node.shapes) for node in nodes if node.op.startswith("aten")]
    [('Sequential/Linear[0]/linear', [[3, 1]]), ('Sequential/ReLU[1]/relu', [[3, 1]])]
    """
    args = tuple(inputs) if isinstance(inputs, (list, tuple)) else (inputs,)
    tracer = Tracer(model)
    for i, t in enumerate(_tensors(args)):
        tracer.add(f"input/input.{i}" if i else "input/input", "IO Node", [], [t])
    training = {module: module.training for module in model.modules()}
    handles, before = [], state.mode
    try:
        for module in training:
            module.training = False
            place = tracer.scopes[id(module)]
            handles += [
                module.register_forward_pre_hook(
                    lambda _, args, place=place: tracer.within.append(place)
                ),
                module.register_forward_hook(
                    lambda _, args, y: void(tracer.within.pop()), always_call=True
                ),
            ]
        state.mode = before.but(listeners=(*before.listeners, tracer.heard))
        with no_grad():
            results = list(_tensors(model(*args)))
            for i, t in enumerate(results, 1):
                shape = [[*t.array.shape]]
                tracer.nodes.append(
                    GraphNode(f"output/output.{i}", "IO Node", [tracer.maker(t)], shape)
                )
    finally:
        state.mode = before
        for handle in handles:
            handle.remove()
        for module, was in training.items():
            module.training = was
    return tracer.nodes


def void(_: object) -> None:
    """Nothing, of anything: a hook must not return what would replace the output."""
