"""Element types and torch's promotion rules.

A `dtype` names an element type the way torch does (`float32`, `int64`); beneath it lies NumPy's own
dtype, which is what arrays carry.  `promote` decides the common type of the operands of an
arithmetic operation.  torch's rule differs from NumPy's in three ways: an integer never widens a
float (int64 with float32 is float32), a 0-d tensor never widens a tensor that has dimensions unless
it is of a higher category (bool < integer < float), and a Python number never widens a tensor at
all, for the same exception.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A numpy.ndarray or a cupy.ndarray: what the engine computes on."""

NumpyDtype: TypeAlias = np.dtype[Any]


class dtype:
    """The type of a tensor's elements, such as `float32`.

    >>> import tinygrad_edu as torch
    >>> torch.float32, torch.float32.is_floating_point, torch.int64.itemsize
    (torch.float32, True, 8)

    Attributes:
        scalar_type, c_name: what torch's messages call it: `Float`; in C++, `float`.
    """

    __slots__ = (
        "name", "itemsize", "scalar_type", "c_name", "is_floating_point", "is_complex", "is_signed",
        "_numpy",
    )  # fmt: skip
    _by_name: dict[str, dtype] = {}

    def __init__(self, name: str, itemsize: int, scalar_type: str, c_name: str) -> None:
        self.name, self.itemsize = name, itemsize
        self.scalar_type, self.c_name = scalar_type, c_name
        self.is_floating_point = "float" in name
        self.is_complex = name.startswith("complex")
        self.is_signed = name != "bool" and not name.startswith("uint")
        later = "float16" in name or self.is_complex
        self._numpy: NumpyDtype | None = None if later else np.dtype(name)
        dtype._by_name[name] = self

    @property
    def numpy(self) -> NumpyDtype:
        """The NumPy dtype that stores it; bfloat16's comes from the package ml_dtypes.

        Raises:
            TypeError: it is complex: such a dtype is a name that can be compared and printed.
        """
        if self.is_complex:
            raise TypeError(f"complex numbers are not supported: no tensor has dtype {self!r}")
        if self._numpy is None:
            self._numpy = np.dtype(np.float16) if self.name == "float16" else _bfloat16()
            _FROM_NUMPY[self._numpy] = self
            for tell in _half_met:
                tell()
        return self._numpy

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_by_name, (self.name,))


def _by_name(name: str) -> dtype:
    return dtype._by_name[name]


_half_met: list[Callable[[], None]] = []


def when_half_is_met(tell: Callable[[], None]) -> None:
    """Call `tell` when a 16-bit float is first looked up: no array of it is ours before."""
    _half_met.append(tell)


def _bfloat16() -> NumpyDtype:
    try:
        import ml_dtypes
    except ImportError:
        raise ImportError(
            "bfloat16 needs the package ml_dtypes: pip install 'tinygrad-edu[bf16]'"
        ) from None
    found: NumpyDtype = np.dtype(ml_dtypes.bfloat16)
    return found


bool_ = dtype("bool", 1, "Bool", "bool")
uint8 = dtype("uint8", 1, "Byte", "unsigned char")
uint16 = dtype("uint16", 2, "UInt16", "unsigned short")
uint32 = dtype("uint32", 4, "UInt32", "unsigned int")
uint64 = dtype("uint64", 8, "UInt64", "unsigned long")
int8 = dtype("int8", 1, "Char", "signed char")
int16 = short = dtype("int16", 2, "Short", "short")
int32 = int_ = dtype("int32", 4, "Int", "int")
int64 = long = dtype("int64", 8, "Long", "long")
float16 = half = dtype("float16", 2, "Half", "c10::Half")
bfloat16 = dtype("bfloat16", 2, "BFloat16", "c10::BFloat16")
float32 = float_ = dtype("float32", 4, "Float", "float")
float64 = double = dtype("float64", 8, "Double", "double")
complex32 = chalf = dtype("complex32", 4, "ComplexHalf", "c10::complex<c10::Half>")
complex64 = cfloat = dtype("complex64", 8, "ComplexFloat", "c10::complex<float>")
complex128 = cdouble = dtype("complex128", 16, "ComplexDouble", "c10::complex<double>")

_FROM_NUMPY: dict[NumpyDtype, dtype] = {
    d._numpy: d for d in dtype._by_name.values() if d._numpy is not None
}
_PYTHON = {bool: bool_, int: int64, float: float64}


