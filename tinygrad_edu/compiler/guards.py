"""The state of a program that a run depends on, written down so that it can be compared.

From the function outward: the globals and cells that its code names, the attributes of the objects
found there, the layers of a model with their parameters and hooks, lists and dictionaries with all
they hold.  Of each place we note *which object* is there.  A recording is used only while the same
objects are in the same places; tensors' numbers are read anew at every call.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterable
from itertools import starmap
from operator import attrgetter, call, getitem, is_, length_hint
from typing import Any

from tinygrad_edu.compiler.watch import SIMPLE, Refused, Watch, is_ours, refuse
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.record import current_node
from tinygrad_edu.nn.modules.module import Module

_IN_C = tuple([value for name, value in vars(types).items() if name.endswith("DescriptorType")])
_TENSOR = set("array _storage node _grad leaf view_of plain rebased turns".split())
_facts = attrgetter("array.shape", "array.dtype", "array.strides")
_STANDARD = {*sys.stdlib_module_names} - {"argparse", "types", "enum", "dataclasses", "__main__"}
_KNOWN_MODULES = {"math", "typing", "collections", "dataclasses", "functools", "contextlib"}
_TRAINERS = Module.__module__.partition(".")[0] + ".optim."
"""Whose objects are called in a replay as in the function, and look up what they depend on: of them
that is guarded which the user's own code names."""


class Wrapper:
    """What stands for the function that it holds."""

    function: Any


_PARTS: tuple[tuple[Any, Any], ...] = (
    (types.BuiltinFunctionType, attrgetter("__self__")),
    (types.MethodType, attrgetter("__self__", "__func__")),
    (property, attrgetter("fget")),
    ((staticmethod, classmethod), attrgetter("__func__")),
    (Wrapper, attrgetter("function")),
    (functools.partial, attrgetter("func", "args", "keywords")),
)
"""What stands for others, and where these are."""


