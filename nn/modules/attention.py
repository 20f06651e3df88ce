"""MultiheadAttention: several heads of attention, each on its share of the features."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import init
from tinygrad_edu.nn.modules.linear import Linear
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.ops.creation import empty
from tinygrad_edu.tensor import Tensor


class NonDynamicallyQuantizableLinear(Linear):
    """`Linear`; torch's name for the last projection, which `repr` shows."""


class MultiheadAttention(Module):
    """`y = concat(head_1, ..., head_H) Wᵒ`, where head_i = attention(Q Wᵢᑫ, K Wᵢᵏ, V Wᵢᵛ).

    Args:
        embed_dim: E, the features of query and result.
        num_heads: H; each head works on E / H features.
        dropout: the probability that a weight is dropped while training.
        bias: whether the projections have a bias.
        add_bias_kv: learn a further key and value that every query sees.
        add_zero_attn: add a key and a value of zeros.
        kdim, vdim: features of key and value; E if None.
        batch_first: tensors are (N, L, E) instead of (L, N, E).
        device, dtype: of the parameters.

    Raises:
        ValueError: `embed_dim` or `num_heads` is not positive.
        AssertionError: `num_heads` does not divide `embed_dim`.

    Parameters: `in_proj_weight` (3 E, E), or `q_proj_weight` (E, E), `k_proj_weight` (E, kdim) and
    `v_proj_weight` (E, vdim) if those differ; `in_proj_bias` (3 E,); `out_proj`; `bias_k`,
    `bias_v` (1, 1, E).  Weights start uniform after Glorot, biases at 0.

    Source: Vaswani et al., "Attention is all you need", 2017, section 3.2.2.

    >>> import tinygrad_edu as torch
    >>> attention = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    >>> x = torch.ones(2, 5, 16)
    >>> y, weights = attention(x, x, x)
    >>> y.shape, weights.shape
    (torch.Size([2, 5, 16]), torch.Size([2, 5, 5]))
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and"
                f" num_heads={num_heads} instead"
            )
        assert embed_dim % num_heads == 0, (
            f"embed_dim must be divisible by num_heads, got {embed_dim} and {num_heads}"
        )
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn

        def new(*shape: int) -> Parameter:
            return Parameter(empty(*shape, device=device, dtype=dtype))

        together = self._qkv_same_embed_dim
        self.register_parameter("q_proj_weight", None if together else new(embed_dim, embed_dim))
        self.register_parameter("k_proj_weight", None if together else new(embed_dim, self.kdim))
        self.register_parameter("v_proj_weight", None if together else new(embed_dim, self.vdim))
        self.register_parameter(
            "in_proj_weight", new(3 * embed_dim, embed_dim) if together else None
        )
        self.register_parameter("in_proj_bias", new(3 * embed_dim) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(
            embed_dim, embed_dim, bias=bias, device=device, dtype=dtype
        )
        self.register_parameter("bias_k", new(1, 1, embed_dim) if add_bias_kv else None)
        self.register_parameter("bias_v", new(1, 1, embed_dim) if add_bias_kv else None)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        weights = (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        for weight in weights:
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: (N, L, E) if `batch_first`, else (L, N, E); (L, E) without a batch.
            key: (N, S, kdim) or (S, N, kdim); value: (N, S, vdim) or (S, N, vdim).
            key_padding_mask: (N, S), True or -inf at keys to ignore.
            need_weights: return the weights, too.  Without them memory grows linearly with L + S.
            attn_mask: (L, S) or (N H, L, S); True means hidden, floats are added to the scores.
            average_attn_weights: the mean of the heads' weights instead of all of them.
            is_causal: a hint that `attn_mask` is the causal one; needs `attn_mask`.

        Returns:
            The result, of query's shape, and the weights (N, L, S), (N, H, L, S), or None.

        Raises:
            AssertionError, RuntimeError: as `F.multi_head_attention_forward`.
        """
        turn = self.batch_first and query.ndim == 3
        if turn:
            query, key, value = _transposed(query, key, value)
        y, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads,
            self.in_proj_weight, self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn,
            self.dropout, self.out_proj.weight, self.out_proj.bias, self.training,
            key_padding_mask, need_weights, attn_mask,
            not self._qkv_same_embed_dim,
            self.q_proj_weight, self.k_proj_weight, self.v_proj_weight,
            average_attn_weights=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip
        return (y.transpose(0, 1) if turn else y), weights


def _transposed(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Swap batch and length; equal inputs stay one tensor, so that one product projects them."""
    q = query.transpose(0, 1)
    k = q if key is query else _swap(key)
    return q, k, k if value is key else _swap(value)


def _swap(x: Tensor) -> Tensor:
    return x.transpose(0, 1) if x.ndim == 3 else x  # other shapes are refused further on
