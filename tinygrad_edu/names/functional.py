"""`torch.functional`: functions that are in `torch` itself, by the name of the file torch has."""

from typing import Any

import tinygrad_edu as torch

__all__ = (
    "atleast_1d atleast_2d atleast_3d block_diag broadcast_shapes broadcast_tensors cartesian_prod"
    " cdist chain_matmul einsum meshgrid norm split tensordot unique unique_consecutive"
    " unravel_index"
).split()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(torch, name)
