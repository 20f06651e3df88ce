"""Attention without the table of all scores: a block of queries at a time.

    y = softmax(q kᵀ scale) v        q (L, E)   k (S, E)   v (S, V)   scores (L, S)   y (L, V)

Written down plainly this keeps L x S probabilities of every head for the backward pass.  Here
memory grows with L + S only:

forward   A block of 64 or 128 queries meets all its keys.  Its scores are made in a scratch array,
          turned into exp(score - largest), multiplied with v, and forgotten.  Of the probabilities
          one number per query is kept, the log of their denominator: lse = log sum exp(score).
backward  Each block's probabilities are made again, p = exp(score - lse), which costs one matrix
          product and is cheaper than fetching them from memory would be.  With D = sum(g * y),

              gv = pᵀ g   gp = g vᵀ   gs = p * (gp - D)   gq = gs k scale   gk = gsᵀ q scale

          D is what softmax's derivative subtracts: the sum of p * gp over all keys is sum(g * y).

The table of a small call, up to `TABLE` bytes, is kept all the same: to make it again would cost a
third of the backward pass.

Under `causal`, query i sees the keys 0 to i: of a block only the keys up to its last query are
computed, half of the work is skipped, and a triangle is masked at the end of each block.

Dao et al. also cut the keys into blocks, with a running maximum and sum, so that a tile fits into
the few kilobytes next to a GPU's arithmetic units; so does cuda/flash.py.  Measured in NumPy, on
1024 to 8192 keys, that is slower: a row of scores lies in a CPU's cache as it is.  The GPU's code
here is for what flash.py does not take: wider heads, and masks that need a gradient.

Source: Dao et al., "FlashAttention", 2022, algorithms 1 and 2; Rabe and Staats, "Self-attention
does not need O(n²) memory", 2021.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.blocks import filled
from tinygrad_edu.kernels.cuda import attention as gpu
from tinygrad_edu.kernels.cuda import launch, products
from tinygrad_edu.kernels.threads import spread

ROWS, TILE = 64, 1 << 19
"""Queries of a block, and bytes of the scores of a tile: as many heads as fit are taken together.
Of 32, 64, 128, 256 and 512 rows, 64 and 128 were fastest: 128 where there are many, 64 where a
block of 128 would compute too many scores that `causal` hides."""
MANY = 512
"""Queries from which on a block has twice as many."""
TABLE = 1 << 20
"""Bytes of all probabilities of a call up to which they are kept for the backward pass."""
GPU_ROWS, GPU_TILE = 512, 1 << 28
"""On a GPU a launch costs more than the memory."""

Index = tuple[Any, ...]


class Scores:
    """The scores of one call, made tile by tile; forward and backward share it.

    Args:
        q: shape (..., B, H, L, E), floats, on a CPU of at least 32 bits; k, v: the same leading
            dimensions.
        mask: bools (False: hide the key) or floats (to add), dimensions of size 1 broadcast.
        keep: dropout's decisions, shape (..., B, H, L, S), or None.
        causal: query i sees the keys 0 to i only.
        scale: what q kᵀ is multiplied by.

    Attributes:
        small: all probabilities may be kept.
    """

    def __init__(
        self, q: Array, k: Array, mask: Array | None, keep: Array | None, causal: bool, scale: float
    ) -> None:
        self.q, self.k, self.mask, self.keep = q, k, mask, keep
        self.causal, self.scale = causal, scale
        self.length, self.keys = q.shape[-2], k.shape[-2]
        on_cpu = isinstance(q, np.ndarray)
        rows = ROWS if self.length < MANY else 2 * ROWS
        self.rows = min(self.length, rows if on_cpu else GPU_ROWS)
        self.dtype = np.dtype(np.float32) if q.itemsize == 2 else q.dtype
        tile = (TILE if on_cpu else GPU_TILE) // self.dtype.itemsize
        self.empty = not (self.rows and self.keys and math.prod(q.shape[:-2]))
        self.together = 1 if self.empty else max(1, tile // (self.rows * self.keys))
        self.by_kernel = not on_cpu and launch.takes_half(q)
        self.triangle: Array | None = None
        if causal and not self.by_kernel:
            self.triangle = _triangle(self.rows, q.dtype) if on_cpu else _new_triangle(self.rows, q)
        size = math.prod(q.shape[:-1]) * self.keys * self.dtype.itemsize
        self.small = on_cpu and keep is None and size <= TABLE

    def scratch(self) -> Array:
        """Memory for one tile."""
        together = min(self.together, math.prod(self.q.shape[-4:-2]))
        shape = (together * self.rows * self.keys,)
        return np.empty_like(self.q, dtype=self.dtype, shape=shape)

    def heads(self) -> Iterator[Index]:
        """Indices of the leading dimensions that cut them into groups of `together` heads."""
        *lead, batch, heads = self.q.shape[:-2]
        if self.empty:
            return
        h = _evenly(heads, self.together)
        b = _evenly(batch, self.together // h)
        for outer in np.ndindex(*lead):
            for i in range(0, batch, b):
                for j in range(0, heads, h):
                    yield (*outer, slice(i, i + b), slice(j, j + h))

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """(queries, the keys they see), the last queries first: those see the most keys."""
        for start in reversed(range(0, self.length, self.rows)):
            stop = min(start + self.rows, self.length)
            yield slice(start, stop), slice(0, min(stop, self.keys) if self.causal else self.keys)

    def table(self) -> Array:
        """Memory for all probabilities."""
        return np.empty((*self.q.shape[:-1], self.keys), self.dtype)

    def queries(self, at: Index, rows: slice) -> Array:
        """A block of queries (b, h, l, E), on a CPU scaled."""
        q = self.q[at][..., rows, :]
        return q if self.by_kernel else q * self.scale

    def tile(self, q: Array, at: Index, rows: slice, keys: slice, place: Array) -> Array:
        """The scores (b, h, l, s) of those queries, in a scratch array or in the table."""
        k = self.k[at][..., keys, :]
        if place.ndim == 1:
            s = shaped(place, (*q.shape[:-1], k.shape[-2]))
        else:
            s = place[at][..., rows, keys]
        factor = self.scale if self.by_kernel else 1.0
        products.matmul(q, k.swapaxes(-1, -2), out=s, factor=factor)
        if self.mask is not None:
            s += _bias(self.mask[within(self.mask, at, rows, keys)], s)
        if self.causal and rows.start < keys.stop and self.triangle is not None:
            corner = s[..., rows.start :]
            corner += self.triangle[: corner.shape[-2], : corner.shape[-1]]
        return s


def _new_triangle(n: int, like: Array) -> Array:
    """What hides the later keys of `n` queries: added to their scores."""
    return np.triu(np.full_like(like, -np.inf, shape=(n, n)), 1)


@functools.lru_cache(maxsize=8)
def _triangle(n: int, dtype: Any) -> Array:
    """The same, made once for the CPU; nobody may write to it."""
    made = _new_triangle(n, np.empty(0, dtype))
    made.flags.writeable = False
    return made


def _together(*arrays: Array) -> Any:
    """On a GPU in contiguous memory: every product of heads that lie apart would copy its tile."""
    if isinstance(arrays[0], np.ndarray):
        return arrays
    return tuple([x if 0 in x.strides else launch.dense(x) for x in arrays])


def _evenly(n: int, most: int) -> int:
    """The size of equal groups, of at most so many, that `n` is cut into."""
    return math.ceil(n / math.ceil(n / max(1, min(n, most))))


def shaped(scratch: Array, shape: tuple[int, ...]) -> Array:
    """The first elements of `scratch` in that shape."""
    return scratch[: math.prod(shape)].reshape(shape)


def within(a: Array, at: Index, rows: slice, keys: slice) -> Index:
    """The index of a tile for an array whose dimensions of size 1 broadcast."""
    return tuple(
        i if n != 1 else 0 if isinstance(i, int) else slice(None)
        for i, n in zip((*at, rows, keys), a.shape, strict=True)
    )


def _largest(s: Array) -> Array:
    """The largest of each row; `reduceat` takes half the time of `max` where rows are short."""
    if not (isinstance(s, np.ndarray) and s.flags.c_contiguous):
        return s.max(-1, keepdims=True)
    starts = np.arange(0, s.size, s.shape[-1])
    return np.maximum.reduceat(s.reshape(-1), starts).reshape(*s.shape[:-1], 1)


def _bias(mask: Array, like: Array) -> Array:
    """What to add to the scores.  Of a mask of bools the logarithm: 0, or -inf for a hidden key."""
    return np.log(mask.astype(like.dtype)) if mask.dtype == bool else mask


def forward(
    q: Array, k: Array, v: Array, mask: Array | None, keep: Array | None, p: float,
    causal: bool, scale: float, recording: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Attention and what the backward pass needs of it.

    Args:
        v: shape (..., B, H, S, V); the other arguments as for `Scores`.
        p: dropout's probability.
        recording: there may be a backward pass.

    Returns:
        y (..., B, H, L, V), in memory in the order of q; and lse (..., B, H, L), which is inf for
        a query that sees no key (its y is 0), or the table of probabilities (..., B, H, L, S).
    """
    if not isinstance(q, np.ndarray) and cuda.flash.fits(q, k, v):
        return cuda.flash.forward(q, k, v, mask, keep, p, causal, scale)
    q, k, v = _together(q, k, v)
    scores = Scores(q, k, mask, keep, causal, scale)
    y = np.empty_like(q, shape=(*q.shape[:-1], v.shape[-1]))
    lse = np.empty_like(q, dtype=scores.dtype, shape=q.shape[:-1])
    if scores.empty:
        y[...], lse[...] = 0, np.inf
    ones = k if scores.by_kernel else filled(k, k.shape[-2], 1.0)
    lowest = float(np.finfo(scores.dtype).min)
    table = scores.table() if recording and scores.small else None

    def group(at: Index) -> None:
        place = scores.scratch() if table is None else table
        for rows, keys in scores.blocks():
            s = scores.tile(scores.queries(at, rows), at, rows, keys, place)
            if scores.by_kernel:
                _on_gpu(scores, s, at, rows, keys, v, p, y, lse)
                continue
            top = _largest(s)
            s -= np.maximum(top, lowest, out=top)  # -inf - -inf would be nan
            np.exp(s, out=s)
            total = np.matmul(s, ones[keys])[..., None]  # a product is the fastest way to add up
            np.copyto(total, np.inf, where=total == 0)  # a query that sees no key
            part = y[at][..., rows, :]
            if table is None:
                lse[at][..., rows] = (top + np.log(total))[..., 0]
            if scores.small:
                s /= total
            if keep is not None:
                s *= keep[at][..., rows, keys]
            np.matmul(s, v[at][..., keys, :], out=part)
            if not scores.small:
                part /= total * (1 - p) if p < 1 else total

    spread(group, list(scores.heads()), threads=None if isinstance(q, np.ndarray) else 1)
    return y, lse if table is None else table


