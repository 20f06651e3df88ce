"""Where samples come from: looked up by index, or one after another from a stream."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.tensor import Tensor

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Samples that are looked up by index.

    A subclass defines `__getitem__(index)` and `__len__()`.  It may define `__getitems__(indices)`,
    which returns the list of samples for a whole batch; the loader prefers it.

    >>> class Squares(Dataset):
    ...     def __getitem__(self, index): return index * index
    ...     def __len__(self): return 5
    >>> len(Squares() + Squares())
    10
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """Samples that come one after another; a subclass defines `__iter__`.

    With several worker processes each iterates over its own copy: `get_worker_info()` tells the
    copies apart, so that each can take its share.

    >>> class Countdown(IterableDataset):
    ...     def __iter__(self): return iter([3, 2, 1])
    >>> import tinygrad_edu as torch
    >>> list(torch.utils.data.DataLoader(Countdown(), batch_size=2))
    [tensor([3, 2]), tensor([1])]
    """

    def __add__(self, other: Dataset[Any]) -> Any:
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is `(tensors[0][i], tensors[1][i], ...)`.

    Args:
        tensors: tensors with the same number N of rows, shapes (N, ...).

    Raises:
        AssertionError: the numbers of rows differ.

    >>> import tinygrad_edu as torch
    >>> data = TensorDataset(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1]))
    >>> data[1]
    (tensor([3., 4.]), tensor(1))
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor) -> None:
        if any(len(tensor) != len(tensors[0]) for tensor in tensors):
            sizes = [tuple(tensor.shape) for tensor in tensors]
            raise AssertionError(f"Size mismatch between tensors: {sizes}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


def samples(dataset: Any, indices: list[int]) -> list[Any]:
    """The samples at `indices`, by the dataset's `__getitems__` if it has one.

    Raises:
        ValueError: `__getitems__` returned another number of samples.
    """
    if not callable(getattr(dataset, "__getitems__", None)):
        return [dataset[index] for index in indices]
    found: list[Any] = dataset.__getitems__(indices)
    if len(found) != len(indices):
        raise ValueError(
            f"Nested dataset's output size mismatch. Expected {len(indices)}, got {len(found)}"
        )
    return found


class ConcatDataset(Dataset[T_co]):
    """Several datasets one behind the other.

    Args:
        datasets: at least one dataset, none of them an IterableDataset.

    Raises:
        AssertionError: no dataset, or an IterableDataset among them.
        ValueError: (on look-up) a negative index beyond the first sample.

    >>> data = ConcatDataset(["abc", "de"])
    >>> data[3], data[-5]
    ('d', 'a')
    """

    datasets: list[Any]
    cumulative_sizes: list[int]

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(part, IterableDataset) for part in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(part) for part in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> T_co:
        if index < 0:
            index += len(self)
            if index < 0:
                raise ValueError("absolute value of index should not exceed dataset length")
        part = bisect.bisect_right(self.cumulative_sizes, index)
        before = self.cumulative_sizes[part - 1] if part else 0
        return cast(T_co, self.datasets[part][index - before])


class ChainDataset(IterableDataset[T_co]):
    """Several streams one after the other.

    Args:
        datasets: IterableDatasets.

    Raises:
        AssertionError: (when it is iterated over) one of them is not.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = datasets

    def _streams(self) -> Iterator[Any]:
        for part in self.datasets:
            if not isinstance(part, IterableDataset):
                raise AssertionError("ChainDataset only supports IterableDataset")
            yield part

    def __iter__(self) -> Iterator[T_co]:
        for stream in self._streams():
            yield from stream

    def __len__(self) -> int:
        return sum(len(stream) for stream in self._streams())


class Subset(Dataset[T_co]):
    """Sample i is `dataset[indices[i]]`.

    A subclass that changes `__getitem__` must change `__getitems__` as well, because the loader
    asks for whole batches.

    Args:
        dataset: what to choose from.
        indices: which samples, in which order.

    Raises:
        NotImplementedError: a subclass changes only `__getitem__`.

    >>> list(Subset("abcd", [3, 0]))
    ['d', 'a']
    """

    dataset: Any
    indices: Sequence[int]

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        kind = type(self)
        if kind.__getitem__ is not Subset.__getitem__ and (
            kind.__getitems__ is Subset.__getitems__
        ):
            raise NotImplementedError(
                f"{kind.__name__} overrides __getitem__ but not __getitems__, which DataLoader"
                " calls; override it too, for example:\n"
                "def __getitems__(self, indices):\n"
                "    return [self[index] for index in indices]"
            )
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> T_co:
        many = isinstance(index, list)
        chosen = [self.indices[i] for i in index] if many else self.indices[index]
        return cast(T_co, self.dataset[chosen])

    def __getitems__(self, indices: list[int]) -> list[T_co]:
        """The samples of a batch."""
        chosen = [self.indices[i] for i in indices]
        if callable(getattr(self.dataset, "__getitems__", None)):
            return cast(list[T_co], self.dataset.__getitems__(chosen))
        return [self.dataset[index] for index in chosen]

    def __len__(self) -> int:
        return len(self.indices)


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "utils.data.derived")
