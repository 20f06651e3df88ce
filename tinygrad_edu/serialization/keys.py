"""Keys of dictionaries and elements of sets: which are allowed, and how many of one hash.

A dictionary finds a key by its hash, and compares it with the others of the same hash one by one.
The hashes of numbers and tuples follow from their values, so a file could hold thousands of equal
ones, and filling the dictionary would take time that grows with the square of their number.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from tinygrad_edu import dtypes
from tinygrad_edu.backend import device
from tinygrad_edu.serialization.errors import CheckpointError
from tinygrad_edu.size import Size

MAX_KEY_PARTS = 100
MAX_SAME_HASH = 64
_MAX_INT = 2**63
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


class Hashes:
    """The hashes of the keys that one container was given so far.

    A number that is its own hash, as nearly every integer is, is the only one of that hash; it is
    not noted but looked for.
    """

    __slots__ = ("container", "counts")

    def __init__(self, container: Container[Any]) -> None:
        self.container = container
        self.counts: dict[int, int] = {}

    def admit(self, key: object) -> int:
        """`check_key`, before the key is put into the container.

        Raises:
            CheckpointError: it is not a key, or one too many of the same hash.
        """
        parts = check_key(key)
        if key.__class__ not in SECRET and key not in self.container:
            value = hash(key)
            count = self.counts.get(value, 0) + 1
            if key != value:
                self.counts[value] = count
                count += value in self.container
            if count > MAX_SAME_HASH:
                raise CheckpointError(
                    f"more than {MAX_SAME_HASH} keys of a container have the same hash, which"
                    " happens in files only that are made to take long"
                )
        return parts
