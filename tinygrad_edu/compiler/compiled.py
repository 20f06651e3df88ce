"""What `torch.compile` returns: a function that looks twice, and then replays.

The first call with some signature runs the function as it is, and is watched.  So does the second;
now it is known what to guard, and the operations' calls are recorded.  From the third on the
recording is replayed, while its guards hold.  What cannot be recorded runs as it is, always.
"""

from __future__ import annotations

import copy
import functools
from operator import attrgetter, is_
from operator import call as just_make
from typing import Any

import numpy as np

from tinygrad_edu import random
from tinygrad_edu.compiler.capture import Recorder, Refused
from tinygrad_edu.compiler.guards import State, Unguarded, Wrapper
from tinygrad_edu.compiler.program import NAME, Walk, as_tuple
from tinygrad_edu.compiler.watch import Watch, is_ours
from tinygrad_edu.dtypes import dtype, get_default_dtype, is_half
from tinygrad_edu.engine import tree
from tinygrad_edu.engine.graph import INFERENCE, Node, TensorBase
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.nodes import node_class
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.names.backends.mha import get_fastpath_enabled
from tinygrad_edu.nn.modules.hooks import everywhere
from tinygrad_edu.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

_SIMPLE = (bool, int, str, type(None), dtype)
_LOOKS = 16  # so many calls may be watched before what is not recorded yet just runs
_arrays, _nodes = attrgetter("array"), attrgetter("node")


class Unsupported(RuntimeError):
    """With `fullgraph=True`: the function cannot be recorded."""


class _Unseen(Exception):
    """An argument that no signature describes."""


class _Rules:
    """What the walk asks of a node's plan, of a whole recording.

    Its one rule is the program `backward`; every edge is one share of a gradient, so that the walk
    adds them one by one, in the order in which it would have without the recording.
    """

    variadic = multiple = False
    owns = True
    half, name, definition = "as it is", "compiled", None
    inputs: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    joint_needs: tuple[str, ...] = ()
    arrays = True

    def __init__(self, backward: Any, kept: int, outputs: int) -> None:
        self.op = self
        self.backward, self.outputs = backward, outputs
        self.names = tuple([f"saved{i}" for i in range(kept)]) or ("saved",)
        self.by_rules = kept
        self.joint_pick = tuple

    def joint(self, g: Any, *kept: Any) -> Any:
        """The gradients of all that the recording was computed from."""
        gs = g if self.outputs > 1 else [g]
        if any([isinstance(one, TensorBase) for one in gs]):
            raise RuntimeError(
                "torch.compile does not support double backward: call the function without it"
                " where create_graph=True is needed"
            )
        return self.backward(*gs, *kept)


