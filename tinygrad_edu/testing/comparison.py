"""`assert_close`: whether results agree, and where not; `make_tensor`: random inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from tinygrad_edu import random
from tinygrad_edu.backend import device as Device
from tinygrad_edu.backend import device_of, to_device
from tinygrad_edu.dtypes import Array, dtype, from_numpy, is_floating
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.record import wrap

_TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}
"""(rtol, atol) by dtype; everything else must be equal."""


def tolerances(kind: dtype) -> tuple[float, float]:
    """(rtol, atol) of `assert_close` for a type."""
    return _TOLERANCES.get(kind.name, (0.0, 0.0))


def assert_close(
    actual: object,
    expected: object,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    allow_subclasses: bool = True,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Raise unless `abs(actual - expected) <= atol + rtol * abs(expected)` everywhere.

    Args:
        actual, expected: tensors, NumPy arrays, numbers, or sequences or mappings of these.
        rtol, atol: tolerances, given together or not at all; the defaults go by dtype, the wider
            of both sides: 1.3e-6 and 1e-5 for float32, 1e-7 and 1e-7 for float64, 1e-3 and 1e-5
            for float16, 1.6e-2 and 1e-5 for bfloat16, 0 and 0 for integers and bools.
        equal_nan: NaN equals NaN.
        check_device, check_dtype, check_stride: whether these must be equal too.
        check_layout, allow_subclasses: accepted; there is one layout and one class of tensors.
        msg: the message to raise instead, or a function that makes it from the usual one.

    Raises:
        AssertionError: with the number of mismatches and the greatest differences.
        ValueError: only one of `rtol` and `atol` is given.

    Unlike torch, a NumPy array may be compared with a tensor.

    >>> import tinygrad_edu as torch
    >>> torch.testing.assert_close(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0 + 1e-7]))
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            "rtol and atol must both be specified or both be unspecified, but got"
            f" rtol={rtol} and atol={atol}."
        )
    compare = _Comparison(rtol, atol, equal_nan, check_device, check_dtype, check_stride, msg)
    compare.any(actual, expected, ())


class _Comparison:
    """One call of `assert_close`: its options, and where in nested containers it is."""

    def __init__(
        self,
        rtol: float | None,
        atol: float | None,
        equal_nan: bool,
        check_device: bool,
        check_dtype: bool,
        check_stride: bool,
        msg: str | Callable[[str], str] | None,
    ) -> None:
        self.rtol, self.atol, self.equal_nan = rtol, atol, equal_nan
        self.check_device, self.check_dtype = check_device, check_dtype
        self.check_stride, self.msg = check_stride, msg

    def fail(self, text: str, where: tuple[Any, ...]) -> NoReturn:
        if where:
            text += "\n\nThe failure occurred for item " + "".join(f"[{i!r}]" for i in where)
        if callable(self.msg):
            text = self.msg(text)
        elif self.msg is not None:
            text = self.msg
        raise AssertionError(text)

    def any(self, actual: Any, expected: Any, where: tuple[Any, ...]) -> None:
        numbers = isinstance(actual, (bool, int, float)), isinstance(expected, (bool, int, float))
        if all(numbers):
            self.numbers(actual, expected, where)
        elif any(numbers) or _is_array(actual) != _is_array(expected):
            self.fail(
                f"The types do not match: {type(actual).__name__} != {type(expected).__name__}.",
                where,
            )
        elif _is_array(actual):
            self.tensors(actual, expected, where)
        elif isinstance(actual, Mapping) and isinstance(expected, Mapping):
            self.mappings(actual, expected, where)
        elif _is_sequence(actual) and _is_sequence(expected):
            if len(actual) != len(expected):
                self.fail(
                    f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", where
                )
            for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
                self.any(a, b, (*where, i))
        elif actual is None and expected is None:
            return
        else:
            raise TypeError(
                f"No comparison pair was able to handle inputs of type {type(actual)} and"
                f" {type(expected)}."
            )

    def mappings(
        self, actual: Mapping[Any, Any], expected: Mapping[Any, Any], where: tuple[Any, ...]
    ) -> None:
        missing = [k for k in expected if k not in actual]
        extra = [k for k in actual if k not in expected]
        if missing or extra:
            self.fail(
                "The keys of the mappings do not match:\n"
                f"Missing keys in the actual mapping: {missing}\n"
                f"Additional keys in the actual mapping: {extra}",
                where,
            )
        for key in expected:
            self.any(actual[key], expected[key], (*where, key))

    def numbers(self, actual: Any, expected: Any, where: tuple[Any, ...]) -> None:
        if self.check_dtype and type(actual) is not type(expected):
            self.fail(
                f"The (d)types do not match: {type(actual)} != {type(expected)}.",
                where,
            )
        kind = "float64" if isinstance(actual, float) or isinstance(expected, float) else "int64"
        rtol, atol = self.tolerances(kind, kind)
        if _close(np.asarray(actual), np.asarray(expected), rtol, atol, self.equal_nan).all():
            return
        exact = rtol == atol == 0
        gap = abs(actual - expected)
        share = gap / abs(expected) if expected else float("inf")
        self.fail(
            f"Scalars are not {'equal' if exact else 'close'}!\n\n"
            f"Expected {expected} but got {actual}.\n"
            f"Absolute difference: {gap}{_allowed(atol, exact)}\n"
            f"Relative difference: {share}{_allowed(rtol, exact)}",
            where,
        )

    def tensors(self, actual: Any, expected: Any, where: tuple[Any, ...]) -> None:
        a, b = _array(actual), _array(expected)
        if a.shape != b.shape:
            self.differ(
                "shape", f"torch.Size({list(a.shape)})", f"torch.Size({list(b.shape)})", where
            )
        if self.check_device and device_of(a) != device_of(b):
            self.differ("device", device_of(a), device_of(b), where)
        if self.check_dtype and a.dtype != b.dtype:
            self.differ("dtype", from_numpy(a.dtype), from_numpy(b.dtype), where)
        if self.check_stride and _strides(a) != _strides(b):
            self.differ("stride()", _strides(a), _strides(b), where)
        rtol, atol = self.tolerances(from_numpy(a.dtype).name, from_numpy(b.dtype).name)
        a, b = _host(a), _host(b)
        wrong = ~_close(a, b, rtol, atol, self.equal_nan)
        if wrong.any():
            self.fail(_report(a, b, wrong, rtol, atol), where)

    def differ(
        self, name: str, actual: object, expected: object, where: tuple[Any, ...]
    ) -> NoReturn:
        self.fail(f"The values for attribute '{name}' do not match: {actual} != {expected}.", where)

    def tolerances(self, *dtype_names: str) -> tuple[float, float]:
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        pairs = [_TOLERANCES.get(name, (0.0, 0.0)) for name in dtype_names]
        return max(rtol for rtol, _ in pairs), max(atol for _, atol in pairs)


def _is_array(value: object) -> bool:
    return isinstance(value, (TensorBase, np.ndarray, np.generic)) or hasattr(value, "__array__")


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _array(value: object) -> Array:
    if isinstance(value, TensorBase):
        return value.array
    return value if hasattr(value, "get") else np.asarray(value)


def _host(array: Array) -> Array:
    return array if isinstance(array, np.ndarray) else array.get()


def _strides(array: Array) -> tuple[int, ...]:
    return tuple(step // array.dtype.itemsize for step in array.strides)


def _wide(array: Array) -> Array:
    """In a type where differences neither overflow nor wrap around."""
    if is_floating(array.dtype):
        return array.astype(np.float64)
    return array.astype(np.int64) if array.dtype != np.uint64 else array.astype(object)


def _close(a: Array, b: Array, rtol: float, atol: float, equal_nan: bool) -> Array:
    with np.errstate(all="ignore"):
        if rtol == atol == 0:
            close = a == b
        else:
            wide, other = _wide(a), _wide(b)
            close = abs(wide - other) <= atol + rtol * abs(other)
            close &= np.isfinite(wide.astype(float)) & np.isfinite(other.astype(float))
            close |= wide == other
        if equal_nan:
            close = close | ((a != a) & (b != b))
    return np.asarray(close)


def _report(a: Array, b: Array, wrong: Array, rtol: float, atol: float) -> str:
    """How many elements mismatch, and where the greatest differences are."""
    exact = rtol == atol == 0
    title = "Scalars" if a.ndim == 0 else "Tensor-likes"
    lines = [f"{title} are not {'equal' if exact else 'close'}!", ""]
    wide, other = _wide(a), _wide(b)
    with np.errstate(all="ignore"):
        gap = np.where(wide == other, 0.0, abs(wide - other).astype(float))
        share = np.where(gap == 0, 0.0, gap / abs(other).astype(float))
    if a.ndim == 0:
        lines.append(f"Expected {b.item()} but got {a.item()}.")
        lines.append(f"Absolute difference: {float(gap)}" + _allowed(atol, exact))
        lines.append(f"Relative difference: {float(share)}" + _allowed(rtol, exact))
        return "\n".join(lines)
    count = int(wrong.sum())
    lines.append(f"Mismatched elements: {count} / {a.size} ({100 * count / a.size:.1f}%)")
    for name, values, limit in (("absolute", gap, atol), ("relative", share, rtol)):
        index = np.unravel_index(int(np.nan_to_num(values, nan=np.inf).argmax()), a.shape)
        at = tuple(int(i) for i in index)
        found = float(values[index])
        lines.append(f"Greatest {name} difference: {found} at index {at}" + _allowed(limit, exact))
    return "\n".join(lines)


def _allowed(limit: float, exact: bool) -> str:
    return "" if exact else f" (up to {limit} allowed)"


def make_tensor(
    *shape: Any,
    dtype: dtype,
    device: Any = "cpu",
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
    memory_format: Any = None,
) -> Any:
    """A tensor of random values from [low, high).

    Args:
        shape: sizes, or one sequence of them.
        dtype: of the result.
        low, high: by default -9 and 9 for floats, -9 and 10 for signed integers, 0 and 10 for
            unsigned ones, 0 and 2 for bools.
        noncontiguous: every second element of a longer memory.
        exclude_zero: replace zeros by the smallest positive value (1 for integers).

    Raises:
        ValueError: low is not below high, or a size is negative.

    >>> import tinygrad_edu as torch
    >>> torch.testing.make_tensor((2, 3), dtype=torch.float32, low=0, high=1).shape
    torch.Size([2, 3])
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
    kind = dtype.numpy
    if any(size < 0 for size in sizes):
        raise ValueError(f"make_tensor: sizes must not be negative, got {sizes}")
    if kind.kind == "b":
        limits = (0.0, 2.0)
    elif is_floating(kind):
        limits = (-9.0, 9.0)
    else:
        limits = (-9.0, 10.0) if dtype.is_signed else (0.0, 10.0)
    low = limits[0] if low is None else low
    high = limits[1] if high is None else high
    if not low < high:
        raise ValueError(f"make_tensor: `low` must be less than `high`, but got {low} >= {high}")
    longer = (*sizes[:-1], 2 * sizes[-1]) if noncontiguous and sizes else sizes
    values = np.empty(longer)
    random.fill_uniform(random.default_generator, values, low, high)
    array = np.asarray(values if is_floating(kind) else np.floor(values)).astype(kind)
    if exclude_zero:
        array[array == 0] = np.finfo(kind).tiny if kind.kind == "f" else 1
    if noncontiguous and sizes:
        array = array[..., ::2]
    made = wrap(to_device(array, Device(device)))
    return made.requires_grad_() if requires_grad else made
