"""Parameter and Buffer: the two kinds of tensors a module owns.

A parameter is trained; a buffer is not, but belongs to the module's state: a running mean, say.
Both share the array they are made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import default, is_floating
from tinygrad_edu.engine.nodes import AccumulateGrad
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.ops.creation import empty
from tinygrad_edu.tensor import Tensor, parameter_class

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike, Dtype


def _share(cls: type[Any], data: Tensor | None) -> Any:
    """A tensor of class `cls` on the memory of `data`, without its history."""
    if data is not None and not isinstance(data, Tensor):
        raise TypeError(f"{cls.__name__}(): argument 'data' must be Tensor, not {_kind(data)}")
    t = object.__new__(cls)
    if data is None:
        data = wrap(np.empty(0, default()))
    t.array, t._storage = data.array, data._storage
    return t


def _kind(value: object) -> str:
    return type(value).__name__


def clear_gradient(parameter: Tensor, set_to_none: bool) -> None:
    """What `zero_grad` does to one parameter: `.grad` becomes None, or zeros in its own memory."""
    if set_to_none:
        parameter._grad = None
    elif parameter.grad is not None:
        if parameter.grad.grad_fn is not None:
            parameter.grad.detach_()
        else:  # it may be a view, of a flat buffer of gradients, which detach_ refuses
            parameter.grad.requires_grad_(False)
        parameter.grad.zero_()


class Parameter(Tensor):
    """A tensor to be trained: assigned to a module's attribute, it joins `module.parameters()`.

    Args:
        data: a tensor, whose memory the parameter shares; None for an empty one.
        requires_grad: whether it is to receive gradients.

    Raises:
        RuntimeError: it requires grad but does not hold floats.

    >>> import tinygrad_edu as torch
    >>> torch.nn.Parameter(torch.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        parameter: Parameter = _share(cls, data)
        if requires_grad:
            if not is_floating(parameter.array.dtype):
                raise RuntimeError(
                    "Only Tensors of floating point and complex dtype can require gradients"
                )
            parameter.node = AccumulateGrad(parameter)
        return parameter

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        pass  # made by __new__

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """A parameter with a copy of the values; gradients are not copied."""
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        copied: Parameter = memo[id(self)]
        return copied


parameter_class.append(Parameter)


class Buffer(Tensor):
    """A tensor that belongs to a module's state without being trained.

    Assigned to a module's attribute, it is registered as by `register_buffer`.

    Args:
        data: a tensor, whose memory the buffer shares; None for an empty one.
        persistent: whether `state_dict` contains it.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.Module()
    >>> layer.steps = torch.nn.Buffer(torch.zeros(1))
    >>> list(layer.state_dict())
    ['steps']
    """

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        buffer: Buffer = _share(cls, data)
        buffer.persistent = persistent
        if data is not None and data.requires_grad:
            buffer.requires_grad_()
        return buffer

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        pass  # made by __new__

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild_buffer, (type(self), self.data, self.persistent, self.requires_grad)


def _rebuild_buffer(cls: type[Buffer], data: Tensor, persistent: bool, grad: bool) -> Buffer:
    buffer = cls(data, persistent=persistent)
    buffer.requires_grad_(grad)
    return buffer


# Without a shape yet ------------------------------------------------------------------------------


class _Uninitialized(Tensor):
    """A tensor whose shape is not known yet; its dtype and device are those of an empty array."""

    becomes: type[Tensor]

    @property
    def _empty(self) -> Any:
        return self.__dict__["array"]

    @property
    def array(self) -> Any:
        raise ValueError(
            "Attempted to use an uninitialized parameter. This error happens when you are using a"
            f" `LazyModule` or explicitly manipulating `torch.nn.parameter.{type(self).__name__}`"
            " objects. When using LazyModules Call `forward` with a dummy batch to initialize the"
            " parameters before calling torch functions"
        )

    @array.setter
    def array(self, value: object) -> None:
        self.__dict__["array"] = value

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually"
            " happens in `load_state_dict` when trying to load an uninitialized parameter into an"
            " initialized one. Call `forward` to initialize the parameters before accessing their"
            " attributes."
        )

    @property
    def data(self) -> Tensor:
        return wrap(self._empty)

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array = value.array

    @property
    def dtype(self) -> Any:
        return wrap(self._empty).dtype

    @property
    def device(self) -> Any:
        return wrap(self._empty).device

    def is_floating_point(self) -> bool:
        return is_floating(self._empty.dtype)

    def detach(self) -> Any:
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        return self._like_me(wrap(self._empty).to(*args, **kwargs).array, self.requires_grad)

    def materialize(
        self, shape: int | Sequence[int], device: DeviceLike = None, dtype: Dtype = None
    ) -> None:
        """Become a tensor of the given shape; its values are arbitrary until they are set."""
        like = wrap(self._empty)
        made = like.new_empty(shape, device=device or like.device, dtype=dtype or like.dtype)
        self.array = made.array
        self.__class__ = self.becomes  # type: ignore[assignment]

    def __repr__(self, **options: object) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = self._like_me(self._empty.copy(), self.requires_grad)
        return memo[id(self)]


def _shapeless(cls: type[Any], device: DeviceLike, dtype: Dtype) -> Any:
    t = object.__new__(cls)
    made = empty(0, device=device, dtype=dtype)
    t.array, t._storage = made.array, made._storage
    return t


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter of a lazy layer, before it has seen an input."""

    becomes = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: Any = None, dtype: Any = None
    ) -> UninitializedParameter:
        parameter: UninitializedParameter = _shapeless(cls, device, dtype)
        if requires_grad:
            parameter.node = AccumulateGrad(parameter)
        return parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        pass  # made by __new__


class UninitializedBuffer(_Uninitialized):
    """A buffer of a lazy layer, before it has seen an input."""

    becomes = Tensor
    persistent: bool

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
        persistent: bool = True,
    ) -> UninitializedBuffer:  # fmt: skip
        buffer: UninitializedBuffer = _shapeless(cls, device, dtype)
        buffer.persistent = persistent
        return buffer

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None,
        persistent: bool = True,
    ) -> None:  # fmt: skip
        pass  # made by __new__


def is_lazy(param: object) -> bool:
    """Whether it is a parameter or buffer without a shape yet."""
    return isinstance(param, _Uninitialized)
