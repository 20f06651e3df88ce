"""Convolution layers in 1, 2 and 3 dimensions, and transposed ones."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import init
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.ops.convolution import _conv, _conv_transpose
from tinygrad_edu.ops.creation import empty
from tinygrad_edu.tensor import Tensor

_MODES = ("zeros", "reflect", "replicate", "circular")


def _tuple(value: Any, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value)


class _ConvNd(Module):
    """What all convolution layers have: sizes, a weight, perhaps a bias, and how they start."""

    dims: ClassVar[int]
    transposed: ClassVar[bool] = False
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any,
        dilation: Any, output_padding: Any, groups: int, bias: bool, padding_mode: str, device: Any,
        dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        n = self.dims
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(
                    f"Invalid padding string {padding!r}, should be one of ('valid', 'same')"
                )
            if padding == "same" and any([s != 1 for s in _tuple(stride, n)]):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _MODES:
            raise ValueError(f"padding_mode must be one of {_MODES}, but got {padding_mode!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = _tuple(kernel_size, n)
        self.stride, self.dilation = _tuple(stride, n), _tuple(dilation, n)
        self.padding = padding if isinstance(padding, str) else _tuple(padding, n)
        self.output_padding = _tuple(output_padding, n)
        self.groups, self.padding_mode = groups, padding_mode
        first, second = out_channels, in_channels // groups
        if self.transposed:
            first, second = in_channels, out_channels // groups
        shape = (first, second, *self.kernel_size)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        self.bias = Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values, uniform on (-k, k) with k = 1 / sqrt(fan in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in:
                init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def extra_repr(self) -> str:
        shown = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        shown += f", stride={self.stride}"
        for name, usual in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            if value != (usual,) * self.dims:
                shown += f", {name}={value}"
        if self.groups != 1:
            shown += f", groups={self.groups}"
        if self.bias is None:
            shown += ", bias=False"
        if self.padding_mode != "zeros":
            shown += f", padding_mode={self.padding_mode}"
        return shown


class _Conv(_ConvNd):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._borders(), mode=self.padding_mode), 0
        return _conv(
            self.dims, input, self.weight, self.bias, self.stride, padding, self.dilation,
            self.groups,
        )  # fmt: skip

    def _borders(self) -> list[int]:
        """The padding as `F.pad` takes it: from the last dimension on, before and after."""
        pairs = []
        for i in reversed(range(self.dims)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                pairs += [total // 2, total - total // 2]
            else:
                size = 0 if self.padding == "valid" else int(self.padding[i])
                pairs += [size, size]
        return pairs


class Conv1d(_Conv):
    """Convolution of an input (N, C, L) or (C, L); see `nn.functional.conv1d`.

    Args:
        in_channels, out_channels: sizes of the channel dimension before and after.
        kernel_size: of the window.
        stride: positions from one window to the next.
        padding: on both sides; "valid" means none, "same" keeps the size.
        dilation: positions from one element of the kernel to the next.
        groups: number of parts the channels are split into, each convolved by itself.
        bias: whether there is a bias.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        device, dtype: of the parameters.

    Raises:
        ValueError: the groups do not divide the channels, or a word is unknown.

    >>> import tinygrad_edu as torch
    >>> torch.nn.Conv1d(2, 4, 3, padding="same")(torch.ones(1, 2, 10)).shape
    torch.Size([1, 4, 10])
    """

    dims = 1


class Conv2d(_Conv):
    """Convolution of an input (N, C, H, W) or (C, H, W); the options are those of `Conv1d`.

    Each of the sizes may be one number or one per dimension.

    >>> import tinygrad_edu as torch
    >>> torch.nn.Conv2d(1, 4, 3, stride=(1, 2))
    Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 2))
    """

    dims = 2


class Conv3d(_Conv):
    """Convolution of an input (N, C, D, H, W) or (C, D, H, W); options as of `Conv1d`."""

    dims = 3


class _ConvTranspose(_ConvNd):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
        dilation: Any = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if padding_mode != "zeros":
            raise ValueError(
                f'Only "zeros" padding mode is supported for {self.__class__.__name__}'
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        return _conv_transpose(
            self.dims, input, self.weight, self.bias, self.stride, self.padding, extra,
            self.groups, self.dilation,
        )  # fmt: skip

    def _extra(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives the wanted sizes."""
        n = self.dims
        wanted = list(output_size)[-n:]
        if len(output_size) not in (n, input.ndim):
            raise ValueError(
                f"{self.__class__.__name__}: for {input.ndim}D input, output_size must have {n} or"
                f" {input.ndim} elements (got {len(output_size)})"
            )
        least = [
            (size - 1) * s - 2 * p + d * (k - 1) + 1
            for size, s, p, d, k in zip(
                input.shape[-n:], self.stride, _tuple(self.padding, n), self.dilation,
                self.kernel_size,
                strict=True,
            )
        ]  # fmt: skip
        most = [size + s - 1 for size, s in zip(least, self.stride, strict=True)]
        if any([not a <= w <= b for a, w, b in zip(least, wanted, most, strict=True)]):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to"
                f" {most} (for an input of {list(input.shape[-n:])})"
            )
        return tuple([w - a for w, a in zip(wanted, least, strict=True)])


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of (N, C, L) or (C, L); see `nn.functional.conv_transpose1d`.

    Args:
        output_padding: positions added at the end of the output.
        in_channels, out_channels, kernel_size, stride, padding, groups, bias, dilation: as of
            `Conv1d`.

    `forward(input, output_size)` chooses the output padding that gives this size.

    >>> import tinygrad_edu as torch
    >>> torch.nn.ConvTranspose1d(2, 4, 3, stride=2)(torch.ones(1, 2, 10)).shape
    torch.Size([1, 4, 21])
    """

    dims = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of (N, C, H, W) or (C, H, W); options as of `ConvTranspose1d`."""

    dims = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of (N, C, D, H, W); options as of `ConvTranspose1d`."""

    dims = 3
