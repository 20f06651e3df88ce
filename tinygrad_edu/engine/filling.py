"""torch's `out=`: what may be given, and how the result of an operation gets into it.

Of an operation of single elements, `out` may have any dtype that holds such values, and may be one
of the inputs, but not a part of one.  What is stricter in torch is in `STRICTER` here; composed
functions say it where they are defined (`takes_out`).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import scalar_type_name
from tinygrad_edu.engine.boundary import not_a_tensor, refuse_expanded, users_level
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.inplace import can_hold, refuse_overlap, write
from tinygrad_edu.engine.levels import refuse_out, tensors
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.engine.record import current_node
from tinygrad_edu.kernels.memory_order import slow_to_fast

if TYPE_CHECKING:
    from tinygrad_edu.out import Rule
    from tinygrad_edu.tensor import Tensor

EXPECTED = "{name}(): Expected out tensor to have dtype {computed}, but got {given} instead"
FOUND = "Found dtype {given} but expected {computed}"
STRICTER = {
    **dict.fromkeys(
        "abs neg ceil floor trunc round sign sgn frac bitwise_not conj_physical lerp hardshrink"
        " softplus softshrink".split(),
        FOUND,
    ),
    **dict.fromkeys("isin tril triu matmul det inv".split(), EXPECTED),
    **dict.fromkeys(
        "isposinf isneginf signbit".split(), "{name} does not support non-boolean outputs."
    ),
    "logsigmoid": "expected scalar type {computed} but found {given}",
    "heaviside": "heaviside is not yet implemented for tensors with different dtypes.",
    "nan_to_num": "nan_to_num: dtype of out: {given} should be same as input: {computed}",
}
"""Operations whose `out` must have the dtype of the result, and what is said of another."""

OTHER_ERRORS = {
    "joined": (TypeError, "torch.cat(): input types can't be cast to the desired output type {}"),
    "drawn": (NotImplementedError, "\"normal_kernel_cpu\" not implemented for '{}'"),
}
"""What torch raises where `out` cannot hold the result, if it is not what it raises elsewhere."""

OF_ELEMENTS = frozenset(
    "addcdiv addcmul clamp lerp hardshrink softplus softshrink polygamma round ldexp logit"
    " nan_to_num".split()
)
"""What goes through tensors element by element, besides operations of one or two tensors alone."""

NOT_TAKEN = frozenset("isclose isfinite isinf isnan isreal softsign".split())
"""Operations that have no `out=` in torch."""


def with_out(op: Primitive, args: Any, by: Any, /, *, out: Any, **kwargs: Any) -> Any:
    """A call whose result is written into a tensor that is there already."""
    if op.name in NOT_TAKEN:
        raise TypeError(f"{op.name}() got an unexpected keyword argument 'out'")
    y = op.call(*args, _by=by, **kwargs)
    if out is None:
        return y
    by_number = op.name == "lerp" and not any([isinstance(a, TensorBase) for a in args[2:]])
    if op.name in STRICTER and not by_number:
        check_dtype(op.name, out, y, STRICTER[op.name])
    read = args if op.elementwise or op.name in OF_ELEMENTS else ()
    if op.name == "ldexp":
        read = args[:1]  # torch writes nothing before it has the powers of two
    return write_out(op.name, out, y, *read)


def check_dtype(name: str, out: Any, y: Any, message: str = EXPECTED) -> None:
    """RuntimeError with that message if `out` has another dtype than the result `y`."""
    given, computed = tensor_of(name, out).array.dtype, y.array.dtype
    if given != computed:
        names = {"given": scalar_type_name(given), "computed": scalar_type_name(computed)}
        raise RuntimeError(message.format(name=name, **names))


def write_out(name: str, out: Any, y: Any, *inputs: object, told: bool = True) -> Tensor:
    """The result `y` of a function, written into a tensor that is there already.

    An empty one gets the shape of the result, and its order in memory.

    Args:
        inputs: what may be `out` itself, but must not share memory with it otherwise.
        told: whether the user is warned when one of another shape, not empty, is resized.

    Raises:
        RuntimeError: a gradient would be needed, `out` cannot hold values of that type, elements of
            it share memory, or it overlaps an input without being the same.
    """
    if not isinstance(out, TensorBase.results):
        raise not_a_tensor(name, 1, out, "out")
    refuse_out(name)
    refuse_overlap(out, inputs)
    if is_recording() and (current_node(out) is not None or current_node(y) is not None):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation,"
            " but one of the arguments requires grad."
        )
    if out.array.shape != y.array.shape:
        if out.array.size and told:
            warnings.warn(
                "An output with one or more elements was resized since it had shape"
                f" {list(out.array.shape)}, which does not match the required output shape"
                f" {list(y.array.shape)}.",
                stacklevel=users_level(),
            )
        order = slow_to_fast(y.array)
        out.resize_([y.array.shape[i] for i in order])
        out.array, out.plain = out.array.transpose(np.argsort(order)), False
    refuse_expanded(out.array)
    written: Tensor = write(out, y)
    return written


def fill(name: str, out: Any, y: Any, args: Any, kwargs: Any, dtype: Rule, overlap: Rule) -> Any:
    """The results `y` of a function, written into `out`; `dtype`, `overlap` as in `takes_out`."""
    held: str = dtype if isinstance(dtype, str) else dtype(*args, **kwargs)
    shared, read = overlap, [*args, *kwargs.values()]
    if not isinstance(shared, str):
        shared, read = shared(*args, **kwargs)
    if shared != "any":
        _keep_apart(shared, tensors(out), tensors(read), y)
    if not isinstance(y, tuple):
        return _fill(name, out, y, "any" if held == "one" else held)
    if not isinstance(out, (tuple, list)) or len(out) != len(y):
        raise TypeError(f"{name}(): argument 'out' must be tuple of {len(y)} Tensors")
    return type(y)(*[_fill(name, o, part, held) for o, part in zip(out, y, strict=True)])


def _keep_apart(overlap: str, written: list[Any], read: list[Any], y: Any) -> None:
    """RuntimeError if a tensor to be written shares memory with an argument, and must not."""
    if overlap == "sought" and (not isinstance(y, tuple) or not read[0].ndim):
        overlap = "same" if len(read) > 1 else "any"
    own = {"same": read, "later": read[1:], "any": []}.get(overlap, read[:1])
    others = {"first": read[1:], "later": read[:1], "none": read, "sought": read}.get(overlap, [])
    for out in written:
        broadcast = overlap == "self" and own[0].array.shape != out.array.shape
        if not broadcast:  # of what is, torch makes a copy first
            refuse_overlap(out, own)
        refuse_overlap(out, others, apart=True)


def _fill(name: str, out: Any, y: Any, dtype: str) -> Tensor:
    """The result `y` written into `out`; an error if `out` must not be of its dtype."""
    held, computed = tensor_of(name, out).array.dtype, y.array.dtype
    if dtype in OTHER_ERRORS and not can_hold(held, computed):
        error, text = OTHER_ERRORS[dtype]
        raise error(text.format(scalar_type_name(held)))
    if dtype in ("same", "one", "asked") or (dtype == "truth" and held.char not in "?B"):
        check_dtype(name, out, y)
    elif dtype in ("truth", "every") and held != computed:
        y = y.to(out.dtype)
    return write_out(name, out, y)


def tensor_of(name: str, out: Any) -> Any:
    """`out`, which must be a tensor."""
    if not isinstance(out, TensorBase):
        raise not_a_tensor(name, 1, out, "out")
    return out
