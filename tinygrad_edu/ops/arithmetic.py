"""Arithmetic: add, sub, mul, div, remainder and their kin; powers are in powers.py.

Operands are tensors or Python numbers; `promote` casts them to their common type (see dtypes.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    common,
    default,
    fitting,
    is_floating,
    is_half,
    not_implemented,
    promote,
    promote_to,
)
from tinygrad_edu.engine.boundary import not_a_tensor
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.inplace import inplace, refuse_overlap
from tinygrad_edu.engine.nodes import lasting
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.kernels.memory_order import in_turn
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops.arguments import elementwise, numbers_first, ufunc
from tinygrad_edu.out import write_out

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


BOOL, FLOAT32 = np.dtype(bool), np.dtype(np.float32)


def zero_gradient(g: Tensor) -> Tensor:
    """The gradient through a step function: zeros like `g`."""
    return wrap(np.zeros_like(g.array)) if isinstance(g, TensorBase) else np.zeros_like(g)


def _widened_in_passing(a: Any, b: Any) -> bool:
    """Whether a GPU's operation reads 16 bits beside float32, and needs no pass to widen them."""
    if a.__class__ is not b.__class__ or a.dtype == b.dtype or not launch.takes_half(a):
        return False
    kinds = a.dtype, b.dtype
    return FLOAT32 in kinds and any(map(is_half, kinds)) and common(a, b) == FLOAT32


@elementwise
@primitive(half="by gpu, once, numbers rounded")
def _add(a: Array, b: Array) -> Array:
    if a.__class__ is np.ndarray or not _widened_in_passing(a, b):
        a, b = promote(a, b)
    return np.add(a, b)


_add.vjp(a=lambda g: g,
         b=lambda g: g)  # fmt: skip


@elementwise
@primitive(half="by gpu, once, numbers rounded")
def _sub(a: Array, b: Array) -> Array:
    x, z = promote(a, b)
    if x is not a or z is not b or x.__class__ is bool or z.__class__ is bool:
        _refuse_bool(a, b)
    try:
        return np.subtract(x, z)
    except TypeError:  # NumPy, too, refuses two arrays of bools
        _refuse_bool(a, b)
        raise


_sub.vjp(a=lambda g: g,
         b=lambda g: -g)  # fmt: skip


def _refuse_bool(a: Tensor, b: Tensor) -> None:
    """torch's errors where a bool is subtracted."""
    bools = [isinstance(x, bool) or getattr(x, "dtype", None) == BOOL for x in (a, b)]
    if all(bools):
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or"
            " `logical_xor()` operator instead."
        )
    if any(bools):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying"
            " to invert a mask, use the `~` or `logical_not()` operator instead."
        )


@ufunc("multiply")
@primitive(half="once")
def mul(a: Array, b: Array) -> Array:
    """`a * b`, element by element.

    Args:
        a, b: tensors of broadcastable shapes, or one of them a number.

    Raises:
        RuntimeError: the shapes do not broadcast.

    >>> import tinygrad_edu as torch
    >>> torch.mul(torch.tensor([1.0, 2.0]), 3)
    tensor([3., 6.])
    """
    if a.__class__ is np.ndarray or not _widened_in_passing(a, b):
        a, b = promote(a, b)
    return np.multiply(a, b)


mul.vjp(a=lambda g, b: g * b,
        b=lambda g, a: g * a)  # fmt: skip


@elementwise
@primitive
def _div(a: Array, b: Array) -> Array:
    if a.__class__ is np.ndarray and a.dtype.kind == "f":
        a, b = promote(a, b)
        return np.true_divide(a, b)
    target = common(a, b)
    a, b = promote_to(target if is_floating(target) else default(), a, b)
    return np.true_divide(a, b)


_div.vjp(a=lambda g, b: g / b,
         b=lambda g, a, b: -g * (a / b / b))  # fmt: skip


def _by_second(name: str, number: int) -> Any:
    """torch has one operation for a number as the second operand, and one for a tensor."""

    by_number, by_tensor = f"{name}Backward{number}", f"{name}Backward{1 - number}"

    def chain(a: Tensor, b: Tensor) -> str:
        return by_tensor if hasattr(b, "dtype") else by_number

    return chain


@primitive(node=_by_second("Rsub", number=1), half="widened, numbers rounded")
def _rsub(a: Array, b: Array) -> Array:
    y = _sub.primitive.forward(b, a)
    return in_turn(y, b, a, dtype=y.dtype) if hasattr(b, "dtype") else in_turn(y, a)


