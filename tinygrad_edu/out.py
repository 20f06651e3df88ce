"""torch's `out=`: the result goes into a tensor that is there already, and that is returned.

`takes_out` adds the argument to any function; `fills_out` to one that makes a tensor from nothing,
which takes the dtype and the device of `out` then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from tinygrad_edu.backend import device_of
from tinygrad_edu.dtypes import from_numpy, scalar_type_name, to_numpy
from tinygrad_edu.engine.boundary import not_a_tensor, refuse_operand
from tinygrad_edu.engine.filling import check_dtype, flat, write_out
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.inplace import can_hold, refuse_overlap
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.types import typed_as
from tinygrad_edu.out_of_memory import out_of_memory

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


OTHER_ERRORS = {
    "joined": (TypeError, "torch.cat(): input types can't be cast to the desired output type {}"),
    "drawn": (NotImplementedError, "\"normal_kernel_cpu\" not implemented for '{}'"),
}
"""What torch raises where `out` cannot hold the result, if it is not what it raises elsewhere."""

F = TypeVar("F", bound=Callable[..., Any])


@overload
def takes_out(function: F) -> F: ...
@overload
def takes_out(*, dtype: str = "same", overlap: str = "any") -> Callable[[F], F]: ...
def takes_out(function: Any = None, *, dtype: str = "same", overlap: str = "any") -> Any:
    """Let `function` take `out=`: one tensor, or as many as it returns.

    Args:
        dtype: of `out`: the "same" as of the result; "any" that holds such values ("joined" and
            "drawn" differ in their errors only); "one", any if the result is one tensor, else the
            same; "truth", bool or uint8; "every" one there is; or "asked", any, in which the
            function is asked to compute.
        overlap: what memory `out` may share with the arguments: "any"; what it is itself, of all
            arguments ("same") or of the first, and any of the others ("self"); "first" or "later"
            ones that it is itself; "none"; or "sought": none where several results are found,
            "same" of two tensors, else any.

    >>> import tinygrad_edu as torch
    >>> y = torch.zeros(2)
    >>> takes_out(torch.relu)(torch.tensor([-1.0, 2.0]), out=y) is y, y
    (True, tensor([0., 2.]))
    """
    if function is None:
        return functools.partial(takes_out, dtype=dtype, overlap=overlap)
    compute, name = function, function.__name__.strip("_")
    known, plain = getattr(compute, "without_keywords", (compute, compute))
    if known is not compute:  # it is of a function that this one wraps
        plain = compute

    @functools.wraps(compute)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "out" not in kwargs:
            direct = compute if kwargs else plain
            try:
                return direct(*args, **kwargs)
            except MemoryError as error:
                raise out_of_memory(name, error) from None
            except AttributeError as error:
                refuse_operand(direct, error, args, kwargs)
                raise
        out = kwargs.pop("out")
        if dtype == "asked" and isinstance(out, TensorBase) and kwargs.get("dtype") is None:
            kwargs["dtype"] = from_numpy(out.array.dtype)
        if out is None:
            return compute(*args, **kwargs)
        y = _uncast(compute, args, kwargs)
        if overlap != "any":
            _keep_apart(overlap, flat([out]), flat([*args, *kwargs.values()]), y)
        if not isinstance(y, tuple):
            return _fill(name, out, y, "any" if dtype == "one" else dtype)
        if not isinstance(out, (tuple, list)) or len(out) != len(y):
            raise TypeError(f"{name}(): argument 'out' must be tuple of {len(y)} Tensors")
        return type(y)(*[_fill(name, o, part, dtype) for o, part in zip(out, y, strict=True)])

    return call


def _uncast(compute: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The result without autocast: like torch's, it knows nothing of calls with `out=`."""
    mode = state.mode
    others = tuple([x for x in mode.listeners if not getattr(x, "casts", False)])
    try:
        if len(others) < len(mode.listeners):
            state.mode = mode.but(listeners=others)
        return compute(*args, **kwargs)
    finally:
        state.mode = mode


def _keep_apart(overlap: str, written: list[Any], read: list[Any], y: Any) -> None:
    """RuntimeError if a tensor to be written shares memory with an argument, and must not."""
    read = [x for x in read if isinstance(x, TensorBase)]
    if overlap == "sought" and (not isinstance(y, tuple) or not read[0].ndim):
        overlap = "same" if len(read) > 1 else "any"
    own = {"same": read, "later": read[1:], "any": []}.get(overlap, read[:1])
    others = {"first": read[1:], "later": read[:1], "none": read, "sought": read}.get(overlap, [])
    for out in written:
        if not isinstance(out, TensorBase):
            continue
        if overlap != "self" or own[0].shape == out.shape:  # torch copies one that is broadcast
            refuse_overlap(out, own)
        refuse_overlap(out, others, apart=True)


def _fill(name: str, out: Any, y: Any, dtype: str) -> Tensor:
    """The result `y` written into `out`; an error if `out` must not be of its dtype."""
    held, computed = _tensor(name, out).array.dtype, y.array.dtype
    if dtype in OTHER_ERRORS and not can_hold(held, computed):
        error, text = OTHER_ERRORS[dtype]
        raise error(text.format(scalar_type_name(held)))
    if dtype in ("same", "one", "asked") or (dtype == "truth" and held.char not in "?B"):
        check_dtype(name, out, y)
    elif dtype in ("truth", "every") and held != computed:
        y = y.to(out.dtype)
    return write_out(name, out, y)


def fills_out(function: F) -> F:
    """Let a function that makes a tensor take `out=`, which decides its dtype and its device.

    Raises:
        RuntimeError: another dtype is asked for than that of `out`.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if out is None:
            try:
                return function(*args, **kwargs)
            except MemoryError as error:
                raise out_of_memory(function.__name__, error) from None
        name = function.__name__
        held, dtype = _tensor(name, out).array.dtype, kwargs.pop("dtype", None)
        if dtype is not None and to_numpy(dtype) != held:
            raise RuntimeError(
                f"dtype {scalar_type_name(to_numpy(dtype))} does not match dtype of out tensor"
                f" ({scalar_type_name(held)})"
            )
        kwargs.setdefault("device", device_of(out.array))
        y = function(*args, dtype=out.dtype, **kwargs)
        return write_out(name, out, y, told=False)

    return typed_as(function, call)


def _tensor(name: str, out: Any) -> Any:
    if not isinstance(out, TensorBase):
        raise not_a_tensor(name, 1, out, "out")
    return out
