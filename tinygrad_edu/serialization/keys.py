"""Keys of dictionaries and elements of sets: which are allowed, and how many of one hash.

A dictionary finds a key by its hash, and compares it with the others of the same hash one by one.
The hashes of numbers and tuples follow from their values, so a file could hold thousands of equal
ones, and filling the dictionary would take time that grows with the square of their number.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from itertools import filterfalse
from typing import Any

from tinygrad_edu import dtypes
from tinygrad_edu.backend import device
from tinygrad_edu.serialization.errors import CheckpointError
from tinygrad_edu.size import Size

MAX_KEY_PARTS = 100
MAX_SAME_HASH = 64
_MAX_INT = 2**63
_FREE_PARTS = 8
"""A key of more parts is paid for as if it were copied: its hash is computed each time."""
_COPIES = 2
"""What the functions of a pickle may copy: so many elements or bytes per byte of the pickle."""
_STEP = 256
"""So many keys are put into a container at once."""
_FREE_SECONDS, _SECONDS = 0.5, 3e-6
"""What filling all containers of a pickle may take, and per key: ten times what it does take."""
_KEYS = {int, str, bool, float, bytes, type(None), dtypes.dtype, device, complex}
SECRET = {str, bytes, type(None), dtypes.dtype, device}
"""The types of keys whose hashes a file cannot choose: a string's follows from a secret."""


def check_key(key: Any) -> int:
    """How many parts a key has: a plain value, or a small tuple of such.

    Hashing a tuple visits all its parts each time, shared ones again and again, and on C's stack.

    Raises:
        CheckpointError: it is something else.
    """
    parts, seen = [key], 0
    while parts:
        part = parts.pop()
        kind = part.__class__
        seen += 1
        if kind is tuple or kind is Size:
            parts.extend(part)
        elif kind is int and not -_MAX_INT <= part < 2 * _MAX_INT:
            raise CheckpointError("a key is an integer of more than 64 bits")
        elif kind not in _KEYS:
            raise CheckpointError(f"a key is a {kind.__name__}")
        if seen + len(parts) > MAX_KEY_PARTS:
            raise CheckpointError(f"a key has more than {MAX_KEY_PARTS} parts")
    return seen


class Filling:
    """Fills the dictionaries and sets of one pickle, in time that is bounded by their sizes.

    Keys of one hash are counted.  Others can still be chosen so that one after another is looked
    for in all the places of the table that are taken: integers, which are their own hashes, do for
    that.  Which do is Python's affair, so it is time that is measured, spent in C on this thread:
    neither a debugger nor another program counts in it.

    What else is copied is counted, too.

    Args:
        length: how many bytes the pickle has.
    """

    def __init__(self, length: int) -> None:
        self.budget = _COPIES * length
        self.seconds, self.keys = 0.0, 0
        self.counts: dict[int, tuple[object, Counter[int]]] = {}  # by the id of the container

    def pay(self, count: int) -> None:
        """Note that so many elements or bytes are copied.

        What a function copies stands in the pickle, element by element.  Only a program that passes
        the same object to functions again and again copies more than it is long.

        Raises:
            CheckpointError: it is too much.
        """
        self.budget -= count
        if self.budget < 0:
            raise CheckpointError(
                "the pickle has the same objects copied again and again, to more than"
                f" {_COPIES} times its own length"
            )

    def fill(self, target: Any, keys: list[Any], values: list[Any] | None = None) -> None:
        """Put keys with their values into a dictionary, or without into a set.

        Raises:
            CheckpointError: one is not a key, or is one too many of the same hash; or it takes
                longer than filling tables does.
        """
        update = OrderedDict.update if target.__class__ is OrderedDict else dict.update
        for at in range(0, len(keys), _STEP):
            part = keys[at : at + _STEP]
            chosen = []
            for key in part:
                if key.__class__ is not str:
                    parts = check_key(key)
                    if parts > _FREE_PARTS:
                        self.pay(parts)
                    if key.__class__ not in SECRET:
                        chosen.append(key)
            large = len(target) + len(part) > MAX_SAME_HASH
            start = time.thread_time() if large else 0.0
            if large and chosen:
                self._count(target, chosen)
            if values is None:
                target.update(part)
            else:
                update(target, zip(part, values[at : at + _STEP], strict=True))
            if large:
                self.seconds += time.thread_time() - start
                self.keys += len(part)
                if self.seconds > _FREE_SECONDS + _SECONDS * self.keys:
                    raise CheckpointError(
                        "keys of a container collide so often that filling it takes"
                        f" {1e6 * self.seconds / self.keys:.0f} us a key, which happens in files"
                        " only that are made to take long"
                    )

    def _count(self, container: Any, keys: list[Any]) -> None:
        """Count the hashes of keys that are about to be put into a container."""
        if id(container) not in self.counts:
            there = [key for key in container if key.__class__ not in SECRET]
            self.counts[id(container)] = container, Counter(map(hash, there))
        _, counts = self.counts[id(container)]
        new = dict.fromkeys(filterfalse(container.__contains__, keys))
        counts.update(map(hash, new))
        if max(map(counts.__getitem__, map(hash, new)), default=0) > MAX_SAME_HASH:
            raise CheckpointError(
                f"more than {MAX_SAME_HASH} keys of a container have the same hash, which"
                " happens in files only that are made to take long"
            )
