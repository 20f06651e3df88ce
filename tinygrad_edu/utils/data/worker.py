"""Worker processes: each has its own copy of the dataset and turns indices into batches.

The loader and a worker talk over one link. The loader sends tasks, the worker answers each with a
batch, in the same order. Arrays are not copied into the message but follow it as raw memory. The
link also tells of death: when one side is gone, the other reads the end of the stream. So a worker
never outlives its loader, and a loader never waits for a dead worker: should the link not end with
the worker, because a process that it forked holds it, the loader looks at the process itself.
"""

from __future__ import annotations

import importlib
import io
import os
import pickle
import queue
import random
import select
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.random import manual_seed
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.utils.data import info
from tinygrad_edu.utils.data.dataset import IterableDataset
from tinygrad_edu.utils.data.fetch import fetcher
from tinygrad_edu.utils.data.info import WorkerInfo
from tinygrad_edu.utils.data.info import get_worker_info as get_worker_info
from tinygrad_edu.utils.data.link import Link

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext

PATIENCE = 5.0
"""Seconds that workers get to leave by themselves, then after SIGTERM, then after SIGKILL."""

GLANCE = 0.25
"""Seconds between looks at whether a worker that is waited for still lives."""


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


class Unreadable:
    """An answer that has arrived, but cannot be unpickled here."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause

    def error(self) -> Exception:
        """The exception to raise in the loader."""
        return self.cause


# In the worker ------------------------------------------------------------------------------------


def _work(job: Job, worker: int, connection: Connection) -> None:
    """Answer tasks until the link ends."""
    # A process that the dataset forks must not keep the link open once this one is dead.
    _open.add(connection)
    link = Link(connection)
    outbox: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
    # Sending waits until the loader reads, and the loader may at that moment wait for this worker
    # to read a task. A thread of its own for sending keeps the two from waiting for each other.
    threading.Thread(target=_send_all, args=(link, outbox), daemon=True).start()
    try:
        _answer(job, worker, link, outbox)
    except (EOFError, OSError, KeyboardInterrupt):
        pass  # the loader is gone, or is being interrupted itself


def _answer(job: Job, worker: int, link: Link, outbox: queue.SimpleQueue[list[bytes]]) -> None:
    start_failure: Failure | None = None
    try:
        _prepare(job, worker)
    except Exception as error:
        start_failure = Failure(error, worker)
    fetch: Callable[[Any], Any] | None = None
    current = -1
    while True:
        epoch, indices = pickle.loads(link.read_message())
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
    seed = job.base_seed + worker
    random.seed(seed)
    manual_seed(seed)
    entropy = [worker, job.base_seed & 0xFFFFFFFF, job.base_seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    info.current = WorkerInfo(worker, job.num_workers, seed, job.dataset)
    if job.init_fn is not None:
        job.init_fn(worker)


class _Pickler(pickle.Pickler):
    """A pickler that refuses to leave a tensor's graph behind."""

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, Tensor) and value.requires_grad and not value.is_leaf:
            raise RuntimeError(
                "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd"
                " does not support crossing process boundaries.  If you just want to transfer the"
                " data, call detach() on the tensor before the dataset returns it."
            )
        return NotImplemented


def _packed(epoch: int, answer: object, worker: int) -> list[bytes]:
    """What carries an answer: a message, the pickle without its arrays, then each array's bytes."""
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


def _send_all(link: Link, outbox: queue.SimpleQueue[list[bytes]]) -> None:
    try:
        while True:
            head, *raw = outbox.get()
            link.write_message(head)
            for part in raw:
                link.write(part)
    except OSError:
        pass  # the loader is gone


# In the loader ------------------------------------------------------------------------------------


