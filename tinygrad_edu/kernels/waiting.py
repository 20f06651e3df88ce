"""How long the BLAS's threads wait for work spinning, set at run time.

After a product OpenBLAS's threads spin for 2^28 cycles, a tenth of a second, ready for the next
one, and so take processors from the threads of threads.py.  Where long computations of the two
kinds take turns, a shorter wait is faster; where products follow each other, it is slower, on some
processors three times.  So it is for the user to say, and to measure:

    with brief_waits():
        train()
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from tinygrad_edu.kernels.threads import blas
from tinygrad_edu.kernels.undivided import undivided

VARIABLE, USUAL = "OPENBLAS_THREAD_TIMEOUT", 28
"""What OpenBLAS reads the wait from, as a power of two, and what it takes without that."""


@contextlib.contextmanager
def brief_waits(power: int = 20) -> Iterator[bool]:
    """Within the block the BLAS's threads spin for 2^power cycles, then sleep until they are woken.

    Args:
        power: in [4, 30].

    Gives whether that could be done.  It cannot with another BLAS than OpenBLAS, with one thread,
    with other threads of Python running, which may be within the BLAS, or where the environment
    variable says how long to wait.

    >>> with brief_waits(): pass
    """
    if not 4 <= power <= 30:
        raise ValueError(f"power must lie in [4, 30], but got {power}")
    done = VARIABLE not in os.environ and _restart(power)
    try:
        yield done
    finally:
        if done:
            _restart(USUAL)


def _restart(power: int) -> bool:
    """Start the BLAS's threads anew, if it lets us and nobody may be using them."""
    library = blas()
    others = [t for t in threading.enumerate() if t.name != "tinygrad_edu"]
    if library is None or library.restart is None or len(others) > 1 or library.get() == 1:
        return False
    try:
        os.environ[VARIABLE] = str(power)
        undivided([*library.restart, (library.set, library.get())])
    finally:
        os.environ.pop(VARIABLE, None)
    return True
