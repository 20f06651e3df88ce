"""How a seed becomes a dropout mask: the random numbers of the engine, which are torch's.

Four steps lead from `manual_seed(0)` to a mask, and the file follows them in this order.

1. A *seed* becomes 624 integers, the state of a Mersenne Twister (kernels/mersenne_twister.py).
2. The state becomes a *stream of words*: 32 bits at a time, always the same ones after the same
   seed. Everything random draws from this one stream, in program order, so drawing one number
   more or less anywhere changes everything that comes after.
3. Words become *uniform* numbers u in [0, 1). Of one word, torch keeps the low 24 bits, as many as
   a float32 holds, and divides by 2**24; a float64 takes 53 bits of two words.
4. Uniform numbers become what was asked for (kernels/distributions.py). `u < 1 - p` is true with
   probability 1 - p: an array of such answers is the *dropout mask*. `-log(1 - u)` follows the
   exponential law, Box and Muller's formula the normal law, and so on.

Each `fill_*` function takes a generator and an array, and overwrites the array in place, as
torch's `x.uniform_()` does with a tensor. Values are stored in *memory order*: neighbours in
memory receive neighbours in the stream, even if the array is a transposed view. The functions
`randint`, `randperm`, `bernoulli`, `multinomial`, `keep_mask` and `dropout_noise` return new
arrays. All work on NumPy arrays of the float types (and integers where torch allows them).

The stream equals that of torch 2.13 on an x86-64 processor with AVX2, bit for bit. Only float64
results that go through `log`, `cos`, `exp` and the like may differ in the last two bits, because
NumPy's versions of these functions do. torch does not promise to keep its stream in later releases.

Sources: Matsumoto and Nishimura, "Mersenne Twister", 1998; Box and Muller, "A note on the
generation of random normal deviates", 1958; Fisher and Yates, "Statistical tables", 1938, in the
form of Durstenfeld, "Algorithm 235: Random permutation", 1964.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from tinygrad_edu.backend import device as Device
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.types import typed_as
from tinygrad_edu.kernels import distributions as draw
from tinygrad_edu.kernels.limits import (
    check_integer_range,
    check_uniform_bounds,
    largest_integer,
    require_float,
)
from tinygrad_edu.kernels.memory_order import CHUNK, as_real, empty_like, fill, slow_to_fast
from tinygrad_edu.kernels.mersenne_twister import MersenneTwister
from tinygrad_edu.kernels.rounding import fma64
from tinygrad_edu.kernels.shuffle import fisher_yates
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.out_of_memory import out_of_memory

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

__all__ = [
    "Generator", "bernoulli", "default_generator", "dropout_noise", "empty_like",
    "fill_bernoulli", "fill_cauchy", "fill_exponential", "fill_geometric", "fill_log_normal",
    "fill_normal", "fill_random", "fill_uniform", "fork_rng", "get_rng_state", "initial_seed",
    "keep_mask", "manual_seed", "multinomial", "randint", "randperm", "seed", "set_rng_state",
]  # fmt: skip

Array = npt.NDArray[Any]
F = TypeVar("F", bound=Callable[..., Any])
_DEFAULT_SEED = 67280421310721  # torch's


# From a seed to a stream of words -----------------------------------------------------------------


_CPU = Device("cpu")


class Generator(MersenneTwister):
    """A stream of random numbers with torch's interface, determined by its seed.

    Generators can be pickled and copied, and continue from where they were.  With `device="cuda"`
    a stream of its own kind, see random/gpu.py.
    Source: Matsumoto and Nishimura, "Mersenne Twister", 1998.

    >>> Generator().manual_seed(0).words(3).tolist()
    [2357136044, 2546248239, 3071714933]
    """

    def __new__(cls, device: Any = None) -> Generator:
        if device is not None and Device(device).type == "cuda":
            from tinygrad_edu.random.gpu import CudaGenerator as cls  # noqa: N813
        return object.__new__(cls)

    def __init__(self, device: Any = None) -> None:
        super().__init__(_DEFAULT_SEED)

    @property
    def device(self) -> Device:
        """Where the numbers are drawn."""
        return _CPU

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to `seed`, an integer in [-2**63, 2**64); returns self.

        A negative seed means `2**64 + seed`. Only the low 32 bits determine the stream.
        Raises RuntimeError if `seed` is not an integer, ValueError if it is out of range.

        >>> Generator().manual_seed(-1).initial_seed() == 2**64 - 1
        True
        """
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        if not -(2**63) <= seed < 2**64:
            raise ValueError("Overflow when unpacking long long")
        self.restart(int(seed) % 2**64)
        return self

    def seed(self) -> int:
        """Start from a seed that the operating system chose at random; returns that seed."""
        self.restart(int.from_bytes(os.urandom(8), "little"))
        return self.initial_seed()

    def get_state(self) -> Tensor:
        """The state, 5056 bytes: where in the stream this generator is."""
        return wrap(self.get_state_bytes())

    def set_state(self, new_state: Tensor) -> Generator:
        """Continue from a state that `get_state` or torch gave; returns self.

        Raises TypeError if it is not a tensor of uint8, RuntimeError if it is not a valid state.

        >>> gen = Generator()
        >>> state, first = gen.get_state(), gen.words(2)
        >>> (gen.set_state(state).words(2) == first).all()
        np.True_
        """
        if not isinstance(new_state, TensorBase):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        array = new_state.array
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if not array.flags.c_contiguous:
            raise RuntimeError("RNG state must be contiguous")
        self.set_state_bytes(array)
        return self

    def clone_state(self) -> Generator:
        """A second generator that will produce the same numbers as this one from here on."""
        twin = Generator()
        twin.set_state_bytes(self.get_state_bytes())
        return twin

    def __reduce__(self) -> tuple[Any, ...]:  # pickling
        return Generator, (), self.get_state_bytes()

    def __setstate__(self, state: Array) -> None:
        self.set_state_bytes(state)


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generators, see `Generator.manual_seed`; returns the CPU's."""
    default_generator.manual_seed(int(seed))
    if "tinygrad_edu.random.gpu" in sys.modules:
        sys.modules["tinygrad_edu.random.gpu"].restart_all(int(seed))
    return default_generator


