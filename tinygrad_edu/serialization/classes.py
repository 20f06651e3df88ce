"""Modules and plain objects in files: which classes a file may name, how they are made and filled.

Pickle makes an object of a class by calling what the file names.  Here a file chooses among classes
that the running program has defined or imported, nothing is imported for it, and nothing of the
class is called: `object.__new__` makes the object, and its dictionary is filled from plain data.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

from tinygrad_edu.names.moved import OWN
from tinygrad_edu.serialization.errors import CheckpointError
from tinygrad_edu.tensor import Tensor, parameter_class

__all__ = ["add_safe_globals", "clear_safe_globals", "get_safe_globals", "safe_globals"]

_RUNS = (
    "__new__", "__setstate__", "__reduce__", "__reduce_ex__", "__getnewargs__",
    "__getnewargs_ex__", "__getattribute__", "__class__", "__del__",
)  # fmt: skip
"""Methods that would run, or would have to, when an object is made, filled, looked at or freed."""
_FUNCTIONS = (f"{OWN}.ops.", f"{OWN}.nn.functional.")
"""Where a function may be from: all of them compute, none reads or writes anything else."""
_HOOKS = (
    "_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks",
    "_state_dict_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)  # fmt: skip
_TORCHS_HOOKS = (
    "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
    "_is_full_backward_hook",
)  # fmt: skip
_TORCHS_RNN = ("_flat_weights", "_flat_weights_names", "_flat_weight_refs", "_all_weights")
_TORCHS_FILES = {
    "modules.channelshuffle": "ChannelShuffle",
    "modules.fold": "Fold Unfold",
    "modules.instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "modules.linear": "NonDynamicallyQuantizableLinear",
    "modules.loss": "LinearCrossEntropyLoss",
    "modules.pixelshuffle": "PixelShuffle PixelUnshuffle",
    "modules.upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
    "parallel.data_parallel": "DataParallel",
}
_TORCHS_FILE = {name: file for file, names in _TORCHS_FILES.items() for name in names.split()}
"""torch's file of a layer that is elsewhere here."""
_TORCHS_MODULES = {
    f"{OWN}.nn.modules.attention": "modules.activation",
    f"{OWN}.nn.modules.more.bags": "modules.sparse",
    f"{OWN}.nn.modules.more.cells": "modules.rnn",
    f"{OWN}.nn.modules.more.losses": "modules.loss",
    f"{OWN}.nn.modules.more.parameter_container": "modules.container",
    f"{OWN}.nn.modules.more.sync_batchnorm": "modules.batchnorm",
}
"""torch's file of all other layers of a module."""


# ---- what the user vouches for -------------------------------------------------------------------

_safe: list[Any] = []


def add_safe_globals(safe_globals: Iterable[Any]) -> None:
    """Let files have objects of these classes, and these functions as values.

    Args:
        safe_globals: classes and functions, or pairs of one and the name it has in files.  An
            object is made without calling anything of its class, and its attributes are what the
            file says; the class may have no `__setstate__`, `__reduce__` or `__del__` of its own.

    >>> import io, tinygrad_edu as torch
    >>> from argparse import Namespace
    >>> file = io.BytesIO()
    >>> torch.save(Namespace(width=64), file)
    >>> _ = file.seek(0)
    >>> with torch.serialization.safe_globals([Namespace]):
    ...     torch.load(file).width
    64

    Unlike torch, functions are never called for a file, and classes never with arguments.
    """
    _safe.extend(one for one in safe_globals if one not in _safe)


def get_safe_globals() -> list[Any]:
    """What `add_safe_globals` was given so far."""
    return list(_safe)


def clear_safe_globals() -> None:
    """Take back all that `add_safe_globals` was given."""
    _safe.clear()


class safe_globals:
    """`add_safe_globals` for a `with` block."""

    def __init__(self, safe_globals: Iterable[Any]) -> None:
        self.given = list(safe_globals)

    def __enter__(self) -> None:
        self.before = get_safe_globals()
        add_safe_globals(self.given)

    def __exit__(self, *error: object) -> None:
        _safe[:] = self.before


def _vouched() -> dict[str, Any]:
    pairs = [one if isinstance(one, tuple) else (one, "") for one in _safe]
    return {name or ".".join(name_of(value)): value for value, name in pairs}


# ---- names ---------------------------------------------------------------------------------------


