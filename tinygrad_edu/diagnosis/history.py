"""What the doctor remembers: facts about tensors, leaves, optimizers, schedules, passes."""

from __future__ import annotations

import functools
import itertools
import operator
import weakref
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from tinygrad_edu.engine.graph import Leaf, Node, TensorBase, clock
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.engine.places import UNKNOWN, Place, stack

MOST_LEAVES = 4096
"""So many leaves are told apart; who makes more has one for each input, not parameters."""


class Facts:
    """What is known of one tensor besides its values.

    Attributes:
        kind: what made it, if that matters: "softmax", "sigmoid", "eq" ...; see flow.py.
        place: where.
        axis: the dimension that a softmax went over.
        features: the dimension that a linear layer's features, the classes say, are in.
        lost: the leaves it depends on without a path for gradients, as bits.
        cut: where the path was cut, and by what.
        outer: where (N, 1) met (N,), and N.
        gradient_of: the leaf from whose `.grad` it was computed.
        judged: the pass, in training mode and not recorded, that it comes from.
        percent: it was multiplied by 100.
    """

    kind: str | None = None
    place = UNKNOWN
    axis: int | None = None
    features: int | None = None
    lost = 0
    cut: tuple[Place, str] | None = None
    outer: tuple[Place, int] | None = None
    gradient_of: Leaf | None = None
    judged: Pass | None = None
    percent = False

    def __init__(self, **known: Any) -> None:
        vars(self).update(known)

    def learn(self, **more: Any) -> None:
        """Note what is not None."""
        vars(self).update({name: value for name, value in more.items() if value is not None})


NOTHING = Facts()
"""What is known of most tensors."""


class LeafRecord:
    """What has happened to a leaf.

    Attributes:
        bit: it, among others; 0 if there were too many.
        backwards: how many backward passes have reached it.
        gradient: which `.grad` it had when that was last looked at.
        value: which value it had at the last backward pass.
        consumed: its gradient has been used by a step, and is still there.
        mixed: where a new gradient was added to a used one.
        touched: its `.grad` was computed with.
        owners: the optimizers that have it.
    """

    backwards = 0
    gradient: Any = None
    value: Any = None
    consumed = touched = False
    mixed: Place | None = None

    def __init__(self, bit: int) -> None:
        self.bit, self.owners = bit, weakref.WeakSet[Any]()


class Entry(NamedTuple):
    """A backward pass, or a zero_grad(), that concerns an optimizer.

    Attributes:
        step: how many steps all optimizers had made.
        stack: of a backward pass, the lines that led to it; `mean`: it starts from a mean that
            nothing has divided.
        wipes: it is a zero_grad(); `fresh`: of gradients that no step had used; `tick`: when.
    """

    place: Place
    step: int
    stack: tuple[Place, ...] = ()
    mean: bool = False
    wipes: bool = False
    fresh: bool = False
    tick: int = 0


class OptimizerRecord:
    """An optimizer's life.

    Attributes:
        place: where it was made.
        log: what has happened to its gradients since its last step.
        steps: how often it has stepped; `looks`: how often while the doctor looked.
        tick: the tick of the graph's clock at its last step; `fresh`: whether that had a gradient.
        stepping: it is within a step, of which its closure is a part.
    """

    def __init__(self, optimizer: Any, place: Place) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.place, self.step_place, self.fresh, self.stepping = place, UNKNOWN, True, False
        self.steps = self.looks = self.backwards = self.tick = 0
        self.log: deque[Entry] = deque(maxlen=512)
        self.highest_rate, self.scheduled = 0.0, None

    def passes(self) -> list[Entry]:
        """The backward passes since its last step."""
        return [entry for entry in self.log if not entry.wipes]

    def wipes(self) -> list[Entry]:
        """The times since then that gradients were cleared which no step had used."""
        return [entry for entry in self.log if entry.wipes and entry.fresh]

    def parameters(self) -> list[Any]:
        """Its parameters, whatever their groups."""
        optimizer = self.optimizer()
        return [] if optimizer is None else listed(optimizer.param_groups)

    def leaves(self) -> list[int]:
        """The ids of their leaves."""
        return [id(p.leaf) for p in self.parameters() if p.leaf is not None]


