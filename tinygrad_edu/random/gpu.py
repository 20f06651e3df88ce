"""Random numbers drawn on a GPU, without a word passing between host and GPU.

The stream is Philox's (kernels/philox.py): reproducible from run to run and from GPU to GPU after
the same seed.  Unlike torch, whose GPU stream is laid out by its kernels' launch sizes, so these
are other numbers than torch's on a GPU, and other ones than the CPU's.

The seed and the number of the next draw lie in the GPU's memory and are counted on there, so a
captured graph (cuda/graphs.py) draws new numbers each time it is replayed.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import device as Device
from tinygrad_edu.backend import gpu as gpu_of
from tinygrad_edu.backend import on
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.boundary import other_device
from tinygrad_edu.kernels import philox
from tinygrad_edu.kernels.cuda import elementwise as gpu
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.kernels.limits import (
    check_integer_range,
    check_uniform_bounds,
    largest_integer,
    require_continuous,
    require_float,
)
from tinygrad_edu.random import Generator, default_generator

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

_generators: dict[int, CudaGenerator] = {}
"""The default generator of each GPU that has drawn a number."""


class CudaGenerator(Generator):
    """A stream of random numbers on a GPU; made by `torch.Generator(device="cuda")`."""

    def __init__(self, device: Any = "cuda") -> None:
        self._place = Device("cuda", gpu_of(device).id)
        self._state: Array | None = None
        self._seed = default_generator.initial_seed()

    @property
    def device(self) -> Device:
        """The GPU that draws the numbers."""
        return self._place

    def restart(self, seed: int) -> None:
        """Go to the beginning of the stream of `seed`."""
        self._seed = seed
        if self._state is not None:
            with on(self._place):
                self._state[0:1], self._state[1:2] = np.uint64(seed), np.uint64(0)

    def state(self) -> Array:
        """The seed, the number of the next draw, and 0 for kernels to count in: uint64 (3,)."""
        if self._state is None:
            with on(self._place) as xp:
                self._state = xp.zeros(3, np.uint64)
                self._state[0:1] = np.uint64(self._seed)
        return self._state

    def seed(self) -> int:
        """Start from a seed that the operating system chose at random; returns that seed."""
        self.restart(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that the stream started from."""
        return self._seed

    def words(self, n: int) -> Array:
        """The next `n` words of 32 bits."""
        found = philox.words(self.state(), n)
        self.next()
        return found

    def next(self) -> None:
        """Go on to the next draw."""
        count = self.state()[1:2]
        np.add(count, np.uint64(1), out=count)  # `[1:2] += 1` would also copy it onto itself

    def words64(self, n: int) -> Array:
        """The next `n` words of 64 bits."""
        return self.words(2 * n).view(np.uint64)

    def get_state_bytes(self) -> Any:
        return self.state()[:2].get().view(np.uint8)

    def set_state_bytes(self, state: object) -> None:
        given = np.asarray(state, np.uint8)
        if given.size != 16:
            raise RuntimeError("RNG state is wrong size")
        with on(self._place) as xp:
            self.state()[:2] = xp.asarray(given.view(np.uint64))
        self._seed = int(given.view(np.uint64)[0])

    def set_state(self, new_state: Tensor) -> Generator:
        """Continue from a state that `get_state` gave; returns self."""
        self.set_state_bytes(new_state.cpu().array)
        return self

    def clone_state(self) -> CudaGenerator:
        """A second generator that will produce the same numbers as this one from here on."""
        twin = CudaGenerator(self._place)
        twin.set_state_bytes(self.get_state_bytes())
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return CudaGenerator, (str(self._place),), self.get_state_bytes()


def default(index: int) -> CudaGenerator:
    """The default generator of a GPU; it starts from the CPU's default generator's seed."""
    if index not in _generators:
        _generators[index] = CudaGenerator(Device("cuda", index))
    return _generators[index]


def restart_all(seed: int) -> None:
    """Seed the default generators of all GPUs."""
    for generator in _generators.values():
        generator.restart(seed % 2**64)


def states() -> dict[int, Array]:
    """The states of all default generators; nobody waits for a GPU."""
    return {index: gen.state()[:2].copy() for index, gen in _generators.items()}


def go_back(to: dict[int, Array]) -> None:
    """Bring them back; those that had not drawn by then, to the beginning."""
    for index, gen in _generators.items():
        if index in to:
            with on(gen.device):
                gen.state()[:2] = to[index]
        else:
            gen.restart(gen.initial_seed())


def forget() -> None:
    """Drop all default generators: the tests exchange CuPy under them."""
    _generators.clear()


def generator_for(gen: object, array: Array) -> CudaGenerator:
    """The generator to use for an array on a GPU; RuntimeError for one of the CPU."""
    if gen is default_generator:
        return default(array.device.id)
    if not isinstance(gen, CudaGenerator):
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    if gen.device.index != array.device.id:
        raise other_device("random numbers", array, gen.state())
    return gen


# The distributions; each overwrites an array ------------------------------------------------------