class Recording:
    """A recorded run.

    Attributes:
        reason: why there is none and the function runs as it is; None if there is one.
        state: what must be as it was; None if nothing is known to change it.
        source: the programs.
    """

    reason: str | None = None
    source = ""

    def __init__(self, recorder: Recorder, answer: Any, kept_state: State) -> None:
        self.state = kept_state
        self.answer, self.used = answer, recorder.used
        self.effects, self.begun = recorder.effects, False
        recorder.writer.names["program"] = self
        self.given = len(recorder.given or ())
        leaves = tree.flatten(answer)
        found = [leaf for leaf in leaves if isinstance(leaf, TensorBase)]
        handed = {id(t): i for i, t in enumerate([*(recorder.given or ()), *self.used])}
        self.results = list({id(t): t for t in found if id(t) not in handed}.values())
        place = {id(t): i for i, t in enumerate(self.results)}
        self.leaves = [
            (0, place[id(x)])
            if id(x) in place
            else (1, handed[id(x)])
            if id(x) in handed
            else (2, x)
            for x in leaves
        ]
        self.check_results(recorder)
        names = [recorder.name_of(t.array) for t in self.results]
        self.freed = [t.node in recorder.walked for t in self.results]
        left = [t for t, freed in zip(self.results, self.freed, strict=True) if not freed]
        steps, ends = recorder.graph(left)
        if self.effects and steps:
            raise Refused("a result of a training step could be walked backward")
        self.write(recorder, names, steps, ends)
        self.known = kept_state.tensors
        self.arrays = [t.array for t in self.known]
        self.facts = [(a.shape, a.dtype, a.strides) for a in self.arrays]
        self.nodes = [t.node for t in self.known]
        self.views = [t for t in self.used if t.view_of is not None]
        self.results = []
        self.answer = tree.change(answer, lambda leaf: None)

    def check_results(self, recorder: Recorder) -> None:
        """Refuse results that share memory with what they must not."""
        given = [*(recorder.given or ()), *self.used]
        own = [t._storage for t in self.results if t._storage is not INFERENCE]
        if len(set(own)) < len(own) or not {t._storage for t in given}.isdisjoint(own):
            raise Refused("results share memory with each other, or with an argument")
        for t in self.used:
            if t.view_of is not None and current_node(t) is not None:
                raise Refused("a tensor from outside is a view with a history")
        for kind, leaf in self.leaves:
            if kind == 2 and type(leaf) not in (*_SIMPLE, float):
                raise Refused(f"a result is a {type(leaf).__name__}")

    def write(self, recorder: Recorder, names: Any, steps: Any, ends: Any) -> None:
        """Write the two programs."""
        writer = recorder.writer
        forward, writer.lines = writer.lines, []
        nodes = list({t.node: t for t in self.results if t.node in steps})
        self.node_of = [nodes.index(t.node) if t.node in steps else None for t in self.results]
        self.rules: _Rules | None = None
        self.edges: list[int] = []
        saved: list[str] = []
        backward = ""
        if nodes:
            self.edges = [ends[n] for n in Walk(writer, steps, ends, nodes).shares]
            text = "\n".join(writer.lines)
            saved = list(dict.fromkeys(NAME.findall(text)))
            outs = [f"g{i}" for i in range(len(nodes))]
            backward, function = writer.function("backward", [*outs, *saved])
            self.rules = _Rules(function, len(saved), len(nodes))
        writer.lines = forward
        writer.line(f"return {as_tuple(names)}, {as_tuple(saved)}")
        inputs = [f"x{i}" for i in range(self.given)] + [f"w{i}" for i in range(len(self.used))]
        source, self.forward = writer.function("forward", inputs)
        self.source = source + "\n" + backward
        owners = [recorder.owners.get(n) for n in saved]
        tensors_ = [*(recorder.given or ()), *self.used]
        results = {t._storage: ("result", i) for i, t in enumerate(self.results)}
        known: dict[Any, Any] = {t._storage: ("given", i) for i, t in enumerate(tensors_)}
        self.guards = [(known | results).get(owner) for owner in owners]

    def holds(self) -> bool:
        """Whether everything that the recording depends on is as it was."""
        if not self.state.holds():
            return False
        arrays = [*map(_arrays, self.known)]
        if not all(map(is_, arrays, self.arrays)):
            if [(a.shape, a.dtype, a.strides) for a in arrays] != self.facts:
                return False
            self.arrays = arrays
        if any([current_node(t) is not None for t in self.views]):
            return False
        return all(map(is_, map(_nodes, self.known), self.nodes))

    def run(self, given: list[Any]) -> Any:
        """Replay it."""
        everything = [*given, *self.used]
        self.begun = False
        outs, saved = self.forward(*map(_arrays, everything))
        results = [*map(wrap, outs)]
        if self.rules is not None:
            self.record(everything, results, saved)
        for t, freed in zip(results, self.freed, strict=True):
            if freed:
                t.node = _Compiled(_FREED, (), None, (), t.array.shape, t.array.dtype)
        leaves = [
            results[x] if kind == 0 else everything[x] if kind == 1 else x
            for kind, x in self.leaves
        ]
        return leaves[0] if self.answer is None else tree.rebuild(self.answer, leaves)

    def record(self, everything: list[Any], results: list[Any], saved: Any) -> None:
        """Give the results their node."""
        own = {"given": everything, "result": results}
        guards = tuple([None if g is None else own[g[0]][g[1]]._storage for g in self.guards])
        edges = tuple([current_node(everything[i]) for i in self.edges])
        rules: Any = self.rules
        first = next(t for t, i in zip(results, self.node_of, strict=True) if i == 0)
        x = first.array
        node = _Compiled(rules, edges, saved, guards, x.shape, x.dtype)
        node.parts = rules.outputs if rules.outputs > 1 else 0
        parts: dict[int, Node] = {}
        for t, i in zip(results, self.node_of, strict=True):
            if i is not None:
                if i not in parts:
                    parts[i] = node.part(i, t.array.shape, t.array.dtype) if node.parts else node
                t.node = parts[i]


_Compiled: Any = node_class("CompiledFunctionBackward")


_FREED: Any = _Rules(None, 0, 1)


class Plain:
    """A signature whose calls run as they are."""

    def __init__(self, reason: str, kept: State | None) -> None:
        self.reason, self.state, self.source = reason, kept, ""

    def holds(self) -> bool:
        """Whether the reason may still be one."""
        return self.state is None or self.state.holds()


