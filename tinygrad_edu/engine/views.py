"""Views: tensors cut from another tensor's memory, and how their history follows that memory.

A view remembers its base, the tensor whose memory it shares, and the path of view operations that
leads there.  An in-place write of the base, or through another view of it, gives the base a new
history (see inplace.py).  The view notices that the base was `rebased` when it is next used, and
repeats its path on the base as it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import call as just_make
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.boundary import recover, refuse_arrays, tell
from tinygrad_edu.engine.graph import Leaf, TensorBase, clock
from tinygrad_edu.engine.mode import PLAIN, listeners, state
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.types import Call

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive

_new = object.__new__
Step = tuple[Call, Sequence[Any], int | None]
"""A view operation, its arguments, and which of its results if there are several."""


class CutOff(Leaf):
    """The node of a view made while recording was off: no gradient goes on from here.

    Such a view, and what is computed from it, requires grad as its source does, but no path leads
    back to the source, and the view collects no gradient of its own.
    """

    shape: tuple[int, ...] = ()
    dtype: Any = None

    def __init__(self, y: Any) -> None:
        self.number = clock()
        self.edges = self.kept = self.guards = ()
        self.shape, self.dtype = y.shape, y.dtype

    def tensor(self) -> None:  # type: ignore[override]
        """There is none that gradients could be added to."""


class View:
    """How a tensor was cut from another one's memory.

    Attributes:
        base: the tensor whose memory it shares; no view itself, or a leaf.
        path: the view operations that lead to it from there.
        seen: how often the base had been rebased when this history was last brought up to date.
        recorded: it was made while recording was on.
    """

    __slots__ = ("base", "path", "seen", "recorded")

    def __init__(self, base: Any, path: tuple[Step, ...], recorded: bool = True) -> None:
        self.base, self.path, self.recorded = base, path, recorded
        self.seen: int = base.rebased

    def refresh(self, t: TensorBase) -> None:
        """Give the view `t` the history of its base, if a write has changed that since.

        Whoever asks need not be recording, but the write was: so this is recorded.  If the base
        has been given another shape, the way back to the old one comes first.
        """
        base = self.base
        if self.seen == base.rebased:
            return
        before = t.node
        if base.node is None and before is not None and before.is_leaf:
            return  # a view that requires a gradient of its own
        changes = range(base.rebased, self.seen, -1)
        turns = base.turns or {}
        steps = [turns[change] for change in changes if change in turns]
        self.path = (*[step for step, _ in steps], *self.path)
        # Of a turn that was not recorded the base's own node knows nothing: the view's must.
        unknown = not isinstance(before, CutOff) and not all([recorded for _, recorded in steps])
        if len(steps) < len(changes) or unknown:
            self.repeat(t)
        self.seen = base.rebased

    def repeat(self, t: TensorBase) -> None:
        """Give the view `t` the history that its path has on the base as it is now."""
        before, t.node = t.node, replay_recorded(self.path, self.base)
        if before is not None and before.hooks is not None and t.node is not None:
            before.hooks.follow(t.node)


def replay(path: Sequence[Step], x: Any) -> Any:
    """Repeat a path of view operations on a tensor or an array."""
    for view, rest, part in path:
        x = view(x, *rest) if part is None else view(x, *rest)[part]
    return x


def replay_recorded(path: Sequence[Step], base: object) -> Any:
    """The node of the view to which a path leads, whatever this thread's mode."""
    mode = state.mode
    try:
        state.mode = PLAIN
        return replay(path, base).node
    finally:
        state.mode = mode


def base_of(source: Any) -> tuple[Any, tuple[Step, ...]]:
    """The base of what is cut from `source`, and the path to `source` from there."""
    if source.view_of is None or (source.node is not None and source.node is source.leaf):
        return source, ()
    return source.view_of.base, source.view_of.path


def _asks(base: Any) -> bool:
    """Whether views made of `base` while recording was off require grad, if their source does.

    Not if `base` is a leaf that is itself a view, and the owner of its memory does not.
    """
    owner = base
    while owner.view_of is not None:
        owner = owner.view_of.base
    return base.node is None or owner.node is not None


