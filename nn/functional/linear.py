"""Maps given by a matrix of weights: linear and bilinear."""

from __future__ import annotations

from tinygrad_edu.engine.boundary import dimension_error, need_tensors
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.ops.matmul import linear
from tinygrad_edu.tensor import Tensor

__all__ = ["bilinear", "linear"]


@of_tensors
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`y[..., o] = sum over i, j of x1[..., i] W[o, i, j] x2[..., j]`, plus `b[o]`.

    Args:
        input1: shape (..., I).
        input2: shape (..., J), the leading dimensions as those of `input1`.
        weight: shape (O, I, J).
        bias: shape (O,), or None.

    Returns:
        A tensor of shape (..., O).

    Raises:
        RuntimeError, IndexError: the shapes do not fit together.

    >>> import tinygrad_edu as torch
    >>> w = torch.ones(1, 2, 3)
    >>> torch.nn.functional.bilinear(torch.ones(5, 2), torch.ones(5, 3), w)[0]
    tensor([6.])
    """
    need_tensors("bilinear", input1=input1, input2=input2, weight=weight)
    if bias is not None:
        need_tensors("bilinear", input1=input1, input2=input2, weight=weight, bias=bias)
    _check(input1, input2, weight, bias)
    out, i, j = weight.shape
    flat = weight.permute(1, 0, 2).reshape(i, out * j)  # (I, O J)
    left = (input1 @ flat).unflatten(-1, (out, j))  # (..., O, J)
    y = (left @ input2.unsqueeze(-1)).squeeze(-1)  # (..., O)
    return y if bias is None else y + bias


def _check(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            "bilinear(): input batch dimensions do not match:"
            f" got {list(input1.shape)} and {list(input2.shape)}"
        )
    if weight.ndim < 3:
        raise dimension_error(2, weight.ndim)
    if weight.ndim > 3:
        raise RuntimeError(f"bilinear(): weight must have 3 dimensions, got {weight.ndim}")
    for n, x in ((1, input1), (2, input2)):
        if x.shape[-1] != weight.shape[n]:
            raise RuntimeError(
                f"bilinear(): input{n} size does not match weight size: got {x.shape[-1]} but"
                f" expected {weight.shape[n]}"
            )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {list(bias.shape)} but"
            f" expected {list(weight.shape[:1])}"
        )
