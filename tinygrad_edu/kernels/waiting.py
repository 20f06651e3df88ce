"""How long the BLAS's threads wait for work spinning, set at run time.

After a product OpenBLAS's threads spin for 2^28 cycles, a tenth of a second, ready for the next
one, and so take processors from the threads of threads.py.  Once those have started, the BLAS's
spin for 2^20 cycles, a third of a millisecond, and then sleep: products that follow each other find
them awake, long elementwise work finds its processors free.  A program whose arrays are too small
for threads of ours never comes here, for it gains nothing (a perceptron's step would take a tenth
longer).  `set_wait()` gives them their usual wait back; the environment variable
OPENBLAS_THREAD_TIMEOUT goes before all this.
"""

from __future__ import annotations

import os
import sys
import threading

from tinygrad_edu.kernels.threads import NAME, blas
from tinygrad_edu.kernels.undivided import undivided

VARIABLE, USUAL, BRIEF = "OPENBLAS_THREAD_TIMEOUT", 28, 20
"""What OpenBLAS reads the wait from, a power of two; what it takes without; and what suits us."""


class _Set:
    power: int | None = None
    """What `set_wait` was given; None as long as nobody has called it."""


def begin() -> None:
    """Our threads start: a brief wait, unless another was asked for."""
    if _Set.power is None:
        set_wait(BRIEF)


def set_wait(power: int = USUAL) -> bool:
    """From now on the BLAS's threads spin for 2^power cycles, then sleep until they are woken.

    Args:
        power: in [4, 30].

    Returns:
        Whether that could be done: its threads are started anew.  It cannot with another BLAS than
        OpenBLAS, with one thread, with other threads of Python at work, which may be within the
        BLAS, or where the environment variable says how long to wait.

    >>> done = set_wait()
    """
    if not 4 <= power <= 30:
        raise ValueError(f"power must lie in [4, 30], but got {power}")
    library = blas()
    if library is None or library.restart is None or library.get() == 1:
        return False
    if VARIABLE in os.environ or any(map(_may_compute, threading.enumerate())):
        return False
    try:
        os.environ[VARIABLE] = str(power)
        undivided([*library.restart, (library.set, library.get())])
    finally:
        os.environ.pop(VARIABLE, None)
    _Set.power = power
    return True


def _may_compute(thread: threading.Thread) -> bool:
    """Whether a thread may be within the BLAS: it is none of ours, and waits for no other."""
    if thread.name == NAME or thread is threading.current_thread():
        return False
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_globals.get("__name__") != threading.__name__
