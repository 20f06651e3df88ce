"""Helpers for training: clipping gradients, parameters as one vector, norms of weights, padding."""

from __future__ import annotations

import typing as _typing

from tinygrad_edu.names.missing import later as _later
from tinygrad_edu.names.missing import uncover as _uncover

if _typing.TYPE_CHECKING:
    from . import (
        clip_grad,
        convert_parameters,
        fusion,
        init,
        memory_format,
        parametrizations,
        parametrize,
        prune,
        rnn,
        stateless,
    )
    from .clip_grad import (
        clip_grad_norm,
        clip_grad_norm_,
        clip_grad_value_,
        clip_grads_with_norm_,
        get_total_norm,
    )
    from .convert_parameters import parameters_to_vector, vector_to_parameters
    from .fusion import (
        fuse_conv_bn_eval,
        fuse_conv_bn_weights,
        fuse_linear_bn_eval,
        fuse_linear_bn_weights,
    )
    from .init import skip_init
    from .memory_format import (
        convert_conv2d_weight_memory_format,
        convert_conv3d_weight_memory_format,
    )
    from .spectral_hooks import remove_spectral_norm, spectral_norm
    from .weight_hooks import remove_weight_norm, weight_norm

# Imported when it is asked for: each name, and the module that it is in.
_IN = {
    "": [
        "clip_grad", "convert_parameters", "fusion", "init", "memory_format", "parametrizations",
        "parametrize", "prune", "rnn", "stateless",
    ],
    "clip_grad": [
        "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_",
        "clip_grads_with_norm_", "get_total_norm",
    ],
    "convert_parameters": ["parameters_to_vector", "vector_to_parameters"],
    "fusion": [
        "fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval",
        "fuse_linear_bn_weights",
    ],
    "init": ["skip_init"],
    "memory_format": [
        "convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format",
    ],
    "spectral_hooks": ["remove_spectral_norm", "spectral_norm"],
    "weight_hooks": ["remove_weight_norm", "weight_norm"],
}  # fmt: skip


__all__ = [
    "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_",
    "convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format",
    "clip_grad", "convert_parameters", "fuse_conv_bn_eval", "fuse_conv_bn_weights",
    "fuse_linear_bn_eval", "fuse_linear_bn_weights", "fusion", "get_total_norm", "init",
    "memory_format", "parameters_to_vector",
    "parametrizations", "parametrize", "prune",
    "remove_spectral_norm", "remove_weight_norm", "rnn", "skip_init", "spectral_norm", "stateless",
    "vector_to_parameters", "weight_norm",
]  # fmt: skip

if not _typing.TYPE_CHECKING:  # a type checker finds unknown names by itself
    _uncover(__name__, "spectral_norm", "weight_norm")
    __getattr__, __dir__ = _later(__name__, _IN)