def seed() -> int:
    """Seed the default generator from the operating system, see `Generator.seed`."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator, see `Generator.get_state`."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Continue the default generator from that state, see `Generator.set_state`."""
    default_generator.set_state(new_state)


def default_states() -> tuple[Array, dict[int, Array]]:
    """The states of the default generators, the host's and those of the GPUs."""
    gpu = sys.modules.get("tinygrad_edu.random.gpu")  # not there: no GPU has drawn
    return default_generator.get_state_bytes(), {} if gpu is None else gpu.states()


def go_back(to: tuple[Array, dict[int, Array]]) -> None:
    """Bring all default generators back to what `default_states` gave."""
    default_generator.set_state_bytes(to[0])
    gpu = sys.modules.get("tinygrad_edu.random.gpu")
    if gpu is not None:
        gpu.go_back(to[1])


@contextlib.contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None, enabled: bool = True, *, device_type: str | None = None
) -> Iterator[None]:
    """What is drawn inside this `with` block leaves the default generators as they were before.

    `enabled=False` has no effect at all. Nor have `devices` and `device_type`: the generators of
    all GPUs that have drawn are meant.

    >>> _ = manual_seed(0)
    >>> with fork_rng():
    ...     inside = default_generator.words(2)
    >>> (default_generator.words(2) == inside).all()
    np.True_
    """
    before = default_states()
    try:
        yield
    finally:
        if enabled:
            go_back(before)


def host_or_gpu(function: F) -> F:
    """Of an array on a GPU, or of one beside it, the function of the same name in random/gpu.py."""

    @functools.wraps(function)
    def call(gen: Generator, array: object, *args: object, **named: object) -> Any:
        if not isinstance(array, np.ndarray):
            from tinygrad_edu.random import gpu as gpu_random

            return getattr(gpu_random, function.__name__)(gen, array, *args, **named)
        if gen.device.type != "cpu":
            raise RuntimeError("Expected a 'cpu' device type for generator but found 'cuda'")
        try:
            return function(gen, array, *args, **named)
        except MemoryError as error:
            raise out_of_memory(function.__name__, error) from None

    return typed_as(function, call)


# In place: fill_* ---------------------------------------------------------------------------------


@host_or_gpu
def fill_uniform(gen: Generator, array: Array, low: float = 0.0, high: float = 1.0) -> None:
    """array ~ U[low, high):  low + (high - low) u, with u a multiple of 2**-24 or 2**-53.

    `array` has any shape, and a float or complex type; that type can hold `low <= high`.
    Raises RuntimeError for bad bounds, NotImplementedError for an array of integers.

    >>> x = np.empty(3, np.float32)
    >>> fill_uniform(Generator().manual_seed(0), x); x
    array([0.4962566 , 0.7682218 , 0.08847743], dtype=float32)
    """
    array = as_real(array)
    require_float(array, "check_uniform_bounds")
    dtype = array.dtype
    if low != 0 or high != 1:
        check_uniform_bounds(dtype, low, high)
    if dtype == np.float64:
        fill(array, lambda n: draw.affine64(draw.uniform64(gen, n), float(low), float(high)))
        return
    a, b = float(np.float32(low)), float(np.float32(high))
    fill(array, lambda n: draw.affine32(draw.uniform32(gen, n), a, b))
    if dtype.itemsize == 2:  # may round up to `high`, which is excluded; torch puts `low` there
        array[array == dtype.type(high)] = low


