"""The Mersenne Twister: from a seed to a stream of 32-bit words, and its state as torch stores it.

The state is 624 words. Each call hands out the next of them (scrambled a little, "tempered"); when
all are used up, they are combined with each other into 624 new ones. The stream repeats itself
only after 2**19937 - 1 words. NumPy has the same engine; this file seeds it as torch does.

Source: Matsumoto and Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform
pseudo-random number generator", 1998; seeding: their revision of 2002.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MersenneTwister"]


def _expand_seed(seed: int) -> npt.NDArray[np.uint32]:
    """The Mersenne Twister's first state: 624 words, each a scrambled copy of the one before."""
    word = seed & 0xFFFFFFFF
    state = [word]
    for i in range(1, 624):
        word = (1812433253 * (word ^ (word >> 30)) + i) & 0xFFFFFFFF
        state.append(word)
    return np.array(state, np.uint32)


# How torch lays out the state of a generator in 5056 bytes. `left` counts the words left before
# the 624 are scrambled anew, `next` is the place of the next one. `normal` is a spare number.
_STATE = np.dtype([
    ("seed", "<u8"), ("left", "<i4"), ("seeded", "<i4"), ("next", "<u8"), ("words", "<u8", 624),
    ("unused0", "<f8"), ("normal", "<f8"), ("unused1", "<f8"), ("has_normal", "<i4"),
    ("unused2", "V12"),
])  # fmt: skip
_32 = np.uint64(32)
_TOP = np.uint64(2**64 - 1)
_MANY = 8192
"""From so many pairs of words on it pays to let NumPy join them."""


@functools.cache
def _joins_in_order() -> bool:
    """Whether NumPy's integers of 64 bits have the first word for their high half.

    Its source leaves the order to the compiler.
    """
    first, second = np.random.MT19937(0).random_raw(2).tolist()
    joined = np.random.Generator(np.random.MT19937(0)).integers(
        _TOP, size=1, dtype=np.uint64, endpoint=True
    )
    return bool(joined[0] == (first << 32) + second)


class MersenneTwister:
    """A stream of words, determined by a seed in [0, 2**64) of which the low 32 bits count.

    `spare_normal` belongs to the state: normal numbers that are drawn one at a time come in pairs,
    and the second waits here for the next call (`distributions.scalar_normals`).

    >>> MersenneTwister(0).words(3).tolist()
    [2357136044, 2546248239, 3071714933]
    """

    spare_normal: float | None
    _known: tuple[Any, Any] = None, None
    """What `_moved` was when the twister's state was last read, which takes long, and the state."""

    def __init__(self, seed: int) -> None:
        self.restart(seed)

    @functools.cached_property
    def _twister(self) -> np.random.MT19937:
        """NumPy's twister, at the beginning; made on first use, for it takes long to import."""
        twister = np.random.MT19937(0)
        _put(twister, _expand_seed(self._seed), 624)
        return twister

    @functools.cached_property
    def _joiner(self) -> np.random.Generator:
        """Draws from the twister, two words at a time."""
        return np.random.Generator(self._twister)

    def restart(self, seed: int) -> None:
        """Go to the beginning of the stream of `seed`.

        >>> stream = MersenneTwister(0)
        >>> stream.restart(1)
        >>> stream.words(1).tolist()
        [1791095845]
        """
        self._seed = seed
        vars(self).pop("_twister", None)
        vars(self).pop("_joiner", None)
        self._moved = object()
        self._fresh = True  # nothing drawn yet
        self.spare_normal = None

    def initial_seed(self) -> int:
        """The seed that the stream started from.

        >>> MersenneTwister(7).initial_seed()
        7
        """
        return self._seed

    def raw(self, n: int) -> npt.NDArray[np.uint64]:
        """The next `n` words as NumPy hands them out, each in an integer of 64 bits.

        >>> MersenneTwister(1).raw(2).tolist()
        [1791095845, 4282876139]
        """
        self._fresh = self._fresh and n == 0
        return self._move(self._twister.random_raw, n)

    def _move(self, how: Any, *args: Any, **kwargs: Any) -> npt.NDArray[np.uint64]:
        """What `how` draws; what was read of the state before, or meanwhile, counts no more."""
        self._moved = object()
        try:
            drawn: npt.NDArray[np.uint64] = how(*args, **kwargs)
            return drawn
        finally:
            self._moved = object()

    def words(self, n: int) -> npt.NDArray[np.uint32]:
        """The next `n` words of the stream, integers uniform on [0, 2**32).

        >>> MersenneTwister(1).words(2).tolist()
        [1791095845, 4282876139]
        """
        return self.raw(n).astype(np.uint32)

    def words64(self, n: int) -> npt.NDArray[np.uint64]:
        """The next `n` pairs of words as integers on [0, 2**64); the first word is the high half.

        >>> MersenneTwister(1).words64(1)[0] == (1791095845 << 32) + 4282876139
        np.True_
        """
        if n >= _MANY and _joins_in_order():
            self._fresh = False
            draw = self._joiner.integers
            return self._move(draw, _TOP, size=n, dtype=np.uint64, endpoint=True)
        pairs = self.raw(2 * n)
        joined: npt.NDArray[np.uint64] = pairs[::2] << _32
        joined |= pairs[1::2]
        return joined

    def get_state_bytes(self) -> npt.NDArray[np.uint8]:
        """The state in torch's layout: uint8 of shape (5056,), equal to `torch.get_rng_state()`.

        >>> MersenneTwister(5).get_state_bytes().shape
        (5056,)
        """
        known, moved = self._known, self._moved
        if known[0] is not moved:
            self._known = known = moved, self._twister.state["state"]
        state, twister = np.zeros((), _STATE), known[1]
        state["seed"], state["seeded"], state["words"] = self._seed, 1, twister["key"]
        state["left"] = 1 if twister["pos"] == 624 else 625 - twister["pos"]
        state["next"] = 0 if self._fresh else twister["pos"]
        if self.spare_normal is not None:
            state["normal"], state["has_normal"] = self.spare_normal, 1
        return np.frombuffer(state.tobytes(), np.uint8).copy()

    def set_state_bytes(self, state: npt.ArrayLike) -> None:
        """Continue from a state that `get_state_bytes` or torch gave.

        Raises TypeError if `state` is not of type uint8, RuntimeError if it is not a valid state.

        >>> stream = MersenneTwister(5)
        >>> saved, first = stream.get_state_bytes(), stream.words(5)
        >>> stream.set_state_bytes(saved)
        >>> (stream.words(5) == first).all()
        np.True_
        """
        array = np.asarray(state)
        if array.dtype != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if array.size != _STATE.itemsize:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {_STATE.itemsize} "
                f"but found the input RNG state size to be {array.size}"
            )
        fields: Any = np.frombuffer(array.tobytes(), _STATE)[0]
        left, position = int(fields["left"]), int(fields["next"])
        if fields["seeded"] != 1 or not 0 < left <= 624 or position > 624:
            raise RuntimeError("Invalid mt19937 state")
        self._seed, self._fresh = int(fields["seed"]), left == 1 and position == 0
        words = fields["words"].astype(np.uint32)
        self._move(_put, self._twister, words, 624 if left == 1 else position)
        self.spare_normal = float(fields["normal"]) if fields["has_normal"] else None


def _put(twister: Any, key: npt.NDArray[np.uint32], position: int) -> None:
    twister.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": position}}
