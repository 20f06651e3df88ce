"""Weight norm: a weight as a length times a direction, each of which is trained.

The hook recomputes `weight` from `weight_g` and `weight_v` before each call of the layer.  The same
as a parametrization, which torch recommends, is in parametrizations.py.
"""

from __future__ import annotations

import warnings
from typing import Any

from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.tensor import Tensor


def norm_except_dim(v: Tensor, dim: int) -> Tensor:
    """The 2-norm of each slice of `v` along `dim`, broadcastable with `v`; dim -1: of all `v`."""
    if dim == -1:
        return v.norm()
    others = [d for d in range(v.ndim) if d != dim % v.ndim]
    # a tensor of one dimension has no others: each element is its own slice
    return v.norm(dim=others, keepdim=True) if others else (v * v).sqrt()


def normed(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """`g v / |v|`."""
    return v * (g / norm_except_dim(v, dim))


class WeightNorm:
    """The hook that computes a weight from its length and direction."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Any:
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        return normed(v, g, self.dim)

    def remove(self, module: Module) -> None:
        """Make the weight an ordinary parameter again."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[f"{self.name}_g"], module._parameters[f"{self.name}_v"]
        setattr(module, self.name, Parameter(weight.detach()))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Replace the weight by its length `weight_g` and direction `weight_v`; returns the module.

    Args:
        module: a layer.
        name: of its weight.
        dim: each slice along it has a length of its own; None: one length for all.

    Raises:
        RuntimeError: the weight is normed already.

    Source: Salimans and Kingma, "Weight Normalization", 2016.

    >>> import tinygrad_edu as torch
    >>> import warnings; warnings.simplefilter("ignore", FutureWarning)
    >>> layer = torch.nn.utils.weight_norm(torch.nn.Linear(20, 40))
    >>> layer.weight_g.shape, layer.weight_v.shape
    (torch.Size([40, 1]), torch.Size([40, 20]))
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of"
        " `torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    if hook_of(module, WeightNorm, name) is not None:
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    hook = WeightNorm(name, dim)
    weight = getattr(module, name)
    del module._parameters[name]
    length = norm_except_dim(weight.detach(), hook.dim)
    module.register_parameter(f"{name}_g", Parameter(length))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def hook_of(module: Module, kind: type, name: str, attribute: str = "name") -> int | None:
    """The number of the module's hook of that kind for that weight, which `attribute` names."""
    for number, hook in module._forward_pre_hooks.items():
        function = getattr(hook, "function", hook)
        if isinstance(function, kind) and getattr(function, attribute) == name:
            return number
    return None


def take_hook(module: Module, kind: type, name: str, attribute: str = "name") -> Any:
    """Take that hook away from the module and return it; None if there is none."""
    number = hook_of(module, kind, name, attribute)
    if number is None:
        return None
    hook: Any = module._forward_pre_hooks.pop(number)
    return getattr(hook, "function", hook)


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight that `weight_norm` replaced an ordinary parameter again.

    Raises:
        ValueError: it is not normed.
    """
    hook = take_hook(module, WeightNorm, name)
    if hook is None:
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    hook.remove(module)
    return module
