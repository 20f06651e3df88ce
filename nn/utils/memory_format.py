"""The order in memory of the weights of convolutions."""

from __future__ import annotations

from tinygrad_edu.nn.modules.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from tinygrad_edu.nn.modules.module import Module

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]


def _convert(module: Module, kinds: tuple[type, ...], memory_format: object) -> Module:
    for layer in module.modules():
        if isinstance(layer, kinds):
            layer.weight.data = layer.weight.data.clone().contiguous(memory_format=memory_format)
    return module


def convert_conv2d_weight_memory_format(module: Module, memory_format: object) -> Module:
    """Order the weights of all 2-d convolutions in a model, such as by `torch.channels_last`.

    >>> import tinygrad_edu as torch
    >>> conv = torch.nn.Conv2d(2, 3, 3)
    >>> conv = torch.nn.utils.convert_conv2d_weight_memory_format(conv, torch.channels_last)
    >>> conv.weight.stride()
    (18, 1, 6, 2)
    """
    return _convert(module, (Conv2d, ConvTranspose2d), memory_format)


def convert_conv3d_weight_memory_format(module: Module, memory_format: object) -> Module:
    """Order the weights of all 3-d convolutions in a model."""
    return _convert(module, (Conv3d, ConvTranspose3d), memory_format)
