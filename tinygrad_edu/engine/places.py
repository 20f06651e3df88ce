"""Where in the user's code something happens, and what the source says there."""

from __future__ import annotations

import ast
import dis
import functools
import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple

_CACHE, _POP_TOP = 0, dis.opmap["POP_TOP"]


class Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"


UNKNOWN = Place("?", 0)


def _folders() -> tuple[str, ...]:
    """Where files are that nobody wants to be pointed to: ours, and Python's."""
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
        ours = os.path.abspath(file).startswith(_folders())
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


def is_discarded() -> bool:
    """Whether the user's code calls a method of casting itself, and throws the result away."""
    frame, below = users_frame(2), sys._getframe(1)
    while below.f_back is not frame and below.f_back is not None:
        below = below.f_back
    direct = below.f_code.co_name == "to" or below.f_code.co_filename.endswith("casting.py")
    if frame is None or not direct:
        return False
    code, i = frame.f_code.co_code, frame.f_lasti + 2
    while i < len(code) and code[i] == _CACHE:
        i += 2
    return i < len(code) and code[i] == _POP_TOP


def called_directly() -> Any:
    """The module whose `forward` the user's code has called itself, if that is how we got here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        back = frame.f_back
        if back is None:
            return None
        users = is_users(frame.f_code.co_filename)
        if frame.f_code.co_name == "forward" and is_users(back.f_code.co_filename):
            module = frame.f_locals.get("self")
            if hasattr(module, "_forward_hooks") and back.f_locals.get("self") is not module:
                return module, Place(back.f_code.co_filename, back.f_lineno)
        if users and frame.f_code.co_name != "forward":
            return None
        frame = back
    return None


# ---- what the source says


@functools.lru_cache(maxsize=64)
def _tree(file: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None


def text(place: Place) -> str:
    """The line itself."""
    return linecache.getline(place.file, place.line).strip()


def loops_around(place: Place) -> int:
    """In how many `for` and `while` loops of one function the line stands."""
    return len(list(_around(place, (ast.For, ast.While))))


def _around(place: Place, kinds: tuple[type, ...]) -> Iterator[Any]:
    """The nodes of the innermost function around a line that contain it, the outer first."""
    tree = _tree(place.file)
    if tree is None:
        return
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    scope: Any = tree
    for node in ast.walk(tree):
        if isinstance(node, functions) and _holds(node, place.line):
            scope = node
    for node in ast.walk(scope):
        if isinstance(node, kinds) and _holds(node, place.line):
            yield node


def _holds(node: Any, line: int) -> bool:
    return bool(node.lineno <= line <= (node.end_lineno or node.lineno))


def assignment_of(attribute: str, cls: type) -> Place | None:
    """Where a class, or a base of it, assigns `self.<attribute>`."""
    for owner in cls.__mro__:
        module = sys.modules.get(owner.__module__)
        init = owner.__dict__.get("__init__") or owner.__dict__.get("forward")
        code = getattr(init, "__code__", None)
        file = code.co_filename if code else getattr(module, "__file__", None)
        line = code.co_firstlineno if code else 0
        found = None if file is None else _assigned(file, line, owner.__name__, attribute)
        if found is not None:
            return found
    return None


def _assigned(file: str, line: int, name: str, attribute: str) -> Place | None:
    tree = _tree(file)
    for cls in ast.walk(tree) if tree is not None else ():
        if isinstance(cls, ast.ClassDef) and cls.name == name and (not line or _holds(cls, line)):
            for node in ast.walk(cls):
                if isinstance(node, ast.Attribute) and node.attr == attribute:
                    if isinstance(node.ctx, ast.Store):
                        return Place(file, node.lineno)
    return None


def nearby(place: Place, pattern: str, before: int = 0, after: int = 0) -> Place | None:
    """The line nearest to `place`, so many lines before or after it, in which a pattern occurs."""
    lines = linecache.getlines(place.file)
    rows = range(max(place.line - before, 1), min(place.line + after, len(lines)) + 1)
    for row in sorted(rows, key=lambda row: abs(row - place.line)):
        if re.search(pattern, lines[row - 1].partition("#")[0]):
            return Place(place.file, row)
    return None
