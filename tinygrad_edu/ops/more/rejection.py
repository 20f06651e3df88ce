"""Counts and waiting times whose law has a parameter for each element; drawn on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import CPU, device_of, to_device
from tinygrad_edu.dtypes import Array, is_floating, scalar_type_name
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.kernels.more import rejection
from tinygrad_edu.ops.sampling import _generator, _result, _tensor

if TYPE_CHECKING:
    from tinygrad_edu.random import Generator
    from tinygrad_edu.tensor import Tensor


def _on_device(drawn: Array, parameter: Any) -> Tensor:
    return _result(to_device(drawn, device_of(parameter.array)), parameter)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """For each rate in `input`, how many events fall into one unit of time; no gradient flows.

    Raises:
        RuntimeError: a rate is negative.
        NotImplementedError: the rates are not floats.

    >>> import tinygrad_edu as torch
    >>> torch.poisson(torch.zeros(2))
    tensor([0., 0.])
    """
    host = to_device(_tensor("poisson", "input", input).array, CPU)
    if not is_floating(host.dtype):
        raise NotImplementedError(
            f"\"poisson_cpu\" not implemented for '{scalar_type_name(host.dtype)}'"
        )
    drawn = rejection.poisson(_generator(generator), host)
    return _on_device(drawn.astype(host.dtype), input)


def standard_gamma(concentration: Any, *, divided: bool = False) -> Tensor:
    """For each a in `concentration` a number of density x^(a - 1) exp(-x) / Gamma(a).

    Args:
        divided: by the sum over the last dimension: samples of the Dirichlet law.

    Raises:
        NotImplementedError: the concentration needs a gradient.
    """
    if is_recording() and concentration.requires_grad:
        raise NotImplementedError(
            "samples of the gamma family are not differentiable with respect to the concentration"
            " here; use sample(), or detach the concentration"
        )
    host = to_device(concentration.array, CPU)
    values = rejection.standard_gamma(_generator(None), host)
    info = np.finfo(host.dtype)
    if divided:
        values = np.maximum(values, np.finfo(np.float64).tiny)
        values = values / values.sum(-1, keepdims=True)
        values = np.minimum(values, np.nextafter(host.dtype.type(1), host.dtype.type(0)))
    return _on_device(np.maximum(values, info.tiny).astype(host.dtype), concentration)
