"""Devices.  The only file that imports CuPy, and only when a GPU is first asked for.

Most of the engine calls NumPy's functions by name; handed a CuPy array, NumPy's own dispatch
protocol runs CuPy's function instead.  What is left for this file: which device an array is on,
moving arrays, and making new ones.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.memory_order import like
from tinygrad_edu.out_of_memory import OutOfMemoryError, out_of_memory, public_caller

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike


F = TypeVar("F", bound=Callable[..., Any])


class _Chosen(threading.local):
    """The devices that a thread's new tensors go to: the last one entered counts."""

    def __init__(self) -> None:
        self.default: device | None = None
        self.entered: list[device] = []


_chosen = _Chosen()


class device:
    """Where a tensor lives: `device("cpu")`, `device("cuda")`, `device("cuda", 1)`.

    In a `with` block, or on a decorated function, it is where new tensors go that are not told
    where to.

    Raises:
        RuntimeError: the name is not one of the devices known here, or the index is not in 0..127.

    >>> import tinygrad_edu as torch
    >>> torch.device("cuda:1").index
    1
    """

    __slots__ = ("type", "index")
    type: str
    index: int | None

    def __init__(self, type: Any = None, index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = type.type, type.index
        elif isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", type
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type!r}")
        name, colon, number = type.partition(":")
        if name not in ("cpu", "cuda", "meta"):
            raise RuntimeError(
                f"Expected one of cpu, cuda, meta device type at start of device string: {type}"
            )
        if colon:
            if index is not None or not number.isdigit():
                raise RuntimeError(f"Invalid device string: '{type}'")
            index = int(number)
        if index is not None and index < 0:
            raise RuntimeError("Device index must not be negative")
        if index is not None and index > 127:
            raise RuntimeError(f"a device index is at most 127, got {index}")
        self.type, self.index = name, index

    def __repr__(self) -> str:
        if self.index is None:
            return f"device(type='{self.type}')"
        return f"device(type='{self.type}', index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, device):
            return NotImplemented
        return (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, ...]:
        return (device, (self.type, self.index))

    def __enter__(self) -> device:
        _chosen.entered.append(self)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        _chosen.entered.pop()

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def inside(*args: object, **kwargs: object) -> Any:
            with self:
                return function(*args, **kwargs)

        anything: Any = inside
        same: F = anything
        return same


CPU = device("cpu")
_device = device  # where an argument has that name


def set_default_device(device: DeviceLike) -> None:
    """Where this thread's new tensors go from now on, unless told; None for the CPU.

    >>> import tinygrad_edu as torch
    >>> torch.set_default_device("cpu"); torch.get_default_device()
    device(type='cpu')
    """
    _chosen.default = None if device is None else _device(device)


def get_default_device() -> device:
    """Where this thread's new tensors go that are not told where to."""
    found = _chosen.entered[-1] if _chosen.entered else _chosen.default or CPU
    return device("cuda", _index(found)) if found.type == "cuda" else found


def has_default_device() -> bool:
    """Whether this thread has set one, or is in a device's block."""
    return bool(_chosen.entered) or _chosen.default is not None


def place_of(given: object) -> device:
    """The device that a factory function's argument means."""
    return get_default_device() if given is None else device(given)


def module_of(array: Array) -> Any:
    """The module whose functions make arrays where `array` lives: numpy or cupy."""
    return np if isinstance(array, (np.ndarray, np.generic)) else module_for(device_of(array))


def device_of(array: Array) -> device:
    """The device an array is on."""
    if isinstance(array, (np.ndarray, np.generic)):
        return CPU
    return getattr(array, "place", None) or device("cuda", array.device.id)  # that of meta.Shape


def new_like(x: Array, shape: Any, value: Any = None, dtype: Any = None) -> Array:
    """A new array where `x` is, filled with `value` if one is given.

    NumPy's `full_like(x, value, shape=shape)`; CuPy's takes the shape () for none given.
    """
    xp, dtype = module_of(x), x.dtype if dtype is None else dtype
    if value is None:
        return xp.empty(shape, dtype)
    zeros = value.__class__ is int and not value
    return xp.zeros(shape, dtype) if zeros else xp.full(shape, value, dtype)


def strided(x: Array, shape: Any, steps: Any) -> Array:
    """A view of the memory of `x` of that shape, with those strides, in bytes.

    That it is a view its `base` says, which `as_strided` of CuPy leaves out: the walk back would
    then add to it in place.
    """
    view = module_of(x).lib.stride_tricks.as_strided(x, shape, steps)
    return view if view.base is not None else view.view()


