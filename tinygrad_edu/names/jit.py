"""`torch.jit`: functions and modules as they are; there is no compiler behind it.

What would be compiled is Python that runs, so it is handed back and computes the same.  What would
need TorchScript itself, its files and its graphs, is refused.
"""

from __future__ import annotations

import builtins
import functools
import typing
import warnings
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

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

F = TypeVar("F", bound=Callable[..., Any])
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


def script_if_tracing(fn: F) -> F:
    """The decorated function itself."""
    return fn


_script_if_tracing = script_if_tracing


def _overload_method(fn: F) -> F:
    """The decorated method itself."""
    return fn


def script_method(fn: F) -> F:
    """The decorated method itself."""
    return fn


def ignore(drop: object = False, **kwargs: object) -> Any:
    """The decorated function itself."""
    return drop if callable(drop) else lambda function: function


def unused(fn: F) -> F:
    """The decorated function itself."""
    return fn


def export(fn: F) -> F:
    """The decorated function itself."""
    return fn


def interface(obj: T) -> T:
    """The decorated class itself."""
    return obj


def freeze(mod: T, *args: object, **kwargs: object) -> T:
    """The module itself."""
    return mod


def optimize_for_inference(mod: T, *args: object, **kwargs: object) -> T:
    """The module itself."""
    return mod


def run_frozen_optimizations(mod: object, *args: object, **kwargs: object) -> None:
    """Nothing."""


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


def fork(func: Callable[..., Any], *args: object, **kwargs: object) -> Future:
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
    origin, args = typing.get_origin(target_type), typing.get_args(target_type)
    if origin is None:
        if target_type in (list, dict, tuple, typing.List, typing.Dict, typing.Tuple):  # noqa: UP006
            raise RuntimeError(f"{target_type} needs the type of what is in it, as in list[int]")
        return builtins.isinstance(obj, target_type)
    if origin is list:
        return builtins.isinstance(obj, list) and all([isinstance(v, args[0]) for v in obj])
    if origin is dict:
        return builtins.isinstance(obj, dict) and all(
            [isinstance(k, args[0]) and isinstance(v, args[1]) for k, v in obj.items()]
        )
    if origin is tuple:
        return (
            builtins.isinstance(obj, tuple)
            and len(obj) == len(args)
            and all([isinstance(v, one) for v, one in zip(obj, args, strict=True)])
        )
    return any([isinstance(obj, one) for one in args])  # a union


def is_scripting() -> bool:
    """False."""
    return False


def is_tracing() -> bool:
    """False."""
    return False


class optimized_execution:
    """A block, to no effect."""

    def __init__(self, should_optimize: bool) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


def set_fusion_strategy(strategy: object) -> None:
    """Accepted, to no effect."""


def enable_onednn_fusion(enabled: bool) -> None:
    """Accepted, to no effect."""


def onednn_fusion_enabled() -> bool:
    """False."""
    return False
