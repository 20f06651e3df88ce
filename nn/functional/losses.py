"""Losses of classification and regression.

Every loss takes `reduction`: "none" (one loss per element), "sum", or "mean", the default.  The old
arguments `size_average` and `reduce` are understood, with torch's warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinygrad_edu.dtypes import Array, is_floating, not_implemented, scalar_type_name
from tinygrad_edu.engine.boundary import users_level
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.engine.nodes import absorbing, shown_as
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops import losses as classes
from tinygrad_edu.ops import losses as ops
from tinygrad_edu.ops.reduction import _mean, _sum
from tinygrad_edu.tensor import Tensor


def legacy_reduction(size_average: bool | None, reduce: bool | None) -> str:
    """The `reduction` that the old arguments mean, with torch's warning."""
    if reduce is False:
        reduction = "none"
    else:
        reduction = "sum" if size_average is False else "mean"
    warnings.warn(
        "size_average and reduce args will be deprecated, please use"
        f" reduction='{reduction}' instead.",
        stacklevel=users_level(),
    )
    return reduction


def read_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction meant by the three arguments; ValueError if it is unknown."""
    if size_average is not None or reduce is not None:
        return legacy_reduction(size_average, reduce)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The losses themselves, their sum or their mean."""
    if reduction == "none":
        return losses
    op = _sum if reduction == "sum" else _mean
    total: Tensor = absorbing(op, losses)(losses, None, False, None)
    return total


def _warn_of_broadcasting(input: Tensor, target: Tensor) -> None:
    if input.array.shape != target.array.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size"
            f" ({input.shape}). This will likely lead to incorrect results due to broadcasting."
            " Please ensure they have the same size.",
            stacklevel=users_level(),
        )


def _weighted(
    losses: Tensor, weight: Tensor | None, shape: int | Sequence[int], reduction: str
) -> Tensor:
    """Reduce weighted losses; the mean is divided by the sum of the weights."""
    if weight is None:
        return reduced(losses, reduction)
    if weight.array.shape != shape:
        raise ValueError("Weights and input must have the same size.")
    losses = losses * weight
    return losses.sum() / weight.sum() if reduction == "mean" else reduced(losses, reduction)


@composed(autocast={"cuda": "float32", "cpu": "in_two_steps"})
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """`-log softmax(input)[t]`, averaged over all rows: the loss of classification.

    Args:
        input: scores, shape (C,), (N, C) or (N, C, d1, ...).
        target: right classes, int64 or uint8, in [0, C), shape (), (N,) or (N, d1, ...); or the
            probability of every class, floats of the shape of `input`.
        weight: of each class, shape (C,); "mean" then divides by the sum of the weights used.
        ignore_index: rows with this class are left out.
        reduction: "none", "sum" or "mean".
        label_smoothing: in [0, 1]: how much probability moves from the right class to all alike.

    Raises:
        IndexError: a class outside [0, C).
        ValueError: numbers of rows differ, or no such reduction.
        RuntimeError: other shapes or dtypes.

    Source: smoothing: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7.

    >>> import tinygrad_edu as torch
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1]))
    tensor(0.1269)
    """
    reduction = read_reduction(size_average, reduce, reduction)
    try:
        return classes.cross_entropy(
            input, target, weight, ignore_index, reduction, label_smoothing
        )
    except (RuntimeError, ValueError) as error:
        from tinygrad_edu.engine.shape_hints import add_hint

        add_hint(error, "cross_entropy", (input, target))
        raise


@composed(autocast="float32")
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """`-input[t]`: as `cross_entropy`, of scores that are log-probabilities already.

    Args and errors are those of `cross_entropy`.

    >>> import tinygrad_edu as torch
    >>> logp = torch.log_softmax(torch.tensor([[2.0, 0.0]]), 1)
    >>> torch.nn.functional.nll_loss(logp, torch.tensor([0]))
    tensor(0.1269)
    """
    reduction = read_reduction(size_average, reduce, reduction)
    loss = classes.nll_loss(input, target, weight, ignore_index, reduction)
    return shown_as(loss, f"NllLoss{classes.as_images(input, 'x')}", x=input)


