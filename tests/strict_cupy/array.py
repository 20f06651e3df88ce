"""The stand-in's `cupy.ndarray`, and its functions."""

from __future__ import annotations

import ctypes
import functools
import operator
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_edu.kernels.cuda import checks

from .counters import API, Counters, StrictError, check_dtype, launched, refuse, synchronize

SCALARS = (bool, int, float, complex, np.generic)


def wrap(result: Any) -> Any:
    """A device array around every array and every scalar of NumPy's: CuPy gives 0-d arrays."""
    if isinstance(result, (np.ndarray, np.generic)):
        made = object.__new__(ndarray)
        made.host = np.asarray(result)
        check_dtype(made.host.dtype)
        return made
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*map(wrap, result))
    if isinstance(result, (tuple, list)):
        return type(result)(map(wrap, result))
    return result


def unwrap(value: Any) -> Any:
    """NumPy's array beneath a device array; TypeError for an array of the host."""
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if type(value) in (list, tuple):
        return type(value)(map(unwrap, value))
    return value


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without NumPy's warnings: a GPU does not warn of overflow."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return call


class Flags:
    """The flags that CuPy's arrays have."""

    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.owndata, self.fnc = flags.owndata, flags.fnc

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name.lower())


class Memory:
    """A piece of memory; all arrays that lie in it have the same one."""

    known: weakref.WeakValueDictionary[int, Memory] = weakref.WeakValueDictionary()

    def __init__(self, host: Any) -> None:
        self.host, self.ptr, self.size = host, host.ctypes.data, host.nbytes

    @classmethod
    def of(cls, array: Any) -> Memory:
        while isinstance(array.base, np.ndarray):
            array = array.base
        found = cls.known.get(id(array))
        if found is None:
            found = cls.known[id(array)] = cls(array)
        return found


class MemoryPointer:
    """An address in a piece of memory."""

    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self.ptr, self.offset = mem, mem.ptr + offset, offset

    def __add__(self, more: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.offset + more)


class Device:
    """The one device, with CuPy's interface."""

    compute_capability = "80"

    def __init__(self, id: int | None = None) -> None:
        self.id = int(id or 0)

    def __enter__(self) -> Device:
        if self.id:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def use(self) -> Device:
        return self.__enter__()

    def synchronize(self) -> None:
        synchronize("Device.synchronize")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


