"""CuPy's ufuncs and functions, computed by NumPy under CuPy's restrictions."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .array import SCALARS, ndarray, noted, quiet, unwrap, wrap, wrapping
from .counters import (
    Counters,
    CUDARuntimeError,
    StrictError,
    check_dtype,
    launched,
    refuse,
    synchronize,
)

_INTEGERS = ("int32", "uint32")
_AT = {
    "add": (*_INTEGERS, "uint64", "float16", "float32", "float64"),
    "subtract": _INTEGERS,
    "maximum": (*_INTEGERS, "int64", "uint64", "float32", "float64"),
    "minimum": (*_INTEGERS, "int64", "uint64", "float32", "float64"),
    "bitwise_and": (*_INTEGERS, "int64", "uint64"),
    "bitwise_or": (*_INTEGERS, "int64", "uint64"),
    "bitwise_xor": (*_INTEGERS, "int64", "uint64"),
}
"""The element types of which `ufunc.at` exists."""
_CHECKED = {f"linalg.{name}" for name in ("inv", "solve", "cholesky", "eigh", "eigvalsh", "svd",
                                          "qr", "lstsq", "pinv", "matrix_rank")}  # fmt: skip
"""What tells of a failure only within `cupyx.errstate(linalg="raise")`."""
_BLAS = {"matmul", "einsum", "tensordot", "inner", "outer"}
_UPLOADS = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}


class _Linalg(threading.local):
    """What `cupyx.errstate(linalg=...)` sets, in each thread for itself."""

    state = "ignore"


_linalg = _Linalg()


@contextlib.contextmanager
def errstate(*, linalg: str | None = None) -> Iterator[None]:
    """CuPy's; other states than that of `linalg` it does not know."""
    before, _linalg.state = _linalg.state, linalg or _linalg.state
    try:
        yield
    finally:
        _linalg.state = before


class ufunc:  # noqa: N801
    """A ufunc of CuPy: no `where=`, few methods, nothing of the host but scalars."""

    def __init__(self, numpy_ufunc: Any) -> None:
        self.numpy = numpy_ufunc
        self.compute = quiet(numpy_ufunc)
        self.__name__ = numpy_ufunc.__name__
        self.name = f"cupy_{numpy_ufunc.__name__}"
        self.nin, self.nout, self.nargs = numpy_ufunc.nin, numpy_ufunc.nout, numpy_ufunc.nargs
        self.types = numpy_ufunc.types

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bad = set(kwargs) - {"out", "dtype", "casting"}
        if bad:
            raise TypeError(f"Wrong arguments {sorted(bad)}")
        out = kwargs.pop("out", None)
        for x in args:
            if not isinstance(x, (ndarray, *SCALARS)):
                raise TypeError(f"Unsupported type {type(x)}")
        hosts = [x.host if isinstance(x, ndarray) else x for x in args]
        if self.__name__ == "matmul":
            no_capture("matmul")
        if out is None:
            result = self.compute(*hosts, **kwargs)
            launched(self.__name__, result, read=hosts)
            return wrap(result)
        outs = out if isinstance(out, tuple) else (out,)
        if not all(isinstance(o, ndarray) for o in outs):
            raise TypeError("Output arguments type must be cupy.ndarray")
        self.compute(*hosts, out=tuple([o.host for o in outs]), **kwargs)
        launched(self.__name__, outs[0].host, read=hosts)
        return outs[0] if self.nout == 1 else outs

    def at(self, a: Any, index: Any, b: Any = None) -> None:
        if self.__name__ not in _AT:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        if a.dtype.name not in _AT[self.__name__]:
            known = ", ".join(_AT[self.__name__])
            raise TypeError(f"cupy.{self.__name__}.at only supports {known} as data type")
        b = unwrap(b)
        launched(f"{self.__name__}.at")
        wrapping(a.host, a.key(index), lambda found: self.numpy.at(a.host, found, b))

    def _only(self, method: str, *names: str) -> Callable[..., Any]:
        if self.__name__ not in names:
            raise NotImplementedError(f"`{self.name}.{method}` is not supported yet")
        launched(f"{self.__name__}.{method}")
        return quiet(getattr(self.numpy, method))

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None,
               keepdims: bool = False) -> Any:  # fmt: skip
        reduce = self._only("reduce", "add", "multiply")
        return wrap(reduce(unwrap(array), axis, dtype, unwrap(out), keepdims))

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        accumulate = self._only("accumulate", "add", "multiply")
        return wrap(accumulate(unwrap(array), axis, dtype, unwrap(out)))

    def reduceat(self, array: Any, indices: Any, axis: int = 0, dtype: Any = None,
                 out: Any = None) -> Any:  # fmt: skip
        reduceat = self._only("reduceat", "add")
        return wrap(reduceat(unwrap(array), unwrap(indices), axis, dtype, unwrap(out)))

    def outer(self, a: Any, b: Any, **kwargs: Any) -> Any:
        return wrap(self.numpy.outer(unwrap(a), unwrap(b), **kwargs))


