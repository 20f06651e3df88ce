"""Dropout layers: while training, random activations or channels are set to zero."""

from __future__ import annotations

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.functional.dropout import check_probability
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.tensor import Tensor


class _DropoutNd(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability(p)
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    """While training, each element is zero with probability p, else multiplied by 1 / (1 - p).

    Shape: (*) -> (*).

    Args:
        p: the probability, in [0, 1].
        inplace: overwrite the input.

    Raises:
        ValueError: p is outside [0, 1].

    Source: Srivastava et al., "Dropout", 2014.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.Dropout(0.5)
    >>> _ = torch.manual_seed(0); layer(torch.ones(4))
    tensor([0., 0., 2., 0.])
    >>> layer.eval()(torch.ones(4))
    tensor([1., 1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_DropoutNd):
    """As `Dropout`, but whole channels of an input (N, C, L) or (C, L) are zero.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.Dropout1d()(torch.ones(3, 2))
    tensor([[0., 0.],
            [0., 0.],
            [2., 2.]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_DropoutNd):
    """As `Dropout`, but whole channels of an input (N, C, H, W) are zero.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.Dropout2d()(torch.ones(1, 3, 1, 2)).flatten()
    tensor([0., 0., 0., 0., 2., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_DropoutNd):
    """As `Dropout`, but whole channels of an input (N, C, D, H, W) or (C, D, H, W) are zero.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.Dropout3d()(torch.ones(1, 3, 1, 1, 2)).flatten()
    tensor([0., 0., 0., 0., 2., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_DropoutNd):
    """Dropout that keeps mean 0 and variance 1, for networks of SELUs; see `F.alpha_dropout`.

    Shape: (*) -> (*).

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.AlphaDropout()(torch.ones(3))
    tensor([-0.7792, -0.7792,  1.6656])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.alpha_dropout(input, self.p, self.training, self.inplace)


class FeatureAlphaDropout(_DropoutNd):
    """As `AlphaDropout`, but whole channels of an input (N, C, ...) are dropped.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.FeatureAlphaDropout()(torch.ones(2, 2))
    tensor([[-0.7792, -0.7792],
            [ 1.6656, -0.7792]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.feature_alpha_dropout(input, self.p, self.training, self.inplace)
