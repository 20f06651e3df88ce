"""Errors at the edge of an operation: the array library's are told in torch's words.

Where NumPy raises an error, it is translated here, after the fact; a forward function checks
beforehand only what NumPy would accept.  The traceback shows the user's line and two of the engine.
"""

from __future__ import annotations

import dis
import functools
import inspect
import re
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import device_of
from tinygrad_edu.dtypes import Array, not_implemented, scalar_type_name
from tinygrad_edu.engine.graph import Node, TensorBase
from tinygrad_edu.engine.mode import Listener, state
from tinygrad_edu.engine.types import Call, Options, Values
from tinygrad_edu.out_of_memory import out_of_memory, overflowed

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive

_PACKAGE = __name__.partition(".")[0]
_RAISE = dis.opmap["RAISE_VARARGS"]


class LinAlgError(RuntimeError):
    """A matrix that an algorithm cannot work with: singular, or not positive-definite."""


def recover(op: Primitive, error: Exception, args: Values) -> Any:
    """After a forward function has raised: make the call another way, or raise torch's error.

    A program may have turned NumPy's warnings into errors: infinities are not errors here.
    """
    if isinstance(error, RuntimeWarning):
        with np.errstate(all="ignore"):
            return op.call(*args)
    moved = on_one_device(args)
    if moved is not None:
        return op.call(*moved)
    operands = (*args[0], *args[1:]) if op.variadic else args
    found = _refusal(op, args) or _no_tensor(op, error, args) or explain(op.name, error, operands)
    if isinstance(found, (RuntimeError, ValueError)):
        from tinygrad_edu.engine.shape_hints import add_hint

        add_hint(found, op.name, operands)
    if found is error:
        found = error.with_traceback(_shortened(error.__traceback__))
        found.__suppress_context__ = True
    try:
        raise found from found.__cause__
    finally:
        del found, error  # or the exception would hold this frame, and this frame the exception


def _refusal(op: Primitive, args: Values) -> Exception | None:
    """The operation's own refusal of such arguments, if it has one."""
    if op.refuse is None:
        return None
    try:
        op.refuse(*[a.array if isinstance(a, TensorBase) else a for a in args])
    except Exception as refusal:
        return refusal.with_traceback(None)
    return None


def _no_tensor(op: Primitive, error: Exception, args: Values) -> TypeError | None:
    """torch's error for an argument that should have been a tensor."""
    met = error.obj if isinstance(error, AttributeError) else error
    no_operand = isinstance(error, TypeError) and str(error).startswith("expected a Tensor")
    for position, value in enumerate(args, 1):
        other = no_operand and not isinstance(value, (int, float))
        if (value is met or other) and not isinstance(value, TensorBase):
            return not_a_tensor(op.name, position, value, shown_names(op)[position - 1])
    return None


def _shortened(trace: TracebackType | None) -> TracebackType | None:
    """The traceback of an error below the call; none if the engine itself refused.

    A user whose shapes do not fit need not see the line that says so.  An error that was
    not raised on purpose is another matter: it shows where it came from.
    """
    inner = last = trace.tb_next if trace is not None else None
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return inner
    ours = is_ours(last.tb_frame)
    on_purpose = last.tb_frame.f_code.co_code[last.tb_lasti] == _RAISE
    return None if ours and on_purpose else inner


def tell(op: Any, make: Any, args: Any, kwargs: Any, everywhere: Sequence[Listener] = ()) -> Any:
    """Make a call through all listeners, the thread's latest first (see mode.py).

    Listeners leave no line in the traceback of an error.

    Args:
        op: the operation, or the function composed of some.
        make: makes the call; None for that of the operation.
        args, kwargs: its arguments.
        everywhere: listeners to every thread, nearest to the call.
    """
    if make is None:  # a call that is told how to compute asks nobody
        make = functools.partial(op.call, _by=functools.partial(op.forward))
    for listener in (*everywhere, *state.mode.listeners):
        make = functools.partial(listener, op, make)
    try:
        return make(*args, **kwargs)
    except Exception as error:
        raise error.with_traceback(without(error.__traceback__, _ENGINE)) from error.__cause__


_ENGINE = (f"{_PACKAGE}.engine.", f"{_PACKAGE}.amp.")


def without(trace: TracebackType | None, packages: tuple[str, ...]) -> TracebackType | None:
    """A traceback without the frames of these packages, whose names end in dots; None if empty."""
    kept: TracebackType | None = None
    frames = []
    while trace is not None:
        if not f"{trace.tb_frame.f_globals.get('__name__', '')}.".startswith(packages):
            frames.append(trace)
        trace = trace.tb_next
    for entry in reversed(frames):
        kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept


