"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_edu.backend import device_of
from tinygrad_edu.ops.joining import cat
from tinygrad_edu.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters behind each other, as a tensor of one dimension.

    Raises:
        TypeError: they are on different devices.

    >>> import tinygrad_edu as torch
    >>> torch.nn.utils.parameters_to_vector([torch.zeros(1, 2), torch.ones(1)])
    tensor([0., 0., 1.])
    """
    parameters = list(parameters)
    _check_device(parameters)
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Replace the values of the parameters by those of a vector; undoes `parameters_to_vector`.

    Afterwards the parameters share the vector's memory.

    Raises:
        TypeError: `vec` is not a Tensor, or the parameters are on different devices.
        RuntimeError: the vector is too short.

    >>> import tinygrad_edu as torch
    >>> w = torch.nn.Parameter(torch.zeros(1, 2))
    >>> torch.nn.utils.vector_to_parameters(torch.ones(2), [w])
    >>> w.tolist()
    [[1.0, 1.0]]
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    parameters = list(parameters)
    _check_device(parameters)
    start = 0
    for p in parameters:
        size = p.numel()
        p.data = vec.data[start : start + size].view(p.shape)
        start += size


def _check_device(parameters: list[Tensor]) -> None:
    if len({device_of(p.array) for p in parameters}) > 1:
        raise TypeError(
            "Found two parameters on different devices, this is currently not supported."
        )
