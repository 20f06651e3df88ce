"""Random tensors: the public face of random.py, which explains how the numbers come about.

Drawn on the CPU, all of them equal torch's under the same `manual_seed`.  Unlike torch, a tensor on
a GPU is filled with the numbers the CPU's generator draws, so both devices get the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu import random as stream
from tinygrad_edu.autograd.graph import Variable
from tinygrad_edu.autograd.inplace import check_writable, inplace
from tinygrad_edu.autograd.mode import state
from tinygrad_edu.autograd.primitive import current_node, wrap
from tinygrad_edu.backend import device_of, to_device
from tinygrad_edu.dtypes import Array, default, is_floating, to_numpy
from tinygrad_edu.ops.arithmetic import mul
from tinygrad_edu.ops.creation import DeviceLike, Dtype, finish
from tinygrad_edu.size import read_new_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinygrad_edu.random import Generator
    from tinygrad_edu.tensor import Tensor


def _generator(given: Any) -> Generator:
    if given is None:
        return stream.default_generator
    if not isinstance(given, stream.Generator):
        raise TypeError(
            f"argument 'generator' must be torch.Generator, not {type(given).__name__}"
        )
    return given


def _empty(name: str, size: Any, dtype: Dtype) -> Array:
    kind = default() if dtype is None else to_numpy(dtype)
    if not is_floating(kind):
        raise NotImplementedError(f'"{name}" not implemented for {kind}')
    return np.empty(read_new_shape(name, size), kind)


def rand(
    *size: Any, generator: Generator | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, out: None = None, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers uniform on [0, 1).

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0); torch.rand(2)
    tensor([0.4963, 0.7682])
    """
    array = _empty("rand", size, dtype)
    stream.fill_uniform(_generator(generator), array)
    return finish(array, device, requires_grad)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, out: None = None, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers of the normal law with mean 0 and variance 1.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0); torch.randn(2)
    tensor([ 1.5410, -0.2934])
    """
    array = _empty("randn", size, dtype)
    stream.fill_normal(_generator(generator), array)
    return finish(array, device, requires_grad)


def randint(
    *args: Any, low: int = 0, high: int | None = None, size: Any = None,
    generator: Generator | None = None, dtype: Dtype = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Integers uniform on [low, high): `randint(high, size)` or `randint(low, high, size)`.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0); torch.randint(10, (4,))
    tensor([4, 9, 3, 0])
    """
    given = list(args)
    if given and isinstance(given[-1], (tuple, list)):
        size = given.pop()
    if given:
        low, high = (low, given[0]) if len(given) == 1 and high is None else (given[0], high)
        high = given[1] if len(given) == 2 else high
    if high is None or size is None or len(given) > 2:
        raise TypeError(f"randint() takes (high, size) or (low, high, size), not {args}")
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    kind = np.dtype(np.int64) if dtype is None else to_numpy(dtype)
    shape = read_new_shape("randint", (size,))
    drawn = stream.randint(_generator(generator), int(low), int(high), shape, kind)
    return finish(drawn, device, requires_grad)


