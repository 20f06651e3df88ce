"""Recording: a run's calls of operations, as they reach the arrays.

The recorder is a listener (engine/mode.py).  It lets every operation compute, and notes the forward
function with the arrays it was given, by name.  Where an array is unknown (no argument, no
tensor that the guards know, no result of a recorded call) something was computed that we did
not see, and the recording is given up.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from types import GeneratorType
from typing import Any

import numpy as np

from tinygrad_edu import random
from tinygrad_edu.compiler.lower import FORWARD, lower_noise
from tinygrad_edu.compiler.program import Step, Walk, Writer
from tinygrad_edu.compiler.watch import Watch
from tinygrad_edu.dtypes import common, is_half
from tinygrad_edu.engine import tree
from tinygrad_edu.engine.composed import Composed
from tinygrad_edu.engine.graph import Node, Storage, TensorBase
from tinygrad_edu.engine.levels import tensors
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.kernels.memory_order import in_turn
from tinygrad_edu.ops import indexing, masking

_NOISE = random.dropout_noise.composed  # type: ignore[attr-defined]
_DRAWS = {_NOISE, random.keep_mask.composed}  # type: ignore[attr-defined]
_SIZE_BY_VALUE = {"nonzero", "masked_select", "argwhere", "unique", "bincount", "repeat_interleave",
                  "multinomial", "histc"}  # fmt: skip


_EFFECTS = {"zero_grad", "backward", "clip", "scheduler_step"}
"""Steps of training, by the names under which they are heard; that of an optimizer has hooks."""


class Refused(Exception):
    """The run cannot be recorded, and why."""


def turned(forward: Any, *values: Any) -> Any:
    """An elementwise result laid out in memory as torch does (see `call_binary` in fast.py)."""
    y = forward(*values)
    if len(values) == 2 and all([hasattr(v, "dtype") for v in values]):
        return in_turn(y, *values, dtype=common(*values) if y.dtype == bool else y.dtype)
    return in_turn(y, *values)


class Recorder:
    """Listens to a run.

    Args:
        watch: is told when an operation is computing.
        given: the tensors among the arguments; None to listen without recording.
        outside: the tensors that the guards know.
    """

    def __init__(self, watch: Watch, given: list[Any] | None, outside: Sequence[Any] = ()) -> None:
        self.watch, self.given = watch, given
        self.outside = {id(t.array): t for t in outside}
        self.used: list[Any] = []
        self.names: dict[int, str] = {}
        self.alive: list[Any] = []
        self.owners: dict[str, Storage] = {}
        self.versions: dict[int, tuple[Storage, int]] = {}
        self.writer = Writer()
        self.count = 0
        self.effects = False
        self.walked: set[Any] = set()
        self.saved: dict[int, list[str]] = {}
        self.thread = threading.get_ident()
        self.made: tuple[Any, Any] | None = None
        self.position = random.default_generator.get_state_bytes()
        for i, t in enumerate(given or ()):
            self.known(t.array, f"x{i}")
            self.note(t)

    def known(self, array: Any, name: str) -> str:
        """From now on this array is called so."""
        self.names[id(array)] = name
        self.alive.append(array)
        return name

    def fresh(self, array: Any) -> str:
        """A new name for a computed array."""
        self.count += 1
        return self.known(array, f"v{self.count}")

    def note(self, t: Any) -> None:
        """Remember the version of a tensor's memory, to notice writes."""
        self.versions.setdefault(id(t._storage), (t._storage, t._storage.version))
        name = self.names.get(id(t.array))
        if name is not None:
            self.owners[name] = t._storage

    def name_of(self, value: Any) -> str | None:
        """The name of an array; None for what is none."""
        if not isinstance(value, (np.ndarray, np.generic)):
            if isinstance(value, (TensorBase, random.Generator)) or hasattr(
                value, "__cuda_array_interface__"
            ):
                raise Refused(f"an operation takes a {type(value).__name__}")
            return None
        found = self.names.get(id(value))
        if found is not None:
            return found
        if is_half(value.dtype):
            raise Refused("16-bit floats")
        if id(value) in self.outside:
            t = self.outside[id(value)]
            self.used.append(t)
            found = self.known(value, f"w{len(self.used) - 1}")
            self.note(t)
            return found
        if id(value) in self.watch.constants:
            self.alive.append(value)
            return self.writer.name(value, "const")
        raise Refused("an array was computed without an operation")

    # ---- listening

    def heard(self, op: Any, make: Any, *args: Any, **kwargs: Any) -> Any:
        """Let a call be made, and note it (see mode.py)."""
        watch = self.watch
        if op.__class__ is Composed and op.name in _EFFECTS and not watch.busy:
            return self.effect(op.name, make, args, kwargs)
        draws = op in _DRAWS if not isinstance(op, Primitive) else False
        if watch.busy or not (draws or isinstance(op, Primitive)):
            return make(*args, **kwargs)
        watch.busy = True
        try:
            self.check_draws()
            given = tensors((args, kwargs))
            if draws:
                y = make(*args, **kwargs)
                self.made = (args, y)
            elif op.view or "out" in kwargs or any([is_half(t.array.dtype) for t in given]):
                y = make(*args, **kwargs)
            else:
                self.made = None
                y = op.call(*args, _by=functools.partial(self.compute, op), **kwargs)
            if self.given is not None and watch.problem is None:
                self.attempt(self.write, op, args, kwargs, y)
        finally:
            self.position = random.default_generator.get_state_bytes()
            watch.busy = False
        return y

    def effect(self, name: str, make: Any, args: Any, kwargs: Any) -> Any:
        """A step of training: it is called again as it is, but for `backward`."""
        watch = self.watch
        watch.busy = True
        try:
            self.check_end()
            args = tuple([[*a] if isinstance(a, GeneratorType) else a for a in args])
            recording = self.given is not None and watch.problem is None
            if recording and name == "backward":
                self.attempt(self.write_walk, args, kwargs)
            y = make(*args, **kwargs)
            if recording and name != "backward":
                self.attempt(self.write_effect, make, args, kwargs, y)
        finally:
            self.after_effect()
        return y

    def stepping(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """An optimizer begins a step (a hook of all optimizers)."""
        if threading.get_ident() == self.thread and not self.watch.busy:
            self.check_end()
            if len(args) > 1 or kwargs:
                self.watch.refuse("a step of an optimizer with a closure")
            self.watch.busy = True
            self.inside = optimizer

    def stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """It has made it."""
        if self.inside is optimizer and threading.get_ident() == self.thread:
            if self.given is not None:
                self.writer.line(f"{self.writer.name(optimizer, 'optimizer')}.step()")
            self.inside = None
            self.after_effect()

    inside: Any = None

    def after_effect(self) -> None:
        """What was written in a step of training is written in the replay, too."""
        self.effects = True
        self.versions = {key: (s, s.version) for key, (s, _) in self.versions.items()}
        self.position = random.default_generator.get_state_bytes()
        self.watch.busy = False

    def attempt(self, write: Any, *args: Any) -> None:
        """Write something; whatever prevents it, the call itself is not concerned."""
        try:
            write(*args)
        except Exception as problem:
            self.watch.refuse(str(problem))

    def compute(self, op: Any, *values: Any) -> Any:
        """The forward function, as the call gives it its arrays."""
        y = op.forward(*values)
        self.made = (values, y)
        return y

    def check_draws(self) -> None:
        """Random numbers are drawn by operations alone, or the replay would not draw them."""
        if self.position.tobytes() != random.default_generator.get_state_bytes().tobytes():
            self.watch.refuse("random numbers are drawn outside of dropout")

    # ---- writing

    def write(self, op: Any, args: Any, kwargs: Any, result: Any) -> None:
        """The line of a call."""
        if "out" in kwargs:
            raise Refused("`out=` is written to")
        for t in tensors((args, kwargs)):
            self.name_of(t.array)
            self.note(t)
        if not isinstance(op, Primitive):
            self.write_draw(op, args, result)
            return
        if op.name in _SIZE_BY_VALUE:
            raise Refused(f"the size of {op.name}'s result depends on values")
        results = result if op.multiple else (result,)
        arrays = [r.array if isinstance(r, TensorBase) else r for r in results]
        if op.view:
            bound = op.bind(args, kwargs) if kwargs or len(args) != op.arity else args
            source = bound[0].array if isinstance(bound[0], TensorBase) else bound[0]
            values, parts, saved = (source, *bound[1:]), tuple(arrays), []
        else:
            if self.made is None:
                raise Refused(f"{op.name} was not computed by its forward function")
            values, y = self.made
            y, *saved = y if op.saves else (y,)
            parts = y if op.multiple else (y,)
        _check_index(op, values)
        inputs = [self.writer.template(v, self.name_of) for v in values]
        forward = self.writer.name(op.forward, op.name)
        call = f"{forward}({', '.join(inputs)})"
        if not op.multiple and not op.saves and isinstance(parts[0], np.ndarray):
            if parts[0].strides != arrays[0].strides:
                check = turned(op.forward, *values)
                if check.strides != arrays[0].strides or not op.elementwise:
                    raise Refused(f"{op.name} gives another layout than it computes")
                call = f"{self.writer.name(turned, 'turned')}({', '.join([forward, *inputs])})"
                parts = tuple(arrays)
        names = [self.fresh(a) for a in arrays]
        extra = []
        for value in saved:  # it may be another kind of thing next time, or an argument itself
            self.count += 1
            extra.append(f"v{self.count}")
            self.alive.append(value)
        if saved and isinstance(results[0], TensorBase) and results[0].node is not None:
            node = results[0].node.whole or results[0].node
            self.saved[id(node.kept)] = extra
            self.alive.append(node.kept)
        lower = FORWARD.get(op.forward) if parts[0] is arrays[0] else None
        lowered = None if lower is None else lower(self.writer, names[0], inputs, values)
        if lowered is not None:
            for text in lowered:
                self.writer.line(text)
            self.note(results[0])
            return
        left = ", ".join(names) + "," * (op.multiple and len(names) == 1)
        left = f"({left})" if op.multiple and op.saves else left
        self.writer.line(f"{', '.join([left, *extra])} = {call}")
        for name, part, array in zip(names, parts, arrays, strict=True):
            if part.__class__ is not np.ndarray:
                self.writer.line(f"{name} = asarray({name})")
            elif part.strides != array.strides:
                raise Refused(f"{op.name} gives another layout than it computes")
            self.alive.append(part)
        for r in results:
            if isinstance(r, TensorBase):
                self.note(r)

    def write_draw(self, op: Any, args: Any, result: Any) -> None:
        """The line of a draw from the stream of random numbers."""
        generator, like, *rest = args
        if generator is not random.default_generator:
            raise Refused("random numbers of a generator of one's own")
        if not all([type(p) in (int, float) for p in rest]):
            raise Refused("a draw with parameters that are no numbers")
        call = lower_noise(self.writer, like, *rest) if op is _NOISE else None
        if call is not None:
            self.writer.line(f"{self.fresh(result)} = {call}")
            return
        pattern = self.names.get(id(like)) or self.writer.name(like, "like")
        self.alive.append(like)
        function = self.writer.name(getattr(random, op.name), op.name)
        drawn = ", ".join([self.writer.name(generator, "stream"), pattern, *map(repr, rest)])
        self.writer.line(f"{self.fresh(result)} = {function}({drawn})")

    def write_effect(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        """The line of a step of training, with the very objects that it was given."""
        known = {id(t) for t in self.outside.values()}
        if any([id(t) not in known for t in tensors((args, kwargs))]):
            raise Refused("a step of training is given a tensor that is computed")
        given = [self.writer.constant(a) for a in args]
        given += [f"{name}={self.writer.constant(a)}" for name, a in kwargs.items()]
        call = f"{self.writer.name(function, function.__name__)}({', '.join(given)})"
        if isinstance(result, TensorBase):
            call = f"{self.fresh(result.array)} = {call}.array"
            self.note(result)
        self.writer.line(call)

    def write_walk(self, args: Any, kwargs: Any) -> None:
        """The lines of a backward pass."""
        given = {"inputs": None, "create_graph": False, **kwargs}
        (loss,), grads, *more = (*args, None) if len(args) == 1 else args
        plain_walk = given["inputs"] is None and not given["create_graph"] and not any(more[1:])
        if not plain_walk or (grads is not None and grads != (None,)):
            raise Refused("a backward pass with gradients, inputs or create_graph")
        steps, ends = self.graph([loss])
        if not steps or not all([node.is_leaf for node in ends]):
            raise Refused("a backward pass goes beyond the function")
        start = self.writer.name(np.ones_like(loss.array), "one")
        root = object.__new__(Node)
        root.edges = tuple(ends)
        self.writer.line(f"with quiet({self.writer.name(root, 'loss')}):")
        Walk(self.writer, steps, ends, [loss.node], start)
        retain = more[0] if more else given.get("retain_graph")
        self.walked.update(() if retain else steps)

    # ---- the end of the run

    def check_end(self) -> None:
        """Refuse if something was written, or drawn, that the replay would not."""
        self.check_draws()
        for storage, version in self.versions.values():
            if storage.version != version:
                self.watch.refuse("a tensor is written in place")

    def graph(self, results: list[Any]) -> tuple[dict[Any, Step], dict[Any, int]]:
        """The nodes behind the results, and those where the recording ends: whose they are."""
        ends: dict[Any, int] = {}
        for i, t in enumerate([*(self.given or ()), *self.used]):
            if t.node is not None:
                ends.setdefault(t.node, i)
        steps: dict[Any, Step] = {}
        todo = [t.node for t in results if t.node is not None and t.node not in ends]
        while todo:
            node = todo.pop()
            if node in steps or node in ends:
                continue
            if node.is_leaf or node.hooks is not None or not isinstance(node.plan.op, Primitive):
                raise Refused("the graph has a hook, or leads to a tensor that is not known")
            steps[node] = Step(node, self.kept_names(node))
            todo.extend([edge for edge in node.edges if edge is not None])
        return steps, ends

    def kept_names(self, node: Any) -> list[str]:
        """The names of what a node keeps: arguments, results, what the forward function saved."""
        if node.whole is not None:
            return []
        saved, first, keep = (
            self.saved.get(id(node.kept), ()),
            node.plan.op.arity + 1,
            node.plan.keep,
        )
        names = []
        for i, value in enumerate(node.kept):
            place = keep[i] - first if saved and i < len(keep) else -1
            known = saved[place] if place >= 0 else self.writer.template(value, self.name_of)
            names.append(known)
        return names


def _check_index(op: Any, values: Any) -> None:
    """A mask as an index gives as many elements as it is true."""
    module = op.forward.__module__
    if module in (indexing.__name__, masking.__name__) and "where" not in op.name:
        index = [getattr(v, "dtype", None) for v in tree.flatten(list(values[1:]))]
        if np.dtype(bool) in index and "masked_fill" not in op.name:
            raise Refused("a mask is used as an index")
