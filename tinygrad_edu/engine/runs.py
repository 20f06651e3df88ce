"""One run of a function under a transform of `torch.func`: what it was given and has made.

It knows which tensors it may write in place, and whose `data` may be read or set (see levels.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.graph import INFERENCE, Storage
from tinygrad_edu.engine.levels import tensors
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.record import current_node

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive


_CAPTURED = (
    "During a grad (vjp, jvp, grad, etc) transform, the function provided attempted to call"
    " in-place operation (aten::{name}) that would mutate a captured Tensor. This is not supported;"
    " please rewrite the function being transformed to explicitly accept the mutated Tensor(s) as"
    " inputs."
)
_UNBATCHED = (
    "vmap: {name}(self, *extra_args) is not possible because there exists a Tensor `other` in"
    " extra_args that has more elements than `self`. This happened due to `other` being vmapped"
    " over but `self` not being vmapped over in a vmap. Please try to use out-of-place operators"
    " instead of {name}."
)
_REPEATED = (
    "vmap: {name}(self, *extra_args) is not possible because `self` is not being vmapped over and"
    " comes from outside of the function, which runs once per slice: it would be written as often."
    " Please write it before or after vmap."
)


class Level:
    """One run of a function under a transform.

    Args:
        inputs: the tensors that the function is given.
        batched: of a run under `vmap`, those of the inputs that are slices; None under another.

    Attributes:
        made: the memory of tensors made during the run.
        varying: the memory of what differs from slice to slice; None outside of `vmap`.
        cut: what was detached from the inputs during the run, by its id; it may be written as well.
    """

    def __init__(self, inputs: Sequence[Any], batched: Sequence[Any] | None = None) -> None:
        self.outer = state.mode.level
        self.inputs = inputs
        self.made: set[Storage] = set()
        self.cut: dict[int, Any] = {}
        self.varying = None if batched is None else {t._storage for t in batched}

    def __enter__(self) -> None:
        before = self.before = state.mode
        heard = () if self.varying is None else (self.heard,)
        state.mode = before.but(level=self, listeners=(*before.listeners, *heard))

    def __exit__(self, *error: object) -> None:
        state.mode = self.before

    def own(self) -> Storage:
        """The storage of a tensor that is made during the run."""
        storage = Storage()
        level: Level | None = self
        while level is not None:
            level.made.add(storage)
            level = level.outer
        return storage

    def heard(self, op: Primitive, make: Any, *args: Any, **kwargs: Any) -> Any:
        """Under `vmap`, note whether the results of a call differ (see mode.py)."""
        given = {t._storage for t in tensors((args, kwargs) if kwargs else args)}
        y = make(*args, **kwargs)
        if self.varying is not None and not self.varying.isdisjoint(given):
            self.varying.update([t._storage for t in tensors(y) if t._storage not in given])
        return y

    def refuse(self, t: Any, name: str, others: Any) -> None:
        """Raise torch's error where `t` must not be written, with `others` or without."""
        base = t if t.view_of is None else t.view_of.base
        if base._storage in self.made or base._storage is INFERENCE:
            return
        if self.varying is None:
            if not self.is_given(base):
                raise RuntimeError(_CAPTURED.format(name=name))
        elif base._storage not in self.varying:
            mixed = any([other._storage in self.varying for other in tensors(others)])
            raise RuntimeError((_UNBATCHED if mixed else _REPEATED).format(name=name))

    def is_given(self, t: Any) -> bool:
        """Whether `t` is an input, or one without its history."""
        return id(t) in self.cut or any([t is x for x in self.inputs])

    def detached(self, t: Any, y: Any) -> None:
        """Note that `y` is `t` without its history."""
        base = t if t.view_of is None else t.view_of.base
        level: Level | None = self
        while level is not None:
            if level.is_given(t) or level.is_given(base):
                level.cut[id(y)] = y
            level = level.outer

    def check_data(self, t: Any) -> None:
        """Raise torch's error where `t.data` may not be read."""
        if self.varying is not None:
            if t._storage in self.varying:
                raise RuntimeError("accessing `data` under vmap transform is not allowed")
            return
        outer = self.outer if current_node(t) is not None else None
        while outer is not None:
            if outer.varying is None:
                raise RuntimeError(
                    "`data` of a tensor that two transforms differentiate is not supported: in"
                    " torch it is cut off from the inner one only. Use detach() for both."
                )
            outer = outer.outer

    def check_set_data(self, t: Any, value: Any) -> None:
        """Raise torch's error where `t.data` may not be set."""
        level: Level | None = self
        while level is not None:
            if level.varying is None:
                raise RuntimeError(
                    "mutating directly with `.data` inside functorch transform is not allowed."
                )
            if not level.varying.isdisjoint([t._storage, value._storage]):
                raise RuntimeError(
                    "mutating directly with `.data` under vmap transform is not allowed."
                )
            level = level.outer
