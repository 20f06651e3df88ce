"""Work spread over a few threads, and the number of threads.

NumPy lets go of Python's lock while it computes, so threads that work on different parts of an
array run at the same time.  `spread(work, parts)` calls `work(part)` for every part; the calling
thread takes parts too, and each thread takes the next one when it is free.

Attention is computed like that, a group of heads at a time.  Single products of matrices are left
to NumPy's BLAS, whose own threads are faster at it: they wait for work spinning, where ours take
30 us to wake up; where ours work too they wait less (waiting.py).  Within attention, though, the
products are so small that meeting after each one costs the BLAS more than its threads save; there
it gets one thread, and the heads are spread.
Of chains of elementwise operations only long ones gain, such as GELU's on large arrays
(`spread_elements`): between two calls of NumPy every thread needs Python's lock, and a call on a
block that fits in the cache is over too soon (layer norm and AdamW: 0.9 to 1.0 times one thread's
speed).

Which thread computes a part changes nothing in it, and how work is cut does not depend on the
number of threads.  Only the BLAS may round the last bit of a product differently.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

NAME = "tinygrad_edu"
"""Of the threads."""


class Blas:
    """What is used of NumPy's own OpenBLAS beside its products.

    Attributes:
        get, set: the number of its threads.
        axpby: for each dtype `axpby(n, a, x, step_x, b, y, step_y)`, which computes
            `y = a x + b y` in one pass; x and y are addresses.
        restart: the calls that read its environment and end its threads, which the next `set`
            starts; None without them.
    """

    def __init__(self, library: Any, prefix: str, suffix: str) -> None:
        self.get = getattr(library, f"{prefix}get_num_threads{suffix}")
        self.set = getattr(library, f"{prefix}set_num_threads{suffix}")
        integer = ctypes.c_int64 if suffix else ctypes.c_int
        names = ("openblas_read_env", "blas_thread_shutdown_")  # not documented
        calls = [(getattr(library, name),) for name in names if hasattr(library, name)]
        self.restart = calls if len(calls) == len(names) else None
        self.axpby: dict[Any, Any] = {}
        for dtype, letter, number in (
            (np.dtype(np.float32), "s", ctypes.c_float),
            (np.dtype(np.float64), "d", ctypes.c_double),
        ):
            name = f"{prefix.removesuffix('openblas_')}cblas_{letter}axpby{suffix}"
            function = getattr(library, name, None)
            if function is not None:
                pointer = ctypes.c_void_p
                function.argtypes = [integer, number, pointer, integer, number, pointer, integer]
                function.restype = None
                self.axpby[dtype] = function


@functools.cache
def blas() -> Blas | None:
    """The OpenBLAS that NumPy's wheel carries; None if this NumPy computes with another one."""
    package = os.path.dirname(np.__file__)
    for folder in (f"{package}.libs", os.path.join(package, ".dylibs")):
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        for name in [name for name in names if "openblas" in name]:
            library = ctypes.CDLL(os.path.join(folder, name))
            for prefix in ("scipy_openblas_", "openblas_"):
                for suffix in ("64_", ""):
                    if hasattr(library, f"{prefix}set_num_threads{suffix}"):
                        return Blas(library, prefix, suffix)
    return None


class _Set:
    count = 0
    """What `set_count` was given; 0: as many threads as the BLAS has."""


def count() -> int:
    """How many threads are used at most."""
    library = blas()
    if not _Set.count:
        named = os.environ.get("OMP_NUM_THREADS", "")
        if library is not None:
            _Set.count = library.get()
        else:
            _Set.count = int(named) if named.isdigit() and int(named) else os.cpu_count() or 1
    return _Set.count


def set_count(threads: int) -> None:
    """Use so many, here and in the BLAS."""
    _Set.count = threads
    library = blas()
    if library is not None:
        library.set(threads)


class _Job:
    """One call of `spread`: the parts nobody has taken yet, and word of those that are done."""

    def __init__(self, work: Callable[[Any], object], parts: Sequence[Any]) -> None:
        self.work, self.parts = work, iter(parts)
        self.done: SimpleQueue[BaseException | None] = SimpleQueue()

    def run(self) -> None:
        for part in self.parts:  # the iterator of a sequence gives each part to one thread only
            error = None
            try:
                self.work(part)
            except BaseException as problem:
                error = problem
            self.done.put(error)