def from_numpy(numpy_dtype: NumpyDtype) -> dtype:
    """The `dtype` whose elements NumPy stores as `numpy_dtype`.

    Raises:
        TypeError: complex, string, object and other types have no counterpart here.
    """
    found = _FROM_NUMPY.get(numpy_dtype)
    if found is None and numpy_dtype.name in ("float16", "bfloat16"):
        dtype._by_name[numpy_dtype.name].numpy  # noqa: B018  (looking registers it)
        found = _FROM_NUMPY.get(numpy_dtype)
    if found is None and numpy_dtype.newbyteorder("=") in _FROM_NUMPY:
        raise ValueError(
            f"given an array of byte order {numpy_dtype.str!r}; only native byte order is supported"
        )
    if found is None and numpy_dtype.kind == "c":
        raise TypeError(f"complex numbers are not supported: an array of type numpy.{numpy_dtype}")
    if found is None:
        raise TypeError(
            f"can't convert an array of type numpy.{numpy_dtype}; the supported types are: float64,"
            " float32, float16, bfloat16, int64, int32, int16, int8, uint64, uint32, uint16, uint8"
            " and bool"
        )
    return found


def scalar_type_name(given: object) -> str:
    """How torch's messages call a dtype, ours or NumPy's: `Float`, `Long`."""
    found = dtype._by_name.get(getattr(given, "name", ""))
    return str(given) if found is None else found.scalar_type


def to_numpy(given: object) -> NumpyDtype:
    """The NumPy dtype for a `dtype`, a Python type, or a NumPy dtype."""
    if isinstance(given, dtype):
        return given.numpy
    if given in _PYTHON:
        return _PYTHON[given].numpy
    if isinstance(given, np.dtype) or (isinstance(given, type) and issubclass(given, np.generic)):
        return from_numpy(np.dtype(given)).numpy
    if given is complex or getattr(given, "kind", "") == "c":
        raise TypeError(f"complex numbers are not supported: {given!r}")
    raise TypeError(f"argument 'dtype' must be a dtype such as float32, not {given!r}")


_default: NumpyDtype = np.dtype(np.float32)


def get_default_dtype() -> dtype:
    """The dtype of floats made from Python numbers; float32 unless set otherwise.

    >>> import tinygrad_edu as torch
    >>> torch.get_default_dtype()
    torch.float32
    """
    return from_numpy(_default)


def set_default_dtype(d: dtype) -> None:
    """Make `d` the dtype of floats made from Python numbers.

    Raises:
        TypeError: `d` is not a floating-point dtype.

    >>> import tinygrad_edu as torch
    >>> torch.set_default_dtype(torch.float64); torch.tensor([0.5]).dtype
    torch.float64
    >>> torch.set_default_dtype(torch.float32)
    """
    global _default
    if not (isinstance(d, dtype) and d.is_floating_point):
        raise TypeError(f"only floating-point types are supported as the default type, not {d!r}")
    _default = d.numpy
    _common.clear()


def default() -> NumpyDtype:
    """NumPy's dtype for the default float."""
    return _default


def is_floating(numpy_dtype: NumpyDtype) -> bool:
    """Whether elements are floats (ml_dtypes' bfloat16 has NumPy kind "V", not "f")."""
    kind = numpy_dtype.kind
    return kind == "f" or (kind == "V" and numpy_dtype.name == "bfloat16")


def is_half(numpy_dtype: NumpyDtype) -> bool:
    """Whether elements are floats of 16 bits: float16 or bfloat16."""
    return numpy_dtype.itemsize == 2 and is_floating(numpy_dtype)


def sortable(x: Array) -> Array:
    """`x`, bfloat16 as float32: NumPy puts nan last in its own types only."""
    return x.astype(np.float32) if x.dtype.kind == "V" else x


def floating(x: Array) -> Array:
    """`x` itself if it holds floats, else `x` as default floats: what exp and sqrt compute on."""
    return x if x.dtype.kind == "f" or is_floating(x.dtype) else x.astype(_default)


def _category(numpy_dtype: NumpyDtype) -> int:
    """0 for bool, 1 for integers, 2 for floats."""
    return 0 if numpy_dtype.kind == "b" else 1 if numpy_dtype.kind in "iu" else 2


def promote_types(a: NumpyDtype, b: NumpyDtype) -> NumpyDtype:
    """The smallest dtype for elements of two tensors of equal rank in the rules.

    Raises:
        RuntimeError: uint16, uint32 or uint64 meets another integer dtype.
    """
    if a == b:
        return a
    unsigned = [d for d in (a, b) if d.kind == "u" and d.itemsize > 1]
    if unsigned and 2 not in (_category(a), _category(b)):
        raise RuntimeError(
            "Promotion for uint16, uint32, uint64 types is not supported, attempted to promote"
            f" {a} and {b}"
        )
    if _category(a) != _category(b):
        return a if _category(a) > _category(b) else b
    if "bfloat16" in (a.name, b.name):
        return np.dtype(np.float64 if np.float64 in (a, b) else np.float32)
    return np.promote_types(a, b)


