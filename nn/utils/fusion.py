"""A convolution or linear layer and the batch normalization behind it as one layer, for inference.

scale = gamma / sqrt(variance + eps),  W' = W scale,  b' = (b - mean) scale + beta
"""

from __future__ import annotations

import copy
from typing import Any

from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.tensor import Tensor

__all__ = [
    "fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights",
]  # fmt: skip


def _fused(
    weight: Tensor, bias: Tensor | None, bn: tuple[Any, Any, float, Any, Any], shape: list[int]
) -> tuple[Parameter, Parameter]:
    mean, variance, eps, gamma, beta = bn
    scale = (variance + eps).rsqrt()
    scale = scale if gamma is None else scale * gamma
    w = (weight * scale.reshape(shape)).to(weight.dtype)
    b = (-mean if bias is None else bias - mean) * scale
    b = (b if beta is None else b + beta).to((weight if bias is None else bias).dtype)
    live = weight.requires_grad, (weight if bias is None else bias).requires_grad
    return Parameter(w.detach(), live[0]), Parameter(b.detach(), live[1])


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the one convolution.

    Args:
        conv_w, conv_b: of the convolution; a transposed one has its outputs in dimension 1.
        bn_rm, bn_rv, bn_eps, bn_w, bn_b: of the batch normalization.
    """
    shape = [1] * conv_w.ndim
    shape[1 if transpose else 0] = -1
    return _fused(conv_w, conv_b, (bn_rm, bn_rv, bn_eps, bn_w, bn_b), shape)


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor,
    bn_b: Tensor,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the one linear layer; arguments as of `fuse_conv_bn_weights`."""
    return _fused(linear_w, linear_b, (bn_rm, bn_rv, bn_eps, bn_w, bn_b), [-1, 1])


def _statistics(layer: Module, bn: Module) -> tuple[Any, ...]:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    return bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias


def fuse_conv_bn_eval(conv: Module, bn: Module, transpose: bool = False) -> Module:
    """A convolution that does what `bn(conv(x))` does in evaluation mode.

    Raises:
        AssertionError: a layer is in training mode, or the normalization has no statistics.

    >>> import tinygrad_edu as torch
    >>> conv, bn = torch.nn.Conv2d(2, 3, 1).eval(), torch.nn.BatchNorm2d(3).eval()
    >>> fused, x = torch.nn.utils.fuse_conv_bn_eval(conv, bn), torch.ones(1, 2, 4, 4)
    >>> torch.allclose(fused(x), bn(conv(x)))
    True
    """
    mean, variance, eps, gamma, beta = _statistics(conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, mean, variance, eps, gamma, beta, transpose
    )
    return fused


def fuse_linear_bn_eval(linear: Module, bn: Module) -> Module:
    """A linear layer that does what `bn(linear(x))` does in evaluation mode.

    Raises:
        AssertionError: a layer is in training mode, sizes differ, or there are no statistics.
    """
    statistics = _statistics(linear, bn)
    if bn.num_features not in (1, linear.out_features):
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got"
            f" linear.out_features={linear.out_features} and bn.num_features={bn.num_features}"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(linear.weight, linear.bias, *statistics)
    return fused
