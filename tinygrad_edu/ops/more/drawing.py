"""Random tensors, the rest: normal numbers whose law has tensors as parameters, and rarer laws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.engine.boundary import same_device
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.ops.creation import DeviceLike, Dtype, finish
from tinygrad_edu.ops.sampling import _empty, _fill, _generator, _number, _result
from tinygrad_edu.ops.shape import broadcast_shapes
from tinygrad_edu.out import takes_out
from tinygrad_edu.random import (
    Generator,
    fill_normal,
)  # fmt: skip
from tinygrad_edu.random.laws import (
    fill_cauchy,
    fill_exponential,
    fill_geometric,
    fill_log_normal,
)

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


# Reading arguments --------------------------------------------------------------------------------


@takes_out(dtype="drawn", overlap="same")
@np.errstate(all="ignore")
def normal(
    mean: Any, std: Any = None, size: Any = None, *, generator: Generator | None = None,
    dtype: Dtype = None, device: DeviceLike = None, requires_grad: bool = False,
    out: None = None, layout: object = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers: `normal(mean, std, size)` of numbers, or of tensors `normal(mean, std)`.

    Args:
        mean, std: numbers, or tensors that broadcast; one of the two may still be a number.
            std >= 0 may be left out after a tensor, and is 1 then.
        size: a tuple, if both are numbers.

    Raises:
        RuntimeError: an element of std is negative.
        TypeError: other arguments than these.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0); torch.normal(torch.tensor([0.0, 100.0]), 1.0)
    tensor([ 1.5410, 99.7066])
    """
    gen = _generator(generator)
    if size is not None:
        if std is None or not isinstance(size, (tuple, list)):
            raise TypeError(f"normal() takes (mean, std, size) with a tuple as size, not {size!r}")
        array = _empty("normal", (), size, dtype, out, device)
        centre, deviation = _number("normal", "mean", mean), _number("normal", "std", std)
        fill_normal(gen, array, centre, deviation)
        return finish(array, device, requires_grad)
    if not isinstance(mean, TensorBase) and not isinstance(std, TensorBase):
        raise TypeError("normal() needs a size where neither mean nor std is a Tensor")
    if requires_grad or any([o is not None for o in (dtype, device, out)]):
        raise TypeError("normal(): of tensors, the result has their dtype and device")
    return _normal_of_tensors(gen, mean, 1.0 if std is None else std)


def _normal_of_tensors(gen: Generator, mean: Any, std: Any) -> Tensor:
    centre, deviation = (p.array if isinstance(p, TensorBase) else p for p in (mean, std))
    same_device("normal", centre, deviation)
    if not isinstance(std, TensorBase):
        array = np.empty_like(centre, order="C")
        fill_normal(gen, array, 0.0, _number("normal", "std", std))
    else:
        if isinstance(deviation, np.ndarray) and not (deviation >= 0).all():
            raise RuntimeError("normal expects all elements of std >= 0.0")
        if not isinstance(mean, TensorBase):
            centre = _number("normal", "mean", mean)
        shape = broadcast_shapes(np.shape(centre), deviation.shape)
        array = new_like(deviation, shape, dtype=getattr(centre, "dtype", None))
        fill_normal(gen, array)
        array *= deviation
    array += centre
    return _result(array, mean, std)


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers of the exponential law of rate `lambd` > 0."""
    gen, rate = _generator(generator), _number("exponential_", "lambd", lambd)
    return _fill(self, lambda a: fill_exponential(gen, a, rate))


def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with the exponentials of normal numbers, std > 0."""
    gen = _generator(generator)
    m, s = _number("log_normal_", "mean", mean), _number("log_normal_", "std", std)
    return _fill(self, lambda a: fill_log_normal(gen, a, m, s))


def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers of the Cauchy law, sigma > 0."""
    gen = _generator(generator)
    m, s = _number("cauchy_", "median", median), _number("cauchy_", "sigma", sigma)
    return _fill(self, lambda a: fill_cauchy(gen, a, m, s))


def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the number of trials up to the first success of probability 0 < p < 1."""
    gen, chance = _generator(generator), _number("geometric_", "p", p)
    return _fill(self, lambda a: fill_geometric(gen, a, chance))
