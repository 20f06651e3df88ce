"""A DataLoader waits for a slow worker only: not for one that is stopped, dead or unreadable.

Each test runs in a process of its own, which is killed after a limit: a loader that waits for ever
fails the test, not the suite.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import subprocess
import sys
import textwrap
import time

import pytest

import tinygrad_edu as torch

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)

START = """
import ctypes, errno, multiprocessing, os, signal, sys, threading, time
import numpy as np
from tinygrad_edu.utils.data import DataLoader, worker
worker.PATIENCE = 0.5

class Data:
    def __len__(self): return 8
    def __getitem__(self, i):
        if i == 3: act()
        return make(i)

def make(i): return i

def loader(count=2, **settings):
    return DataLoader(Data(), 1, num_workers=count, multiprocessing_context="fork", **settings)

def told(call):
    start = time.monotonic()
    try:
        print("no error", call())
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[0])
    print("slow" if time.monotonic() - start > 3 else "fast")
"""


def run(code: str, seconds: float = 25) -> list[str]:
    """The lines that a program prints, which must end by itself, its workers with it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(pathlib.Path(torch.__file__).parents[1]),
        "PYTHONWARNINGS": "ignore",
    }
    program = START + textwrap.dedent(code)
    program += "\nimport gc; gc.collect()\nassert not multiprocessing.active_children()\n"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=seconds,
            env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"it hangs; it printed {error.stdout!r}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


STOPPED = {
    "stopped": "def act(): os.kill(os.getpid(), signal.SIGSTOP)",
    "deaf to SIGTERM": """
        def act():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
        """,
    "in the middle of an answer": """
        def make(i): return np.zeros(30_000_000 if i == 3 else 1)
        def act():
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGSTOP)).start()
        real = worker.Workers.receive
        def late(self, *args):  # so that the answer waits, half of it in the pipe
            if args[0] == 1: time.sleep(0.8)
            return real(self, *args)
        worker.Workers.receive = late
        """,
}


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("how", STOPPED)
def test_a_worker_that_does_not_go_on(how: str, in_order: bool) -> None:
    lines = run(
        textwrap.dedent(STOPPED[how])
        + f"""
it = iter(loader(timeout=1, in_order={in_order}))
told(lambda: list(it))
told(lambda: it._workers.stop())
"""
    )
    assert lines[0] == "RuntimeError DataLoader timed out after 1 seconds", lines
    assert lines[2:] == ["no error None", "fast"]


def test_many_stopped_workers_are_stopped_together() -> None:
    lines = run(
        """
        Data.__getitem__ = lambda self, i: os.kill(os.getpid(), signal.SIGSTOP)
        it = iter(loader(6, timeout=0.5))
        told(lambda: next(it))
        told(lambda: it._workers.stop())
        """
    )
    assert lines == [
        "RuntimeError DataLoader timed out after 0.5 seconds", "fast", "no error None", "fast"
    ]  # fmt: skip


def test_a_task_that_is_not_taken() -> None:
    """A stopped worker does not empty its end of the link either."""
    lines = run(
        """
        Data.__getitem__ = lambda self, i: os.kill(os.getpid(), signal.SIGSTOP)
        batches = [[0] * 2_000_000 for _ in range(4)]
        def epoch():
            return list(DataLoader(Data(), batch_sampler=batches, num_workers=1, timeout=1,
                                   prefetch_factor=3, multiprocessing_context="fork"))
        told(epoch)
        """
    )
    assert lines[0] == "RuntimeError DataLoader timed out after 1 seconds", lines


def test_a_stopped_worker_at_the_end_of_the_program() -> None:
    before = time.monotonic()
    program = (
        "def act(): time.sleep(0.3); os.kill(os.getpid(), signal.SIGSTOP)\n"
        "it = iter(loader(1))\nnext(it); next(it); time.sleep(1)\ndel it\n"
    )
    run(program)
    assert time.monotonic() - before < 15


def test_an_unkillable_worker_is_given_up() -> None:
    """One that is stuck in the kernel; here it is `kill` that does nothing."""
    lines = run(
        """
        import warnings
        warnings.simplefilter("always")
        def act(): os.kill(os.getpid(), signal.SIGSTOP)
        it = iter(loader(1, timeout=0.5))
        process = it._workers.processes[0]
        pid, process.kill = process.pid, lambda: None
        told(lambda: list(it))
        with warnings.catch_warnings(record=True) as caught:
            it._workers.stop()
        print(caught[0].message.args[0].replace(str(pid), "PID"))
        assert process not in multiprocessing.active_children()
        os.kill(pid, signal.SIGKILL)
        """
    )
    assert lines[0] == "RuntimeError DataLoader timed out after 0.5 seconds"
    assert lines[-1] == "DataLoader worker (pid PID) cannot be killed"


FORKS = {
    "os.fork": "os.fork()",
    "a fork in C": "ctypes.PyDLL(None).fork()",  # which no handler of Python's sees
}


@pytest.mark.parametrize("settings", ["", "in_order=False", "timeout=20"])
@pytest.mark.parametrize("fork", FORKS)
def test_a_dead_worker_whose_child_lives(fork: str, settings: str) -> None:
    lines = run(
        f"""
        def act():
            if {FORKS[fork]} == 0:
                os.closerange(0, 3)  # whoever reads what this program prints waits for no child
                time.sleep(10)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        told(lambda: list(loader({settings})))
        """
    )
    assert "exited unexpectedly with exit code -9" in lines[0] and lines[1] == "fast", lines


CANNOT = {
    "OSError": "raise OSError(errno.EIO, 'no such disk')",
    "EOFError": "raise EOFError('of its own')",
    "ValueError": "raise ValueError('not like this')",
    "MemoryError": "raise MemoryError('too large')",
    "AttributeError": "self.nothing",
}


@pytest.mark.parametrize("settings", ["", "in_order=False", "persistent_workers=True"])
@pytest.mark.parametrize("kind", CANNOT)
def test_a_batch_that_cannot_be_unpickled(kind: str, settings: str) -> None:
    """It is told as what it is, it costs its turn, and the others come."""
    lines = run(
        f"""
        class Bad:
            def __init__(self, i): self.i = i
            def __setstate__(self, state):
                self.__dict__.update(state)
                if self.i == 3: {CANNOT[kind]}
        def act(): pass
        def make(i): return Bad(i)
        it = iter(loader(collate_fn=lambda batch: batch[0], {settings}))
        seen, errors = [], []
        while True:
            try: seen.append(next(it).i)
            except StopIteration: break
            except Exception as error: errors.append(type(error).__name__)
        print(sorted(seen), errors)
        del it
        """
    )
    assert lines == [f"[0, 1, 2, 4, 5, 6, 7] ['{kind}']"]


def test_persistent_workers_are_started_anew_after_a_death() -> None:
    lines = run(
        """
        def act():
            if not os.path.exists(sys.argv[0] + "nothing") and os.environ.get("DIE"): os._exit(3)
        os.environ["DIE"] = "1"
        data = loader(persistent_workers=True)
        told(lambda: list(data))
        del os.environ["DIE"]
        print([int(x) for x in data], [int(x) for x in data])
        del data
        """
    )
    whole = list(range(8))
    assert "exit code 3" in lines[0] and lines[2] == f"{whole} {whole}"


def test_a_slow_worker_is_waited_for() -> None:
    lines = run(
        """
        def act(): time.sleep(2)
        print([int(x) for x in loader()])
        """
    )
    assert lines == [str(list(range(8)))]