_processor: Callable[[], int] | None = (
    getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform.startswith("linux") else None
)


class _Pool:
    """Threads that wait for jobs.  One that wakes up late finds nothing left and keeps no one."""

    def __init__(self) -> None:
        self.threads: list[int | None] = []
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        self.busy = threading.Lock()
        self.away_from = -1

    def run(self, work: Callable[[Any], object], parts: Sequence[Any], threads: int) -> None:
        while len(self.threads) < threads - 1:
            thread = threading.Thread(target=self._wait, name=NAME, daemon=True)
            thread.start()
            self.threads.append(thread.native_id)
            self.away_from = -1
        self._keep_away()
        job = _Job(work, parts)
        for _ in range(threads - 1):
            self.jobs.put(job)
        job.run()
        errors = [job.done.get() for _ in parts]
        for error in errors:
            if error is not None:
                raise error

    def _keep_away(self) -> None:
        """Let the threads run on any processor but the caller's.

        Linux may wake a thread on the processor of the one that woke it, to share its cache.
        There it waits until the caller has done all the work.
        """
        here = -1 if _processor is None else _processor()
        if here == self.away_from:
            return
        self.away_from = here
        with contextlib.suppress(OSError):  # a container may forbid it; it only saves time
            others = os.sched_getaffinity(0) - {here}
            for thread in self.threads if others else ():
                if thread is not None:
                    os.sched_setaffinity(thread, others)

    def _wait(self) -> None:
        np.seterr(all="ignore")  # what the caller has set is not seen in another thread
        while True:
            self.jobs.get().run()


_pool = _Pool()


def _forget() -> None:
    """A forked process has none of its parent's threads."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def spread(work: Callable[[Any], object], parts: Sequence[Any], threads: int | None = None) -> None:
    """Call `work` for every part, in no fixed order, with the BLAS at one thread.

    Args:
        work: called as `work(part)`; calls must not write to the same memory.
        parts: what to call it with.
        threads: 1 to call it for one part after the other; by default `count()`.

    While another thread spreads work, or within work that is spread, the caller does it all.  An
    exception in `work` is raised here, once every part has been tried.

    >>> squares = np.zeros(4)
    >>> def square(i): squares[i] = i * i
    >>> spread(square, range(4))
    >>> squares.tolist()
    [0.0, 1.0, 4.0, 9.0]
    """
    pool, library = _pool, blas()
    threads = min(count() if threads is None else threads, len(parts))
    mine = threads > 1 and pool.busy.acquire(blocking=False)
    of_blas = 1 if library is None else library.get()
    try:
        if mine and not pool.threads:
            from tinygrad_edu.kernels import waiting

            waiting.begin()
        if library is not None and of_blas > 1:  # if it is 1, maybe another thread will set it back
            library.set(1)
        if mine:
            pool.run(work, parts, threads)
        else:
            for part in parts:
                work(part)
    finally:
        if library is not None and of_blas > 1:
            library.set(of_blas)
        if mine:
            pool.busy.release()


LARGE = 1 << 17
"""Elements of a part of an elementwise computation: fewer are not worth waking a thread."""


def spread_elements(work: Callable[..., object], *arrays: Any) -> None:
    """Call `work(*parts)` for parts of arrays of one shape, or `work(*arrays)` if they are small.

    >>> x = np.arange(4.0)
    >>> spread_elements(lambda part: np.negative(part, out=part), x)
    >>> x.tolist()
    [-0.0, -1.0, -2.0, -3.0]
    """
    size = arrays[0].size
    if size <= LARGE or count() == 1 or not all([a.flags.c_contiguous for a in arrays]):
        work(*arrays)
        return
    flat = [a.reshape(-1) for a in arrays]
    parts = [[a[start : start + LARGE] for a in flat] for start in range(0, size, LARGE)]
    spread(lambda part: work(*part), parts)
