"""Attention: every query takes a weighted average of the values, weighted by how its key fits.

    y = softmax(Q Kᵀ / √d) V

Here are the definition, which a reader reads and `create_graph=True` differentiates, and the fast
operation; how that saves memory is told in kernels/attention.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu import random
from tinygrad_edu.autograd.errors import scalar_type_name
from tinygrad_edu.autograd.graph import Variable
from tinygrad_edu.autograd.primitive import primitive
from tinygrad_edu.backend import device_of, to_device
from tinygrad_edu.dtypes import Array, is_floating
from tinygrad_edu.kernels import attention as kernel
from tinygrad_edu.ops.arranging import repeat_interleave
from tinygrad_edu.ops.casting import _to_copy
from tinygrad_edu.ops.dims import raw
from tinygrad_edu.ops.indexing import where
from tinygrad_edu.ops.matmul import matmul
from tinygrad_edu.ops.shape import transpose
from tinygrad_edu.ops.softmax import softmax

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive(saves=("lse",))
def _attention(
    query: Array, key: Array, value: Array, attn_mask: Array | None,
    is_causal: bool, scale: float, keep: Array | None, p: float,
) -> Any:  # fmt: skip
    """`keep` holds dropout's decisions, each True with probability 1 - p; None for no dropout."""
    ready = _prepare(query, key, value, attn_mask, keep)
    y, lse = kernel.forward(*ready, p, is_causal, scale)
    return y.reshape(_shape(query, key, value)).astype(query.dtype, copy=False), lse


@_attention.vjp_joint("query", "key", "value", "attn_mask")
def _(
    g: Array, live: tuple[bool, ...], query: Array, key: Array, value: Array,
    attn_mask: Array | None, is_causal: bool, scale: float, keep: Array | None, p: float,
    y: Array, lse: Array,
) -> Any:  # fmt: skip
    ready = _prepare(query, key, value, attn_mask, keep)
    whole = (*lse.shape, value.shape[-1])
    g, y = (_wide(a).reshape(whole) for a in (g, y))
    grads = kernel.backward(g, *ready, p, is_causal, scale, y, lse, live)
    lead = _shape(query, key, value)[:-2]
    return tuple(
        gx if gx is None or i == 3 else gx.reshape(lead + gx.shape[-2:])
        for i, gx in enumerate(grads)
    )


@_attention.defined_as
def _definition(
    query: Any, key: Any, value: Any, attn_mask: Any,
    is_causal: bool, scale: float, keep: Array | None, p: float,
) -> Any:  # fmt: skip
    q, k, v = _wide(query), _wide(key), _wide(value)
    scores = matmul(q * scale, transpose(k, -2, -1))  # (..., L, S)
    if is_causal:
        scores = scores + np.triu(np.full_like(raw(scores), -np.inf), 1)
    if attn_mask is not None:
        hidden = raw(attn_mask).dtype == bool
        scores = scores + (_log_of_bools(attn_mask, raw(scores)) if hidden else attn_mask)
    blind = np.max(raw(scores), -1, keepdims=True, initial=-np.inf) == -np.inf  # sees no key: y = 0
    weights = where(blind, 0.0, softmax(where(blind, 0.0, scores), -1))
    if keep is not None and p > 0:
        weights = weights * (keep.astype(raw(weights).dtype) / max(1 - p, p == 1))
    y = matmul(weights, v)  # (..., L, V)
    return y if raw(y).dtype == raw(query).dtype else _to_copy(y, raw(query).dtype, device_of(raw(y)))
