"""`torch.cuda`: what a script asks of the GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from tinygrad_edu import backend
from tinygrad_edu.legacy import CudaFloatTensor as FloatTensor  # noqa: F401
from tinygrad_edu.legacy import CudaLongTensor as LongTensor  # noqa: F401
from tinygrad_edu.random import default_generator


def is_available() -> bool:
    """Whether a GPU can be used: CuPy is installed, sees a device, and runs a kernel on it.

    >>> import tinygrad_edu as torch
    >>> torch.cuda.is_available() in (True, False)
    True
    """
    return backend.cupy_problem() is None


def device_count() -> int:
    """How many GPUs can be used."""
    return backend.cuda_device_count() if is_available() else 0


def current_device() -> int:
    """The index of the GPU that "cuda" stands for; RuntimeError without one."""
    return int(backend.module_for(backend.device("cuda")).cuda.Device().id)


def get_device_name(device: Any = None) -> str:
    """What the maker calls the GPU; RuntimeError without one."""
    cupy = backend.module_for(backend.device("cuda"))
    index = current_device() if device is None else backend.device(device).index or 0
    return str(cupy.cuda.runtime.getDeviceProperties(index)["name"].decode())


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has done everything asked of it so far."""
    backend.module_for(backend.device("cuda")).cuda.Device().synchronize()


def empty_cache() -> None:
    """Give memory that is kept for reuse back to the GPU."""
    if is_available():
        backend.module_for(backend.device("cuda")).get_default_memory_pool().free_all_blocks()


def manual_seed(seed: int) -> None:
    """Seed the random numbers of the GPU, which are drawn from the CPU's generator."""
    default_generator.manual_seed(seed)


manual_seed_all = manual_seed


def is_initialized() -> bool:
    """Whether a GPU has been used, or asked for, and found."""
    return "cupy" in sys.modules and is_available()


def init() -> None:
    """Nothing to do: a GPU is got ready when it is first used."""


def set_device(device: Any) -> None:
    """Make a GPU the one that "cuda" stands for; RuntimeError without one."""
    index = backend.device(device).index
    cupy = backend.module_for(backend.device("cuda"))
    if index is not None:
        cupy.cuda.Device(index).use()


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The GPU's compute capability; RuntimeError without one."""
    properties = _properties(device)
    return int(properties["major"]), int(properties["minor"])


def get_device_properties(device: Any = None) -> SimpleNamespace:
    """The GPU's name, memory in bytes and number of multiprocessors; RuntimeError without one."""
    properties = _properties(device)
    return SimpleNamespace(
        name=properties["name"].decode(),
        major=int(properties["major"]),
        minor=int(properties["minor"]),
        total_memory=int(properties["totalGlobalMem"]),
        multi_processor_count=int(properties["multiProcessorCount"]),
    )


def _properties(device: Any) -> Any:
    cupy = backend.module_for(backend.device("cuda"))
    index = current_device() if device is None else backend.device(device).index or 0
    return cupy.cuda.runtime.getDeviceProperties(index)


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False: there is no bfloat16 on the GPU here."""
    return False


def memory_allocated(device: Any = None) -> int:
    """Bytes that arrays on the GPU take; 0 without one."""
    return int(_pool().used_bytes()) if is_available() else 0


def memory_reserved(device: Any = None) -> int:
    """Bytes held on the GPU, in use or kept for reuse; 0 without one."""
    return int(_pool().total_bytes()) if is_available() else 0


def _pool() -> Any:
    return backend.module_for(backend.device("cuda")).get_default_memory_pool()


def max_memory_allocated(device: Any = None) -> int:
    """What `max_memory_reserved` says: the peak of what is in use is not counted apart."""
    return max_memory_reserved(device)


def max_memory_reserved(device: Any = None) -> int:
    """Bytes held on the GPU; they only shrink when `empty_cache` is called."""
    return memory_reserved(device)


def reset_peak_memory_stats(device: Any = None) -> None:
    """Give back what is not in use, so that the peak counts from here."""
    empty_cache()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes free on the GPU, and bytes in all; RuntimeError without one."""
    free, total = backend.module_for(backend.device("cuda")).cuda.runtime.memGetInfo()
    return int(free), int(total)


def ipc_collect() -> None:
    """Nothing to collect: no memory is shared between processes."""


class Event:
    """A moment in the GPU's work; RuntimeError without one.

    Args:
        enable_timing: accepted for torch's sake; time can always be asked for.
    """

    def __init__(self, enable_timing: bool = False, **options: Any) -> None:
        self._cuda = backend.module_for(backend.device("cuda")).cuda
        self._event = self._cuda.Event()

    def record(self, stream: Any = None) -> None:
        """Put the moment behind everything asked of the GPU so far."""
        self._event.record()

    def synchronize(self) -> None:
        """Wait until it has come."""
        self._event.synchronize()

    def query(self) -> bool:
        """Whether it has come."""
        return bool(self._event.done)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this moment to another."""
        return float(self._cuda.get_elapsed_time(self._event, end_event._event))
