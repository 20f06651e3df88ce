"""Pooling layers; what they compute is written in nn/functional/pooling.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.ops import pooling
from tinygrad_edu.tensor import Tensor


class _MaxPool(Module):
    dims: ClassVar[int]

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        y, index = pooling.max_pool(
            self.dims, input, self.kernel_size, self.stride, self.padding, self.dilation,
            self.ceil_mode,
        )  # fmt: skip
        return (y, index) if self.return_indices else y

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding},"
            f" dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest element of every window of (N, C, L) or (C, L).

    Args:
        kernel_size: of the window; one number, or one per dimension.
        stride: from one window to the next; the kernel size if None.
        padding: on both sides, at most half the window; never the largest.
        dilation: from one element of the window to the next.
        return_indices: return also the positions, for `MaxUnpool1d`.
        ceil_mode: a last window may end outside.

    >>> import tinygrad_edu as torch
    >>> torch.nn.MaxPool1d(2)(torch.tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[3., 2.]])
    """

    dims = 1


class MaxPool2d(_MaxPool):
    """The largest element of every window of (N, C, H, W); options as of `MaxPool1d`."""

    dims = 2


class MaxPool3d(_MaxPool):
    """The largest element of every window of (N, C, D, H, W); options as of `MaxPool1d`."""

    dims = 3


class AvgPool1d(Module):
    """The average of every window of (N, C, L) or (C, L).

    Args:
        kernel_size, stride, padding, ceil_mode: as of `MaxPool1d`; the padding is zeros.
        count_include_pad: whether padding counts in the average.

    >>> import tinygrad_edu as torch
    >>> torch.nn.AvgPool1d(2)(torch.tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[2., 1.]])
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        stride = kernel_size if stride is None else stride
        each = [v if isinstance(v, tuple) else (v,) for v in (kernel_size, stride, padding)]
        self.kernel_size, self.stride, self.padding = each
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad,
        )  # fmt: skip
        return result

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    dims: ClassVar[int]

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return pooling.avg_pool(
            self.dims, input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The average of every window of (N, C, H, W); options as of `AvgPool1d`.

    `divisor_override` is what sums are divided by, if given.
    """

    dims = 2


class AvgPool3d(_AvgPool):
    """The average of every window of (N, C, D, H, W); options as of `AvgPool2d`."""

    dims = 3


class _LPPool(Module):
    dims: ClassVar[int]

    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        pool = (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[self.dims - 1]
        result: Tensor = pool(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )
        return result

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride},"
            f" ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """The p-norm (without absolute values) of every window of (N, C, L), p = `norm_type`."""

    dims = 1


class LPPool2d(_LPPool):
    """The p-norm (without absolute values) of every window of (N, C, H, W)."""

    dims = 2


class LPPool3d(_LPPool):
    """The p-norm (without absolute values) of every window of (N, C, D, H, W)."""

    dims = 3


class _AdaptiveAvgPool(Module):
    dims: ClassVar[int]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return pooling.adaptive_avg_pool(self.dims, input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Averages of windows such that (N, C, L) becomes (N, C, output_size).

    >>> import tinygrad_edu as torch
    >>> torch.nn.AdaptiveAvgPool1d(2)(torch.tensor([[1.0, 3.0, 2.0]]))
    tensor([[2.0000, 2.5000]])
    """

    dims = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Averages of windows such that (N, C, H, W) gets the sizes `output_size`; None keeps one."""

    dims = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Averages of windows such that (N, C, D, H, W) gets the sizes `output_size`."""

    dims = 3


class _AdaptiveMaxPool(_AdaptiveAvgPool):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        y, index = pooling.adaptive_max_pool(self.dims, input, self.output_size)
        return (y, index) if self.return_indices else y


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest elements of the windows that `AdaptiveAvgPool1d` averages.

    Shape: (N, C, L) -> (N, C, output_size).
    """

    dims = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest elements of the windows that `AdaptiveAvgPool2d` averages.

    Shape: (N, C, H, W) -> (N, C, *output_size).
    """

    dims = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest elements of the windows that `AdaptiveAvgPool3d` averages.

    Shape: (N, C, D, H, W) -> (N, C, *output_size).
    """

    dims = 3


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "nn.modules.more.pooling")
