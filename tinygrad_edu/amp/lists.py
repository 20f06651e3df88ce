"""Which operation runs in which precision while autocast is on.

    lower     floats that are not float64 are cast to autocast's dtype: products, which are fast
              in 16 bits and add up in float32 anyway
    float32   16-bit operands are cast to float32: what would overflow, or lose too many digits
    widest    all operands are cast to the widest dtype among them
    as_state  a step of a cell: as its state, lower or float32
    as_given  nothing is cast, though the function is made of operations that are listed

Everything else takes what it is given.  Names are modules and functions of this package; a name
that starts with an underscore is the one operation behind several public functions.

Source: PyTorch's documentation, "Autocast Op Reference", for each of the two devices.
"""

from __future__ import annotations

_PRODUCTS = {
    "ops.matmul": ["matmul", "_linear"],
    "ops.products": ["addmm", "baddbmm", "addbmm"],
    "ops.convolution": ["_conv", "_conv_transpose"],
    "ops.attention": ["scaled_dot_product_attention"],
    "ops.activation": ["_prelu"],
    "ops.recurrent": ["rnn"],
    "nn.modules.rnn": ["RNN._layer", "LSTM._layer"],
}

_LOSSES = {
    "nn.functional.losses": [
        "mse_loss", "l1_loss", "smooth_l1_loss", "nll_loss", "kl_div", "poisson_nll_loss",
        "binary_cross_entropy_with_logits",
    ],
    "nn.functional.ranking": [
        "cosine_embedding_loss", "hinge_embedding_loss", "margin_ranking_loss",
        "triplet_margin_loss", "soft_margin_loss", "multi_margin_loss",
    ],
}  # fmt: skip

CPU = {
    "lower": {
        **_PRODUCTS,
        "ops.products": [*_PRODUCTS["ops.products"], "tensordot"],
        "ops.solvers": ["vecdot"],
    },
    "float32": {
        **_LOSSES,
        "nn.functional.losses": [
            *_LOSSES["nn.functional.losses"], "huber_loss", "binary_cross_entropy",
        ],
        "nn.functional.pooling": [
            "max_pool3d", "avg_pool3d", "adaptive_avg_pool3d", "adaptive_max_pool3d",
            "max_unpool2d", "max_unpool3d", "lp_pool3d", "fractional_max_pool2d",
            "fractional_max_pool3d",
        ],
        "nn.functional.ranking": [
            *_LOSSES["nn.functional.ranking"], "multilabel_margin_loss",
        ],
        "nn.functional.ctc": ["ctc_loss"],
        "nn.functional.grid": ["grid_sample"],
        "ops.norms": ["cdist"],
        "ops.statistics": ["quantile", "nanquantile"],
        "ops.reduction": ["prod"],
        "ops.padding": ["_from_border"],
        "ops.solvers": [
            "triangular_solve", "cholesky_solve", "cholesky_inverse", "cond", "tensorinv",
            "tensorsolve", "householder_product", "cholesky_ex", "inv_ex",
        ],
        "ops.linalg": ["trace", "inv", "solve", "cholesky"],
        "ops.decompositions": [
            "qr", "svd", "svdvals", "eigh", "eigvalsh", "matrix_rank", "lstsq", "pinv",
        ],
    },
    "widest": {
        "ops.joining": ["_cat", "_stack"],
        "ops.gathering": ["index_copy"],
    },
    "as_state": {"ops.recurrent": ["gru", "lstm"]},
    "as_given": {
        "ops.products": ["addmv", "addr"],
        "ops.matmul": ["mv", "dot", "vdot"],
        "ops.solvers": ["matrix_exp"],
    },
}  # fmt: skip

CUDA = {
    "lower": {
        **_PRODUCTS,
        "ops.products": [*_PRODUCTS["ops.products"], "addmv", "addr"],
        "ops.recurrent": ["rnn", "gru", "lstm"],
    },
    "float32": {
        **_LOSSES,
        "nn.functional.losses": [*_LOSSES["nn.functional.losses"], "cross_entropy"],
        "nn.functional.ranking": [
            *_LOSSES["nn.functional.ranking"], "cosine_similarity", "normalize",
        ],
        "nn.functional.normalization": ["layer_norm", "group_norm"],
        "ops.softmax": ["_softmax", "_log_softmax"],
        "ops.activation": ["softplus"],
        "ops.elementary": ["exp", "expm1", "log", "log10", "log1p", "log2"],
        "ops.trigonometric": ["acos", "asin", "cosh", "sinh", "tan"],
        "ops.special": ["erfinv"],
        "ops.powers": ["pow", "reciprocal", "rsqrt"],
        "ops.norms": ["norm", "dist", "cdist"],
        "ops.reduction": ["prod", "sum"],
        "ops.cumulative": ["cumprod", "cumsum"],
    },
    "widest": {
        "ops.joining": ["_cat", "_stack"],
        "ops.arithmetic": ["addcdiv", "addcmul"],
        "ops.trigonometric": ["atan2"],
        "ops.products": ["cross", "tensordot"],
        "ops.matmul": ["dot"],
        "ops.indexing": ["index_put"],
        "ops.gathering": ["scatter_add"],
    },
    "as_given": {},
}  # fmt: skip

CUDA_REFUSES = {"nn.functional.losses": ["binary_cross_entropy"]}
"""Unsafe in float16: the fused loss of logits is to be used."""
