"""`DistributedSampler`: the share of the samples that one of several processes uses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from typing import Any

from tinygrad_edu.random import Generator, randperm
from tinygrad_edu.utils.data.sampler import Sampler


class DistributedSampler(Sampler[Any]):
    """Every `num_replicas`-th index from `rank` on, so that the shares are equally long.

    The indices are repeated from the beginning until they can be shared out.

    Args:
        dataset: has a length.
        num_replicas, rank: how many processes there are, and which one this is, from 0; those of
            the default process group unless given.
        shuffle: in an order that depends on `seed` and on the epoch, see `set_epoch`.
        drop_last: leave out what cannot be shared out, instead of repeating.

    Raises:
        RuntimeError: one is not given, and mpi4py is not installed.
        ValueError: `rank` is not in [0, num_replicas), or there is no process group.

    >>> from tinygrad_edu.utils.data.distributed import DistributedSampler
    >>> list(DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
    [1, 3, 0]
    """

    def __init__(
        self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None,
        shuffle: bool = True, seed: int = 0, drop_last: bool = False,
    ) -> None:  # fmt: skip
        if num_replicas is None or rank is None:
            from tinygrad_edu.distributed import world  # most programs have one process

            if not world.is_available():
                raise RuntimeError(f"Requires distributed package to be available: {world.INSTALL}")
            num_replicas = world.get_world_size() if num_replicas is None else num_replicas
            rank = world.get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0
        shares = len(dataset) / num_replicas
        self.num_samples = math.floor(shares) if drop_last else math.ceil(shares)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        indices: list[int] = [*range(len(self.dataset))]
        if self.shuffle:
            generator = Generator().manual_seed(self.seed + self.epoch)
            indices = randperm(generator, len(indices)).tolist()
        repeats = math.ceil(self.total_size / max(len(indices), 1))
        return iter((indices * repeats)[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """The next order: each epoch has its own, the same one in all processes."""
        self.epoch = epoch
