"""Products that add a bias, or sum up its gradient, on the way: cuBLASLt, called directly.

It comes with cuBLAS.  What it does not offer for some sizes, dtypes or versions it says when asked
for an algorithm, once for each kind of call; `None` then sends the caller to products.py.

Source: NVIDIA, cuBLAS Library, "Using the cuBLASLt API", `cublasLtMatmul`, `cublasLtEpilogue_t`.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from typing import Any

import numpy as np

from tinygrad_edu.backend import module_of, switches
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda import products

_TRANSPOSES, _EPILOGUE, _BIAS_PLACE, _BIAS_KIND = (3, 4), 7, 8, 26
"""Numbers of `cublasLtMatmulDescAttributes_t`: of the first and the second factor, and so on."""
_ADD_BIAS, _SUM_SECOND = 4, 512
"""The epilogues BIAS and BGRADB of `cublasLtEpilogue_t`."""
_MOST_WORKSPACE, _ALIGNMENTS = 1, (5, 6, 7, 8)
"""Numbers of `cublasLtMatmulPreferenceAttributes_t`."""
_KINDS = {"f": 0, "e": 2, "E": 14}
_NOT_SUPPORTED = 15
_PLANS = 1024
"""How many kinds of calls a thread remembers."""


class _Heuristic(ctypes.Structure):
    """`cublasLtMatmulHeuristicResult_t`."""

    _fields_ = [
        ("algorithm", ctypes.c_uint64 * 8), ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int), ("waves", ctypes.c_float), ("reserved", ctypes.c_int * 4),
    ]  # fmt: skip


def open_library(major: int) -> Any:
    """cuBLASLt of that version of CUDA, once CuPy has loaded cuBLAS, which needs it."""
    windows = sys.platform == "win32"
    return ctypes.CDLL(f"cublasLt64_{major}.dll" if windows else f"libcublasLt.so.{major}")


@functools.cache
def _library(xp: Any) -> Any:
    """cuBLASLt, or None where it, or one of its functions, cannot be had."""
    if products.prepare() is None:
        return None
    p, n = ctypes.c_void_p, ctypes.c_size_t
    try:
        found = open_library(xp.cuda.runtime.runtimeGetVersion() // 1000)
        found.cublasLtMatmulDescCreate.argtypes = [p, ctypes.c_int, ctypes.c_int]
        found.cublasLtMatmulDescSetAttribute.argtypes = [p, ctypes.c_int, p, n]
        found.cublasLtMatrixLayoutCreate.argtypes = [
            p, ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64,
        ]  # fmt: skip
        found.cublasLtMatmulPreferenceCreate.argtypes = [p]
        found.cublasLtMatmulPreferenceSetAttribute.argtypes = [p, ctypes.c_int, p, n]
        found.cublasLtMatmulPreferenceDestroy.argtypes = [p]
        found.cublasLtMatmulDescDestroy.argtypes = found.cublasLtMatrixLayoutDestroy.argtypes = [p]
        found.cublasLtMatmulAlgoGetHeuristic.argtypes = [*[p] * 7, ctypes.c_int, p, p]
        found.cublasLtMatmul.argtypes = [*[p] * 14, n, p]
    except (AttributeError, OSError):
        return None
    return found


class _Plan:
    """One kind of call: what is multiplied how, and the algorithm for it; None if there is none."""

    def __init__(self, library: Any, handle: Any, key: tuple[Any, ...], bias: int) -> None:
        kind, compute, epilogue, sizes, turned, steps, alignments = key
        self.library, self.handle, self.call = library, handle.value, ctypes.c_void_p()
        _check(library.cublasLtMatmulDescCreate(ctypes.byref(self.call), compute, _KINDS["f"]))
        for name, flag in zip(_TRANSPOSES, turned, strict=True):
            self.set(name, ctypes.c_int32(flag))
        self.set(_EPILOGUE, ctypes.c_uint32(epilogue))
        self.set(_BIAS_KIND, ctypes.c_int32(kind))
        self.set(_BIAS_PLACE, ctypes.c_void_p(bias))
        m, n, k = sizes
        shapes = [(k, m) if turned[0] else (m, k), (n, k) if turned[1] else (k, n), (m, n)]
        self.layouts = []
        for (rows, columns), step in zip(shapes, steps, strict=True):
            layout = ctypes.c_void_p()
            _check(library.cublasLtMatrixLayoutCreate(
                ctypes.byref(layout), kind, rows, columns, step))  # fmt: skip
            self.layouts.append(layout)
        self.algorithm = self._ask(alignments, handle.workspace.nbytes)

    def set(self, name: int, value: Any) -> None:
        place, size = ctypes.byref(value), ctypes.sizeof(value)
        _check(self.library.cublasLtMatmulDescSetAttribute(self.call, name, place, size))

    def _ask(self, alignments: tuple[int, ...], workspace: int) -> Any:
        """The algorithm that cuBLASLt thinks the fastest."""
        library, wish = self.library, ctypes.c_void_p()
        _check(library.cublasLtMatmulPreferenceCreate(ctypes.byref(wish)))
        wishes: list[tuple[int, Any]] = [(_MOST_WORKSPACE, ctypes.c_uint64(workspace))]
        wishes += [(i, ctypes.c_uint32(n)) for i, n in zip(_ALIGNMENTS, alignments, strict=True)]
        for name, value in wishes:
            place, size = ctypes.byref(value), ctypes.sizeof(value)
            _check(library.cublasLtMatmulPreferenceSetAttribute(wish, name, place, size))
        found, count = _Heuristic(), ctypes.c_int()
        a, b, y = self.layouts
        status = library.cublasLtMatmulAlgoGetHeuristic(
            self.handle, self.call, a, b, y, y, wish, 1, ctypes.byref(found),
            ctypes.byref(count),
        )  # fmt: skip
        library.cublasLtMatmulPreferenceDestroy(wish)
        return None if status or not count.value or found.state else found

    def __del__(self) -> None:
        for layout in getattr(self, "layouts", ()):
            self.library.cublasLtMatrixLayoutDestroy(layout)
        self.library.cublasLtMatmulDescDestroy(self.call)


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"CUDA error: cuBLASLt returned status {status}")


class _OfThread(threading.local):
    """What a thread has asked for: a call in use must not be changed by another."""

    def __init__(self) -> None:
        self.plans: dict[Any, _Plan] = {}
        self.sums: tuple[Array, Array] | None = None


_mine = _OfThread()


def _alignment(place: int) -> int:
    """The largest power of two, up to 256, that divides an address."""
    return min(place & -place, 256)


def _product(y: Array, a: Array, b: Array, epilogue: int, bias: Array) -> bool:
    """`y = a @ b` and the epilogue; False if cuBLASLt cannot do it.

    As in products.py, what it is told to compute is yᵀ = bᵀ aᵀ: its first factor is `b`.
    """
    xp = module_of(y)
    library = _library(xp)
    if library is None:
        return False
    a, a_turned, a_step, _ = products.layout(a, ())
    b, b_turned, b_step, _ = products.layout(b, ())
    handle, kind = products.handle_for(xp, y), _KINDS[y.dtype.char]
    compute = products.IN_TF32 if switches.tf32 and kind == 0 else products.IN_FLOAT
    places = [x.data.ptr for x in (b, a, y, y)]
    key = (
        kind, compute, epilogue, (y.shape[1], y.shape[0], a.shape[1]), (b_turned, a_turned),
        (b_step, a_step, y.shape[1]), tuple(map(_alignment, places)),
    )  # fmt: skip
    named = (handle.value.value, _alignment(bias.data.ptr), key)
    plan = _mine.plans.get(named)
    if plan is None:
        if len(_mine.plans) >= _PLANS:
            _mine.plans.clear()
        plan = _Plan(library, handle, key, bias.data.ptr)
        _mine.plans[named] = plan
    if plan.algorithm is None:
        return False
    plan.set(_BIAS_PLACE, ctypes.c_void_p(bias.data.ptr))
    one, zero = ctypes.byref(ctypes.c_float(1)), ctypes.byref(ctypes.c_float(0))
    first, second, out = plan.layouts
    status = library.cublasLtMatmul(
        handle.value, plan.call, one, places[0], first, places[1], second, zero, places[2], out,
        places[2], out, ctypes.byref(plan.algorithm), handle.workspace.data.ptr,
        handle.workspace.nbytes, handle.stream,
    )  # fmt: skip
    if status == _NOT_SUPPORTED:
        plan.algorithm = None
        return False
    _check(status)
    return True


def _fit(*arrays: Array) -> bool:
    first = arrays[0]
    return (
        not isinstance(first, np.ndarray)
        and first.dtype.char in _KINDS
        and all([x.size and x.dtype == first.dtype for x in arrays])
        and hasattr(module_of(first), "RawModule")
    )


def linear(x: Array, weight: Array, bias: Array) -> Array | None:
    """`x @ weight.T + bias`, of shapes (N, I), (O, I) and (O,), rounded once."""
    if not (_fit(x, weight, bias) and bias.flags.c_contiguous):
        return None
    y = np.empty_like(x, shape=(len(x), len(weight)), order="C")
    return y if _product(y, x, weight.T, _ADD_BIAS, bias) else None


def weight_gradient(g: Array, x: Array) -> Array | None:
    """`g.T @ x`, of shapes (N, O) and (N, I); the sums of g's columns are kept for `sums`."""
    if not _fit(g, x):
        return None
    y = np.empty_like(x, shape=(g.shape[1], x.shape[1]), order="C")
    bias = np.empty_like(g, shape=(g.shape[1],))
    if not _product(y, g.T, x, _SUM_SECOND, bias):
        return None
    _mine.sums = g, bias
    return y


def sums(g: Array) -> Array | None:
    """The sums of the columns of `g`, if the last `weight_gradient` of this thread made them."""
    last, _mine.sums = _mine.sums, None
    return last[1] if last is not None and same_place(last[0], g) else None


def same_place(a: Array, b: Array) -> bool:
    """Whether two arrays that are both alive are the same numbers in memory."""
    return bool(a.data.ptr == b.data.ptr and a.shape == b.shape and a.strides == b.strides)


def forget() -> None:
    """Drop what has been asked for: the tests exchange CuPy under it."""
    _library.cache_clear()
    _mine.plans.clear()
    _mine.sums = None
