"""What a run of Python code looks at: so that we know what a recording of it depends on.

A recording holds the calls of operations and nothing of the Python around them.  It may stand for
the code only if that code would make the same calls again.  So the run is watched, by Python's
profiling hook: which functions run, and what each of them *names*.  Values named by the user's
code are guarded (guards.py); what cannot be guarded is a reason to refuse:

* a function of ours that looks at the numbers in a tensor, such as `item()` or `bool()`;
* a function written in C that is not known to depend on its arguments alone, such as `time()`;
* writes in place, random numbers outside of dropout, hooks and custom Functions within the run.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import gc
import importlib
import inspect
import itertools
import math
import sys
import warnings
from collections.abc import Iterator
from types import BuiltinFunctionType, CodeType, FrameType
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import dtype
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.mode import Mode, state
from tinygrad_edu.ops import creation, masking

_PACKAGE = __name__.partition(".")[0]


def _ours(names: str) -> set[str]:
    return {f"{_PACKAGE}.{name}" for name in names.split()}


# Modules of others that ours call, and that look at dtypes, shapes and names alone.
_TRUSTED = {
    *"contextlib enum re re._compiler re._parser importlib importlib._bootstrap".split(),
    np.finfo.__new__.__globals__["__name__"],
    inspect.unwrap(np.broadcast_shapes).__globals__["__name__"],
}
# Names by which code may come to the numbers in a tensor, or change them.
_VALUES = set(
    "array storage _storage _grad view_of rebased turns item tolist numpy data_ptr __array__ fill_"
    " operand raw".split()
)
# Modules that look at shapes and histories only.
_ENGINE = _TRUSTED | _ours(
    "engine.fast engine.record engine.views engine.boundary engine.composed engine.mode"
    " engine.binding engine.levels engine.runs engine.tree engine.nodes engine.versions"
    " engine.switches dtypes backend size compiler.capture compiler.watch out_of_memory"
)
_CLOSED = {f"{_PACKAGE}.{name}": what for name, what in {
    "engine.inplace": "a write in place", "engine.graph.Storage.write": "a write in place",
    "engine.gradients": "a backward pass",
    "engine.hooks": "a hook of a tensor", "autograd.function": "a custom Function",
    "utils.checkpoint": "checkpointing", "random": "random numbers outside of dropout",
}.items()}  # fmt: skip
# What `.array` may be asked for anywhere; and modules and functions that hand it on to such
# questions, or to operations.
_FACTS = {"shape", "dtype", "ndim", "size", "strides", "itemsize", "nbytes", "flags", "device"}
_LOOK_AT_SHAPES = _ours("""
    nn.functional.dropout nn.functional.normalization nn.functional.sparse nn.modules.rnn
    ops.arguments ops.attention ops.casting ops.convolution ops.largest ops.losses ops.matmul
    ops.pooling ops.reduction ops.shape
    engine.hooks.copy_as methods.python_protocol.PythonProtocol.__len__ ops.creation._like
    ops.creation._number ops.embedding.embedding ops.indexing.getitem ops.masking.masked_fill
    out.fills_out.<locals>.call tensor.Tensor.<lambda> tensor.Tensor.detach tensor.Tensor.device
    tensor.Tensor.is_contiguous tensor.Tensor.is_cuda tensor.Tensor.stride
