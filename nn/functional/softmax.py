"""Softmax, log-softmax and softmin; without `dim` they choose one as old torch programs expect.

`_stacklevel` counts from the caller of the function; the decorator stands in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu.ops import softmax as ops
from tinygrad_edu.ops.arguments import named
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import Dtype


@named()
def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """`exp(x) / sum(exp(x))` along `dim`; see `torch.softmax`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.softmax(torch.zeros(1, 2), dim=1)
    tensor([[0.5000, 0.5000]])
    """
    if dim is None:
        dim = ops.implied_dim("softmax", input.array.ndim, _stacklevel + 1)
    return ops.softmax(input, dim, dtype)


@named()
def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Dtype = None
) -> Tensor:
    """`x - log(sum(exp(x)))` along `dim`; see `torch.log_softmax`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.log_softmax(torch.tensor([0.0, 1000.0]), dim=0)
    tensor([-1000.,     0.])
    """
    if dim is None:
        dim = ops.implied_dim("log_softmax", input.array.ndim, _stacklevel + 1)
    return ops.log_softmax(input, dim, dtype)


@named()
def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Dtype = None
) -> Tensor:
    """`softmax(-x)`: the smallest score gets the largest probability.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.softmin(torch.zeros(2), dim=0)
    tensor([0.5000, 0.5000])
    """
    if dim is None:
        dim = ops.implied_dim("softmin", input.array.ndim, _stacklevel + 1)
    return ops.softmax(-input, dim, dtype)