def module_for(place: device) -> ModuleType:
    """The module that makes arrays on a device; RuntimeError if the device cannot be had."""
    if place.type == "meta":
        raise NotImplementedError(
            "device 'meta' has no memory, so nothing is computed or made there; .to('meta') moves"
            " a tensor's shape and dtype there"
        )
    return np if place.type == "cpu" else _cupy()


@contextlib.contextmanager
def on(place: device) -> Iterator[Any]:
    """Within it new arrays are made on that device; gives the module that makes them."""
    xp = module_for(place)
    if place.type == "cpu" or place.index is None:
        try:
            yield xp
        except MemoryError as error:
            raise out_of_memory(public_caller(), error) from None
    else:
        with xp.cuda.Device(place.index):
            yield xp


def to_device(array: Array, place: device, wait: bool = True) -> Array:
    """The array on that device: itself if it is there already, else a copy.

    Args:
        wait: until pinned memory has been copied; other memory is always free again.
    """
    here = device_of(array)
    if here.type == place.type and (place.type != "cuda" or here.index == _index(place)):
        return array
    if "meta" in (here.type, place.type):
        moved: Array = importlib.import_module("tinygrad_edu.names.meta").move(array, place)
        return moved
    if place.type == "cpu":
        checks = sys.modules.get("tinygrad_edu.kernels.cuda.checks")
        return array.get() if checks is None else checks.download(array)
    if switches.capturing and here.type == "cpu":
        raise RuntimeError("a copy from the host cannot be captured in a CUDA graph")
    with on(place) as cupy:
        if not is_pinned_array(array):
            return cupy.asarray(array)
        copy = cupy.asarray(array, blocking=wait)
        if not wait:
            _copying.append((cupy.cuda.get_current_stream().record(), array))
            while _copying and _copying[0][0].done:
                _copying.popleft()
        return copy


def _index(place: device) -> int | None:
    """Which of the GPUs is meant: "cuda" stands for the current one."""
    if place.type != "cuda" or place.index is not None:
        return place.index
    return current_gpu()


def current_gpu() -> int:
    """The index of the GPU that "cuda" stands for."""
    return int(_cupy().cuda.Device().id)


def gpu(place: object) -> Any:
    """CuPy's object for a GPU, given as an index, a name, a device, or None for the current one.

    Raises:
        RuntimeError: there is no such GPU.
    """
    cupy = _cupy()
    where = device("cuda") if place is None else device(place)
    if where.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {where}")
    if where.index is not None and where.index >= cuda_device_count():
        raise RuntimeError(
            f"CUDA error: invalid device ordinal: {where}, but there are {cuda_device_count()} GPUs"
        )
    return cupy.cuda.Device(current_gpu() if where.index is None else where.index)


def beside(array: Array, x: Array) -> Array:
    """An array of the host, on the device of `x`."""
    return array if isinstance(x, np.ndarray) else to_device(array, device_of(x))


def solving(x: Array) -> contextlib.AbstractContextManager[Any]:
    """Within it a factorization of arrays like `x` that fails raises `np.linalg.LinAlgError`.

    NumPy's always does; CuPy looks for failures only if it is told to, for it has to wait.
    """
    if isinstance(x, np.ndarray):
        return contextlib.nullcontext()
    state: contextlib.AbstractContextManager[Any]
    state = importlib.import_module("cupyx").errstate(linalg="raise")
    return state


def cuda_device_count() -> int:
    """How many GPUs CuPy sees."""
    return int(_cupy().cuda.runtime.getDeviceCount())


def special_function(name: str, on_host: Callable[..., Array]) -> Callable[..., Array]:
    """`on_host` for NumPy arrays, CuPy's special function of that name for its own."""

    def call(*args: object) -> Array:
        x: Any = args[-1]
        if isinstance(x, (np.ndarray, np.generic)):
            y = on_host(*args)
            if isinstance(x, np.generic) or x.flags.c_contiguous or x.ndim != np.ndim(y):
                return y
            return like(y, x)
        _cupy()
        return getattr(importlib.import_module("cupyx.scipy.special"), name)(*args)

    return call


def _cupy() -> ModuleType:
    problem = cupy_problem()
    if problem is not None:
        raise RuntimeError(f"device 'cuda' cannot be used: {problem}")
    return sys.modules["cupy"]


