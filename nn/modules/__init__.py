"""The layers, family by family."""

from __future__ import annotations

# ---- the base and containers
from .container import ModuleDict, ModuleList, Sequential

# ---- linear, shape, dropout
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
from .module import Module
from .parameter_container import ParameterDict, ParameterList

# ---- activations
# ---- normalization, embedding
# ---- losses

__all__ = [
    # the base and containers
    "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential",
    # linear, shape, dropout
    "AlphaDropout", "Bilinear", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
    "FeatureAlphaDropout", "Flatten", "Identity", "Linear", "Unflatten",
    # activations
    # normalization, embedding
    # losses
]  # fmt: skip
