"""Max pooling backwards, and over windows at random places."""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.modules.utils import _ntuple
from tinygrad_edu.ops.more import fractional
from tinygrad_edu.tensor import Tensor


class _MaxUnpool(Module):
    dims: ClassVar[int]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()

        def each(value: Any) -> tuple[int, ...]:
            return (value,) * self.dims if isinstance(value, int) else tuple(value)

        self.kernel_size = each(kernel_size)
        self.stride = each(kernel_size if stride is None else stride)
        self.padding = each(padding)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return fractional.max_unpool(
            self.dims, input, indices, self.kernel_size, self.stride, self.padding, output_size
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Zeros with the elements of the input where `MaxPool1d` found them.

    Shape: (N, C, L), positions (N, C, L) -> (N, C, longer L).
    """

    dims = 1


class MaxUnpool2d(_MaxUnpool):
    """Zeros with the elements of the input where `MaxPool2d` found them.

    Shape: (N, C, H, W), positions (N, C, H, W) -> (N, C, *larger).
    """

    dims = 2


class MaxUnpool3d(_MaxUnpool):
    """Zeros with the elements of the input where `MaxPool3d` found them.

    Shape: (N, C, D, H, W), positions of that shape -> (N, C, *larger).
    """

    dims = 3


class _FractionalMaxPool(Module):
    """Args: kernel_size, output_size or output_ratio, return_indices: as of the function."""

    dims: ClassVar[int]

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        every = _ntuple(self.dims)
        self.kernel_size, self.return_indices = every(kernel_size), return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else every(output_size)
        self.output_ratio = None if output_ratio is None else every(output_ratio)
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{type(self).__name__} requires specifying either an output size, or a pooling"
                " ratio"
            )
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if not all(0 < ratio < 1 for ratio in self.output_ratio or ()):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Any:
        pool = getattr(F, f"fractional_max_pool{self.dims}d")
        return pool(
            input,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self.return_indices,
            _random_samples=self._random_samples,
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest element of windows at random places of images; see `F.fractional_max_pool2d`.

    Shape: (N, C, H, W) -> (N, C, *output_size).

    >>> import tinygrad_edu as torch
    >>> torch.nn.FractionalMaxPool2d(3, output_ratio=0.5)(torch.ones(1, 2, 10, 8)).shape
    torch.Size([1, 2, 5, 4])
    """

    dims = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest element of windows at random places of volumes.

    Shape: (N, C, D, H, W) -> (N, C, *output_size).
    """

    dims = 3
