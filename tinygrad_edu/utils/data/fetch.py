"""From the indices of a batch to the batch: look the samples up, then collate them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from tinygrad_edu.engine.record import wrap
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.utils.data.collate import collate_tensors, default_collate
from tinygrad_edu.utils.data.collate import default_collate_fn_map as functions
from tinygrad_edu.utils.data.dataset import IterableDataset, Subset, TensorDataset

Fetch: TypeAlias = Callable[[Any], Any]


def fetcher(
    dataset: Any, batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool
) -> Fetch:
    """The function that a loader, or a worker of it, calls with what the sampler yields.

    Args:
        dataset: looked up by index, or an IterableDataset, which only learns how many to give.
        batched: the sampler yields lists of indices, not single ones.
        collate_fn: applied to the list of samples (or to the single sample).
        drop_last: for an IterableDataset, leave out an incomplete batch.
    """
    if isinstance(dataset, IterableDataset):
        return _from_stream(iter(dataset), batched, collate_fn, drop_last)
    if not batched:
        return lambda index: collate_fn(dataset[index])
    if callable(getattr(dataset, "__getitems__", None)):
        plain = lambda indices: collate_fn(dataset.__getitems__(indices))  # noqa: E731
    else:
        plain = lambda indices: collate_fn([dataset[i] for i in indices])  # noqa: E731
    if collate_fn is default_collate and functions[Tensor] is collate_tensors:
        return _at_once(dataset, plain)
    return plain


def _from_stream(
    stream: Iterator[Any], batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool
) -> Fetch:
    ended = False

    def fetch(indices: Any) -> Any:
        nonlocal ended
        if ended:
            raise StopIteration
        if not batched:
            return collate_fn(next(stream))
        samples = [sample for _, sample in zip(indices, stream, strict=False)]
        ended = len(samples) < len(indices)
        if not samples or (ended and drop_last):
            raise StopIteration
        return collate_fn(samples)

    return fetch


def _at_once(dataset: Any, plain: Fetch) -> Fetch:
    """For tensors, rows need not be taken out one by one and stacked: index the whole array once.

    Only where the batch is the same: a `TensorDataset`, or a `Subset` of one, that looks samples
    up as these classes do, and tensors that need no gradient.
    """
    chosen: list[Any] = []
    while isinstance(dataset, Subset) and (
        type(dataset).__getitem__ is Subset.__getitem__
        and type(dataset).__getitems__ is Subset.__getitems__
    ):
        chosen.append(dataset.indices)
        dataset = dataset.dataset
    if not (
        isinstance(dataset, TensorDataset)
        and type(dataset).__getitem__ is TensorDataset.__getitem__
        and not hasattr(dataset, "__getitems__")
    ):
        return plain

    def fetch(batch: Any) -> Any:
        indices = batch
        for subset in chosen:
            indices = [subset[i] for i in indices]
        rows = np.array(indices)
        if rows.dtype.kind != "i" or rows.ndim != 1:
            return plain(batch)
        tensors = dataset.tensors
        for tensor in tensors:
            plain_array = type(tensor) is Tensor and type(tensor.array) is np.ndarray
            if not plain_array or tensor.node is not None:
                return plain(batch)
        return [wrap(tensor.array.take(rows, 0)) for tensor in tensors]

    return fetch
