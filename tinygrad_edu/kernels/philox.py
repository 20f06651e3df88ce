"""Random words from a counter: word i of draw d under a seed is a function of (i, d, seed) alone.

Ten rounds of two products each mix four words of counter under two words of key:

    (c0, c1, c2, c3)  <-  (high(B c2) ^ c1 ^ k0,  low(B c2),  high(A c0) ^ c3 ^ k1,  low(A c0))

and the key moves on by a constant after each round.  Since no word depends on the one before, a
GPU computes all of them at once.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011: Philox
with four words of 32 bits and ten rounds.
"""

from __future__ import annotations

import numpy as np

from tinygrad_edu.backend import module_of
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels import cuda

A, B = 0xD2511F53, 0xCD9E8D57
STEP = (0x9E3779B9, 0xBB67AE85)
"""What is added to the two words of the key after a round."""
LOW = 0xFFFFFFFF


def philox(counter: list[Array], key: list[Array]) -> list[Array]:
    """Four words for each counter, all as arrays of uint64 that hold 32 bits.

    >>> zero = np.zeros(1, np.uint64)
    >>> [hex(int(word[0])) for word in philox([zero] * 4, [zero] * 2)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = c0 * A, c2 * B
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & LOW, (a >> 32) ^ c3 ^ k1, a & LOW
        k0, k1 = (k0 + STEP[0]) & LOW, (k1 + STEP[1]) & LOW
    return [c0, c1, c2, c3]


def words(state: Array, n: int) -> Array:
    """The first `n` words of a draw, uint32.

    Args:
        state: uint64 (2,): the seed and the number of the draw.
    """
    if hasattr(module_of(state), "RawModule"):
        return cuda.elementwise.random_words(state, n)
    block = np.arange((n + 3) // 4, dtype=np.uint64, like=state)
    seed, draw = state[0:1], state[1:2]
    counter = [block & LOW, block >> 32, draw & LOW, draw >> 32]
    four = philox(counter, [seed & LOW, seed >> 32])
    return np.stack(four, axis=1).reshape(-1)[:n].astype(np.uint32)
