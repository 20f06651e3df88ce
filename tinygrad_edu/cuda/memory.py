"""How much of a GPU's memory is taken, free, and kept for reuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu import backend

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike


def _pool() -> Any:
    return backend.module_for(backend.device("cuda")).get_default_memory_pool()


def _has_gpu() -> bool:
    return backend.cupy_problem() is None


def _of(device: DeviceLike, read: Any) -> Any:
    """What `read` says while that GPU is the current one: CuPy's pool answers for it."""
    with backend.gpu(device):
        return read()


def empty_cache() -> None:
    """Give memory that is kept for reuse back to the GPU."""
    if _has_gpu():
        _pool().free_all_blocks()


def memory_allocated(device: DeviceLike = None) -> int:
    """Bytes that arrays on the GPU take; 0 without one."""
    if not _has_gpu():
        return 0
    cupy = backend.module_for(backend.device("cuda"))
    return int(_of(device, lambda: backend.used_bytes(cupy)))


def memory_reserved(device: DeviceLike = None) -> int:
    """Bytes held on the GPU, in use or kept for reuse; 0 without one."""
    return int(_of(device, _pool().total_bytes)) if _has_gpu() else 0


def max_memory_allocated(device: DeviceLike = None) -> int:
    """The most bytes that arrays took at once since `reset_peak_memory_stats` was called."""
    if not _has_gpu():
        return 0
    return max(backend.peak_bytes.get(backend.gpu(device).id, 0), memory_allocated(device))


def max_memory_reserved(device: DeviceLike = None) -> int:
    """Bytes held on the GPU; they only shrink when `empty_cache` is called."""
    return memory_reserved(device)


def reset_peak_memory_stats(device: DeviceLike = None) -> None:
    """Let the peak of `max_memory_allocated` count from here."""
    if _has_gpu():
        backend.peak_bytes[backend.gpu(device).id] = memory_allocated(device)


reset_max_memory_allocated = reset_peak_memory_stats


def mem_get_info(device: DeviceLike = None) -> tuple[int, int]:
    """Bytes free on the GPU, and bytes in all; RuntimeError without one."""
    runtime = backend.module_for(backend.device("cuda")).cuda.runtime
    free, total = _of(device, runtime.memGetInfo)
    return int(free), int(total)