def _scalar_dtype(value: object) -> NumpyDtype:
    if isinstance(value, (bool, np.bool_)):
        return bool_.numpy
    if isinstance(value, (int, np.integer)):
        return int64.numpy
    if isinstance(value, (float, np.floating)):
        return _default
    if isinstance(value, (complex, np.complexfloating)):
        raise TypeError("complex numbers are not supported")
    raise TypeError(f"expected a Tensor or a number, not {type(value).__name__}")


def result_type(*operands: Any) -> NumpyDtype:
    """torch's common dtype of arrays and Python numbers.

    Operands stand in three ranks: arrays with dimensions, 0-d arrays, numbers.  A lower rank
    counts only if its category (bool < integer < float) is higher than all ranks above it.
    """
    ranks: list[NumpyDtype | None] = [None, None, None]
    # Among NumPy scalars alone, as rules meet them in the gradients of 0-d tensors, they are 0-d.
    alone = all([isinstance(x, (np.generic, int, float)) for x in operands])
    for operand in operands:
        if hasattr(operand, "ndim") and (alone or not isinstance(operand, np.generic)):
            rank, found = (0 if operand.ndim else 1), operand.dtype
        else:
            rank, found = 2, _scalar_dtype(operand)
        seen = ranks[rank]
        ranks[rank] = found if seen is None else promote_types(seen, found)
    result: NumpyDtype | None = None
    for ranked in ranks:
        if ranked is None:
            continue
        if result is None or _category(ranked) > _category(result):
            result = ranked
    assert result is not None
    return result


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether values may be cast without leaving their category for a lower one.

    >>> import tinygrad_edu as torch
    >>> torch.can_cast(torch.int64, torch.float32), torch.can_cast(torch.float32, torch.int64)
    (True, False)
    """
    return _category(to.numpy) >= _category(from_.numpy)


_common: dict[Any, NumpyDtype] = {}
"""Common dtype by the operands' dtypes and ranks: promotion is looked up, not worked out twice."""


def promote(a: Any, b: Any) -> tuple[Any, Any]:
    """The two operands, arrays cast to their common dtype; numbers are left to NumPy.

    >>> a, b = promote(np.ones(3, np.float32), np.ones(3, np.int64))
    >>> a.dtype, b.dtype
    (dtype('float32'), dtype('float32'))
    """
    kind = b.__class__
    if kind is float or kind is int:
        if a.dtype.kind == "f":
            return a, b
    elif a.__class__ is kind and a.dtype is b.dtype:
        return a, b
    return promote_to(common(a, b), a, b)


def common(a: object, b: object) -> NumpyDtype:
    """`result_type` of two operands, remembered."""
    key = (
        getattr(a, "dtype", a.__class__), getattr(a, "ndim", -1) == 0,
        getattr(b, "dtype", b.__class__), getattr(b, "ndim", -1) == 0,
    )  # fmt: skip
    found = _common.get(key)
    if found is None:
        found = _common[key] = result_type(a, b)
    return found


def promote_to(target: NumpyDtype, *operands: object) -> tuple[Any, ...]:
    """The operands as `target`: arrays cast, Python integers that it cannot hold wrapped around.

    Raises:
        OverflowError: an integer of more than 64 bits.

    >>> promote_to(np.dtype(np.uint8), -1, 300)
    (255, 44)
    """
    return tuple([_as(target, operand) for operand in operands])


def _as(target: NumpyDtype, operand: Any) -> Any:
    if hasattr(operand, "astype"):
        return operand if operand.dtype == target else operand.astype(target)
    if target.kind == "V":  # bfloat16, with which NumPy would compute in float64
        return target.type(float(operand))
    if operand.__class__ is int and target.kind in "iu":
        _check_64_bits(operand)
        count = 1 << 8 * target.itemsize
        low = -count // 2 if target.kind == "i" else 0
        return (operand - low) % count + low
    return operand


def _check_64_bits(value: int) -> None:
    if not -(2**63) <= value < 2**64:
        large = "int too big to convert"
        raise OverflowError(large if value > 0 else "can't convert negative int to unsigned")


_C_NAMES = {"int32": "int", "float32": "float", "float16": "c10::Half", "bfloat16": "c10::BFloat16"}


