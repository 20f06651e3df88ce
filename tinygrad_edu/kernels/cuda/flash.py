"""Attention on a GPU in one launch, its gradients in two: flash.cu.

As kernels/attention.py, but the keys too come in blocks, with a running maximum and sum: a tile of
scores lives in a block's own memory, and is never written to the GPU's.  Heads are read where they
lie, as parts of a layer's result, and written so too: nothing is copied.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_edu.backend import module_of, switches
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda.launch import Sizes, dense, start, takes_half

_WIDE, _MIDDLE, _SMALL = (128, 64), (64, 32), (32, 16)
SHAPES = {
    2: {16: _WIDE, 32: _WIDE, 64: _WIDE, 128: _MIDDLE},
    4: {16: (128, 32), 32: (128, 32), 64: _MIDDLE, 128: _SMALL},
    8: {16: _MIDDLE, 32: _MIDDLE},
}
"""For each size of an element, in bytes, and width of a head: the threads of a block, and how many
keys (or queries) it meets at a time.  Their tiles fit the 48 KB of any GPU, their sums the
registers."""
_HEADS = np.dtype([("array", np.uint64), ("batch", np.int64), ("head", np.int64),
                   ("row", np.int64)])  # fmt: skip
_MASK = np.dtype([("array", np.uint64), ("batch", np.int64), ("head", np.int64),
                  ("row", np.int64), ("column", np.int64), ("kind", np.int64)])  # fmt: skip
_CALL = np.dtype([("keep", np.uint64), ("queries", np.int64), ("keys", np.int64),
                  ("width", np.int64), ("values", np.int64), ("heads", np.int64),
                  ("causal", np.int64)])  # fmt: skip
"""`Heads`, `Mask` and `Call` of flash.cu."""


def variant(width: int, dtype: Any, tf32: bool) -> tuple[int, Sizes]:
    """The threads of a block, and what flash.cu leaves open, for heads of that width."""
    threads, inner = SHAPES[dtype.itemsize][width]
    tensor = 1 if dtype.itemsize == 2 else 2 if tf32 and dtype.itemsize == 4 else 0
    return threads, (("WIDTH", width), ("INNER", inner), ("TENSOR", tensor))


def _width(q: Array, v: Array) -> int | None:
    """The width that a head is padded to; None for one that no kernel takes."""
    most = max(q.shape[-1], v.shape[-1])
    return next((w for w in SHAPES.get(q.itemsize, ()) if most <= w), None)


def fits(q: Array, k: Array, v: Array) -> bool:
    """Whether the kernels take these arrays, of one dtype and with equal leading dimensions."""
    if not takes_half(q) or q.dtype.char not in "fdeE" or not (q.dtype == k.dtype == v.dtype):
        return False
    if q.itemsize == 2 and not _multiplies_tiles(q):
        return False
    return bool(q.size and k.size and v.size) and _width(q, v) is not None


def _multiplies_tiles(x: Array) -> bool:
    """Whether the GPU's tensor cores take what tiles.cuh asks of them: from Ampere on."""
    return int(module_of(x).cuda.Device().compute_capability) >= 80


