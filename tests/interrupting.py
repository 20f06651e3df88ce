"""An exception raised before the n-th bytecode of the package, as an interrupt would be."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import tinygrad_edu

ROOT = os.path.dirname(os.path.abspath(tinygrad_edu.__file__))


class Interrupter:
    """Within `with`, raises `kind` before the n-th bytecode run in the package.

    Args:
        at: n, counted from 1; 0 only counts.
        parts: folders or files of the package; all of it without.
        kind: what is raised.
        function: only bytecodes of functions of this name count.
    """

    def __init__(
        self,
        at: int,
        parts: tuple[str, ...] = ("",),
        kind: type[BaseException] = KeyboardInterrupt,
        function: str | None = None,
    ) -> None:
        self.at, self.kind, self.function, self.seen = at, kind, function, 0
        self.paths = tuple(os.path.join(ROOT, part) for part in parts)
        self.where = self.name = ""

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(self.paths):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._opcode

    def _opcode(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode" and self.function in (None, frame.f_code.co_name):
            self.seen += 1
            if self.seen == self.at:
                self.name = frame.f_code.co_name
                file = os.path.basename(frame.f_code.co_filename)
                self.where = f"{file}:{frame.f_lineno} {self.name}"
                raise self.kind
        return self._opcode

    def __enter__(self) -> Interrupter:
        assert threading.current_thread() is threading.main_thread()
        sys.settrace(self._call)
        return self

    def __exit__(self, *exception: Any) -> None:
        sys.settrace(None)

    def run(self, function: Callable[[], Any]) -> bool:
        """Call the function; whether it was interrupted."""
        try:
            with self:
                function()
        except self.kind:
            return True
        return False


def sweep(
    request: pytest.FixtureRequest,
    run: Callable[[], Any],
    samples: int,
    parts: tuple[str, ...] = ("",),
    kind: type[BaseException] = KeyboardInterrupt,
) -> Iterator[Interrupter]:
    """Interrupters for `run`: for a sample of its bytecodes, or with `--sweep` for every one.

    The caller runs the same thing inside each.
    """
    run()  # what is made once, is made
    with Interrupter(0, parts, kind) as counter:
        run()
    places: list[int] = list(range(1, counter.seen + 1))
    assert len(places) > 50
    if not request.config.getoption("--sweep") and len(places) > samples:
        places = sorted(random.Random(0).sample(places, samples))
    for place in places:
        yield Interrupter(place, parts, kind)
