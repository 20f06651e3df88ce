"""What the doctor remembers: facts about tensors, leaves, optimizers, schedules, passes."""

from __future__ import annotations

import itertools
import weakref
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.graph import Leaf, Node, TensorBase
from tinygrad_edu.engine.places import UNKNOWN, Place, stack

if TYPE_CHECKING:
    from tinygrad_edu.optim.optimizer import Optimizer
    from tinygrad_edu.tensor import Tensor


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


class OptimizerRecord:
    """An optimizer's life.

    Attributes:
        place: where it was made.
        log: what has happened to its gradients since its last step: ("backward" or "zero", ...).
        tick: the tick of the graph's clock at its last step; `fresh`: whether that had a gradient.
        stepping: it is within a step, of which its closure is a part.
        counts: of things that checks count.
    """

    def __init__(self, optimizer: Any, place: Place) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.place, self.step_place, self.fresh, self.stepping = place, UNKNOWN, True, False
        self.steps = self.backwards = self.tick = 0
        self.log: deque[Any] = deque(maxlen=512)
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.highest_rate = 0.0

    def passes(self) -> list[Any]:
        """The backward passes since its last step."""
        return [entry for entry in self.log if entry[0] == "backward"]

    def parameters(self) -> list[Any]:
        """Its parameters, whatever their groups."""
        optimizer = self.optimizer()
        groups = () if optimizer is None else optimizer.param_groups
        return [p for group in groups for p in group["params"]]

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


