"""Change of dtype, of device and of the order in memory: operations with a derivative.

The order changes no shape and no value: a batch of images (N, C, H, W) in `channels_last` has the
channels of each pixel side by side, and is still indexed [n, c, h, w].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu.backend import (
    device,
    device_of,
    is_pinned_array,
    module_of,
    pinned_copy,
    to_device,
)
from tinygrad_edu.dtypes import Array, dtype, from_numpy, is_floating, scalar_type_name, to_numpy
from tinygrad_edu.dtypes import dtype as dtype_class
from tinygrad_edu.dtypes import promote_types as common_of
from tinygrad_edu.dtypes import result_type as common_type
from tinygrad_edu.engine.boundary import not_a_tensor
from tinygrad_edu.engine.composed import heard
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels import memory_order
from tinygrad_edu.ops.arguments import named

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike, Dtype
    from tinygrad_edu.tensor import Tensor


@primitive(half="as it is, both ways")
def _to_copy(x: Array, target: Any, place: device) -> Array:
    moved = to_device(x, place)
    return memory_order.cast(moved, target)


_to_copy.vjp(x=lambda g: g)  # the walk casts it back


@primitive(half="as it is")
def _from_device(x: Array, origin: device, place: device, wait: bool) -> Array:
    return to_device(x, place, wait)


_from_device.vjp(x=lambda g, origin, place: _from_device(g, place, origin, True))


@heard("to")
def to(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor with another dtype or on another device; itself if it has both already.

    Args:
        args: a dtype, a device (or its name), both, or another tensor to be like.
        kwargs: `dtype`, `device`, `copy` (always copy), `memory_format` (see `arranged`),
            `non_blocking` (go on while pinned memory is copied to a GPU; it must not change then).

    Raises:
        RuntimeError: the device cannot be used.

    >>> import tinygrad_edu as torch
    >>> torch.tensor([1, 2]).to(torch.float64)
    tensor([1., 2.], dtype=torch.float64)
    """
    memory_format = kwargs.pop("memory_format", None)
    if memory_format is not None:
        y = to(input, *args, **kwargs)
        return _laid_out(y, memory_format, new=y is not input)
    kind, place, copy, wait = _read_to(*args, **kwargs)
    x = input.array
    target = x.dtype if kind is None else to_numpy(kind)
    here = device_of(x)
    place = here if place is None else place
    stays = place.type == here.type and (place.type == "cpu" or place.index in (None, here.index))
    if stays and target == x.dtype and not copy:
        return input
    if is_floating(x.dtype) and not is_floating(target):
        return wrap(_to_copy.primitive.forward(x, target, place))  # nothing to differentiate
    if stays:
        return _to_copy(input, target, place)
    source = input if target == x.dtype else _to_copy(input, target, here)
    return _from_device(source, here, place, wait)


def on_device_of(x: Array, t: Any) -> Tensor:
    """The tensor `t` on the device of an array."""
    return to(t, device_of(x))


def _read_to(*args: Any, **kwargs: Any) -> tuple[Any, device | None, bool, bool]:
    kind, place = kwargs.pop("dtype", None), kwargs.pop("device", None)
    flags = [arg for arg in args if isinstance(arg, bool)]  # non_blocking, copy
    copy = kwargs.pop("copy", flags[1:2] == [True])
    wait = not kwargs.pop("non_blocking", flags[:1] == [True])
    other = kwargs.pop("other", None)
    if kwargs:
        raise TypeError(f"to() got an unexpected keyword argument {next(iter(kwargs))!r}")
    for arg in args:
        if isinstance(arg, TensorBase):
            other = arg
        elif isinstance(arg, (str, device)):
            place = arg
        elif isinstance(arg, bool) or arg is None:
            continue
        elif isinstance(arg, int):
            place = device(arg)
        else:
            kind = arg
    if other is not None:
        kind, place = other.array.dtype, device_of(other.array)
    return kind, None if place is None else device(place), bool(copy), wait


