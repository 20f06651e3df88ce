"""The layers, family by family."""

from __future__ import annotations

import typing as _typing

from tinygrad_edu.names.missing import later as _later

if _typing.TYPE_CHECKING:
    # Losses
    from ..functional.more.linear_loss import LinearCrossEntropyOptions
    from . import utils as utils

    # Activations
    from .activation import (
        GELU,
        GLU,
        LeakyReLU,
        LogSigmoid,
        LogSoftmax,
        ReLU,
        Sigmoid,
        SiLU,
        Softmax,
        Softmin,
        Softplus,
        Tanh,
    )

    # Attention, transformer
    from .attention import MultiheadAttention

    # Normalization, embedding
    from .batchnorm import (
        BatchNorm1d,
        BatchNorm2d,
        BatchNorm3d,
        InstanceNorm1d,
        InstanceNorm2d,
        InstanceNorm3d,
    )

    # The base and containers
    from .container import ModuleDict, ModuleList, Sequential

    # Convolution
    from .conv import (
        Conv1d,
        Conv2d,
        Conv3d,
        ConvTranspose1d,
        ConvTranspose2d,
        ConvTranspose3d,
    )
    from .distance import CosineSimilarity, PairwiseDistance

    # Linear, shape, dropout
    from .dropout import (
        AlphaDropout,
        Dropout,
        Dropout1d,
        Dropout2d,
        Dropout3d,
        FeatureAlphaDropout,
    )
    from .flatten import Flatten, Unflatten
    from .linear import Bilinear, Identity, Linear
    from .loss import (
        BCELoss,
        BCEWithLogitsLoss,
        CrossEntropyLoss,
        L1Loss,
        MSELoss,
        NLLLoss,
    )
    from .module import Module
    from .more.activation import (
        CELU,
        ELU,
        SELU,
        Hardshrink,
        Hardsigmoid,
        Hardswish,
        Hardtanh,
        Mish,
        PReLU,
        ReLU6,
        RReLU,
        Softmax2d,
        Softshrink,
        Softsign,
        Tanhshrink,
        Threshold,
    )
    from .more.adaptive import AdaptiveLogSoftmaxWithLoss
    from .more.bags import EmbeddingBag

    # Recurrent
    from .more.cells import GRUCell, LSTMCell, RNNCell, RNNCellBase

    # Lazy: the first input tells their sizes
    from .more.lazy import (
        LazyBatchNorm1d,
        LazyBatchNorm2d,
        LazyBatchNorm3d,
        LazyConv1d,
        LazyConv2d,
        LazyConv3d,
        LazyConvTranspose1d,
        LazyConvTranspose2d,
        LazyConvTranspose3d,
        LazyInstanceNorm1d,
        LazyInstanceNorm2d,
        LazyInstanceNorm3d,
        LazyLinear,
    )
    from .more.linear_cross_entropy import LinearCrossEntropyLoss
    from .more.losses import (
        CosineEmbeddingLoss,
        CTCLoss,
        GaussianNLLLoss,
        HingeEmbeddingLoss,
        HuberLoss,
        KLDivLoss,
        MarginRankingLoss,
        MultiLabelMarginLoss,
        MultiLabelSoftMarginLoss,
        MultiMarginLoss,
        PoissonNLLLoss,
        SmoothL1Loss,
        SoftMarginLoss,
        TripletMarginLoss,
        TripletMarginWithDistanceLoss,
    )

    # Pooling, padding, images
    from .more.padding import (
        CircularPad1d,
        CircularPad2d,
        CircularPad3d,
        ConstantPad1d,
        ConstantPad2d,
        ConstantPad3d,
        ReflectionPad1d,
        ReflectionPad2d,
        ReflectionPad3d,
        ReplicationPad1d,
        ReplicationPad2d,
        ReplicationPad3d,
        ZeroPad1d,
        ZeroPad2d,
        ZeroPad3d,
    )
    from .more.parameter_container import ParameterDict, ParameterList
    from .more.pooling import (
        FractionalMaxPool2d,
        FractionalMaxPool3d,
        MaxUnpool1d,
        MaxUnpool2d,
        MaxUnpool3d,
    )
    from .more.sync_batchnorm import SyncBatchNorm
    from .more.vision import (
        ChannelShuffle,
        Fold,
        PixelShuffle,
        PixelUnshuffle,
        Unfold,
        Upsample,
        UpsamplingBilinear2d,
        UpsamplingNearest2d,
    )
    from .normalization import GroupNorm, LayerNorm, LocalResponseNorm, RMSNorm
    from .pooling import (
        AdaptiveAvgPool1d,
        AdaptiveAvgPool2d,
        AdaptiveAvgPool3d,
        AdaptiveMaxPool1d,
        AdaptiveMaxPool2d,
        AdaptiveMaxPool3d,
        AvgPool1d,
        AvgPool2d,
        AvgPool3d,
        LPPool1d,
        LPPool2d,
        LPPool3d,
        MaxPool1d,
        MaxPool2d,
        MaxPool3d,
    )
    from .rnn import GRU, LSTM, RNN, RNNBase
    from .sparse import Embedding
    from .transformer import (
        Transformer,
        TransformerDecoder,
        TransformerDecoderLayer,
        TransformerEncoder,
        TransformerEncoderLayer,
    )

