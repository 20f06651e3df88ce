"""The passes of attention between its matrix products on a GPU: one launch each, attention.cu."""

from __future__ import annotations

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda.launch import dense, start


def softmax(
    s: Array, keep: Array | None, dropped: Array | None, lse: Array, first: int, causal: bool,
    scale: float,
) -> None:  # fmt: skip
    """Turn a tile of scores into probabilities, in place.

    Args:
        s: shape (..., queries, keys), contiguous.
        keep, dropped: dropout's decisions, and where to write keep * probability * scale.
        lse: shape (..., queries), contiguous; gets log sum exp of each row, inf where no key is
            seen.
        first: the number of the first query.
        causal: query i sees the keys 0 to i only.
    """
    *_, queries, keys = s.shape
    drops = keep is not None
    start("attention", "attention_softmax", s.size // max(keys, 1), s, s,
          dense(keep) if drops else s, s if dropped is None else dropped, lse, queries, keys, first,
          causal, drops, scale)  # fmt: skip


def gradient(
    s: Array, gp: Array, keep: Array | None, lse: Array, inner: Array, first: int, causal: bool,
    scale: float,
) -> None:  # fmt: skip
    """In place: `gp` becomes the gradient of the scores, `s` the weights that met the values.

    Args:
        s, gp: scores and gradients of the weights, shape (..., queries, keys), contiguous.
        inner: the sums of g * y, shape (..., queries).
        keep, lse, first, causal, scale: as for `softmax`.
    """
    *_, queries, keys = s.shape
    drops = keep is not None
    start("attention", "attention_gradient", s.size // max(keys, 1), s, s, gp,
          dense(keep) if drops else s, dense(lse), dense(inner), queries, keys, first, causal,
          drops, scale)  # fmt: skip