def name_of(value: Any) -> tuple[str, str]:
    """The module and the name by which a file refers to a class or function: torch's, if ours."""
    module, name = str(value.__module__), str(getattr(value, "__qualname__", value.__name__))
    if module.startswith(_FUNCTIONS) and not isinstance(value, type):
        functional = importlib.import_module(f"{OWN}.nn.functional")
        ours = name in functional.__all__ and getattr(functional, name) is value
        return ("torch.nn.functional" if ours else "torch"), name
    if module.startswith(f"{OWN}.nn."):
        if ordinary := getattr(value, "cls_to_become", None):
            return name_of(ordinary)[0], name  # torch has a lazy layer in the same file
        file = _TORCHS_FILE.get(name) or _TORCHS_MODULES.get(module)
        path = f"nn.{file}" if file else module.removeprefix(f"{OWN}.").replace(".more.", ".")
        return f"torch.{path}", name
    return module, name


def named(name: str) -> Any:
    """The class or function that a file names, if it is there already; None if it is not."""
    module, _, last = name.rpartition(".")
    if module.partition(".")[0] in ("torch", OWN):
        return _ours().get(name)
    found = sys.modules.get(module)
    if not isinstance(found, ModuleType):
        return None
    return ModuleType.__getattribute__(found, "__dict__").get(last)  # no code of a lazy module's


@functools.cache
def _ours() -> dict[str, Any]:
    """Layers and functions of tensors by their names in torch, whether a file asks for them or not.

    All are imported at once: what a file says has no say in that.
    """
    torch, functional, nn, attention, further = [
        importlib.import_module(f"{OWN}{part}")
        for part in ("", ".nn.functional", ".nn", ".nn.modules.attention", ".names.further")
    ]
    operations = vars(torch) | {name: getattr(further, name) for name in further.__all__}
    computing = {name: getattr(functional, name) for name in functional.__all__}
    modules = {
        "torch": operations,
        "torch.functional": operations,
        "torch.nn.functional": computing,
        "torch._C._nn": computing,
    }
    functions = {
        f"{module}.{name}": value
        for module, values in modules.items()
        for name, value in values.items()
        if _is_our_function(value)
    }
    layers = [getattr(nn, name) for name in [*nn.modules.__all__, "DataParallel"]]
    layers.append(attention.NonDynamicallyQuantizableLinear)
    return functions | {".".join(name_of(kind)): kind for kind in layers if _is_module_class(kind)}


def _is_our_function(value: object) -> bool:
    return isinstance(value, FunctionType) and str(value.__module__).startswith(_FUNCTIONS)


def _is_module_class(value: object) -> bool:
    module = importlib.import_module(f"{OWN}.nn.modules.module").Module
    return isinstance(value, type) and module in value.__mro__


# ---- which are accepted --------------------------------------------------------------------------


def refusal(cls: type) -> str:
    """Why objects of a class are neither saved nor loaded; empty if they are.

    Classes of this package count as known: only what others add to them is looked at.
    """
    for kind in cls.__mro__[:-1]:
        if str(kind.__module__).partition(".")[0] == OWN:
            continue
        for name in _RUNS:
            if name in kind.__dict__:
                return f"its class {kind.__name__} has a {name} of its own, which would have to run"
        if kind.__dict__.get("__slots__"):
            return f"its class {kind.__name__} has __slots__"
    made_by: Any = cls.__new__
    if not cls.__dictoffset__ or made_by is not object.__new__:
        return "it is not made of attributes alone"
    return ""


def accepted(name: str, whole: bool) -> Any:
    """The class or function of that name, for a file to refer to.

    Args:
        name: with its module.
        whole: modules of the running program and functions of this package are accepted, too, not
            only what the user vouches for.

    Raises:
        CheckpointError: it is refused; the message says why and what to do.
    """
    vouched = _vouched()
    found = vouched[name] if name in vouched else named(name) if whole else None
    ours = whole and _is_our_function(found)
    if ours or (name in vouched and isinstance(found, FunctionType)):
        return found
    if isinstance(found, type) and (name in vouched or _is_module_class(found)):
        if why := refusal(found):
            raise CheckpointError(
                f"the file has an object of class '{name}', which is refused: {why}."
                " Save its state_dict(), or a dict of what it holds, instead"
            )
        return found
    raise CheckpointError(
        f"the file asks for '{name}', which is not among the names a checkpoint may use; loading"
        f" never imports or runs anything that a file asks for. {_advice(found, name, whole)}"
    )