_open: weakref.WeakSet[Connection] = weakref.WeakSet()
"""This process's ends of all links.  A fork copies them, and one copy left open would hide from the
other side that this process has gone; so every forked process closes its copies at once."""


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
        self.links: list[Link] = []
        self.processes: list[Any] = []
        self.deadline: float | None = None
        self._stop = weakref.finalize(self, _stop, os.getpid(), self.links, self.processes)
        itself = weakref.ref(self)  # a link must not keep the workers alive
        for worker in range(job.num_workers):
            ours, theirs = context.Pipe()
            _open.add(ours)
            process = context.Process(  # type: ignore[attr-defined]
                target=_work, args=(job, worker, theirs), daemon=True
            )
            process.start()
            theirs.close()
            self.processes.append(process)
            self.links.append(Link(ours, partial(_wait_for, itself, worker)))

    def send(self, worker: int, epoch: int, indices: object) -> None:
        """Give a worker a task.

        Raises:
            RuntimeError: the worker has died, or does not take it in time.
        """
        self._require_running()
        self._start_clock()
        with self._whole_messages(worker):
            task = pickle.dumps((epoch, indices), pickle.HIGHEST_PROTOCOL)
            self.links[worker].write_message(task)

    def receive(self, worker: int, epoch: int) -> Any:
        """A worker's next answer, those to an earlier epoch's tasks left out.

        Raises:
            RuntimeError: the worker has died, or does not answer in time.
        """
        self._require_running()
        self._start_clock()
        while True:
            self.wait_for(worker)
            with self._whole_messages(worker):
                found, sizes, body = pickle.loads(self.links[worker].read_message())
                buffers = [np.empty(size, np.uint8) for size in sizes]
                for buffer in buffers:
                    if buffer.size:
                        self.links[worker].read_into(buffer.data)
            if found == epoch:
                try:
                    return pickle.loads(body, buffers=buffers)
                except Exception as error:
                    return Unreadable(error)

    def first_ready(self, among: Sequence[int]) -> int:
        """The worker among these that has an answer, or has died; waits for one."""
        self._require_running()
        self._start_clock()
        links = {self.links[worker].connection: worker for worker in among}
        while len(among) > 1:
            ready = _wait(list(links), self._time_left())
            if ready:
                return links[ready[0]]
            for worker in among:
                if not self.processes[worker].is_alive():
                    return worker
        return among[0]

    def stop(self) -> None:
        """End the processes; a second call does nothing."""
        self._stop()

    @property
    def running(self) -> bool:
        """They have not been stopped."""
        return self._stop.alive

    def _require_running(self) -> None:
        if not self.running:
            raise RuntimeError("the workers of this DataLoader iterator have been stopped")

    def _start_clock(self) -> None:
        self.deadline = time.monotonic() + self.timeout if self.timeout else None

    def _time_left(self) -> float:
        """Seconds until the next look at the processes.

        Raises:
            RuntimeError: `timeout` is over.
        """
        if self.deadline is None:
            return GLANCE
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise RuntimeError(f"DataLoader timed out after {self.timeout} seconds")
        return min(left, GLANCE)

    def wait_for(self, worker: int, writing: bool = False) -> None:
        """Wait until a worker's link can be read, or written to.

        Raises:
            RuntimeError: the worker has died, or `timeout` is over.
        """
        link = self.links[worker].connection
        while True:
            # A process that the worker has forked may keep the link from ending.
            alive = self.processes[worker].is_alive()
            seconds = self._time_left() if alive else 0
            if writing:
                poll = select.poll()
                poll.register(link.fileno(), select.POLLOUT)
                ready = bool(poll.poll(1000 * seconds))
            else:
                ready = bool(_wait([link], seconds))
            if ready:
                return
            if not alive:
                raise self._died(worker)

    @contextmanager
    def _whole_messages(self, worker: int) -> Iterator[None]:
        """Within this, bytes travel; if it is left early, the workers are stopped.

        Nobody would know where the next message begins.
        """
        try:
            yield
        except (EOFError, OSError):
            raise self._died(worker) from None
        except BaseException:
            self.stop()
            raise

    def _died(self, worker: int) -> RuntimeError:
        process = self.processes[worker]
        _running([process], PATIENCE)
        error = RuntimeError(
            f"DataLoader worker (pid(s) {process.pid}) exited unexpectedly"
            f" with exit code {process.exitcode}"
        )
        self.stop()
        return error


def _wait_for(workers: weakref.ref[Workers], worker: int, writing: bool) -> None:
    found = workers()
    assert found is not None
    found.wait_for(worker, writing)


def _wait(sources: list[Any], timeout: float | None) -> list[Any]:
    from multiprocessing.connection import wait  # here, because most loaders need no workers

    return wait(sources, timeout)


def _running(processes: list[Any], seconds: float) -> list[Any]:
    """Those of the processes that have not ended after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        alive = [process for process in processes if process.is_alive()]
        left = deadline - time.monotonic()
        if not alive or left <= 0:
            return alive
        _wait([process.sentinel for process in alive], min(left, 0.1))


def _stop(owner: int, links: list[Link], processes: list[Any]) -> None:
    """Close the links, on which idle workers leave; stop those that do not leave in time."""
    for link in links:
        link.connection.close()
    if os.getpid() != owner:  # a copy of the loader in a forked process
        return
    alive = _running(processes, PATIENCE)
    for process in alive:
        process.terminate()
    alive = _running(alive, PATIENCE)  # one that is stopped does not even take notice of that
    for process in alive:
        process.kill()
    deadline = time.monotonic() + PATIENCE
    while not all([_is_dead(process) for process in alive]) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in processes:
        if process not in alive:
            process.close()
        elif not _is_dead(process):
            # Stuck in the kernel.  Python would wait for it on leaving, and would do so for ever.
            module: Any = importlib.import_module("multiprocessing.process")
            module._children.discard(process)
            warnings.warn(f"DataLoader worker (pid {process.pid}) cannot be killed", stacklevel=2)


def _is_dead(process: Any) -> bool:
    """A killed process has ended.

    It is not reaped, which multiprocessing does when it next looks at its children: until then its
    number belongs to it, and a signal sent by someone who remembers it cannot hit another process.
    """
    if hasattr(os, "waitid"):
        with suppress(ChildProcessError):  # a process of the fork server is not our child
            seen = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return seen is not None
    return not process.is_alive()
