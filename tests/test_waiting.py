"""The BLAS's threads wait as long as they are told, and briefly once ours have started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from tinygrad_edu.kernels import threads
from tinygrad_edu.kernels.waiting import VARIABLE, set_wait

PROGRAM = """
import threading, time
import numpy as np
from tinygrad_edu.kernels.threads import spread
from tinygrad_edu.kernels.waiting import set_wait

def spun():
    x = np.ones((512, 512), np.float32)
    times = []
    for _ in range(3):
        x @ x
        start = time.process_time()
        time.sleep(0.1)
        times.append(time.process_time() - start)
    return sorted(times)[1]

def idle(end=threading.Event()):
    threading.Thread(target=end.wait, daemon=True).start()

print(spun())
"""


def times_spun(*actions: str, **environment: str) -> list[float]:
    """Seconds that the BLAS's thread spins in a tenth of one: at first, and after each action."""
    program = PROGRAM + "".join(f"{action}\nprint(spun())\n" for action in actions)
    known = {k: v for k, v in os.environ.items() if k != VARIABLE}
    known |= {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"} | environment
    run = [sys.executable, "-c", program]
    made = subprocess.run(run, env=known, capture_output=True, text=True, check=True)
    found = [float(line) for line in made.stdout.split()]
    if found[0] < 4e-3:
        pytest.skip("the BLAS has no second thread that spins")
    return found


def test_threads_spin_as_long_as_they_are_told() -> None:
    usual, brief, again = times_spun("assert set_wait(20)", "assert set_wait()")
    assert brief < usual / 2
    assert brief < again / 2


def test_they_spin_less_once_our_threads_have_started() -> None:
    usual, brief, _ = times_spun("spread(abs, range(4))", "spread(abs, range(4))")
    assert brief < usual / 2


def test_a_thread_that_waits_for_others_does_not_prevent_it() -> None:
    usual, brief = times_spun("idle(); spread(abs, range(4))")
    assert brief < usual / 2


def test_who_asked_for_a_wait_keeps_it() -> None:
    usual, asked = times_spun("set_wait(); spread(abs, range(4))")
    assert asked > usual / 2
    usual, asked = times_spun("spread(abs, range(4))", **{VARIABLE: "27"})
    assert asked > usual / 2


def test_nothing_is_done_where_another_thread_may_be_in_the_blas() -> None:
    library = threads.blas()
    count = None if library is None else library.get()
    end = False

    def work() -> None:
        while not end:
            pass

    other = threading.Thread(target=work)
    other.start()
    try:
        assert not set_wait(20)
    finally:
        end = True
        other.join()
    assert count is None or threads.blas().get() == count  # type: ignore[union-attr]


def test_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "25")
    assert not set_wait(20)
    assert os.environ[VARIABLE] == "25"


def test_only_what_the_blas_takes() -> None:
    with pytest.raises(ValueError, match=r"power must lie in \[4, 30\]"):
        set_wait(31)
