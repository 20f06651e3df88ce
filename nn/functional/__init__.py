"""The layers as plain functions: `F.linear(x, weight, bias)`."""

from __future__ import annotations

# ---- linear, dropout
from .dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from .linear import bilinear, linear

# ---- activations, softmax
# ---- normalization, embedding
# ---- losses

__all__ = [
    # linear, dropout
    "alpha_dropout", "bilinear", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "feature_alpha_dropout", "linear",
    # activations, softmax
    # normalization, embedding
    # losses
]  # fmt: skip
