"""The BLAS's threads wait as long as they are told, and as before when the block ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from tinygrad_edu.kernels import threads
from tinygrad_edu.kernels.waiting import VARIABLE, brief_waits

PROGRAM = """
import time
import numpy as np
from tinygrad_edu.kernels.waiting import brief_waits

def spun():
    x = np.ones((512, 512), np.float32)
    times = []
    for _ in range(3):
        x @ x
        start = time.process_time()
        time.sleep(0.1)
        times.append(time.process_time() - start)
    return sorted(times)[1]

before = spun()
try:
    with brief_waits() as done:
        within = spun()
        raise KeyboardInterrupt
except KeyboardInterrupt:
    pass
print(done, before, within, spun())
"""


def test_threads_spin_less_within_the_block() -> None:
    environment = {k: v for k, v in os.environ.items() if k != VARIABLE}
    environment["OMP_NUM_THREADS"] = environment["OPENBLAS_NUM_THREADS"] = "2"
    made = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    done, before, within, after = made.stdout.split()
    if done == "False":
        pytest.skip("no OpenBLAS of two threads that can be told")
    if float(before) < 4e-3 > float(after):
        pytest.skip("its threads did not spin before either")
    assert float(within) < float(before) / 2
    assert float(within) < float(after) / 2
    assert VARIABLE not in os.environ


def test_nothing_is_done_where_another_thread_may_be_in_the_blas() -> None:
    library = threads.blas()
    count = None if library is None else library.get()
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        with brief_waits() as done:
            assert not done
    finally:
        end.set()
        other.join()
    assert count is None or threads.blas().get() == count  # type: ignore[union-attr]


def test_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "25")
    with brief_waits() as done:
        assert not done
    assert os.environ[VARIABLE] == "25"


def test_only_what_the_blas_takes() -> None:
    with pytest.raises(ValueError, match=r"power must lie in \[4, 30\]"), brief_waits(31):
        pass
