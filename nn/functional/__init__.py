"""The layers as plain functions: `F.linear(x, weight, bias)`."""

from __future__ import annotations

import typing as _typing

from tinygrad_edu.names.missing import later as _later
from tinygrad_edu.names.missing import uncover as _uncover

# Functions whose modules have their names: else importing one of these would hide its function.
from .dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from .linear import bilinear, linear
from .softmax import log_softmax, softmax, softmin

if _typing.TYPE_CHECKING:
    # Activations, softmax
    from .activation import (
        gelu,
        glu,
        leaky_relu,
        leaky_relu_,
        logsigmoid,
        relu,
        relu_,
        sigmoid,
        silu,
        softplus,
        tanh,
    )

    # Attention
    from .attention import multi_head_attention_forward, scaled_dot_product_attention

    # Convolution
    from .convolution import (
        conv1d,
        conv2d,
        conv3d,
        conv_transpose1d,
        conv_transpose2d,
        conv_transpose3d,
    )
    from .losses import (
        binary_cross_entropy,
        binary_cross_entropy_with_logits,
        cross_entropy,
        l1_loss,
        mse_loss,
        nll_loss,
    )
    from .more.activation import (
        celu,
        celu_,
        elu,
        elu_,
        hardshrink,
        hardsigmoid,
        hardswish,
        hardtanh,
        hardtanh_,
        mish,
        prelu,
        relu6,
        selu,
        selu_,
        softshrink,
        softsign,
        tanhshrink,
        threshold,
        threshold_,
    )
    from .more.bags import embedding_bag

    # Losses
    from .more.ctc import ctc_loss
    from .more.densities import gaussian_nll_loss, kl_div, poisson_nll_loss
    from .more.grid import affine_grid, grid_sample
    from .more.linear_loss import linear_cross_entropy

    # Noise
    from .more.noise import gumbel_softmax, rrelu, rrelu_

    # Pooling, images
    from .more.pooling import (
        fractional_max_pool2d,
        fractional_max_pool2d_with_indices,
        fractional_max_pool3d,
        fractional_max_pool3d_with_indices,
        max_unpool1d,
        max_unpool2d,
        max_unpool3d,
    )
    from .more.ranking import (
        cosine_embedding_loss,
        cosine_similarity,
        hinge_embedding_loss,
        margin_ranking_loss,
        multi_margin_loss,
        multilabel_margin_loss,
        multilabel_soft_margin_loss,
        normalize,
        pairwise_distance,
        pdist,
        soft_margin_loss,
        triplet_margin_loss,
        triplet_margin_with_distance_loss,
    )
    from .more.robust import huber_loss, smooth_l1_loss
    from .more.vision import (
        channel_shuffle,
        fold,
        interpolate,
        pixel_shuffle,
        pixel_unshuffle,
        unfold,
        upsample,
        upsample_bilinear,
        upsample_nearest,
    )

    # Normalization, embedding
    from .normalization import (
        batch_norm,
        group_norm,
        instance_norm,
        layer_norm,
        local_response_norm,
        rms_norm,
    )
    from .padding import pad
    from .pooling import (
        adaptive_avg_pool1d,
        adaptive_avg_pool2d,
        adaptive_avg_pool3d,
        adaptive_max_pool1d,
        adaptive_max_pool1d_with_indices,
        adaptive_max_pool2d,
        adaptive_max_pool2d_with_indices,
        adaptive_max_pool3d,
        adaptive_max_pool3d_with_indices,
        avg_pool1d,
        avg_pool2d,
        avg_pool3d,
        lp_pool1d,
        lp_pool2d,
        lp_pool3d,
        max_pool1d,
        max_pool1d_with_indices,
        max_pool2d,
        max_pool2d_with_indices,
        max_pool3d,
        max_pool3d_with_indices,
    )
    from .sparse import embedding, one_hot

