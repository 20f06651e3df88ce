"""The stand-in's modules: cupy, cupy.cuda, cupy.random, cupyx, cupyx.scipy.special."""

from __future__ import annotations

import contextlib
import time
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_edu.kernels import erf
from tinygrad_edu.kernels.more import gamma, series

from . import kernels
from .array import Device, ndarray, unwrap, wrap
from .counters import API, Counters, CUDARuntimeError, check_dtype, synchronize
from .functions import errstate, function, ufunc


class Module(types.ModuleType):
    """A module that says which CuPy lacks a name."""

    def __init__(self, name: str, **names: Any) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r} (CuPy {API['cupy']})"
        )


_AS_THEY_ARE = ("iinfo", "finfo", "dtype", "issubdtype", "promote_types", "can_cast",
                "broadcast_shapes")  # fmt: skip


def _of_numpy(name: str, value: Any) -> Any:
    """CuPy's counterpart of a name of NumPy's."""
    if isinstance(value, np.ufunc) and name in API["ufuncs"]:
        return ufunc(value)
    if isinstance(value, type) or isinstance(value, (float, int, type(None))):
        return value
    if name in _AS_THEY_ARE or not callable(value):
        return value
    return function(name, value)


def _as_strided(x: Any, shape: Any = None, strides: Any = None) -> ndarray:
    """A view that CuPy does not know for one: its `base` is None."""
    made: ndarray = wrap(np.lib.stride_tricks.as_strided(unwrap(x), shape, strides))
    made.rootless = True
    return made


def build() -> dict[str, Any]:
    """All modules, by name."""
    cupy = Module("cupy", __version__=f"{API['cupy']}+strict")
    for name in API["top"]:
        if hasattr(np, name):
            setattr(cupy, name, _of_numpy(name, getattr(np, name)))
    cupy.ndarray, cupy.ufunc = ndarray, ufunc
    cupy.result_type = _result_type
    cupy.asnumpy = lambda a, *args, **kwargs: a.get() if isinstance(a, ndarray) else np.asarray(a)
    cupy.get_array_module = lambda *a: cupy if any(isinstance(x, ndarray) for x in a) else np
    cupy.shares_memory = cupy.may_share_memory = lambda a, b: np.shares_memory(a.host, b.host)
    stride_tricks = Module(
        "cupy.lib.stride_tricks",
        as_strided=_as_strided,
        sliding_window_view=lambda x, window_shape, axis=None: wrap(
            np.lib.stride_tricks.sliding_window_view(unwrap(x), window_shape, axis)
        ),
    )
    cupy.lib = Module("cupy.lib", stride_tricks=stride_tricks)
    for part in ("linalg", "fft"):
        source = getattr(np, part)
        names = {n: getattr(source, n) for n in API[part] if hasattr(source, n)}
        names = {n: _of_numpy(f"{part}.{n}", value) for n, value in names.items()}
        setattr(cupy, part, Module(f"cupy.{part}", **names))
    if kernels.COMPILER:
        cupy.RawModule = kernels.RawModule
    cupy.random = _random()
    cupy.cuda, pool = _cuda(), Pool()
    cupy.is_available = cupy.cuda.is_available
    cupy.get_default_memory_pool = cupy.get_default_pinned_memory_pool = lambda: pool
    cupyx = _cupyx()
    modules = [cupy, cupy.lib, stride_tricks, cupy.linalg, cupy.fft, cupy.random, cupy.cuda,
               cupy.cuda.runtime, cupyx, cupyx.scipy,
               cupyx.scipy.special]  # fmt: skip
    return {module.__name__: module for module in modules}


def _result_type(*args: Any) -> Any:
    return np.result_type(*[x.host if isinstance(x, ndarray) else x for x in args])


# ---- random numbers: other ones than NumPy's after the same seed


