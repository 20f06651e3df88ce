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
from collections.abc import Callable, Iterable
from operator import getitem, is_
from typing import Any

from tinygrad_edu.compiler.watch import Watch, is_ours
from tinygrad_edu.dtypes import dtype
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.nn.modules.module import Module

_SIMPLE = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), dtype, range, slice)
_LAYER = {
    "training", "_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks",
    "_backward_hooks", "_backward_pre_hooks",
}  # fmt: skip
_IN_C = tuple([value for name, value in vars(types).items() if name.endswith("DescriptorType")])
_TENSOR = set("array _storage node _grad leaf view_of plain rebased turns".split())
_STANDARD = {*sys.stdlib_module_names} - {"argparse", "types", "enum", "dataclasses"}
_KNOWN_MODULES = {"math", "typing", "collections", "dataclasses", "functools", "contextlib"}


_TRAINERS = Module.__module__.partition(".")[0] + ".optim."
"""Whose objects are called in a replay as in the function, and look up what they depend on."""


class Unguarded(Exception):
    """Something that the code names cannot be guarded."""


class Wrapper:
    """What stands for the function that it holds."""

    function: Any


class State:
    """The objects that a run depends on, and where they are.

    Args:
        root: the function or module that is run.
        watch: what the run named.

    Attributes:
        holders, keys, values: `holders[i][keys[i]] is values[i]`.
        sized, sizes: containers, and how many entries they have.
        cells, contents: the same of closures.
        tensors: all tensors found.

    Raises:
        Unguarded: there is something that could change unnoticed.
    """

    def __init__(self, root: Any, watch: Watch) -> None:
        self.names = watch.names
        self.holders: list[Any] = []
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.sized: list[Any] = []
        self.sizes: list[int] = []
        self.cells: list[Any] = []
        self.contents: list[Any] = []
        self.tensors: list[Any] = []
        self._seen: dict[int, Any] = {}
        self._functions: set[types.CodeType] = set()
        self.visit(root, "the function")
        for code, names in watch.codes.items():
            if not is_ours(names):
                self.entries(names, [n for n in code.co_names if n in names])
        self._check_closures(watch)

    def same_as(self, other: State) -> bool:
        """Whether both found the same objects in the same places."""
        pairs = (
            (self.values, other.values), (self.sized, other.sized),
            (self.contents, other.contents),
        )  # fmt: skip
        alike = all([len(a) == len(b) and all(map(_same, a, b)) for a, b in pairs])
        return alike and self.sizes == other.sizes and self.keys == other.keys

    def holds(self) -> bool:
        """Whether the same objects are in the same places still."""
        try:
            if not all(map(is_, map(getitem, self.holders, self.keys), self.values)):
                found = map(getitem, self.holders, self.keys)
                if not all(map(_same, found, self.values)):
                    return False
            if [*map(len, self.sized)] != self.sizes:
                return False
            return all([_same(c.cell_contents, v)
                        for c, v in zip(self.cells, self.contents, strict=True)])  # fmt: skip
        except (KeyError, IndexError, ValueError):  # it is not there any more
            return False

    # ---- the walk

    def entries(self, holder: Any, keys: Iterable[Any]) -> None:
        """Note what is in these places, and go on from there."""
        for key in keys:
            value = holder[key]
            self.holders.append(holder)
            self.keys.append(key)
            self.values.append(value)
            self.visit(value, key)

    def size(self, container: Any) -> None:
        """Note how many entries there are."""
        self.sized.append(container)
        self.sizes.append(len(container))

    def visit(self, value: Any, name: Any) -> None:
        """Go on from an object, once."""
        if isinstance(value, _SIMPLE) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        for kinds, go_on in self._ways():
            if isinstance(value, kinds):
                go_on(value, name)
                return
        self.instance(value, name)

    def _ways(self) -> Iterable[tuple[Any, Callable[[Any, Any], Any]]]:
        yield TensorBase, self.tensor
        yield (tuple, frozenset), self.tuple
        yield list, self.list
        yield dict, self.dict
        yield types.FunctionType, self.function
        yield _IN_C, lambda d, name: None
        yield types.BuiltinFunctionType, lambda f, name: self.visit(f.__self__, name)
        yield types.MethodType, lambda m, name: self.visit((m.__self__, m.__func__), name)
        yield type, self.cls
        yield types.ModuleType, self.module
        yield property, lambda p, name: self.visit(p.fget, name)
        yield (staticmethod, classmethod), lambda m, name: self.visit(m.__func__, name)
        yield Wrapper, lambda w, name: self.visit(w.function, name)
        yield functools.partial, lambda p, name: self.visit((p.func, p.args, p.keywords), name)

    def tensor(self, value: Any, name: Any) -> None:
        """A tensor: what it is at each call is asked then; here only what the user gave it."""
        self.tensors.append(value)
        self.own_attributes(value)

    def own_attributes(self, value: Any) -> None:
        """Attributes that were given to an object of a kind that we know, or by its class."""
        found = getattr(value, "__dict__", {})
        if not isinstance(value, TensorBase) and hasattr(value, "__dict__"):
            self.size(found)
            self.cls(type(value), None)
        self.entries(found, [n for n in found if n in self.names and n not in _TENSOR])

    def tuple(self, value: Any, name: Any) -> None:
        """What cannot change, though its parts can."""
        self.own_attributes(value)
        for part in value:
            self.visit(part, name)

    def list(self, value: Any, name: Any) -> None:
        """A list: all that it holds."""
        self.own_attributes(value)
        self.size(value)
        self.entries(value, range(len(value)))

    def dict(self, value: Any, name: Any) -> None:
        """A dictionary: all that it holds."""
        self.own_attributes(value)
        self.size(value)
        self.entries(value, [*value])

    def function(self, value: Any, name: Any) -> None:
        """A function of the user's: its closure and defaults."""
        if is_ours(value.__globals__):
            trains = value.__module__.startswith(_TRAINERS)
            if value.__closure__ is None or hasattr(value, "primitive") or trains:
                return
        self._functions.add(value.__code__)
        for cell in value.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                raise Unguarded(f"a name that {value.__name__} uses has no value yet") from None
            self.cells.append(cell)
            self.contents.append(content)
            self.visit(content, value.__name__)
        self.visit((value.__defaults__, value.__kwdefaults__), name)

    def cls(self, value: Any, name: Any) -> None:
        """A class: what the code names of it."""
        for base in value.__mro__:
            if not is_ours({"__name__": base.__module__}) and base.__module__ != "builtins":
                self.entries(vars(base), [n for n in self.names if n in vars(base)])

    def module(self, value: Any, name: Any) -> None:
        """A module of Python: the user's own like an object, others only if they are known."""
        if is_ours(vars(value)) or value.__name__ in _KNOWN_MODULES:
            return
        if value.__name__.partition(".")[0] == "numpy":
            raise Unguarded("NumPy is called beside the operations")
        self.entries(vars(value), [n for n in self.names if n in vars(value)])

    def instance(self, value: Any, name: Any) -> None:
        """An object: the attributes that the code names, and its class."""
        known = isinstance(value, Module) or type(value).__module__.startswith(_TRAINERS)
        attributes: Any = getattr(value, "__dict__", None)
        ours = is_ours({"__name__": type(value).__module__})
        standard = type(value).__module__.partition(".")[0] in _STANDARD - {"__main__"}
        strange = attributes is None or standard or hasattr(type(value), "__slots__")
        if strange or (ours and not known):
            raise Unguarded(f"`{name}` is a {type(value).__name__}, which might change unnoticed")
        self.cls(type(value), name)
        self.size(attributes)
        names = self.names | _LAYER if isinstance(value, Module) else self.names
        self.entries(attributes, [n for n in attributes if n in names])

    def _check_closures(self, watch: Watch) -> None:
        """Every function that ran and has a closure must have been found, or made in the run."""
        inner: set[types.CodeType] = set()
        for code in watch.codes:
            inner.update([c for c in code.co_consts if isinstance(c, types.CodeType)])
        for code, names in watch.codes.items():
            known = code in inner or code in self._functions or is_ours(names)
            if code.co_freevars and code.co_freevars != ("__class__",) and not known:
                raise Unguarded(f"`{code.co_name}` has a closure that could not be found")


def _same(a: Any, b: Any) -> bool:
    """The same object, or the same number or text."""
    return a is b or (
        type(a) is type(b) and isinstance(a, (int, float, str)) and repr(a) == repr(b)
    )
