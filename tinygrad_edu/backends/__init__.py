"""`torch.backends`: switches that scripts set.  None but `mha` changes anything here.

They can be set and read back, so that a script's preamble runs; what is asked of them
(`is_available`, `is_built`, `version`) is answered for this package, which uses none of these.
"""

from __future__ import annotations

from tinygrad_edu.backends import cpu, cuda, cudnn, mha, mkl, mkldnn, mps, openmp, opt_einsum

__all__ = ["cpu", "cuda", "cudnn", "mha", "mkl", "mkldnn", "mps", "openmp", "opt_einsum"]
