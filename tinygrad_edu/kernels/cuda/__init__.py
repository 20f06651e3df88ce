"""Kernels for the GPU, written in CUDA: the `.cu` files here, started by the functions here.

Every kernel has a definition: the NumPy code beside it in tinygrad_edu/kernels or in ops, which
runs on a GPU too, with more launches.  The kernels serve float32 and float64 in contiguous memory,
some of them 16 bits; `ready` says whether an array qualifies.  Products are cuBLAS's.  A source is
compiled when it is first used, once per dtype, and CuPy keeps the result on disk.

    from tinygrad_edu.kernels import cuda
    cuda.softmax.softmax(x)      # imports softmax.py, which no program without a GPU needs
"""

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import later

if TYPE_CHECKING:
    from tinygrad_edu.kernels.cuda import (
        attention,
        elementwise,
        embedding,
        epilogues,
        flash,
        norm,
        products,
        softmax,
        tensors,
    )
else:
    # `from ... import launch` asks here before it looks for a file
    _ROOMS = "attention elementwise embedding epilogues flash norm products softmax tensors"
    __getattr__, __dir__ = later(__name__, {"": [*_ROOMS.split(), "checks", "launch"]})

__all__ = [
    "attention", "elementwise", "embedding", "epilogues", "flash", "norm", "products", "softmax",
    "tensors",
]  # fmt: skip
