"""Random tensors, drawn by `tinygrad_edu.random`, which explains where the numbers come from.

All of them equal torch's (on its CPU) under the same `manual_seed`; tensors on a GPU are filled
there, from a stream of its own (random/gpu.py).

No gradient flows through a draw: to the parameters of the distribution, and to what a tensor held
before it was filled, it is zero.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import beside, device_of, new_like, on, place_of
from tinygrad_edu.backend import device as Device
from tinygrad_edu.dtypes import Array, default, int64, to_numpy
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.inplace import check_writable, write
from tinygrad_edu.engine.levels import refuse_captured
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.kernels.memory_order import axes_of, empty_in_order, empty_like
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops.creation import DeviceLike, Dtype, finish
from tinygrad_edu.ops.shape import expand
from tinygrad_edu.out import fills_out, takes_out
from tinygrad_edu.random import (
    Generator,
    default_generator,
    fill_bernoulli,
    fill_normal,
    fill_random,
    fill_uniform,
)  # fmt: skip
from tinygrad_edu.random import bernoulli as draw_bernoulli
from tinygrad_edu.random import randperm as draw_randperm
from tinygrad_edu.size import read_new_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinygrad_edu.tensor import Tensor


# Reading arguments --------------------------------------------------------------------------------


def _generator(given: Generator | None) -> Generator:
    if given is None:
        return default_generator
    if not isinstance(given, Generator):
        raise TypeError(f"argument 'generator' must be torch.Generator, not {type(given).__name__}")
    return given


def _refuse(function: str, argument: str, expected: str, value: object) -> TypeError:
    return TypeError(
        f"{function}(): argument '{argument}' must be {expected}, not {type(value).__name__}"
    )


def _tensor(function: str, argument: str, value: Any) -> Any:
    if not isinstance(value, TensorBase):
        raise _refuse(function, argument, "Tensor", value)
    return value


def _integer(function: str, argument: str, value: object) -> int:
    """A Python int; 0-d integer tensors and NumPy's integers are taken for one."""
    if value.__class__ is not int:
        if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
            raise _refuse(function, argument, "int", value)
        value = operator.index(value)
    if not -(2**63) <= value < 2**63:
        raise ValueError("Overflow when unpacking long long")
    result: int = value
    return result


def _number(function: str, argument: str, value: object) -> float:
    """A Python float; 0-d tensors that need no gradient are taken for one."""
    if isinstance(value, (int, float, np.number)):
        return float(value)
    if not isinstance(value, TensorBase) or value.array.ndim or current_node(value) is not None:
        raise _refuse(function, argument, "float", value)
    return float(value.array)


def _empty(
    function: str, sizes: Sequence[Any], size: Any, dtype: Dtype, out: Any, device: DeviceLike
) -> Array:
    """The array to fill, for sizes given one by one, as a tuple or by name."""
    if out is not None:
        raise TypeError(f"{function}(): out= is not supported; fill it with out.copy_(...)")
    if size is not None:
        if sizes:
            raise TypeError(f"{function}(): the size is given twice, as {sizes} and as {size}")
        sizes = (size,)
    elif not sizes:
        raise TypeError(f"{function}() received no size; for a 0-d tensor pass ()")
    shape = read_new_shape(function, sizes)
    with on(place_of(device)) as xp:
        return xp.empty(shape, default() if dtype is None else to_numpy(dtype))


# New tensors --------------------------------------------------------------------------------------


@fills_out
def rand(
    *sizes: Any, size: Any = None, generator: Generator | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, out: None = None, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers uniform on [0, 1).

    Args:
        sizes: of the dimensions, one by one or as a tuple (then also by the name `size`).
        generator: draws the numbers; the default generator unless given.
        dtype: a float type, by default float32.

    Raises:
        NotImplementedError: another dtype.
        TypeError: a size is not an integer, or `generator` not a Generator.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0); torch.rand(2)
    tensor([0.4963, 0.7682])
    """
    array = _empty("rand", sizes, size, dtype, out, device)
    fill_uniform(_generator(generator), array)
    return finish(array, device, requires_grad)


@fills_out
def randn(
    *sizes: Any, size: Any = None, generator: Generator | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, out: None = None, layout: object = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers of the normal law with mean 0 and variance 1; arguments and errors as of `rand`.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0); torch.randn(2)
    tensor([ 1.5410, -0.2934])
    """
    array = _empty("randn", sizes, size, dtype, out, device)
    fill_normal(_generator(generator), array)
    return finish(array, device, requires_grad)