class State:
    """The objects that a run depends on, and where they are.

    Args:
        root: the function or module that is run.
        watch: what the run named.

    Attributes:
        places, values: `look(holder, key) is value` of each place `(look, holder, key)`: entries of
            dictionaries and lists, what cells hold, and how many entries there are.
        tensors, facts: all tensors found, with their shapes, dtypes and strides.

    Raises:
        Refused: there is something that could change unnoticed.
    """

    def __init__(self, root: Any, watch: Watch) -> None:
        self.names, self.users_names = watch.names, watch.users_names
        self.places: list[tuple[Any, Any, Any]] = []
        self.values: list[Any] = []
        self.tensors: list[Any] = []
        self._seen: dict[int, Any] = {}
        self._functions: set[types.CodeType] = set()
        self.visit(root, "the function")
        for code, names in watch.codes.items():
            if not is_ours(names):
                self.entries(names, [n for n in code.co_names if n in names])
        self._check_closures(watch)
        self.facts = [*map(_facts, self.tensors)]

    def holds(self) -> bool:
        """Whether the same objects are in the same places still."""
        try:
            found = starmap(call, self.places)  # the quick question first
            same = all(map(is_, found, self.values)) or all(
                map(_same, starmap(call, self.places), self.values)
            )
            return same and [*map(_facts, self.tensors)] == self.facts
        except (KeyError, IndexError, AttributeError, ValueError):  # it is not there any more
            return False

    # ---- the walk

    def look(self, look: Any, holder: Any, key: Any) -> Any:
        """Note what is in a place."""
        value = look(holder, key)
        self.places.append((look, holder, key))
        self.values.append(value)
        return value

    def entries(self, holder: Any, keys: Iterable[Any]) -> None:
        """Note what is in these places, and go on from there."""
        for key in keys:
            self.visit(self.look(getitem, holder, key), key)

    def visit(self, value: Any, name: Any) -> None:
        """Go on from an object, once."""
        if isinstance(value, (*SIMPLE, *_IN_C)) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, TensorBase):  # what it is, is asked at each call
            self.tensors.append(value)
            self.look(call, current_node, value)
            self.attributes(value, self.names - _TENSOR)
        elif isinstance(value, (tuple, frozenset, list, dict)):
            self.container(value, name)
        elif isinstance(value, types.FunctionType):
            self.function(value)
        elif isinstance(value, type):
            self.cls(value)
        elif isinstance(value, types.ModuleType):
            self.module(value)
        else:
            parts = [get(value) for kinds, get in _PARTS if isinstance(value, kinds)]
            self.visit(parts[0], name) if parts else self.instance(value, name)

    def attributes(self, value: Any, names: set[str]) -> None:
        """Attributes of these names, given to an object or by a class of the user's."""
        found = getattr(value, "__dict__", {})
        if not isinstance(value, TensorBase) and type(value).__module__ not in _STANDARD:
            self.look(length_hint, found, 0)
            self.cls(type(value))
        self.entries(found, [n for n in found if n in names])

    def container(self, value: Any, name: Any) -> None:
        """All that it holds; and where it can change, that it is there."""
        self.attributes(value, self.names)
        if isinstance(value, (list, dict)):
            self.look(length_hint, value, 0)
            self.entries(value, [*value] if isinstance(value, dict) else range(len(value)))
        else:
            for part in value:
                self.visit(part, name)

    def function(self, value: Any) -> None:
        """A function of the user's: its closure and defaults."""
        if is_ours(value.__globals__):
            trains = value.__module__.startswith(_TRAINERS)
            if value.__closure__ is None or hasattr(value, "primitive") or trains:
                return
        self._functions.add(value.__code__)
        for cell in value.__closure__ or ():
            try:
                self.visit(self.look(getattr, cell, "cell_contents"), value.__name__)
            except ValueError:
                raise Refused(f"a name that {value.__name__} uses has no value yet") from None
        self.visit((value.__defaults__, value.__kwdefaults__), value.__name__)

    def cls(self, value: Any) -> None:
        """A class: what the code names of it."""
        for base in value.__mro__:
            if not is_ours({"__name__": base.__module__}) and base.__module__ != "builtins":
                self.entries(vars(base), [n for n in self.names if n in vars(base)])

    def module(self, value: Any) -> None:
        """A module of Python: the user's own like an object, others only if they are known."""
        if is_ours(vars(value)) or value.__name__ in _KNOWN_MODULES:
            return
        refuse(value.__name__.partition(".")[0] == "numpy", "NumPy is called beside the operations")
        self.entries(vars(value), [n for n in self.names if n in vars(value)])

    def instance(self, value: Any, name: Any) -> None:
        """An object: the attributes that the code names, and its class."""
        module = type(value).__module__
        trains = isinstance(value, Module) or module.startswith(_TRAINERS)
        known = trains or not is_ours({"__name__": module})
        strange = not hasattr(value, "__dict__") or hasattr(type(value), "__slots__")
        strange = strange or not known or module.partition(".")[0] in _STANDARD
        refuse(strange, f"`{name}` is a {type(value).__name__}, which might change unnoticed")
        self.attributes(value, self.users_names if module.startswith(_TRAINERS) else self.names)

    def _check_closures(self, watch: Watch) -> None:
        """Every function that ran and has a closure must have been found, or made in the run."""
        inner: set[types.CodeType] = set()
        for code in watch.codes:
            inner.update([c for c in code.co_consts if isinstance(c, types.CodeType)])
        for code, names in watch.codes.items():
            known = code in inner or code in self._functions or is_ours(names)
            closed = code.co_freevars and code.co_freevars != ("__class__",)
            refuse(closed and not known, f"`{code.co_name}` has a closure that could not be found")


def _same(a: Any, b: Any) -> bool:
    """The same object, or the same number or text."""
    return a is b or (
        type(a) is type(b) and isinstance(a, (int, float, str)) and repr(a) == repr(b)
    )