def no_capture(name: str) -> None:
    """CuPy calls no library of CUDA's while a graph is captured."""
    if Counters.capturing and (name in _BLAS or name.startswith("linalg.")):
        raise NotImplementedError(
            "calling cuBLAS API during stream capture is currently unsupported"
        )


def function(name: str, numpy_function: Callable[..., Any]) -> Callable[..., Any]:
    """CuPy's function of that name; `name` is "linalg.svd" for one of a submodule."""
    short = name.rpartition(".")[2]
    compute = quiet(numpy_function)

    @functools.wraps(numpy_function)
    def call(*args: Any, **kwargs: Any) -> Any:
        refuse(name, kwargs)
        no_capture(name)
        if kwargs.get("dtype") is not None:
            check_dtype(kwargs["dtype"])
        if short.endswith("_like") and not kwargs.get("shape", True):
            raise StrictError(f"{name}: CuPy takes the shape {kwargs['shape']} for none given")
        if short == "isin" and not all(isinstance(x, ndarray) for x in args[:2]):
            raise AttributeError("'int' object has no attribute 'ravel'")
        if short in _UPLOADS:
            return _upload(numpy_function, args, kwargs)
        out = kwargs.get("out")
        if out is not None and not isinstance(out, ndarray):
            raise TypeError("out must be a cupy.ndarray")
        kwargs = {k: unwrap(v) for k, v in kwargs.items()}
        args = tuple([unwrap(a) for a in args])
        if name in _CHECKED:
            _check_solve(name, args)
        try:
            result = compute(*args, **kwargs)
        except np.linalg.LinAlgError as error:
            if name in _CHECKED and "square" not in str(error) and _linalg.state != "raise":
                raise StrictError(f"{name}: CuPy returns numbers though {error}") from None
            raise
        except IndexError as error:  # of take and its like
            if "out of bounds" not in str(error):
                raise
            if not noted() or short != "take":
                raise StrictError(f"CuPy would wrap this index silently: {error}") from None
            result = compute(*args, mode="wrap", **kwargs)
        if not short.startswith("empty"):
            launched(name, result, *(args[0] if args and type(args[0]) in (list, tuple) else args))
        return wrap(result) if out is None else out

    call.__module__ = "cupy"
    return call


def _check_solve(name: str, args: Any) -> None:
    """CuPy's `solve` does not broadcast the leading dimensions of matrices."""
    if name == "linalg.solve" and args[1].ndim > 1 and args[0].shape[:-1] != args[1].shape[:-1]:
        raise ValueError(
            "a must have (..., M, M) shape and b must have (..., M, K) for multidimensional b"
        )


def _upload(numpy_function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """`asarray` and its like: they take arrays of the host, and copy those."""
    source = args[0]
    if isinstance(source, ndarray):
        result = numpy_function(source.host, *args[1:], **kwargs)
        launched("copy", result, source.host)
        return wrap(result)
    Counters.uploads += 1
    if kwargs.pop("blocking", False):
        synchronize("a copy of pinned memory")
    if Counters.capturing:
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: a copy from the host")
    if not Counters.may_synchronize:
        raise StrictError("a copy from the host: the host waits, and no graph can be captured")
    return wrap(np.array(numpy_function(_hosts(source), *args[1:], **kwargs)))


def _hosts(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_hosts(v) for v in value]
    return value.host if isinstance(value, ndarray) else value
