"""`torch.jit`: functions and modules as they are; there is no compiler behind it.

What would be compiled is Python that runs, so it is handed back and computes the same.  What would
need TorchScript itself, its files and its graphs, is refused.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import typing
import warnings
from typing import Any, Final, NamedTuple, TypeVar

from tinygrad_edu.engine.types import Call
from tinygrad_edu.names.settings import unavailable
from tinygrad_edu.nn.modules.module import Module

__all__ = [
    "Attribute", "Final", "Future", "ScriptFunction", "ScriptModule", "TracerWarning", "annotate",
    "enable_onednn_fusion", "export", "fork", "freeze", "ignore", "interface", "is_scripting",
    "is_tracing", "isinstance", "load", "onednn_fusion_enabled", "optimize_for_inference",
    "optimized_execution", "run_frozen_optimizations", "save", "script", "script_if_tracing",
    "script_method", "set_fusion_strategy", "trace", "trace_module", "unused", "wait",
]  # fmt: skip

__path__: list[str] = []  # `torch.jit.annotations` is absent.py

T = TypeVar("T")

_REASON = "there is no TorchScript; save the state dict: torch.save(model.state_dict(), path)"
save = unavailable("torch.jit.save", _REASON)
load = unavailable("torch.jit.load", "there is no TorchScript; load a state dict: torch.load(path)")


class TracerWarning(Warning):
    """What a tracer would say of code that depends on values; there to be filtered."""


@functools.cache
def _warn_once() -> None:
    warnings.warn(
        "tinygrad_edu has no TorchScript: torch.jit.script and torch.jit.trace return what they"
        " are given, which computes the same",
        stacklevel=3,
    )


def script(obj: T, *args: object, **kwargs: object) -> T:
    """The function, class or module itself, with a warning the first time.

    >>> import warnings, tinygrad_edu as torch
    >>> warnings.simplefilter("ignore")
    >>> @torch.jit.script
    ... def double(x): return 2 * x
    >>> double(torch.ones(1))
    tensor([2.])
    """
    _warn_once()
    return obj


def trace(func: T, example_inputs: object = None, *args: object, **kwargs: object) -> T:
    """The function or module itself, which is not run, with a warning the first time."""
    _warn_once()
    return func


def trace_module(mod: T, inputs: object, *args: object, **kwargs: object) -> T:
    """The module itself, with a warning the first time."""
    _warn_once()
    return mod


def ignore(drop: object = False, **kwargs: object) -> Any:
    """The decorated function itself."""
    return drop if callable(drop) else lambda function: function


def export(fn: T) -> T:
    """The decorated function or class itself."""
    return fn


interface = unused = script_method = export
script_if_tracing = _script_if_tracing = _overload_method = export


def freeze(mod: T, *args: object, **kwargs: object) -> T:
    """The module itself."""
    return mod


optimize_for_inference = freeze


class ScriptModule(Module):
    """A module like any other, for classes that are derived from it."""

    save = unavailable("ScriptModule.save", _REASON)
    graph = code = property(unavailable("ScriptModule.graph", _REASON))


class ScriptFunction:
    """No object is one; there to be asked for with isinstance."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        unavailable("torch.jit.ScriptFunction", _REASON)()


class Attribute(NamedTuple):
    """A value and its type; as an attribute of a module it would be the value."""

    value: Any
    type: Any


class Future:
    """What `fork` has computed."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def wait(self) -> Any:
        """The value."""
        return self._value


def fork(func: Call, *args: object, **kwargs: object) -> Future:
    """Call the function at once; `wait` gives its result."""
    return Future(func(*args, **kwargs))


def wait(future: Future) -> Any:
    """The result of a forked call."""
    return future.wait()


def annotate(the_type: object, the_value: object) -> Any:
    """The value."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Whether `obj` is of that type, which may be a container's: `list[int]`, `Dict[str, int]`.

    Raises:
        RuntimeError: a container's type without what is in it.

    >>> import tinygrad_edu as torch
    >>> torch.jit.isinstance([1, 2], list[int]), torch.jit.isinstance(["a"], list[int])
    (True, False)
    """
    if builtins.isinstance(target_type, tuple):
        return any([isinstance(obj, one) for one in target_type])
    if target_type in (list, dict, tuple, typing.List, typing.Dict, typing.Tuple):  # noqa: UP006
        raise RuntimeError(f"{target_type} needs the type of what is in it, as in list[int]")
    origin, args = typing.get_origin(target_type), typing.get_args(target_type)
    if origin is None:
        return builtins.isinstance(obj, target_type)
    if origin not in (list, dict, tuple):
        return isinstance(obj, args)  # a union
    if not builtins.isinstance(obj, origin):
        return False
    inside = [part for item in obj.items() for part in item] if origin is dict else obj
    wanted = args if origin is tuple else args * len(obj)
    return len(inside) == len(wanted) and all(map(isinstance, inside, wanted))


def is_scripting() -> bool:
    """False."""
    return False


is_tracing = onednn_fusion_enabled = is_scripting


def optimized_execution(should_optimize: bool) -> contextlib.AbstractContextManager[None]:
    """A block, to no effect."""
    return contextlib.nullcontext()


def set_fusion_strategy(*args: object, **kwargs: object) -> None:
    """Accepted, to no effect."""


enable_onednn_fusion = run_frozen_optimizations = set_fusion_strategy
