"""The masks of transformers: both kinds as floats to add, and the causal one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tinygrad_edu.nn.functional.attention import additive, warn_of_kinds
from tinygrad_edu.nn.modules.container import ModuleList
from tinygrad_edu.ops.creation import full
from tinygrad_edu.ops.masking import triu
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike, Dtype


def float_masks(
    mask: Tensor | None, padding: Tensor | None, like: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Both masks as floats to add."""
    warn_of_kinds(padding, mask, "src_key_padding_mask and src_mask")
    if mask is not None:
        mask = additive(mask, like.dtype, "src_mask")
    if padding is not None:
        padding = additive(padding, like.dtype, "src_key_padding_mask")
    return mask, padding


def causal_mask(size: int, device: DeviceLike = None, dtype: Dtype = None) -> Tensor:
    return triu(full((size, size), -math.inf, device=device, dtype=dtype), 1)


def is_causal_mask(mask: Tensor | None, hint: bool | None, length: int) -> bool:
    """The hint if there is one, else whether the mask is the causal one of that length."""
    if hint is not None or mask is None:
        return bool(hint)
    if mask.shape != (length, length):
        return False
    return bool((mask == causal_mask(length, mask.device, mask.dtype)).all())


def length_of(x: Tensor, layers: ModuleList) -> int:
    """L: the second size of a batch if `batch_first`, else the first size."""
    batch_first = x.ndim == 3 and len(layers) > 0 and layers[0].self_attn.batch_first
    return int(x.shape[1 if batch_first else 0])
