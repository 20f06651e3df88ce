"""Clipping gradients before the optimizer's step, so that one bad batch does little harm.

Source: Pascanu et al., "On the difficulty of training recurrent neural networks", 2013.
"""

from __future__ import annotations

import math
import types
import warnings
from collections import defaultdict
from collections.abc import Iterable
from operator import imul
from typing import Any

import numpy as np

from tinygrad_edu.backend import device_of, module_of, new_like, to_device
from tinygrad_edu.dtypes import Array, default, is_floating
from tinygrad_edu.engine.boundary import users_level
from tinygrad_edu.engine.composed import heard
from tinygrad_edu.engine.record import as_array, wrap
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.undivided import Calls, undivided
from tinygrad_edu.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


@heard("clip")
def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients down, by one factor, so that their norm is at most `max_norm`.

    Args:
        parameters: a tensor or several; those without a gradient are left out.
        max_norm: the largest norm allowed.
        norm_type: p of the p-norm; may be inf.
        error_if_nonfinite: raise an error if the norm is inf or nan.
        foreach: accepted; there is only one implementation.

    Returns:
        The norm of all gradients, as if they were one vector, before clipping.

    Raises:
        RuntimeError: the norm is not finite and `error_if_nonfinite` is set.

    >>> import tinygrad_edu as torch
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, 4.0])
    >>> torch.nn.utils.clip_grad_norm_(w, max_norm=1.0), w.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    generated = isinstance(parameters, types.GeneratorType)
    parameters = _several(parameters)
    if generated and not parameters:
        warnings.warn(
            "`parameters` is an empty generator, no gradient clipping will occur.",
            stacklevel=users_level(),
        )
    total = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of several tensors, as if they were one vector.

    Args, Raises: as `clip_grad_norm_`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.utils.get_total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
    tensor(5.)
    """
    arrays = [t.array for t in _several(tensors)]
    norm_type = float(norm_type)
    if not arrays:
        return wrap(np.zeros((), default()))
    if norm_type == 2 and _alike(arrays):
        flat = [a.ravel("K") for a in arrays]
        norms = np.sqrt(np.array([v.dot(v) for v in flat]))
        total = np.sqrt(norms.dot(norms))
    elif norm_type == 2 and all([_fit(a) and device_of(a) == device_of(arrays[0]) for a in arrays]):
        total = cuda.tensors.norm(arrays)
    else:
        place = device_of(arrays[0])
        parts = [to_device(_norm(a, norm_type), place) for a in arrays]
        total = _norm(module_of(arrays[0]).stack(parts), norm_type)
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so"
            " it cannot be clipped. To disable this error and scale the gradients by the"
            " non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return wrap(total)


def _alike(arrays: list[Array]) -> bool:
    """Whether all are NumPy's, of one float dtype that needs no wider one to be added up in."""
    dtype = arrays[0].dtype
    return dtype.char in "fd" and all(
        [a.__class__ is np.ndarray and a.dtype is dtype for a in arrays]
    )


def _fit(x: Array) -> bool:
    """Whether one launch can take it together with others."""
    return not isinstance(x, np.ndarray) and cuda.tensors.fit(x)


def _norm(x: Array, p: float) -> Array:
    """The p-norm of an array, as a 0-d array on the same device."""
    if not is_floating(x.dtype):
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point tensor as input. Got {x.dtype}"
        )
    flat = x.ravel("K")
    if p == 2.0 and flat.dtype.itemsize >= 4:
        return np.sqrt(flat.dot(flat))
    wide = flat.astype(np.promote_types(np.float32, x.dtype), copy=False)
    size = abs(wide)
    if p == math.inf or p == -math.inf:
        if not x.size:
            if p < 0:
                raise RuntimeError("the -inf-norm of an empty tensor is not defined")
            return new_like(x, (), 0)
        found = size.max() if p > 0 else size.min()
    elif p == 0:
        found = (size != 0).sum()
    elif p == 1:
        found = size.sum()
    else:
        found = (size**p).sum() ** (1 / p)
    return found.astype(x.dtype)


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Multiply all gradients by `min(1, max_norm / (total_norm + 1e-6))`, in place.

    Args:
        parameters: a tensor or several; those without a gradient are left out.
        max_norm: the largest norm allowed.
        total_norm: their norm, from `get_total_norm`.
        foreach: accepted; there is only one implementation.

    >>> import tinygrad_edu as torch
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, 4.0])
    >>> torch.nn.utils.clip_grads_with_norm_(w, max_norm=1.0, total_norm=torch.tensor(10.0))
    >>> w.grad
    tensor([0.3000, 0.4000])
    """
    norm = total_norm.array
    rest, groups = [], defaultdict(list)
    for grad in _gradients(_several(parameters)):
        array = grad.array
        if array.__class__ is np.ndarray or not _fit(array):
            rest.append(grad)
        else:  # on a GPU, looking at the factor would cost more than multiplying
            grad._storage.write()
            groups[array.dtype, array.device.id].append(array)
    for same in groups.values():
        total = to_device(norm, device_of(same[0])).astype(same[0].dtype, copy=False)
        cuda.tensors.clip(same, total, float(max_norm))
    if not rest:
        return
    with np.errstate(all="ignore"):  # a norm of 16 bits may be infinite
        factor = np.minimum(1.0 / (norm + 1e-6) * float(max_norm), 1.0)
    if isinstance(factor, (np.ndarray, np.generic)) and factor == 1.0:
        return
    scale: Any = None
    place: Any = None
    calls: Calls = []
    for grad in rest:
        grad._storage.write()
        array = grad.array
        device = device_of(array)
        if device is not place or array.dtype is not scale.dtype:
            place, scale = device, as_array(to_device(factor, device).astype(array.dtype))
        calls.append((imul, array, scale))
    with np.errstate(all="ignore"):
        undivided(calls)


@heard("clip")
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Clamp every element of every gradient to [-clip_value, clip_value], in place.

    Args:
        parameters: a tensor or several; those without a gradient are left out.
        clip_value: the largest size allowed.
        foreach: accepted; there is only one implementation.

    Raises:
        RuntimeError: no parameter has a gradient.

    >>> import tinygrad_edu as torch
    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.grad = torch.tensor([3.0, -4.0])
    >>> torch.nn.utils.clip_grad_value_(w, 1.0)
    >>> w.grad
    tensor([ 1., -1.])
    """
    bound = float(clip_value)
    grads = _gradients(_several(parameters))
    if not grads:
        raise RuntimeError("clip_grad_value_: expected a parameter with a gradient, but got none")
    for grad in grads:
        array = grad.array
        np.maximum(array, -bound, out=array)
        np.minimum(array, bound, out=array)
        grad._storage.write()


def _several(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [p._grad for p in parameters if p._grad is not None]


def clip_grad_norm(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The old name of `clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of"
        " `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)
