"""`spawn`: one function in several processes, and what becomes of them."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import connection
from typing import Any


class ProcessException(Exception):
    """A process that `spawn` had started failed.

    Attributes:
        error_index: which one; pid: its number at the system.
    """

    def __init__(self, msg: str, error_index: int, pid: int) -> None:
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """It raised an exception; the message has its traceback."""


class ProcessExitedException(ProcessException):
    """It ended without one: by a signal, or with an exit code other than 0."""

    def __init__(
        self, msg: str, error_index: int, pid: int, exit_code: int, signal_name: str | None = None
    ) -> None:
        super().__init__(msg, error_index, pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> tuple[Any, ...]:
        more = self.exit_code, self.signal_name
        return type(self), (self.msg, self.error_index, self.pid, *more)


class ProcessContext:
    """The processes that `spawn(..., join=False)` has started."""

    def __init__(self, processes: list[Any], links: list[Any]) -> None:
        self.processes, self._links = processes, dict(enumerate(links))

    def pids(self) -> list[int]:
        """Their numbers at the system."""
        return [process.pid for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until all have ended, or one of them has failed, which ends the others.

        Args:
            timeout: seconds to wait at most.
            grace_period: seconds that the others get to end by themselves after a failure.

        Returns:
            Whether all have ended.

        Raises:
            ProcessRaisedException, ProcessExitedException: one of them has failed.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            for i, process in enumerate(self.processes):
                if i in self._links and self._links[i].poll():
                    self._fail(i, self._receive(i), grace_period)
                if process.exitcode:
                    self._fail(i, None, grace_period)
            alive = [p.sentinel for p in self.processes if p.exitcode is None]
            left = None if end is None else end - time.monotonic()
            if not alive or (left is not None and left <= 0):
                return not alive
            connection.wait([*alive, *self._links.values()], left)

    def _receive(self, i: int) -> str | None:
        """The traceback that a process sent; None if it closed its end without one."""
        try:
            text: str = self._links[i].recv()
        except EOFError:
            del self._links[i]
            return None
        return text

    def _fail(self, i: int, trace: str | None, grace_period: float | None) -> None:
        """End all processes and raise for number `i`; nothing if that has ended well."""
        process = self.processes[i]
        if trace is None:
            process.join()
            if not process.exitcode:
                return
        if grace_period is not None:
            end = time.monotonic() + grace_period
            for other in self.processes:
                other.join(max(0.0, end - time.monotonic()))
        for other in self.processes:
            if other.is_alive():
                other.terminate()
        for other in self.processes:
            other.join()
        if trace is not None:
            text = f"\n\n-- Process {i} terminated with the following error:\n{trace}"
            raise ProcessRaisedException(text, i, process.pid)
        raise _exited(i, process.pid, process.exitcode)


def _exited(i: int, pid: int, code: int) -> ProcessExitedException:
    """The exception for a process that ended by itself, or by a signal."""
    if code > 0:
        text = f"process {i} terminated with exit code {code}"
        return ProcessExitedException(text, i, pid, code)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"<Unknown signal {-code}>"
    text = f"process {i} terminated with signal {name}"
    return ProcessExitedException(text, i, pid, code, name)


SpawnContext = ProcessContext


def start_processes(
    fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True,
    daemon: bool = False, start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """As `spawn`, by any of Python's start methods."""
    if start_method == "spawn" and "tinygrad_edu.distributed" in sys.modules:
        from tinygrad_edu.distributed import is_available

        if is_available():
            return _start_ranks(fn, args, nprocs, join)
    context: Any = multiprocessing.get_context(start_method)
    processes, links = [], []
    for i in range(nprocs):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(fn, i, args, theirs), daemon=daemon)
        process.start()
        theirs.close()
        processes.append(process)
        links.append(ours)
    started = ProcessContext(processes, links)
    if not join:
        return started
    while not started.join():
        pass
    return None


class RanksContext(ProcessContext):
    """The processes of `spawn` if MPI connects them."""

    def __init__(self, ranks: Any) -> None:
        super().__init__([], [])
        self._ranks = ranks

    def pids(self) -> list[int]:
        found: list[int] = self._ranks.pids()
        return found

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        if not self._ranks.join(timeout):
            return False
        said = self._ranks.failure
        if said is None:
            return True
        i, code, pids = said["rank"], said["code"], self.pids()
        pid = pids[i] if i < len(pids) else -1
        if said.get("traceback"):
            text = f"\n\n-- Process {i} terminated with the following error:\n{said['traceback']}"
            raise ProcessRaisedException(text, i, pid)
        raise _exited(i, pid, code)


def _start_ranks(
    fn: Callable[..., Any], args: tuple[Any, ...], nprocs: int, join: bool
) -> ProcessContext | None:
    from tinygrad_edu.distributed.spawned import Ranks

    started = RanksContext(Ranks(fn, args, nprocs))
    if not join:
        return started
    started.join()
    return None


def spawn(
    fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True,
    daemon: bool = False, start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """Run `fn(i, *args)` in processes i = 0, 1, ...

    If `torch.distributed` has been imported before, and mpi4py is there, MPI starts the processes,
    so that `fn` may call `init_process_group`; `daemon` then has no effect.  Else they are
    plain processes, as for Hogwild.

    Args:
        fn: a function of a module, which a new process can import.
        args: tensors among these are shared.
        nprocs: how many processes.
        join: wait for all of them.
        daemon: end them when this process ends.
        start_method: "spawn"; `start_processes` knows others.

    Returns:
        The processes, as an object with `join` and `pids`, if `join` is false.

    Raises:
        ProcessRaisedException: one of them raised an exception; its traceback is in the message.
        ProcessExitedException: one of them ended otherwise.
    """
    return start_processes(fn, args, nprocs, join, daemon, start_method)


def _run(fn: Callable[..., Any], i: int, args: tuple[Any, ...], link: Any) -> None:
    """What each process runs."""
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass  # the parent has it, too
    except Exception:
        link.send(traceback.format_exc())
        sys.exit(1)