def users_level() -> int:
    """The `stacklevel` at which a warning of the caller's points to the user's line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and is_ours(frame):
        frame, level = frame.f_back, level + 1
    return level


def is_ours(frame: FrameType) -> bool:
    """Whether a frame is of this package, not of the user's."""
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] == _PACKAGE


def on_one_device(args: Sequence[Any]) -> Values | None:
    """The arguments, 0-d tensors of the CPU moved to the GPU of the others; None if none moves.

    Asked only after the operation has failed, so equal devices cost nothing.
    """
    places: dict[Any, Any] = {a: device_of(a.array) for a in args if isinstance(a, TensorBase)}
    gpus = {place for place in places.values() if place.type != "cpu"}
    small = {a for a, place in places.items() if place.type == "cpu"}
    if len(gpus) != 1 or not small or any([a.array.ndim for a in small]):
        return None
    gpu = gpus.pop()
    moved = {id(a): a.to(gpu) for a in small}
    return tuple([moved.get(id(a), a) for a in args])


def explain(name: str, error: Exception, args: Sequence[Any]) -> Exception:
    """The exception that torch would have raised where NumPy raised `error`."""
    tensors = [a for a in args if isinstance(a, TensorBase)]
    if len({device_of(t.array) for t in tensors}) > 1:
        return other_device(name, *[t.array for t in tensors])
    text = str(error)
    if isinstance(error, MemoryError):
        return out_of_memory(name, error)
    if isinstance(error, ValueError) and (told := overflowed(error)) is not error:
        return told
    if isinstance(error, np.exceptions.AxisError):
        return _axis_error(error)
    if isinstance(error, IndexError):
        return _index_error(text)
    if "Array device must be same as the current device" in text:
        return RuntimeError(
            f"{name}: {text}: choose the GPU by torch.cuda.set_device or `with torch.cuda.device`"
        )
    if isinstance(error, ValueError) and "broadcast" in text:
        return _broadcast_error(name, [tuple(t.array.shape) for t in tensors], text)
    if isinstance(error, np.exceptions.DTypePromotionError):
        return RuntimeError(f"{name}(): {text}")
    if isinstance(error, TypeError) and ("contain a loop" in text or "in linalg" in text):
        return not_implemented(name, *[t.array.dtype for t in tensors])
    if isinstance(error, np.linalg.LinAlgError):
        return LinAlgError(f"{name}(): {text}")
    if isinstance(error, ValueError) and "reshape" in text:
        return RuntimeError(f"{name}(): {text}")
    return error


def no_memory_for_gradients(node: Node, error: MemoryError) -> MemoryError:
    """The error of a rule that asks for more memory than there is."""
    return out_of_memory(f"the backward of {node.plan.op.name}", error)


def other_device(name: str, *arrays: Array) -> RuntimeError:
    """torch's error for operands that are not all on one device."""
    devices = list(dict.fromkeys(str(device_of(a)) for a in arrays))
    return RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, "
        f"{devices[0]} and {devices[1]}! (in {name})"
    )


def refuse_expanded(x: Array) -> None:
    """RuntimeError if several elements of an array to be written share memory."""
    if 0 in x.strides and x.size:  # a dimension of size 1 may well have a step of 0
        if any([n > 1 and step == 0 for n, step in zip(x.shape, x.strides, strict=True)]):
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to a"
                " single memory location. Please clone() the tensor before performing the"
                " operation."
            )


def need_dtype_of(name: str, x: Array, source: Array) -> None:
    """RuntimeError unless what is to be written into `x` has its dtype."""
    if source.dtype != x.dtype:
        raise RuntimeError(
            f"{name}: expected self and source to have the same dtype, but got self.dtype ="
            f" {scalar_type_name(x.dtype)} and source.dtype = {scalar_type_name(source.dtype)}"
        )


def need_long(message: str, index: Array) -> None:
    """RuntimeError with that message, and the dtype behind it, unless an index is of int64."""
    if index.dtype != np.int64:
        raise RuntimeError(f"{message} {scalar_type_name(index.dtype)}")


def same_device(name: str, *arrays: object) -> None:
    """RuntimeError unless these arrays are on one device; what is not an array is ignored."""
    places = [device_of(a) for a in arrays if hasattr(a, "shape")]
    if any([place != places[0] for place in places]):
        raise other_device(name, *[a for a in arrays if hasattr(a, "shape")])


def _index_error(text: str) -> IndexError:
    """NumPy speaks of axes and arrays where torch speaks of dimensions and tensors."""
    many = re.match(r"too many indices for array: array is (\d+)-dimensional", text)
    if many:
        return IndexError(f"too many indices for tensor of dimension {many[1]}")
    return IndexError(text.replace("for axis", "for dimension"))