class ScheduleRecord:
    """A schedule: where it was made, how often it was stepped, and beside which steps."""

    def __init__(self, schedule: Any, optimizer: OptimizerRecord, place: Place) -> None:
        self.schedule, self.optimizer = weakref.ref(schedule), optimizer
        self.rate = float(schedule.optimizer.param_groups[0]["lr"])
        self.kind, self.place, self.made = type(schedule).__name__, place, stack()
        self.inner = False  # it is part of another schedule
        self.steps = self.alone = self.beside = 0
        self.early: tuple[Place, int] | None = None
        self.loops: int | None = None  # that it is stepped in
        self.epochs, self.held = epochs(schedule), None

    def catch_up(self) -> None:
        """Look whether it has been stepped while nobody looked."""
        if self.held is not None and self.epochs != epochs(self.held):
            self.steps, self.epochs = self.steps + 1, epochs(self.held)
        self.beside, self.held = self.optimizer.steps - 1, None


class Pass:
    """One call of a model from outside: modules beneath it belong to it.

    Attributes:
        noisy, quiet: names of layers that differ between training and evaluation, by mode.
        given: the memory of the first tensor it was given, and how often that had been written.
        start: the tick at which it began.
        visited: a backward pass came through; `used`: its results went into recorded operations.
        judged: a metric was computed from its results.
    """

    def __init__(self, module: Any, step: int) -> None:
        self.module, self.training = weakref.ref(module), bool(module.training)
        self.stack = stack()
        self.place = self.stack[0] if self.stack else UNKNOWN
        self.recorded, self.start, self.step = is_recording(), clock(), step
        self.noisy, self.quiet, self.given = list[str](), list[str](), None
        self.operations: defaultdict[str, int] = defaultdict(int)
        self.outputs: list[weakref.ref[Node]] = []
        self.visited = self.used = self.judged = self.counted = False

    def is_dead(self) -> bool:
        """Whether nobody can run backward through it any more."""
        return all([ref() is None for ref in self.outputs])


