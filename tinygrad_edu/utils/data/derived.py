"""Samples of several datasets side by side, and a dataset cut at random."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

from tinygrad_edu.random import Generator, default_generator, randperm
from tinygrad_edu.utils.data.dataset import Dataset, Subset, samples

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class StackDataset(Dataset[Any]):
    """Sample i is the tuple, or the dict, of the samples i of several datasets.

    Args:
        args, kwargs: datasets of equal length, either all by position or all by name.

    Raises:
        ValueError: no dataset, both forms at once, or lengths that differ.

    >>> data = StackDataset(letter="ab", number=[1, 2])
    >>> data[1]
    {'letter': 'b', 'number': 2}
    """

    datasets: tuple[Any, ...] | dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args and kwargs:
            raise ValueError(
                "datasets are given either by position, for tuples, or by name, for dicts;"
                " but both are given"
            )
        parts = args or tuple(kwargs.values())
        if not parts:
            raise ValueError("At least one dataset should be passed")
        self._length = len(parts[0])
        if any(len(part) != self._length for part in parts):
            raise ValueError(f"Size mismatch between datasets: {[len(part) for part in parts]}")
        self.datasets = args or kwargs

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {name: part[index] for name, part in self.datasets.items()}
        return tuple(part[index] for part in self.datasets)

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """The samples of a batch, all asked at once of datasets that define `__getitems__`."""
        if isinstance(self.datasets, dict):
            columns = [samples(part, indices) for part in self.datasets.values()]
            return [
                dict(zip(self.datasets, row, strict=True)) for row in zip(*columns, strict=True)
            ]
        return list(zip(*[samples(part, indices) for part in self.datasets], strict=True))

    def __len__(self) -> int:
        return self._length


def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: Generator | None = default_generator
) -> list[Subset[Any]]:
    """Deal the samples out at random into subsets that do not overlap.

    Args:
        dataset: has a length N.
        lengths: the sizes of the subsets, with sum N; or fractions in [0, 1] with sum 1. Samples
            that rounding the fractions down leaves over go to the first subsets, one each.
        generator: draws the order.

    Raises:
        ValueError: the sum is not N, or a fraction is outside [0, 1].

    >>> import tinygrad_edu as torch
    >>> parts = random_split(range(10), [0.8, 0.2], torch.Generator().manual_seed(0))
    >>> [len(part) for part in parts], list(parts[1])
    ([8, 2], [6, 2])
    """
    total = len(dataset)
    sizes = _from_fractions(total, lengths) if _are_fractions(lengths) else lengths
    if sum(sizes) != total:
        raise ValueError(
            "Sum of input lengths does not equal the length of the input dataset!"
            f" ({sum(sizes)} and {total})"
        )
    order = randperm(generator or default_generator, total).tolist()
    ends = itertools.accumulate(int(size) for size in sizes)
    return [
        Subset(dataset, order[end - int(size) : end]) for end, size in zip(ends, sizes, strict=True)
    ]


def _are_fractions(lengths: Sequence[int | float]) -> bool:
    return math.isclose(sum(lengths), 1) and sum(lengths) <= 1


def _from_fractions(total: int, fractions: Sequence[float]) -> list[int]:
    for i, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise ValueError(f"Fraction at index {i} is not between 0 and 1")
    sizes = [math.floor(total * fraction) for fraction in fractions]
    for i in range(total - sum(sizes)):
        sizes[i % len(sizes)] += 1
    for i, size in enumerate(sizes):
        if size == 0:
            warnings.warn(
                f"Length of split at index {i} is 0. This might result in an empty dataset.",
                stacklevel=3,
            )
    return sizes