def _on_gpu(
    scores: Scores, s: Array, at: Index, rows: slice, keys: slice, v: Array, p: float, y: Array,
    lse: Array,
) -> None:  # fmt: skip
    """A tile of the forward pass: one kernel between the two products."""
    keep = None if scores.keep is None else scores.keep[at][..., rows, keys]
    weights = s if keep is None else np.empty_like(s)
    sums = np.empty_like(s, shape=s.shape[:-1])
    gpu.softmax(s, keep, weights, sums, rows.start, scores.causal, 1 / (1 - p) if p < 1 else 1.0)
    weights = weights.astype(v.dtype, copy=False)
    products.matmul(weights, v[at][..., keys, :], out=y[at][..., rows, :])
    lse[at][..., rows] = sums


def backward(
    g: Array, q: Array, k: Array, v: Array, mask: Array | None, keep: Array | None, p: float,
    causal: bool, scale: float, y: Array, lse: Array, live: tuple[bool, ...],
) -> tuple[Array | None, ...]:  # fmt: skip
    """The gradients of q, k, v and mask, those that are `live`; None for the others.

    `lse` may be the table that `forward` returned instead.
    """
    if not isinstance(q, np.ndarray) and not live[3] and cuda.flash.fits(q, k, v):
        return *cuda.flash.backward(g, q, k, v, mask, keep, p, causal, scale, y, lse), None
    g, q, k, v = _together(g, q, k, v)
    scores = Scores(q, k, mask, keep, causal, scale)
    make = np.zeros_like if scores.empty else np.empty_like
    gq, gk, gv = (
        make(x, dtype=scores.dtype) if need else None
        for x, need in zip((q, k, v), live, strict=False)
    )
    g_mask = np.zeros_like(mask) if live[3] else None
    known = lse.ndim == q.ndim

    def group(at: Index) -> None:
        one, two = scores.scratch(), scores.scratch()
        for rows, keys in scores.blocks():
            qs = scores.queries(at, rows)
            s = lse[at][..., rows, keys] if known else scores.tile(qs, at, rows, keys, one)
            gy = g[at][..., rows, :]
            inner = _inner(gy, y[at][..., rows, :])[..., None]
            gp, dropped = shaped(two, s.shape), None
            if scores.by_kernel:
                products.matmul(gy, v[at][..., keys, :].swapaxes(-1, -2), out=gp)
                dropped = None if keep is None else keep[at][..., rows, keys]
                unit = 1 / (1 - p) if p < 1 else 1.0
                gpu.gradient(s, gp, dropped, lse[at][..., rows], inner, rows.start, causal, unit)
                last = rows.stop == scores.length
                if gv is not None:
                    _add(gv[at], keys, s.astype(v.dtype, copy=False).swapaxes(-1, -2), gy, last)
                gs = gp.astype(q.dtype, copy=False)
                _pass_on(gs, at, rows, keys, qs, k, scale, last, gq, gk, None, scale)
                if g_mask is not None:
                    part = g_mask[within(g_mask, at, rows, keys)]
                    part += _folded(gp, part.shape)
                continue
            if not known:
                s -= lse[at][..., rows, None]
                np.exp(s, out=s)
            if keep is not None:
                gy = gy / (1 - p) if p < 1 else gy
                dropped = keep[at][..., rows, keys]
            if gv is not None:
                used = s if dropped is None else np.multiply(s, dropped, out=gp)
                _add(gv[at], keys, used.swapaxes(-1, -2), gy, rows.stop == scores.length)
            if not (live[0] or live[1] or live[3]):
                continue
            np.matmul(gy, v[at][..., keys, :].swapaxes(-1, -2), out=gp)
            if dropped is not None:
                gp *= dropped
            gp -= inner
            gs = np.multiply(gp, s, out=gp)
            last = rows.stop == scores.length
            _pass_on(gs, at, rows, keys, qs, k, scale, last, gq, gk, g_mask)

    # Heads may share a mask, and add to its gradient one after the other.
    alone = g_mask is not None or not isinstance(q, np.ndarray)
    spread(group, list(scores.heads()), threads=1 if alone else None)
    return gq, gk, gv, g_mask


