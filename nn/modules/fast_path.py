"""What torch's encoder leaves out in evaluation: padding becomes zeros.

In evaluation, where no gradient is asked for, torch packs the tokens of a batch without padding,
runs the layers on them, and puts zeros in the place of padding.  Nothing is packed here, for there
is no such kernel; but whoever takes a mean over time must find the same zeros under the same
conditions.  They are those of torch 2.13.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.switches import is_grad_enabled
from tinygrad_edu.names.backends.mha import get_fastpath_enabled
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.modules.activation import GELU, ReLU
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.ops.creation import arange
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.nn.modules.transformer import TransformerEncoder


def kind_of_activation(activation: object) -> int:
    """1 for ReLU, 2 for GELU, 0 for all others, which have no fast path."""
    if activation is F.relu or isinstance(activation, ReLU):
        return 1
    return 2 if activation is F.gelu or isinstance(activation, GELU) else 0


def may_pack(layer: Any) -> bool:
    """Whether layers like this one ever run on packed tokens."""
    attention = layer.self_attn
    return bool(
        not layer.norm_first
        and attention.batch_first
        and attention._qkv_same_embed_dim
        and attention.in_proj_bias is not None
        and layer.activation_relu_or_gelu
        and layer.norm1.eps == layer.norm2.eps
        and attention.num_heads % 2 == 0
    )


def left_out(
    encoder: TransformerEncoder, src: Tensor, mask: Tensor | None, padding: Tensor | None
) -> Tensor | None:
    """True at (N, L) where torch's encoder returns zeros, or None if it leaves nothing out.

    Args:
        encoder: which options it has, and the parameters of its first layer.
        src: its input.
        mask: its (L, L) mask, or None.
        padding: its mask (N, L) of tokens to ignore, as floats to add, or None.
    """
    if padding is None or mask is not None or padding.shape != src.shape[:2] or src.ndim != 3:
        return None
    if not (encoder.use_nested_tensor and get_fastpath_enabled()):
        return None
    if encoder.layers[0].training or _autocast(src) or not _plain(encoder.layers[0], src):
        return None
    keep = padding == 0
    lengths = keep.sum(1, keepdim=True)
    padded: Tensor = arange(src.shape[1], device=src.device) >= lengths
    if encoder.mask_check and bool((keep == padded).any()):
        return None  # not all that is kept comes first
    return padded


def _autocast(src: Tensor) -> bool:
    mode = sys.modules.get("tinygrad_edu.amp.autocast_mode")  # not there: nobody used it
    return mode is not None and mode.is_autocast_enabled(src.device.type)


def _plain(layer: Any, src: Tensor) -> bool:
    """Whether input and parameters are plain tensors that do not require grad."""
    attention = layer.self_attn
    tensors = [src, attention.in_proj_weight, attention.in_proj_bias]
    for part in (attention.out_proj, layer.norm1, layer.norm2, layer.linear1, layer.linear2):
        tensors += [part.weight, part.bias]
    tensors = [t for t in tensors if t is not None]
    if is_grad_enabled() and any([t.requires_grad for t in tensors]):
        return False
    return all([type(t) in (Tensor, Parameter) for t in tensors])
