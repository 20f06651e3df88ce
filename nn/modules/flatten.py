"""Flatten and Unflatten: changes of shape as layers."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.tensor import Tensor


class Flatten(Module):
    """Join the dimensions from `start_dim` to `end_dim` into one.

    Shape: (N, *) -> (N, product of *) by default.

    >>> import tinygrad_edu as torch
    >>> torch.nn.Flatten()(torch.ones(32, 1, 28, 28)).shape
    torch.Size([32, 784])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split the dimension `dim` into several.

    Shape: (*, product of sizes, *) -> (*, *sizes, *).

    Args:
        dim: the dimension to split.
        unflattened_size: the sizes it is split into.

    Raises:
        TypeError: `unflattened_size` is not a tuple or list of ints.

    >>> import tinygrad_edu as torch
    >>> torch.nn.Unflatten(1, (2, 5))(torch.ones(3, 10)).shape
    torch.Size([3, 2, 5])
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(dim, int):
            raise TypeError("invalid argument type for dim parameter")
        _require_sizes(unflattened_size)
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


def _require_sizes(sizes: Sequence[int]) -> None:
    if not isinstance(sizes, (tuple, list)):
        raise TypeError(
            f"unflattened_size must be tuple or list, but found type {type(sizes).__name__}"
        )
    for i, size in enumerate(sizes):
        if not isinstance(size, int):
            raise TypeError(
                "unflattened_size must be tuple of ints, but found element of type"
                f" {type(size).__name__} at pos {i}"
            )
