"""Where a test computes: on the CPU, on the strict stand-in for CuPy, on a GPU if there is one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import strict_cupy

from tinygrad_edu.backend import cupy_problem

ON_A_GPU = pytest.param("gpu", marks=pytest.mark.gpu)
EVERYWHERE = ["cpu", "strict", ON_A_GPU]

everywhere = pytest.mark.parametrize("where", EVERYWHERE)
"""For tests whose body runs several times, hypothesis's: they enter `placed(where)` themselves."""


@contextlib.contextmanager
def placed(where: str) -> Iterator[str]:
    """The name of the device; skips the test if there is none."""
    if where == "strict":
        with strict_cupy.installed():
            yield "cuda"
    elif where == "gpu":
        if cupy_problem() is not None:
            pytest.skip(f"no GPU: {cupy_problem()}")
        yield "cuda"
    else:
        yield "cpu"
