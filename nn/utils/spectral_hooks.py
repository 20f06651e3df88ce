"""Spectral norm: a weight divided by its largest singular value, followed by power iteration."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.nn.utils.weight_hooks import hook_of, take_hook
from tinygrad_edu.tensor import Tensor


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """A row for each slice along `dim`."""
    if dim != 0:
        weight = weight.permute(dim, *[d for d in range(weight.ndim) if d != dim])
    return weight.reshape(weight.shape[0], -1)


def check_iterations(count: int) -> None:
    if count <= 0:
        raise ValueError(
            f"Expected n_power_iterations to be positive, but got n_power_iterations={count}"
        )


def default_dim(module: Module, dim: int | None) -> int:
    """The dimension of the outputs: the second of transposed convolutions, else the first."""
    if dim is not None:
        return dim
    from tinygrad_edu.nn.modules.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

    return int(isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)))


class SpectralNorm:
    """The hook that divides a weight by its largest singular value, `u W v`."""

    _version = 1

    def __init__(
        self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        check_iterations(n_power_iterations)
        self.name, self.dim = name, dim
        self.n_power_iterations, self.eps = n_power_iterations, eps

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Any:
        """The weight divided by its norm; if told so, u and v take their steps first, in place."""
        weight, u, v = (getattr(module, self.name + end) for end in ("_orig", "_u", "_v"))
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v = F.normalize(matrix.t().mv(u), dim=0, eps=self.eps, out=v)
                    u = F.normalize(matrix.mv(v), dim=0, eps=self.eps, out=u)
                # copies, for u and v may move on before the gradients are computed
                u, v = u.clone(), v.clone()
        return weight / u.dot(matrix.mv(v))

    def remove(self, module: Module) -> None:
        """Make the weight an ordinary parameter again."""
        with no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        for end in ("", "_u", "_v", "_orig"):
            delattr(module, self.name + end)
        module.register_parameter(self.name, Parameter(weight.detach()))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))

    def note_version(self, module: Module, state: object, prefix: str, metadata: Any) -> None:
        """The hook that puts the version into a state_dict, as in torch's files."""
        metadata.setdefault("spectral_norm", {})[f"{self.name}.version"] = self._version


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide the weight by its largest singular value before each call; returns the module.

    The original is the parameter `weight_orig`; the singular vectors, buffers `weight_u` and
    `weight_v`, take a step of power iteration at each call in training.

    Args:
        module: a layer.
        name: of its weight.
        n_power_iterations: steps a call.
        eps: lengths below it count as this.
        dim: of the outputs; None: 1 for transposed convolutions, else 0.

    Raises:
        ValueError: there is no such weight, or `n_power_iterations` is not positive.
        RuntimeError: the weight is normed already.

    Source: Miyato et al., "Spectral Normalization for GANs", 2018, algorithm 1.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.utils.spectral_norm(torch.nn.Linear(20, 40))
    >>> list(layer.state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']
    """
    if hook_of(module, SpectralNorm, name) is not None:
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    hook = SpectralNorm(name, n_power_iterations, default_dim(module, dim), eps)
    weight = module._parameters[name]
    if weight is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    with no_grad():
        rows, columns = as_matrix(weight, hook.dim).shape
        u = F.normalize(weight.new_empty(rows).normal_(0, 1), dim=0, eps=eps)
        v = F.normalize(weight.new_empty(columns).normal_(0, 1), dim=0, eps=eps)
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.data)
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    module.register_forward_pre_hook(hook)
    module._register_state_dict_hook(hook.note_version)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight that `spectral_norm` replaced an ordinary parameter again.

    Raises:
        ValueError: it is not normed.
    """
    hook = take_hook(module, SpectralNorm, name)
    if hook is None:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    hook.remove(module)
    for number, saved in list(module._state_dict_hooks.items()):
        if getattr(saved, "__self__", None) is hook:
            del module._state_dict_hooks[number]
    return module
