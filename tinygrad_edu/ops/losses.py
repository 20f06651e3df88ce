"""Losses: how far each element lies from its target, and the cross-entropy of classes.

nll_loss(logp, t) = -logp[t]            cross_entropy(x, t) = nll_loss(log_softmax(x), t)

Reductions and torch's argument lists are added in nn/functional/losses.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    floating,
    from_numpy,
    is_floating,
    not_implemented,
    promote,
    scalar_type_name,
)
from tinygrad_edu.engine.boundary import need_tensors
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.engine.nodes import shown_as
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import current_node
from tinygrad_edu.kernels import cross_entropy as kernel
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops.activation import log_sigmoid, logsigmoid
from tinygrad_edu.ops.arithmetic import _sub
from tinygrad_edu.ops.elementary import log, sigmoid
from tinygrad_edu.ops.extrema import clamp, gate
from tinygrad_edu.ops.gathering import gather
from tinygrad_edu.ops.masking import where
from tinygrad_edu.ops.rounding import abs
from tinygrad_edu.ops.softmax import log_softmax

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import Dtype
    from tinygrad_edu.tensor import Tensor


@primitive(node="MseLoss")
def squared_error(a: Array, b: Array) -> Array:
    """`(a - b)**2`."""
    a, b = promote(a, b)
    d = np.subtract(a, b)
    return np.multiply(d, d, out=d if d.ndim else None)


squared_error.vjp(a=lambda g, a, b: (a - b) * (2 * g),
                  b=lambda g, a, b: (b - a) * (2 * g))  # fmt: skip


def absolute_error(a: Tensor, b: Tensor) -> Tensor:
    """`|a - b|`; its derivative at 0 is taken to be 0."""
    return abs(_sub(a, b))


def _log(x: Tensor) -> Tensor:
    """The logarithm, but not below -100: a probability of 0 costs 100, not infinity."""
    return clamp(log(x), -100.0, None)


@primitive(node="BinaryCrossEntropy")
def bce(x: Array, t: Array) -> Array:
    """`-(t * log(x) + (1 - t) * log(1 - x))` of a probability x, logarithms not below -100."""
    right = np.maximum(np.log(x), -100.0)
    wrong = np.maximum(np.log1p(-x), -100.0)
    return (t - 1) * wrong - t * right


bce.vjp(x=lambda g, x, t: g * (x - t) / clamp(x * (1 - x), 1e-12, None),
        t=lambda g, x: g * (_log(1 - x) - _log(x)))  # fmt: skip


@primitive(node="BinaryCrossEntropyWithLogits")
def bce_logits(x: Array, t: Array, yes: Array | None = None) -> Array:
    """`bce(sigmoid(x), t)` without the rounding of sigmoid: `(1 - t) * x - log(sigmoid(x))`.

    Args:
        yes: how much more a yes counts than a no.
    """
    x, t = promote(floating(x), t)
    log = log_sigmoid(x)
    return (1 - t) * x - (log if yes is None else ((yes - 1) * t + 1) * log)


def _bce_logits_gradient(g: Any, x: Any, t: float | Tensor, yes: Any) -> Any:
    if yes is None:
        return g * (sigmoid(x) - t)
    return g * ((yes * t + 1 - t) * sigmoid(x) - yes * t)


def _bce_logits_of_target(g: Tensor, x: Tensor, yes: object) -> Tensor:
    return -g * x if yes is None else g * (logsigmoid(-x) - yes * logsigmoid(x))


bce_logits.vjp(x=_bce_logits_gradient, t=_bce_logits_of_target)


def _integers(target: Array) -> Array:
    """Classes as int64; RuntimeError if they are neither that nor uint8."""
    if target.dtype == np.uint8:
        return target.astype(np.int64)
    if target.dtype != np.int64:
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {scalar_type_name(target.dtype)}"
        )
    return target


def read_classes(target: Array, count: int, ignore_index: int) -> tuple[Array, Array | None]:
    """The classes, 0 where a row is ignored, and a mask of the ignored rows (None if none is).

    Raises:
        IndexError: a class that is not ignored lies outside [0, count).
        RuntimeError: `target` holds no int64 or uint8.
    """
    target = _integers(target)
    if not target.size:
        return target, None
    if not isinstance(target, np.ndarray):  # looking at the classes would mean waiting for the GPU
        ignored = target == ignore_index
        return np.where(ignored, 0, target), ignored
    # A negative number read as unsigned is huge: one comparison finds both ways of being outside.
    if target.view(np.uint64).max() < count and not 0 <= ignore_index < count:
        return target, None
    ignored = target == ignore_index
    wrong = ((target < 0) | (target >= count)) & ~ignored
    if wrong.any():
        raise IndexError(f"Target {int(target[wrong][0])} is out of bounds.")
    return np.where(ignored, 0, target), ignored


def _row_weights(
    weight: Array | None, classes: Array, ignored: Array | None, dtype: Dtype
) -> Array | None:
    """What each row counts: the weight of its class, 0 if ignored; None if all count 1."""
    if weight is not None:
        counts = weight[classes] if weight.size else np.zeros_like(classes)
        counts = counts.astype(dtype, copy=False)
        return counts if ignored is None else np.where(ignored, counts.dtype.type(0), counts)
    return None if ignored is None else (~ignored).astype(dtype)


@primitive(
    saves=("classes", "exponentials", "sums", "shares", "ignored"), node="NllLoss(LogSoftmax(x))"
)
def _cross_entropy(
    x: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str
) -> Any:
    """Cross-entropy of scores x (N, C) with classes (N,).

    `shares` is what each row's loss counts in the result, an array (N,) or one number for all;
    `ignored` marks the rows that do not count, None if there are none.
    """
    wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
    if x.size and launch.ready(wide):
        classes = _integers(target)
        counts = None if weight is None else weight.astype(wide.dtype, copy=False)
        y, *kept = cuda.softmax.cross_entropy(wide, classes, counts, ignore_index, reduction)
        return y.astype(x.dtype, copy=False), classes, *kept, None
    classes, ignored = read_classes(target, x.shape[1], ignore_index)
    losses, exponentials, sums = kernel.forward(wide, classes)
    counts = _row_weights(weight, classes, ignored, wide.dtype)
    if ignored is not None:
        losses = np.where(ignored, losses.dtype.type(0), losses)  # even if infinite
    y = losses if weight is None else losses * counts  # 0 already where a row is ignored
    shares = 1.0 if counts is None else counts
    if reduction != "none":
        y = y.sum()
    if reduction == "mean":
        total = len(x) if counts is None else counts.sum()
        y = y / total  # nan if there is nothing to average
        if counts is None:
            shares = shares / max(total, 1)
        elif weight is None and not isinstance(x, np.ndarray):
            shares = counts / total  # 0 / 0 if all rows are ignored, and then get 0
        else:  # 0 / 0 for rows that count, but count nothing
            nothing = total == 0
            shares = np.where(nothing, counts.dtype.type(np.nan), counts / (total + nothing))
    return y.astype(x.dtype, copy=False), classes, exponentials, sums, shares, ignored


def _of_rows(g: Array, shares: object, ignored: Array | None) -> Array:
    """What arrives at each row's loss; 0 at ignored rows, whatever `g` is."""
    return g * shares if ignored is None else gate(g * shares, ~ignored)


