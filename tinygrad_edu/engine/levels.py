"""Whose memory is whose while a function of `torch.func` runs: what it may write in place.

A transform runs a function once (a derivative) or once per slice (`vmap`).  A write into a tensor
from outside would outlive the run, with a history that means nothing there, or would happen once
per slice.  So a run notes which tensors were made in it, and `vmap` also which of them differ from
slice to slice; `refuse_captured` raises torch's errors for the others.  Levels nest as transforms
do.
"""

from __future__ import annotations

from typing import Any

from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.mode import state


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


_SIMPLE = {int, float, bool, type(None)}


def tensors(value: Any) -> list[Any]:
    """The tensors in nested containers."""
    if not isinstance(value, (tuple, list, dict)):
        return [value] if isinstance(value, TensorBase) else []
    found: list[Any] = []
    for part in value.values() if isinstance(value, dict) else value:
        if part.__class__ in _SIMPLE:  # most of what there is: sizes and dimensions
            continue
        if isinstance(part, TensorBase):
            found.append(part)
        elif isinstance(part, (tuple, list, dict)) and part:
            found += tensors(part)
    return found