class Compiled(Wrapper):
    """A function or module that records itself.

    Args:
        function: what to call.
        fullgraph: raise where it cannot be recorded.

    Attributes:
        known: by signature, the recordings and reasons.
    """

    def __init__(self, function: Any, fullgraph: bool = False) -> None:
        self.function, self.fullgraph = function, fullgraph
        self.known: dict[Any, list[Any]] = {}
        self.seen: dict[Any, Watch] = {}
        self.looks = 0
        if not isinstance(function, Compiled):
            functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mode = state.mode
        if mode.listeners or mode.around or mode.level is not None or mode.maker is not just_make:
            return self.function(*args, **kwargs)
        given: list[Any] = []
        try:
            key = (mode.enabled, mode.inference, get_default_dtype(), get_fastpath_enabled(),
                   sign(args, given), sign(kwargs, given) if kwargs else None)  # fmt: skip
        except _Unseen as unseen:
            return self.plain(str(unseen), args, kwargs)
        for found in self.known.get(key, ()):
            if found.holds() and not everywhere:
                if found.reason is not None:
                    return self.plain(found.reason, args, kwargs)
                return self.replay(found, given, args, kwargs)
        if self.looks >= _LOOKS or everywhere:
            return self.plain("it was called in too many ways", args, kwargs)
        return self.look(key, given, args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __deepcopy__(self, memo: Any) -> Compiled:
        return Compiled(copy.deepcopy(self.function, memo), self.fullgraph)

    def __reduce__(self) -> Any:
        return Compiled, (self.function, self.fullgraph)

    def plain(self, reason: str, args: Any, kwargs: Any) -> Any:
        """Run the function as it is; with `fullgraph`, say why that is not possible."""
        if self.fullgraph:
            raise Unsupported(f"torch.compile with fullgraph=True cannot record this: {reason}")
        return self.function(*args, **kwargs)

    def replay(self, found: Recording, given: list[Any], args: Any, kwargs: Any) -> Any:
        """Run a recording; where it raises, the function, for its own error."""
        try:
            return found.run(given)
        except Exception as problem:
            if found.begun:
                raise
            reached = random.default_generator.get_state_bytes()
            try:
                answer = self.function(*args, **kwargs)
            except Exception:  # what it has drawn, the replay had drawn before
                random.default_generator.set_state_bytes(reached)
                raise
            found.reason = f"its replay raised what the function does not: {_told(problem)}"
            return answer

    def look(self, key: Any, given: list[Any], args: Any, kwargs: Any) -> Any:
        """Run the function, watched; the second time, record it."""
        self.looks += 1
        before = self.seen.pop(key, None)
        kept = reason = None
        if before is not None:
            try:
                kept = State(self.function, before)
                _check_given(given, kept)
            except Exception as problem:
                reason = _told(problem)
        watch = Watch()
        recording = kept is not None and reason is None
        recorder = Recorder(watch, given if recording else None, kept.tensors if kept else ())
        mode = state.mode
        handles = [
            register_optimizer_step_pre_hook(recorder.stepping),
            register_optimizer_step_post_hook(recorder.stepped),
        ]
        try:
            state.mode = mode.but(listeners=(recorder.heard,))
            with watch:
                answer = self.function(*args, **kwargs)
        finally:
            state.mode = mode
            for handle in handles:
                handle.remove()
        recorder.check_end()
        reason = reason or watch.problem
        if before is None and reason is None:
            self.seen[key] = watch
            return answer
        try:
            entry: Any = self.entry(reason, recorder, before, kept, answer)
        except Exception as problem:  # whatever it is, the function's own answer stands
            entry = Plain(_told(problem), kept)
        self.known.setdefault(key, []).append(entry)
        if self.fullgraph and entry.reason is not None:
            return self.plain(entry.reason, args, kwargs)
        return answer

    def entry(self, reason: Any, recorder: Any, before: Any, kept: Any, answer: Any) -> Any:
        """The recording of a run, or the reason why there is none."""
        if reason is not None:
            try:
                return Plain(reason, kept or State(self.function, recorder.watch))
            except Unguarded:
                return Plain(reason, None)
        if recorder.watch.codes.keys() - before.codes.keys():
            raise Refused("two equal calls took different ways")
        if not kept.same_as(State(self.function, before)):
            raise Refused("the run changes something that it depends on")
        return Recording(recorder, answer, kept)


def _told(problem: Exception) -> str:
    """The reason, if it is one of ours; of another error its type as well."""
    ours = isinstance(problem, (Unguarded, Refused))
    return str(problem) if ours else f"{type(problem).__name__}: {problem}"


def _check_given(given: list[Any], kept: State) -> None:
    """Refuse arguments that the function finds elsewhere as well."""
    arrays = {id(t.array) for t in kept.tensors}
    nodes = {id(t.node) for t in kept.tensors if t.node is not None}
    if any([id(t.array) in arrays or id(t.node) in nodes for t in given]):
        raise Refused("an argument is a tensor that the function also finds elsewhere")
    if len({id(t.array) for t in kept.tensors}) < len({id(t) for t in kept.tensors}):
        raise Refused("two tensors are one array")


def sign(value: Any, given: list[Any]) -> Any:
    """A description of an argument by which equal calls are known; its tensors go to `given`."""
    if isinstance(value, TensorBase):
        for i, t in enumerate(given):
            if t is value:
                return i
            if t.array is value.array or (t.node is not None and t.node is value.node):
                raise _Unseen("two arguments are one array")
        given.append(value)
        x, kind = value.array, value.__class__
        strange = not isinstance(x, np.ndarray) or is_half(x.dtype)
        if strange or not is_ours({"__name__": kind.__module__}):
            raise _Unseen("an argument is on a GPU, in 16 bits, or of a class of one's own")
        free = current_node(value) is None
        return x.shape, x.dtype.num, x.strides, free, value._storage is INFERENCE, kind
    kind = type(value)
    if kind in _SIMPLE:
        return kind, value
    if kind is float:
        return value.hex()
    if kind is tuple or kind is list:
        return (kind, *[sign(part, given) for part in value])
    if kind is dict:
        return (kind, *[(sign(k, given), sign(v, given)) for k, v in value.items()])
    raise _Unseen(f"an argument is a {kind.__name__}")
