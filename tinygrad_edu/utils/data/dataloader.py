"""`DataLoader`: batches of a dataset, in the order a sampler says."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tinygrad_edu.backend import cupy_problem
from tinygrad_edu.engine.boundary import users_level
from tinygrad_edu.engine.composed import heard
from tinygrad_edu.random import Generator, default_generator
from tinygrad_edu.utils.data import position
from tinygrad_edu.utils.data.arguments import (
    check_batches,
    check_stream,
    check_workers,
    context_of,
)
from tinygrad_edu.utils.data.collate import default_collate, default_convert, pin
from tinygrad_edu.utils.data.dataset import IterableDataset
from tinygrad_edu.utils.data.fetch import fetcher
from tinygrad_edu.utils.data.info import get_worker_info
from tinygrad_edu.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    draw_seed,
)

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from tinygrad_edu.utils.data.epochs import WorkerEpochs

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)

_FIXED = frozenset(
    ["batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"]
)
"""Attributes that cannot be set after the loader has been made."""


_NOTHING = object()


class _Endless(Sampler[None]):
    """The sampler of an IterableDataset, which knows no indices."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader(Generic[T_co]):
    """An iterable of the batches of a dataset; each `for` loop over it is one epoch.

    Args:
        dataset: a `Dataset`, any sequence, or an `IterableDataset`.
        batch_size: samples per batch; None yields the samples themselves.
        shuffle: use the samples in a new random order in every epoch.
        sampler: says the order instead.
        batch_sampler: yields lists of indices, one per batch; in place of `batch_size`, `shuffle`,
            `sampler` and `drop_last`.
        num_workers: how many processes prepare batches; 0 prepares them in this one.
        collate_fn: joins a list of samples into a batch, `default_collate` unless given.
        pin_memory: put batches into page-locked memory, if there is a GPU to copy them to.
        drop_last: leave out a last batch that is smaller.
        timeout: seconds to wait for a worker's batch; 0 waits for ever.
        worker_init_fn: called with the worker's number in each worker, after seeding.
        multiprocessing_context: how workers are started: "fork", "spawn" or a context.
        generator: draws the order and the workers' seed; the default generator unless given.
        prefetch_factor: batches prepared ahead per worker, 2 unless given.
        persistent_workers: keep the workers for the next epoch.
        pin_memory_device: accepted.
        in_order: False yields the workers' batches as they come.

    Raises:
        ValueError: arguments that are out of range or exclude each other.
        RuntimeError: (while iterating) a worker died or did not answer in time.

    An exception in a worker is raised here with the worker's traceback in its message. Random
    numbers are drawn as torch draws them: after the same seed, epochs shuffle alike.

    >>> import tinygrad_edu as torch
    >>> x, y = torch.arange(5), torch.arange(5) * 10
    >>> for a, b in DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=3):
    ...     print(a, b)
    tensor([0, 1, 2]) tensor([ 0, 10, 20])
    tensor([3, 4]) tensor([30, 40])
    """

    @heard("loader")
    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None, batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0, collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False, drop_last: bool = False, timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: BaseContext | str | None = None,
        generator: Generator | None = None, *, prefetch_factor: int | None = None,
        persistent_workers: bool = False, pin_memory_device: str = "", in_order: bool = True,
    ) -> None:  # fmt: skip
        check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        is_stream = isinstance(dataset, IterableDataset)
        if is_stream:
            check_stream(shuffle, sampler, batch_sampler)
        check_batches(batch_size, shuffle, sampler, batch_sampler, drop_last)

        if batch_sampler is not None:
            batch_size = None
        if sampler is None:
            if is_stream:
                sampler = _Endless()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)
            else:
                sampler = SequentialSampler(dataset)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self._is_stream = is_stream
        self._stated_length: int | None = None
        self._iterator: WorkerEpochs | None = None
        self._epoch: position.Epoch | None = None
        self._resume: dict[str, Any] | None = None
        self._fixed = True
        self.check_worker_number_rationality()

    def __setattr__(self, name: str, value: object) -> None:
        if name in _FIXED and "_fixed" in self.__dict__:
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    @property
    def multiprocessing_context(self) -> BaseContext | None:
        """How worker processes are started; None for the way of the operating system."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: BaseContext | str | None) -> None:
        self._context = None if context is None else context_of(context, self.num_workers)

    @property
    def _index_sampler(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    @heard("epoch")
    def __iter__(self) -> Iterator[Any]:
        resume, self._resume = self._resume, None
        if self._iterator is not None and not self._iterator.running:
            self._iterator = None  # its workers have died, or an interrupt has stopped them
        kept = self._iterator is not None
        if resume is None:
            self._epoch = position.Epoch(position.states(self), kept)
            return self._begin_epoch()
        kept = kept or resume["kept_workers"]
        if resume["epoch_start"] is None:
            self._epoch = position.Epoch(position.states(self), kept)
            return self._begin_epoch()
        self._epoch = position.Epoch(resume["epoch_start"], kept)
        self._epoch.given = resume["position"]
        with position.begun_again(self, resume):
            return self._begin_epoch()

    def _begin_epoch(self) -> Iterator[Any]:
        if self.num_workers == 0:
            return Epoch(self)
        from tinygrad_edu.utils.data.epochs import WorkerEpochs  # most loaders have no workers

        if not self.persistent_workers:
            return WorkerEpochs(self)
        if self._iterator is None:
            self._iterator = WorkerEpochs(self)
        else:
            self._iterator.restart(self)
        return self._iterator

    def state_dict(self) -> dict[str, Any]:
        """Where it is: how many batches of the running epoch it has given, and in which order.

        The state of the default generator is not part of it: save `torch.get_rng_state()` beside.

        >>> import tinygrad_edu as torch
        >>> loader = DataLoader(range(4), batch_size=2)
        >>> for batch in loader:
        ...     state = loader.state_dict()
        ...     break
        >>> again = DataLoader(range(4), batch_size=2)
        >>> again.load_state_dict(state)
        >>> list(again)
        [tensor([2, 3])]

        Unlike torch, whose loader forgets where it was, it can be saved in the middle of an epoch.
        """
        return position.describe(self, self._epoch)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on, in the next `for` loop, with the batch after the one that was given last.

        Args:
            state_dict: what `state_dict` of a loader with the same arguments returned.

        Raises:
            ValueError: that loader had other generators.

        Batches passed over are not loaded, except those of an `IterableDataset`; so a dataset that
        draws random numbers in worker processes draws others than it would have.
        """
        position.check(self, state_dict)
        position.restore(self, state_dict)
        self._resume = dict(state_dict)

    def __len__(self) -> int:
        if not self._is_stream:
            return len(self._index_sampler)
        length = self._stated_length = len(self.dataset)
        if self.batch_size is None:
            return length
        whole, rest = divmod(length, self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def check_worker_number_rationality(self) -> None:
        """Warn if there are more workers than CPUs that this process may use."""
        if hasattr(os, "sched_getaffinity"):
            cpus = len(os.sched_getaffinity(0))
        else:
            cpus = os.cpu_count() or self.num_workers
        if self.num_workers > cpus:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes in total. This"
                f" process may use {cpus} CPUs only; more workers than that can make it slower.",
                stacklevel=users_level(),
            )


