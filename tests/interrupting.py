"""An exception raised at the n-th bytecode of a part of the package, as an interrupt would be."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import tinygrad_edu

ROOT = os.path.dirname(os.path.abspath(tinygrad_edu.__file__))


class Interrupter:
    """Within `with`, raises `kind` at the n-th bytecode run in files below the folders `parts`.

    Args:
        at: n, counted from 1; 0 only counts.
        parts: folders or files of the package.
        kind: what is raised.
    """

    def __init__(self, at: int, parts: tuple[str, ...], kind: type[BaseException]) -> None:
        self.at, self.kind, self.seen = at, kind, 0
        self.paths = tuple(os.path.join(ROOT, part) for part in parts)
        self.where = ""

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(self.paths):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._opcode

    def _opcode(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            self.seen += 1
            if self.seen == self.at:
                name = os.path.basename(frame.f_code.co_filename)
                self.where = f"{name}:{frame.f_lineno} {frame.f_code.co_name}"
                raise self.kind
        return self._opcode

    def __enter__(self) -> Interrupter:
        assert threading.current_thread() is threading.main_thread()
        sys.settrace(self._call)
        return self

    def __exit__(self, *exception: Any) -> None:
        sys.settrace(None)


def sweep(
    run: Callable[[], Any], parts: tuple[str, ...], kind: type[BaseException], samples: int
) -> Iterator[Interrupter]:
    """Interrupters for `run`: at every bytecode if INTERRUPT_ALL is set, else at a sample of them.

    The caller runs the same thing inside each.
    """
    with Interrupter(0, parts, kind) as counter:
        run()
    places: list[int] = list(range(1, counter.seen + 1))
    assert len(places) > 50
    if "INTERRUPT_ALL" not in os.environ and len(places) > samples:
        places = sorted(random.Random(0).sample(places, samples))
    for place in places:
        yield Interrupter(place, parts, kind)
