"""Worker processes: each has its own copy of the dataset and turns indices into batches.

The loader and a worker talk over one link. The loader sends tasks, the worker answers each with a
batch, in the same order. Arrays are not copied into the message but follow it as raw memory. The
link also tells of death: when one side is gone, the other reads the end of the stream. So a worker
never outlives its loader, and a loader never waits for a dead worker.
"""

from __future__ import annotations

import io
import os
import pickle
import queue
import random
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.random import manual_seed
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.utils.data.dataset import IterableDataset
from tinygrad_edu.utils.data.fetch import fetcher

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext

PATIENCE = 5.0
"""Seconds that workers get to leave by themselves before they are stopped."""


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


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Which worker process of a DataLoader is running this; None in any other process.

    >>> get_worker_info() is None
    True
    """
    return _info


@dataclass(frozen=True)
class Job:
    """What every worker of a loader must know."""

    dataset: Any
    batched: bool
    collate_fn: Callable[[Any], Any]
    drop_last: bool
    init_fn: Callable[[int], None] | None
    base_seed: int
    num_workers: int


class Ended:
    """The answer of a worker whose IterableDataset has no more samples."""


class _Verbatim(str):
    """A message that KeyError shows as it is; KeyError shows the repr of what it is given."""

    def __repr__(self) -> str:
        return str(self)


class Failure:
    """The answer of a worker in which an exception was raised: its type, and its traceback."""

    def __init__(self, error: BaseException, worker: int) -> None:
        self.kind, self.name, self.worker = type(error), type(error).__name__, worker
        self.text = "".join(traceback.format_exception(error))

    def error(self) -> Exception:
        """The exception to raise in the loader, whose message contains the worker's traceback."""
        message = (
            f"Caught {self.name} in DataLoader worker process {self.worker}.\nOriginal {self.text}"
        )
        try:
            error = self.kind(_Verbatim(message) if self.kind is KeyError else message)
        except Exception:  # a type that wants other arguments
            return RuntimeError(message)
        return error if isinstance(error, Exception) else RuntimeError(message)


# In the worker ------------------------------------------------------------------------------------


def _work(job: Job, worker: int, link: Connection) -> None:
    """Answer tasks until the link ends."""
    outbox: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
    # Sending waits until the loader reads, and the loader may at that moment wait for this worker
    # to read a task. A thread of its own for sending keeps the two from waiting for each other.
    threading.Thread(target=_send_all, args=(link, outbox), daemon=True).start()
    try:
        _answer(job, worker, link, outbox)
    except (EOFError, OSError, KeyboardInterrupt):
        pass  # the loader is gone, or is being interrupted itself


def _answer(
    job: Job, worker: int, link: Connection, outbox: queue.SimpleQueue[list[bytes]]
) -> None:
    start_failure: Failure | None = None
    try:
        _prepare(job, worker)
    except Exception as error:
        start_failure = Failure(error, worker)
    fetch: Callable[[Any], Any] | None = None
    current = -1
    while True:
        epoch, indices = link.recv()
        answer: Any
        try:
            if start_failure is None and epoch != current:
                fetch, current = None, epoch
                fetch = fetcher(job.dataset, job.batched, job.collate_fn, job.drop_last)
            answer = start_failure or (fetch(indices) if fetch is not None else Ended())
        except StopIteration as error:
            answer = Ended() if isinstance(job.dataset, IterableDataset) else Failure(error, worker)
        except Exception as error:
            answer = Failure(error, worker)
        outbox.put(_packed(epoch, answer, worker))


