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
from tinygrad_edu.engine.boundary import refuse_operand
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.engine.types import typed_as
from tinygrad_edu.out_of_memory import out_of_memory

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


F = TypeVar("F", bound=Callable[..., Any])
Rule = str | Callable[..., Any]


@overload
def takes_out(function: F) -> F: ...
@overload
def takes_out(*, dtype: Rule = "same", overlap: Rule = "any") -> Callable[[F], F]: ...
def takes_out(function: Any = None, *, dtype: Rule = "same", overlap: Rule = "any") -> Any:
    """Let `function` take `out=`: one tensor, or as many as it returns.

    Args:
        dtype: of `out`: the "same" as of the result; "any" that holds such values ("joined" and
            "drawn" differ in their errors only); "one", any if the result is one tensor, else the
            same; "truth", bool or uint8; "every" one there is; or "asked", any, in which the
            function is asked to compute.  Or a function of the arguments that gives one of these.
        overlap: what memory `out` may share with the arguments: "any"; what it is itself, of all
            arguments ("same") or of the first, and any of the others ("self"); "first" or "later"
            ones that it is itself; "none"; or "sought": none where several results are found,
            "same" of two tensors, else any.  Or a function of the arguments that gives one of these
            and the tensors that are meant.

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
        from tinygrad_edu.engine.filling import fill

        y = _uncast(compute, args, kwargs)
        return fill(name, out, y, args, kwargs, dtype, overlap)

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


def write_out(name: str, out: Any, y: Any, *inputs: object, told: bool = True) -> Tensor:
    """The result `y`, or `out` with it written there (see engine/filling.py)."""
    if out is None:
        result: Tensor = y
        return result
    from tinygrad_edu.engine import filling

    return filling.write_out(name, out, y, *inputs, told=told)


def _with_out(op: Primitive, args: Any, by: Any, /, *, out: Any, **kwargs: Any) -> Any:
    from tinygrad_edu.engine.filling import with_out

    return with_out(op, args, by, out=out, **kwargs)


Primitive.write_out = staticmethod(_with_out)


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
        from tinygrad_edu.engine.filling import tensor_of

        name = function.__name__
        held, dtype = tensor_of(name, out).array.dtype, kwargs.pop("dtype", None)
        if dtype is not None and to_numpy(dtype) != held:
            raise RuntimeError(
                f"dtype {scalar_type_name(to_numpy(dtype))} does not match dtype of out tensor"
                f" ({scalar_type_name(held)})"
            )
        kwargs.setdefault("device", device_of(out.array))
        y = function(*args, dtype=out.dtype, **kwargs)
        return write_out(name, out, y, told=False)

    return typed_as(function, call)