@composed(autocast="float32")
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The mean of `(input - target)**2`.

    Args:
        input, target: floats, equal shapes (others broadcast, with a warning).
        reduction: "none", "sum" or "mean".
        weight: of each element; "mean" then divides by the sum of the weights.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.mse_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(2.)
    """
    _warn_of_broadcasting(input, target)
    reduction = read_reduction(size_average, reduce, reduction)
    if not is_floating(input.array.dtype) and not is_floating(target.array.dtype):
        raise not_implemented("mse_cpu", input.array.dtype)
    return _weighted(ops.squared_error(input, target), weight, input.array.shape, reduction)


@composed(autocast="float32")
def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The mean of `|input - target|`; arguments as in `mse_loss`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.l1_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(1.)
    """
    _warn_of_broadcasting(input, target)
    reduction = read_reduction(size_average, reduce, reduction)
    return _weighted(ops.absolute_error(input, target), weight, input.array.shape, reduction)


def _outside_unit(x: Array) -> bool:
    """Whether an element is not in [0, 1]; nan is not."""
    return bool(x.size) and not bool(((x >= 0) & (x <= 1)).all())


@composed(autocast={"cpu": "float32", "cuda": "refused"})
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """`-(t * log(x) + (1 - t) * log(1 - x))`, logarithms cut off at -100.

    Args:
        input: probabilities of yes, in [0, 1].
        target: 1 for yes, 0 for no, or between; shape and dtype of `input`.
        weight: of each element, broadcast.

    Raises:
        ValueError: shapes differ.
        RuntimeError: dtypes differ, or an element lies outside [0, 1].

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.binary_cross_entropy(torch.tensor([0.5]), torch.tensor([1.0]))
    tensor(0.6931)
    """
    reduction = read_reduction(size_average, reduce, reduction)
    x, t = input.array, target.array
    if t.shape != x.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size"
            f" ({input.shape}) is deprecated. Please ensure they have the same size."
        )
    if t.dtype != x.dtype:
        found, expected = scalar_type_name(t.dtype), scalar_type_name(x.dtype)
        raise RuntimeError(f"Found dtype {found} but expected {expected}")
    for name, values in (("input", x), ("target", t)):
        if _outside_unit(values):
            raise RuntimeError(f"all elements of {name} should be between 0 and 1")
    losses = ops.bce(input, target)
    return reduced(losses if weight is None else losses * weight, reduction)


@composed(autocast="float32")
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`binary_cross_entropy(sigmoid(input), target)`, exact for scores of any size.

    Args:
        input: scores, any shape.
        target: 1 for yes, 0 for no, or between; shape of `input`.
        weight: of each element, broadcast.
        pos_weight: how much more a yes counts than a no, broadcast.

    Raises:
        ValueError: shapes differ.

    >>> import tinygrad_edu as torch
    >>> f = torch.nn.functional.binary_cross_entropy_with_logits
    >>> f(torch.tensor([0.0, 1000.0]), torch.tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    reduction = read_reduction(size_average, reduce, reduction)
    if target.array.shape != input.array.shape:
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    if not is_floating(target.array.dtype):
        raise RuntimeError(
            f"result type {scalar_type_name(input.array.dtype)} can't be cast to the desired output"
            f" type {scalar_type_name(target.array.dtype)}"
        )
    if pos_weight is not None and pos_weight.requires_grad and is_recording():
        raise RuntimeError(
            "The function 'binary_cross_entropy_with_logits' is not differentiable with respect"
            " to argument 'pos_weight'. This input cannot have requires_grad True."
        )
    losses = ops.bce_logits(input, target, pos_weight)
    return reduced(losses if weight is None else losses * weight, reduction)


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "nn.functional.more.densities", "nn.functional.more.robust")
