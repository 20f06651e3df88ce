"""Make tensors from data and from nothing."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import device as Device
from tinygrad_edu.backend import (
    device_of,
    get_default_device,
    has_default_device,
    module_for,
    on,
    place_of,
    to_device,
)
from tinygrad_edu.dtypes import (
    Array,
    NumpyDtype,
    default,
    dtype,
    fitting,
    get_default_dtype,
    is_floating,
    is_half,
    not_implemented,
    result_type,
    to_numpy,
)
from tinygrad_edu.dtypes import from_numpy as dtype_of
from tinygrad_edu.engine.boundary import not_a_tensor
from tinygrad_edu.engine.composed import heard
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.entrances import as_numpy
from tinygrad_edu.kernels import memory_order, ranges
from tinygrad_edu.kernels.repeatable import repeatable
from tinygrad_edu.out import fills_out
from tinygrad_edu.size import read_new_shape

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

Dtype = dtype | type | None
DeviceLike = Device | str | int | None


def finish(array: Array, device: DeviceLike, requires_grad: bool) -> Tensor:
    """A new tensor around an array, on the device asked for."""
    tensor = wrap(to_device(array, place_of(device)))
    if requires_grad:
        tensor.requires_grad_()
    return tensor


def _stays(data: TensorBase) -> Device:
    """The device of a copy: the tensor's, or the default device if one is set."""
    return get_default_device() if has_default_device() else device_of(data.array)


