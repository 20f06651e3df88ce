"""Where in the user's code something happens."""

from __future__ import annotations

import os
import sys
import sysconfig
from types import FrameType
from typing import NamedTuple


class Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"


UNKNOWN = Place("?", 0)


def folders() -> tuple[str, ...]:
    """Where the files of this package are."""
    names = ("tinygrad_edu", "tinygrad_edu.nn", "tinygrad_edu.optim")
    files = [sys.modules[name].__file__ or "" for name in names if name in sys.modules]
    ours = [os.path.dirname(os.path.realpath(file)) for file in files]
    seen = [os.path.dirname(os.path.abspath(file)) for file in files]
    return tuple(folder + os.sep for folder in {*ours, *seen})


_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
_users: dict[str, bool] = {}


def is_users(file: str) -> bool:
    """Whether a file is the user's."""
    found = _users.get(file)
    if found is None:
        stdlib = file.startswith(_STDLIB) and "site-packages" not in file
        ours = os.path.abspath(file).startswith(folders())
        found = _users[file] = not (ours or stdlib or file.startswith("<frozen"))
    return found


def users_frame(depth: int = 1, start: FrameType | None = None) -> FrameType | None:
    """The innermost frame of the user's code, from here or from another frame on."""
    frame: FrameType | None = start or sys._getframe(depth)
    while frame is not None:
        file = frame.f_code.co_filename
        users = _users.get(file)
        if is_users(file) if users is None else users:
            return frame
        frame = frame.f_back
    return None


def here() -> Place:
    """The line of the user's code that led to here."""
    frame = users_frame(2)
    return UNKNOWN if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)


def stack() -> tuple[Place, ...]:
    """All lines of the user's code that led to here, the innermost first."""
    found: list[Place] = []
    frame = users_frame(2)
    while frame is not None and len(found) < 12:
        if is_users(frame.f_code.co_filename):
            found.append(Place(frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)
