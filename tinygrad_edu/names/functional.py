"""`torch.functional`: functions that are in `torch` itself, by the name of the file torch has."""

from tinygrad_edu import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_shapes,
    broadcast_tensors,
    meshgrid,
    split,
)
from tinygrad_edu.names.further import (
    block_diag,
    cartesian_prod,
    cdist,
    chain_matmul,
    einsum,
    norm,
    tensordot,
    unique,
    unique_consecutive,
    unravel_index,
)
from tinygrad_edu.names.missing import missing

__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_shapes",
    "broadcast_tensors", "cartesian_prod", "cdist", "chain_matmul", "einsum", "meshgrid", "norm",
    "split", "tensordot", "unique", "unique_consecutive", "unravel_index",
]  # fmt: skip

__getattr__ = missing(__name__)
