"""Whose memory is whose while a function of `torch.func` runs: what it may write in place.

A transform runs a function once (a derivative) or once per slice (`vmap`).  A write into a tensor
from outside would outlive the run, with a history that means nothing there, or would happen once
per slice.  So a run notes which tensors were made in it, and `vmap` also which of them differ from
slice to slice; `refuse_captured` raises torch's errors for the others.  Levels nest as transforms
do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.graph import INFERENCE, Storage, TensorBase
from tinygrad_edu.engine.mode import state

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
    """

    def __init__(self, inputs: Sequence[Any], batched: Sequence[Any] | None = None) -> None:
        self.outer = state.mode.level
        self.inputs = inputs
        self.made: set[Storage] = set()
        self.varying = None if batched is None else {t._storage for t in batched}

    def __enter__(self) -> None:
        before = self.before = state.mode
        state.mode = before.but(level=self, listeners=(*before.listeners, self.heard))

    def __exit__(self, *error: object) -> None:
        state.mode = self.before

    def own(self) -> Storage:
        """The storage of a tensor that is made without an operation."""
        storage = Storage()
        level: Level | None = self
        while level is not None:
            level.made.add(storage)
            level = level.outer
        return storage

    def heard(self, op: Primitive, make: Any, *args: Any, **kwargs: Any) -> Any:
        """Note what the results of a call are (see mode.py)."""
        given = {t._storage for t in tensors((args, kwargs) if kwargs else args)}
        y = make(*args, **kwargs)
        results = (y,) if isinstance(y, TensorBase) else tensors(y)
        new = [t._storage for t in results if t._storage not in given]
        self.made.update(new)
        if self.varying is not None and not self.varying.isdisjoint(given):
            self.varying.update(new)
        return y

    def refuse(self, t: Any, name: str, others: Any) -> None:
        """Raise torch's error where `t` must not be written, with `others` or without."""
        base = t if t.view_of is None else t.view_of.base
        if base._storage in self.made or base._storage is INFERENCE:
            return
        if self.varying is None:
            if not any([base is x for x in self.inputs]):
                raise RuntimeError(_CAPTURED.format(name=name))
        elif base._storage not in self.varying:
            mixed = any([other._storage in self.varying for other in tensors(others)])
            raise RuntimeError((_UNBATCHED if mixed else _REPEATED).format(name=name))


def refuse_out(name: str) -> None:
    """Raise torch's error for `out=` under `vmap`."""
    level = state.mode.level
    while level is not None:
        if level.varying is not None:
            raise RuntimeError(
                f"Batching rule not implemented for aten::{name}.out; the fallback path doesn't"
                " work on out= or view ops."
            )
        level = level.outer


def refuse_captured(t: object, name: str = "inplace arithmetic", others: object = ()) -> None:
    """Raise torch's error where a transform forbids to write into `t`.

    Args:
        t: the tensor to be written.
        name: of the in-place operation.
        others: its other arguments, tensors or not.
    """
    level = state.mode.level
    while level is not None:
        level.refuse(t, name, others)
        level = level.outer


def tensors(value: Any) -> list[Any]:
    """The tensors in nested containers."""
    if not isinstance(value, (tuple, list, dict)):
        return [value] if isinstance(value, TensorBase) else []
    found: list[Any] = []
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, TensorBase):
            found.append(part)
        elif isinstance(part, (tuple, list, dict)) and part:
            found += tensors(part)
    return found
