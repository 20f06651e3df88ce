"""Products of matrices on a GPU: cuBLAS, called directly.

CuPy's `matmul` refuses to run while a CUDA graph is captured.  In batches it also copies transposed
operands, widens float16, does not know bfloat16, and never rounds to TF32.  The functions of cuBLAS
do all of this; CuPy finds the library and opens it, `ctypes` calls it.

cuBLAS counts columns first: what it is told to compute is yᵀ = bᵀ aᵀ, and a matrix of ours, read
its way, is transposed already.

Source: NVIDIA, cuBLAS Library, `cublasGemmStridedBatchedEx`, `cublasSetWorkspace`, "CUDA Graphs".
"""

from __future__ import annotations

import ctypes
import functools
import math
import sys
import threading
from typing import Any

import numpy as np

from tinygrad_edu.backend import current_gpu, device, module_for, module_of, switches
from tinygrad_edu.dtypes import Array

_KINDS = {"f": 0, "d": 1, "e": 2, "E": 14}
"""cuBLAS's numbers of the element types, by NumPy's letters; E is ml_dtypes' bfloat16."""
IN_FLOAT, IN_DOUBLE, IN_TF32 = 68, 70, 77
"""What is added up in; 16 bits too are added up in float32, as torch does."""
_ANY_ALGORITHM = -1


def open_library(major: int) -> Any:
    """cuBLAS of that version of CUDA, once CuPy has loaded it."""
    windows = sys.platform == "win32"
    return ctypes.CDLL(f"cublas64_{major}.dll" if windows else f"libcublas.so.{major}")


@functools.cache
def _library(xp: Any) -> Any:
    """cuBLAS, or None where it cannot be had: the stand-in without a compiler."""
    try:
        _ = xp.cuda.cublas  # CuPy loads the library, wherever pip or the toolkit has put it
        library = open_library(xp.cuda.runtime.runtimeGetVersion() // 1000)
    except (AttributeError, ImportError, OSError):
        return None
    i, p, step = ctypes.c_int, ctypes.c_void_p, ctypes.c_longlong
    library.cublasCreate_v2.argtypes = [p]
    library.cublasSetStream_v2.argtypes = [p, p]
    library.cublasSetWorkspace_v2.argtypes = [p, p, ctypes.c_size_t]
    library.cublasGemmEx.argtypes = [p, *[i] * 5, p, p, i, i, p, i, i, p, p, i, i, i, i]
    library.cublasGemmStridedBatchedEx.argtypes = [
        p, *[i] * 5, p, p, i, i, step, p, i, i, step, p, p, i, i, step, i, i, i,
    ]  # fmt: skip
    return library


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"CUDA error: cuBLAS returned status {status}")


class _Handle:
    """cuBLAS as one thread uses it on one GPU."""

    def __init__(self, library: Any) -> None:
        self.library, self.value = library, ctypes.c_void_p()
        _check(library.cublasCreate_v2(ctypes.byref(self.value)))
        self.stream = -1
        self.workspace: Any = None
        self.captured: list[Any] = []

    def use(self, xp: Any, stream: int) -> None:
        """Ask work of that stream, in memory of its own.

        What cuBLAS would otherwise allocate while a graph is captured, each graph would keep.
        """
        hopper = int(xp.cuda.Device().compute_capability) >= 90
        self.workspace = xp.empty((32 if hopper else 4) << 20, np.uint8)  # as NVIDIA recommends
        _check(self.library.cublasSetStream_v2(self.value, stream))
        place, size = self.workspace.data.ptr, self.workspace.nbytes
        _check(self.library.cublasSetWorkspace_v2(self.value, place, size))
        self.stream = stream
        if switches.capturing:
            self.captured.append(self.workspace)


_idle: dict[tuple[Any, int], list[_Handle]] = {}
"""For each library and GPU the handles whose threads have ended, for the next threads: to destroy
one would make the host wait for the GPU."""


class _Lent:
    """A thread's handle on one GPU, given back when the thread ends."""

    def __init__(self, library: Any, gpu: int) -> None:
        self.idle = _idle.setdefault((library, gpu), [])
        try:
            self.handle = self.idle.pop()
        except IndexError:
            self.handle = _Handle(library)

    def __del__(self) -> None:
        handle = getattr(self, "handle", None)  # none where it could not be made
        if handle is not None:
            handle.stream, handle.workspace, handle.captured = -1, None, []
            self.idle.append(handle)


class _Handles(threading.local):
    def __init__(self) -> None:
        self.of: dict[int, _Lent] = {}


_handles = _Handles()


def prepare() -> _Handle | None:
    """Have cuBLAS ready on the current GPU."""
    library = _library(module_for(device("cuda")))
    gpu = current_gpu()
    lent = _handles.of.get(gpu)
    if lent is None and library is not None:
        lent = _handles.of[gpu] = _Lent(library, gpu)
    return None if lent is None else lent.handle


def fresh_workspaces() -> list[Any]:
    """Have products on the current GPU ask for new workspaces, where a capture begins and ends.

    Returns:
        The workspaces that the capture used, which the graph must keep: its kernels write there.
    """
    handle = prepare()
    if handle is None:
        return []
    handle.stream, handle.workspace = -1, None
    used, handle.captured = handle.captured, []
    return used


