"""The Fisher-Yates shuffle, as a loop and without one.

The shuffle makes n - 1 swaps: for i = 0, 1, 2, ... it swaps places i and t[i], where t[i] is drawn
from the places i, ..., n - 1. Swaps must happen in order, which seems to forbid NumPy. But a
question can be asked of each place separately: *what arrives at place i in swap i?* (No later swap
touches place i, so that is the result.)

* It comes from place t[i]. If an earlier swap j had the same target, t[j] = t[i], then the last
  such j put there what stood at place j just before swap j. If none had, place t[i] is untouched.
* What stood at place j just before swap j? If an earlier swap k had the target j, what stood at
  place k just before swap k, for the last such k; otherwise place j was untouched.

The second question leads from j to k < j, from k to a still smaller number, and so on to a place
that no earlier swap had as its target. All these walks are done at once by pointer doubling:
follow[j] = follow[follow[j]] until nothing changes, which takes about log2(longest walk) rounds.

The swaps are taken in blocks, small enough for the processor's cache; "earlier" then means earlier
in the same block, and "untouched" as the blocks before have left it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .mersenne_twister import MersenneTwister

__all__ = ["fisher_yates", "fisher_yates_loop"]

_I64 = npt.NDArray[np.int64]


def _targets(stream: MersenneTwister, n: int, start: int, stop: int) -> _I64:
    """t[start:stop], where t[i] = i + word % (n - i)."""
    steps = stream.words(stop - start) % np.arange(n - start, n - stop, -1, dtype=np.uint32)
    return np.add(steps, np.arange(start, stop), dtype=np.int64)


def fisher_yates_loop(stream: MersenneTwister, n: int) -> _I64:
    """The definition: swap places i and t[i] of 0, 1, ..., n - 1, for i = 0 to n - 2.

    Source: Fisher and Yates, "Statistical tables", 1938; Durstenfeld, "Algorithm 235", 1964.

    >>> fisher_yates_loop(MersenneTwister(0), 5).tolist()
    [4, 0, 1, 3, 2]
    """
    result = list(range(n))
    for i, t in enumerate(_targets(stream, n, 0, max(n - 1, 0)).tolist()):
        result[i], result[t] = result[t], result[i]
    return np.array(result, np.int64)


def fisher_yates(stream: MersenneTwister, n: int, block: int = 4096, loop_to: int = 400) -> _I64:
    """The same as `fisher_yates_loop`, faster above `loop_to` numbers; n < 2**32.

    >>> fisher_yates(MersenneTwister(0), 5, loop_to=0).tolist()
    [4, 0, 1, 3, 2]
    """
    if n <= loop_to:
        return fisher_yates_loop(stream, n)
    result = np.arange(n)
    for start in range(0, n - 1, block):
        _swap_block(result, start, _targets(stream, n, start, min(start + block, n - 1)))
    return result


def _swap_block(values: _I64, start: int, t: _I64) -> None:
    """Swap places start + i and t[i] of `values`, for i = 0 to len(t) - 1."""
    times = np.arange(len(t))
    # Sorted by target, then by time, swaps with the same target are neighbours.
    order = t << 32
    order |= times
    order.sort()
    time = order & 0xFFFFFFFF
    target = order >> 32
    again = np.flatnonzero(target[1:] == target[:-1])  # swaps with a later one of the same target

    # What stands at place start + j just before swap j? The last assignment wins, as it should.
    inside = target[: np.searchsorted(target, start + len(t))] - start
    earlier = np.flatnonzero(inside != time[: len(inside)])  # leave out swaps of j with itself
    follow = times
    follow[inside[earlier]] = time[earlier]
    while True:
        further = follow[follow]
        if (further == follow).all():
            break
        follow = further
    standing = values[start : start + len(t)][follow][time]

    arriving = values[target]
    arriving[again + 1] = standing[again]
    values[target] = standing
    values[start + time] = arriving