class ndarray:  # noqa: N801
    """Memory of the device.  `host` is where the stand-in keeps it."""

    __slots__ = ("host", "rootless", "__weakref__")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]
    host: Any

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None,
        order: Any = "C",
    ) -> None:  # fmt: skip
        self.host = np.empty(shape, check_dtype(dtype), order=order)
        if memptr is not None:
            size = ctypes.c_char * self.host.nbytes
            self.host = np.frombuffer(size.from_address(memptr.ptr), dtype).reshape(shape)

    # ---------------------------------------------------------------- host and device

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct"
            " a NumPy array explicitly."
        )

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True):
        Counters.downloads += 1
        if blocking or Counters.capturing:
            synchronize("get")
        if out is None:
            if not blocking:
                raise StrictError("CuPy's memory for a copy that is not waited for is read late")
            return np.array(self.host, order=order, copy=True)
        if out.dtype != self.host.dtype:
            raise TypeError("dtype mismatch")
        out[...] = self.host
        return out

    def set(self, array: Any, stream: Any = None) -> None:
        if not isinstance(array, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if array.dtype != self.host.dtype:
            raise TypeError(f"{array.dtype} array cannot be set to {self.host.dtype} array")
        if array.shape != self.host.shape:
            raise ValueError("Shape mismatch")
        Counters.uploads += 1
        self.host[...] = array

    def item(self, *where: Any) -> Any:
        synchronize("item")
        return self.host.item(*where)

    def tolist(self) -> Any:
        synchronize("tolist")
        return self.host.tolist()

    def __bool__(self) -> bool:
        synchronize("bool")
        return bool(self.host)

    def __int__(self) -> int:
        synchronize("int")
        return int(self.host)

    def __float__(self) -> float:
        synchronize("float")
        return float(self.host)

    def __complex__(self) -> complex:
        synchronize("complex")
        return complex(self.host)

    def __index__(self) -> int:
        synchronize("index")
        return operator.index(self.host)

    def __repr__(self) -> str:
        return repr(self.host)

    def __reduce__(self) -> Any:
        return wrap, (self.get(),)

    # ---------------------------------------------------------------- what it is

    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    itemsize = property(lambda self: self.host.itemsize)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: Flags(self.host.flags))
    T = property(lambda self: wrap(self.host.T))
    mT = property(lambda self: wrap(self.host.mT))
    real = property(lambda self: wrap(self.host.real))
    imag = property(lambda self: wrap(self.host.imag))

    @property
    def base(self) -> ndarray | None:
        rootless = self.host.base is None or getattr(self, "rootless", False)
        return None if rootless else wrap(self.host.base)

    @property
    def data(self) -> MemoryPointer:
        memory = Memory.of(self.host)
        return MemoryPointer(memory, self.host.ctypes.data - memory.ptr)

    device = property(lambda self: Device(0))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.host.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        self.host.shape = shape

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Iterator[Any]:
        if not self.host.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # ---------------------------------------------------------------- indexing

    def key(self, key: Any) -> Any:
        """The index for NumPy; arrays and lists of the host are uploads, masks make one wait."""
        parts = []
        for part in key if isinstance(key, tuple) else (key,):
            if isinstance(part, ndarray):
                part = part.host
            elif isinstance(part, (np.ndarray, list)):
                raise StrictError("CuPy would copy this index from the host silently")
            if isinstance(part, np.ndarray) and part.dtype.kind == "b":
                synchronize("an index that is a mask")
            parts.append(part)
        if not has_array(parts) and Ellipsis not in parts:
            parts.append(Ellipsis)  # so that integers alone give a 0-d view, as CuPy's do
        return tuple(parts)

    def __getitem__(self, key: Any) -> Any:
        parts = self.key(key)
        result = wrapping(self.host, parts, lambda found: self.host[found])
        launched("take", result, self.host)
        return wrap(result)

    def __setitem__(self, key: Any, value: Any) -> None:
        parts = self.key(key)
        if isinstance(value, ndarray):
            value = value.host
        elif not isinstance(value, SCALARS):
            if not has_array(parts) and np.shape(value) != ():
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            if np.shape(value) != ():
                raise StrictError("CuPy would copy this value from the host silently")
            value = np.asarray(value, dtype=self.host.dtype)
        if has_array(parts) and np.ndim(value) and not has_mask(parts):
            places = np.arange(self.host.size).reshape(self.host.shape)
            chosen = wrapping(self.host, parts, lambda found: places[found])
            if np.unique(chosen).size != chosen.size and not noted():
                raise StrictError("one index twice in an assignment: CuPy's result is undefined")

        def assign(found: Any) -> None:
            with np.errstate(all="ignore"):
                self.host[found] = value

        part = None if has_array(parts) else self.host[parts]
        launched("assign", part, read=(value,))
        wrapping(self.host, parts, assign)

    def fill(self, value: Any) -> None:
        value = value.host if isinstance(value, ndarray) else np.asarray(value)
        if value.shape:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        launched("fill", self.host)
        self.host.fill(value)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
        made = wrap(self.host.diagonal(offset, axis1, axis2))
        made.host.flags.writeable = self.host.flags.writeable
        return made

    def scatter_add(self, key: Any, value: Any) -> None:
        value = unwrap(value)
        launched("scatter_add")
        wrapping(self.host, self.key(key), lambda found: np.add.at(self.host, found, value))

    # ---------------------------------------------------------------- NumPy's protocols

    def __array_ufunc__(self, numpy_ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            if len(kwargs["out"]) != 1:
                raise ValueError("The 'out' parameter must have exactly one array value")
            kwargs["out"] = kwargs["out"][0]
        found = getattr(sys.modules["cupy"], numpy_ufunc.__name__, None)
        if found is not None and method != "__call__":
            found = getattr(found, method, None)
        if not all(isinstance(x, (ndarray, np.ndarray, *SCALARS)) for x in inputs):
            return NotImplemented  # a tuple of indices, given to `np.add.at`
        return NotImplemented if found is None else found(*inputs, **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        module: Any = sys.modules["cupy"]
        for part in function.__module__.split(".")[1:]:
            module = getattr(module, part, None)
        found = getattr(module, function.__name__, None)
        if found is None or not all(issubclass(t, (ndarray, np.ndarray)) for t in types):
            return NotImplemented
        return found(*args, **kwargs)


def has_array(parts: Any) -> bool:
    return any(isinstance(part, np.ndarray) for part in parts)


def has_mask(parts: Any) -> bool:
    return any(isinstance(part, np.ndarray) and part.dtype.kind == "b" for part in parts)


def noted() -> bool:
    """Whether a kernel of ours has noted an index out of range, so that an error will come."""
    return any([bool(note.host[0]) for note in checks._notes.values()])


def wrapping(host: Any, parts: tuple[Any, ...], use: Callable[[Any], Any]) -> Any:
    """`use(parts)`; an index out of range wraps around, as CuPy's does, if it has been noted."""
    try:
        return use(parts)
    except IndexError as error:
        if "out of bounds" not in str(error) or not has_array(parts):
            raise
        if not noted():
            raise StrictError(f"CuPy would wrap this index silently: {error}") from None
    return use(wrapped(host, parts))


def wrapped(host: Any, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """The parts of an index, arrays of integers taken modulo the sizes of their dimensions."""
    taken = [p.ndim if isinstance(p, np.ndarray) and p.dtype.kind == "b" else p is not None
             for p in parts if p is not Ellipsis]  # fmt: skip
    found, at = [], 0
    for part in parts:
        if part is Ellipsis:
            at += host.ndim - sum(taken)
        elif isinstance(part, np.ndarray) and part.dtype.kind == "b":
            at += part.ndim
        elif part is not None:
            part = part % host.shape[at] if isinstance(part, np.ndarray) else part
            at += 1
        found.append(part)
    return tuple(found)


def _method(name: str) -> Callable[..., Any]:
    numpy_method = quiet(getattr(np.ndarray, name))

    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        refuse(name, kwargs)
        out = kwargs.get("out")
        if out is not None and not isinstance(out, ndarray):
            raise TypeError("out must be a cupy.ndarray")
        kwargs = {k: unwrap(v) for k, v in kwargs.items()}
        if name == "sum" and self.host.itemsize == 2 and self.host.dtype.kind not in "iub":
            wide = wrap(self.host.astype(np.float32))  # CuPy adds up 16 bits in float32
            return method(wide, *args, **kwargs).astype(kwargs.get("dtype") or self.host.dtype)
        result = numpy_method(self.host, *map(unwrap, args), **kwargs)
        source = () if out is not None else (self.host,)
        launched(name, result, *source, read=(self.host,))
        return wrap(result) if out is None else out

    method.__name__ = name
    return method


for _name in API["ndarray"]:
    if not hasattr(ndarray, _name) and callable(getattr(np.ndarray, _name, None)):
        setattr(ndarray, _name, _method(_name))


def _operators(name: str) -> tuple[Callable[..., Any], ...]:
    def apply(a: Any, b: Any, **kwargs: Any) -> Any:
        if not all(isinstance(x, (ndarray, *SCALARS, np.ndarray, list, tuple)) for x in (a, b)):
            return NotImplemented
        return getattr(sys.modules["cupy"], name)(a, b, **kwargs)

    def forward(self: ndarray, other: Any) -> Any:
        return apply(self, other)

    def reflected(self: ndarray, other: Any) -> Any:
        return apply(other, self)

    def in_place(self: ndarray, other: Any) -> Any:
        return apply(self, other, out=self)

    return forward, reflected, in_place


_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide",
    "floordiv": "floor_divide", "mod": "remainder", "pow": "power", "matmul": "matmul",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "left_shift",
    "rshift": "right_shift",
}  # fmt: skip
_COMPARING = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
              "eq": "equal", "ne": "not_equal"}  # fmt: skip
_UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}

for _name, _function in _BINARY.items():
    for _prefix, _operator in zip(("", "r", "i"), _operators(_function), strict=True):
        setattr(ndarray, f"__{_prefix}{_name}__", _operator)
for _name, _function in _COMPARING.items():
    setattr(ndarray, f"__{_name}__", _operators(_function)[0])
for _name, _function in _UNARY.items():

    def _unary(self: ndarray, name: str = _function) -> Any:
        return getattr(sys.modules["cupy"], name)(self)

    setattr(ndarray, f"__{_name}__", _unary)