""")
_VERDICTS = dict.fromkeys(_LOOK_AT_SHAPES, "") | _CLOSED
# Functions that make tensors of what they are told, and of nothing else.
_CONSTANTS = {
    inspect.unwrap(getattr(creation, name)).__code__
    for name in "arange full eye zeros ones zeros_like ones_like".split()
}
# Functions that look at a tensor given for a number, and at which argument.
_TAKE_NUMBERS: dict[Any, str] = {
    creation.full: "fill_value", creation._number: "value", masking.masked_fill: "value",
}  # fmt: skip
_NUMBERS = {inspect.unwrap(function).__code__: name for function, name in _TAKE_NUMBERS.items()}
_PURE: set[Any] = {value for value in vars(math).values() if isinstance(value, BuiltinFunctionType)}
_PURE |= {vars(builtins)[name] for name in (
    "abs all any callable chr divmod format isinstance issubclass iter len max min next ord pow"
    " repr round sorted sum"
).split()}  # fmt: skip
SIMPLE = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), dtype, range, slice)
"""Kinds of values that do not change, and that a text tells apart."""
_PLAIN = (*SIMPLE, list, dict, tuple, set, frozenset)
_IMPORT = importlib._bootstrap._find_and_load.__code__  # type: ignore[attr-defined]
_WRITES = {"STORE_GLOBAL", "DELETE_GLOBAL", "IMPORT_NAME"}


class Refused(Exception):
    """The run cannot be recorded, and why."""


def refuse(when: object, why: str) -> None:
    """Give up a recording, in this case."""
    if when:
        raise Refused(why)


@contextlib.contextmanager
def inside(mode: Mode) -> Iterator[None]:
    """A block in another mode of the thread (engine/mode.py)."""
    outside = state.mode
    try:
        state.mode = mode
        yield
    finally:
        state.mode = outside


class Watch:
    """A profiling hook: `with watch: function()`.

    Attributes:
        codes: the code that ran, each with the globals that it sees.
        users_names: what the user's code names.
        names: that, and what ours does, for it reads the attributes of layers.
        problem: why a recording of the run could not stand for it; None if it can.
        busy: an operation is computing: what goes on there is the same whenever it is called.
        constants: arrays that were made of Python's numbers alone, by `id`.
    """

    def __init__(self) -> None:
        self.codes: dict[CodeType, dict[str, Any]] = {}
        self.names: set[str] = set()
        self.users_names: set[str] = set()
        self.problem: str | None = None
        self.busy = False
        self.loading: FrameType | None = None
        self.constants: dict[int, Any] = {}

    def __enter__(self) -> Watch:
        if sys.getprofile() is not None:
            self.refuse("a profiler is running")
        else:
            self.collects = gc.isenabled()
            gc.disable()  # what a collection calls is no part of the run
            sys.setprofile(self.heard)
        return self

    def __exit__(self, *error: object) -> None:
        if sys.getprofile() == self.heard:
            sys.setprofile(None)
            if self.collects:
                gc.enable()

    def refuse(self, problem: str) -> None:
        """Note a reason, unless there is one already."""
        self.problem = self.problem or problem

    def heard(self, frame: FrameType, event: str, arg: Any) -> None:
        """What Python tells of a call, or of a return."""
        if self.busy:
            return
        code = frame.f_code
        if self.loading is not None:  # a module of ours is imported at its first use
            self.loading = None if event == "return" and frame is self.loading else self.loading
        elif code is _IMPORT and event == "call":
            self.loading = frame
        elif event == "call":
            if code not in self.codes:
                self.codes[code] = frame.f_globals
                self.look_at(code, frame.f_globals.get("__name__", ""))
            if code in _NUMBERS and isinstance(frame.f_locals[_NUMBERS[code]], TensorBase):
                self.refuse(f"`{code.co_name}` takes a number from a tensor")
        elif event == "c_call":
            if arg is warnings.warn or not (is_ours(frame.f_globals) or _is_pure(arg)):
                self.refuse(f"`{code.co_qualname}` calls {getattr(arg, '__qualname__', arg)}")
        elif event == "return" and code in _CONSTANTS and isinstance(arg, TensorBase):
            self.constants[id(arg.array)] = arg.array

    def look_at(self, code: CodeType, module: str) -> None:
        """Refuse a function that may look at numbers; note what the others name."""
        if module in _ENGINE or (code.co_name == "<module>" and is_ours({"__name__": module})):
            return
        words = {c for c in code.co_consts if isinstance(c, str) and c.isidentifier()}
        self.names |= {*code.co_names, *words}
        if not is_ours({"__name__": module}):
            self.users_names |= {*code.co_names, *words}
        verdict = _VERDICTS.get(f"{module}.{code.co_qualname}", _VERDICTS.get(module))
        if verdict:
            self.refuse(f"{verdict}: `{code.co_qualname}`")
        if verdict is not None or code in _CONSTANTS:
            return
        if not _VALUES.isdisjoint(words) or _looks_at_values(code):
            self.refuse(f"`{code.co_name}` looks at the numbers in a tensor")
        elif not is_ours({"__name__": module}):
            if "__dict__" in code.co_names:
                self.refuse(f"`{code.co_name}` looks into a `__dict__`")
            steps = [(i.opname, i.argval) for i in dis.get_instructions(code)]
            outer = {("STORE_DEREF", name) for name in code.co_freevars}
            if not (outer.isdisjoint(steps) and _WRITES.isdisjoint([name for name, _ in steps])):
                self.refuse(f"`{code.co_name}` assigns to a global or nonlocal name, or imports")


def _looks_at_values(code: CodeType) -> bool:
    """Whether code comes to a tensor's numbers: it does more than `x.array.shape` and the like."""
    steps = [i for i in dis.get_instructions(code) if i.opname not in ("PRECALL", "CACHE")]
    return any(
        i.argval in _VALUES and not (i.argval == "array" and behind.argval in _FACTS)
        for i, behind in itertools.pairwise(steps)
        if i.opcode in dis.hasname
    )


def is_ours(names: dict[str, Any]) -> bool:
    """Whether these are the globals of a module of this package, or of one that is trusted."""
    module: str = names.get("__name__") or ""
    return module.partition(".")[0] == _PACKAGE or module in _TRUSTED


def _is_pure(function: Any) -> bool:
    """Whether a function in C depends on its arguments alone."""
    owner = getattr(function, "__self__", function)
    own = isinstance(owner, _PLAIN) or any([owner is kind for kind in (tuple, dict, int, str)])
    return own or function == sys.setprofile or function in _PURE
