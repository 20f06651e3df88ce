"""`torch.nn.parallel`: a model on several devices.

`DistributedDataParallel` has a file of its own, imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu.names.missing import later
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parallel.scatter_gather import gather, scatter

if TYPE_CHECKING:
    from . import distributed
    from .distributed import DistributedDataParallel

__all__ = [
    "DataParallel", "DistributedDataParallel", "data_parallel", "distributed", "gather", "scatter",
]  # fmt: skip


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
    inputs: object,
    device_ids: object = None,
    output_device: object = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """`module(*inputs)`, on one device."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*inputs, **(module_kwargs or {}))


if not TYPE_CHECKING:
    __getattr__, __dir__ = later(
        __name__, {"": ["distributed"], "distributed": ["DistributedDataParallel"]}
    )
