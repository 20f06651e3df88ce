"""How autocast steps in: listed operations are exchanged while it is on, and only then.

A question in every operation, "is autocast on?", would be paid by every program.  So nothing is
asked.  While some thread has autocast on,

    the `run` of a listed primitive raises `Rerouted`, and the handler that every call has for
    errors anyway makes the call again, with its operands cast;

    a listed function that is composed of others runs `_detour`'s code instead of its own.  It
    stays the same object, so it does not matter who imported it, or when.

When the last thread leaves, everything is put back.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import threading
from collections.abc import Callable
from operator import attrgetter
from types import CodeType, FunctionType
from typing import Any

from tinygrad_edu.amp import lists
from tinygrad_edu.autograd.primitive import Primitive
from tinygrad_edu.autograd.record import Rerouted

Policies = dict[str, str]
"""By device type: the list that an operation is on."""

_lock = threading.Lock()
_threads = 0
_restore: list[Callable[[], None]] = []


@functools.cache
def _listed() -> list[tuple[Any, Policies]]:
    """Every operation that is on a list of either device."""
    policies: dict[tuple[str, str], Policies] = {}
    tables = {"cpu": lists.CPU, "cuda": {**lists.CUDA, "refused": lists.CUDA_REFUSES}}
    for device, table in tables.items():
        for policy, modules in table.items():
            for module, names in modules.items():
                for name in names:
                    policies.setdefault((module, name), {})[device] = policy
    policies[("nn.functional.losses", "cross_entropy")]["cpu"] = "in_two_steps"
    listed = []
    for (module, name), found in policies.items():
        operation = attrgetter(name)(importlib.import_module(f"tinygrad_edu.{module}"))
        if not hasattr(operation, "primitive"):
            operation = inspect.unwrap(operation)
        listed.append((operation, found))
    return listed


def _detour(*args: Any, _autocast_call: Any, **kwargs: Any) -> Any:
    return _autocast_call(*args, **kwargs)


@functools.cache
def _detour_code(free: tuple[str, ...]) -> CodeType:
    """Its code, for functions that share variables of these names with the one around them."""
    return _detour.__code__.replace(co_freevars=free)


def _exchange_function(function: Any, call: Callable[..., Any], policies: Policies) -> None:
    code: CodeType = function.__code__
    defaults = function.__kwdefaults__
    own = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    own.__kwdefaults__ = defaults

    def detour(*args: Any, **kwargs: Any) -> Any:
        return call(own, policies, args, kwargs)

    function.__kwdefaults__ = {**(defaults or {}), "_autocast_call": detour}
    function.__code__ = _detour_code(code.co_freevars)

    def restore() -> None:
        function.__code__, function.__kwdefaults__ = code, defaults

    _restore.append(restore)


def _exchange_primitive(
    op: Primitive, again: Any, call: Callable[..., Any], wanted: Any, policies: Policies
) -> None:
    plain = op.run

    def cast(args: tuple[Any, ...]) -> Any:
        return call(again, policies, args, {})

    def run(*values: Any) -> Any:
        if wanted():
            raise Rerouted(cast)
        return plain(*values)

    op.run = run
    _restore.append(lambda: setattr(op, "run", plain))


def enter(call: Callable[..., Any], wanted: Callable[[], bool]) -> None:
    """One more thread has autocast on.

    Args:
        call: makes a listed call: `call(operation, policies, args, kwargs)`.
        wanted: whether the calling thread wants its calls made so.
    """
    global _threads
    with _lock:
        _threads += 1
        if _threads > 1:
            return
        for operation, policies in _listed():
            op = getattr(operation, "primitive", None)
            if op is None:
                _exchange_function(operation, call, policies)
            else:
                _exchange_primitive(op, operation, call, wanted, policies)


def leave() -> None:
    """One thread fewer."""
    global _threads
    with _lock:
        _threads -= 1
        if not _threads:
            while _restore:
                _restore.pop()()
