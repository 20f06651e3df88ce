"""Reading the arguments of operations: tensors or arrays, dimensions, their further names."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.boundary import not_a_tensor, refuse_array, refuse_operand
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.types import Call, Rule, typed_as
from tinygrad_edu.out_of_memory import out_of_memory
from tinygrad_edu.size import read_dims

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


# NumPy's stubs know no `keepdims` that is decided at run time.
reduce_add: Any = np.add.reduce
reduce_multiply: Any = np.multiply.reduce

Dims = tuple[int, ...] | None
"""Dimensions to reduce, counted from the front; None for all of them."""


def raw(x: object) -> Array:
    """The array of a tensor; an array as it is."""
    return x.array if isinstance(x, TensorBase) else x


def operand(name: str, input: object, position: int = 1, argument: str = "input") -> Array:
    """The array of an operation's input; TypeError for what is neither tensor nor array."""
    if isinstance(input, TensorBase):
        return input.array
    if hasattr(input, "dtype"):
        refuse_array(name, input, position, argument)
        return input  # in the backward pass a rule computes on arrays
    raise not_a_tensor(name, position, input, argument)


def plain(number: Any) -> Any:
    """A Python number in place of NumPy's, which would widen what it multiplies."""
    return number.item() if isinstance(number, np.generic) else number


def reduced(dim: Any, ndim: int) -> Dims:
    """The dimensions a user means by `dim`: None and () mean all.

    Raises:
        IndexError: there is no such dimension.
        RuntimeError: one is named twice.
    """
    if dim is None:
        return None
    dims = read_dims(dim, ndim)
    return dims if dims and ndim else None


def kept_shape(shape: tuple[int, ...], dims: Dims) -> tuple[int, ...]:
    """The shape with the reduced dimensions left in, at size 1."""
    return tuple([1 if dims is None or i in dims else size for i, size in enumerate(shape)])


def count(shape: tuple[int, ...], dims: Dims) -> int:
    """How many elements are reduced to one."""
    return math.prod(shape if dims is None else [shape[i] for i in dims])


def restore(g: Any, shape: tuple[int, ...], dims: Dims, keepdim: bool) -> Any:
    """`g`, of a reduction's output, with the reduced dimensions put back at size 1."""
    if keepdim or dims is None:  # without dimensions it broadcasts as it is
        return g
    return g.reshape(kept_shape(shape, dims))


def no_derivative(said: str, error: type[Exception] = RuntimeError) -> Rule:
    """The rule of an argument that has no derivative: an error, not silence, where one is asked."""

    def refuse(g: Tensor) -> Any:
        raise error(said)

    return refuse


# Further names of arguments: NumPy's, and those of torch's overloads

F = TypeVar("F", bound=Call)


def named(**names: str) -> Callable[[F], F]:
    """Let arguments be given by these names too: `named(axis="dim")`.

    "*" stands for the arguments that have no names: `named(size="*")` takes `zeros(size=(2, 3))`.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: object, **kwargs: object) -> Any:
            if kwargs:
                for name, meant in names.items():
                    if name in kwargs and meant not in kwargs:
                        value = kwargs.pop(name)
                        if meant == "*":
                            first = [kwargs.pop("input")] if "input" in kwargs else []
                            args = (*args, *first, value)
                        else:
                            kwargs[meant] = value
            try:
                return function(*args, **kwargs)
            except TypeError as error:
                _point_to_the_nearest(function, error, kwargs, names)  # if there are any
                raise
            except MemoryError as error:
                raise out_of_memory(function.__name__, error) from None
            except AttributeError as error:
                refuse_operand(function, error, args, kwargs)
                raise

        vars(call).update(further_names=names, without_keywords=(call, function))
        return typed_as(function, call)

    return decorate


def _point_to_the_nearest(
    function: Callable[..., Any], error: TypeError, kwargs: dict[str, Any], names: dict[str, str]
) -> None:
    """Say in an error about an unknown keyword which known one is the nearest."""
    from difflib import get_close_matches  # here, because only errors need it

    text = str(error)
    for name in kwargs:
        if text == f"{function.__name__}() got an unexpected keyword argument {name!r}":
            known = {n: n for n in inspect.signature(function).parameters}
            known |= {n: meant for n, meant in _NUMPY.items() if meant in known} | names
            near = get_close_matches(name, known, 1, 0.6)
            if near:
                meant = near[0] if known[near[0]] == "*" else known[near[0]]
                error.args = (f"{text}; the nearest is {meant!r}",)


_NUMPY = {"axis": "dim", "keepdims": "keepdim"}
numpy_names = named(**_NUMPY)


def numbers_first(count: int, *numbers: str) -> Callable[[F], F]:
    """Understand torch's old order of arguments, too: `add(x, 2, y)` for `add(x, y, alpha=2)`.

    Args:
        count: how many arguments have no names.
        numbers: the names of those that once stood before the tensors they multiply.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: object, **kwargs: object) -> Any:
            if len(args) > count:
                given = [a for a in args if not isinstance(a, TensorBase)]
                kwargs.update(zip(numbers, given, strict=False))
                args = tuple([a for a in args if isinstance(a, TensorBase)])
            return function(*args, **kwargs)

        return typed_as(function, call)

    return decorate


def elementwise(operation: F) -> F:
    """Declare that an operation of one or two tensors goes through them element by element.

    Its result then lies in memory as in torch, by `in_turn` (see kernels/memory_order.py).
    """
    declared: Any = operation
    declared.primitive.elementwise = True
    return operation


UFUNCS: dict[str, Call] = {}
"""NumPy's elementwise functions, by name, and ours: filled by `ufunc`."""


def ufunc(*names: str) -> Callable[[F], F]:
    """Say what NumPy calls the function: `ufunc("arccos")` lets `np.arccos(tensor)` call it.

    All but one of these go through their operands element by element.
    """

    def decorate(function: F) -> F:
        if hasattr(function, "primitive") and "matmul" not in names:
            elementwise(function)
        UFUNCS.update(dict.fromkeys(names, function))
        return function

    return decorate
