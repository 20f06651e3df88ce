"""Attention: every query takes a weighted average of the values, weighted by how its key fits.

    y = softmax(Q Kᵀ / √d) V

Here are the definition, which a reader reads and `create_graph=True` differentiates, and the fast
operation; how that saves memory is told in kernels/attention.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import device_of
from tinygrad_edu.dtypes import Array, is_floating, scalar_type_name
from tinygrad_edu.engine.boundary import need_tensors
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels import attention as kernel
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.kernels.memory_order import in_order
from tinygrad_edu.ops.arguments import raw
from tinygrad_edu.ops.casting import _to_copy
from tinygrad_edu.ops.masking import where
from tinygrad_edu.ops.matmul import matmul
from tinygrad_edu.ops.shape import expand, reshape, transpose, unsqueeze
from tinygrad_edu.ops.softmax import softmax
from tinygrad_edu.random import default_generator, keep_mask

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive(saves=("lse",), node="ScaledDotProductFlashAttentionForCpu", half="by gpu")
def _attention(
    query: Array, key: Array, value: Array, attn_mask: Array | None,
    is_causal: bool, scale: float, keep: Array | None, p: float,
) -> Any:  # fmt: skip
    """`keep` holds dropout's decisions, each True with probability 1 - p; None for no dropout."""
    ready = _prepare(query, key, value, attn_mask, keep)
    y, lse = kernel.forward(*ready, p, is_causal, scale, is_recording())
    y = y.reshape(_shape(query, key, value)).astype(query.dtype, copy=False)
    fused = query.ndim == 4 and all(x.strides[-1] == x.itemsize for x in (query, key, value))
    return y if fused else in_order(y), lse  # torch's fused kernel lays it out like the query


@_attention.vjp_joint("query", "key", "value", "attn_mask")
def _(
    g: Array, live: tuple[bool, ...], query: Array, key: Array, value: Array,
    attn_mask: Array | None, is_causal: bool, scale: float, keep: Array | None, p: float,
    y: Array, lse: Array,
) -> Any:  # fmt: skip
    ready = _prepare(query, key, value, attn_mask, keep)
    whole = (*ready[0].shape[:-1], value.shape[-1])
    g, y = (_by_kernel(a).reshape(whole) for a in (g, y))
    grads = kernel.backward(g, *ready, p, is_causal, scale, y, lse, live)
    lead = _shape(query, key, value)[:-2]
    gq, gk, gv = (gx if gx is None else gx.reshape(lead + gx.shape[-2:]) for gx in grads[:3])
    return gq, gk, gv, grads[3]  # the walk adds up what was broadcast


@_attention.defined_as
def _definition(
    query: Any, key: Tensor, value: Any, attn_mask: Any,
    is_causal: bool, scale: float, keep: Array | None, p: float,
) -> Tensor:  # fmt: skip
    scores = matmul(_wide(query) * scale, transpose(_wide(key), -2, -1))  # (..., L, S)
    if is_causal:
        scores = scores + np.triu(np.full_like(raw(scores), -np.inf), 1)
    if attn_mask is not None:
        scores = scores + _bias(attn_mask, raw(scores).dtype)
    blind = (raw(scores) == -np.inf).all(-1, keepdims=True)  # queries that see no key: y = 0
    weights = where(blind, 0.0, softmax(where(blind, 0.0, scores), -1))
    if keep is not None:
        weights = weights * (keep / raw(weights).dtype.type(1 - p if p < 1 else 1))
    return _cast(matmul(weights, _wide(value)), raw(query).dtype)  # (..., L, V)


def _bias(mask: Any, dtype: Any) -> Any:
    """What a mask adds to the scores; one of bools 0, or -inf for a hidden key."""
    if raw(mask).dtype != bool:
        return mask
    return np.where(raw(mask), dtype.type(0), dtype.type(-np.inf))


def _cast(x: Any, dtype: Any) -> Tensor:
    return x if raw(x).dtype == dtype else _to_copy(x, dtype, device_of(raw(x)))