def _advice(found: object, name: str, whole: bool) -> str:
    vouch = f"torch.serialization.add_safe_globals([{name.rpartition('.')[2]}])"
    if not whole:
        return (
            "With weights_only=False whole modules are loaded, still without running code of the"
            f" file, and after {vouch} objects of that class; a file of state_dict() needs neither"
        )
    if found is None:
        return "If it is a class of your modules, define or import it, by that name, before load()"
    if refusal(found) if isinstance(found, type) else not isinstance(found, FunctionType):
        return "It stands for what only running code can make: save a state_dict() without it"
    what = "an object of that class" if isinstance(found, type) else "it as a value"
    return f"It is no class of modules: {vouch} before load() allows {what}"


# ---- objects in files ----------------------------------------------------------------------------


def state_of(obj: Any) -> dict[str, Any]:
    """The attributes of an object as torch would have them.

    Raises:
        TypeError: it has no dictionary of them, or hooks.
    """
    state = obj.__getstate__()
    state = {} if state is None else state
    if state.__class__ is not dict:
        raise TypeError(f"its state is a {type(state).__name__}, not a dict")
    if not _is_module_class(type(obj)):
        return state
    if hooks := [name for name in _HOOKS if state.get(name)]:
        raise TypeError(
            f"it has {hooks[0]}, which are functions; remove them, or save state_dict()"
        )
    names = {kind.__name__ for kind in type(obj).__mro__}
    if "RNNBase" in names:
        state = {name: value for name, value in state.items() if name != "_ways"}
        flat = [name for names in obj._all_weights for name in names]
        state |= {"_all_weights": obj._all_weights, "_flat_weights_names": flat}
        state["_flat_weights"] = [getattr(obj, name) for name in flat]
    if "_ConvNd" in names:
        transposed = not hasattr(obj, "_borders")
        around = [p for p in obj.padding[::-1] for _ in "ab"] if transposed else obj._borders()
        state = state | {"transposed": transposed, "_reversed_padding_repeated_twice": list(around)}
    return state


def fill(obj: object, state: object) -> None:
    """Give an object that has just been made its attributes.

    Raises:
        CheckpointError: they are no dict of names, or one of them would hide a method.
    """
    kind = type(obj).__name__
    attributes = object.__getattribute__(obj, "__dict__")
    if state.__class__ is not dict or attributes:
        raise CheckpointError(f"the attributes of a {kind} are no dict, or are given twice")
    for name in state:
        if name.__class__ is not str or name[:2] == name[-2:] == "__":
            raise CheckpointError(f"a {kind} has an attribute {name!r:.80}")
        if _is_method(type(obj), name):
            raise CheckpointError(f"an attribute of a {kind} hides its method {name}()")
    attributes.update(state)


def _is_method(cls: type, name: str) -> bool:
    held = [kind.__dict__[name] for kind in cls.__mro__ if name in kind.__dict__]
    return bool(held) and isinstance(held[0], (FunctionType, classmethod, staticmethod))


def finish(obj: object) -> None:
    """Check a module that has been filled, and turn torch's attributes into ours.

    Raises:
        CheckpointError: it is no sound module.
    """
    if not _is_module_class(type(obj)):
        return
    kind = type(obj).__name__
    state = object.__getattribute__(obj, "__dict__")
    checks: dict[str, Callable[[Any], bool]] = {
        "_parameters": lambda value: isinstance(value, parameter_class[0]),
        "_buffers": lambda value: isinstance(value, Tensor),
        "_modules": lambda value: _is_module_class(type(value)),
    }
    for name, check in checks.items():
        held = state.get(name)
        if held.__class__ not in (dict, OrderedDict):
            raise CheckpointError(f"a {kind} has no dict {name}")
        for key, value in held.items():
            if key.__class__ is not str or not (value is None or check(value)):
                raise CheckpointError(f"{name} of a {kind} hold a {type(value).__name__}")
    if state.get("training").__class__ is not bool:
        raise CheckpointError(f"a {kind} has no flag training")
    if state.setdefault("_non_persistent_buffers_set", set()).__class__ is not set:
        raise CheckpointError(f"a {kind} has no set _non_persistent_buffers_set")
    for name in _HOOKS:
        held = state.get(name, {})
        if held.__class__ not in (dict, OrderedDict) or held:
            raise CheckpointError(f"a {kind} has {name}, which are not loaded")
        state[name] = OrderedDict()
    names = {base.__name__ for base in type(obj).__mro__}
    is_rnn = "RNNBase" in names
    for name in (*_TORCHS_HOOKS, *(_TORCHS_RNN if is_rnn else ())):
        state.pop(name, None)
    if is_rnn:
        both = state.get("bidirectional")
        state["_ways"] = ("", "_reverse") if both.__class__ in (bool, int) and both else ("",)
