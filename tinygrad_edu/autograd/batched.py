"""Tensors of which a function sees one slice: how `vmap` computes all slices at once.

Inside of a mapped function a tensor is `Batched`: it has the shape of a slice, but in place of its
memory a `Shadow`, which knows shape and type and nothing else, and behind it the whole tensor, its
slices along dimension 0.  Whatever is computed goes through an operation; the run hears of the call
before it is made (see engine/mode.py), and makes it once, on the whole tensors, by the operation's
rule (batch_rules.py).  The derivative is that of the whole computation: slices do not mix, so
it is each slice's own.

Who asks for the memory itself (a value, a write in place) gets `Unbatched`, which ends the run;
vmap then calls the function slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, NoReturn

import numpy as np

from tinygrad_edu.backend import CPU
from tinygrad_edu.engine.gradients import grad
from tinygrad_edu.engine.levels import tensors
from tinygrad_edu.engine.mode import Mode, state
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.engine.runs import Level
from tinygrad_edu.names.meta import Shape
from tinygrad_edu.tensor import Tensor


class Unbatched(BaseException):
    """Something that cannot be done to all slices at once; no `except Exception` stops it."""


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise Unbatched


class Shadow(Shape):
    """The shape and the type of an array that is not there."""

    flags = np.empty((2, 2)).flags
    place = CPU
    refuse = copy = __getattr__ = __hash__ = __eq__ = __ne__ = _refuse


class Batched(Tensor):
    """A slice of `whole`, any of them.

    Attributes:
        run: the run of vmap that it belongs to.
        whole: all slices along dimension 0; it may be `Batched` for a run further out.
    """

    def __init__(self, run: BatchedRun, whole: Any) -> None:
        array = whole.array
        if not isinstance(array, (np.ndarray, Shadow)):
            raise Unbatched  # CuPy's arrays are taken slice by slice
        self.array = Shadow(array.shape[1:], array.dtype)
        self._storage = state.mode.own()
        self.run, self.whole = run, whole
        self.node = current_node(whole)

    def detach(self) -> Batched:
        return Batched(self.run, self.whole.detach())

    def requires_grad_(self, requires_grad: bool = True) -> Batched:
        self.whole.requires_grad_(requires_grad)
        self.node = current_node(self.whole)
        return self

    data = property(_refuse, _refuse)
    grad_fn = property(_refuse)
    register_hook = retain_grad = backward = detach_ = _refuse
    __deepcopy__ = __reduce_ex__ = _refuse


class BatchedRun(Level):
    """A run of a function on all slices at once.

    Args:
        size: how many slices there are; `depth` says how many levels are around the run.
        apply: computes a call of an operation on `Batched` tensors: `apply(run, op, args)`.
    """

    def __init__(self, size: int, apply: Callable[..., Any]) -> None:
        super().__init__((), ())
        self.size, self.apply = size, apply
        self.modes: tuple[Any, Any] = (None, None)
        self.depth = 0
        level = self.outer
        while level is not None:
            self.depth, level = self.depth + 1, level.outer

    def heard(self, op: Any, make: Any, *args: Any, **kwargs: Any) -> Any:
        given = tensors((args, kwargs) if kwargs else args)
        if not any([t.__class__ is Batched and t.run is self for t in given]):
            return make(*args, **kwargs)
        if not isinstance(op, Primitive):
            return self.apply(self, op, (args, kwargs, make))
        if "out" in kwargs:
            raise Unbatched
        if kwargs or len(args) != op.arity:
            args = op.bind(args, kwargs)
        return self.apply(self, op, args)

    def refuse(self, t: Any, name: str, others: Any) -> None:
        """A write into a slice, or of one, is left to the run slice by slice."""
        if self.owns(t) or any([self.owns(other) for other in tensors(others)]):
            raise Unbatched
        super().refuse(t, name, others)

    def owns(self, t: Any) -> bool:
        """Whether `t` differs from slice to slice of this run."""
        return isinstance(t, Batched) and t.run is self

    def mode_outside(self, inside: Mode) -> Mode:
        """The mode of calls made outside while `inside` is the mode here: both never change."""
        known, outside = self.modes
        if known is not inside:
            outside = inside.but(listeners=self.before.listeners, level=self.outer)
            self.modes = (inside, outside)
        found: Mode = outside
        return found

    @contextmanager
    def outside(self, runs_inside: bool = False) -> Iterator[None]:
        """A block in which calls are made as before this run began, recorded as they are now.

        With `runs_inside`, those who have listened since go on to do so.
        """
        inside = state.mode
        if runs_inside:
            heard = tuple([one for one in inside.listeners if one != self.heard])
            state.mode = inside.but(listeners=heard)
        else:
            state.mode = self.mode_outside(inside)
        try:
            yield
        finally:
            state.mode = inside

    def whole(self, t: Any) -> Any:
        """All slices of `t` along dimension 0; of a tensor that is the same for all, repeated."""
        if isinstance(t, Batched):
            if t.run is self:
                return t.whole
            if t.run.depth > self.depth:
                return Batched(t.run, self.whole(t.whole).transpose(0, 1))
        return t.unsqueeze(0).expand((self.size, *t.array.shape))

    def batch(self, whole: Any) -> Batched:
        """What a slice of `whole` along dimension 0 is; a run further inside stays outermost."""
        if isinstance(whole, Batched) and whole.run.depth > self.depth:
            return Batched(whole.run, self.batch(whole.whole.transpose(0, 1)))
        return Batched(self, whole)

    def slices(self, t: Any) -> Sequence[Any]:
        """What each slice's call gets for `t`."""
        return t.whole.unbind(0) if self.owns(t) else (t,) * self.size

    def grads(self, ys: list[Any], xs: list[Any], us: list[Any], create: bool) -> list[Any]:
        """As `gradients_of`, for each slice its own."""
        if not all([self.owns(x) for x in xs]):
            raise Unbatched
        with self.outside(runs_inside=True):
            pairs = [(y.whole, self.whole(u)) for y, u in zip(ys, us, strict=True) if self.owns(y)]
            outputs, cotangents = [y for y, _ in pairs], [u for _, u in pairs]
            found = gradients_of(outputs, [x.whole for x in xs], cotangents, create)
            return [None if g is None else self.batch(g) for g in found]