class RandomState:
    """The old interface."""

    def __init__(self, seed: Any = None) -> None:
        self.numpy = np.random.RandomState(None if seed is None else (seed * 7919 + 13) % 2**32)

    def seed(self, seed: Any = None) -> None:
        RandomState.__init__(self, seed)

    def _as(self, values: Any, dtype: Any) -> Any:
        return wrap(np.asarray(values).astype(check_dtype(dtype)))

    def random_sample(self, size: Any = None, dtype: Any = float) -> Any:
        return self._as(self.numpy.random_sample(size), dtype)

    def uniform(self, low: float = 0, high: float = 1, size: Any = None, dtype: Any = float) -> Any:
        return self._as(self.numpy.uniform(low, high, size), dtype)

    def normal(self, loc: float = 0, scale: float = 1, size: Any = None, dtype: Any = float) -> Any:
        return self._as(self.numpy.normal(loc, scale, size), dtype)

    def standard_normal(self, size: Any = None, dtype: Any = float) -> Any:
        return self._as(self.numpy.standard_normal(size), dtype)

    def randint(self, low: int, high: Any = None, size: Any = None, dtype: Any = int) -> Any:
        return self._as(self.numpy.randint(low, high, size, dtype=np.int64), dtype)

    def permutation(self, a: Any) -> Any:
        return wrap(self.numpy.permutation(unwrap(a)))

    def shuffle(self, a: Any) -> None:
        self.numpy.shuffle(a.host)


class BitGenerator:
    """XORWOW, Philox4x3210 and MRG32k3a: a seed."""

    def __init__(self, seed: Any = None, *, size: int = -1) -> None:
        self.numpy = np.random.default_rng(None if seed is None else [int(seed), 7919])


class Generator:
    """The new interface: no normal, choice, permutation or shuffle."""

    def __init__(self, bit_generator: BitGenerator) -> None:
        self.bit_generator, self.numpy = bit_generator, bit_generator.numpy

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        if out is None:
            return wrap(self.numpy.random(size, dtype))
        out.host[...] = self.numpy.random(out.shape, dtype)
        return out

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        return wrap(self.numpy.standard_normal(size, dtype))

    def standard_exponential(
        self, size: Any = None, dtype: Any = np.float64, method: str = "inv", out: Any = None
    ) -> Any:
        return wrap(self.numpy.standard_exponential(size, dtype))

    def integers(
        self, low: int, high: Any = None, size: Any = None, dtype: Any = np.int64,
        endpoint: bool = False,
    ) -> Any:  # fmt: skip
        return wrap(np.asarray(self.numpy.integers(low, high, size, dtype, endpoint)))

    def uniform(
        self, low: float = 0.0, high: float = 1.0, size: Any = None, dtype: Any = np.float64
    ) -> Any:
        return wrap(np.asarray(self.numpy.uniform(low, high, size)).astype(dtype))


def _random() -> Module:
    state = RandomState(0)
    names = ("random_sample", "uniform", "normal", "standard_normal", "randint", "permutation",
             "shuffle", "seed")  # fmt: skip
    return Module(
        "cupy.random",
        **{name: getattr(state, name) for name in names},
        RandomState=RandomState,
        Generator=Generator,
        XORWOW=BitGenerator,
        Philox4x3210=BitGenerator,
        MRG32k3a=BitGenerator,
        default_rng=lambda seed=None: Generator(BitGenerator(seed)),
    )


# ---- the device


class Pool:
    """CuPy's memory pool; nothing is counted."""

    def malloc(self, size: int) -> Any:
        raise OutOfMemoryError(f"Out of memory allocating {size} bytes")

    def free_bytes(self) -> int:
        return 0

    def used_bytes(self) -> int:
        return 0

    def total_bytes(self) -> int:
        return 0

    def free_all_blocks(self) -> None:
        pass


class Graph:
    """What `end_capture` gives: the stand-in has done the work already, and does not repeat it."""

    def launch(self, stream: Any = None) -> None:
        pass