def _axis_error(error: np.exceptions.AxisError) -> IndexError:
    found = re.search(r"axis (-?\d+) is out of bounds for array of dimension (\d+)", str(error))
    if found is None:
        return IndexError(str(error))
    return dimension_error(int(found[1]), int(found[2]))


def dimension_error(dim: int, ndim: int) -> IndexError:
    """torch's error for a dimension that a tensor does not have."""
    low, high = -max(ndim, 1), max(ndim, 1) - 1
    return IndexError(
        f"Dimension out of range (expected to be in range of [{low}, {high}], but got {dim})"
    )


def _broadcast_error(name: str, shapes: list[tuple[int, ...]], text: str) -> RuntimeError:
    if len(shapes) == 2:
        a, b = shapes
        for i in range(1, min(len(a), len(b)) + 1):
            if a[-i] != b[-i] and 1 not in (a[-i], b[-i]):
                dim = max(len(a), len(b)) - i
                return RuntimeError(
                    f"The size of tensor a ({a[-i]}) must match the size of tensor b ({b[-i]})"
                    f" at non-singleton dimension {dim} ({name} of shapes {list(a)} and {list(b)})"
                )
    return RuntimeError(f"{name}(): {text}")


def not_a_tensor(name: str, position: int, value: object, argument: str = "") -> TypeError:
    """torch's error for an operand that must be a tensor."""
    argument = argument or ("input" if position == 1 else "other")
    return TypeError(
        f"{name.replace('.', '_')}(): argument '{argument}' (position {position}) must be Tensor,"
        f" not {type_name(value)}"
    )


def shown_names(op: Primitive) -> list[str]:
    """torch's names of the arguments of an operation."""
    return list(inspect.signature(op.call).parameters)


def type_name(value: object) -> str:
    """The name of a value's type as Python's C interface has it: with its module if it is of C."""
    kind = type(value)
    written_in_python = kind.__flags__ & 1 << 9  # Py_TPFLAGS_HEAPTYPE
    plain = written_in_python or kind.__module__ == "builtins"
    return kind.__name__ if plain else f"{kind.__module__}.{kind.__name__}"


def refuse_arrays(op: Primitive, args: Values) -> None:
    """TypeError if a user has called `op` with an array, see arrays.py; rules do not ask."""
    from tinygrad_edu.engine import arrays

    i = arrays.place_of_array(op, args)
    if i is not None:
        raise not_a_tensor(op.name, i + 1, args[i], shown_names(op)[i])


def refuse_array(name: str, value: object, position: int = 1, argument: str = "input") -> None:
    """TypeError if a user has called the function `name` with an array as this argument."""
    if not state.mode.roots:
        from tinygrad_edu.engine import arrays

        if arrays.is_users(value):
            raise not_a_tensor(name, position, value, argument)


def need_tensors(name: str, **arguments: object) -> None:
    """TypeError unless these arguments, in their order, are tensors."""
    for position, (argument, value) in enumerate(arguments.items(), 1):
        if not isinstance(value, TensorBase):
            raise not_a_tensor(name, position, value, argument)


def refuse_operand(function: Call, error: AttributeError, args: Values, kwargs: Options) -> None:
    """TypeError if what lacks an attribute of tensors is an argument of this function, no tensor.

    For functions composed of operations; asked only after one has failed.
    """
    found: Any = error.obj
    name = str(error.name)
    asked_for = name == "array" or hasattr(TensorBase.results, name)
    if isinstance(found, TensorBase) or not asked_for:
        return
    signature = inspect.signature(function)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return
    places = {name: place for place, name in enumerate(signature.parameters)}
    for name, value in given.items():
        if value is found:
            label = function.__name__.strip("_")
            raise not_a_tensor(label, places[name] + 1, value, name) from None
        elements = value if isinstance(value, (list, tuple)) else ()
        if len(elements) == 1 and isinstance(elements[0], (list, tuple)):  # `*tensors`, as a list
            elements = elements[0]
        for i in [i for i, element in enumerate(elements) if element is found]:
            raise TypeError(
                f"expected Tensor as element {i} in argument {places[name]}, but got"
                f" {type_name(found)}"
            ) from None


class MissingGradient:
    """Stands for the gradient of an argument without a rule; using it raises an error."""

    def __init__(self, op: Primitive, argument: str) -> None:
        self.op, self.argument = op, argument

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError(
            f"{self.op.name}: no derivative rule for argument {self.argument!r}, to which a"
            f" gradient would flow; give it one, or declare it constant:"
            f" {self.op.name}.vjp({self.argument}=None)"
        )


def missing_rule(op: Primitive, argument: str) -> Call:
    """What stands for a rule that was not declared."""
    return lambda g: MissingGradient(op, argument)