def gradients_of(ys: list[Any], xs: list[Any], us: list[Any], create: bool) -> list[Any]:
    """u J for every input, the graph being kept; None where there is no path.

    If cotangents alone are `Batched`, the walk is made once, on tensors, whose operations the runs
    hear of.
    """
    runs = [t.run for t in (*ys, *xs) if isinstance(t, Batched)]
    if runs:
        return max(runs, key=attrgetter("depth")).grads(ys, xs, us, create)
    live = [(y, u) for y, u in zip(ys, us, strict=True) if current_node(y) is not None]
    if not live:
        return [None] * len(xs)
    outputs, cotangents = [y for y, _ in live], [u for _, u in live]
    on_tensors = create or any([isinstance(u, Batched) for u in cotangents])
    found = grad(
        outputs, xs, cotangents, retain_graph=True, create_graph=on_tensors, allow_unused=True
    )
    return [g if g is None or create else cut_off(g) for g in found]


def filled(t: Any, value: float) -> Any:
    """A tensor shaped as `t` is, and batched as it is, full of a number."""
    if isinstance(t, Batched):
        return Batched(t.run, filled(t.whole, value))
    return wrap(np.full_like(t.array, value))


def blank(t: Any) -> Any:
    """A new array of zeros, of the shape of `t` or of a slice of it."""
    like = t.array
    return np.zeros(like.shape, like.dtype) if isinstance(t, Batched) else np.zeros_like(like)


def cut_off(t: Any) -> Any:
    """The tensor without its history, on the same memory."""
    return t.detach() if isinstance(t, Batched) else wrap(t.array, None, t._storage)


def batched_here(t: Any) -> Any:
    """The tensor as one that may differ from slice to slice, for all runs of vmap around here."""
    runs = []
    level = state.mode.level
    while level is not None:
        if isinstance(level, BatchedRun):
            runs.append(level)
        level = level.outer
    have = []
    while isinstance(t, Batched):
        have.append(t.run)
        t = t.whole
    runs.reverse()  # the outermost first
    alike = bool(runs) and not have and current_node(t) is None
    if alike:  # for all runs at once
        with runs[0].outside():
            t = t.expand((*[run.size for run in runs], *t.array.shape))
    for run in runs:
        with run.outside():
            t = Batched(run, t if alike or run in have else run.whole(t))
    return t
