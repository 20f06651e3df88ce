"""`torch.cuda`: what a script asks of the GPU."""

from __future__ import annotations

from typing import Any

from tinygrad_edu import backend
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
