"""Writes that nothing comes between: an interrupt falls before the first of them or after the last.

Python runs the handlers of signals between two bytecodes of the main thread.  Calls that C makes
one after another, of functions written in C, have no bytecode between them: Ctrl-C waits for the
end of the list.  What can fail, above all to get memory, is done while the list is made.
"""

from __future__ import annotations

from collections import deque
from itertools import starmap
from operator import call, setitem
from typing import Any

import numpy as np

Calls = list[tuple[Any, ...]]
"""Functions written in C, such as those of NumPy, each followed by its arguments."""


_run = deque[Any](maxlen=0).extend
"""Runs through an iterator in C and keeps nothing of it."""


def undivided(calls: Calls) -> None:
    """Call each function with its arguments, in this order.

    >>> import numpy as np
    >>> x, count = np.zeros(2), np.zeros(())
    >>> undivided([(np.add, x, 0.5, x), (np.add, count, 1, count)])
    >>> x.tolist(), count.item()
    ([0.5, 0.5], 1.0)
    """
    _run(starmap(call, calls))


def write(*pairs: tuple[Any, Any]) -> None:
    """Overwrite the first array of each pair with the second.

    >>> import numpy as np
    >>> x, count = np.zeros(2), np.zeros(())
    >>> write((x, x + 0.5), (count, 1.0))
    >>> x.tolist(), count.item()
    ([0.5, 0.5], 1.0)
    """
    undivided([(setitem, array, ..., new) for array, new in pairs])


def descend(x: Any, steps: list[Any], *pairs: tuple[Any, Any], shrink: float = 1.0) -> None:
    """x <- shrink x - step - ..., in place, and `write(*pairs)`.

    >>> import numpy as np
    >>> x, count = np.ones(2), np.zeros(())
    >>> descend(x, [np.full(2, 0.25)], (count, 1.0), shrink=0.5)
    >>> x.tolist(), count.item()
    ([0.25, 0.25], 1.0)
    """
    calls: Calls = [(np.multiply, x, shrink, x)] if shrink != 1 else []
    calls += [(np.subtract, x, step, x) for step in steps]
    undivided(calls + [(setitem, array, ..., new) for array, new in pairs])
