"""What a worker process knows about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Which worker this is.

    Attributes:
        id: 0, ..., num_workers - 1.
        num_workers: how many there are.
        seed: this worker's random generators started from it; another one for each worker.
        dataset: this worker's copy.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


current: WorkerInfo | None = None
"""Set by a worker process when it starts."""


def get_worker_info() -> WorkerInfo | None:
    """Which worker process of a DataLoader is running this; None in any other process.

    >>> get_worker_info() is None
    True
    """
    return current
