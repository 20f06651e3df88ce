"""Layers that learn the size of their input from the first one: `LazyLinear(10)`.

Until then they have parameters without a shape; then they become the ordinary layer.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.nn.modules.batchnorm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from tinygrad_edu.nn.modules.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from tinygrad_edu.nn.modules.linear import Linear
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import (
    Parameter,
    UninitializedBuffer,
    UninitializedParameter,
    is_lazy,
)
from tinygrad_edu.ops.creation import tensor
from tinygrad_edu.tensor import Tensor


class LazyModuleMixin(Module):
    """What lazy layers share; `initialize_parameters(input)` gives the parameters their shapes.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.LazyLinear(2)
    >>> layer.weight
    <UninitializedParameter>
    >>> _ = layer(torch.ones(4, 3)); layer
    Linear(in_features=3, out_features=2, bias=True)
    """

    cls_to_become: ClassVar[type[Any] | None] = None
    size: ClassVar[str]
    """The attribute that the first input sets; 0 until then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._take_shapes)
        self._initialize_hook = self.register_forward_pre_hook(
            self._infer_parameters, with_kwargs=True
        )

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(map(is_lazy, [*self._parameters.values(), *self._buffers.values()]))

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters shapes that fit the input, and values."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {self.__class__.__name__}"
        )

    def reset_parameters(self) -> None:
        """Draw new initial values, if there are shapes."""
        if not self.has_uninitialized_params() and getattr(self, self.size) != 0:
            super().reset_parameters()  # type: ignore[misc]

    def _infer_parameters(self, module: Any, args: Any, kwargs: Any = None) -> None:
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook, module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _take_shapes(self, state_dict: Any, prefix: str, *rest: object) -> None:
        """Give parameters without a shape the shapes of the values that will be loaded."""
        for name, own in [*self._parameters.items(), *self._buffers.items()]:
            given = state_dict.get(prefix + name)
            if is_lazy(own) and given is not None and not is_lazy(given):
                lazy: Any = own
                lazy.materialize(given.shape)

    def _load_one(self, key: str, name: str, value: Any, given: Any, *rest: Any) -> None:
        if not (is_lazy(value) and is_lazy(given)):
            super()._load_one(key, name, value, given, *rest)


class LazyLinear(LazyModuleMixin, Linear):
    """A `Linear` whose `in_features` is the last size of its first input.

    Shape: as `Linear`.

    Args:
        out_features, bias, device, dtype: as of `Linear`.
    """

    cls_to_become, size = Linear, "in_features"

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input: Tensor) -> None:
        if self.has_uninitialized_params():
            with no_grad():
                self.in_features = int(input.shape[-1])
                _shape(self.weight, (self.out_features, self.in_features))
                _shape(self.bias, (self.out_features,))
                self.reset_parameters()
        if self.in_features == 0:  # its values have been loaded
            if input.shape[-1] != self.weight.shape[-1]:
                raise AssertionError(
                    f"The in_features inferred from input: {input.shape[-1]} is not equal to"
                    f" in_features from self.weight: {self.weight.shape[-1]}"
                )
            self.in_features = int(input.shape[-1])


def _shape(parameter: Any, shape: tuple[int, ...]) -> None:
    if parameter is not None:
        parameter.materialize(shape)


class _LazyConv(LazyModuleMixin):
    """Args: as of the layer, without `in_channels`."""

    size = "in_channels"
    weight: Parameter
    bias: Parameter | None
    dims: ClassVar[int]
    transposed: ClassVar[bool]
    order: ClassVar[tuple[str, ...]] = (
        "stride", "padding", "dilation", "groups", "bias", "padding_mode", "device", "dtype",
    )  # fmt: skip

    def __init__(self, out_channels: int, kernel_size: Any, *args: Any, **options: Any) -> None:
        if len(args) > len(self.order):
            raise TypeError(f"{type(self).__name__} takes at most {len(self.order) + 2} arguments")
        options |= dict(zip(self.order, args, strict=False))
        bias = options.pop("bias", True)
        super().__init__(0, 0, kernel_size, bias=False, **options)
        place: dict[str, Any] = dict(device=options.get("device"), dtype=options.get("dtype"))
        self.weight = UninitializedParameter(**place)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(**place)

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        if not self.has_uninitialized_params():
            return
        n = self.dims
        if input.ndim not in (n + 1, n + 2):
            raise RuntimeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to"
                f" {self.__class__.__name__}, but got input of size: {input.shape}"
            )
        self.in_channels = channels = int(input.shape[-n - 1])
        if channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        sizes = self.out_channels, channels // self.groups
        if self.transposed:
            sizes = channels, self.out_channels // self.groups
        _shape(self.weight, (*sizes, *self.kernel_size))
        _shape(self.bias, (self.out_channels,))
        self.reset_parameters()


class _LazyConvTranspose(_LazyConv):
    order = (
        "stride", "padding", "output_padding", "groups", "bias", "dilation", "padding_mode",
        "device", "dtype",
    )  # fmt: skip


class LazyConv1d(_LazyConv, Conv1d):
    """A `Conv1d` whose `in_channels` is that of its first input.

    Shape: as `Conv1d`.
    """

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """A `Conv2d` whose `in_channels` is that of its first input.

    Shape: as `Conv2d`.
    """

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """A `Conv3d` whose `in_channels` is that of its first input.

    Shape: as `Conv3d`.
    """

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """A `ConvTranspose1d` whose `in_channels` is that of its first input.

    Shape: as `ConvTranspose1d`.
    """

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """A `ConvTranspose2d` whose `in_channels` is that of its first input.

    Shape: as `ConvTranspose2d`.
    """

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """A `ConvTranspose3d` whose `in_channels` is that of its first input.

    Shape: as `ConvTranspose3d`.
    """

    cls_to_become = ConvTranspose3d


class _LazyNorm(LazyModuleMixin):
    """Args: as of the layer, without `num_features`."""

    size = "num_features"
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False)
        place: dict[str, Any] = dict(device=device, dtype=dtype)
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self.weight = UninitializedParameter(**place)
            if bias:
                self.bias = UninitializedParameter(**place)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(**place)
            self.running_var = UninitializedBuffer(**place)
            self.num_batches_tracked = tensor(0, device=device)

    def initialize_parameters(self, input: Tensor) -> None:
        if self.has_uninitialized_params():
            self.num_features = int(input.shape[1])
            for own in (self.weight, self.bias, self.running_mean, self.running_var):
                _shape(own, (self.num_features,))
            self.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """A `BatchNorm1d` whose `num_features` is that of its first input.

    Shape: as `BatchNorm1d`.
    """

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """A `BatchNorm2d` whose `num_features` is that of its first input.

    Shape: as `BatchNorm2d`.
    """

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """A `BatchNorm3d` whose `num_features` is that of its first input.

    Shape: as `BatchNorm3d`.
    """

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """An `InstanceNorm1d` whose `num_features` is that of its first input.

    Shape: as `InstanceNorm1d`.
    """

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """An `InstanceNorm2d` whose `num_features` is that of its first input.

    Shape: as `InstanceNorm2d`.
    """

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    """An `InstanceNorm3d` whose `num_features` is that of its first input.

    Shape: as `InstanceNorm3d`.
    """

    cls_to_become = InstanceNorm3d