def type_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` with the dtype of `other`."""
    return to(input, other)


def tensor_type(input: Tensor, dtype: Dtype = None, non_blocking: bool = False) -> Any:
    """The old name of the tensor's type; given a dtype, or such a name, the tensor cast to it.

    >>> import tinygrad_edu as torch
    >>> torch.ones(1).type(), torch.ones(1).type("torch.LongTensor")
    ('torch.FloatTensor', tensor([1]))
    """
    if dtype is None:
        place = "torch" if device_of(input.array).type == "cpu" else "torch.cuda"
        return f"{place}.{scalar_type_name(input.array.dtype)}Tensor"
    if isinstance(dtype, str):
        wanted = dtype.rpartition(".")[2].removesuffix("Tensor")
        kinds = [k for k in dtype_class._by_name.values() if scalar_type_name(k) == wanted]
        if not kinds:
            raise ValueError(f"invalid type: {dtype!r}")
        return to(input, kinds[0])
    return to(input, getattr(dtype, "dtype", dtype))


def cpu(input: Tensor, memory_format: object = None) -> Tensor:
    """The tensor in the host's memory."""
    return to(input, "cpu", memory_format=memory_format)


def cuda(
    input: Tensor,
    device: DeviceLike = None,
    non_blocking: bool = False,
    memory_format: object = None,
) -> Tensor:
    """The tensor on the GPU."""
    place = "cuda" if device is None else device
    return to(input, place, non_blocking=non_blocking, memory_format=memory_format)


def get_device(input: Tensor) -> int:
    """The index of the GPU that the tensor is on, -1 on the CPU."""
    index = device_of(input.array).index
    return -1 if index is None else index


def pin_memory(input: Tensor, device: DeviceLike = None) -> Tensor:
    """A copy in page-locked memory, from which a GPU fetches while the host goes on.

    Raises:
        RuntimeError: the tensor is on a GPU, or there is none.
    """
    if device_of(input.array).type != "cpu":
        raise RuntimeError(
            f"cannot pin '{tensor_type(input)}' only dense CPU tensors can be pinned"
        )
    return input if is_pinned(input) else wrap(pinned_copy(input.array))


def is_pinned(input: Tensor, device: DeviceLike = None) -> bool:
    """Whether the tensor lies in page-locked memory, where `pin_memory` puts it."""
    return is_pinned_array(input.array)


def _caster(kind: dtype) -> Any:
    def cast(input: Tensor, memory_format: Any = None) -> Tensor:
        return to(input, kind, memory_format=memory_format)

    cast.__doc__ = f"The tensor with elements of dtype {kind.name}."
    cast.__name__ = cast.__qualname__ = kind.name
    return cast


@named(tensor="tensor1", scalar1="tensor1", other="tensor2", scalar="tensor2", scalar2="tensor2")
def result_type(tensor1: object, tensor2: object) -> dtype:
    """The dtype that arithmetic on the two operands gives.

    >>> import tinygrad_edu as torch
    >>> torch.result_type(torch.ones(1, dtype=torch.int64), 1.5)
    torch.float32
    """
    operands = [t.array if isinstance(t, TensorBase) else t for t in (tensor1, tensor2)]
    return from_numpy(common_type(*operands))


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that holds the values of both.

    >>> import tinygrad_edu as torch
    >>> torch.promote_types(torch.int64, torch.float32)
    torch.float32
    """
    return from_numpy(common_of(type1.numpy, type2.numpy))


def follows(x: Array, axes: tuple[int, ...] | None) -> bool:
    """Whether the elements lie in that order, without gaps."""
    return axes is None or bool(x.transpose(axes).flags.c_contiguous)


@primitive(half="as it is, both ways")
def _clone(x: Array, axes: tuple[int, ...] | None = None) -> Array:
    if axes is not None:
        y = memory_order.empty_in_order(module_of(x), x.shape, x.dtype, axes)
        y[...] = x
        return y
    return memory_order.clone(x)


_clone.vjp(x=lambda g: g)


def clone(input: Tensor, *, memory_format: object = None) -> Tensor:
    """A copy in memory of its own; gradients flow through it.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([1.0, 2.0]); x.clone() is x
    False
    """
    if not isinstance(input, TensorBase):
        raise not_a_tensor("clone", 1, input)
    return _clone(input, memory_order.axes_of(memory_format, input.array.ndim))


def arranged(input: Tensor, memory_format: object) -> Tensor:
    """The tensor itself if its elements lie in that order, else a copy where they do."""
    axes = memory_order.axes_of(memory_format, input.array.ndim)
    return input if follows(input.array, axes) else _clone(input, axes)


def _laid_out(input: Tensor, memory_format: object, new: bool) -> Tensor:
    """The tensor itself if the format is the one its strides suggest, else a copy in it.

    Strides of neither format pass for contiguous ones, unless the tensor is a new one.
    """
    x = input.array
    axes = memory_order.axes_of(memory_format, x.ndim)
    last = axes is not None and axes[1:2] != (1,)
    suggested = memory_order.channels_are_last(x) == last
    if axes is None or (suggested and (last or not new or x.flags.c_contiguous)):
        return input
    return _clone(input, axes)


def contiguous(input: Tensor, memory_format: object = "torch.contiguous_format") -> Tensor:
    """The tensor itself if its elements lie in order in memory, else a copy where they do.

    >>> import tinygrad_edu as torch
    >>> torch.ones(2, 3).T.contiguous().stride()
    (2, 1)
    """
    if input.array.flags.c_contiguous and memory_format == "torch.contiguous_format":
        return input
    if memory_format == "torch.preserve_format":
        if input.array.flags.c_contiguous:
            return input
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    return arranged(input, memory_format)