def handle_for(xp: Any, like: Array) -> _Handle:
    """This thread's handle on the current GPU, for the current stream."""
    gpu = current_gpu()
    if like.device.id != gpu:
        raise ValueError(
            f"Array device must be same as the current device: array device = {like.device.id}"
            f" while current = {gpu}"
        )
    lent = _handles.of.get(gpu)
    handle = prepare() if lent is None else lent.handle
    assert handle is not None
    stream = xp.cuda.get_current_stream().ptr
    if handle.stream != stream:
        handle.use(xp, stream)
    return handle


def matmul(
    a: Array, b: Array, out: Array | None = None, factor: float = 1.0, exact: bool = False
) -> Array:
    """`factor * np.matmul(a, b)`, by cuBLAS for the floats of a GPU.

    Args:
        a, b: (..., n, k) or (k,), and (..., k, m) or (k,), of one dtype.  The leading dimensions
            broadcast.
        out: (..., n, m), to write to; of 16-bit factors it may have 32.
        exact: never round float32 factors to TF32.
    """
    kind = None if isinstance(a, np.ndarray) else _KINDS.get(a.dtype.char)
    library = None if kind is None else _library(module_of(a))
    if library is None:
        return _by_numpy(a, b, out, factor)
    if a.ndim == 1:
        columns = b if b.ndim > 1 else b[:, None]
        y = matmul(a[None], columns, None, factor, exact)[..., 0, :]
        return y if b.ndim > 1 else y[0]
    if b.ndim == 1:
        return matmul(a, b[:, None], None, factor, exact)[..., 0]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*lead, a.shape[-2], b.shape[-1])
    whole = np.empty_like(a, shape=shape, order="C") if out is None else out
    if not (a.size and b.size and whole.size):
        whole[...] = 0
        return whole
    y, turned, y_ld, y_step = layout(whole, lead)
    if turned or y is not whole:
        whole[...] = matmul(a, b, None, factor, exact)
        return whole
    a, a_turned, a_ld, a_step = layout(a, lead)
    b, b_turned, b_ld, b_step = layout(b, lead)
    double = kind == _KINDS["d"]
    rounds = switches.tf32 and kind == _KINDS["f"] and not exact
    compute = IN_DOUBLE if double else IN_TF32 if rounds else IN_FLOAT
    scalar = ctypes.c_double if double else ctypes.c_float
    one, zero = ctypes.byref(scalar(factor)), ctypes.byref(scalar(0.0))
    y_kind = _KINDS[y.dtype.char]
    handle, count = handle_for(module_of(a), a).value, math.prod(lead)
    sizes = (b_turned, a_turned, shape[-1], shape[-2], a.shape[-1])
    if count == 1:
        _check(library.cublasGemmEx(
            handle, *sizes, one, b.data.ptr, kind, b_ld, a.data.ptr, kind, a_ld, zero,
            y.data.ptr, y_kind, y_ld, compute, _ANY_ALGORITHM))  # fmt: skip
    else:
        _check(library.cublasGemmStridedBatchedEx(
            handle, *sizes, one, b.data.ptr, kind, b_ld, b_step, a.data.ptr, kind, a_ld, a_step,
            zero, y.data.ptr, y_kind, y_ld, y_step, count, compute, _ANY_ALGORITHM))  # fmt: skip
    return y


def _by_numpy(a: Array, b: Array, out: Array | None, factor: float) -> Array:
    if out is None or isinstance(out, np.ndarray):
        y = np.matmul(a, b, out=out)
        return y if factor == 1 else np.multiply(y, factor, out=y)
    out[...] = np.matmul(a, b) * factor
    return out


def layout(x: Array, lead: tuple[int, ...]) -> tuple[Array, bool, int, int]:
    """How matrices lie in memory: the array, or a copy that cuBLAS can read; whether columns come
    first; from one row (or column) to the next; from one matrix to the next, in elements."""
    rows, columns = x.shape[-2:]
    *outer, down, along = [stride // x.itemsize for stride in x.strides]
    step = _step(x.shape[:-2], outer, lead)
    if step is not None and (along == 1 or columns == 1) and (rows == 1 or down >= columns):
        return x, False, max(down if rows > 1 else columns, 1), step
    if step is not None and (down == 1 or rows == 1) and (columns == 1 or along >= rows):
        return x, True, max(along if columns > 1 else rows, 1), step
    whole = x if step is not None else np.broadcast_to(x, (*lead, rows, columns))
    return layout(whole.copy(order="C"), lead)


def _step(shape: tuple[int, ...], strides: list[int], lead: tuple[int, ...]) -> int | None:
    """From one matrix of the batch to the next; None if that is not always the same."""
    strides = [0] * (len(lead) - len(shape)) + [
        0 if n == 1 else stride for n, stride in zip(shape, strides, strict=True)
    ]
    kept = [(n, stride) for n, stride in zip(lead, strides, strict=True) if n != 1]
    for (_, before), (n, after) in zip(kept, kept[1:], strict=False):
        if before != n * after:
            return None
    return kept[-1][1] if kept else 0


def forget() -> None:
    """Drop all handles: the tests exchange CuPy under them."""
    _library.cache_clear()
    _handles.of.clear()
    _idle.clear()
