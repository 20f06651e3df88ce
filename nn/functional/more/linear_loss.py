"""Cross-entropy of a linear layer: the last layer of a language model and its loss in one."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tinygrad_edu import dtypes
from tinygrad_edu.nn.functional.linear import linear
from tinygrad_edu.nn.functional.losses import cross_entropy
from tinygrad_edu.tensor import Tensor


@dataclasses.dataclass(slots=True, frozen=True)
class LinearCrossEntropyOptions:
    """How torch computes `linear_cross_entropy` in pieces; checked here, to no effect.

    Raises:
        ValueError: an option that torch does not know.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: dtypes.dtype | None = None

    def __post_init__(self) -> None:
        if self.acc_policy not in ("auto", "accurate", "balanced", "compact"):
            raise ValueError(f"invalid acc_policy: {self.acc_policy!r}")
        name, colon, factor = (self.chunking_method or "auto").partition(":")
        known = name == "aspect_ratio" and (not colon or factor.isdigit() and int(factor) > 0)
        if self.chunking_method not in (None, "auto") and not known:
            raise ValueError(f"invalid chunking_method: {self.chunking_method!r}")
        size = self.batch_chunk_size
        if size is not None and not (isinstance(size, int) and size > 0):
            raise ValueError(f"batch_chunk_size must be positive int or None, got {size!r}")
        if self.acc_dtype is not None and not self.acc_dtype.is_floating_point:
            raise ValueError(
                "acc_dtype must be one of {None, torch.float16, torch.bfloat16, torch.float32,"
                f" torch.float64}}, got {self.acc_dtype!r}"
            )


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Tensor:
    """`cross_entropy(linear(input, linear_weight, linear_bias), target)`.

    Args:
        input: shape (N, D) or (D,).
        linear_weight: (C, D); or (C, d1, ..., D) for targets of more dimensions.
        target: classes, (N, d1, ...), or probabilities, (N, C, d1, ...).
        linear_bias: (C, d1, ...).
        weight, reduction, ignore_index, label_smoothing: as of `cross_entropy`.

    Raises:
        RuntimeError: shapes do not fit.

    Unlike torch, `options` saves no memory: the scores of all classes are computed at once.

    >>> import tinygrad_edu as torch
    >>> w, target = torch.tensor([[2.0], [0.0]]), torch.tensor([0])
    >>> torch.nn.functional.linear_cross_entropy(torch.ones(1, 1), w, target)
    tensor(0.1269)
    """
    x, w = tuple(input.shape), tuple(linear_weight.shape)
    if len(x) not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {len(x)}")
    if len(w) < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {len(w)}")
    if x[-1] != w[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), got"
            f" {x[-1]} and {w[-1]}, respectively"
        )
    if linear_bias is not None and tuple(linear_bias.shape) != w[:-1]:
        raise RuntimeError(f"expected linear_bias shape {w[:-1]}, got {tuple(linear_bias.shape)}")
    if len(w) > 2 and len(x) == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {w} requires batched input,"
            f" (N, {x[-1]}), got unbatched input with shape {x}"
        )
    shape = (*x[:-1], *w[:-1])
    if tuple(target.shape) == shape and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    bias: Any = None if linear_bias is None else linear_bias.reshape(-1)
    scores = linear(input, linear_weight.reshape(math.prod(w[:-1]), w[-1]), bias).reshape(shape)
    return cross_entropy(
        scores,
        target,
        weight=weight,
        reduction=reduction,
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=label_smoothing,
    )
