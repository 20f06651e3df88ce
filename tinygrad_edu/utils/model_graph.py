"""The graph of a model as it runs once: what `SummaryWriter.add_graph` draws.

A listener of calls (engine/mode.py) notes each operation, and hooks on the modules note where in
the model it was.  Tensors are told apart by their arrays, which a write in place keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tinygrad_edu.engine.graph import Storage, TensorBase
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.engine.tree import flatten
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
        self.nodes: dict[str, GraphNode] = {}
        self.places = _places(model)
        self.within = ["model"]
        self.makers: dict[int, tuple[Any, int, str]] = {}
        """By array: the array, the version of its memory then, and the node that made it."""
        self.readers: dict[Storage, tuple[int, str]] = {}
        """By memory: its version when it was last read, and the node that read it."""
        self.owned: dict[int, str] = {}
        for name, t in (*model.named_parameters(), *model.named_buffers()):
            owner, _, last = name.rpartition(".")
            self.owned[id(t.array)] = f"{self.places[owner]}/{last}"

    def add(self, name: str, op: str, inputs: list[str], tensors: Sequence[Any]) -> str:
        """One more node, which made these tensors; its name is changed if it is taken."""
        own, count = name, 0
        while own in self.nodes:
            count += 1
            own = f"{name}_{count}"
        self.nodes[own] = GraphNode(own, op, inputs, [[*t.array.shape] for t in tensors])
        for t in tensors:
            self.makers[id(t.array)] = (t.array, t._storage.version, own)
        return own

    def maker(self, t: Any) -> str:
        """The node that made a tensor; of one that came from elsewhere, a new one."""
        if id(t.array) not in self.makers:
            place = self.owned.get(id(t.array))
            name = f"{self.within[-1]}/constant" if place is None else place
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
        tensors = _tensors((args, kwargs))
        if not isinstance(op, Primitive) or not tensors:
            return make(*args, **kwargs)
        inputs = [self.maker(t) for t in tensors]
        version = tensors[0]._storage.version
        result = make(*args, **kwargs)
        name = f"{self.within[-1]}/{op.name}"
        name = self.add(name, f"aten::{op.name}", inputs, _tensors(result))
        self.readers[tensors[0]._storage] = version, name
        return result

    def left(self, *args: object) -> None:
        """A hook: a module has ended."""
        self.within.pop()


def _places(model: Any) -> dict[str, str]:
    """Of each module, by name, its place: `Net/Sequential[body]/Linear[0]`."""
    found = {"": type(model).__name__}
    for name, module in model.named_modules():
        if name:
            above, _, own = name.rpartition(".")
            found[name] = f"{found[above]}/{type(module).__name__}[{own}]"
    return found


def _tensors(value: object) -> list[Any]:
    return [part for part in flatten(value) if isinstance(part, TensorBase)]


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
    with ExitStack() as after:
        for name, module in model.named_modules():
            after.callback(setattr, module, "training", module.training)
            module.training = False
            place = tracer.places[name]
            enter = module.register_forward_pre_hook(
                lambda _, args, place=place: tracer.within.append(place)
            )
            after.enter_context(enter)
            after.enter_context(module.register_forward_hook(tracer.left, always_call=True))
        after.callback(setattr, state, "mode", state.mode)
        state.mode = state.mode.but(listeners=(*state.mode.listeners, tracer.heard))
        after.enter_context(no_grad())
        results = [(t, tracer.maker(t)) for t in _tensors(model(*args))]
    for i, (t, maker) in enumerate(results, 1):
        tracer.add(f"output/output.{i}", "IO Node", [maker], [t])
    return [*tracer.nodes.values()]