def _pass_on(
    gs: Array, at: Index, rows: slice, keys: slice, qs: Array, k: Array, scale: float, last: bool,
    gq: Array | None, gk: Array | None, g_mask: Array | None, factor: float = 1.0,
) -> None:  # fmt: skip
    """The gradient of a tile's scores, passed on to queries, keys and mask.

    Args:
        factor: what the queries `qs` have yet to be multiplied by.
    """
    if gq is not None:
        part = gq[at][..., rows, :]
        products.matmul(gs, k[at][..., keys, :], out=part, factor=scale)
    if gk is not None:
        _add(gk[at], keys, gs.swapaxes(-1, -2), qs, last, factor)
    if g_mask is not None:
        part = g_mask[within(g_mask, at, rows, keys)]
        part += _folded(gs, part.shape)


def _add(total: Array, keys: slice, a: Array, b: Array, first: bool, factor: float = 1.0) -> None:
    """`total[keys] += factor * a @ b`; the first block, which sees the most keys, sets it."""
    part = total[..., keys, :]
    if first:
        products.matmul(a, b, out=part, factor=factor)
        total[..., keys.stop :, :] = 0
    else:
        more = None if a.dtype == part.dtype else np.empty_like(part, order="C")
        part += products.matmul(a, b, out=more, factor=factor)


def _inner(a: Array, b: Array) -> Array:
    """The sums of `a * b` along the last dimension."""
    if isinstance(a, np.ndarray):
        return np.einsum("...v,...v->...", a, b)
    wide = np.float32 if a.itemsize == 2 else a.dtype
    return np.multiply(a, b, dtype=wide).sum(-1)


def _folded(g: Array, shape: tuple[int, ...]) -> Array:
    """`g` summed over the dimensions along which an array of that shape was broadcast."""
    return g.sum(tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)
