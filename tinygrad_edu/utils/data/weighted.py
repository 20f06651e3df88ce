"""Indices drawn with weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from tinygrad_edu.dtypes import float64
from tinygrad_edu.ops.creation import as_tensor
from tinygrad_edu.random import (
    Generator,
    default_generator,
    multinomial,
)
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.utils.data.sampler import Sampler, _require_positive

T_co = TypeVar("T_co", covariant=True)


class WeightedRandomSampler(Sampler[int]):
    """Index i is drawn with a probability proportional to `weights[i]`.

    Args:
        weights: N numbers >= 0, not all 0.
        num_samples: how many to draw.
        replacement: an index may come again.
        generator: the default generator unless given.

    Raises:
        ValueError: `num_samples` is not a positive int, `replacement` not a bool, `weights` not a
            sequence of numbers.
        RuntimeError: (when it is iterated over) weights that are negative, infinite or all 0, or
            more samples than indices without replacement.

    >>> list(WeightedRandomSampler([0.0, 1.0], 3))
    [1, 1, 1]
    """

    weights: Tensor
    num_samples: int
    replacement: bool

    def __init__(
        self,
        weights: Sequence[float] | Tensor,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        _require_positive("num_samples", num_samples, bool)
        if not isinstance(replacement, bool):
            raise ValueError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        self.weights = as_tensor(weights, dtype=float64)
        if self.weights.ndim != 1:
            raise ValueError(
                "weights should be a 1d sequence but given weights have shape"
                f" {tuple(self.weights.shape)}"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        generator = self.generator or default_generator
        drawn = multinomial(generator, self.weights.array, self.num_samples, self.replacement)
        yield from drawn.tolist()

    def __len__(self) -> int:
        return self.num_samples