def _wide(x: Any) -> Tensor:
    """Floats of at least 32 bits."""
    return _cast(x, np.dtype(np.float32)) if raw(x).dtype.itemsize < 4 else x


def _by_kernel(x: Array) -> Array:
    """Floats of at least 32 bits, but on a GPU, whose kernel takes 16."""
    return x if launch.takes_half(x) else _wide(x)


def _shape(query: Array, key: Array, value: Array) -> tuple[int, ...]:
    """The shape of the result."""
    lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    return (*lead, query.shape[-2], value.shape[-1])


def _prepare(
    query: Array, key: Array, value: Array, mask: Array | None, keep: Array | None
) -> tuple[Array, Array, Array, Array | None, Array | None]:
    """What the kernel takes: floats with equal leading dimensions, two at least."""
    lead = _shape(query, key, value)[:-2]
    lead = (1,) * (2 - len(lead)) + lead
    q, k, v = [
        _by_kernel(x)
        if x.shape[:-2] == lead
        else np.broadcast_to(_by_kernel(x), lead + x.shape[-2:])
        for x in (query, key, value)
    ]
    if mask is not None:
        mask = mask.reshape((1,) * (len(lead) + 2 - mask.ndim) + mask.shape)
        mask = mask if mask.dtype == bool else _wide(mask)
    return q, k, v, mask, None if keep is None else keep.reshape(lead + keep.shape[-2:])


@composed(autocast="lower")
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, *,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """`softmax(Q Kᵀ / √E) V`: for each query the average of the values whose keys fit it.

    Without the division by √E the scores of random queries and keys would have variance E; softmax
    would then put all weight on one key, and its gradient would vanish.

    Args:
        query: Q, shape (..., L, E): L queries of E features.
        key: K, shape (..., S, E).
        value: V, shape (..., S, Ev).  The leading dimensions of all three broadcast.
        attn_mask: broadcastable to (..., L, S): bools, False where a query must not see a key, or
            floats to add to the scores.
        dropout_p: the probability with which each weight is dropped, in [0, 1], here and now: this
            function knows no training mode.
        is_causal: query i sees the keys 0 to i only.
        scale: what to multiply the scores by, instead of 1 / √E.
        enable_gqa: query has more heads (dimension -3) than key and value, each of whose heads
            serves several of query's.

    Returns:
        A tensor of shape (..., L, Ev); 0 for a query that sees no key.

    Memory grows with L + S, but for small inputs; a byte per score more with dropout.

    Raises:
        RuntimeError: shapes or dtypes do not fit together, the mask holds integers, dropout_p is
            outside [0, 1], or a mask is given beside `is_causal` (allowed only, as in torch, where
            query is 4-d, nothing is dropped and the mask needs no gradient).
        TypeError: an argument is not a tensor.

    Source: Vaswani et al., "Attention is all you need", 2017, eq. 1; Dao et al., "FlashAttention",
    2022; Ainslie et al., "GQA", 2023.

    Unlike torch, which gives 0 for them in 4-d inputs, scores of nan give nan.

    >>> import tinygrad_edu as torch
    >>> q, k = torch.tensor([[0.0, 9.0]]), torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    >>> torch.nn.functional.scaled_dot_product_attention(q, k, torch.tensor([[1.0], [2.0]]))
    tensor([[2.]])
    """
    _check_types(query, key, value, attn_mask)
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(
            f"dropout probability has to be between 0 and 1, but got dropout_p={dropout_p}"
        )
    if enable_gqa:
        key, value = (_repeated(query, x) for x in (key, value))
    scores = _check_shapes(query.array, key.array, value.array)
    if attn_mask is not None:
        _check_mask(attn_mask, scores)
        plain = query.array.ndim == 4 and dropout_p == 0 and attn_mask.node is None
        if is_causal and not plain:
            raise RuntimeError(
                "scaled_dot_product_attention: Explicit attn_mask should not be set when"
                " is_causal=True"
            )
    keep = None
    if dropout_p > 0:
        like = np.empty_like(query.array, dtype=bool, order="C", shape=scores)
        keep = keep_mask(default_generator, like, dropout_p)
    scale = 1 / math.sqrt(query.array.shape[-1] or 1) if scale is None else float(scale)
    y = _attention(query, key, value, attn_mask, is_causal, scale, keep, dropout_p)
    # The rule keeps its result, which in torch may be overwritten unless all inputs are 4-d.
    fused = all([x.array.ndim == 4 for x in (query, key, value)])
    return y if fused or y.node is None else y.clone()


