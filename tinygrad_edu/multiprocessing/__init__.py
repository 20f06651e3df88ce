"""`torch.multiprocessing`: Python's own `multiprocessing`, whose queues share tensors.

A tensor that is put into a queue, or given to a process, arrives in the same memory: what one
process writes, the other sees.  `spawn` runs a function in several processes.

    model.share_memory()
    mp.spawn(train, args=(model,), nprocs=4)    # Hogwild: all of them train the same parameters
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import *  # noqa: F403

from tinygrad_edu.multiprocessing import reductions  # it teaches queues to share tensors
from tinygrad_edu.multiprocessing.processes import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

__all__ = [
    *multiprocessing.__all__, "ProcessContext", "ProcessException", "ProcessExitedException",
    "ProcessRaisedException", "SpawnContext", "get_all_sharing_strategies", "get_sharing_strategy",
    "reductions", "set_sharing_strategy", "spawn", "start_processes",
]  # fmt: skip

_DESCRIPTORS = "file_descriptor"


def get_sharing_strategy() -> str:
    """How tensors get to other processes: by "file_descriptor"."""
    return _DESCRIPTORS


def get_all_sharing_strategies() -> set[str]:
    """The strategies that there are."""
    return {_DESCRIPTORS}


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted for torch's sake: there is no other strategy than "file_descriptor"."""
    if new_strategy not in (_DESCRIPTORS, "file_system"):
        raise AssertionError(f"sharing strategy {new_strategy!r} is unknown")
