"""Recording: a run's calls of operations, as they reach the arrays.

The recorder is a listener (engine/mode.py).  It lets every operation compute, and notes the forward
function with the arrays it was given, by name.  Where an array is unknown (no argument, no
tensor that the guards know, no result of a recorded call) something was computed that we did
not see, and the recording is given up.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import GeneratorType
from typing import Any

import numpy as np

from tinygrad_edu import random
from tinygrad_edu.compiler.lower import lower
from tinygrad_edu.compiler.program import Walk, Writer, as_tuple
from tinygrad_edu.compiler.watch import SIMPLE, Refused, Watch, refuse
from tinygrad_edu.dtypes import is_half
from tinygrad_edu.engine import tree
from tinygrad_edu.engine.composed import Composed
from tinygrad_edu.engine.graph import INFERENCE, Node, TensorBase
from tinygrad_edu.engine.levels import tensors
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.kernels.memory_order import stored
from tinygrad_edu.ops import indexing

_DRAWS = {vars(draw)["composed"] for draw in (random.dropout_noise, random.keep_mask)}
_SIZE_BY_VALUE = {"nonzero", "masked_select", "argwhere", "unique", "bincount", "repeat_interleave",
                  "multinomial", "histc"}  # fmt: skip
_EFFECTS = {"zero_grad", "backward", "clip", "optimizer_step", "scheduler_step"}
"""Steps of training, by the names under which they are heard."""


class Recorder:
    """Listens to a run.

    Args:
        watch: is told when an operation is computing.
        given: the tensors among the arguments; None to listen without recording.
        outside: the tensors that the guards know.

    Attributes:
        handed: the tensors that the program is given, by name: the arguments, and those found
            outside.
        names: what arrays are called, by `id`; `alive` keeps them, or an id would come again.
        kept: of what a node keeps, by `id`, the names; a renamed copy of the node keeps the same.
        walked: the nodes of backward passes.
        effects: there was a step of training.
    """

    def __init__(self, watch: Watch, given: Any = None, outside: Sequence[Any] = ()) -> None:
        self.watch, self.given = watch, given
        self.outside = {id(t.array): t for t in outside}
        self.handed: dict[str, Any] = {}
        self.names: dict[int, str] = {}
        self.alive: list[Any] = []
        self.writer = Writer()
        self.count = 0
        self.effects = False
        self.walked: set[Any] = set()
        self.kept: dict[int, list[str]] = {}
        self.made: Any = None
        nodes = {t.node for t in outside if t.node is not None}
        if len(self.outside) < len(outside):
            watch.refuse("two tensors are one array")
        for i, t in enumerate(given or ()):
            if id(t.array) in self.outside or t.node in nodes:
                watch.refuse("an argument is a tensor that the function also finds elsewhere")
            self.hand(t, f"x{i}")

    def hand(self, t: Any, name: str) -> str:
        """A tensor that the program is given."""
        self.handed[name] = t
        return self.known(t.array, name)

    def known(self, value: Any, name: str = "") -> str:
        """From now on this is called so; a computed array gets a new name."""
        self.count += not name
        name = name or f"v{self.count}"
        self.names[id(value)] = name
        self.alive.append(value)
        return name

    def name_of(self, value: Any) -> str | None:
        """The name of an array; None for what is none."""
        if not isinstance(value, (np.ndarray, np.generic)):
            strange = isinstance(value, (TensorBase, random.Generator))
            strange = strange or hasattr(value, "__cuda_array_interface__")
            refuse(strange, f"an operation takes a {type(value).__name__}")
            return None
        found = self.names.get(id(value))
        if found is not None:
            return found
        refuse(is_half(value.dtype), "16-bit floats")
        if id(value) in self.outside:
            place = len(self.handed) - len(self.given or ())
            return self.hand(self.outside[id(value)], f"w{place}")
        if id(value) in self.watch.constants:
            self.alive.append(value)
            return self.writer.name(value, "const")
        raise Refused("an array was computed without an operation")

    # ---- listening

    def heard(self, op: Any, make: Any, *args: Any, **kwargs: Any) -> Any:
        """Let a call be made, and note it (see mode.py)."""
        watch = self.watch
        effect = op.__class__ is Composed and op.name in _EFFECTS
        if watch.busy or not (effect or op in _DRAWS or isinstance(op, Primitive)):
            return make(*args, **kwargs)
        watch.busy = True
        try:
            if effect:
                args = tuple([[*a] if isinstance(a, GeneratorType) else a for a in args])
                self.effects = True
            if effect and op.name == "backward":
                self.attempt(self.write_walk, args, kwargs)
            self.made = None
            given = tensors((args, kwargs))
            plain = isinstance(op, Primitive) and not op.view and "out" not in kwargs
            if plain and not any([is_half(t.array.dtype) for t in given]):
                y = op.call(*args, _by=functools.partial(self.compute, op), **kwargs)
            else:
                y = make(*args, **kwargs)
            if isinstance(op, Primitive):
                self.attempt(self.write, op, args, kwargs, y)
            elif op.name != "backward":
                self.attempt(self.write_call, op, make, args, kwargs, y)
        finally:
            watch.busy = False
        return y

    def attempt(self, write: Any, *args: Any) -> None:
        """Write something; whatever prevents it, the call itself is not concerned."""
        if self.given is not None and self.watch.problem is None:
            try:
                write(*args)
            except Exception as problem:
                self.watch.refuse(str(problem))

    def compute(self, op: Any, *values: Any) -> Any:
        """The forward function, as the call gives it its arrays."""
        y = op.forward(*values)
        self.made = (values, y)
        return y

    # ---- writing

    def write(self, op: Any, args: Any, kwargs: Any, result: Any) -> None:
        """The line of a call."""
        refuse("out" in kwargs, "`out=` is written to")
        for t in tensors((args, kwargs)):
            self.name_of(t.array)
        refuse(op.name in _SIZE_BY_VALUE, f"the size of {op.name}'s result depends on values")
        results = result if op.multiple else (result,)
        arrays = [r.array if isinstance(r, TensorBase) else r for r in results]
        if op.view:
            bound = op.bind(args, kwargs) if kwargs or len(args) != op.arity else args
            source = bound[0].array if isinstance(bound[0], TensorBase) else bound[0]
            self.made = ((source, *bound[1:]), tuple(arrays) if op.multiple else arrays[0])
        refuse(self.made is None, f"{op.name} was not computed by its forward function")
        values, y = self.made
        y, *saved = y if op.saves else (y,)
        index = tree.flatten([*values[1:]]) if op.forward.__module__ == indexing.__name__ else []
        masks = [getattr(part, "dtype", None) == np.bool_ for part in index]
        refuse(any(masks), "a mask is used as an index")  # it gives as many as it is true
        self.alive.append((values, y, saved))
        inputs = [self.writer.template(v, self.name_of) for v in values]
        names = [self.known(a) for a in arrays]
        extra = [self.known(object()) for _ in saved]  # it may be an argument itself next time
        left = as_tuple(names) if op.multiple else names[0]
        for r in tensors(result):
            if r.node is not None:
                kept, plan = (r.node.whole or r.node).kept, r.node.plan
                shapes = [self.writer.constant(shape) for shape in kept[len(plan.keep) :]]
                self.kept[id(kept)] = [*plan.pick((*inputs, left, *extra)), *shapes]
                self.alive.append(kept)
        parts = y if op.multiple else (y,)
        self.write_result(op, inputs, ", ".join([left, *extra]), arrays, parts)

    def write_result(self, op: Any, inputs: Any, left: str, arrays: Any, parts: Any) -> None:
        """The lines that compute a result; each array of it in its own layout."""
        writer, y, (values, _) = self.writer, arrays[0], self.made
        lowered = lower(writer, op.forward, inputs, values, y.shape, y.dtype)
        if lowered is not None and parts[0] is y:
            for text in f"{left} = {lowered}".format(y=left).split("\n"):
                writer.line(text)
            return
        writer.line(f"{left} = {writer.call(op.forward, op.name, inputs)}")
        for part, array in zip(parts, arrays, strict=True):
            name = self.names[id(array)]
            if part.__class__ is not np.ndarray:
                writer.line(f"{name} = as_array({name})")
            elif part.strides != array.strides:
                refuse(op.multiple or op.saves, f"{op.name} gives another layout than it computes")
                made = writer.call(stored, "stored", [name, repr(array.strides)])
                writer.line(f"{name} = {made}")

    def write_call(self, op: Any, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        """The line of a draw of random numbers, or of a step of training: it is called again."""
        closure = op.name == "optimizer_step" and (len(args) > 1 or kwargs)
        refuse(closure, "a step of an optimizer with a closure")
        known = {id(t) for t in self.outside.values()}
        computed = [id(t) not in known for t in tensors((args, kwargs))]
        refuse(any(computed), "a step of training is given a tensor that is computed")
        given = [self.names.get(id(a)) or self.writer.constant(a) for a in args]
        given += [f"{name}={self.writer.constant(a)}" for name, a in kwargs.items()]
        call = self.writer.call(function, function.__name__, given)
        if result is not None:
            made = result.array if isinstance(result, TensorBase) else result
            call += "" if made is result else ".array"
            call = f"{self.known(made)} = {call}"
        self.alive.append(args)
        self.writer.line(call)

    def write_walk(self, args: Any, kwargs: Any) -> None:
        """The lines of a backward pass."""
        given = {"inputs": None, "create_graph": False, **kwargs}
        (loss,), grads, *more = (*args, None) if len(args) == 1 else args
        special = [grads not in (None, (None,)), given["inputs"] is not None, given["create_graph"]]
        refuse(any([*special, *more[1:]]), "a backward pass with gradients, inputs or create_graph")
        kept, ends = self.graph([loss])
        beyond = not kept or not all([node.is_leaf for node in ends])
        refuse(beyond, "a backward pass goes beyond the function")
        root = object.__new__(Node)
        root.edges = tuple(ends)
        loss_name = self.writer.name(root, "loss")
        self.writer.line(f"with quiet({loss_name}), np.errstate(all='ignore'):")
        self.writer.margin *= 2
        Walk(self.writer, kept, ends, loss.node, self.writer.name(np.ones_like(loss.array), "one"))
        self.writer.margin = "    "
        retain = more[0] if more else given.get("retain_graph")
        self.walked.update(() if retain else kept)

    # ---- the end of the run

    def graph(self, results: list[Any]) -> tuple[dict[Any, list[str]], dict[Any, int]]:
        """The nodes behind the results, with the names of what they keep; and those where the
        recording ends: whose they are.
        """
        handed = enumerate(self.handed.values())
        ends = {t.node: i for i, t in handed if t.node is not None}
        kept: dict[Any, list[str]] = {}
        todo = [t.node for t in results if t.node is not None and t.node not in ends]
        while todo:
            node = todo.pop()
            if node not in kept and node not in ends:
                names: Any = self.kept.get(id(node.kept)) if node.whole is None else []
                strange = names is None or node.is_leaf or node.hooks is not None
                strange = strange or not isinstance(node.plan.op, Primitive)
                refuse(strange, "the graph has a hook, or leads to a tensor that is not known")
                kept[node] = names
                todo.extend([edge for edge in node.edges if edge is not None])
        return kept, ends

    def finish(self, answer: Any) -> tuple[str, list[Any], Any]:
        """The program: its source, the tensors from outside that it is given, and itself.

        It ends with the tensors that the run returns.
        """
        leaves, writer = tree.flatten(answer), self.writer
        handed = {id(t): f"given[{i}]" for i, t in enumerate(self.handed.values())}
        found = {id(t): t for t in leaves if isinstance(t, TensorBase) and id(t) not in handed}
        results = [*found.values()]
        self.check_results(leaves, results)
        texts = handed | {id(t): f"t{i}" for i, t in enumerate(results)}
        for t in results:
            writer.line(f"{texts[id(t)]} = wrap({self.name_of(t.array)})")
        self.write_nodes(results, texts)
        made = [texts.get(id(x)) or writer.constant(x) for x in leaves]
        if len(leaves) != 1 or leaves[0] is not answer:
            frame = writer.name(tree.change(answer, lambda leaf: None), "answer")
            made = [f"rebuild({frame}, [{', '.join(made)}])"]
        writer.line(f"return {made[0]}")
        source, program = writer.function(["given", *self.handed])
        return source, [*self.handed.values()][len(self.given or ()) :], program

    def check_results(self, leaves: list[Any], results: list[Any]) -> None:
        """Refuse results that share memory with what they must not."""
        own = [t._storage for t in results if t._storage is not INFERENCE]
        others = {t._storage for t in self.handed.values()}
        shared = len({*own}) < len(own) or not others.isdisjoint(own)
        refuse(shared, "results share memory with each other, or with an argument")
        for leaf in leaves:
            strange = not isinstance(leaf, TensorBase) and type(leaf) not in SIMPLE
            refuse(strange, f"a result is a {type(leaf).__name__}")

    def write_nodes(self, results: list[Any], texts: dict[int, str]) -> None:
        """The lines that make the nodes of the results; those of a past walk are freed."""
        kept, ends = self.graph([t for t in results if t.node not in self.walked])
        refuse(self.effects and kept, "a result of a training step could be walked backward")
        kept |= {t.node: [] for t in results if t.node in self.walked}
        known = (*self.handed.values(), *results)
        owners = {id(t.array): f"{texts[id(t)]}._storage" for t in known}
        names = {node: f"current_node(given[{i}])" for node, i in ends.items()}
        for i, node in enumerate(sorted(kept, key=lambda node: node.number)):
            names[node], freed, plan = f"n{i}", node in self.walked, node.plan
            shape = f"{self.writer.constant(node.shape)}, {self.writer.name(node.dtype, 't')}"
            if node.whole is not None and not freed:
                made = f"{names[node.whole]}.part({node.index}, {shape})"
            else:
                edges = as_tuple([names.get(edge, "None") for edge in node.edges if not freed])
                guards = [_guard(value, owners) for value in (node.kept or ())[: len(plan.keep)]]
                keeps = "None" if freed else as_tuple(kept[node])
                kind = type(node.whole or node)
                given = [self.writer.name(plan, "plan"), edges, keeps, as_tuple(guards), shape]
                made = self.writer.call(kind, kind.__name__, given)
            self.writer.line(f"n{i} = {made}")
            if node.parts:
                self.writer.line(f"n{i}.parts = {node.parts}")
        for t in results:
            if t.node is not None:
                self.writer.line(f"{texts[id(t)]}.node = {names[t.node]}")


def _guard(value: Any, owners: dict[int, str]) -> str:
    """The storage of something that a node keeps, as an expression."""
    if type(value) in (tuple, list):
        return as_tuple([_guard(v, owners) for v in value])
    return owners.get(id(value), "None")
