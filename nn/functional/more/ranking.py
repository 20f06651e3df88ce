"""Distances between vectors, and losses that compare vectors or scores with each other.

Every loss takes `reduction`: "none", "sum" or "mean".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import is_floating, scalar_type_name
from tinygrad_edu.engine.boundary import need_long, need_tensors
from tinygrad_edu.engine.composed import composed, of_tensors
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.nn.functional.losses import read_reduction, reduced
from tinygrad_edu.ops.activation import logsigmoid
from tinygrad_edu.ops.arguments import numpy_names
from tinygrad_edu.ops.extrema import minimum
from tinygrad_edu.ops.masking import where
from tinygrad_edu.ops.more.norms import length
from tinygrad_edu.out import write_out
from tinygrad_edu.tensor import Tensor


@numpy_names
@composed(autocast={"cuda": "float32"})
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """`x1 · x2 / (|x1| |x2|)`, the cosine of the angle between vectors along `dim`.

    Args:
        x1, x2: broadcastable shapes.
        eps: lengths below it count as this.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.cosine_similarity(torch.ones(1, 2), torch.tensor([[1.0, 0.0]]))
    tensor([0.7071])
    """
    shape = np.broadcast_shapes(x1.array.shape, x2.array.shape)
    x1, x2 = x1.expand(shape), x2.expand(shape)
    x1 = x1 / x1.norm(dim=dim, keepdim=True).clamp(min=eps)
    x2 = x2 / x2.norm(dim=dim, keepdim=True).clamp(min=eps)
    return (x1 * x2).sum(dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """`|x1 - x2 + eps|`, the p-norm along the last dimension.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.pairwise_distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    tensor([5.0000])
    """
    need_tensors("pairwise_distance", x1=x1, x2=x2)
    return (x1 - x2 + eps).norm(p, -1, keepdim)


@composed(autocast={"cuda": "float32"})
def normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """`x / max(|x|, eps)`: vectors along `dim` brought to p-norm 1.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.normalize(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    y = input / input.norm(p, dim, keepdim=True).clamp(min=eps)
    return write_out("normalize", out, y, input)


@composed(autocast="float32")
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`1 - cos` for pairs with target 1; `max(0, cos - margin)` for pairs with target -1.

    Args:
        input1, input2: vectors, shape (N, D) or (D,).
        target: 1 or -1, shape (N,) or ().

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([[1.0, 0.0]])
    >>> torch.nn.functional.cosine_embedding_loss(x, -x, torch.tensor([1]))
    tensor(2.)
    """
    reduction = read_reduction(size_average, reduce, reduction)
    if target.array.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target.array.ndim != max(input1.array.ndim, input2.array.ndim) - 1:
        raise RuntimeError(
            f"{target.array.ndim}D target tensor expects {target.array.ndim + 1}D input tensors,"
            f" but found inputs with sizes {list(input1.array.shape)} and"
            f" {list(input2.array.shape)}."
        )
    tiny = 1e-12
    lengths = ((input1 * input1).sum(-1) + tiny) * ((input2 * input2).sum(-1) + tiny)
    cos = (input1 * input2).sum(-1) / lengths.sqrt()
    losses = where(target == 1, 1 - cos, 0.0)
    return reduced(losses + where(target == -1, (cos - margin).clamp(min=0), 0.0), reduction)


@composed(autocast="float32")
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The distance `input` itself where the target is 1; `max(0, margin - input)` where it is -1.

    >>> import tinygrad_edu as torch
    >>> d = torch.tensor([0.25, 0.25])
    >>> torch.nn.functional.hinge_embedding_loss(d, torch.tensor([1, -1]), reduction="none")
    tensor([0.2500, 0.7500])
    """
    need_tensors("hinge_embedding_loss", input=input, target=target)
    reduction = read_reduction(size_average, reduce, reduction)
    far = where(target != 1, (margin - input).clamp(min=0), 0.0)
    return reduced(where(target != -1, input, 0.0) + far, reduction)


@composed(autocast="float32")
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`max(0, margin - target * (input1 - input2))`: target 1 wants input1 the larger, -1 input2.

    >>> import tinygrad_edu as torch
    >>> f = torch.nn.functional.margin_ranking_loss
    >>> f(torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([1.0]))
    tensor(2.)
    """
    reduction = read_reduction(size_average, reduce, reduction)
    if not input1.array.ndim == input2.array.ndim == target.array.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes:"
            f" input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return reduced((-target * (input1 - input2) + margin).clamp(min=0), reduction)


@composed(autocast="float32")
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`max(0, margin + |anchor - positive| - |anchor - negative|)`, p-norms.

    Args:
        swap: take the smaller of |anchor - negative| and |positive - negative|.

    Source: Balntas et al., "Learning Local Feature Descriptors with Triplets", 2016.

    >>> import tinygrad_edu as torch
    >>> a, b = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
    >>> torch.nn.functional.triplet_margin_loss(a, b, a)
    tensor(6.0000)
    """
    reduction = read_reduction(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.array.ndim == positive.array.ndim == negative.array.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of"
            f" dimensions, but got: anchor {anchor.array.ndim}D, positive {positive.array.ndim}D,"
            f" and negative {negative.array.ndim}D inputs"
        )
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = far.minimum(pairwise_distance(positive, negative, p, eps))
    return reduced((margin + near - far).clamp(min=0), reduction)


@composed(autocast="float32")
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`log(1 + exp(-target * input))`, target 1 or -1.

    Unlike torch, a large wrong score gives its loss, not infinity.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.soft_margin_loss(torch.zeros(1), torch.ones(1))
    tensor(0.6931)
    """
    need_tensors("soft_margin_loss", input=input, target=target)
    reduction = read_reduction(size_average, reduce, reduction)
    return reduced(-logsigmoid(input * target), reduction)


@composed(autocast="float32")
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`sum over i != t of max(0, margin - x[t] + x[i])**p / C`, for scores x and right class t.

    Args:
        input: scores, shape (N, C) or (C,).
        target: right classes, int64, shape (N,) or ().
        p: 1 or 2.
        weight: of each class, shape (C,).

    Raises:
        ValueError: p is neither 1 nor 2.
        RuntimeError: a class outside [0, C), or shapes that do not fit.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([[0.0, 0.5, 2.0]])
    >>> torch.nn.functional.multi_margin_loss(x, torch.tensor([2]), margin=2.0)
    tensor(0.1667)
    """
    reduction = read_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    if input.ndim > 2 or tuple(input.shape)[-1:] == (0,):
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got:"
            f" {list(input.shape)}"
        )
    scores = input if input.array.ndim == 2 else input.reshape(1, -1)
    if weight is not None and len(weight) != scores.shape[1]:
        raise RuntimeError(
            f"inconsistent weight size, expected {scores.shape[1]} but got {list(weight.shape)}"
        )
    need_long("expected scalar type Long but found", target.array)
    right, classes = target.array.reshape(-1), scores.array.shape[1]
    if len(right) != len(scores.array):
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input"
            f" samples (batch size). Expected target size [{len(scores.array)}], but got"
            f" {list(target.array.shape)}. Input has shape {list(input.array.shape)}."
        )
    if right.size and (right.min() < 0 or right.max() >= classes):
        raise RuntimeError("target out of range")
    column = target.reshape(-1, 1)
    gaps: Any = margin - scores.gather(1, column) + scores
    wrong = np.arange(classes, like=right) != right[:, None]
    gaps = where(wrap(wrong & (gaps.array > 0)), gaps, 0.0)
    losses = gaps * gaps if p == 2 else gaps
    losses = (losses if weight is None else losses * weight[column]).sum(1) / classes
    return reduced(losses if input.array.ndim == 2 else losses.squeeze(0), reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy with logits, averaged over the classes in the last dimension.

    Args:
        input: scores, shape (N, C) or (C,).
        target: 1 for the classes that apply, 0 for the others.
        weight: of each class, shape (C,).

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.multilabel_soft_margin_loss(torch.zeros(1, 2), torch.ones(1, 2))
    tensor(0.6931)
    """
    if size_average is None and reduce is None and reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    reduction = read_reduction(size_average, reduce, reduction)
    losses: Any = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    losses = losses if weight is None else losses * weight
    dim = input.dim() - 1  # of the scores, whatever the target's shape makes of them
    return reduced(losses.sum(dim) / input.size(dim), reduction)


@composed(autocast={"cpu": "float32"})
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`sum of max(0, 1 - x[j] + x[i]) / C` over classes j that apply and i that do not.

    Args:
        input: scores, shape (N, C) or (C,).
        target: the classes that apply, int64, then -1, then anything; the shape of `input`.

    Raises:
        RuntimeError: a class outside [-1, C), or shapes that do not fit.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([[0.1, 0.2, 0.4, 0.8]])
    >>> torch.nn.functional.multilabel_margin_loss(x, torch.tensor([[3, 0, -1, 1]]))
    tensor(0.8500)
    """
    reduction = read_reduction(size_average, reduce, reduction)
    shape, right = input.array.shape, target.array
    if len(shape) > 2 or shape[-1:] == (0,):
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got:"
            f" {list(shape)}"
        )
    if right.shape != shape:
        raise RuntimeError(
            f"inconsistent target size: {list(right.shape)} for input of size: {list(shape)}"
        )
    if right.dtype != np.int64:
        raise RuntimeError(f"expected scalar type Long but found {scalar_type_name(right.dtype)}")
    classes = shape[-1] if shape else 1
    scores, right = input.reshape(-1, classes), right.reshape(-1, classes)
    if right.size and (right.min() < -1 or right.max() >= classes):
        raise RuntimeError("argument #2 'target' is out of range")
    named = np.cumsum(right == -1, 1) == 0
    right = np.where(named, right, 0)
    rows = np.arange(len(right), like=right)[:, None]
    applies = np.zeros_like(right, dtype=bool)
    applies[np.broadcast_to(rows, right.shape)[named], right[named]] = True
    gaps: Any = 1 - scores.gather(1, wrap(right)).unsqueeze(2) + scores.unsqueeze(1)
    counted = wrap(named[:, :, None] & ~applies[:, None, :] & (gaps.array > 0))
    losses = where(counted, gaps, 0.0).sum((1, 2)) / classes
    return reduced(losses if len(shape) == 2 else losses.squeeze(0), reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`max(0, margin + d(anchor, positive) - d(anchor, negative))` for any distance d.

    Args:
        distance_function: d; None: `pairwise_distance`.
        swap: take d(positive, negative) where it is smaller than d(anchor, negative).

    Raises:
        ValueError: the margin is not positive.
        RuntimeError: numbers of dimensions that differ.

    >>> import tinygrad_edu as torch
    >>> a, p, n = torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([3.0])
    >>> F = torch.nn.functional
    >>> F.triplet_margin_with_distance_loss(a, p, n, distance_function=lambda x, y: abs(x - y))
    tensor(0.)
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of"
            f" dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative"
            f" {negative.ndim}D inputs"
        )
    d = pairwise_distance if distance_function is None else distance_function
    near, far = d(anchor, positive), d(anchor, negative)
    if swap:
        far = minimum(far, d(positive, negative))
    return reduced((margin + near - far).clamp(min=0), reduction)


@of_tensors
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norms of the differences of all pairs of rows: (N, D) -> (N (N - 1) / 2,).

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.pdist(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 4.0]]))
    tensor([5., 4., 3.])
    """
    x = input.array
    if x.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {x.ndim}D")
    if not is_floating(x.dtype):
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    i, j = (wrap(np.asarray(side, like=x)) for side in np.triu_indices(len(x), 1))
    return length(input[i] - input[j], p)
