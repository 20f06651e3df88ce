"""What the distributions share: broadcast parameters, probabilities and logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from tinygrad_edu.dtypes import finfo, get_default_dtype
from tinygrad_edu.engine.switches import enable_grad
from tinygrad_edu.ops.activation import sigmoid
from tinygrad_edu.ops.creation import empty, tensor
from tinygrad_edu.ops.shape import broadcast_tensors
from tinygrad_edu.ops.softmax import softmax
from tinygrad_edu.tensor import Tensor

euler_constant = 0.57721566490153286060


class lazy_property(cached_property[Any]):
    """A property computed once, on first use, and differentiable even if that is under no_grad."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        super().__init__(enable_grad()(wrapped))


def broadcast_all(*values: object) -> tuple[Tensor, ...]:
    """The values as tensors of one shape; numbers take the dtype of the first tensor.

    Raises:
        ValueError: a value is neither a number nor a tensor.
    """
    if not all([isinstance(v, (Tensor, int, float)) for v in values]):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects implementing"
            " __torch_function__."
        )
    like = next((v for v in values if isinstance(v, Tensor)), None)
    dtype = get_default_dtype() if like is None else like.dtype
    device = None if like is None else like.device
    return tuple(
        broadcast_tensors(
            *[v if isinstance(v, Tensor) else tensor(v, dtype=dtype, device=device) for v in values]
        )
    )


def new_empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """An uninitialised tensor of that shape, and the dtype and device of `like`."""
    return empty(tuple(shape), dtype=like.dtype, device=like.device)


def sum_rightmost(value: Any, dims: int) -> Any:
    """The sum over the last `dims` dimensions."""
    return value if dims == 0 else value.reshape(*value.shape[: value.dim() - dims], -1).sum(-1)


def either(probs: Any, logits: Any) -> None:
    """ValueError unless exactly one of the two is given."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities of log-odds (if binary), or of unnormalised log-probabilities."""
    return sigmoid(logits) if is_binary else softmax(logits, -1)


def clamp_probs(probs: Any) -> Any:
    """Moved from 0 and 1 by the dtype's eps."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Any:
    """log p, or log(p / (1 - p)) if binary, of probabilities kept from 0 and 1."""
    clamped = clamp_probs(probs)
    return clamped.log() - (-clamped).log1p() if is_binary else clamped.log()
