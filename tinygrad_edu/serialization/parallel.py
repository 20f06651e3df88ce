"""Several entries of an archive read or written at once."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def for_each(work: Callable[[T, threading.Event], None], jobs: Sequence[T], size: int) -> None:
    """Call `work(job, stopped)` for every job, in threads if there are many bytes to gain by it.

    `work` leaves early when `stopped` is set: another job has failed, or this thread has been
    interrupted.  No thread works on once this has returned or raised, so that none can write into
    a file that has been closed.
    """
    waiting = iter(jobs)
    lock, stopped = threading.Lock(), threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            while not stopped.is_set():
                with lock:
                    job = next(waiting, None)
                if job is None:
                    return
                work(job, stopped)
        except BaseException as error:
            errors.append(error)
            stopped.set()

    count = min(4, os.cpu_count() or 1, len(jobs)) if size >= 1 << 20 else 1
    helpers = [threading.Thread(target=run, daemon=True) for _ in range(count - 1)]
    try:
        # No more threads may be left to start, or Python may be shutting down.
        with contextlib.suppress(RuntimeError):
            for helper in helpers:
                helper.start()
        run()
        _join(helpers)
    except BaseException as error:
        errors.append(error)
        stopped.set()
        _join(helpers)
    if errors:
        raise errors[0]


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        if thread.is_alive():
            thread.join()
