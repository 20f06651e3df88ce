"""`torch.cuda`: what a script asks of the GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tinygrad_edu import backend
from tinygrad_edu.cuda import graphs
from tinygrad_edu.cuda.graphs import CUDAGraph, graph, make_graphed_callables
from tinygrad_edu.cuda.memory import (
    empty_cache,
    max_memory_allocated,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_reserved,
    reset_max_memory_allocated,
    reset_peak_memory_stats,
)
from tinygrad_edu.cuda.streams import (
    Event,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    set_stream,
    stream,
)
from tinygrad_edu.names.legacy import CudaFloatTensor as FloatTensor
from tinygrad_edu.names.legacy import CudaLongTensor as LongTensor
from tinygrad_edu.names.missing import missing
from tinygrad_edu.out_of_memory import OutOfMemoryError

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike
    from tinygrad_edu.tensor import Tensor


__all__ = [
    "CUDAGraph", "Event", "FloatTensor", "LongTensor", "OutOfMemoryError", "Stream",
    "StreamContext", "current_device", "current_stream", "default_stream", "device",
    "device_count", "empty_cache", "get_device_capability", "get_device_name",
    "get_device_properties", "get_rng_state", "get_rng_state_all", "graph", "graphs", "init",
    "initial_seed", "ipc_collect", "is_available", "is_bf16_supported", "is_initialized",
    "make_graphed_callables", "manual_seed", "manual_seed_all", "max_memory_allocated",
    "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_reserved",
    "reset_max_memory_allocated", "reset_peak_memory_stats", "seed", "set_device",
    "set_rng_state", "set_rng_state_all", "set_stream", "stream", "synchronize",
]  # fmt: skip


def is_available() -> bool:
    """Whether a GPU can be used: CuPy is installed, sees a device, and runs a kernel on it.

    >>> import tinygrad_edu as torch
    >>> torch.cuda.is_available() in (True, False)
    True
    """
    return backend.cupy_problem() is None


def is_initialized() -> bool:
    """Whether a GPU has been used, or asked for, and found."""
    return "cupy" in sys.modules and is_available()


def init() -> None:
    """Nothing to do: a GPU is got ready when it is first used."""


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the GPU has instructions for bfloat16; False without a GPU."""
    return is_available() and get_device_capability() >= (8, 0)


def ipc_collect() -> None:
    """Nothing to collect: no memory is shared between processes."""


# Which GPU ----------------------------------------------------------------------------------------


def device_count() -> int:
    """How many GPUs can be used."""
    return backend.cuda_device_count() if is_available() else 0


def current_device() -> int:
    """The index of the GPU that "cuda" stands for; RuntimeError without one."""
    return backend.current_gpu()


def set_device(device: DeviceLike) -> None:
    """Make a GPU the one that "cuda" stands for, and that computes.

    Unlike torch, whose operations run where their operands are, tensors of another GPU than this
    one must be worked on under `with cuda.device(index):`.

    Raises:
        RuntimeError: there is no such GPU.
    """
    backend.gpu(device).use()


class device:
    """`with cuda.device(1):` within it, GPU 1 is the one that "cuda" stands for.

    Args:
        device: an index, a name or a `torch.device`; None or a negative index changes nothing.
    """

    def __init__(self, device: Any) -> None:
        stays = device is None or (isinstance(device, int) and device < 0)
        self.idx = -1 if stays else backend.gpu(device).id
        self.prev_idx = -1

    def __enter__(self) -> None:
        if self.idx >= 0:
            self.prev_idx = current_device()
            set_device(self.idx)

    def __exit__(self, *error: object) -> None:
        if self.idx >= 0:
            set_device(self.prev_idx)


def synchronize(device: DeviceLike = None) -> None:
    """Wait until a GPU has done everything asked of it so far."""
    backend.gpu(device).synchronize()


def _properties(device: DeviceLike) -> Any:
    index = backend.gpu(device).id
    return backend.module_for(backend.device("cuda")).cuda.runtime.getDeviceProperties(index)


def get_device_name(device: DeviceLike = None) -> str:
    """What the maker calls the GPU; RuntimeError without one."""
    return str(_properties(device)["name"].decode())


def get_device_capability(device: DeviceLike = None) -> tuple[int, int]:
    """The GPU's compute capability; RuntimeError without one."""
    properties = _properties(device)
    return int(properties["major"]), int(properties["minor"])


def get_device_properties(device: DeviceLike = None) -> SimpleNamespace:
    """The GPU's name, memory in bytes and number of multiprocessors; RuntimeError without one."""
    properties = _properties(device)
    return SimpleNamespace(
        name=properties["name"].decode(),
        major=int(properties["major"]),
        minor=int(properties["minor"]),
        total_memory=int(properties["totalGlobalMem"]),
        multi_processor_count=int(properties["multiProcessorCount"]),
    )


# Random numbers: a stream of their own, see random/gpu.py -----------------------------------------


def manual_seed(seed: int) -> None:
    """Seed the default generator of the current GPU; nothing without a GPU."""
    if is_available():
        _generator(None).manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """Seed the default generators of all GPUs; nothing without a GPU."""
    for index in range(device_count()):
        _generator(index).manual_seed(int(seed))


def seed() -> None:
    """Seed the default generator of the current GPU from the operating system."""
    _generator(None).seed()


def initial_seed() -> int:
    """The seed of the current GPU's default generator."""
    return int(_generator(None).initial_seed())


def get_rng_state(device: DeviceLike = "cuda") -> Any:
    """The state of a GPU's default generator, as a tensor of bytes on the CPU."""
    return _generator(device).get_state()


def set_rng_state(new_state: Tensor, device: DeviceLike = "cuda") -> None:
    """Continue a GPU's default generator from a state that `get_rng_state` gave."""
    _generator(device).set_state(new_state)


def get_rng_state_all() -> list[Any]:
    """The states of all GPUs' default generators."""
    return [get_rng_state(i) for i in range(device_count())]


def set_rng_state_all(new_states: Any) -> None:
    """Continue all GPUs' default generators from what `get_rng_state_all` gave."""
    for i, state in enumerate(new_states):
        set_rng_state(state, i)


def _generator(device: DeviceLike) -> Any:
    from tinygrad_edu.random import gpu as gpu_random

    return gpu_random.default(backend.gpu(device).id)


__getattr__ = missing(__name__, {"amp": ""})
