"""`torch.version`: this package's own version, and what it was built for.

Unlike torch, `torch.__version__` is the version of tinygrad-edu; the API is that of PyTorch 2.13.
"""

from __future__ import annotations

__version__ = "0.1.0"
cuda = hip = xpu = None
git_version = "unknown"
debug = False
