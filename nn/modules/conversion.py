"""Moving a module to another device, or its floats to another dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from tinygrad_edu import dtypes
from tinygrad_edu.backend import device
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.nn.parameter import is_lazy
from tinygrad_edu.ops.creation import empty_like
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike


def typename(value: object) -> str:
    """The name of a value's type as torch prints it; of a tensor, `torch.FloatTensor`."""
    if isinstance(value, Tensor):
        return f"torch.{'cuda.' if value.is_cuda else ''}{value.dtype.scalar_type}Tensor"
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


class ConversionMethods:
    """The part of `Module` that moves it."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    children: Callable[[], Iterator[Any]]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace the values of all parameters, gradients and buffers by `fn` of them.

        Parameters stay the same objects, so that an optimizer made earlier still owns them.
        """
        for child in self.children() if recurse else ():
            child._apply(fn)
        with no_grad():
            for parameter in self._parameters.values():
                if parameter is None:
                    continue
                grad = parameter.grad
                parameter.grad = None  # it may be replaced only together with the values
                parameter.data = fn(parameter.data)
                if grad is not None:
                    parameter.grad = fn(grad)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a device, or convert the floats to another dtype, in place.

        Args:
            device: such as "cpu", "cuda", `torch.device("cuda", 1)`.
            dtype: a floating-point dtype; integer buffers keep theirs.
            tensor: take device and dtype of this tensor instead.
            non_blocking: accepted; copies are always finished on return.
            memory_format: the order in memory of parameters and buffers of 4 or 5 dimensions.

        Raises:
            TypeError: `dtype` is not a floating-point dtype.

        >>> import tinygrad_edu as torch
        >>> torch.nn.Linear(2, 1).to(torch.float64).weight.dtype
        torch.float64
        """
        order = kwargs.pop("memory_format", None)
        place, dtype = _parse_to(*args, **kwargs)
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, but got desired"
                f" dtype={dtype}"
            )

        def convert(t: Tensor) -> Tensor:
            target = dtype if dtype is not None and t.is_floating_point() else t.dtype
            t = t.to(place if place is not None else t.device, target)
            ordered = order is not None and not is_lazy(t) and t.ndim in (4, 5)
            return t.to(memory_format=order) if ordered else t

        return self._apply(convert)

    def cpu(self) -> Self:
        """`to("cpu")`."""
        return self.to("cpu")

    def cuda(self, device: DeviceLike = None) -> Self:
        """`to("cuda")`, or to the GPU with that number."""
        return self.to("cuda" if device is None else device)

    def type(self, dst_type: dtypes.dtype) -> Self:
        """Convert all parameters and buffers, integer ones too, to a dtype."""
        return self._apply(lambda t: t.to(dst_type))

    def float(self) -> Self:
        """`to(torch.float32)`."""
        return self.to(dtypes.float32)

    def double(self) -> Self:
        """`to(torch.float64)`."""
        return self.to(dtypes.float64)

    def to_empty(self, *, device: DeviceLike, recurse: bool = True) -> Self:
        """Move to a device without the values, which will be overwritten."""
        return self._apply(lambda t: empty_like(t, device=device or t.device), recurse)

    def share_memory(self) -> Self:
        """Move parameters, buffers and gradients to where other processes reach them.

        A process that is started afterwards with this module trains the same numbers; see
        `Tensor.share_memory_`.
        """
        from tinygrad_edu.multiprocessing.reductions import share

        module: Any = self
        own = [*module.parameters(), *module.buffers()]
        share([*own, *[t._grad for t in own if t._grad is not None]])
        return self

    def half(self) -> Self:
        """`to(torch.float16)`."""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Self:
        """`to(torch.bfloat16)`."""
        return self.to(dtypes.bfloat16)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """From now on `forward` records its operations and replays them; see `torch.compile`."""
        from tinygrad_edu.compiler import compile

        module: Any = self
        vars(self)["forward"] = compile(type(module).forward.__get__(self), *args, **kwargs)


def _parse_to(*args: object, **kwargs: object) -> tuple[Any, Any]:
    """Device and dtype out of the arguments of `to`, None for one that is not given."""
    kwargs.pop("non_blocking", None)
    place, dtype, tensor = (kwargs.pop(key, None) for key in ("device", "dtype", "tensor"))
    if kwargs:
        raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
    for value in args:
        if isinstance(value, Tensor):
            tensor = value
        elif isinstance(value, dtypes.dtype):
            dtype = value
        elif isinstance(value, (str, device)) or type(value) is int:
            place = value
        elif value is not None and not isinstance(value, bool):
            raise TypeError(f"to() received an invalid argument of type {typename(value)}")
    if isinstance(tensor, Tensor):
        place, dtype = tensor.device, tensor.dtype
    return (None if place is None else device(place)), dtype
