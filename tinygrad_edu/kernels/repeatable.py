"""Infinities are not errors: what to do where a program has turned NumPy's warnings into errors.

An operation's forward function is called again by `recover` (engine/boundary.py); what computes on
arrays outside of one says `@repeatable` if it has no side effects.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

from tinygrad_edu.out_of_memory import out_of_memory, public_caller

P = ParamSpec("P")
T = TypeVar("T")


def repeatable(function: Callable[P, T]) -> Callable[P, T]:
    """Call a function without side effects again, without warnings, if one of NumPy's is an error.

    Nothing is paid for it otherwise, unlike for `np.errstate` around every call.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except MemoryError as error:
            raise out_of_memory(public_caller(), error) from None
        except RuntimeWarning:
            with np.errstate(all="ignore"):
                return function(*args, **kwargs)

    return call