class Pass:
    """One call of a model from outside: modules beneath it belong to it.

    Attributes:
        noisy, quiet: names of layers that differ between training and evaluation, by mode.
        given: the memory of the first tensor it was given, and how often that had been written.
        start: the tick at which it began.
        visited: a backward pass came through; `used`: its results went into recorded operations.
        judged: a metric was computed from its results.
    """

    def __init__(
        self, module: Any, stack: tuple[Place, ...], recorded: bool, start: int, step: int
    ) -> None:
        self.module = weakref.ref(module)
        self.training = bool(module.training)
        self.stack, self.place = stack, stack[0] if stack else UNKNOWN
        self.recorded, self.start, self.step = recorded, start, step
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
        self.facts: dict[int, tuple[weakref.ref[Any], Facts]] = {}
        self.leaves: weakref.WeakKeyDictionary[Leaf, LeafRecord] = weakref.WeakKeyDictionary()
        self.by_bit: list[weakref.ref[Leaf]] = []
        self.optimizers: dict[int, OptimizerRecord] = {}
        self.everyone: list[OptimizerRecord] = []  # those that are gone included
        self.schedules: dict[int, ScheduleRecord] = {}
        self.all_schedules: list[ScheduleRecord] = []
        self.modules: list[Any] = []  # those that are running, the outermost first
        self.passes: deque[Pass] = deque(maxlen=64)
        self.current: Pass | None = None
        self.entered: dict[Place, list[Any]] = {}  # cut: [leaves, how]
        self.left: dict[Place, int] = {}  # leaves whose values left for Python or NumPy
        self.arrays: dict[int, tuple[weakref.ref[Any], Facts]] = {}  # those that were given out
        self.gradients: dict[int, weakref.ref[Leaf]] = {}  # by the id of the `.grad` tensor
        self.losses: defaultdict[Any, list[float]] = defaultdict(list)
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

    def of(self, t: Any) -> Facts | None:
        """What is known of a tensor."""
        found = self.facts.get(id(t))
        return None if found is None else found[1]

    def about(self, t: Any) -> Facts:
        """The same, to be added to."""
        found = self.facts.get(id(t))
        if found is not None:
            return found[1]
        key, made = id(t), Facts()
        self.facts[key] = weakref.ref(t, lambda _, key=key: self.facts.pop(key, None)), made  # type: ignore[misc]
        return made

    # ---- leaves

    def leaf(self, leaf: Leaf) -> LeafRecord:
        """What has happened to a leaf."""
        found = self.leaves.get(leaf)
        if found is None:
            number = len(self.by_bit)
            found = self.leaves[leaf] = LeafRecord(1 << number if number < MOST_LEAVES else 0)
            if number < MOST_LEAVES:
                self.by_bit.append(weakref.ref(leaf))
        return found

    def reach(self, node: Any) -> int:
        """The leaves behind a node, as bits."""
        if isinstance(node, Leaf):
            return self.leaf(node).bit if node.tensor() is not None else 0
        todo, seen, found = [node], {node}, 0
        while todo:
            one = todo.pop()
            known = one.__dict__.get("reach")
            if known is not None:
                found |= known
            elif isinstance(one, Leaf):
                found |= self.reach(one)
            else:
                fresh = {edge for edge in one.edges if edge is not None} - seen
                seen |= fresh
                todo += fresh
        if node.__dict__.get("reach") is None:
            node.reach = found
        return found

    def record(self, p: Tensor) -> LeafRecord | None:
        """What has happened to a parameter, if it ever was one."""
        return None if p.leaf is None else self.leaves.get(p.leaf)

    # ---- optimizers

    def optimizer(self, optimizer: Optimizer, place: Place) -> OptimizerRecord:
        """The record of an optimizer, made if it was there before the doctor."""
        found = self.optimizers.get(id(optimizer))
        if found is None or found.optimizer() is not optimizer:
            found = self.optimizers[id(optimizer)] = OptimizerRecord(optimizer, place)
            self.everyone.append(found)
            self.adopt(found)
        return found

    def schedule(self, schedule: Any, place: Place) -> ScheduleRecord:
        """The record of a schedule, made if there is none."""
        found = self.schedules.get(id(schedule))
        if found is None or found.schedule() is not schedule:
            optimizer = self.optimizer(schedule.optimizer, place)
            found = self.schedules[id(schedule)] = ScheduleRecord(schedule, optimizer, place)
            self.all_schedules.append(found)
        return found

    def adopt(self, record: OptimizerRecord) -> None:
        """Note whose parameters are whose."""
        for p in record.parameters():
            if isinstance(p.leaf, Leaf):
                self.leaf(p.leaf).owners.add(record)

    def living(self) -> list[OptimizerRecord]:
        """The optimizers that are still there."""
        return [r for r in self.optimizers.values() if r.optimizer() is not None]

    def is_consumed(self, p: Any) -> bool:
        """Whether a parameter's gradient is one that a step has used."""
        found = self.record(p)
        return found is not None and found.consumed and found.gradient == snapshot(p._grad)


def snapshot(t: Any) -> Any:
    """Which array a tensor has, and how often it was written."""
    return None if t is None else (id(t.array), t._storage.version)


def fingerprint(t: Tensor) -> Any:
    """The same, and a few of its values: `.data` writes without being counted."""
    few = list(itertools.islice(t.array.flat, 4)) if t.array.size else []
    return id(t.array), t._storage.version, tuple(map(float, few))


def address(t: Any) -> int:
    """Where a tensor's memory is."""
    return int(t.data_ptr())


def contents(t: Any) -> Any:
    """A tensor's shape and some of its values, to know it again."""
    x = t.array
    some = x[:: max(len(x) // 4, 1)].ravel()[:64] if x.ndim else x
    return x.shape, some.tobytes(), float(x.ravel()[:4096].sum())


def visited(roots: Iterable[Node]) -> set[Node]:
    """All nodes beneath the roots."""
    todo = list(roots)
    seen = set(todo)
    while todo:
        for edge in todo.pop().edges:
            if edge is not None and edge not in seen:
                seen.add(edge)
                todo.append(edge)
    return seen


def tensors(values: Iterable[Any]) -> list[Any]:
    """The tensors among arguments, those in lists and tuples included."""
    found = []
    for value in values:
        if isinstance(value, TensorBase):
            found.append(value)
        elif value.__class__ in (list, tuple):
            found += [part for part in value if isinstance(part, TensorBase)]
    return found