def fitting(target: NumpyDtype, value: Any, name: str | None = None) -> Any:
    """A number that is to be written into elements of that dtype, as one of them.

    Integers drop a fraction; unsigned ones take negative integers as their complement.

    Args:
        name: of the dtype, for the message; what C++ calls it, unless given.

    Raises:
        RuntimeError: the dtype cannot hold it.
        OverflowError: an integer of more than 64 bits.

    >>> fitting(np.dtype(np.int8), 2.7), fitting(np.dtype(np.uint8), -1)
    (2, 255)
    """
    if value.__class__ is float and target.kind == "f" and -65504.0 <= value <= 65504.0:
        return value  # fits all of them
    value = value.item() if isinstance(value, np.generic) else value
    whole = value.__class__ is int
    if whole:
        _check_64_bits(value)
    if target.kind == "b":
        return bool(value)
    if target.kind in "iu":
        low, high = _limits(target)
        if whole and low == 0 and -high <= value < 0:
            return value + high + 1
        if low <= value <= high:  # nan is not
            return int(value)
    elif target.itemsize == 8 or not math.isfinite(value) or abs(value) <= _limits(target)[1]:
        return float(value)
    name = name or _C_NAMES.get(target.name, f"{target.name}_t")
    raise RuntimeError(f"value cannot be converted to type {name} without overflow")


@functools.cache
def _limits(target: NumpyDtype) -> tuple[Any, Any]:
    """The lowest and the largest number of a dtype."""
    kind = from_numpy(target)
    info: Any = finfo(kind) if kind.is_floating_point else iinfo(kind)
    return info.min, info.max


class _Info:
    """What `iinfo` and `finfo` share: two of the same dtype are equal."""

    _shown: tuple[str, ...]

    def __init__(self, type: dtype) -> None:
        if not isinstance(type, dtype):
            found = type.__class__.__name__
            raise TypeError(
                f"{self.__class__.__name__}(): argument 'type' (position 1) must be torch.dtype,"
                f" not {found}"
            )
        self.dtype = type.name

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name):g}" for name in self._shown]
        return f"{self.__class__.__name__}({', '.join(shown)}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Info) or other.__class__ is not self.__class__:
            return False
        return other.dtype == self.dtype

    def __hash__(self) -> int:
        return hash((self.__class__, self.dtype))


class iinfo(_Info):
    """The range of an integer dtype: `min`, `max`, `bits`.

    Raises:
        TypeError: the dtype holds no integers.

    >>> import tinygrad_edu as torch
    >>> torch.iinfo(torch.uint8).max
    255
    """

    _shown = ("min", "max")

    def __init__(self, type: dtype) -> None:
        super().__init__(type)
        if type.is_floating_point or type is bool_:
            raise TypeError(
                f"torch.iinfo() requires an integer input type, not {type!r}: floats have"
                " torch.finfo"
            )
        info = np.iinfo(type.numpy)
        self.min, self.max, self.bits = int(info.min), int(info.max), int(info.bits)


class finfo(_Info):
    """The range and precision of a floating-point dtype.

    Attributes:
        bits, min, max: its size and range.
        eps: the distance from 1 to the next larger number.
        tiny, smallest_normal: the smallest positive number of full precision.
        resolution: 10 to the power of minus the decimal digits it is precise to.

    Raises:
        TypeError: the dtype holds no floats.

    >>> import tinygrad_edu as torch
    >>> torch.finfo(torch.float32).eps
    1.1920928955078125e-07
    """

    _shown = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")

    def __init__(self, type: dtype | None = None) -> None:
        type = get_default_dtype() if type is None else type
        super().__init__(type)
        if not type.is_floating_point:
            raise TypeError(
                f"torch.finfo() requires a floating point input type, not {type!r}: integers have"
                " torch.iinfo"
            )
        kind = type.numpy
        if type is bfloat16:
            import ml_dtypes

            read: Any = ml_dtypes.finfo
            info: Any = read(kind)
        else:
            info = np.finfo(kind)
        self.min, self.max, self.eps = float(info.min), float(info.max), float(info.eps)
        self.tiny = self.smallest_normal = float(info.smallest_normal)
        self.resolution, self.bits = float(f"1e-{info.precision}"), int(info.bits)


def not_implemented(name: str, *dtypes: object) -> NotImplementedError:
    """torch's error for element types that an operation has no code for."""
    kinds = ", ".join([f"'{scalar_type_name(dtype)}'" for dtype in dtypes])
    return NotImplementedError(f'"{name}" not implemented for {kinds}')
