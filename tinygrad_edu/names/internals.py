"""Names of torch's insides that libraries ask for without computing with them.

`torch._C`, `torch._dynamo`, `torch.library` and `torch.overrides` are all this module: what is
asked for there only registers, marks or switches off something that does not exist here.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.names.missing import missing

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive


F = TypeVar("F", bound=Callable[..., Any])

__path__: list[str] = []  # `torch._dynamo.utils` is this module, too


def _log_api_usage_once(event: str) -> None:
    """Nothing is logged."""


def _get_tracing_state() -> None:
    """None: nothing is traced."""


class _nn:
    """torch's functions of layers, of which libraries ask for one."""

    @staticmethod
    def _parse_to(*args: object, **kwargs: object) -> tuple[Any, Any, bool, Any]:
        """What the arguments of `.to` say: device, dtype, whether to wait, memory format."""
        from tinygrad_edu.nn.modules.conversion import _parse_to

        order = kwargs.pop("memory_format", None)
        waits = bool(kwargs.get("non_blocking", False))
        return (*_parse_to(*args, **kwargs), waits, order)


class ScriptMethod:
    """No object is one; there to be asked for with isinstance."""


class OptimizedModule:
    """No object is one."""


_TensorMeta = type

DisableTorchFunction = DisableTorchFunctionSubclass = contextlib.nullcontext
"""Blocks to no effect: operations never ask subclasses."""


class DispatchKey(enum.Enum):
    """Kinds of dispatch; there are none."""

    AutocastCPU = enum.auto()
    AutocastCUDA = enum.auto()
    AutocastMPS = enum.auto()
    AutocastXPU = enum.auto()


class DispatchKeySet(frozenset[Any]):
    """Some of them."""

    def __new__(cls, *keys: Any) -> DispatchKeySet:
        return super().__new__(cls, keys)


# ---- torch.overrides


class TorchFunctionMode:
    """A block in which functions would ask an object first; it cannot be entered."""

    def __enter__(self) -> Any:
        raise NotImplementedError(
            "torch.overrides is not available in tinygrad_edu: operations ask no modes; listeners"
            " are described in tinygrad_edu.engine.mode"
        )

    def __exit__(self, *exc: object) -> None:
        pass


def has_torch_function(relevant_args: object) -> bool:
    """False."""
    return False


def is_tensor_like(inp: object) -> bool:
    """Whether it is a tensor."""
    return isinstance(inp, TensorBase)


# ---- marks for compilers


def disable(fn: object = None, *args: object, **kwargs: object) -> Any:
    """The function itself; as a decorator, with arguments or without."""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn: F) -> F:
    """The function itself."""
    return fn


def reset() -> None:
    """Nothing has been compiled."""


def is_compile_supported(device_type: str) -> bool:
    """False."""
    return False


# ---- operators of others


def register_fake(op: Primitive, func: object = None, /, **kwargs: object) -> Any:
    """The function itself; as a decorator or not. There are no operators to register it for."""
    return (lambda function: function) if func is None else func


def register_autograd(op: Primitive, backward: object, /, **kwargs: object) -> None:
    """Accepted, to no effect: there are no operators to register it for."""


class Library:
    """A library of operators; what is defined in it cannot be called."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, **kwargs: object) -> str:
        """The name of the operator."""
        return schema.partition("(")[0]

    def impl(self, op_name: object, fn: object, dispatch_key: str = "", **kwargs: object) -> None:
        """Accepted, to no effect."""


__getattr__ = missing(__name__)
