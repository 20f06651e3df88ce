"""What the user's source and the code of the running functions say about a place."""

import ast
import dis
import functools
import linecache
import re
import sys
from types import FrameType
from typing import Any

from tinygrad_edu.engine.places import Place, is_users, users_frame

_CACHE, _POP_TOP = 0, dis.opmap["POP_TOP"]


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


def loops_around(lines: tuple[Place, ...]) -> set[Place]:
    """The `for` and `while` loops that these lines of a call stack stand in."""
    found = set()
    for file, line in lines:
        around = [n for n in ast.walk(_tree(file) or ast.Module([], [])) if _holds(n, line)]
        functions = [n for n in around if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        inside = around if not functions else list(ast.walk(functions[-1]))
        loops = [n for n in inside if isinstance(n, (ast.For, ast.While)) and _holds(n, line)]
        found |= {Place(file, n.lineno) for n in loops}
    return found


def _holds(node: Any, line: int) -> bool:
    first = getattr(node, "lineno", line + 1)
    return bool(first <= line <= (getattr(node, "end_lineno", None) or first))


def assignment_of(attribute: str, cls: type) -> Place | None:
    """Where a class, or a base of it, assigns `self.<attribute>`."""
    for owner in cls.__mro__:
        code = getattr(owner.__dict__.get("__init__"), "__code__", None)
        if code is None:
            continue
        lines = {line for _, _, line in code.co_lines()}
        for node in ast.walk(_tree(code.co_filename) or ast.Module([], [])):
            if isinstance(node, ast.Attribute) and node.attr == attribute:
                if isinstance(node.ctx, ast.Store) and node.lineno in lines:
                    return Place(code.co_filename, node.lineno)
    return None


def nearby(place: Place, pattern: str, before: int = 0, after: int = 0) -> Place | None:
    """The line nearest to `place`, so many lines before or after it, in which a pattern occurs."""
    lines = linecache.getlines(place.file)
    rows = range(max(place.line - before, 1), min(place.line + after, len(lines)) + 1)
    for row in sorted(rows, key=lambda row: abs(row - place.line)):
        if re.search(pattern, lines[row - 1].partition("#")[0]):
            return Place(place.file, row)
    return None
