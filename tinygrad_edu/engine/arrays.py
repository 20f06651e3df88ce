"""An array in place of a tensor: torch's error, where a user's own call gives one.

Rules and forward functions call operations with arrays, and the package does so for itself.  An
operation that is called with an array therefore looks up the stack: was it a function of the
user's that gave it, and is no forward function or rule under way?  No call with tensors comes here.
"""

from __future__ import annotations

import inspect
import sys
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_edu.engine.graph import TensorBase

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive

_PACKAGE = __name__.partition(".")[0]
_ENGINE = f"{_PACKAGE}.engine."
_TELLS = f"{_ENGINE}boundary"
_CALLS = {
    _ENGINE + name for name in ("arrays", "fast", "inplace", "record", "second", "views", "walk")
}
"""The files whose functions make calls or run rules."""
_LISTENERS = {f"{_ENGINE}half", f"{_PACKAGE}.amp.autocast_mode"}
_FUNCTIONS = tuple([f"{_PACKAGE}.{name}" for name in ("ops.", "nn.functional", "out", "linalg")])
"""Where the functions are that users call; `engine.composed` stands around some of them."""


def place_of_array(op: Primitive, args: tuple[object, ...]) -> int | None:
    """Which of these arguments is not a tensor though it must be, if a user has made the call."""
    kinds = op.forward.__annotations__
    for i, (name, value) in enumerate(zip(op.parameters, args, strict=False)):
        kind = str(kinds.get(name, "Any"))
        if isinstance(value, TensorBase) or not kind.startswith(("Array", "Any")):
            continue
        no_number = op.numbers == "none" or (op.numbers == "second" and i == 0) or op.arity == 1
        if isinstance(value, np.generic):
            wrong = no_number
        else:
            wrong = hasattr(value, "dtype") or (kind == "Array" and op.numbers == "none")
        if wrong and is_users(value):
            return i
    return None


def is_users(value: object) -> bool:
    """Whether a user has given this value to the function called, outside of rules and such."""
    frame: FrameType | None = sys._getframe(3)
    called, in_call, users = frame, True, False
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        ours = name.partition(".")[0] == _PACKAGE
        if name in _CALLS and not in_call:  # it runs a forward function or a rule
            return False
        if name not in _LISTENERS:
            in_call = name in _CALLS or name == _TELLS
            if not users and ours and not name.startswith((_ENGINE, *_FUNCTIONS)):
                return False
        if not users and not ours:
            users = True
            if not _was_given(called, value):
                return False
        called, frame = frame, frame.f_back
    return users


def _was_given(frame: FrameType | None, value: object) -> bool:
    """Whether the value is an argument of that call."""
    if frame is None:
        return False
    code = frame.f_code
    rests = [bool(code.co_flags & f) for f in (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS)]
    count = code.co_argcount + code.co_kwonlyargcount + sum(rests)
    for name in code.co_varnames[:count]:
        given: object = frame.f_locals.get(name)
        many = tuple(given.values()) if isinstance(given, dict) else given
        if given is value or (isinstance(many, tuple) and any([one is value for one in many])):
            return True
    return False