class Stream:
    """All work is done at once, so there is nothing to order; capturing, the host may not wait."""

    current: list[Stream] = []

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False,
                 *, priority: Any = None) -> None:  # fmt: skip
        self.done, self.ptr = True, 0 if null else id(self)

    def __enter__(self) -> Stream:
        self.current.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        self.current.pop()

    def use(self) -> Stream:
        self.current[-1:] = [self]
        return self

    def begin_capture(self, mode: Any = None) -> None:
        if Counters.capturing:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is being captured")
        Counters.capturing = True

    def end_capture(self) -> Graph:
        Counters.capturing = False
        return Graph()

    def synchronize(self) -> None:
        synchronize("Stream.synchronize")

    def record(self, event: Any = None) -> Any:
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Any) -> None:
        pass


class Event:
    """A moment."""

    def __init__(self, block: bool = False, disable_timing: bool = False,
                 interprocess: bool = False) -> None:  # fmt: skip
        self.done, self.time = True, 0.0

    def record(self, stream: Any = None) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        synchronize("Event.synchronize")


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


def _cuda() -> Module:
    null = Stream.null = Stream(null=True)
    Stream.current[:] = [null]
    properties = {"name": b"stand-in", "major": 8, "minor": 0, "totalGlobalMem": 1 << 34,
                  "multiProcessorCount": 1}  # fmt: skip
    runtime = Module(
        "cupy.cuda.runtime",
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        getDeviceProperties=lambda index: properties,
        memGetInfo=lambda: (1 << 33, 1 << 34),
        runtimeGetVersion=lambda: 12090,
    )
    return Module(
        "cupy.cuda",
        runtime=runtime,
        is_available=lambda: True,
        Device=Device,
        Stream=Stream,
        Event=Event,
        get_current_stream=lambda device_id=-1: Stream.current[-1],
        get_allocator=lambda: None,
        get_elapsed_time=lambda a, b: (b.time - a.time) * 1e3,
        set_allocator=lambda allocator: None,
        MemoryPool=Pool,
        memory=Module("cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError),
        cublas=Module("cupy.cuda.cublas"),
    )


@contextlib.contextmanager
def _allow_synchronize(allow: bool) -> Iterator[None]:
    warnings.warn("cupyx.allow_synchronize will be removed in future releases", stacklevel=3)
    before, Counters.may_synchronize = Counters.may_synchronize, allow
    try:
        yield
    finally:
        Counters.may_synchronize = before


class PinnedMemoryPointer(bytearray):
    """Page-locked memory of the host."""


def _empty_pinned(shape: Any, dtype: Any = float, order: str = "C") -> Any:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(PinnedMemoryPointer(size), dtype).reshape(shape)


def _cupyx() -> Module:
    def special(host: Any) -> Any:
        return lambda *args: wrap(host(*[unwrap(a) for a in args]))

    functions = {"erf": erf.erf, "erfc": erf.erfc, "erfinv": erf.erfinv, "gammaln": gamma.lgamma,
                 "digamma": gamma.digamma,
                 "polygamma": lambda n, x: gamma.polygamma(int(n.astype(int)), x),
                 "i0e": lambda x: series.bessel(0, x), "i1e": lambda x: series.bessel(1, x),
                 "erfcx": series.erfcx, "ndtri": series.ndtri, "log_ndtr": series.log_ndtr,
                 "zeta": series.zeta, "gammainc": series.igamma, "gammaincc": series.igammac,
                 }  # fmt: skip
    module = Module("cupyx.scipy.special", **{n: special(f) for n, f in functions.items()})
    return Module(
        "cupyx",
        empty_pinned=_empty_pinned,
        allow_synchronize=_allow_synchronize,
        errstate=errstate,
        scatter_add=lambda a, key, value: a.scatter_add(key, value),
        scipy=Module("cupyx.scipy", special=module),
    )