def _prepare(job: Job, worker: int) -> None:
    """Seed every random generator from the loader's seed and the worker's number."""
    global _info
    seed = job.base_seed + worker
    random.seed(seed)
    manual_seed(seed)
    entropy = [worker, job.base_seed & 0xFFFFFFFF, job.base_seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    _info = WorkerInfo(worker, job.num_workers, seed, job.dataset)
    if job.init_fn is not None:
        job.init_fn(worker)


class _Pickler(pickle.Pickler):
    """A pickler that refuses to leave a tensor's graph behind."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.requires_grad and not value.is_leaf:
            raise RuntimeError(
                "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd"
                " does not support crossing process boundaries.  If you just want to transfer the"
                " data, call detach() on the tensor before the dataset returns it."
            )
        return NotImplemented


def _packed(epoch: int, answer: Any, worker: int) -> list[bytes]:
    """The messages that carry an answer: the pickle without its arrays, then each array's bytes."""
    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    try:
        _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(answer)
        body = stream.getvalue()
    except Exception as error:  # it cannot be pickled
        failure = answer if isinstance(answer, Failure) else Failure(error, worker)
        failure.kind = RuntimeError
        buffers, body = [], pickle.dumps(failure)
    # Copies: the dataset may write its next sample into the memory of this one.
    raw = [bytes(buffer.raw()) for buffer in buffers]
    return [pickle.dumps((epoch, [len(part) for part in raw], body)), *filter(None, raw)]


def _send_all(link: Connection, outbox: queue.SimpleQueue[list[bytes]]) -> None:
    try:
        while True:
            for message in outbox.get():
                link.send_bytes(message)
    except OSError:
        pass  # the loader is gone


# In the loader ------------------------------------------------------------------------------------


_open: weakref.WeakSet[Connection] = weakref.WeakSet()
"""The loader's ends of all links.  A fork copies them, and one copy left open would hide from the
workers that their loader has gone; so every forked process closes its copies at once."""


def _close_copies() -> None:
    for link in _open:
        link.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_copies)


class Workers:
    """The worker processes of one loader, which end when this object does.

    Args:
        job: what they work on.
        context: of multiprocessing, says how processes are started.
        timeout: seconds to wait for an answer; 0 waits for ever.
    """

    def __init__(self, job: Job, context: BaseContext, timeout: float) -> None:
        self.timeout = timeout
        self.links: list[Connection] = []
        self.processes: list[Any] = []
        self._stop = weakref.finalize(self, _stop, os.getpid(), self.links, self.processes)
        for worker in range(job.num_workers):
            ours, theirs = context.Pipe()
            self.links.append(ours)
            _open.add(ours)
            process = context.Process(  # type: ignore[attr-defined]
                target=_work, args=(job, worker, theirs), daemon=True
            )
            process.start()
            theirs.close()
            self.processes.append(process)

    def send(self, worker: int, epoch: int, indices: Any) -> None:
        """Give a worker a task."""
        self._require_running()
        try:
            self.links[worker].send((epoch, indices))
        except OSError:
            raise self._died(worker) from None

    def receive(self, worker: int, epoch: int) -> Any:
        """A worker's next answer, those to an earlier epoch's tasks left out.

        Raises:
            RuntimeError: the worker has died, or does not answer in time.
        """
        self._require_running()
        deadline = time.monotonic() + self.timeout if self.timeout else None
        link = self.links[worker]
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            ready = _wait([link, self.processes[worker].sentinel], left)
            if not ready:
                raise RuntimeError(f"DataLoader timed out after {self.timeout} seconds")
            try:
                if link not in ready:
                    raise EOFError
                found, answer = _received(link)
            except (EOFError, OSError):
                raise self._died(worker) from None
            if found == epoch:
                return answer

    def first_ready(self, among: Sequence[int]) -> int:
        """The worker among these that has an answer; waits for one."""
        if len(among) == 1:
            return among[0]
        ready = _wait([self.links[worker] for worker in among], self.timeout or None)
        found = [worker for worker in among if self.links[worker] in ready]
        return found[0] if found else among[0]

    def stop(self) -> None:
        """End the processes; a second call does nothing."""
        self._stop()

    def _require_running(self) -> None:
        if not self._stop.alive:
            raise RuntimeError("the workers of this DataLoader iterator have been stopped")

    def _died(self, worker: int) -> RuntimeError:
        process = self.processes[worker]
        process.join(PATIENCE)
        error = RuntimeError(
            f"DataLoader worker (pid(s) {process.pid}) exited unexpectedly"
            f" with exit code {process.exitcode}"
        )
        self.stop()
        return error


def _wait(sources: list[Any], timeout: float | None) -> list[Any]:
    from multiprocessing.connection import wait  # here, because most loaders need no workers

    return wait(sources, timeout)


def _received(link: Connection) -> tuple[int, Any]:
    epoch, sizes, body = pickle.loads(link.recv_bytes())
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer in buffers:
        if buffer.size:
            link.recv_bytes_into(buffer.data)
    return epoch, pickle.loads(body, buffers=buffers)


def _stop(owner: int, links: list[Connection], processes: list[Any]) -> None:
    """Close the links, on which idle workers leave; stop those that do not leave in time."""
    for link in links:
        link.close()
    if os.getpid() != owner:  # a copy of the loader in a forked process
        return
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0.0))
        if process.is_alive():
            process.terminate()
            process.join()
        process.close()