# Imported when it is asked for: each name, and the module that it is in.
_IN = {
    "activation": [
        "gelu", "glu", "leaky_relu", "leaky_relu_", "logsigmoid", "relu",
        "relu_", "sigmoid", "silu", "softplus", "tanh",
    ],
    "more.activation": [
        "celu", "celu_", "elu", "elu_", "hardshrink", "hardsigmoid",
        "hardswish", "hardtanh", "hardtanh_", "mish", "prelu", "relu6",
        "selu", "selu_", "softshrink", "softsign", "tanhshrink", "threshold",
        "threshold_",
    ],
    "padding": ["pad"],
    "normalization": [
        "batch_norm", "group_norm", "instance_norm", "layer_norm",
        "local_response_norm", "rms_norm",
    ],
    "more.bags": ["embedding_bag"],
    "sparse": ["embedding", "one_hot"],
    "attention": ["multi_head_attention_forward", "scaled_dot_product_attention"],
    "convolution": [
        "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
        "conv_transpose3d",
    ],
    "more.noise": ["gumbel_softmax", "rrelu", "rrelu_"],
    "pooling": [
        "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
        "adaptive_max_pool1d", "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d",
        "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d",
        "adaptive_max_pool3d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d",
        "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d", "max_pool1d_with_indices",
        "max_pool2d", "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices",
    ],
    "more.pooling": [
        "fractional_max_pool2d", "fractional_max_pool2d_with_indices",
        "fractional_max_pool3d", "fractional_max_pool3d_with_indices", "max_unpool1d",
        "max_unpool2d", "max_unpool3d",
    ],
    "more.grid": ["affine_grid", "grid_sample"],
    "more.robust": ["huber_loss", "smooth_l1_loss"],
    "more.vision": [
        "channel_shuffle", "fold", "interpolate", "pixel_shuffle", "pixel_unshuffle",
        "unfold", "upsample", "upsample_bilinear", "upsample_nearest",
    ],
    "more.ctc": ["ctc_loss"],
    "more.densities": ["gaussian_nll_loss", "kl_div", "poisson_nll_loss"],
    "more.linear_loss": ["linear_cross_entropy"],
    "losses": [
        "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy",
        "l1_loss", "mse_loss", "nll_loss",
    ],
    "more.ranking": [
        "cosine_embedding_loss", "cosine_similarity", "hinge_embedding_loss",
        "margin_ranking_loss", "multi_margin_loss", "multilabel_margin_loss",
        "multilabel_soft_margin_loss", "normalize", "pairwise_distance", "pdist",
        "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
    ],
}  # fmt: skip


__all__ = [
    # linear, dropout
    "alpha_dropout", "bilinear", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "feature_alpha_dropout", "linear",
    # activations, softmax
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "logsigmoid", "mish", "prelu", "relu",
    "relu6", "relu_", "selu", "selu_", "sigmoid", "silu", "softplus", "softshrink", "softsign",
    "tanh", "tanhshrink", "threshold", "threshold_",
    "log_softmax", "softmax", "softmin",
    # normalization, embedding
    "batch_norm", "embedding", "embedding_bag", "group_norm", "instance_norm", "layer_norm",
    "local_response_norm", "one_hot", "pad", "rms_norm",
    # attention
    "multi_head_attention_forward", "scaled_dot_product_attention",
    # convolution
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    # noise
    "gumbel_softmax", "rrelu", "rrelu_",
    # pooling, images
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "lp_pool1d", "lp_pool2d", "lp_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
    "max_unpool1d", "max_unpool2d", "max_unpool3d", "affine_grid", "channel_shuffle", "fold",
    "grid_sample", "interpolate",
    "pixel_shuffle", "pixel_unshuffle", "unfold", "upsample", "upsample_bilinear",
    "upsample_nearest",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d_with_indices", "fractional_max_pool2d", "fractional_max_pool3d",
    "fractional_max_pool2d_with_indices", "fractional_max_pool3d_with_indices",
    "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices",
    # losses
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "ctc_loss", "gaussian_nll_loss", "hinge_embedding_loss",
    "huber_loss", "kl_div", "l1_loss", "linear_cross_entropy", "margin_ranking_loss", "mse_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss",
    "normalize", "pairwise_distance", "pdist", "poisson_nll_loss", "smooth_l1_loss",
    "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
]  # fmt: skip

if not _typing.TYPE_CHECKING:  # a type checker finds unknown names by itself
    _uncover(__name__, "linear_cross_entropy")
    __getattr__, __dir__ = _later(__name__, _IN)
