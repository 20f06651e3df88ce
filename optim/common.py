"""Small parts that several optimizers are made of: checks of options, state, averages."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu import dtypes
from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.tensor import Tensor


def counter(value: float = 0.0, x: Array | None = None, capturable: bool = False) -> Tensor:
    """A 0-d tensor: torch keeps step counts as float32.

    It is on the CPU, but for a `capturable` optimizer where its parameter `x` is.
    """
    if capturable and not isinstance(x, np.ndarray):
        return wrap(new_like(x, (), value, np.float32))
    wide = dtypes.default() == np.float64
    return wrap(np.array(value, np.float64 if wide else np.float32))


def advance(step: Tensor) -> Any:
    """Add one to a step count, in place; returns the new count."""
    array = step.array
    array += 1
    return counted(step)


def counted(step: Tensor) -> Any:
    """A counter's number; on a GPU the array itself, with which a CUDA graph goes on computing."""
    array = step.array
    return float(array) if isinstance(array, np.ndarray) else array


def zeros_like(x: Array) -> Tensor:
    """A tensor of zeros in the shape, dtype and memory order of an array, on its device."""
    return wrap(np.zeros_like(x))


def number(value: Any) -> float:
    """An option as a Python number: options such as `lr` may be one-element tensors."""
    return float(value.item() if isinstance(value, Tensor) else value)


def together(params: list[Tensor]) -> bool:
    """Whether one launch may update them: they are on a GPU, and none is listed twice."""
    if not params or isinstance(params[0].array, np.ndarray):
        return False
    return len(set(params)) == len(params)


def penalized(g: Array, x: Array, weight_decay: float) -> Array:
    """The gradient with an L2 penalty: g + weight_decay x."""
    return g if weight_decay == 0 else g + number(weight_decay) * x


def average(m: Array, g: Array, weight: float) -> Array:
    """(1 - weight) m + weight g: an exponential moving average."""
    new = g - m
    new *= weight
    new += m
    return new


def average_square(v: Array, g: Array, beta: float) -> Array:
    """beta v + (1 - beta) g^2."""
    new = v * beta
    new += (1 - beta) * g * g
    return new


def check_not_negative(options: dict[str, Any]) -> None:
    """Raise torch's ValueError for an option below 0; the keys are torch's words for them."""
    for name, value in options.items():
        if not 0.0 <= value:
            raise ValueError(f"Invalid {name}: {value}")


def check_betas(betas: Any) -> None:
    """Raise torch's ValueError unless both lie in [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def check_lr(lr: float | Tensor) -> None:
    """Raise torch's ValueError unless `lr` is a number or one-element tensor, not below 0."""
    if isinstance(lr, Tensor) and lr.array.size != 1:
        raise ValueError("Tensor lr must be 1-element")
    check_not_negative({"learning rate": lr})


def check_implementation(foreach: object, differentiable: bool, fused: object = None) -> None:
    """Refuse combinations that torch refuses, and the one option that is not supported."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    if differentiable:
        raise RuntimeError(
            "differentiable=True is not supported: step() writes into the parameters' arrays,"
            " outside the graph. Use torch.autograd.grad(..., create_graph=True) and an update"
            " written with tensors"
        )
