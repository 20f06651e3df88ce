"""Attention with several heads, from plain tensors; `nn.MultiheadAttention` holds the weights."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

from tinygrad_edu.dtypes import bool_
from tinygrad_edu.nn.functional.dropout import dropout
from tinygrad_edu.ops.attention import scaled_dot_product_attention
from tinygrad_edu.ops.creation import zeros_like
from tinygrad_edu.ops.joining import cat
from tinygrad_edu.ops.matmul import linear
from tinygrad_edu.ops.softmax import softmax
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import Dtype


__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Project query, key and value, let each head attend on its share, join and project again.

    Args:
        query: (L, N, E), or (L, E) without a batch; key: (S, N, Ek); value: (S, N, Ev).
        embed_dim_to_check: E.
        num_heads: H, a divisor of E; each head works on E / H features.
        in_proj_weight: (3 E, E), the three projections one upon the other; with
            `use_separate_proj_weight` they are q_proj_weight (E, E), k_proj_weight (E, Ek) and
            v_proj_weight (E, Ev).
        in_proj_bias: (3 E,) or None.
        bias_k, bias_v: (1, 1, E), a further key and value for every sample; or None.
        add_zero_attn: add a key and a value of zeros.
        dropout_p: the probability that a weight is dropped, if `training`.
        out_proj_weight, out_proj_bias: (E, E) and (E,), of the last projection.
        key_padding_mask: (N, S), True or -inf at keys to ignore.
        need_weights: return the attention weights, too; that needs memory for all of them.
        attn_mask: (L, S) or (N H, L, S); here True means hidden; floats are added to the scores.
        static_k, static_v: (N H, S, E / H), to take instead of the projected key and value.
        average_attn_weights: return the mean over the heads instead of each head's weights.
        is_causal: a hint that `attn_mask` is the causal one.

    Returns:
        The result (L, N, E), and the weights (N, L, S), (N, H, L, S), or None.

    Raises:
        AssertionError: shapes do not fit together, or a mask holds integers.
        RuntimeError: the mask has the wrong shape, or `is_causal` comes without one.

    Source: Vaswani et al., "Attention is all you need", 2017, section 3.2.2.

    >>> import tinygrad_edu as torch
    >>> x, w = torch.ones(3, 1, 4), torch.eye(4)
    >>> y, weights = torch.nn.functional.multi_head_attention_forward(
    ...     x, x, x, 4, 2, torch.cat([w, w, w]), None, None, None, False, 0.0, w, None)
    >>> y.shape, weights[0, 0]
    (torch.Size([3, 1, 4]), tensor([0.3333, 0.3333, 0.3333]))
    """
    batched = _check_dimensions(query, key, value, key_padding_mask, attn_mask, num_heads)
    _check_masks(key_padding_mask, attn_mask, is_causal)
    if not batched:
        self_attention = (key is query, value is key)
        query, key, value = _unsqueezed(query, key, value, *self_attention)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)

    if use_separate_proj_weight:
        weights = [q_proj_weight, k_proj_weight, v_proj_weight]
        q, k, v = _project_apart(query, key, value, weights, in_proj_bias)
    else:
        assert in_proj_weight is not None, "in_proj_weight must be given"
        q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias)
    if bias_k is not None and bias_v is not None:
        assert static_k is None and static_v is None, "bias_k and bias_v exclude static_k, static_v"
        k = cat([k, bias_k.expand(1, k.shape[1], -1)])
        v = cat([v, bias_v.expand(1, v.shape[1], -1)])
    q, k, v = _heads(q, num_heads), _heads(k, num_heads), _heads(v, num_heads)  # (N, H, L, E/H)
    k = k if static_k is None else _static(static_k, "static_k", q)
    v = v if static_v is None else _static(static_v, "static_v", q)
    if add_zero_attn:
        k = cat([k, zeros_like(k[:, :, :1])], 2)
        v = cat([v, zeros_like(v[:, :, :1])], 2)

    causal = is_causal and key_padding_mask is None and not need_weights
    extra = (bias_k is not None) + bool(add_zero_attn)
    mask = None if causal else _one_mask(attn_mask, key_padding_mask, q, k, extra)
    p = dropout_p if training else 0.0
    probabilities = None
    if need_weights:
        probabilities = _probabilities(q, k, mask, p)
        y = probabilities @ v
    else:
        y = scaled_dot_product_attention(q, k, v, mask, p, causal)
    y = y.permute(2, 0, 1, 3).flatten(2)  # (L, N, E)
    y = linear(y, out_proj_weight, out_proj_bias)
    if probabilities is not None and average_attn_weights:
        probabilities = probabilities.mean(1)
    if not batched:
        y = y.squeeze(1)
        probabilities = None if probabilities is None else probabilities.squeeze(0)
    return y, probabilities


