"""The transformer of "Attention is all you need": layers, stacks of them, and the two together."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import init
from tinygrad_edu.nn.functional.attention import additive
from tinygrad_edu.nn.modules.attention import MultiheadAttention
from tinygrad_edu.nn.modules.container import ModuleList
from tinygrad_edu.nn.modules.dropout import Dropout
from tinygrad_edu.nn.modules.fast_path import kind_of_activation, left_out, may_pack
from tinygrad_edu.nn.modules.linear import Linear
from tinygrad_edu.nn.modules.masks import causal_mask, float_masks, is_causal_mask, length_of
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.modules.normalization import LayerNorm
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike, Dtype


Activation = str | Callable[[Tensor], Tensor]


def _activation(given: Activation) -> Callable[[Tensor], Tensor]:
    if not isinstance(given, str):
        return given
    known: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}
    if given not in known:
        raise RuntimeError(f"activation should be relu/gelu, not {given}")
    return known[given]


def _attend(
    attention: Module, dropout: Module, x: Tensor, memory: Tensor, mask: Tensor | None,
    padding: Tensor | None, is_causal: bool,
) -> Tensor:  # fmt: skip
    y: Tensor = attention(
        x, memory, memory, attn_mask=mask, key_padding_mask=padding, need_weights=False,
        is_causal=is_causal,
    )[0]  # fmt: skip
    y = dropout(y)
    return y


def _copies(layer: Module, count: int) -> ModuleList:
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class TransformerEncoderLayer(Module):
    """Self-attention, then a feed-forward network; each with dropout, a shortcut and layer norm.

        x = norm1(x + dropout1(self_attn(x)))
        x = norm2(x + dropout2(linear2(dropout(activation(linear1(x))))))

    With `norm_first` each norm stands before its block: `x = x + block(norm(x))`.

    Args:
        d_model: E, the features of each token.
        nhead: H, heads of attention; a divisor of E.
        dim_feedforward: features between linear1 and linear2.
        dropout: the probability of all dropouts, that of attention's weights included.
        activation: "relu", "gelu" or a function of a tensor.
        layer_norm_eps: what the norms add to the variance.
        batch_first: tensors are (N, L, E) instead of (L, N, E).
        norm_first: norm before the blocks instead of behind them.
        bias: whether linear layers, attention and norms have one.
        device, dtype: of the parameters.

    Raises:
        RuntimeError: the name of the activation is unknown.
        AssertionError: `nhead` does not divide `d_model`.

    Source: Vaswani et al., "Attention is all you need", 2017, section 3.1; Xiong et al., "On layer
    normalization in the transformer architecture", 2020, for `norm_first`.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.TransformerEncoderLayer(d_model=16, nhead=4, batch_first=True)
    >>> layer(torch.ones(2, 5, 16)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place = {"bias": bias, "device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, batch_first=batch_first, **place
        )
        self.linear1 = Linear(d_model, dim_feedforward, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, **place)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation(activation)
        self.activation_relu_or_gelu = kind_of_activation(self.activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The new tokens, of the shape of `src`.

        Args:
            src: (N, L, E) if `batch_first`, else (L, N, E); (L, E) without a batch.
            src_mask: (L, L) or (N H, L, L), True where hidden, or floats to add to the scores.
            src_key_padding_mask: (N, L), True or -inf at tokens to ignore.
            is_causal: a hint that `src_mask` is the causal one.
        """
        mask, padding = float_masks(src_mask, src_key_padding_mask, src)
        x = src
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), mask, padding, is_causal)
            x = x + self._ff_block(self.norm2(x))
        else:
            x = self.norm1(x + self._sa_block(x, mask, padding, is_causal))
            x = self.norm2(x + self._ff_block(x))
        return x

    def _sa_block(
        self, x: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool
    ) -> Tensor:
        return _attend(self.self_attn, self.dropout1, x, x, mask, padding, is_causal)

    def _ff_block(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(self.activation(self.linear1(x)))
        y = self.dropout2(self.linear2(y))
        return y


class TransformerDecoderLayer(Module):
    """As the encoder's layer, with attention to the encoder's result between the two blocks.

    Shape: (T, N, d_model), memory (S, N, d_model) -> (T, N, d_model).

        x = norm1(x + dropout1(self_attn(x)))
        x = norm2(x + dropout2(multihead_attn(x, memory)))
        x = norm3(x + dropout3(linear2(dropout(activation(linear1(x))))))

    Arguments and errors are those of `TransformerEncoderLayer`.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.TransformerDecoderLayer(d_model=16, nhead=4, batch_first=True)
    >>> layer(torch.ones(2, 5, 16), torch.ones(2, 7, 16)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place = {"bias": bias, "device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, batch_first=batch_first, **place
        )
        self.multihead_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, batch_first=batch_first, **place
        )
        self.linear1 = Linear(d_model, dim_feedforward, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, **place)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, **place)
        self.norm3 = LayerNorm(d_model, eps=layer_norm_eps, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The new tokens, of the shape of `tgt`.

        Args:
            tgt: (N, L, E) if `batch_first`, else (L, N, E); (L, E) without a batch.
            memory: the encoder's result, (N, S, E) or (S, N, E).
            tgt_mask, tgt_key_padding_mask: hide tokens of `tgt`, as in the encoder's layer.
            memory_mask: (L, S) or (N H, L, S), hides tokens of `memory`.
            memory_key_padding_mask: (N, S), likewise.
            tgt_is_causal, memory_is_causal: hints that the masks are the causal ones.
        """
        x = tgt
        own = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        other = (memory_mask, memory_key_padding_mask, memory_is_causal)
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), *own)
            x = x + self._mha_block(self.norm2(x), memory, *other)
            x = x + self._ff_block(self.norm3(x))
        else:
            x = self.norm1(x + self._sa_block(x, *own))
            x = self.norm2(x + self._mha_block(x, memory, *other))
            x = self.norm3(x + self._ff_block(x))
        return x

    def _sa_block(
        self, x: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool
    ) -> Tensor:
        return _attend(self.self_attn, self.dropout1, x, x, mask, padding, is_causal)

    def _mha_block(
        self, x: Tensor, memory: Tensor, mask: Tensor | None, padding: Tensor | None,
        is_causal: bool,
    ) -> Tensor:  # fmt: skip
        return _attend(self.multihead_attn, self.dropout2, x, memory, mask, padding, is_causal)

    def _ff_block(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(self.activation(self.linear1(x)))
        y = self.dropout3(self.linear2(y))
        return y


class TransformerEncoder(Module):
    """Encoder layers one after the other.

    Shape: (S, N, d_model) -> (S, N, d_model).

    Args:
        encoder_layer: copied `num_layers` times; all copies start with equal parameters.
        num_layers: how many.
        norm: a layer applied to the result of the last, or None.
        enable_nested_tensor: leave out padding in evaluation: where no gradient is asked for, the
            result is 0 at tokens that `src_key_padding_mask` hides.
        mask_check: do so only if padding comes last in every sequence; else the mask is taken to
            say how long each is.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.TransformerEncoderLayer(d_model=16, nhead=4)
    >>> torch.nn.TransformerEncoder(layer, num_layers=2)(torch.ones(5, 2, 16)).shape
    torch.Size([5, 2, 16])
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm
        self.enable_nested_tensor = enable_nested_tensor
        packs = isinstance(encoder_layer, TransformerEncoderLayer) and may_pack(encoder_layer)
        self.use_nested_tensor = enable_nested_tensor and packs
        self.mask_check = mask_check

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Run all layers; arguments as in `TransformerEncoderLayer`.

        Args:
            is_causal: whether `mask` is the causal one; None: find out.
        """
        mask, padding = float_masks(mask, src_key_padding_mask, src)
        padded = left_out(self, src, mask, padding)
        if padded is not None:
            padding, is_causal = additive(padded, src.dtype, "src_key_padding_mask"), False
        causal = is_causal_mask(mask, is_causal, length_of(src, self.layers))
        x = src
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=causal, src_key_padding_mask=padding)
        if padded is not None:
            x = x.masked_fill(padded.unsqueeze(2), 0.0)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """Decoder layers one after the other.

    Shape: (T, N, d_model), memory (S, N, d_model) -> (T, N, d_model).

    Args:
        decoder_layer: copied `num_layers` times; all copies start with equal parameters.
        num_layers: how many.
        norm: a layer applied to the result of the last, or None.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.TransformerDecoderLayer(d_model=16, nhead=4)
    >>> torch.nn.TransformerDecoder(layer, 2)(torch.ones(5, 2, 16), torch.ones(7, 2, 16)).shape
    torch.Size([5, 2, 16])
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Run all layers; arguments as in `TransformerDecoderLayer`.

        Args:
            tgt_is_causal: whether `tgt_mask` is the causal one; None: find out.
        """
        causal = is_causal_mask(tgt_mask, tgt_is_causal, length_of(tgt, self.layers))
        x = tgt
        for layer in self.layers:
            x = layer(
                x, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=causal, memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """Encoder and decoder: a sequence in, a sequence of the same features out.

    Shape: (S, N, d_model), (T, N, d_model) -> (T, N, d_model).

    Args:
        d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, device, dtype: as in `TransformerEncoderLayer`.
        num_encoder_layers, num_decoder_layers: how many layers each.
        custom_encoder, custom_decoder: modules to take instead.

    Matrices start uniform after Glorot.

    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> import tinygrad_edu as torch
    >>> model = torch.nn.Transformer(16, 4, 1, 1, 32, batch_first=True)
    >>> mask = torch.nn.Transformer.generate_square_subsequent_mask(5)
    >>> model(torch.ones(2, 7, 16), torch.ones(2, 5, 16), tgt_mask=mask).shape
    torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Any | None = None,
        custom_decoder: Any | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place = {"bias": bias, "device": device, "dtype": dtype}
        options: Any = dict(
            d_model=d_model, nhead=nhead, dim_feedforward=dim_feedforward, dropout=dropout,
            activation=activation, layer_norm_eps=layer_norm_eps, batch_first=batch_first,
            norm_first=norm_first, **place,
        )  # fmt: skip
        if custom_encoder is None:
            layer: Module = TransformerEncoderLayer(**options)
            norm = LayerNorm(d_model, eps=layer_norm_eps, **place)
            custom_encoder = TransformerEncoder(layer, num_encoder_layers, norm)
        self.encoder = custom_encoder
        if custom_decoder is None:
            layer = TransformerDecoderLayer(**options)
            norm = LayerNorm(d_model, eps=layer_norm_eps, **place)
            custom_decoder = TransformerDecoder(layer, num_decoder_layers, norm)
        self.decoder = custom_decoder
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self) -> None:
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """`decoder(tgt, encoder(src))`; masks as in the layers.

        Args:
            src: (N, S, E) if `batch_first`, else (S, N, E); (S, E) without a batch.
            tgt: (N, L, E), (L, N, E) or (L, E).

        Raises:
            RuntimeError: the batches differ, or the features are not `d_model`.
        """
        batch = 0 if self.batch_first else 1
        if src.ndim == 3 and src.shape[batch] != tgt.shape[batch]:
            raise RuntimeError(
                "the batch number of src and tgt must be equal, got"
                f" {list(src.shape)} and {list(tgt.shape)}"
            )
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError(
                "the feature number of src and tgt must be equal to d_model"
                f" ({self.d_model}), got {list(src.shape)} and {list(tgt.shape)}"
            )
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        y: Tensor = self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal,
        )  # fmt: skip
        return y

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: DeviceLike = None, dtype: Dtype = None
    ) -> Tensor:
        """The causal mask (sz, sz): 0 on and below the diagonal, -inf above it.

        >>> import tinygrad_edu as torch
        >>> torch.nn.Transformer.generate_square_subsequent_mask(2)
        tensor([[0., -inf],
                [0., 0.]])
        """
        return causal_mask(sz, device, dtype)
