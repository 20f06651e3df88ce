"""`detect_anomaly`: which operation's gradient is NaN, and where that operation was called."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np

from tinygrad_edu.autograd import walk
from tinygrad_edu.autograd.graph import Node, Variable
from tinygrad_edu.autograd.observers import unwatch, watch

_PACKAGE = __name__.partition(".")[0]


class _Mode:
    enabled = False
    check_nan = True


def is_anomaly_enabled() -> bool:
    """Whether anomalies are looked for."""
    return _Mode.enabled


def is_anomaly_check_nan_enabled() -> bool:
    """Whether gradients are searched for NaN."""
    return _Mode.check_nan


def _note_call(node: Any) -> None:
    """Remember the user's lines that led to the making of a node."""
    import traceback  # here, because nothing else needs it

    frames = traceback.walk_stack(None)
    own = [(f, n) for f, n in frames if f.f_globals.get("__name__", "").split(".")[0] != _PACKAGE]
    node.made_at = traceback.StackSummary.extract(iter(own[::-1]), lookup_lines=False)


def _checked_gradients(node: Any, g: Any, create: bool) -> Any:
    try:
        found = list(walk.base_gradients(node, g, create))
    except Exception as error:
        error.add_note(_where(node))
        raise
    if _Mode.check_nan:
        for i, gx in found:
            edge = node.edges[i] if i < len(node.edges) else None
            if edge is not None and gx is not None and _has_nan(gx):
                anomaly = RuntimeError(
                    f"Function '{node.name()}' returned nan values in its {i}th output."
                )
                anomaly.add_note(_where(node))
                raise anomaly
    return found


def _has_nan(g: Any) -> bool:
    array = g.array if isinstance(g, Variable) else g
    return bool(np.isnan(array).any())


def _where(node: Node) -> str:
    made_at = getattr(node, "made_at", None)
    if made_at is None:
        return (
            f"{node.name()}: no forward pass information available; run the forward pass, too,"
            " inside detect_anomaly to get it."
        )
    return f"The forward call that made {node.name()}:\n" + "".join(made_at.format())


def _switch(on: bool, check_nan: bool) -> None:
    if on and not _Mode.enabled:
        watch(_note_call)
        walk.gradients = _checked_gradients
    elif not on and _Mode.enabled:
        unwatch(_note_call)
        walk.gradients = walk.base_gradients
    _Mode.enabled, _Mode.check_nan = on, check_nan


class set_detect_anomaly:
    """Switch `detect_anomaly` on or off: a plain call, or a block.

    Args:
        mode: on or off.
        check_nan: search gradients for NaN, besides noting forward calls.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = _Mode.enabled, _Mode.check_nan
        _switch(mode, check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _switch(*self._before)


class detect_anomaly:
    """Inside the block, a backward pass that computes a NaN raises RuntimeError.

    The error names the operation; its notes show the lines of the forward pass that called it,
    which are recorded inside the block only.  An error raised by a rule gets the same notes.

    Args:
        check_nan: search gradients for NaN, besides noting forward calls.

    Unlike torch, the forward lines are notes of the exception rather than a separate warning, and
    entering the block does not warn that it is slow (it is).

    >>> import tinygrad_edu as torch
    >>> x = torch.zeros(1, requires_grad=True)
    >>> with torch.autograd.detect_anomaly():
    ...     (torch.sqrt(x) * 0).backward()
    Traceback (most recent call last):
        ...
    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output.
    ...
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan

    def __enter__(self) -> None:
        self._before = _Mode.enabled, _Mode.check_nan
        _switch(True, self.check_nan)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _switch(*self._before)