# Imported when it is asked for: each name, and the module that it is in.
_IN = {
    "": [
        "activation", "adaptive", "batchnorm", "channelshuffle", "container", "conv", "distance",
        "dropout", "flatten", "fold", "instancenorm", "lazy", "linear", "linear_cross_entropy",
        "loss", "module", "normalization", "padding", "pixelshuffle", "pooling", "rnn", "sparse",
        "transformer", "upsampling", "utils",
    ],
    "container": ["ModuleDict", "ModuleList", "Sequential"],
    "dropout": [
        "AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
        "FeatureAlphaDropout",
    ],
    "flatten": ["Flatten", "Unflatten"],
    "linear": ["Bilinear", "Identity", "Linear"],
    "module": ["Module"],
    "more.parameter_container": ["ParameterDict", "ParameterList"],
    "activation": [
        "GELU", "GLU", "LeakyReLU", "LogSigmoid", "LogSoftmax", "ReLU",
        "Sigmoid", "SiLU", "Softmax", "Softmin", "Softplus", "Tanh",
    ],
    "more.activation": [
        "SELU", "Mish", "Hardsigmoid", "Hardswish", "ELU", "CELU",
        "Hardtanh", "ReLU6", "Threshold", "Hardshrink", "Softshrink", "Softsign",
        "Tanhshrink", "Softmax2d", "RReLU", "PReLU",
    ],
    "batchnorm": [
        "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d",
        "InstanceNorm3d",
    ],
    "more.sync_batchnorm": ["SyncBatchNorm"],
    "normalization": ["GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"],
    "more.bags": ["EmbeddingBag"],
    "sparse": ["Embedding"],
    "attention": ["MultiheadAttention"],
    "transformer": [
        "Transformer", "TransformerDecoder", "TransformerDecoderLayer",
        "TransformerEncoder", "TransformerEncoderLayer",
    ],
    "conv": [
        "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d",
        "ConvTranspose3d",
    ],
    "more.lazy": [
        "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d",
        "LazyConv2d", "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d",
        "LazyConvTranspose3d", "LazyInstanceNorm1d", "LazyInstanceNorm2d",
        "LazyInstanceNorm3d", "LazyLinear",
    ],
    "more.padding": [
        "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d",
        "ConstantPad2d", "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d",
        "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d",
        "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
    ],
    "pooling": [
        "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d",
        "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d",
        "AvgPool2d", "AvgPool3d", "LPPool1d", "LPPool2d", "LPPool3d", "MaxPool1d",
        "MaxPool2d", "MaxPool3d",
    ],
    "more.pooling": [
        "FractionalMaxPool2d", "FractionalMaxPool3d", "MaxUnpool1d", "MaxUnpool2d",
        "MaxUnpool3d",
    ],
    "more.vision": [
        "ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold",
        "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d",
    ],
    "more.cells": ["GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"],
    "rnn": ["GRU", "LSTM", "RNN", "RNNBase"],
    "more.adaptive": ["AdaptiveLogSoftmaxWithLoss"],
    "more.linear_cross_entropy": ["LinearCrossEntropyLoss", "LinearCrossEntropyOptions"],
    "distance": ["CosineSimilarity", "PairwiseDistance"],
    "loss": [
        "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "L1Loss", "MSELoss",
        "NLLLoss",
    ],
    "more.losses": [
        "HuberLoss", "SmoothL1Loss",
        "PoissonNLLLoss", "GaussianNLLLoss", "KLDivLoss", "CosineEmbeddingLoss",
        "HingeEmbeddingLoss", "MarginRankingLoss", "TripletMarginLoss",
        "TripletMarginWithDistanceLoss", "CTCLoss", "SoftMarginLoss", "MultiMarginLoss",
        "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss",
    ],
}  # fmt: skip


__all__ = [
    # the base and containers
    "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential",
    # linear, shape, dropout
    "AlphaDropout", "Bilinear", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
    "FeatureAlphaDropout", "Flatten", "Identity", "Linear", "Unflatten",
    # activations
    "CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh",
    "LeakyReLU", "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6",
    "SELU", "Sigmoid", "SiLU", "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink",
    "Softsign", "Tanh", "Tanhshrink", "Threshold",
    # normalization, embedding
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Embedding", "EmbeddingBag", "GroupNorm",
    "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LayerNorm", "LocalResponseNorm",
    "RMSNorm", "SyncBatchNorm",
    # attention, transformer
    "MultiheadAttention", "Transformer", "TransformerDecoder", "TransformerDecoderLayer",
    "TransformerEncoder", "TransformerEncoderLayer",
    # convolution
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    # lazy: the first input tells their sizes
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d",
    "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d",
    "LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d", "LazyLinear",
    # pooling, padding, images
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
    "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d",
    "FractionalMaxPool2d", "FractionalMaxPool3d", "LPPool1d", "LPPool2d", "LPPool3d",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d",
    "MaxUnpool3d", "ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold",
    "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d",
    # recurrent
    "GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase",
    # losses
    "BCELoss", "BCEWithLogitsLoss", "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss",
    "GaussianNLLLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss",
    "MarginRankingLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss",
    "NLLLoss", "PairwiseDistance", "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss",
    "TripletMarginLoss", "TripletMarginWithDistanceLoss", "CTCLoss", "AdaptiveLogSoftmaxWithLoss",
    "LinearCrossEntropyLoss", "LinearCrossEntropyOptions",
]  # fmt: skip

if not _typing.TYPE_CHECKING:  # a type checker finds unknown names by itself
    __getattr__, __dir__ = _later(__name__, _IN)
