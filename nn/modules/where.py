"""Which module an exception comes from: a note such as `in model.net[2]: Linear(8, 32)`."""

from __future__ import annotations

import inspect
import re
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.places import users_frame

if TYPE_CHECKING:
    from tinygrad_edu.nn.modules.module import Module


_MARK = "in "


def note_module(error: Exception, call: object) -> None:
    """Add the note, unless a module further inside has.

    Args:
        error: the exception.
        call: the code of `Module.__call__`, by which its frames are known.
    """
    if any([note.startswith(_MARK) for note in getattr(error, "__notes__", ())]):
        return
    running: list[Any] = []
    outermost: FrameType | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is call:
            running.append(frame.f_locals["self"])
            outermost = frame.f_back
        frame = frame.f_back
    if running:
        name = _name_of(running[-1], outermost)
        for outer, inner in zip(running[:0:-1], running[-2::-1], strict=True):
            name += _path(outer, inner)
        what = described(running[0])
        error.add_note(f"{_MARK}{what}" if what.startswith(name) else f"{_MARK}{name}: {what}")


def _name_of(module: Module, frame: FrameType | None) -> str:
    """What the user's code calls the outermost module."""
    frame = users_frame(start=frame)
    if frame is not None:
        for names in (frame.f_locals, frame.f_globals):
            for name, value in names.items():
                if value is module and not name.startswith("_"):
                    return name
        owner = frame.f_locals.get("self")
        for name, value in getattr(owner, "__dict__", {}).items():
            if value is module:
                return f"self.{name}"
    return type(module).__name__


def _path(outer: Any, inner: object) -> str:
    """How one module is reached from another: `.net[2]`."""
    if outer is inner:
        return ""
    for path, found in outer.named_modules():
        if found is inner:
            return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", f".{path}")
    return f" > {type(inner).__name__}"


def described(module: Module) -> str:
    """A module in few words: its class, and the options that it was given."""
    kind, extra = type(module).__name__, module.extra_repr()
    if module._modules or "\n" in extra:
        return kind
    parts = re.split(r", (?![^()]*\))", extra) if extra else []
    known = inspect.signature(type(module).__init__).parameters
    shown = []
    for part in parts:
        name, equals, value = part.partition("=")
        parameter = known.get(name)
        if not equals or parameter is None:
            shown.append(part)
        elif parameter.default is inspect.Parameter.empty:
            shown.append(value)
        elif str(parameter.default) != value:
            shown.append(part)
    return f"{kind}({', '.join(shown)})"
