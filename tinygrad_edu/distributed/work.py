"""`Work`: an operation between processes, from its call to its end.

Before any data moves, the ranks of a group tell each other what they have called: the operation,
the dtype, the shape.  If they disagree, all of them see it and raise, where MPI would hang or mix
up memory.  It costs one exchange of 112 bytes (6 us between two processes of one machine).

MPI wants a communicator's operations started in the same order everywhere.  The calls go by one
communicator, the data by another; data is started in the order of the calls, by whichever rank
waits for anything at all.  There is no thread behind this: work goes on while somebody waits.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_edu.distributed.errors import DistBackendError
from tinygrad_edu.dtypes import Array, dtype, from_numpy

if TYPE_CHECKING:
    from tinygrad_edu.distributed.world import ProcessGroup
    from tinygrad_edu.tensor import Tensor

NAMES = (
    "barrier", "new_group", "broadcast", "all_reduce", "reduce", "all_gather", "gather", "scatter",
    "reduce_scatter", "all_to_all", "send",
)  # fmt: skip
OPS = ("SUM", "AVG", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR")
GRACE = 1.0
"""Seconds that what a rank has sent before it left may still take to arrive."""
_DIMENSIONS = 8
_DTYPES = list(dtype._by_name)


class Call(NamedTuple):
    """What a rank has called."""

    name: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    op: str = ""
    root: int = -1

    def encode(self) -> Array:
        """As 14 numbers."""
        row = np.zeros(6 + _DIMENSIONS, np.int64)
        row[0] = NAMES.index(self.name)
        row[1] = _DTYPES.index(self.dtype) if self.dtype else -1
        row[2] = OPS.index(self.op) if self.op else -1
        row[3], row[4] = self.root, len(self.shape)
        row[5] = np.prod(self.shape, dtype=np.int64)
        row[6 : 6 + len(self.shape)] = self.shape[:_DIMENSIONS]
        return row

    @staticmethod
    def described(row: Array) -> str:
        """Such numbers in words."""
        name, kind, op, root, dimensions, _ = row[:6].tolist()
        said = []
        if kind >= 0:
            said += [_DTYPES[kind], f"shape {tuple(row[6 : 6 + dimensions].tolist())}"]
        said += [OPS[op]] * (op >= 0) + [f"root {root}"] * (root >= 0)
        return f"{NAMES[name]}({', '.join(said)})"


def call_of(name: str, tensor: Tensor, op: str = "", root: int = -1) -> Call:
    """The call of an operation on a tensor."""
    return Call(name, from_numpy(tensor.array.dtype).name, tuple(tensor.array.shape), op, root)


def _yield() -> None:
    """Let another process have the processor, if one wants it."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()


_active: list[Work] = []
_lock = threading.RLock()


