"""`learning_rate`: the loss by learning rate, and which to take."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_edu.nn import Module
from tinygrad_edu.nn.functional import cross_entropy
from tinygrad_edu.optim import SGD
from tinygrad_edu.see.charts import lines


class Curve:
    """What was found: `rates`, the smoothed `losses` there, and the `suggestion`."""

    def __init__(self, rates: list[float], losses: list[float]) -> None:
        self.rates, self.losses = rates, losses
        slopes = [b - a for a, b in zip(losses, losses[1:], strict=False)]
        steepest = min(range(len(slopes)), key=slopes.__getitem__) if slopes else 0
        self.suggestion = rates[steepest]

    def __repr__(self) -> str:
        return (
            f"learning rate {self.suggestion:.2g}: the loss falls fastest there"
            f" (tried {self.rates[0]:.2g} to {self.rates[-1]:.2g})"
        )

    def svg(self) -> str:
        """The curve, with the suggestion marked."""
        losses = {"loss": self.losses}
        return lines(self.rates, losses, "learning rate", log_x=True, mark=self.suggestion)

    _repr_svg_ = svg


def learning_rate(
    model: Module,
    loader: Iterable[Any],
    loss: Callable[..., Any] | None = None,
    optimizer: Any = None,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
) -> Curve:
    """Train for some steps while the learning rate grows, and find where the loss falls fastest.

    Each step multiplies the rate by the same factor; the losses are smoothed by an exponential
    mean of 0.9, and the search ends early once that is four times its least.  The model and the
    optimizer are put back as they were.

    Args:
        model: called with the first part of each batch.
        loader: batches (x, y), gone through again as often as needed.
        loss: `loss(output, y)`; cross-entropy unless given.
        optimizer: of the model; SGD unless given.
        low, high: the first and the last rate, above 0.
        steps: how many to try.

    Raises:
        ValueError: `low` is not above 0 and below `high`, `steps` below 2, or no batches.

    Source: Smith, "Cyclical learning rates for training neural networks", 2017, section 3.3.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> model, x = torch.nn.Linear(2, 2), torch.randn(64, 2)
    >>> curve = torch.see.learning_rate(model, [(x, (x[:, 0] > 0).long())])
    >>> 1e-3 < curve.suggestion < 10
    True
    """
    if not 0 < low < high or steps < 2:
        raise ValueError(
            "see.learning_rate: expected 0 < low < high and at least 2 steps, got"
            f" low={low}, high={high}, steps={steps}"
        )
    measure = loss if loss is not None else cross_entropy
    descent = optimizer if optimizer is not None else SGD(model.parameters(), lr=low)
    before = copy.deepcopy((model.state_dict(), descent.state_dict()))
    grads = [(p, p.grad) for p in model.parameters()]
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    try:
        for k, (x, y) in zip(range(steps), _again(loader), strict=False):
            rate = low * (high / low) ** (k / (steps - 1))
            for group in descent.param_groups:
                group["lr"] = rate
            descent.zero_grad()
            now = measure(model(x), y)
            now.backward()
            descent.step()
            mean = 0.9 * mean + 0.1 * now.item()
            smooth = mean / (1 - 0.9 ** (k + 1))
            if not math.isfinite(smooth) or (losses and smooth > 4 * min(losses)):
                break
            rates.append(rate)
            losses.append(smooth)
    finally:
        model.load_state_dict(before[0])
        descent.load_state_dict(before[1])
        for p, grad in grads:
            p.grad = grad
    return Curve(rates, losses)


def _again(loader: Iterable[Any]) -> Iterable[Any]:
    """Its batches, over and over."""
    while True:
        none = True
        for batch in loader:
            none = False
            yield batch
        if none:
            raise ValueError("see.learning_rate: the loader has no batches")
