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
import zlib
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.distributed.errors import DistBackendError
from tinygrad_edu.distributed.mpi import Staged
from tinygrad_edu.dtypes import Array

if TYPE_CHECKING:
    from tinygrad_edu.distributed.world import ProcessGroup

GRACE = 1.0
"""Seconds that what a rank has sent before it left may still take to arrive."""
_LENGTH = 112


def _encoded(call: str) -> Array:
    """A call in words, as bytes; long ones are cut and get a checksum of the whole."""
    data = call.encode()
    if len(data) > _LENGTH:
        data = data[: _LENGTH - 12] + b"... %08x" % zlib.crc32(data)
    return np.frombuffer(data.ljust(_LENGTH), np.uint8)


def _decoded(row: Array) -> str:
    return bytes(row).decode(errors="replace").rstrip()


_yield = getattr(os, "sched_yield", lambda: None)
_active: list[Work] = []
_lock = threading.RLock()


class Work:
    """An operation that is under way; `wait` for it before using what it writes.

    Args:
        group: whose ranks take part.
        call: what all of them must have called, in words.
        start: starts moving the data and returns the requests to wait for, if there are any.
        finish: called when it has moved.
    """

    def __init__(
        self, group: ProcessGroup, call: str,
        start: Callable[[], list[Any] | None] = lambda: None,
        finish: Callable[[], None] = lambda: None,
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
        self._mine = _encoded(self.call)
        self._all = np.empty((self.group.size(), _LENGTH), np.uint8)
        self._told = self.group.calls.Iallgather(self._mine, self._all)
        self.group.waiting.append(self)

    def _agreed(self) -> bool:
        """Whether the data may move: all ranks have called the same, after what came before."""
        if self.group.waiting[0] is not self or not self._told.Test():
            return False
        self.group.waiting.popleft()
        if (self._all != self._mine).any():
            pairs = zip(self.group.ranks, map(_decoded, self._all), strict=True)
            calls = [f"rank {r} called {call}" for r, call in pairs]
            raise DistBackendError("the ranks disagree: " + "; ".join(calls))
        return True

    def _advance(self) -> bool:
        """Go as far as possible without waiting; whether that is the end."""
        try:
            if self._moving is None:
                if not self._agreed():
                    return False
                self._moving = self._start() or []
            if not all([request.Test() for request in self._moving]):
                return False
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
            self._done, self._error = True, DistBackendError(f"{self.call}: {trouble}")

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
        staged: the tensor, for this engine.

    Attributes:
        source: the group's number of the other rank, once it is known.
    """

    def __init__(
        self, group: ProcessGroup, call: str, peer: int | None, tag: int, sending: bool,
        engine: Any, staged: Staged,
    ) -> None:  # fmt: skip
        self.source = group.MPI.ANY_SOURCE if peer is None else peer
        self.peer, self.tag, self.sending, self.engine = peer, tag, sending, engine
        move = engine.send if sending else engine.receive
        start = lambda: move(staged.buffer, self.source, tag)  # noqa: E731
        super().__init__(group, call, start, (lambda: None) if sending else staged.back)

    def _begin(self) -> None:
        calls, self._status = self.group.calls, self.group.MPI.Status()
        self._theirs = _encoded(self.call).copy()
        tell = calls.Isend if self.sending else calls.Irecv
        self._told = tell(self._theirs, self.source, self.tag)

    def _agreed(self) -> bool:
        if not self._told.Test(self._status):
            return False
        if self.sending:
            return True
        self.source = int(self._status.Get_source())
        if (self._theirs != _encoded(self.call)).any():
            self.engine.discard(self.source, self.tag)
            sent, here = _decoded(self._theirs)[4:], self.call[4:]
            raise DistBackendError(
                f"recv: rank {self.group.ranks[self.source]} sent {sent}, but this rank waits for"
                f" {here}"
            )
        return True

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