@functools.cache
def cupy_problem() -> str | None:
    """None when CuPy can run a kernel, else one line that says why not; cheapest checks first."""
    if "cupy" not in sys.modules:
        if importlib.util.find_spec("cupy") is None:
            return "CuPy is not installed (pip install 'tinygrad-edu[cuda13]' or '[cuda12]')"
        files = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/nvmap")
        if sys.platform.startswith("linux") and not any(map(os.path.exists, files)):
            return "CuPy is installed, but this machine has no GPU (no /dev/nvidiactl)"
    try:
        import cupy

        if not cupy.cuda.is_available():
            return "CuPy sees no usable CUDA device: check the driver with nvidia-smi"
        if float((cupy.arange(4, dtype=np.float32) * 2).sum()) != 12:
            return "CuPy's first kernel gave a wrong sum"
        cupy.cuda.set_allocator(_allocator(cupy, cupy.get_default_memory_pool()))
    except Exception as error:  # ImportError, CUDARuntimeError, a missing NVRTC library
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return None


def nccl() -> Any:
    """CuPy's binding of NCCL; ImportError without one."""
    from cupy.cuda import nccl

    return nccl


_copying: deque[tuple[Any, Array]] = deque()
"""Pinned memory that is still being copied, and the event behind the copy; kept alive till then."""


def pinned_copy(array: Array) -> Array:
    """A copy of an array of the host in page-locked memory."""
    _cupy()
    made = importlib.import_module("cupyx").empty_pinned(array.shape, array.dtype)
    made[...] = array
    return made


def is_pinned_array(array: Array) -> bool:
    """Whether an array of the host, or what it is a view of, came from `pinned_copy`."""
    while isinstance(array, (np.ndarray, memoryview)):
        array = array.obj if isinstance(array, memoryview) else array.base
    return type(array).__name__ == "PinnedMemoryPointer"


class GpuSwitches:
    """How GPUs work now, for the whole process."""

    capturing = False
    """Whether what is asked of a GPU is noted in a CUDA graph, not done (cuda/graphs.py)."""

    tf32 = False
    """Whether the factors of float32 products may be rounded to 10 bits, as tensor cores do."""

    deterministic = False
    """Whether what is added up has one order, always (`torch.use_deterministic_algorithms`)."""


switches = GpuSwitches()


# Memory -------------------------------------------------------------------------------------------

peak_bytes: dict[int, int] = {}
"""The most bytes that arrays on a GPU took at once, of those GPUs of which it was asked."""


graph_pools: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""The memory pool of each CUDA graph, which keeps what it has got for the replays."""


def used_bytes(cupy: Any) -> int:
    """The bytes that arrays on the current GPU and all graphs take."""
    used = cupy.get_default_memory_pool().used_bytes()
    return int(used + sum([pool.total_bytes() for pool in graph_pools.values()]))


def _allocator(cupy: Any, pool: Any) -> Callable[[int], Any]:
    """Memory of a pool, with torch's error when it is exhausted, and the peak noted."""

    def allocate(size: int) -> Any:
        try:
            memory = pool.malloc(size)
        except MemoryError:
            free, total = cupy.cuda.runtime.memGetInfo()
            here, mebi = cupy.cuda.Device().id, 2.0**20
            raise OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size / mebi:.2f} MiB. GPU {here} has a"
                f" total capacity of {total / mebi:.2f} MiB of which {free / mebi:.2f} MiB is free."
                f" {pool.used_bytes() / mebi:.2f} MiB is allocated by tensors, and"
                f" {pool.free_bytes() / mebi:.2f} MiB is reserved but unallocated."
            ) from None
        if peak_bytes:
            here = cupy.cuda.Device().id
            if here in peak_bytes:
                peak_bytes[here] = max(peak_bytes[here], used_bytes(cupy))
        return memory

    return allocate


def allocator_for(graph: object) -> Callable[[int], Any]:
    """An allocator that serves from a memory pool of a CUDA graph's own."""
    cupy = _cupy()
    pool = graph_pools[graph] = cupy.cuda.MemoryPool()
    weakref.finalize(graph, pool.free_all_blocks)  # CuPy does not when a pool is dropped
    return _allocator(cupy, pool)


def forget_cupy() -> None:
    """Look for CuPy anew: the tests put a stand-in in its place."""
    cupy_problem.cache_clear()
    for name in (
        "random.gpu",
        *[f"kernels.cuda.{part}" for part in ("checks", "epilogues", "launch", "products")],
    ):
        module = sys.modules.get(f"tinygrad_edu.{name}")
        if module is not None:
            module.forget()
