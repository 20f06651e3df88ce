"""Initial values of parameters: functions that overwrite a tensor in place and return it.

The random ones draw from the default generator, or from `generator=`, exactly the numbers torch
draws; so a model built after the same `manual_seed` starts from torch's weights.
"""

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
from tinygrad_edu.ops.creation import empty_like
from tinygrad_edu.ops.masking import where
from tinygrad_edu.random import Generator
from tinygrad_edu.tensor import Tensor

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
    "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_",
    "xavier_uniform_", "zeros_", "constant", "dirac", "eye", "kaiming_normal", "kaiming_uniform",
    "normal", "orthogonal", "sparse", "uniform", "xavier_normal", "xavier_uniform",
]  # fmt: skip


# Constants ----------------------------------------------------------------------------------------


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element is `val`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.init.constant_(torch.empty(2), 0.3)
    tensor([0.3000, 0.3000])
    """
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Every element is 1.

    >>> import tinygrad_edu as torch
    >>> torch.nn.init.ones_(torch.empty(2))
    tensor([1., 1.])
    """
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element is 0.

    >>> import tinygrad_edu as torch
    >>> torch.nn.init.zeros_(torch.empty(2))
    tensor([0., 0.])
    """
    return constant_(tensor, 0.0)


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


# One distribution for all elements ----------------------------------------------------------------


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Uniform on [a, b).

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.init.uniform_(torch.empty(3), -1, 1)
    tensor([-0.0075,  0.5364, -0.8230])
    """
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Normal with that mean and standard deviation.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.init.normal_(torch.empty(3))
    tensor([ 1.5410, -0.2934, -2.1788])
    """
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


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


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights must grow because the nonlinearity behind them shrinks signals.

    Args:
        nonlinearity: linear, conv1d (and its kin), sigmoid: 1; tanh: 5/3; relu: sqrt(2);
            leaky_relu: sqrt(2 / (1 + slope²)); selu: 3/4.
        param: the slope of leaky_relu; 0.01 if None.

    Raises:
        ValueError: another name, or a slope that is not a number.

    >>> import tinygrad_edu as torch
    >>> torch.nn.init.calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity in _LINEAR or nonlinearity == "sigmoid":
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


_LINEAR = (
    "linear", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
)  # fmt: skip


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs reach one output, and how many outputs one input.

    Weights have shape (out, in) or (out channels, in channels, *kernel).

    Raises:
        ValueError: the tensor has fewer than 2 dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"
        )
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return fan_in if mode == "fan_in" else fan_out


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Uniform on (-k, k) with k = gain sqrt(6 / (fan_in + fan_out)).

    Raises:
        ValueError: the tensor has fewer than 2 dimensions.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.init.xavier_uniform_(torch.empty(1, 3))
    tensor([[-0.0092,  0.6570, -1.0080]])
    """
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with mean 0 and std = gain sqrt(2 / (fan_in + fan_out)).

    Raises, Source: as `xavier_uniform_`.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.init.xavier_normal_(torch.empty(1, 3))
    tensor([[ 1.0896, -0.2075, -1.5406]])
    """
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform on (-k, k) with k = gain sqrt(3 / fan).

    Args:
        a: the negative slope, if the nonlinearity is leaky_relu.
        mode: "fan_in" keeps the size of signals going forward, "fan_out" of gradients going back.
        nonlinearity: what follows the layer, see `calculate_gain`.
        generator: where the numbers come from; the default generator if None.

    Raises:
        ValueError: the tensor has fewer than 2 dimensions, or another mode or nonlinearity.

    Source: He et al., "Delving deep into rectifiers", 2015.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.init.kaiming_uniform_(torch.empty(1, 3), nonlinearity="relu")
    tensor([[-0.0106,  0.7586, -1.1640]])
    """
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    fan = _calculate_correct_fan(tensor, mode)
    std = calculate_gain(nonlinearity, a) / math.sqrt(fan)
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal with mean 0 and std = gain / sqrt(fan).

    Args, Raises, Source: as `kaiming_uniform_`.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.init.kaiming_normal_(torch.empty(1, 3), nonlinearity="relu")
    tensor([[ 1.2582, -0.2396, -1.7790]])
    """
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    fan = _calculate_correct_fan(tensor, mode)
    std = calculate_gain(nonlinearity, a) / math.sqrt(fan)
    return normal_(tensor, 0.0, std, generator)


# Structured ---------------------------------------------------------------------------------------


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


# Old names ----------------------------------------------------------------------------------------


def _old_name(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function under its name without underscore, with torch's warning."""
    new = function.__name__
    old = new.removesuffix("_")

    @functools.wraps(function)
    def deprecated(*args: Any, **kwargs: Any) -> Tensor:
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