def _uniform(gen: object, array: Array) -> Array:
    """Uniform on [0, 1), as many as the array has elements: float64 for float64, else float32."""
    gen = generator_for(gen, array)
    if array.dtype == np.float64:
        wide = (gen.words64(array.size) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return wide.reshape(array.shape)
    words = gen.words(array.size) >> np.uint32(8)
    return (words.astype(np.float32) * np.float32(2.0**-24)).reshape(array.shape)


def _normal(gen: Any, array: Array) -> Array:
    """Of mean 0 and variance 1, by Box and Muller's formula."""
    radius = np.sqrt(-2 * np.log1p(-_uniform(gen, array)))
    return radius * np.cos((2 * math.pi) * _uniform(gen, array))


def fill_uniform(gen: object, array: Array, low: float = 0.0, high: float = 1.0) -> None:
    require_float(array, "check_uniform_bounds")
    check_uniform_bounds(array.dtype, low, high)
    array[...] = _uniform(gen, array) * (high - low) + low
    if array.dtype.itemsize == 2:
        array[...] = np.where(array == high, array.dtype.type(low), array)


def fill_bernoulli(gen: object, array: Array, p: Any = 0.5) -> None:
    if not hasattr(p, "dtype") and not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    array[...] = _uniform(gen, np.empty_like(array, dtype=np.float32)) < p


def fill_normal(gen: object, array: Array, mean: float = 0.0, std: float = 1.0) -> None:
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    require_float(array, "normal_kernel_cuda")
    array[...] = _normal(gen, array) * std + mean


def fill_log_normal(gen: object, array: Array, mean: float = 1.0, std: float = 2.0) -> None:
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    require_float(array, "log_normal_cuda")
    array[...] = np.exp(_normal(gen, array) * std + mean)


def fill_exponential(gen: object, array: Array, lambd: float = 1.0) -> None:
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    require_continuous("Exponential", array)
    array[...] = (-1.0 / lambd) * np.log1p(-_uniform(gen, array))


def fill_cauchy(gen: object, array: Array, median: float = 0.0, sigma: float = 1.0) -> None:
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    require_continuous("Cauchy", array)
    array[...] = np.tan(math.pi * (_uniform(gen, array) - 0.5)) * sigma + median


def fill_geometric(gen: object, array: Array, p: float) -> None:
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    if array.dtype == np.bool_:
        raise NotImplementedError("\"geometric_cuda\" not implemented for 'Bool'")
    u = _uniform(gen, np.empty_like(array, dtype=np.float64))
    array[...] = np.ceil(np.log1p(-u) / math.log1p(-p)).clip(1, None)


def fill_random(gen: object, array: Array, low: int | None = None, high: int | None = None) -> None:
    first, end = check_integer_range(array.dtype, low, high)
    size, gen = end - first, generator_for(gen, array)
    if size < 2**28:
        drawn = (gen.words(array.size) % np.uint32(size)).astype(np.int64)
    elif size == 2**64:
        drawn = gen.words64(array.size).view(np.int64)
    else:
        drawn = (gen.words64(array.size) % np.uint64(size)).view(np.int64)
    array[...] = (drawn if size == 2**64 else drawn + first).reshape(array.shape)


# New arrays ---------------------------------------------------------------------------------------


def bernoulli(gen: object, p: Array) -> Array:
    out = np.empty_like(p)
    fill_bernoulli(gen, out, p)
    return out


def keep_mask(gen: object, like: Array, p: float) -> Array:
    mask = np.empty_like(like, dtype=np.bool_)
    fill_bernoulli(gen, mask, 1 - p)
    return mask


def dropout(gen: object, x: Array, p: float) -> tuple[Array, Array]:
    """`x` times 0 with probability p, else times 1 / (1 - p); and where it is the latter."""
    return gpu.dropout(generator_for(gen, x).state(), x, p)


def dropout_noise(gen: object, like: Array, p: float) -> Array:
    if launch.ready(like, half=True):
        return dropout(gen, np.ones_like(like), p)[0]
    return keep_mask(gen, like, p).astype(like.dtype) * (1 / (1 - p) if p < 1 else 0.0)


def multinomial(gen: object, p: Array, count: int, replacement: bool) -> Array:
    """As on the CPU: the categories with the largest p / e, where e is exponential."""
    rows = p.reshape(-1, p.shape[-1])
    if replacement:
        ends = np.cumsum(rows.astype(np.float64), axis=1)
        u = _uniform(gen, np.empty_like(ends, shape=(len(rows), count))) * ends[:, -1:]
        drawn = (u[:, :, None] >= ends[:, None, :]).sum(-1)
    else:
        e = np.empty_like(rows, dtype=np.float64)
        fill_exponential(gen, e)
        drawn = np.argsort(-(rows / e), axis=1)[:, :count]
    return drawn.astype(np.int64).reshape(*p.shape[:-1], count)


def randperm(gen: Any, n: int, dtype: Any, place: Device) -> Array:
    """The numbers 0 to n - 1 in the order of random words."""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    most = largest_integer(np.dtype(dtype), "randperm")
    if n > most:
        raise RuntimeError(f"n cannot be greater than {most} for {np.dtype(dtype)} type.")
    with on(place) as xp:
        array = xp.empty(n, np.float64)
        return np.argsort(generator_for(gen, array).words64(n)).astype(dtype)
