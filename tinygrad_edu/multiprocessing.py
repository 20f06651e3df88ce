"""`torch.multiprocessing`: Python's own `multiprocessing`.

Unlike torch, tensors that go to another process are copied, not shared.
"""

from __future__ import annotations

from multiprocessing import *  # noqa: F403
from multiprocessing import get_context
from typing import Any


def spawn(
    fn: Any, args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> Any:  # fmt: skip
    """Run `fn(i, *args)` in processes i = 0, 1, …

    Returns:
        The processes, if `join` is false.

    Raises:
        RuntimeError: one of them failed.
    """
    context: Any = get_context(start_method)
    processes = [context.Process(target=fn, args=(i, *args), daemon=daemon) for i in range(nprocs)]
    for process in processes:
        process.start()
    if not join:
        return processes
    for i, process in enumerate(processes):
        process.join()
        if process.exitcode:
            raise RuntimeError(f"process {i} terminated with exit code {process.exitcode}")
    return None


def get_sharing_strategy() -> str:
    """ "copy": nothing is shared."""
    return "copy"


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted, to no effect."""
