"""In which order the samples of a dataset are used.

The random ones draw the same numbers from a generator as torch's, so that after the same seed
epochs shuffle alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.random import (
    Generator,
    default_generator,
    fill_random,
    randint,
    randperm,
)

T_co = TypeVar("T_co", covariant=True)


def draw_seed(generator: Generator | None) -> int:
    """A seed in [0, 2**63) for another generator, drawn from this one or the default one."""
    seed = np.empty((), np.int64)
    fill_random(generator or default_generator, seed)
    return int(seed)


class Sampler(Generic[T_co]):
    """An order of samples: a subclass defines `__iter__`, which yields indices or lists of them.

    It may define `__len__`, the number of things it yields, which `len(loader)` asks for.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ... up to the length of `data_source`.

    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    data_source: Sized

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """The indices of `data_source` in random order, or drawn with replacement.

    Args:
        data_source: has a length N.
        replacement: draw each index from all N, so that it may come again.
        num_samples: how many to yield, N unless given; without replacement, more than N begin a
            new order.
        generator: draws the order; unless given, one seeded from the default generator each time.

    Raises:
        TypeError: `replacement` is not a bool.
        ValueError: `num_samples` is not a positive int (with N = 0, the default is not).

    >>> import tinygrad_edu as torch
    >>> list(RandomSampler(range(5), generator=torch.Generator().manual_seed(0)))
    [4, 0, 1, 3, 2]
    """

    data_source: Sized
    replacement: bool

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        _require_positive("num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        """How many indices one pass yields."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, wanted = len(self.data_source), self.num_samples
        generator = self.generator
        if generator is None:
            generator = Generator().manual_seed(draw_seed(None))
        if self.replacement:
            for start in range(0, wanted, 32):  # drawn 32 at a time, as late as possible
                yield from randint(generator, 0, n, (min(32, wanted - start),)).tolist()
            return
        for _ in range(wanted // n):
            yield from randperm(generator, n).tolist()
        # Also drawn when none of it is wanted: torch does, and a generator that is used for more
        # than one epoch must stay in step.
        yield from randperm(generator, n).tolist()[: wanted % n]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order.

    Args:
        indices: any sequence.
        generator: draws the order; the default generator unless given.

    >>> import tinygrad_edu as torch
    >>> list(SubsetRandomSampler("abcde", generator=torch.Generator().manual_seed(0)))
    ['e', 'a', 'b', 'd', 'c']
    """

    indices: Sequence[int]

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        generator = self.generator or default_generator
        for i in randperm(generator, len(self.indices)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` indices of another sampler.

    Args:
        sampler: any iterable of indices.
        batch_size: how many make a batch, >= 1.
        drop_last: leave out a last batch that is smaller.

    Raises:
        ValueError: `batch_size` is not a positive int, or `drop_last` not a bool.

    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        _require_positive("batch_size", batch_size, bool)
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return whole if self.drop_last or not rest else whole + 1


def _require_positive(name: str, value: int, excluded: type | tuple[type, ...] = ()) -> None:
    if not isinstance(value, int) or isinstance(value, excluded) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "utils.data.weighted")
