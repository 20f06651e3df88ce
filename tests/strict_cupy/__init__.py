"""A strict stand-in for CuPy on machines without a GPU.

    with strict_cupy.installed():
        torch.ones(3, device="cuda") + 1

Data lies in NumPy's memory, but the array is no `np.ndarray`: whatever mixes host and device raises
as CuPy does, only names that CuPy has exist, keyword arguments that it lacks are refused,
reductions give 0-d arrays, and `cupyx.allow_synchronize(False)` turns every wait for the device
into an error.  Where CuPy silently copies, or does something else than NumPy (an index of the
host, one out of range, one named twice in an assignment), it raises `StrictError`.
CUDA kernels run too, see kernels.py.

`cupy_api.json` holds the names and missing keyword arguments of CuPy 14.2, read from its wheel.
What the stand-in cannot show: speed, memory, rounding of the GPU's own functions.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from tinygrad_edu import backend
from tinygrad_edu.kernels.cuda import epilogues, launch, products

from . import kernels
from .array import ndarray
from .counters import Counters, StrictError
from .modules import build

__all__ = ["Counters", "StrictError", "installed", "ndarray", "stands_in"]


def stands_in() -> bool:
    """Whether `cupy` is the stand-in now."""
    return type(sys.modules.get("cupy")).__module__.startswith(__name__)


@contextlib.contextmanager
def installed() -> Iterator[Any]:
    """Within it, `cupy` is the stand-in, for the library too; afterwards all is as before."""
    mine = build()
    hidden = {n: m for n, m in sys.modules.items() if n.partition(".")[0] in ("cupy", "cupyx")}
    for name in hidden:
        del sys.modules[name]
    sys.modules.update(mine)
    backend.forget_cupy()
    launch.THREADS, threads = kernels.THREADS, launch.THREADS
    products.open_library, library = kernels.cublas, products.open_library
    epilogues.open_library, with_epilogues = kernels.cublas, epilogues.open_library
    Counters.reset()
    try:
        yield mine["cupy"]
    finally:
        for name in mine:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)
        launch.THREADS, products.open_library = threads, library
        epilogues.open_library = with_epilogues
        backend.forget_cupy()
