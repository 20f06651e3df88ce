"""Further laws that arrays are filled by: log-normal, exponential, Cauchy, geometric."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_edu.kernels import distributions as draw
from tinygrad_edu.kernels.limits import require_continuous, require_float
from tinygrad_edu.kernels.memory_order import fill
from tinygrad_edu.kernels.rounding import fma64
from tinygrad_edu.random import Array, Generator, host_or_gpu


@host_or_gpu
def fill_log_normal(gen: Generator, array: Array, mean: float = 1.0, std: float = 2.0) -> None:
    """array = exp(z) with z ~ N(mean, std**2), always one pair at a time (see `fill_normal`).

    Raises RuntimeError unless std > 0, NotImplementedError for an array of integers.

    >>> x = np.empty(2, np.float32)
    >>> fill_log_normal(Generator().manual_seed(0), x); x
    array([59.263416,  1.51156 ], dtype=float32)
    """
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    require_float(array, "log_normal_cpu")
    fill(array, lambda n: np.exp(fma64(draw.scalar_normals(gen, n), std, mean)))


@host_or_gpu
def fill_exponential(gen: Generator, array: Array, lambd: float = 1.0) -> None:
    """array = -log(1 - u) / lambd, of density lambd exp(-lambd x) on x >= 0.

    Raises RuntimeError unless lambd > 0 or for an array of integers.

    >>> x = np.empty(2, np.float32)
    >>> fill_exponential(Generator().manual_seed(0), x); x
    array([3.5083263, 1.2303847], dtype=float32)
    """
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    require_continuous("Exponential", array)
    fill(array, lambda n: (-1.0 / lambd) * np.log1p(-draw.uniform64(gen, n)))


@host_or_gpu
def fill_cauchy(gen: Generator, array: Array, median: float = 0.0, sigma: float = 1.0) -> None:
    """array = median + sigma tan(pi (u - 1/2)).

    Raises RuntimeError unless sigma > 0 or for an array of integers.

    >>> x = np.empty(2, np.float32)
    >>> fill_cauchy(Generator().manual_seed(0), x); x
    array([10.59773  ,  0.7647673], dtype=float32)
    """
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    require_continuous("Cauchy", array)
    fill(array, lambda n: fma64(np.tan(np.pi * (draw.uniform64(gen, n) - 0.5)), sigma, median))


@host_or_gpu
def fill_geometric(gen: Generator, array: Array, p: float) -> None:
    """array = ceil(log u / log(1 - p)): how many trials until the first success, 1, 2, 3, ...

    Raises RuntimeError unless 0 < p < 1, NotImplementedError for an array of bool.

    >>> x = np.empty(4, np.int64)
    >>> fill_geometric(Generator().manual_seed(0), x, 0.2); x
    array([1, 2, 4, 1])
    """
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    if array.dtype == np.bool_:
        raise NotImplementedError("\"geometric_cpu\" not implemented for 'Bool'")
    fill(array, lambda n: np.ceil(np.log(draw.uniform64(gen, n)) / math.log1p(-p)))