_rsub.vjp(a=lambda g: -g,
          b=lambda g: g)  # fmt: skip


def _is_one(alpha: float | Tensor) -> bool:
    """Whether `alpha` was left at 1; True is a bool, to be checked."""
    return alpha.__class__ is int and alpha == 1


def _times(other: Any, alpha: float | Tensor, input: Any, write: bool = False) -> Tensor:
    """`alpha * other`, if alpha is a factor that torch allows; `write`, into the input."""
    if write:
        refuse_overlap(input, (other,))
    target = common(_raw(input), _raw(other))
    if isinstance(alpha, float) and not is_floating(target):
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    if isinstance(alpha, bool) and target != BOOL:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    alpha = fitting(target, alpha)
    return lasting(mul(other, alpha)) if isinstance(other, TensorBase) else other * alpha


def _raw(x: Any) -> Any:
    return x.array if isinstance(x, TensorBase) else x


@ufunc("add")
@numbers_first(2, "alpha")
def add(
    input: Tensor | float, other: Tensor | float, *, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    """`input + alpha * other`, element by element.

    Args:
        input, other: tensors of broadcastable shapes, or one of them a number.
        alpha: a number; an integer if both hold integers.
        out: a tensor to write the result into.

    Raises:
        RuntimeError: the shapes do not broadcast, or `alpha` is a float among integers.

    >>> import tinygrad_edu as torch
    >>> torch.add(torch.tensor([1.0, 2.0]), 3, alpha=2)
    tensor([7., 8.])
    """
    added = _add(input, other if _is_one(alpha) else _times(other, alpha, input))
    return write_out("add", out, added, input, other)


@ufunc("subtract")
@numbers_first(2, "alpha")
def sub(
    input: Tensor | float, other: Tensor | float, *, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    """`input - alpha * other`, element by element; arguments and errors as `add`.

    Raises:
        RuntimeError: one of them holds bools.

    >>> import tinygrad_edu as torch
    >>> torch.sub(torch.tensor([1.0, 2.0]), 3)
    tensor([-2., -1.])
    """
    _refuse_bool(_raw(input), _raw(other))
    less = _sub(input, other if _is_one(alpha) else _times(other, alpha, input))
    return write_out("sub", out, less, input, other)


def rsub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """`other - alpha * input`.

    >>> import tinygrad_edu as torch
    >>> torch.rsub(torch.tensor([1.0, 2.0]), 3)
    tensor([2., 1.])
    """
    if not isinstance(input, TensorBase):
        raise not_a_tensor("rsub", 1, input)
    _refuse_bool(_raw(input), _raw(other))
    return _rsub(input if _is_one(alpha) else _times(input, alpha, other), other)


_add_in_place, _sub_in_place = inplace(_add), inplace(_sub)


@numbers_first(2, "alpha")
def add_(input: Tensor, other: Tensor | float, *, alpha: float = 1) -> Tensor:
    """In-place `add`."""
    return _add_in_place(input, other if _is_one(alpha) else _times(other, alpha, input, True))


@numbers_first(2, "alpha")
def sub_(input: Tensor, other: Tensor | float, *, alpha: float = 1) -> Tensor:
    """In-place `sub`."""
    return _sub_in_place(input, other if _is_one(alpha) else _times(other, alpha, input, True))


def _division(name: str, a: Tensor, b: Any) -> tuple[Any, Any, Any]:
    """Both operands with their common dtype, and that; integers have no infinity: torch raises."""
    target = common(a, b)
    if target == BOOL:
        raise not_implemented(name, target)
    a, b = promote_to(target, a, b)
    if not is_floating(target) and not np.all(b):
        raise RuntimeError("ZeroDivisionError")
    return a, b, target


@ufunc("floor_divide")
@primitive(node="DivBackward2")
def floor_divide(a: Array, b: Array) -> Array:
    """`floor(a / b)`, element by element; for integers, too.

    Raises:
        RuntimeError: an integer is divided by zero.

    Unlike torch, backward gives zeros instead of raising an error.

    >>> import tinygrad_edu as torch
    >>> torch.floor_divide(torch.tensor([7, -7]), 2)
    tensor([ 3, -4])
    """
    a, b, _ = _division("floor_divide", a, b)
    return np.floor_divide(a, b)


floor_divide.vjp(a=zero_gradient, b=zero_gradient)


@elementwise
@primitive(node="DivBackward2")
def _trunc_divide(a: Array, b: Array) -> Array:
    a, b, target = _division("trunc_divide", a, b)
    if is_floating(target):
        return np.trunc(np.true_divide(a, b))
    down = np.floor_divide(a, b)  # one too low where the signs differ and a rest is left
    return (down + ((np.remainder(a, b) != 0) & ((a < 0) != (b < 0)))).astype(target)


_trunc_divide.vjp(a=zero_gradient, b=zero_gradient)

_DIVISIONS = {None: _div, "floor": floor_divide, "trunc": _trunc_divide}
_DIVISIONS_IN_PLACE = {mode: inplace(op, "div_") for mode, op in _DIVISIONS.items()}


def _pick(divisions: dict[str | None, Any], mode: str | None) -> Any:
    if mode not in divisions:
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{mode}'"
        )
    return divisions[mode]


@ufunc("divide", "true_divide")
def div(
    input: Tensor | float, other: Tensor | float, *, rounding_mode: str | None = None,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`input / other`, element by element; integers give floats.

    Args:
        input, other: tensors of broadcastable shapes, or one of them a number.
        out: a tensor to write the result into.
        rounding_mode: None; "floor" rounds the quotient down, "trunc" towards zero, and both keep
            integers integers and have the gradient zero.

    Raises:
        RuntimeError: the shapes do not broadcast, the mode is unknown, or an integer is divided
            by zero in a rounding mode.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([7, -7])
    >>> torch.div(x, 2), torch.div(x, 2, rounding_mode="trunc")
    (tensor([ 3.5000, -3.5000]), tensor([ 3, -3]))
    """
    if rounding_mode is None and out is None:
        return _div(input, other)
    result = _pick(_DIVISIONS, rounding_mode)(input, other)
    return write_out("div", out, result, input, other)


def div_(
    input: Tensor | float, other: Tensor | float, *, rounding_mode: str | None = None
) -> Tensor:
    """In-place `div`."""
    result: Tensor = _pick(_DIVISIONS_IN_PLACE, rounding_mode)(input, other)
    return result


@ufunc("remainder")
@primitive(node=_by_second("Remainder", number=0), half="widened, numbers rounded")
def remainder(a: Array, b: Array) -> Array:
    """`a - b * floor(a / b)`: what is left of a division, with the sign of `b`.

    Raises:
        RuntimeError: an integer is divided by zero.

    >>> import tinygrad_edu as torch
    >>> torch.remainder(torch.tensor([-3.0, 5.0]), 2)
    tensor([1., 1.])
    """
    a, b, _ = _division("remainder", a, b)
    return np.remainder(a, b)


remainder.vjp(a=lambda g: g,
              b=lambda g, a, b: -g * floor_divide(a, b))  # fmt: skip


@ufunc("fmod")
@primitive(numbers="second", node=_by_second("Fmod", number=0), half="widened, numbers rounded")
def fmod(a: Array, b: Array) -> Array:
    """`a - b * trunc(a / b)`: what is left of a division, with the sign of `a`.

    Raises:
        RuntimeError: an integer is divided by zero.

    >>> import tinygrad_edu as torch
    >>> torch.fmod(torch.tensor([-3.0, 5.0]), 2)
    tensor([-1.,  1.])
    """
    a, b, _ = _division("fmod", a, b)
    return np.fmod(a, b)


fmod.vjp(a=lambda g: g,
         b=lambda g, a, b: -g * _trunc_divide(a, b))  # fmt: skip


def rfloor_divide(input: Tensor, other: Tensor) -> Tensor:
    """`other // input`: what the operator calls when `other` is a number."""
    return floor_divide(other, input)


def rremainder(input: Tensor | float, other: Tensor | float) -> Tensor:
    """`other % input`: what the operator calls when `other` is a number."""
    return remainder(other, input)


@ufunc("negative")
@primitive(half="by gpu, once")
def neg(x: Array) -> Array:
    """`-x`.

    Raises:
        RuntimeError: `x` holds bools.

    >>> import tinygrad_edu as torch
    >>> torch.neg(torch.tensor([1.0, -2.0]))
    tensor([-1.,  2.])
    """
    if x.dtype == BOOL:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to"
            " invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return np.negative(x)


neg.vjp(x=lambda g: -g)


@of_tensors
def positive(input: Tensor) -> Tensor:
    """`input` itself.

    Raises:
        RuntimeError: it holds bools.
    """
    if input.array.dtype == BOOL:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.weighted")