@heard("tensor")
def tensor(
    data: object,
    *,
    dtype: Dtype = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new tensor with a copy of the data.

    Args:
        data: a number, nested lists of numbers, an array or a tensor.  Python floats become the
            default dtype (float32), ints int64; arrays and tensors keep their dtype.

    Raises:
        ValueError: lists of unequal length, a list with a tensor of more than one element in it,
            or something that is not a number.

    >>> import tinygrad_edu as torch
    >>> torch.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    >>> torch.tensor([0.5, 1]).dtype
    torch.float32
    """
    if isinstance(data, TensorBase):
        array, device = data.array, _stays(data) if device is None else device
    else:
        array = as_numpy(data, None if dtype is None else to_numpy(dtype))
    target = array.dtype if dtype is None else to_numpy(dtype)
    copied = _copied(array, target)
    if isinstance(data, TensorBase):  # torch keeps the order in which a tensor lies in memory
        copied = memory_order.in_turn(copied, array)
    return finish(
        np.asarray(copied) if isinstance(copied, np.generic) else copied, device, requires_grad
    )


@repeatable
def _copied(array: Array, dtype: NumpyDtype) -> Array:
    return array.astype(dtype, order="C")  # what is too large for it becomes inf


def as_tensor(data: object, dtype: Dtype = None, device: DeviceLike = None) -> Tensor:
    """The data as a tensor, without a copy where none is needed."""
    if isinstance(data, TensorBase):
        place = _stays(data) if device is None else device
        given: Any = data
        moved: Tensor = given.to(dtype=dtype, device=place)
        return moved
    if isinstance(data, np.ndarray):
        return from_numpy(data).to(dtype=dtype, device=place_of(device))
    return tensor(data, dtype=dtype, device=device)


def asarray(
    obj: object, *, dtype: Dtype = None, device: DeviceLike = None, copy: bool | None = None,
    requires_grad: bool | None = None,
) -> Tensor:  # fmt: skip
    """The data as a tensor, without a copy where none is needed.

    Args:
        copy: True always copies; False raises an error where a copy is needed.
        requires_grad: as that of `obj` if None; False drops its history.

    Raises:
        ValueError: a copy is needed and `copy` is False.

    >>> import tinygrad_edu as torch
    >>> torch.asarray([1, 2], dtype=torch.float32)
    tensor([1., 2.])
    """
    made = as_tensor(obj, dtype, device)
    given = obj.array if isinstance(obj, TensorBase) else obj
    shared = hasattr(given, "dtype") and np.may_share_memory(given, made.array)
    if copy is False and not shared:
        raise ValueError("can't alias the data given: it needs a copy, and copy=False")
    made = made.clone() if copy and shared else made
    if requires_grad is None:
        return made
    return made.requires_grad_() if requires_grad else made.detach()


@heard("from_numpy")
def from_numpy(ndarray: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array.

    Raises:
        TypeError: it is not an array, or its dtype has no counterpart.
        ValueError: it has negative strides or a foreign byte order.

    >>> import numpy as np, tinygrad_edu as torch
    >>> a = np.zeros(2); t = torch.from_numpy(a); a[0] = 5; t
    tensor([5., 0.], dtype=torch.float64)
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtype_of(ndarray.dtype)
    if any([step < 0 for step in ndarray.strides]):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative"
            " strides are not currently supported. (You can probably work around this by making a"
            " copy of your array with array.copy().)"
        )
    return wrap(ndarray.view(np.ndarray))  # whose shape may be set without ours


def _new(
    kind: str, shape: tuple[int, ...], dtype: Dtype, device: DeviceLike, requires_grad: bool
) -> Tensor:
    place = place_of(device)
    target = default() if dtype is None else to_numpy(dtype)
    with on(place) as xp:
        t = wrap(getattr(xp, kind)(shape, target))
    if requires_grad:
        t.requires_grad_()
    return t


@fills_out
def zeros(
    *sizes: int | Sequence[int], size: int | Sequence[int] | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, out: None = None, layout: object = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of zeros.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(2, 3).shape
    torch.Size([2, 3])
    """
    shape = read_new_shape("zeros", sizes if size is None else (size,))
    return _new("zeros", shape, dtype, device, requires_grad)


@fills_out
def ones(
    *sizes: int | Sequence[int], size: int | Sequence[int] | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, out: None = None, layout: object = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of ones.

    >>> import tinygrad_edu as torch
    >>> torch.ones(3, dtype=torch.int64)
    tensor([1, 1, 1])
    """
    shape = read_new_shape("ones", sizes if size is None else (size,))
    return _new("ones", shape, dtype, device, requires_grad)


@fills_out
def empty(
    *sizes: int | Sequence[int], size: int | Sequence[int] | None = None, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, out: None = None, layout: Any = None,
    pin_memory: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor whose values are whatever the memory held.

    >>> import tinygrad_edu as torch
    >>> torch.empty(2, 3).shape
    torch.Size([2, 3])
    """
    shape = read_new_shape("empty", sizes if size is None else (size,))
    if memory_format is not None:
        axes = memory_order.axes_of(memory_format, len(shape))
        if axes is None:
            raise RuntimeError("unsupported memory format Preserve")
        with on(place_of(device)) as xp:
            made = memory_order.empty_in_order(
                xp, shape, default() if dtype is None else to_numpy(dtype), axes
            )
        return finish(made, device, requires_grad)
    return _new("empty", shape, dtype, device, requires_grad)


@fills_out
def full(
    size: int | Sequence[int], fill_value: float | Tensor, *, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: object = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor with one value everywhere; its dtype is that of the value unless given.

    >>> import tinygrad_edu as torch
    >>> torch.full((2,), 7)
    tensor([7, 7])
    """
    shape = read_new_shape("full", (size,))
    value = fill_value.array.item() if isinstance(fill_value, TensorBase) else fill_value
    target = result_type(value) if dtype is None else to_numpy(dtype)
    value = fitting(target, value)
    with on(place_of(device)) as xp:
        return finish(xp.full(shape, value, target), device, requires_grad)


def _like(
    kind: str, input: Tensor, dtype: Dtype, device: DeviceLike, requires_grad: bool,
    memory_format: object,
) -> Tensor:  # fmt: skip
    if not isinstance(input, TensorBase):
        raise not_a_tensor(kind, 1, input)
    target = input.array.dtype if dtype is None else to_numpy(dtype)
    like = input.array
    axes = memory_order.axes_of(memory_format, like.ndim)
    with on(device_of(like)) as xp:
        if axes is not None:
            made = memory_order.empty_in_order(xp, like.shape, target, axes)
            made[...] = kind == "ones_like"
        else:
            if 0 in like.strides and isinstance(like, np.ndarray):  # expanded
                like = memory_order.empty_like(like)
            made = getattr(np, kind)(like, dtype=target)
    return finish(made, device_of(like) if device is None else device, requires_grad)


def zeros_like(
    input: Tensor, *, dtype: Dtype = None, device: DeviceLike = None, requires_grad: bool = False,
    memory_format: Any = None, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Zeros of the shape, dtype and device of `input`."""
    return _like("zeros_like", input, dtype, device, requires_grad, memory_format)


def ones_like(
    input: Tensor, *, dtype: Dtype = None, device: DeviceLike = None, requires_grad: bool = False,
    memory_format: object = None, layout: object = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Ones of the shape, dtype and device of `input`."""
    return _like("ones_like", input, dtype, device, requires_grad, memory_format)


def empty_like(
    input: Tensor, *, dtype: Dtype = None, device: DeviceLike = None, requires_grad: bool = False,
    memory_format: Any = None, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of the shape, dtype and device of `input`, with whatever the memory held."""
    return _like("empty_like", input, dtype, device, requires_grad, memory_format)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Dtype = None, device: DeviceLike = None,
    requires_grad: bool = False, memory_format: Any = None, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """One value everywhere, in the shape, dtype and device of `input`."""
    made = _like("empty_like", input, dtype, device, False, memory_format)
    value = fill_value.array.item() if isinstance(fill_value, TensorBase) else fill_value
    made.array[...] = fitting(made.array.dtype, value)
    return made.requires_grad_() if requires_grad else made


def _number(value: Any) -> Any:
    return value.array.item() if isinstance(value, TensorBase) else value


@fills_out
def arange(
    start: Any = None, end: Any = None, step: Any = 1, *, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: object = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers from `start` (0 if only one is given) up to, not including, `end`.

    Raises:
        RuntimeError: the step is zero or leads away from `end`.

    >>> import tinygrad_edu as torch
    >>> torch.arange(1, 4), torch.arange(0.0, 1.0, 0.5)
    (tensor([1, 2, 3]), tensor([0.0000, 0.5000]))
    """
    start, end, step = _number(start), _number(end), _number(step)
    if end is None:
        start, end = 0, start
    start = 0 if start is None else start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    given = (start, end, step)
    target = result_type(*given) if dtype is None else to_numpy(dtype)
    if dtype is None and target.kind == "b":
        target = np.dtype(np.int64)
    if target.kind == "b":
        raise not_implemented("arange_cpu", target)
    whole = target.kind in "iu"
    if whole:
        counted = [fitting(np.dtype(np.int64), v) for v in given]  # as torch counts them
        if target == np.int64:
            start, end, step = counted
            if step == 0:
                raise RuntimeError("step must be nonzero")
    count = max(0, math.ceil((end - start) / step))
    integers = all([isinstance(v, (int, np.integer)) for v in given])
    exact = np.int64 if whole or integers else np.float64
    if whole:
        start, _, step = counted
    with on(place_of(device)) as xp:
        if xp is np and exact is np.float64 and target in (np.float32, np.float64):
            values = ranges.arange(float(start), float(step), count, target)
        else:
            values = xp.arange(count, dtype=exact) * step + start
    return finish(values.astype(target), device, requires_grad)


@fills_out
def linspace(
    start: Any, end: Any, steps: int, *, dtype: Dtype = None, device: DeviceLike = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """`steps` numbers from `start` to `end`, both included, evenly spaced.

    >>> import tinygrad_edu as torch
    >>> torch.linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    if operator.index(steps) < 0:
        raise RuntimeError("number of steps must be non-negative")
    _check_ends("linspace", start, end)
    target = default() if dtype is None else to_numpy(dtype)
    exact = target if is_floating(target) else np.dtype(np.float64)
    if steps:  # only what is needed is converted, and so refused
        start = exact.type(_ending(start, target))
    if steps > 1:
        end = exact.type(_ending(end, target))
    if steps < 2:
        values = np.full(steps, start if steps else 0, exact)
    elif is_half(exact):
        step, i = (end - start) / exact.type(steps - 1), np.arange(steps, dtype=exact)
        values = np.where(i < steps // 2, start + step * i, end - step * (steps - 1 - i))
    else:
        values = ranges.linspace(start, end, steps, exact)
    return finish(values.astype(target), device, requires_grad)


def _check_ends(name: str, *ends: object) -> None:
    ndims = [end.array.ndim if isinstance(end, TensorBase) else 0 for end in ends]
    if any(ndims):
        raise RuntimeError(
            f"{name} only supports 0-dimensional start and end tensors, but got start with"
            f" {ndims[0]} dimension(s) and end with {ndims[1]} dimension(s)."
        )


def _ending(value: object, target: NumpyDtype) -> Any:
    """The start or end of a range in the type of its result: integers drop the fraction."""
    if target.kind == "b":
        raise not_implemented("linspace_cpu", target)
    return fitting(target, _number(value))


@fills_out
def logspace(
    start: float, end: float, steps: int, base: float = 10.0, *, dtype: Dtype = None,
    device: DeviceLike = None, requires_grad: bool = False, layout: object = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """`base` to the powers `linspace(start, end, steps)`."""
    _check_ends("logspace", start, end)
    target = default() if dtype is None else to_numpy(dtype)
    exact = dtype_of(target) if is_floating(target) else get_default_dtype()
    start, end = _ending(start, target), _ending(end, target)
    powers = linspace(start, end, steps, dtype=exact).array.astype(np.float64)
    return finish(np.power(float(base), powers).astype(target), device, requires_grad)


@fills_out
def eye(
    n: int, m: int | None = None, *, dtype: Dtype = None, device: DeviceLike = None,
    requires_grad: bool = False, layout: object = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Ones on the diagonal of an n x m matrix, zeros elsewhere.

    >>> import tinygrad_edu as torch
    >>> torch.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"n must be greater or equal to 0, got {n if n < 0 else m}")
    target = default() if dtype is None else to_numpy(dtype)
    return finish(np.eye(n, m, dtype=target), device, requires_grad)


def from_dlpack(ext_tensor: Any, *, device: DeviceLike = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of another library's array.

    Args:
        ext_tensor: anything with `__dlpack__`: a tensor, a NumPy, CuPy or PyTorch array.
        device: where to put the tensor; None leaves it where the array is.
        copy: True copies into new memory.

    Raises:
        RuntimeError: its memory is on a device that is not supported.

    >>> import tinygrad_edu as torch
    >>> import numpy as np
    >>> a = np.zeros(2); t = torch.from_dlpack(a); t[0] = 1; a
    array([1., 0.])
    """
    if not hasattr(ext_tensor, "__dlpack__"):
        raise TypeError(
            f"from_dlpack() needs an object with __dlpack__, not {type(ext_tensor).__name__}"
        )
    kind = int(ext_tensor.__dlpack_device__()[0])
    cpu, cuda = 1, 2  # DLPack's numbers
    if kind not in (cpu, cuda):
        raise RuntimeError(f"from_dlpack: DLPack's device type {kind} is neither CPU nor CUDA")
    module = module_for(Device("cpu" if kind == cpu else "cuda"))
    array = module.from_dlpack(ext_tensor)
    dtype_of(array.dtype)  # refuses what has no counterpart
    place = device_of(array) if device is None else Device(device)
    return wrap(array).to(place, copy=bool(copy))


def scalar_tensor(
    s: float, *, dtype: Dtype = None, device: DeviceLike = None, requires_grad: bool = False,
    layout: object = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A 0-d tensor of the default dtype."""
    dtype = get_default_dtype() if dtype is None else dtype
    value = _number(s)
    if is_half(to_numpy(dtype)):  # which take what is too large as inf
        value = fitting(np.dtype(np.float64), value)
        return tensor(value, dtype=dtype, device=device, requires_grad=requires_grad)
    return full((), value, dtype=dtype, device=device, requires_grad=requires_grad)
