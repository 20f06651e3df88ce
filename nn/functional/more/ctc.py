"""The loss of connectionist temporal classification; see ops/ctc.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu.backend import beside, device, to_device
from tinygrad_edu.dtypes import Array, not_implemented
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.nn.functional.losses import read_reduction, reduced
from tinygrad_edu.ops.more.ctc import ctc
from tinygrad_edu.tensor import Tensor


@composed(autocast={"cpu": "float32"})
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-probability that the outputs spell the target, repeats merged, blanks dropped.

    Args:
        log_probs: of the classes at each time, shape (T, N, C) or (T, C), after `log_softmax`.
        targets: labels, shape (N, S) or, one target after the other, (sum of target_lengths,).
        input_lengths: how many times of each row count, N integers <= T.
        target_lengths: how many labels each target has, N integers.
        blank: the class that means "no label".
        reduction: "none", "sum", or "mean": each loss divided by its target's length, averaged.
        zero_infinity: targets that cannot be spelt in time have loss 0 and no gradient.

    Raises:
        RuntimeError: lengths, labels or `blank` out of range.

    Source: Graves et al., "Connectionist Temporal Classification", 2006.

    >>> import tinygrad_edu as torch
    >>> log_probs = torch.full((2, 1, 2), 0.5).log()  # two times, a blank or a label
    >>> torch.nn.functional.ctc_loss(log_probs, torch.tensor([[1]]), (2,), (1,)).exp()
    tensor(1.3333)
    """
    reduction = read_reduction(None, None, reduction)
    x = log_probs if log_probs.array.ndim == 3 else log_probs.unsqueeze(1)
    _check(log_probs, targets, blank)
    steps, n, classes = x.array.shape
    times = _lengths("input_lengths", input_lengths, n, steps)
    ends = _lengths("target_lengths", target_lengths, n, None)
    states = _states(targets.array, ends, blank, classes)
    ends = beside(ends, x.array)
    losses: Any = ctc(x, beside(states, x.array), beside(times, x.array), ends, zero_infinity)
    if reduction == "mean":
        result: Tensor = (losses / wrap(np.maximum(ends, 1).astype(x.array.dtype))).mean()
        return result
    single = log_probs.array.ndim == 2 and reduction == "none"
    return losses[0] if single else reduced(losses, reduction)


def _check(log_probs: Tensor, targets: Tensor, blank: int) -> None:
    x, labels = log_probs.array, targets.array
    if x.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 3-dimensional tensor, but got {x.ndim}-dimensional tensor for argument #1"
            " 'log_probs' (while checking arguments for ctc_loss_allocate_outputs)"
        )
    if labels.ndim not in (1, 2):
        raise RuntimeError(
            f"Expected 1 to 2 dimensions, but got {labels.ndim}-dimensional tensor for argument #2"
            " 'targets' (while checking arguments for ctc_loss_allocate_outputs)"
        )
    if not x.size:
        raise RuntimeError("log_probs tensor must not be empty")
    if x.dtype not in (np.float32, np.float64):
        raise not_implemented("ctc_loss_cpu", x.dtype)
    if not 0 <= blank < x.shape[-1]:
        raise RuntimeError("blank must be in label range")


def _lengths(name: str, given: object, n: int, most: int | None) -> Array:
    """The lengths on the CPU."""
    if isinstance(given, Tensor) and given.array.dtype.kind not in "iu":
        raise RuntimeError(f"{name} must be integral")
    values = given.tolist() if isinstance(given, Tensor) else given
    lengths = np.array(values, np.int64).reshape(-1)
    if len(lengths) != n:
        raise RuntimeError(f"{name} must be of size batch_size")
    for length in lengths.tolist():
        if length < 0 or most is not None and length > most:
            bound = f"at least 0, but got value {length}"
            bound = bound if length < 0 else f"at most {most}, but got value {length}"
            raise RuntimeError(f"Expected {name} to have value {bound}")
    return lengths


def _states(targets: Array, ends: Array, blank: int, classes: int) -> Array:
    """The labels of each target with blanks between them, on the CPU: (N, 2 S + 1)."""
    labels = to_device(targets, device("cpu")).astype(np.int64)
    longest = int(ends.max())
    states = np.full((len(ends), 2 * longest + 1), blank, np.int64)
    if labels.ndim == 1 and labels.size != ends.sum():
        raise RuntimeError(
            f"Expected tensor to have size {int(ends.sum())} at dimension 0, but got size"
            f" {labels.size} for argument #2 'targets'"
        )
    if labels.ndim == 2 and len(labels) != len(ends):
        raise RuntimeError(f"expected targets of {len(ends)} rows, got {len(labels)}")
    if labels.ndim == 2 and labels.shape[1] < longest:
        raise RuntimeError(
            f"Expected tensor to have size at least {longest} at dimension 1, but got size"
            f" {labels.shape[1]} for argument #2 'targets'"
        )
    begins = np.cumsum(ends) - ends
    for row, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        mine = labels[begin : begin + end] if labels.ndim == 1 else labels[row, :end]
        if mine.size and not 0 <= mine.min() <= mine.max() < classes:
            raise RuntimeError(f"targets must be labels in [0, {classes}), got {mine.tolist()}")
        states[row, 1 : 2 * end : 2] = mine
    return states