def call_view(op: Primitive) -> Call:
    """The call of an operation whose result shares the memory of its first argument.

    It computes by `forward` whatever the listeners say: a view has the dtype of its source.
    """
    forward, plans, arity = op.forward, op.plans, op.arity

    def view(*args: object, **kwargs: object) -> Any:
        by = kwargs.pop("_by", forward) if kwargs else forward
        if (listeners or state.mode.listeners) and by is forward:
            return tell(op, None, args, kwargs, listeners)
        if kwargs or len(args) != arity:
            args = op.bind(args, kwargs)
        source, rest = args[0], args[1:]
        if not isinstance(source, TensorBase):
            if not state.mode.roots:
                refuse_arrays(op, (source,))
            try:
                return forward(*args)
            except Exception as error:
                return recover(op, error, args)
        if source.view_of is not None:
            source.view_of.refresh(source)
        try:
            y = forward(source.array, *rest)
        except Exception as error:
            return recover(op, error, args)
        results = y if op.multiple else (y,)
        recorder = state.mode.recorder
        whole: Any = None
        if recorder is not None and op.inputs and source.node is not None:
            plan = plans.get((True,)) or op.plan((True,))
            # no view's rule needs its output
            kept = plan.pick((source.array, *rest)) if plan.keep else ()
            if plan.shapes:
                kept += (source.array.shape,)
            y = results[0] if results else source.array
            cls = plan.node or op.classes.get(op.chain(source.array, *rest))
            cls = cls or op.class_of(source.array, *rest)
            edges, guards = (source.node,), plan.no_guards
            if recorder is just_make:  # what `Node.__init__` does, as in fast.py
                whole = _new(cls)
                whole.number, whole.plan, whole.edges = clock(), plan, edges
                whole.kept, whole.guards, whole.shape, whole.dtype = kept, guards, y.shape, y.dtype
            else:
                whole = recorder(cls, plan, edges, kept, guards, y.shape, y.dtype)
            if op.multiple:
                whole.parts = len(results)
        base, path = (source, ()) if source.view_of is None else base_of(source)
        views: list[Any] = []
        part = None
        for y in results:
            if op.multiple:
                part = len(views)
            t = _new(TensorBase.results)
            t.array, t._storage = y, source._storage
            t.view_of = cut = _new(View)  # and what `View.__init__` does
            cut.base, cut.path, cut.seen = base, (*path, (op.call, rest, part)), base.rebased
            cut.recorded = recorder is not None
            if whole is not None:
                t.node = whole if part is None else whole.part(part, y.shape, y.dtype)
            elif recorder is None and op.inputs and source.node is not None and _asks(base):
                t.node = CutOff(y)
            if part is None:
                return t
            views.append(t)
        return tuple(views)

    return view


def inplace_view(op: Any, step_back: Callable[[Step, Any], Step]) -> Call:
    """The in-place twin of a view: the tensor itself gets the other shape, on the same memory.

    Views made of the tensor before keep the shape they had; `step_back` tells from the step that
    was taken, and the array as it was, how they find it.
    """
    from tinygrad_edu.engine.inplace import check_history, twin_of
    from tinygrad_edu.engine.levels import refuse_captured

    def call(t: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_captured(t, call.__name__)
        check_history(t)
        before: Any = wrap(t.array, t.node, t._storage)
        if t.view_of is not None:
            before.view_of = View(t.view_of.base, t.view_of.path, t.view_of.recorded)
        y = op(before, *args, **kwargs)
        if y is not before:
            recorded, path = state.mode.recorder is not None, y.view_of.path
            own = base_of(t)[0] is t
            if own:
                t.rebased += 1
                t.turns = t.turns or {}
                t.turns[t.rebased] = step_back(path[-1], t.array), recorded
            if t.view_of is not None:  # and `own`: a leaf that is a view
                t.view_of.path = t.view_of.path + path if own else path
            t.array, t.plain = y.array, False
            if recorded:
                t.node = y.node
            elif isinstance(t.node, CutOff):
                t.node = CutOff(y.array)
            elif t.view_of is not None and t.node is not None and t.node is not t.leaf:
                t.view_of.repeat(t)
        t._storage.write()
        return t

    return twin_of(op, call)
