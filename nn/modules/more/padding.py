"""Padding layers; see `nn.functional.pad`."""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.tensor import Tensor


class _Pad(Module):
    """Args: padding: one number, or two per dimension from the last on: (left, right, top, ...)."""

    dims: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        one = isinstance(padding, int)
        self.padding = (padding,) * (2 * self.dims) if one else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ConstantPad1d(_ConstantPad):
    """`value` around the last dimension.

    Shape: (*, L) -> (*, L + left + right).

    >>> import tinygrad_edu as torch
    >>> torch.nn.ConstantPad1d(1, 9.0)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[9., 1., 2., 3., 9.]])
    """

    dims = 1


class ConstantPad2d(_ConstantPad):
    """`value` around the last 2 dimensions.

    Shape: (*, H, W) -> (*, H + top + bottom, W + left + right).
    """

    dims = 2


class ConstantPad3d(_ConstantPad):
    """`value` around the last 3 dimensions.

    Shape: (*, D, H, W) -> (*, D + front + back, H + top + bottom, W + left + right).
    """

    dims = 3


class ZeroPad1d(_ZeroPad):
    """Zeros around the last dimension.

    Shape: (*, L) -> (*, L + left + right).

    >>> import tinygrad_edu as torch
    >>> torch.nn.ZeroPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[0., 1., 2., 3., 0.]])
    """

    dims = 1


class ZeroPad2d(_ZeroPad):
    """Zeros around the last 2 dimensions.

    Shape: (*, H, W) -> (*, H + top + bottom, W + left + right).
    """

    dims = 2


class ZeroPad3d(_ZeroPad):
    """Zeros around the last 3 dimensions.

    Shape: (*, D, H, W) -> (*, D + front + back, H + top + bottom, W + left + right).
    """

    dims = 3


class _ReflectionPad(_Pad):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPad):
    """The last dimension mirrored at the outermost elements.

    Shape: (*, L) -> (*, L + left + right).

    >>> import tinygrad_edu as torch
    >>> torch.nn.ReflectionPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[2., 1., 2., 3., 2.]])
    """

    dims = 1


class ReflectionPad2d(_ReflectionPad):
    """The last 2 dimensions mirrored at the outermost elements.

    Shape: (*, H, W) -> (*, H + top + bottom, W + left + right).
    """

    dims = 2


class ReflectionPad3d(_ReflectionPad):
    """The last 3 dimensions mirrored at the outermost elements.

    Shape: (*, D, H, W) -> (*, D + front + back, H + top + bottom, W + left + right).
    """

    dims = 3


class _ReplicationPad(_Pad):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPad):
    """The outermost elements of the last dimension repeated.

    Shape: (*, L) -> (*, L + left + right).

    >>> import tinygrad_edu as torch
    >>> torch.nn.ReplicationPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[1., 1., 2., 3., 3.]])
    """

    dims = 1


class ReplicationPad2d(_ReplicationPad):
    """The outermost elements of the last 2 dimensions repeated.

    Shape: (*, H, W) -> (*, H + top + bottom, W + left + right).
    """

    dims = 2


class ReplicationPad3d(_ReplicationPad):
    """The outermost elements of the last 3 dimensions repeated.

    Shape: (*, D, H, W) -> (*, D + front + back, H + top + bottom, W + left + right).
    """

    dims = 3


class _CircularPad(_Pad):
    mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        n = self.dims
        if input.ndim not in (n + 1, n + 2):
            raise ValueError(f"expected {n + 1}D or {n + 2}D input (got {input.ndim}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPad):
    """The last dimension wrapped round.

    Shape: (*, L) -> (*, L + left + right).

    >>> import tinygrad_edu as torch
    >>> torch.nn.CircularPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 1., 2., 3., 1.]])
    """

    dims = 1


class CircularPad2d(_CircularPad):
    """The last 2 dimensions wrapped round.

    Shape: (*, H, W) -> (*, H + top + bottom, W + left + right).
    """

    dims = 2


class CircularPad3d(_CircularPad):
    """The last 3 dimensions wrapped round.

    Shape: (*, D, H, W) -> (*, D + front + back, H + top + bottom, W + left + right).
    """

    dims = 3