def _unsqueezed(
    query: Tensor, key: Tensor, value: Tensor, same_key: bool, same_value: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The three with a batch of one; those that were one object stay one object."""
    q = query.unsqueeze(1)
    k = q if same_key else key.unsqueeze(1)
    return q, k, k if same_value else value.unsqueeze(1)


# Projections and heads ----------------------------------------------------------------------------


def _project(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Project each distinct tensor by one product; self-attention needs only one."""
    size = weight.shape[0] // 3
    if query is key and key is value:
        q, k, v = linear(query, weight, bias).chunk(3, -1)
        return q, k, v
    wq, wkv = weight.split([size, 2 * size])
    bq, bkv = (None, None) if bias is None else bias.split([size, 2 * size])
    q = linear(query, wq, bq)
    if key is value:
        k, v = linear(key, wkv, bkv).chunk(2, -1)
        return q, k, v
    wk, wv = wkv.chunk(2)
    bk, bv = (None, None) if bkv is None else bkv.chunk(2)
    return q, linear(key, wk, bk), linear(value, wv, bv)


def _project_apart(
    query: Tensor, key: Tensor, value: Tensor, weights: list[Tensor | None], bias: Tensor | None
) -> tuple[Tensor, ...]:
    biases = [None] * 3 if bias is None else bias.chunk(3)
    projected = []
    for name, x, w, b in zip("qkv", (query, key, value), weights, biases, strict=True):
        assert w is not None, f"use_separate_proj_weight is True but {name}_proj_weight is None"
        projected.append(linear(x, w, b))
    return tuple(projected)


def _heads(x: Tensor, num_heads: int) -> Tensor:
    """(L, N, E) as (N, H, L, E / H), without moving anything."""
    return x.unflatten(-1, (num_heads, x.shape[-1] // num_heads)).permute(1, 2, 0, 3)


def _static(x: Tensor, name: str, q: Tensor) -> Tensor:
    batch, heads, _, size = q.shape
    assert x.shape[0] == batch * heads and x.shape[2] == size, (
        f"expecting {name} of shape ({batch * heads}, S, {size}), but got {list(x.shape)}"
    )
    return x.unflatten(0, (batch, heads))


def _probabilities(q: Tensor, k: Tensor, mask: Tensor | None, p: float) -> Tensor:
    """The weights, (N, H, L, S)."""
    scores = (q * math.sqrt(1 / q.shape[-1])) @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores + mask
    return dropout(softmax(scores, -1), p)


# Masks --------------------------------------------------------------------------------------------


def additive(mask: Tensor, dtype: Dtype, name: str) -> Tensor:
    """A mask of bools, True where hidden, as floats to add to the scores: -inf where hidden.

    Raises:
        AssertionError: it holds integers.
    """
    _check_kind(mask, name)
    if mask.dtype != bool_:
        return mask
    return zeros_like(mask, dtype=dtype).masked_fill_(mask, -math.inf)


def _check_kind(mask: Tensor, name: str) -> None:
    assert mask.dtype == bool_ or mask.is_floating_point(), (
        f"only bool and floating types of {name} are supported, not {mask.dtype}"
    )


def warn_of_kinds(padding: Tensor | None, mask: Tensor | None, names: str) -> None:
    """torch's warning about masks of different dtypes."""
    if padding is not None and mask is not None and padding.dtype != mask.dtype:
        warnings.warn(
            f"Support for mismatched {names} is deprecated. Use same type for both instead.",
            stacklevel=4,
        )


def _check_masks(key_padding_mask: Tensor | None, attn_mask: Tensor | None, causal: bool) -> None:
    for mask, name in ((key_padding_mask, "key_padding_mask"), (attn_mask, "attn_mask")):
        if mask is not None:
            _check_kind(mask, name)
    warn_of_kinds(key_padding_mask, attn_mask, "key_padding_mask and attn_mask")
    if causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")


def _one_mask(
    attn_mask: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor, extra: int
) -> Tensor | None:
    """The masks added up, for scores (N, H, L, S); the `extra` last keys are never hidden."""
    batch, heads, keys = q.shape[0], q.shape[1], k.shape[2] - extra
    parts = []
    if attn_mask is not None:
        _check_attn_mask(attn_mask, q, keys)
        mask = additive(attn_mask, q.dtype, "attn_mask")
        parts.append(mask if mask.ndim == 2 else mask.unflatten(0, (batch, heads)))
    if padding is not None:
        assert padding.shape == (batch, keys), (
            f"expecting key_padding_mask shape of {(batch, keys)}, but got {list(padding.shape)}"
        )
        mask = additive(padding, q.dtype, "key_padding_mask")
        parts.append(mask[:, None, None])
    if extra:
        parts = [cat([m, m.new_zeros(*m.shape[:-1], extra)], -1) for m in parts]
    return None if not parts else parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _check_attn_mask(mask: Tensor, q: Tensor, keys: int) -> None:
    batch, heads, length = q.shape[:3]
    right = (length, keys) if mask.ndim == 2 else (batch * heads, length, keys)
    if mask.shape != right:
        raise RuntimeError(
            f"The shape of the {mask.ndim}D attn_mask is {list(mask.shape)}, but should be {right}."
        )


# Checks of shapes ---------------------------------------------------------------------------------


def _check_dimensions(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None,
    num_heads: int,
) -> bool:  # fmt: skip
    """Whether there is a batch; AssertionError where the numbers of dimensions differ."""
    n = query.ndim
    assert n in (2, 3), f"query should be unbatched 2D or batched 3D, but is {list(query.shape)}"
    assert key.ndim == value.ndim == n, (
        f"For {n}-D query, expected key and value to be {n}-D but found {key.ndim}-D and"
        f" {value.ndim}-D tensors respectively"
    )
    assert padding is None or padding.ndim == n - 1, (
        f"For {n}-D query, expected key_padding_mask to be None or {n - 1}-D but found shape"
        f" {list(padding.shape)}"
    )
    assert mask is None or mask.ndim in (2, 3), (
        f"expected attn_mask to be None, 2-D or 3-D but found shape {list(mask.shape)}"
    )
    if n == 2 and mask is not None and mask.ndim == 3:
        right = (num_heads, query.shape[0], key.shape[0])
        assert mask.shape == right, f"Expected attn_mask shape {right} but got {list(mask.shape)}"
    return n == 3


def _check_sizes(
    query: Tensor, key: Tensor, value: Tensor, embed_dim: int, num_heads: int, apart: bool
) -> None:
    size = query.shape[-1]
    assert size == embed_dim, (
        f"was expecting embedding dimension of {embed_dim}, but got {size} (query"
        f" {list(query.shape)})"
    )
    assert size % num_heads == 0, f"embed_dim {size} not divisible by num_heads {num_heads}"
    if apart:
        assert key.shape[:2] == value.shape[:2], (
            f"key's sequence and batch dims {list(key.shape[:2])} do not match value's"
            f" {list(value.shape[:2])}"
        )
    else:
        assert key.shape == value.shape, (
            f"key shape {list(key.shape)} does not match value shape {list(value.shape)}"
        )