def _scores_gradient(
    g: Array, target: Array, classes: Array, exponentials: Array, sums: Array, shares: Any,
    ignored: Array | None, ignore_index: int,
) -> Array:  # fmt: skip
    """`classes` may be the memory of the target, which is named so that it is watched."""
    if exponentials.size and launch.ready(exponentials):
        return cuda.softmax.cross_entropy_gradient(
            g, classes, exponentials, sums, shares, ignore_index
        )
    return kernel.backward(_of_rows(g, shares, ignored), classes, exponentials, sums)


_cross_entropy.vjp(x=_scores_gradient)


@_cross_entropy.defined_as
def _composed(
    x: Tensor, target: Tensor, weight: Tensor, ignore_index: int, reduction: str
) -> Tensor:
    return _nll(log_softmax(x, 1), target, weight, ignore_index, reduction)


def _nll(x: Any, target: Array, weight: Array | None, ignore_index: int, reduction: str) -> Tensor:
    """NLL of log-probabilities, a tensor (N, C, ...) or (C,), with an array of classes."""
    dim = 0 if len(x.shape) == 1 else 1
    classes, ignored = read_classes(target, x.shape[dim], ignore_index)
    if x.shape[dim]:
        index = np.expand_dims(classes, dim).copy()  # it may be the memory of the target
        losses = -gather(x, dim, index).squeeze(dim)  # checks the classes
    else:  # all rows are ignored: there is no class they could have
        losses = x.sum(dim)
    counts = _row_weights(weight, classes, ignored, x.array.dtype)
    if ignored is not None:
        losses = where(ignored, 0.0, losses)
    if weight is not None:
        losses = losses * counts
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / (float(classes.size) if counts is None else counts.sum())


def _fitting(x: Tensor, target: Tensor) -> Tensor:
    """The classes: (N, ...) for scores (N, C, ...), () for (C,), to which (1,) fits too.

    Raises:
        RuntimeError, ValueError: torch's, for other shapes.
    """
    shape, expected = list(target.array.shape), list(x.array.shape)
    if not expected:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if len(expected) == 1:
        if len(shape) > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if shape and shape[0] != 1:
            raise ValueError(
                f"For 1D input, 1D target must have size 1, but got target size: {shape[0]}"
            )
        return target.reshape(()) if shape else target
    del expected[1]
    if shape and shape[0] != expected[0] or not shape:
        raise ValueError(
            f"Expected input batch_size ({expected[0]}) to match target batch_size"
            f" ({shape[0] if shape else 1})."
        )
    if shape != expected:
        if len(expected) == 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        raise RuntimeError(f"Expected target size {expected}, got {shape}")
    return target