def _check_types(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> None:
    """Tensors, of equal float dtype, with two dimensions at least; else torch's errors."""
    given = {"query": query, "key": key, "value": value}
    need_tensors(
        "scaled_dot_product_attention", **given, **({} if mask is None else {"attn_mask": mask})
    )
    arrays = [query.array, key.array, value.array]
    if any(a.dtype != arrays[0].dtype for a in arrays):
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype:"
            f" {query.dtype} key.dtype: {key.dtype} and value.dtype: {value.dtype} instead."
        )
    if not is_floating(arrays[0].dtype):
        raise RuntimeError(
            f"expected scalar type Float but found {scalar_type_name(arrays[0].dtype)}"
        )
    if any(a.ndim < 2 for a in arrays):
        raise RuntimeError(
            "Expected query, key, and value to all be at least 2 dimensional, but got query.dim:"
            f" {query.ndim} key.dim: {key.ndim} and value.dim: {value.ndim} instead."
        )
    if mask is not None and mask.array.dtype not in (bool, np.float32, arrays[0].dtype):
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got"
            f" attn_mask.dtype: {mask.dtype} and query.dtype: {query.dtype} instead."
        )


def _repeated(query: Tensor, x: Tensor) -> Tensor:
    """Key or value with each head repeated, so that there are as many as in query."""
    if query.array.ndim < 3 or x.array.ndim < 3:
        raise IndexError(
            "enable_gqa needs a dimension of heads at -3: Dimension out of range for query"
            f" {list(query.shape)} and key or value {list(x.shape)}"
        )
    many, few = query.array.shape[-3], x.array.shape[-3]
    if not few or many % few:
        raise RuntimeError(
            "Number of heads in key and value must divide the number of heads in query, but got"
            f" {few} and {many}"
        )
    if many == few:
        return x
    shape = x.array.shape
    each = (*shape[:-3], few, many // few, *shape[-2:])
    return reshape(expand(unsqueeze(x, -3), each), (*shape[:-3], many, *shape[-2:]))


def _check_shapes(query: Array, key: Array, value: Array) -> tuple[int, ...]:
    """The shape of the scores, (..., L, S)."""
    got = (
        f"scaled_dot_product_attention: got query {list(query.shape)}, key {list(key.shape)} and"
        f" value {list(value.shape)}"
    )
    if query.shape[-1] != key.shape[-1]:
        raise RuntimeError(
            f"{got}: query and key must have equally many features (last dimension), not"
            f" {query.shape[-1]} and {key.shape[-1]}"
        )
    if key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"{got}: key and value must have the same length (dimension -2), not"
            f" {key.shape[-2]} and {value.shape[-2]}"
        )
    try:
        return (*_shape(query, key, value)[:-1], key.shape[-2])
    except ValueError:
        raise RuntimeError(f"{got}: the leading dimensions do not broadcast") from None


def _check_mask(mask: Tensor, scores: tuple[int, ...]) -> None:
    try:
        fits = np.broadcast_shapes(mask.array.shape, scores) == scores
    except ValueError:
        fits = False
    if not fits:
        raise RuntimeError(
            f"attn_mask of shape {list(mask.shape)} does not broadcast to the shape of the scores,"
            f" {list(scores)} (leading dimensions, queries, keys)"
        )