def randperm(
    n: int, *, generator: Generator | None = None, dtype: Dtype = None, device: DeviceLike = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """The integers 0 to n - 1 in random order.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0); torch.randperm(4)
    tensor([2, 0, 1, 3])
    """
    kind = np.dtype(np.int64) if dtype is None else to_numpy(dtype)
    return finish(stream.randperm(_generator(generator), n, kind), device, requires_grad)


def _like(
    draw: Callable[[Array], None], input: Any, dtype: Dtype, device: DeviceLike, grad: bool
) -> Tensor:
    kind = input.array.dtype if dtype is None else to_numpy(dtype)
    host = input.array if isinstance(input.array, np.ndarray) else input.array.get()
    array = stream.empty_like(host, kind)
    draw(array)
    return finish(array, device_of(input.array) if device is None else device, grad)


def rand_like(
    input: Any, *, generator: Generator | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Numbers uniform on [0, 1), in the shape, dtype and device of `input`."""
    gen = _generator(generator)
    return _like(lambda a: stream.fill_uniform(gen, a), input, dtype, device, requires_grad)


def randn_like(
    input: Any, *, generator: Generator | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Normal numbers in the shape, dtype and device of `input`."""
    gen = _generator(generator)
    return _like(lambda a: stream.fill_normal(gen, a), input, dtype, device, requires_grad)


def randint_like(
    input: Any, low: int, high: int | None = None, *, generator: Generator | None = None,
    dtype: Dtype = None, device: DeviceLike = None, requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Integers uniform on [low, high) (or [0, low)) in the shape, dtype and device of `input`."""
    low, high = (0, low) if high is None else (low, high)
    gen = _generator(generator)
    fill = stream.fill_random
    return _like(lambda a: fill(gen, a, low, high), input, dtype, device, requires_grad)


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None,
    dtype: Dtype = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers; `mean` and `std` are numbers (then `size` is needed) or tensors.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0); torch.normal(torch.tensor([0.0, 100.0]), 1.0)
    tensor([ 1.5410, 99.7066])
    """
    if size is not None:
        array = _empty("normal", (size,), dtype)
        stream.fill_normal(_generator(generator), array, float(mean), float(std))
        return finish(array, device, requires_grad)
    if not isinstance(mean, Variable) and not isinstance(std, Variable):
        raise TypeError("normal() needs a size where neither mean nor std is a Tensor")
    centre = mean.array if isinstance(mean, Variable) else float(mean)
    spread = std.array if isinstance(std, Variable) else float(std)
    if isinstance(std, Variable) and not bool((spread >= 0).all()):
        raise RuntimeError("normal expects all elements of std >= 0.0")
    kind = (mean if isinstance(mean, Variable) else std).array.dtype
    shape = np.broadcast_shapes(np.shape(centre), np.shape(spread))
    array = np.empty(shape, kind)
    stream.fill_normal(_generator(generator), array)
    return finish((array * spread + centre).astype(kind), device, requires_grad)


def bernoulli(input: Any, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """Ones with the probabilities in `input` (or everywhere `p`), else zeros.

    >>> import tinygrad_edu as torch
    >>> torch.bernoulli(torch.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    gen = _generator(generator)
    if p is not None:
        return _like(lambda a: stream.fill_bernoulli(gen, a, p), input, None, None, False)
    host = input.detach().cpu().array
    return finish(stream.bernoulli(gen, host), device_of(input.array), False)


def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Draw categories with the weights in each row of `input`, shape (C,) or (N, C).

    >>> import tinygrad_edu as torch
    >>> torch.multinomial(torch.tensor([0.0, 1.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    host = input.detach().cpu().array
    drawn = stream.multinomial(_generator(generator), host, num_samples, replacement)
    return finish(drawn, device_of(input.array), False)


def _fill(t: Any, draw: Callable[[Array], None]) -> Any:
    """Overwrite a tensor with drawn numbers, in place; no gradient flows to what it held."""
    check_writable(t)
    if state.enabled and current_node(t) is not None:
        _times_zero_(t, 0.0)
    if isinstance(t.array, np.ndarray):
        draw(t.array)
    else:
        host = np.empty(t.array.shape, t.array.dtype)
        draw(host)
        t.array[...] = to_device(host, device_of(t.array))
    t.storage.write()
    return t


_times_zero_ = inplace(mul)


def uniform_(self: Any, from_: float = 0.0, to: float = 1.0, *, generator: Any = None,
             **bounds: float) -> Tensor:  # fmt: skip
    """Fill with numbers uniform on [from, to)."""
    low = float(bounds.pop("from", from_))
    gen = _generator(generator)
    return _fill(self, lambda a: stream.fill_uniform(gen, a, low, float(to)))  # type: ignore[no-any-return]


def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with normal numbers."""
    gen = _generator(generator)
    return _fill(self, lambda a: stream.fill_normal(gen, a, float(mean), float(std)))  # type: ignore[no-any-return]


def random_(self: Any, *bounds: Any, generator: Any = None, **named: Any) -> Tensor:
    """Fill with integers: `random_()`, `random_(to)` or `random_(from, to)`."""
    limits = [named[k] for k in ("from", "from_") if k in named] + list(bounds)
    limits += [named["to"]] if "to" in named else []
    gen = _generator(generator)
    if not limits:
        return _fill(self, lambda a: stream.fill_random(gen, a))  # type: ignore[no-any-return]
    low, high = (0, limits[0]) if len(limits) == 1 else limits
    return _fill(self, lambda a: stream.fill_random(gen, a, low, high))  # type: ignore[no-any-return]


def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill with ones with probability `p` (a number or a tensor), else zeros."""
    gen = _generator(generator)
    chance = p.detach().cpu().array if isinstance(p, Variable) else p
    return _fill(self, lambda a: stream.fill_bernoulli(gen, a, chance))  # type: ignore[no-any-return]


def exponential_(self: Any, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with numbers of the exponential law of rate `lambd`."""
    gen = _generator(generator)
    return _fill(self, lambda a: stream.fill_exponential(gen, a, lambd))  # type: ignore[no-any-return]


def log_normal_(self: Any, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Tensor:
    """Fill with the exponentials of normal numbers."""
    gen = _generator(generator)
    return _fill(self, lambda a: stream.fill_log_normal(gen, a, mean, std))  # type: ignore[no-any-return]


def cauchy_(self: Any, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with numbers of the Cauchy law."""
    gen = _generator(generator)
    return _fill(self, lambda a: stream.fill_cauchy(gen, a, median, sigma))  # type: ignore[no-any-return]


def geometric_(self: Any, p: float, *, generator: Any = None) -> Tensor:
    """Fill with the number of trials up to the first success of probability `p`."""
    gen = _generator(generator)
    return _fill(self, lambda a: stream.fill_geometric(gen, a, p))  # type: ignore[no-any-return]


def get_rng_state() -> Tensor:
    """The state of the default generator: 5056 bytes."""
    return wrap(stream.default_generator.get_state_bytes())


def set_rng_state(new_state: Any) -> None:
    """Continue the default generator from a state that `get_rng_state` gave."""
    stream.default_generator.set_state(new_state)
