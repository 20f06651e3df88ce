"""The rarer initial values of `nn.init`, and the old names of all."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu import random
from tinygrad_edu.backend import module_of
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.nn.init import (
    constant_,
    kaiming_normal_,
    kaiming_uniform_,
    normal_,
    uniform_,
    xavier_normal_,
    xavier_uniform_,
    zeros_,
)
from tinygrad_edu.ops.creation import empty_like
from tinygrad_edu.ops.masking import where
from tinygrad_edu.random import Generator
from tinygrad_edu.tensor import Tensor


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix: a linear layer starts by passing on what it can.

    Raises:
        ValueError: the tensor is not 2-dimensional.

    >>> import tinygrad_edu as torch
    >>> torch.nn.init.eye_(torch.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    zeros_(tensor)
    with no_grad():
        for i in range(min(tensor.shape)):
            tensor[i, i] = 1
    return tensor


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The identity for convolutions: channel c of the output is channel c of the input.

    Args:
        tensor: weights of shape (out channels, in channels / groups, *kernel) with a kernel of
            1 to 3 dimensions.
        groups: of the convolution; each keeps its own channels.

    Raises:
        ValueError: another number of dimensions, or `groups` does not divide the out channels.

    >>> import tinygrad_edu as torch
    >>> torch.nn.init.dirac_(torch.empty(1, 1, 3))
    tensor([[[0., 1., 0.]]])
    """
    if tensor.ndim not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups:
        raise ValueError("dim 0 must be divisible by groups")
    zeros_(tensor)
    per_group = tensor.shape[0] // groups
    middle = tuple([size // 2 for size in tensor.shape[2:]])
    with no_grad():
        for group in range(groups):
            for channel in range(min(per_group, tensor.shape[1])):
                tensor[(group * per_group + channel, channel, *middle)] = 1
    return tensor


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Normal, but values outside [a, b] are drawn again.

    Args:
        mean, std: of the normal distribution before it is cut.
        a, b: absolute bounds, not multiples of `std`.
        generator: where the numbers come from; the default generator if None.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.init.trunc_normal_(torch.empty(3), std=0.02)
    tensor([ 0.0308, -0.0059, -0.0436])
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of"
            " values may be incorrect.",
            stacklevel=2,
        )
    inside = _normal_cdf((b - mean) / std) - _normal_cdf((a - mean) / std)
    with no_grad():
        if inside > 0.3:
            return _redraw_outside(tensor, mean, std, a, b, generator)
        return _accept_uniform(tensor, mean, std, a, b, generator)


def _normal_cdf(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


def _redraw_outside(
    tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None
) -> Tensor:
    """Most normal numbers fall into [a, b]: draw all, then again until none is outside."""
    low, high = (float(tensor.array.dtype.type(bound)) for bound in (a, b))
    tensor.normal_(mean, std, generator=generator)
    while True:
        x = tensor.array
        outside = (x < low) | (x > high)
        if not outside.any():
            return tensor
        again = empty_like(tensor).normal_(mean, std, generator=generator)
        tensor.copy_(where(wrap(outside), again, tensor))


def _accept_uniform(
    tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None
) -> Tensor:
    """Few would: draw uniform numbers and accept each with the probability density there.

    A number x is accepted if log u <= log density(x) - log peak, with u uniform on [0, 1).
    """
    mode = max(a, min(mean, b))
    log_peak = -0.5 * ((mode - mean) / std) ** 2
    candidates, chance = empty_like(tensor), empty_like(tensor)
    pending: Any = None
    while True:
        x = candidates.uniform_(a, b, generator=generator).array
        if pending is None:
            tensor.copy_(candidates)
        else:
            tensor.copy_(where(wrap(pending), candidates, tensor))
        log_density = ((x - mean) / std) ** 2 * -0.5 - log_peak
        u = chance.uniform_(generator=generator).array
        with np.errstate(divide="ignore"):
            refused = np.log(u) > log_density
        pending = refused if pending is None else pending & refused
        if not pending.any():
            return tensor


# Scaled by the number of inputs and outputs, so that signals keep their size ----------------------


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """A random matrix with orthogonal rows, or columns if there are more rows, times `gain`.

    Dimensions behind the first count as one.

    Raises:
        ValueError: the tensor has fewer than 2 dimensions.

    Source: Saxe et al., "Exact solutions to the nonlinear dynamics of learning", 2013; Mezzadri,
    "How to generate random matrices from the classical compact groups", 2006, for the signs.

    >>> import tinygrad_edu as torch
    >>> w = torch.nn.init.orthogonal_(torch.empty(2, 3))
    >>> torch.allclose(w @ w.T, torch.eye(2), atol=1e-6)
    True
    """
    if tensor.ndim < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    with no_grad():
        flat = tensor.new_empty((rows, tensor.numel() // rows))
        x = flat.normal_(0, 1, generator=generator).array
        wide = x.shape[0] < x.shape[1]
        q, r = np.linalg.qr(x.T if wide else x)
        q = q * np.sign(np.diagonal(r))
        tensor.copy_(wrap((q.T if wide else q).reshape(tensor.shape)))
        return tensor.mul_(gain)


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Normal with mean 0, but in each column the share `sparsity` of the elements is zero.

    Args:
        tensor: a matrix.
        sparsity: in [0, 1].
        std: standard deviation of the other elements.
        generator: where they come from; which elements are zero is drawn from the default one.

    Raises:
        ValueError: the tensor is not 2-dimensional.

    Source: Martens, "Deep learning via Hessian-free optimization", 2010.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.init.sparse_(torch.empty(3, 2), sparsity=0.6)
    tensor([[ 0.0000,  0.0000],
            [-0.0218,  0.0000],
            [ 0.0000, -0.0140]])
    """
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    normal_(tensor, 0, std, generator)
    xp = module_of(tensor.array)
    for column in range(columns):
        order = random.randperm(random.default_generator, rows)
        tensor.array[xp.asarray(order[:zeros]), column] = 0
    tensor._storage.write()
    return tensor


def _old_name(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function under its name without underscore, with torch's warning."""
    new = function.__name__
    old = new.removesuffix("_")

    @functools.wraps(function)
    def deprecated(*args: object, **kwargs: object) -> Tensor:
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.",
            FutureWarning,
            stacklevel=2,
        )
        return function(*args, **kwargs)

    deprecated.__name__ = old
    return deprecated


uniform, normal, constant = _old_name(uniform_), _old_name(normal_), _old_name(constant_)
eye, dirac = _old_name(eye_), _old_name(dirac_)
xavier_uniform, xavier_normal = _old_name(xavier_uniform_), _old_name(xavier_normal_)
kaiming_uniform, kaiming_normal = _old_name(kaiming_uniform_), _old_name(kaiming_normal_)
orthogonal, sparse = _old_name(orthogonal_), _old_name(sparse_)