@fills_out
def randint(
    *args: Any, low: Any = None, high: Any = None, size: Any = None,
    generator: Generator | None = None, dtype: Dtype = None, device: DeviceLike = None,
    requires_grad: bool = False, out: None = None, layout: object = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Integers uniform on [low, high): `randint(high, size)` or `randint(low, high, size)`.

    Args:
        low, high: integers; low is 0 unless given.
        size: a tuple.
        dtype: int64 unless given; it must be able to hold the numbers.

    Raises:
        RuntimeError: low >= high, or the dtype cannot hold the range.
        TypeError: other arguments than these.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0); torch.randint(10, (4,))
    tensor([4, 9, 3, 0])
    """
    given = [*args]
    if given and size is None:
        size = given.pop()
    if given and high is None:
        high = given.pop()
    if given and low is None:
        low = given.pop()
    if given or high is None or size is None:
        raise TypeError(f"randint() takes (high, size) or (low, high, size), not {args}")
    if not isinstance(size, (tuple, list)):
        raise _refuse("randint", "size", "tuple of ints", size)
    first = 0 if low is None else _integer("randint", "low", low)
    end = _integer("randint", "high", high)
    array = _empty("randint", (), size, int64 if dtype is None else dtype, out, device)
    fill_random(_generator(generator), array, first, end)
    return finish(array, device, requires_grad)


@fills_out
def randperm(
    n: int, *, generator: Generator | None = None, dtype: Dtype = None, device: DeviceLike = None,
    requires_grad: bool = False, out: None = None, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """The integers 0 to n - 1 in random order.

    Raises:
        RuntimeError: n is negative, or the dtype (int64 unless given) cannot hold n - 1.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0); torch.randperm(4)
    tensor([0, 1, 3, 2])
    """
    if out is not None:
        raise TypeError("randperm(): out= is not supported")
    kind = np.dtype(np.int64) if dtype is None else to_numpy(dtype)
    gen, count = _generator(generator), _integer("randperm", "n", n)
    place = place_of(device)
    if place.type != "cpu":
        from tinygrad_edu.random import gpu as gpu_random

        return finish(gpu_random.randperm(gen, count, kind, place), place, requires_grad)
    drawn = draw_randperm(gen, count, kind)
    return finish(drawn, device, requires_grad)


@takes_out(dtype="every", overlap="same")
def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None
) -> Tensor:
    """Ones with the probabilities in `input` (or everywhere `p`), else zeros.

    Raises:
        RuntimeError: a probability is not in [0, 1].

    >>> import tinygrad_edu as torch
    >>> torch.bernoulli(torch.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    gen = _generator(generator)
    chances = _tensor("bernoulli", "input", input).array
    if p is None:
        return _result(draw_bernoulli(gen, chances), input)
    array = np.empty_like(chances, order="C")
    fill_bernoulli(gen, array, _number("bernoulli", "p", p))
    return _result(array, input)


@takes_out
@np.errstate(all="ignore")
def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Draw categories with the weights in each row of `input`.

    Args:
        input: float weights of shape (C,) or (N, C), >= 0, in each row not all 0.
        num_samples: how many to draw per row.
        replacement: whether a category may be drawn again.

    Raises:
        RuntimeError: bad weights, or more samples than categories without replacement.

    >>> import tinygrad_edu as torch
    >>> torch.multinomial(torch.tensor([0.0, 1.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    weights = _tensor("multinomial", "input", input).array
    count = _integer("multinomial", "num_samples", num_samples)
    if not isinstance(replacement, bool):
        raise _refuse("multinomial", "replacement", "bool", replacement)
    if weights.ndim and weights.shape[-1] > 2**24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    from tinygrad_edu.kernels.multinomial import multinomial as on_cpu

    draw: Any = on_cpu
    if not isinstance(weights, np.ndarray):
        from tinygrad_edu.random import gpu as gpu_random

        draw = gpu_random.multinomial
    return wrap(draw(_generator(generator), weights, count, replacement))


# Shaped like another tensor -----------------------------------------------------------------------


def _like(
    draw: Callable[[Array], None], input: Tensor, dtype: Dtype, device: DeviceLike, grad: bool,
    memory_format: object,
) -> Tensor:  # fmt: skip
    """`draw` fills a new array that lies in memory as `input` does."""
    like = _tensor("rand_like", "input", input).array
    kind = like.dtype if dtype is None else to_numpy(dtype)
    place = device_of(like) if device is None else Device(device)
    axes = axes_of(memory_format, like.ndim)
    if axes is None and place.type == "cpu":
        array = empty_like(like, kind)
    else:
        with on(place) as xp:
            array = empty_in_order(xp, like.shape, kind, axes or range(like.ndim))
    draw(array)
    return finish(array, place, grad)


def rand_like(
    input: Tensor, *, generator: Generator | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, memory_format: object = None,
    layout: object = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers uniform on [0, 1), in the shape, dtype, device and memory order of `input`."""
    gen = _generator(generator)
    return _like(lambda a: fill_uniform(gen, a), input, dtype, device, requires_grad, memory_format)


def randn_like(
    input: Tensor, *, generator: Generator | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, memory_format: object = None,
    layout: object = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers in the shape, dtype, device and memory order of `input`."""
    gen = _generator(generator)
    return _like(lambda a: fill_normal(gen, a), input, dtype, device, requires_grad, memory_format)


def randint_like(
    input: Any, *args: Any, low: Any = None, high: Any = None,
    generator: Generator | None = None, dtype: Dtype = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: object = None, layout: object = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Integers on [low, high), or [0, high), in the shape, dtype and device of `input`.

    The bounds are given as `(input, high)`, as `(input, low, high)` or by name.
    """
    given = [*args]
    if given and high is None:
        high = given.pop()
    if given and low is None:
        low = given.pop()
    if given or high is None:
        raise TypeError(f"randint_like() takes (input, high) or (input, low, high), not {args}")
    first = 0 if low is None else _integer("randint_like", "low", low)
    end = _integer("randint_like", "high", high)
    gen = _generator(generator)
    return _like(
        lambda a: fill_random(gen, a, first, end),
        input, dtype, device, requires_grad, memory_format,
    )  # fmt: skip


# In place -----------------------------------------------------------------------------------------


@primitive(variadic=True)
def _drawn(tensors: Sequence[Array], values: Array) -> Array:
    """Values that do not depend on the tensors they were drawn for."""
    return values


_drawn.vjp(tensors=lambda g, tensors_shape: [_zeros(g, shape) for shape in tensors_shape])


def _zeros(g: Tensor, shape: tuple[int, ...]) -> Array:
    like = g.array if isinstance(g, TensorBase) else g
    zeros: Array = new_like(like, shape, 0)
    return wrap(zeros) if isinstance(g, TensorBase) else zeros


def _needs_gradient(*parameters: object) -> bool:
    return is_recording() and any([current_node(p) is not None for p in parameters])


def _result(drawn: Array, *parameters: object) -> Tensor:
    tensors = [p for p in parameters if isinstance(p, TensorBase)]
    drawn = beside(drawn, tensors[0].array)
    return _drawn(tensors, drawn) if _needs_gradient(*tensors) else wrap(drawn)


def _fill(t: Tensor, draw: Callable[[Array], None], *parameters: object) -> Tensor:
    """Overwrite a tensor with what `draw` writes into an array."""
    refuse_captured(t, others=parameters)
    check_writable(t)
    if _needs_gradient(t, *parameters):
        write(t, _drawn((t, *parameters), t.array.copy()))
    draw(t.array)
    t._storage.write()
    return t


def uniform_(
    self: Tensor,
    from_: float = 0.0,
    to: float = 1.0,
    *,
    generator: Generator | None = None,
    **named: object,
) -> Tensor:
    """Fill with numbers uniform on [from, to), in the order of memory.

    Raises:
        RuntimeError: from > to, or one of them is too large for the dtype.
        NotImplementedError: the tensor does not hold floats.
    """
    low = _number("uniform_", "from", named.pop("from", from_))
    high = _number("uniform_", "to", to)
    if named:
        raise TypeError(f"uniform_() got an unexpected keyword argument '{min(named)}'")
    gen = _generator(generator)
    return _fill(self, lambda a: fill_uniform(gen, a, low, high))


def normal_(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with normal numbers; RuntimeError if std < 0."""
    gen = _generator(generator)
    m, s = _number("normal_", "mean", mean), _number("normal_", "std", std)
    return _fill(self, lambda a: fill_normal(gen, a, m, s))


def random_(
    self: Tensor, *bounds: int | None, generator: Generator | None = None, **named: object
) -> Tensor:
    """Fill with integers: `random_()`, `random_(to)` or `random_(from, to)`.

    Without bounds, all integers >= 0 that the dtype can hold are possible.

    Raises:
        RuntimeError: from >= to, or the dtype cannot hold the range.
    """
    gen = _generator(generator)
    names = ("to",) if len(bounds) + len(named) == 1 else ("from", "to")
    given = {**dict(zip(names, bounds, strict=False)), **named}
    if len(given) != len(bounds) + len(named) or tuple(sorted(given)) not in _RANDOM_FORMS:
        raise TypeError("random_() takes no bounds, (to) or (from, to)")
    low = _integer("random_", "from", given["from"]) if "from" in given else None
    high = given.get("to")
    if high is not None or len(given) == 1:
        high = _integer("random_", "to", high)
    if low is None and high is not None:
        low = 0
    return _fill(self, lambda a: fill_random(gen, a, low, high))


_RANDOM_FORMS = ((), ("to",), ("from", "to"))


def bernoulli_(
    self: Tensor, p: float | Tensor = 0.5, *, generator: Generator | None = None
) -> Tensor:
    """Fill with ones with probability `p` (a number or a tensor), else zeros.

    Raises:
        RuntimeError: p is not in [0, 1], or its shape does not expand to that of the tensor.
    """
    gen = _generator(generator)
    if not isinstance(p, TensorBase):
        chance = _number("bernoulli_", "p", p)
        return _fill(self, lambda a: fill_bernoulli(gen, a, chance))
    chances = expand(wrap(p.array), self.array.shape).array
    return _fill(self, lambda a: fill_bernoulli(gen, a, chances), p)


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.drawing")