class History:
    """All of it, and the counters that order it."""

    def __init__(self) -> None:
        self.facts: dict[int, tuple[Any, Facts]] = {}
        self.leaves: weakref.WeakKeyDictionary[Leaf, LeafRecord] = weakref.WeakKeyDictionary()
        self.bits = itertools.count()  # of the leaves
        self.optimizers: list[OptimizerRecord] = []  # those that are gone included
        self.schedules: list[ScheduleRecord] = []
        self.modules: list[Any] = []  # those that are running, the outermost first
        self.passes: deque[Pass] = deque(maxlen=64)
        self.current: Pass | None = None
        self.entered: dict[Place, list[Any]] = {}  # cut: [leaves, how]
        self.left: defaultdict[Place, int] = defaultdict(int)  # leaves: whose values went to Python
        self.gradients: dict[int, weakref.ref[Leaf]] = {}  # by the id of the `.grad` tensor
        self.losses: defaultdict[Any, list[float]] = defaultdict(list)
        self.norms: defaultdict[Any, list[float]] = defaultdict(list)  # by place and limit
        self.looks: defaultdict[Any, int] = defaultdict(int)  # how often a check has seen a place
        self.supervised: weakref.WeakSet[Any] = weakref.WeakSet()  # models that losses are about
        self.picked: dict[int, Pass] = {}  # by the address of indices that max() or topk() gave
        self.counts: dict[int, tuple[Any, Facts]] = {}  # a count of right answers, by its storage
        self.filled: dict[int, Place] = {}  # memory that was written as a whole: where
        self.notes: dict[Any, Any] = {}  # what a check remembers
        self.steps = self.backwards = 0
        self.last_step = 0  # tick
        self.last_node = 0  # the youngest node
        self.scaled = False  # a GradScaler is at work

    def note(self, name: str, make: Any) -> Any:
        """What a check remembers under a name, at first what `make()` returns."""
        if name not in self.notes:
            self.notes[name] = make()
        return self.notes[name]

    def looks_left(self, key: object, most: int) -> bool:
        """Whether a check may look once more; each question counts."""
        self.looks[key] += 1
        return self.looks[key] <= most

    def in_a_row(self, key: object, holds: bool) -> int:
        """How many times in a row something has held."""
        self.looks[key] = self.looks[key] + 1 if holds else 0
        return self.looks[key]

    def in_pass(self, name: str) -> int:
        """How many operations of that name the present pass has had."""
        if self.current is None:
            return 0
        self.current.operations[name] += 1
        return self.current.operations[name]

    # ---- facts

    def of(self, t: Any) -> Facts:
        """What is known of a tensor, or of an array that has left for NumPy."""
        return self.facts.get(id(t), (None, NOTHING))[1]

    def about(self, t: Any) -> Facts:
        """The same, to be added to."""
        key = id(t)
        if key not in self.facts:
            self.facts[key] = weakref.ref(t, lambda _: self.facts.pop(key, None)), Facts()
        return self.facts[key][1]

    def forget(self) -> None:
        """Forget what is half done: when the doctor looks again it will be over."""
        self.current = None
        for part in (self.modules, self.passes, self.gradients, self.counts, self.picked):
            part.clear()
        for name in ("attentions", "words", "clip", "suspect", "back", "data"):
            self.notes.pop(name, None)
        for leaf in self.leaves.values():
            leaf.gradient = leaf.mixed = None
            leaf.consumed = leaf.touched = False
        for record in self.optimizers:
            record.log.clear()
        for schedule in self.schedules:
            schedule.held = schedule.schedule()  # it is to be asked later how far it has come

    # ---- leaves

    def leaf(self, leaf: Leaf) -> LeafRecord:
        """What has happened to a leaf."""
        found = self.leaves.get(leaf)
        if found is None:
            number = next(self.bits)
            found = self.leaves[leaf] = LeafRecord(1 << number if number < MOST_LEAVES else 0)
        return found

    def reach(self, node: Any) -> int:
        """The leaves behind a node, as bits, which nodes remember."""
        todo = [node]
        while todo and self._known(node) is None:
            edges = [edge for edge in todo[-1].edges if edge is not None]
            fresh = [edge for edge in edges if self._known(edge) is None]
            if not fresh:
                todo.pop().reach = functools.reduce(operator.or_, map(self._known, edges), 0)
            todo += fresh
        return self._known(node)

    def _known(self, node: Any) -> Any:
        if isinstance(node, Leaf):
            return self.leaf(node).bit if node.tensor() is not None else 0
        return node.__dict__.get("reach")

    def record(self, p: Any) -> LeafRecord | None:
        """What has happened to a parameter, if it ever was one."""
        return None if p.leaf is None else self.leaves.get(p.leaf)

    def bit(self, p: Any) -> int:
        """The bit of a parameter, 0 if it never was a leaf."""
        found = self.record(p)
        return 0 if found is None else found.bit

    # ---- optimizers

    def optimizer(self, optimizer: Any, place: Place) -> OptimizerRecord:
        """The record of an optimizer, made if it was there before the doctor."""
        for record in self.optimizers:
            if record.optimizer() is optimizer:
                return record
        self.optimizers.append(OptimizerRecord(optimizer, place))
        self.adopt(self.optimizers[-1])
        return self.optimizers[-1]

    def schedule(self, schedule: Any, place: Place) -> ScheduleRecord:
        """The record of a schedule, made if there is none."""
        for record in self.schedules:
            if record.schedule() is schedule:
                return record
        optimizer = self.optimizer(schedule.optimizer, place)
        self.schedules.append(ScheduleRecord(schedule, optimizer, place))
        return self.schedules[-1]

    def adopt(self, record: OptimizerRecord) -> None:
        """Note whose parameters are whose."""
        for p in record.parameters():
            if isinstance(p.leaf, Leaf):
                self.leaf(p.leaf).owners.add(record)

    def living(self) -> list[OptimizerRecord]:
        """The optimizers that are still there."""
        return [r for r in self.optimizers if r.optimizer() is not None]

    def is_consumed(self, p: Any) -> bool:
        """Whether a parameter's gradient is one that a step has used."""
        found = self.record(p)
        return found is not None and found.consumed and found.gradient == snapshot(p._grad)


def snapshot(t: Any) -> Any:
    """Which array a tensor has, and how often it was written."""
    return None if t is None else (id(t.array), t._storage.version)


def fingerprint(t: Any) -> Any:
    """The same, and a few of its values: `.data` writes without being counted."""
    few = list(itertools.islice(t.array.flat, 4)) if t.array.size else []
    return id(t.array), t._storage.version, tuple(map(float, few))


def listed(groups: Any) -> list[Any]:
    """The parameters of groups."""
    return [p for group in groups for p in group["params"]]


def epochs(schedule: Any) -> list[Any]:
    """How far a schedule, or each of its parts, has come."""
    parts = getattr(schedule, "_schedulers", [schedule])
    return [getattr(part, "last_epoch", None) for part in parts]


def address(t: Any) -> int:
    """Where a tensor's memory is."""
    return int(t.data_ptr())


def contents(t: Any) -> Any:
    """A tensor's shape and some of its values, to know it again."""
    x = t.array
    some = x[:: max(len(x) // 4, 1)].ravel()[:64] if x.ndim else x
    return x.shape, some.tobytes(), float(x.ravel()[:4096].sum())


def tensors(values: Iterable[Any]) -> list[Any]:
    """The tensors among arguments, those in lists and tuples included."""
    found = []
    for value in values:
        if isinstance(value, TensorBase):
            found.append(value)
        elif value.__class__ in (list, tuple):
            found += [part for part in value if isinstance(part, TensorBase)]
    return found