class Epoch(Iterator[Any]):
    """One epoch, prepared in this process."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._pins = loader.pin_memory and cupy_problem() is None
        if loader.pin_memory and not self._pins:
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device"
                " pinned memory won't be used.",
                stacklevel=users_level(),
            )
        self._begin(loader)
        # Drawn even if no worker will use it; an epoch that goes on with kept workers drew none.
        kept = self._epoch_so_far.kept_workers
        generator = (loader.generator or default_generator).clone_state() if kept else None
        self._base_seed = draw_seed(generator or loader.generator)
        self._pass_over()
        self._start(loader)
        self._pass_over_stream()

    def _draw(self) -> Any:
        """The next entry of the order."""
        try:
            return next(self._indices)
        except StopIteration:
            raise
        except BaseException as error:
            self._note(error)
            raise

    def _note(self, error: BaseException) -> None:
        """After an interrupt in it, a generator ends as if it had nothing more to give."""
        if isinstance(error, MemoryError) or not isinstance(error, Exception):
            self._interrupt = type(error).__name__

    def _pass_over(self) -> None:
        """Leave out the batches that an earlier run has had."""
        if not self._is_stream:
            for _ in range(self._epoch_so_far.given):
                next(self._indices, None)

    def _pass_over_stream(self) -> None:
        if self._is_stream:
            for _ in range(self._epoch_so_far.given):
                self._next()

    def _begin(self, loader: DataLoader[Any]) -> None:
        self._sampler = loader._index_sampler
        self._indices = iter(self._sampler)
        self._dataset = loader.dataset
        self._is_stream = loader._is_stream
        assert loader._epoch is not None
        self._epoch_so_far = loader._epoch
        self._stated_length = loader._stated_length
        self._yielded = 0
        self._again: Any = _NOTHING
        self._interrupt = ""

    def _start(self, loader: DataLoader[Any]) -> None:
        if loader.timeout:
            raise AssertionError(f"timeout={loader.timeout} needs num_workers > 0")
        self._fetch = fetcher(
            loader.dataset, loader.batch_sampler is not None, loader.collate_fn, loader.drop_last
        )

    def _next(self) -> Any:
        indices = self._draw() if self._again is _NOTHING else self._again
        self._again = indices  # so that an interrupted batch is not lost: it comes next time
        try:
            batch = self._fetch(indices)
        except BaseException as error:
            if self._is_stream:  # its samples are gone, and perhaps its generator
                self._note(error)
            if self._is_stream or isinstance(error, Exception):
                self._again = _NOTHING
            raise
        return batch

    def __next__(self) -> Any:
        try:
            batch = self._next()
        except StopIteration:
            self._epoch_so_far.running = False
            if self._interrupt:
                raise RuntimeError(
                    f"this epoch was broken off by a {self._interrupt} in its sampler, dataset or"
                    " workers; what it had left is not known. Begin a new one"
                ) from None
            raise
        if self._pins:
            batch = pin(batch)
        if self._stated_length is not None:
            self._check_length()
        self._epoch_so_far.given += 1
        self._again = _NOTHING
        return batch

    def __del__(self) -> None:
        if "_epoch_so_far" in self.__dict__:  # a loop that was left early has ended its epoch
            self._epoch_so_far.running = False

    def __len__(self) -> int:
        return len(self._sampler)

    def _check_length(self) -> None:
        self._yielded += 1
        if self._yielded > (self._stated_length or 0):
            warnings.warn(
                f"Length of IterableDataset {self._dataset} was reported to be"
                f" {self._stated_length} (when accessing len(dataloader)), but {self._yielded}"
                " samples have been fetched. With worker processes, each may have yielded all"
                " samples: share them out by get_worker_info().",
                stacklevel=3,
            )


def __getattr__(name: str) -> Any:
    """torch's names of the iterators, by which libraries ask which of them runs."""
    if name == "_BaseDataLoaderIter":
        return Epoch
    if name == "_MultiProcessingDataLoaderIter":
        from tinygrad_edu.utils.data.epochs import WorkerEpochs

        return WorkerEpochs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