class _Call:
    """What the three kernels are given alike; the arrays must live until they are started."""

    def __init__(
        self, q: Array, k: Array, v: Array, mask: Array | None, keep: Array | None, p: float,
        causal: bool, scale: float,
    ) -> None:  # fmt: skip
        *_, heads, queries, width = q.shape
        keys, values = v.shape[-2:]
        self.count = math.prod(q.shape[:-2])
        self.queries, self.keys = queries, keys
        self.keep = None if keep is None else dense(keep)
        place = 0 if self.keep is None else self.keep.data.ptr
        self.call = np.array([(place, queries, keys, width, values, heads, causal)], _CALL)
        self.wide = np.float32 if q.itemsize == 2 else q.dtype
        self.masked, self.mask = _mask(mask, (*q.shape[:-1], keys), self.wide)
        self.numbers = scale * math.log2(math.e), 1 / (1 - p) if p < 1 else 1.0
        found = _width(q, v)
        assert found is not None
        tf32 = switches.tf32 and _multiplies_tiles(q)
        self.threads, self.sizes = variant(found, q.dtype, tf32)

    def start(self, name: str, rows: int, like: Array, heads: list[Array], *arrays: Array) -> None:
        blocks = (self.count, -(-rows // (self.threads // 2)))  # 16 rows for each warp of 32
        start("flash", name, blocks, like, *[_heads(x) for x in heads], self.mask, self.call,
              *arrays, *self.numbers, threads=self.threads, sizes=self.sizes)  # fmt: skip


def _four(x: Array) -> Array:
    """Four dimensions: those before the heads as one."""
    return x if x.ndim == 4 else x.reshape(-1, *x.shape[-3:])


def _heads(x: Array) -> Any:
    batch, head, row, _ = [stride // x.itemsize for stride in x.strides]
    return np.array([(x.data.ptr, batch, head, row)], _HEADS)


def _readable(x: Array) -> Array:
    """The array, or a copy of it, with the features of a row side by side."""
    x = _four(x)
    return x if x.strides[-1] == x.itemsize or x.shape[-1] == 1 else x.copy(order="C")


def _mask(mask: Array | None, shape: tuple[int, ...], wide: Any) -> tuple[Array | None, Any]:
    """A mask as the kernels read it, and where it lies."""
    if mask is None:
        return None, np.zeros(1, _MASK)
    kind = 1 if mask.dtype == bool else 2
    mask = mask if kind == 1 else mask.astype(wide, copy=False)
    whole = _four(np.broadcast_to(mask, shape))
    strides = [stride // whole.itemsize for stride in whole.strides]
    return whole, np.array([(whole.data.ptr, *strides, kind)], _MASK)


def forward(
    q: Array, k: Array, v: Array, mask: Array | None, keep: Array | None, p: float,
    causal: bool, scale: float,
) -> tuple[Array, Array]:  # fmt: skip
    """As `kernels.attention.forward`."""
    call = _Call(q, k, v, mask, keep, p, causal, scale)
    y = _like(q, v.shape[-1])
    lse = np.empty_like(q, dtype=call.wide, shape=q.shape[:-1], order="C")
    heads = [_readable(x) for x in (q, k, v)]
    call.start("flash_forward", call.queries, q, [*heads, _four(y)], lse)
    return y, lse


def backward(
    g: Array, q: Array, k: Array, v: Array, mask: Array | None, keep: Array | None, p: float,
    causal: bool, scale: float, y: Array, lse: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The gradients of q, k and v, as of `kernels.attention.backward`."""
    call = _Call(q, k, v, mask, keep, p, causal, scale)
    gq, gk, gv = _side_by_side(q, k, v) or (_like(x, x.shape[-1]) for x in (q, k, v))
    lse = dense(lse)
    delta = np.empty_like(lse)
    heads = [_readable(x) for x in (g, q, k, v)]
    call.start("flash_backward_queries", call.queries, q, [*heads, _readable(y), _four(gq)], lse,
               delta)  # fmt: skip
    call.start("flash_backward_keys", call.keys, q, [*heads, _four(gk), _four(gv)], lse, delta)
    return gq, gk, gv


def _like(x: Array, width: int) -> Array:
    """An array of its shape, but for the width, in its order in memory: what follows need not copy.

    Positions before heads, as a layer's result holds them, or heads before positions.
    """
    *lead, heads, rows, _ = x.shape
    if x.ndim == 4 and 0 < abs(x.strides[1]) < abs(x.strides[2]):
        return np.empty_like(x, shape=(lead[0], rows, heads, width), order="C").swapaxes(1, 2)
    return np.empty_like(x, shape=(*lead, heads, rows, width), order="C")


def _side_by_side(q: Array, k: Array, v: Array) -> list[Array] | None:
    """Three arrays that lie in memory of their own as q, k and v lie in one layer's result.

    What joins them again, as the gradient of that result, need not copy.  None if they do not lie
    there side by side, without gaps.
    """
    step = k.data.ptr - q.data.ptr
    alike = q.shape == k.shape == v.shape and q.strides == k.strides == v.strides
    if not alike or step <= 0 or v.data.ptr - k.data.ptr != step or q.data.mem is not v.data.mem:
        return None
    sizes, steps = (3, *q.shape), (step, *q.strides)
    order = sorted(range(len(sizes)), key=lambda i: (steps[i], sizes[i]), reverse=True)
    ordered = [sizes[i] for i in order]
    for place, i in enumerate(order):
        if sizes[i] > 1 and steps[i] != math.prod(ordered[place + 1 :]) * q.itemsize:
            return None
    whole = np.empty_like(q, shape=ordered, order="C")
    parts = whole.transpose([order.index(i) for i in range(len(order))])
    return [parts[i] for i in range(3)]
