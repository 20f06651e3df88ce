"""`scatter` cuts a batch into parts, one for each device; `gather` joins what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_edu.ops.joining import cat
from tinygrad_edu.tensor import Tensor

__all__ = ["gather", "scatter"]


def scatter(inputs: Any, target_gpus: Sequence[Any], dim: int = 0) -> Any:
    """One part of the inputs for each device, tensors cut along `dim`.

    Args:
        inputs: a tensor, or tuples, lists and dicts with tensors; what else is in them all get.
        target_gpus: devices or their names; a number stands for a GPU.

    >>> import tinygrad_edu as torch
    >>> torch.nn.parallel.scatter({"x": torch.arange(4), "n": 1}, ["cpu", "cpu"])
    [{'x': tensor([0, 1]), 'n': 1}, {'x': tensor([2, 3]), 'n': 1}]
    """
    if isinstance(inputs, Tensor):
        parts = inputs.chunk(len(target_gpus), dim)
        return tuple([part.to(gpu) for part, gpu in zip(parts, target_gpus, strict=False)])
    if not isinstance(inputs, (tuple, list, dict)) or not inputs:
        return [inputs for _ in target_gpus]
    values = inputs.values() if isinstance(inputs, dict) else inputs
    each = zip(*[scatter(value, target_gpus, dim) for value in values], strict=False)
    if isinstance(inputs, dict):
        return [type(inputs)(zip(inputs, part, strict=True)) for part in each]
    if hasattr(inputs, "_fields"):
        return [type(inputs)(*part) for part in each]
    return list(each) if isinstance(inputs, tuple) else [list(part) for part in each]


def gather(outputs: Sequence[Any], target_device: Any, dim: int = 0) -> Any:
    """The outputs of several devices as one, on `target_device`: what `scatter` has cut, joined.

    Args:
        outputs: for each device a tensor, or a tuple, list or dict of them, or None.

    >>> import tinygrad_edu as torch
    >>> torch.nn.parallel.gather([torch.zeros(1), torch.ones(1)], "cpu")
    tensor([0., 1.])
    """
    first = outputs[0]
    if isinstance(first, Tensor):
        parts = [t.to(target_device) for t in outputs]
        return cat([t.unsqueeze(0) for t in parts] if not first.ndim else parts, dim)
    if first is None:
        return None
    if isinstance(first, dict):
        return type(first)((k, gather([o[k] for o in outputs], target_device, dim)) for k in first)
    joined = [gather(part, target_device, dim) for part in zip(*outputs, strict=True)]
    return type(first)(*joined) if hasattr(first, "_fields") else type(first)(joined)