@host_or_gpu
def fill_bernoulli(gen: Generator, array: Array, p: float | Array = 0.5) -> None:
    """array[i] = 1 with probability p[i], else 0.

    `p` in [0, 1] is a number or an array of floats that broadcasts to the shape of `array`.
    A number costs two words per element, as does an array of float64; other arrays cost one.
    Raises RuntimeError if p is outside [0, 1], NotImplementedError if it is an array of integers.

    >>> x = np.empty(8, np.int64)
    >>> fill_bernoulli(Generator().manual_seed(0), x, 0.5); x
    array([0, 0, 1, 0, 0, 0, 1, 1])
    """
    if not isinstance(p, np.ndarray):
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
        fill(array, lambda n: draw.bernoulli(gen, n, p))
        return
    require_float(p, "bernoulli_tensor_cpu_p_")
    if not ((p >= 0) & (p <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    probabilities = np.broadcast_to(p, array.shape).transpose(slow_to_fast(array)).ravel()
    uniform = draw.uniform64 if p.dtype == np.float64 else draw.uniform32
    done = 0

    def draw_more(n: int) -> Array:
        nonlocal done
        done += n
        keep: Array = uniform(gen, n) < probabilities[done - n : done]
        return keep

    fill(array, draw_more)


@host_or_gpu
def fill_normal(gen: Generator, array: Array, mean: float = 0.0, std: float = 1.0) -> None:
    """array ~ N(mean, std**2), for any float or complex type, by Box and Muller's formula.

    Contiguous arrays of 16 or more numbers are made in blocks of 16 (if 16 does not divide the
    size, the last 16 numbers are drawn once more); others one pair at a time in float64. So the
    values depend on the memory layout. Raises RuntimeError if std < 0, NotImplementedError for an
    array of integers. Source: Box and Muller, 1958, see kernels/box_muller.py.

    >>> x = np.empty(3, np.float32)
    >>> fill_normal(Generator().manual_seed(0), x); x
    array([ 1.5409961, -0.2934289, -2.1787894], dtype=float32)
    """
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if array.dtype.kind == "c":  # half of the variance each for the real and the imaginary part
        array, std = as_real(array), std / math.sqrt(2)
    require_float(array, "normal_kernel_cpu")
    if array.size < 16 or not array.flags.c_contiguous:
        fill(array, lambda n: fma64(draw.scalar_normals(gen, n), std, mean))
        return
    flat = array.reshape(-1)
    blocks = draw.normal_blocks64 if array.dtype == np.float64 else draw.normal_blocks32
    ragged = flat.size % 16
    fill(flat[: flat.size - ragged], lambda n: blocks(gen, n, mean, std))
    if ragged:
        if array.dtype.itemsize > 2:  # torch draws them all, then redoes the end
            gen.raw(ragged * array.dtype.itemsize // 4)
        fill(flat[-16:], lambda n: blocks(gen, n, mean, std))


@host_or_gpu
def fill_random(
    gen: Generator, array: Array, low: int | None = None, high: int | None = None
) -> None:
    """array = low + word % (high - low): integers uniform on [low, high).

    `low` is 0 if not given. Without `high` all values from `low` that the type can hold are
    possible; for a float type, up to 2**24 (float32) or 2**53 (float64). A range below 2**28 costs
    one word per number, a larger one two. (The remainder favours small values, by less than one
    part in 16 here; torch accepts that, so this does.)

    Raises RuntimeError if low >= high, or if the type cannot hold the range, NotImplementedError
    for types without a rule.

    >>> x = np.empty(4, np.int64)
    >>> fill_random(Generator().manual_seed(0), x, 0, 10); x
    array([4, 9, 3, 0])
    """
    first, end = check_integer_range(array.dtype, low, high)
    size = end - first
    # Without bounds torch takes one word, however large the range, except for 64-bit types.
    unbounded = low is None and high is None
    if (array.dtype.itemsize < 8) if unbounded else (size < 2**28):
        fill(array, lambda n: np.add(gen.words(n) % np.uint32(size), first, dtype=np.int64))
    elif size == 2**64:
        fill(array, lambda n: gen.words64(n).view(np.int64))
    else:
        fill(array, lambda n: (gen.words64(n) % np.uint64(size)).view(np.int64) + first)


# New arrays ---------------------------------------------------------------------------------------


@host_or_gpu
def bernoulli(gen: Generator, p: Array) -> Array:
    """A new array like `p` of ones, with probability p[i], and zeros. Raises as `fill_bernoulli`.

    >>> bernoulli(Generator(), np.array([0.0, 1.0]))
    array([0., 1.])
    """
    out = np.empty(p.shape, p.dtype)
    fill_bernoulli(gen, out, p)
    return out


@composed(autocast={})
@host_or_gpu
def keep_mask(gen: Generator, like: Array, p: float) -> npt.NDArray[np.bool_]:
    """Dropout's decisions: an array shaped like `like`, False with probability p, else True.

    It lies in memory as `like` does, so that a transposed activation gets torch's mask. Nothing is
    drawn if p is 0 or 1, or if `like` is empty. Raises ValueError if p is outside [0, 1].

    >>> keep_mask(Generator().manual_seed(0), np.zeros((2, 3)), p=0.5)
    array([[False, False,  True],
           [False, False, False]])
    """
    return _keep(gen, like, p)


def _keep(gen: Generator, like: Array, p: float) -> npt.NDArray[np.bool_]:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if like.flags.c_contiguous and 0 < p < 1 and like.size <= CHUNK:
        return draw.bernoulli(gen, like.size, 1 - p).reshape(like.shape)
    mask = empty_like(like, np.bool_)
    if 0 < p < 1:
        fill(mask, lambda n: draw.bernoulli(gen, n, 1 - p))
    else:
        mask[...] = p == 0
    return mask


@composed(autocast={})
@host_or_gpu
def dropout_noise(gen: Generator, like: Array, p: float) -> Array:
    """What dropout multiplies `like` by: 0 with probability p, else 1 / (1 - p).

    The mean is 1, so activations keep their mean. Type and memory layout are those of `like`.
    Source: Srivastava et al., "Dropout", 2014. Raises as `keep_mask`.

    >>> dropout_noise(Generator().manual_seed(0), np.zeros(4), p=0.5)
    array([0., 0., 2., 0.])
    """
    noise: Array = np.multiply(_keep(gen, like, p), _scale(like.dtype, p))
    if noise.dtype == like.dtype:
        return noise
    with np.errstate(over="ignore"):  # in float16 the scale may be inf
        return noise.astype(like.dtype)


@functools.lru_cache(maxsize=16)
def _scale(dtype: np.dtype[Any], p: float) -> Array:
    """What elements that are kept are multiplied by, in no less than 32 bits."""
    wide = np.float64 if dtype == np.float64 else np.float32
    return np.array(wide(1) / wide(1 - p) if p < 1 else wide(0))


def randint(
    gen: Generator, low: int, high: int, shape: Sequence[int], dtype: npt.DTypeLike = np.int64
) -> Array:
    """A new array of integers uniform on [low, high), see `fill_random`.

    >>> randint(Generator().manual_seed(0), 0, 10, (4,))
    array([4, 9, 3, 0])
    """
    out = np.empty(shape, dtype)
    fill_random(gen, out, low, high)
    return out


def randperm(gen: Generator, n: int, dtype: npt.DTypeLike = np.int64) -> Array:
    """The numbers 0, 1, ..., n - 1 in random order, by the Fisher-Yates shuffle; n - 1 words.

    Raises RuntimeError if n is negative or if `dtype` cannot hold n - 1.
    Unlike torch, more than 214748363 numbers raise NotImplementedError.

    >>> randperm(Generator().manual_seed(0), 5)
    array([4, 0, 1, 3, 2])
    """
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if n >= 214748364:
        raise NotImplementedError(f"randperm: n must be less than 214748364, but got {n}")
    kind = np.dtype(dtype)
    most = largest_integer(kind, "randperm")
    if n > most:
        raise RuntimeError(f"n cannot be greater than {most} for {kind} type.")
    return fisher_yates(gen, n).astype(kind, copy=False)


if TYPE_CHECKING:
    from tinygrad_edu.kernels.multinomial import multinomial as multinomial
else:  # few programs draw from categories
    __getattr__ = elsewhere(__name__, "kernels.multinomial", "random.laws")