class Work:
    """An operation that is under way; `wait` for it before using what it writes.

    Args:
        group: whose ranks take part.
        call: what all of them must have called.
        start: starts moving the data and returns the requests to wait for.
        finish: called when it has moved.
    """

    def __init__(
        self, group: ProcessGroup, call: Call, start: Callable[[], list[Any]],
        finish: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.group, self.call = group, call
        self._start, self._finish = start, finish
        self._moving: list[Any] | None = None
        self._error: Exception | None = None
        self._done = False
        with _lock:
            self._begin()
            _active.append(self)
            _progress()

    def _begin(self) -> None:
        """Tell the others what this rank has called."""
        self._mine = self.call.encode()
        self._all = np.empty((self.group.size(), self._mine.size), np.int64)
        self._told = self.group.calls.Iallgather(self._mine, self._all)
        self.group.waiting.append(self)

    def _agreed(self) -> bool:
        """Whether the data may move: all ranks have called the same, after what came before."""
        if self.group.waiting[0] is not self or not self._told.Test():
            return False
        self.group.waiting.popleft()
        if (self._all != self._mine).any():
            calls = [f"rank {r} called {Call.described(row)}"
                     for r, row in zip(self.group.ranks, self._all, strict=True)]  # fmt: skip
            raise DistBackendError("the ranks disagree: " + "; ".join(calls))
        return True

    def _advance(self) -> bool:
        """Go as far as possible without waiting; whether that is the end."""
        try:
            if self._moving is None:
                if not self._agreed():
                    return False
                self._moving = self._start()
            if not all([request.Test() for request in self._moving]):
                return False
            if self._finish is not None:
                self._finish()
        except Exception as error:
            self._error = error
        self._done = True
        return True

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Until it is done; True.

        Args:
            timeout: how long at most; the group's own unless given.

        Raises:
            DistBackendError: the ranks disagree on what was called, it took too long, or a rank
                that is needed has left.
        """
        limit = (timeout or self.group.timeout).total_seconds()
        begun = time.monotonic()
        looked = begun
        while not self.is_completed():
            now = time.monotonic()
            if now - looked > 0.05:
                looked = now
                self._look_for_trouble(now - begun, limit)
            # A rank that is late is waited for asleep; data is moved by asking for it.
            if now - begun < (0.002 if self._moving is None else 0.05):
                _yield()
            else:
                time.sleep(5e-5)
        if self._error is not None:
            raise self._error
        return True

    def _look_for_trouble(self, seconds: float, limit: float) -> None:
        trouble = None
        gone = self.group.world.gone() & set(self._needed())
        if gone and min([time.monotonic() - self.group.world.left[r] for r in gone]) > GRACE:
            who = ", ".join(map(str, sorted(gone)))
            trouble = f"rank {who} has left, but is waited for"
        elif seconds > limit:
            trouble = f"it took longer than the timeout of {limit:g} s; a rank may not have called"
        if trouble is not None:
            with _lock:
                _active.remove(self)
            self._done, what = True, Call.described(self.call.encode())
            self._error = DistBackendError(f"{what}: {trouble}")

    def _needed(self) -> list[int]:
        return self.group.ranks

    def is_completed(self) -> bool:
        """Whether it is done."""
        with _lock:
            if not self._done:
                _progress()
            return self._done

    def is_success(self) -> bool:
        """Whether it is done, and went well."""
        return self.is_completed() and self._error is None

    def exception(self) -> Exception | None:
        """What went wrong."""
        return self._error

    def synchronize(self) -> None:
        """As `wait`."""
        self.wait()


class Message(Work):
    """A tensor sent to one rank, or received from one; the receiver checks what it was sent.

    Args:
        peer: the group's number of the other rank, or None to receive from any.
        tag: what both sides call the message.
        sending: which side this is.
    """

    def __init__(
        self, group: ProcessGroup, engine: Any, call: Call, peer: int | None, tag: int,
        sending: bool, start: Callable[[int], list[Any]], finish: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.engine, self.peer, self.tag, self.sending = engine, peer, tag, sending
        super().__init__(group, call, lambda: start(self.source), finish)

    def _begin(self) -> None:
        self._mine, self.source = self.call.encode(), -1 if self.peer is None else self.peer
        calls = self.group.calls
        if self.sending:
            self._told = calls.Isend(self._mine, self.peer, self.tag)
        else:
            self._theirs = np.empty_like(self._mine)
            self._status = self.group.MPI.Status()
            source = self.group.MPI.ANY_SOURCE if self.peer is None else self.peer
            self._told = calls.Irecv(self._theirs, source, self.tag)

    def _agreed(self) -> bool:
        if self.sending:
            return bool(self._told.Test())
        if not self._told.Test(self._status):
            return False
        self.source = int(self._status.Get_source())
        if (self._theirs != self._mine).any():
            self._discard()
            sender, here = self.group.ranks[self.source], Call.described(self._mine)
            raise DistBackendError(
                f"recv: rank {sender} sent {Call.described(self._theirs)[4:]}, but this rank waits"
                f" for {here[4:]}"
            )
        return True

    def _discard(self) -> None:
        """Take what was sent off the way, so that the next message is not mistaken for it."""
        size = int(self._theirs[5]) * dtype._by_name[_DTYPES[int(self._theirs[1])]].itemsize
        unwanted = np.empty(size, np.uint8)
        self.group.discarded.append(
            (unwanted, self.engine.receive(unwanted, self.source, self.tag))
        )

    def _needed(self) -> list[int]:
        ranks, me = self.group.ranks, self.group.world.rank
        return [r for r in ranks if r != me] if self.peer is None else [ranks[self.peer]]


def _progress() -> None:
    """Let every operation go on, in the order of the calls."""
    _active[:] = [work for work in _active if not work._advance()]


def drain(seconds: float) -> None:
    """Let what is under way go on for so long at most."""
    end = time.monotonic() + seconds
    while _active and time.monotonic() < end:
        with _lock:
            _progress()
        _yield()
