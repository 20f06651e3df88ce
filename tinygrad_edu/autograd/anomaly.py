"""`detect_anomaly`: which operation's gradient is NaN, and where that operation was called."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np

from tinygrad_edu.engine.boundary import is_ours
from tinygrad_edu.engine.graph import Node, TensorBase
from tinygrad_edu.engine.mode import Mode, Recorder, state
from tinygrad_edu.engine.types import Call, Gradient


class _Noting:
    """The recorder inside the block: a node remembers the user's lines that led to its making."""

    def __init__(self, outer: Recorder) -> None:
        self.outer = outer

    def __call__(self, *made: Any) -> Node:
        import traceback  # here, because nothing else needs it

        node = self.outer(*made)
        noted: Any = node
        frames = traceback.walk_stack(None)
        own = [(f, n) for f, n in frames if not is_ours(f)]
        noted.made_at = traceback.StackSummary.extract(iter(own[::-1]), lookup_lines=False)
        return node


class _Check:
    """The wrapper of backward steps inside the block."""

    def __init__(self, check_nan: bool) -> None:
        self.check_nan = check_nan

    def __call__(self, step: Call, node: Node, kept: Any, g: Gradient) -> Any:
        try:
            found = list(step(node, kept, g))
        except Exception as error:
            error.add_note(_where(node))
            raise
        for i, gx in found if self.check_nan else ():
            edge = node.edges[i] if i < len(node.edges) else None
            if edge is not None and gx is not None and _has_nan(gx):
                anomaly = RuntimeError(
                    f"Function '{node.name()}' returned nan values in its {i}th output."
                )
                anomaly.add_note(_where(node))
                raise anomaly
        return found


def _check(mode: Mode) -> _Check | None:
    found = [wrapper for wrapper in mode.around if isinstance(wrapper, _Check)]
    return found[-1] if found else None


def is_anomaly_enabled() -> bool:
    """Whether anomalies are looked for."""
    return _check(state.mode) is not None


def is_anomaly_check_nan_enabled() -> bool:
    """Whether gradients are searched for NaN."""
    check = _check(state.mode)
    return check is None or check.check_nan


def _has_nan(g: Gradient) -> bool:
    array = g.array if isinstance(g, TensorBase) else g
    return bool(np.isnan(array).any())


def _where(node: Node) -> str:
    made_at = getattr(node, "made_at", None)
    if made_at is None:
        return (
            f"{node.name()}: no forward pass information available; run the forward pass, too,"
            " inside detect_anomaly to get it."
        )
    if not made_at:
        return f"{node.name()} was made outside of the user's code."
    last = made_at[-1]
    first = f"{last.filename}:{last.lineno}: {last.line}" if last.line else f"line {last.lineno}"
    return f"{first}\nThe forward call that made {node.name()}:\n" + "".join(made_at.format())


def _switched(mode: Mode, on: bool, check_nan: bool) -> Mode:
    """The mode with anomaly detection on or off."""
    maker = mode.maker.outer if isinstance(mode.maker, _Noting) else mode.maker
    around = tuple([wrapper for wrapper in mode.around if not isinstance(wrapper, _Check)])
    if on:
        maker, around = _Noting(maker), (*around, _Check(check_nan))
    return mode.but(maker=maker, around=around)


def _as_before(outside: Mode) -> Mode:
    """The present mode, which something else has changed too, with anomaly detection as before."""
    check = _check(outside)
    return _switched(state.mode, check is not None, check is None or check.check_nan)


class set_detect_anomaly:
    """Switch `detect_anomaly` on or off: a plain call, or a block.

    Args:
        mode: on or off.
        check_nan: search gradients for NaN, besides noting forward calls.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        outside = state.mode
        inside = _switched(outside, mode, check_nan)
        self._modes = outside, inside
        state.mode = inside

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        outside, inside = self._modes
        state.mode = outside if state.mode is inside else _as_before(outside)


class detect_anomaly:
    """Inside the block, a backward pass that computes a NaN raises RuntimeError.

    The error names the operation; its notes show the lines of the forward pass that called it,
    which are recorded inside the block only.  An error raised by a rule gets the same notes.

    Args:
        check_nan: search gradients for NaN, besides noting forward calls.

    Unlike torch, this is about the calling thread only, the forward lines are notes of the
    exception rather than a separate warning, and entering the block does not warn that it is slow
    (it is).

    >>> import tinygrad_edu as torch
    >>> x = torch.zeros(1, requires_grad=True)
    >>> try:
    ...     with torch.autograd.detect_anomaly():
    ...         (torch.sqrt(x) * 0).backward()
    ... except RuntimeError as error:
    ...     print(error)
    Function 'SqrtBackward0' returned nan values in its 0th output.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan

    def __enter__(self) -> None:
        outside = state.mode
        inside = _switched(outside, True, self.check_nan)
        self._modes = outside, inside
        state.mode = inside

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        outside, inside = self._modes
        state.mode = outside if state.mode is inside else _as_before(outside)
