"""`torch.nn.parallel`: wrappers for several devices, on the one there is."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.nn.modules.module import Module

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel"]


class DataParallel(Module):
    """A model run on one device, as it is where torch finds no GPU.

    Args:
        module: the model, which becomes the attribute `module`; its parameters' names get the
            prefix "module.".
        device_ids, output_device, dim: accepted.

    Unlike torch, a batch is not split between several GPUs: the model runs where it is.

    >>> import tinygrad_edu as torch
    >>> model = torch.nn.DataParallel(torch.nn.Linear(2, 1, bias=False))
    >>> list(model.state_dict())
    ['module.weight']
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[Any] = []

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Any = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """`module(*inputs)`, on one device."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*inputs, **(module_kwargs or {}))


class DistributedDataParallel(Module):
    """NotImplementedError: there is one process, without communication between processes."""

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "torch.nn.parallel.DistributedDataParallel is not available in tinygrad_edu: it runs in"
            " one process, without communication between processes; use the model itself"
        )