def _check_weight(x: Tensor, weight: Tensor | None) -> Array | None:
    """The array of a weight that fits `x`, or None."""
    if weight is None:
        return None
    classes = x.array.shape[0 if x.array.ndim == 1 else 1]
    if weight.array.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but"
            f" got weight tensor of shape: {list(weight.array.shape)}"
        )
    if is_recording() and current_node(weight) is not None:
        raise RuntimeError(
            "The function 'nll_loss_forward' is not differentiable with respect to argument"
            " 'weight'. This input cannot have requires_grad True."
        )
    if weight.array.dtype != x.array.dtype:
        expected, found = from_numpy(x.array.dtype), from_numpy(weight.array.dtype)
        raise RuntimeError(f"expected scalar type {expected!r} but found {found!r}")
    return weight.array


def as_images(input: Tensor, below: str) -> str:
    """torch sees what has more than two dimensions as images, which have four."""
    n = input.array.ndim
    return f"({below})" if n < 3 else f"2D({below})" if n == 4 else f"2D(View({below}))"


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> Tensor:
    """`-weight[t] * input[t]` for every row's class t; see `nn.functional.nll_loss`."""
    need_tensors("nll_loss_nd", input=input, target=target)
    target = _fitting(input, target)
    return _nll(input, target.array, _check_weight(input, weight), ignore_index, reduction)


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str,
    label_smoothing: float,
) -> Tensor:  # fmt: skip
    """Cross-entropy of scores with classes or probabilities; see `nn.functional.cross_entropy`."""
    need_tensors("cross_entropy_loss", input=input, target=target)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if not is_floating(input.array.dtype):
        raise not_implemented("log_softmax_lastdim_kernel_impl", input.array.dtype)
    if input.array.shape == target.array.shape:
        return _with_probabilities(input, target, weight, ignore_index, reduction, label_smoothing)
    target = _fitting(input, target)
    weights = _check_weight(input, weight)
    if label_smoothing > 0.0:
        return _smoothed(
            input,
            target.array,
            None if weights is None else weights.copy(),
            ignore_index,
            reduction,
            label_smoothing,
        )
    dim = 0 if input.array.ndim == 1 else 1
    if not input.array.shape[dim]:
        return _nll(log_softmax(input, dim), target.array, weights, ignore_index, reduction)
    if input.array.ndim == 2:
        return _cross_entropy(input, target, weight, ignore_index, reduction)
    classes = input.array.shape[dim]
    rows = input if input.array.ndim == 1 else input.movedim(1, -1)
    losses = _cross_entropy(
        rows.reshape(-1, classes), target.reshape(-1), weight, ignore_index, reduction
    )
    losses = losses.reshape(target.array.shape) if reduction == "none" else losses
    return shown_as(losses, f"NllLoss{as_images(input, 'LogSoftmax(x)')}", x=input)


def _smoothed(
    x: Tensor, target: Array, weight: Array | None, ignore_index: int, reduction: str,
    smoothing: float,
) -> Tensor:  # fmt: skip
    """Part of the probability, `smoothing`, is moved from the right class to all alike."""
    dim = 0 if x.array.ndim == 1 else 1
    logp = log_softmax(x, dim)
    right = _nll(logp, target, weight, ignore_index, reduction)
    classes, ignored = read_classes(target, x.array.shape[dim], ignore_index)
    if weight is not None:
        logp = logp * weight.reshape([-1] + [1] * (x.array.ndim - 1 - dim))
    alike: Any = -logp.sum(dim)
    if ignored is not None:
        alike = where(ignored.reshape(alike.shape), 0.0, alike)
    if reduction == "sum":
        alike = alike.sum()
    if reduction == "mean":
        counts = _row_weights(weight, classes, ignored, x.array.dtype)
        alike = alike.sum() / (float(classes.size) if counts is None else counts.sum())
    alike = alike.reshape(right.array.shape)
    count = x.array.shape[dim]
    losses: Tensor = (1 - smoothing) * right + (smoothing / count if count else math.nan) * alike
    return losses


def _with_probabilities(
    x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str,
    smoothing: float,
) -> Tensor:  # fmt: skip
    """The target gives the probability of every class: `-sum(weight * target * log_softmax(x))`."""
    if not is_floating(target.array.dtype):
        kind = scalar_type_name(target.array.dtype)
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {kind}"
        )
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    dim = 0 if x.array.ndim == 1 else 1
    count = x.array.shape[dim] if x.array.ndim else 1
    if smoothing > 0.0:
        target = target * (1 - smoothing) + smoothing / count
    if weight is not None:
        if weight.array.shape != (count,):
            raise RuntimeError(
                f"cross_entropy: weight tensor should be defined for all {count} classes but got"
                f" weight tensor of shape: {list(weight.array.shape)}"
            )
        target = target * weight.reshape([-1] + [1] * (x.array.ndim - 1 - dim))
    losses: Any = -(log_softmax(x, dim) * target)
    total: Tensor = losses.sum(dim) if reduction == "none" else losses.sum()
    return total / (x.array.size / count if count else 0.0) if reduction == "mean" else total


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.special", "ops.more.robust")
