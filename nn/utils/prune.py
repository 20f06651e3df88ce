"""Pruning: a weight becomes `weight_orig * weight_mask`, computed anew before each `forward`.

A method says which elements stay (`compute_mask`).  Pruned again, a weight is pruned among the
elements that are left, and a `PruningContainer` remembers both methods.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.utils.convert_parameters import parameters_to_vector
from tinygrad_edu.nn.utils.weight_hooks import hook_of, take_hook
from tinygrad_edu.ops.creation import ones_like
from tinygrad_edu.ops.sampling import rand, rand_like
from tinygrad_edu.tensor import Tensor

__all__ = [
    "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured",
    "PruningContainer", "RandomStructured", "RandomUnstructured", "custom_from_mask",
    "global_unstructured", "identity", "is_pruned", "l1_unstructured", "ln_structured",
    "random_structured", "random_unstructured", "remove",
]  # fmt: skip


class BasePruningMethod:
    """What all methods share; one of your own defines `compute_mask` and `PRUNING_TYPE`.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.nn.utils import prune
    >>> class EveryOther(prune.BasePruningMethod):
    ...     PRUNING_TYPE = "unstructured"
    ...     def compute_mask(self, t, default_mask):
    ...         mask = default_mask.clone()
    ...         mask.view(-1)[::2] = 0
    ...         return mask
    >>> layer = torch.nn.Linear(4, 1)
    >>> method = EveryOther.apply(layer, "weight")
    >>> layer.weight_mask
    tensor([[0., 1., 0., 1.]])
    """

    PRUNING_TYPE = "unstructured"
    """How masks combine: among single elements, whole slices of `dim`, or "global", anew."""
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """1 for the elements of `t` that stay, 0 for the others and those `default_mask` lacks."""
        raise NotImplementedError

    def apply_mask(self, module: Module) -> Tensor:
        """The pruned tensor."""
        original: Tensor = getattr(module, f"{self._tensor_name}_orig")
        mask: Tensor = getattr(module, f"{self._tensor_name}_mask")
        return mask.to(dtype=original.dtype) * original

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune `module.name` from now on; other arguments are those of the class."""
        method = cls(*args, **kwargs)
        method._tensor_name = name
        original = getattr(module, name)
        scores = original if importance_scores is None else importance_scores
        if scores.shape != original.shape:
            raise AssertionError("importance_scores should have the same shape as the tensor")
        number = hook_of(module, BasePruningMethod, name, "_tensor_name")
        if number is None:
            mask = method.compute_mask(scores.detach(), ones_like(original.detach()))
            module.register_parameter(f"{name}_orig", module._parameters.pop(name))
        else:
            method = PruningContainer(module._forward_pre_hooks[number], method)
            mask = method.compute_mask(scores.detach(), getattr(module, f"{name}_mask").clone())
            del module._forward_pre_hooks[number]
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Any = None, importance_scores: Any = None) -> Tensor:
        """A pruned copy of a tensor, without any module."""
        scores = t if importance_scores is None else importance_scores
        return t * self.compute_mask(scores, ones_like(t) if default_mask is None else default_mask)

    def remove(self, module: Module) -> None:
        """Make what is left of the tensor its parameter again; see the function `remove`."""
        name = self._tensor_name
        original = getattr(module, f"{name}_orig")
        original.data = self.apply_mask(module).data
        for gone in (name, f"{name}_orig", f"{name}_mask"):
            delattr(module, gone)
        setattr(module, name, original)


class PruningContainer(BasePruningMethod):
    """Several methods, one after the other, for one tensor."""

    def __init__(self, *methods: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        for method in methods:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Add a method, or those of a container, for the same tensor; ValueError if for another."""
        self._tensor_name = getattr(self, "_tensor_name", method._tensor_name)
        if self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named"
                f" '{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += getattr(method, "_pruning_methods", (method,))

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __getitem__(self, index: Any) -> Any:
        return self._pruning_methods[index]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """What the last method leaves of that which `default_mask` leaves."""
        method = self._pruning_methods[-1]
        mask = default_mask.to(dtype=t.dtype)
        where: Any = slice(None)
        if method.PRUNING_TYPE == "unstructured":
            where = mask == 1
        elif method.PRUNING_TYPE == "structured":
            dim = range(t.ndim)[method.dim]  # type: ignore[attr-defined]
            left = mask.sum([d for d in range(t.ndim) if d != dim]) != 0
            where = (slice(None),) * dim + (left,)
        mask[where] = method.compute_mask(t[where], default_mask=mask[where])
        return mask


class Identity(BasePruningMethod):
    """Everything stays; the names are those of a pruned tensor."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """`default_mask`."""
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Takes single elements away at random.

    Args:
        amount: how many, or which part of them if it is a float.
    """

    def __init__(self, amount: float) -> None:
        if not isinstance(amount, numbers.Real):
            raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
        if amount < 0 or (amount > 1 and not isinstance(amount, numbers.Integral)):
            raise ValueError(f"amount={amount} should be a float in [0, 1] or a count")
        self.amount: Any = amount

    def _units(self, mask: Tensor) -> Tensor:
        """A view of a mask; what one index chooses there goes or stays together."""
        return mask.view(-1)

    def _scores(self, t: Tensor) -> Tensor:
        """A number for each unit: those with the smallest go."""
        return -rand_like(t)

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """See the base class."""
        mask = default_mask.clone()
        units = self._units(mask)
        counted = isinstance(self.amount, numbers.Integral)
        lost = self.amount if counted else round(self.amount * len(units))
        if lost > len(units):
            raise ValueError(f"amount={lost} should be at most the number there is, {len(units)}")
        if lost:
            units[self._scores(t).reshape(-1).topk(lost, largest=False).indices] = 0
        return mask


class L1Unstructured(RandomUnstructured):
    """Takes the elements away whose absolute values, or scores, are smallest.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.nn.utils import prune
    >>> layer = torch.nn.Linear(3, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.tensor([[3.0, -1.0, 2.0]]))
    >>> prune.l1_unstructured(layer, "weight", amount=1).weight.tolist()
    [[3.0, -0.0, 2.0]]
    """

    def _scores(self, t: Tensor) -> Tensor:
        return t.abs()


class RandomStructured(RandomUnstructured):
    """Takes whole slices away at random.

    Args:
        amount: how many, or which part of them if it is a float.
        dim: along which dimension they are counted.
    """

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        super().__init__(amount)
        self.dim = dim

    def _units(self, mask: Tensor) -> Tensor:
        if mask.ndim < 2:
            raise ValueError(f"a tensor of {mask.ndim} dimensions has no slices to be pruned")
        return mask.movedim(self.dim, 0)

    def _scores(self, t: Tensor) -> Tensor:
        return rand(t.shape[self.dim])


class LnStructured(RandomStructured):
    """Takes the slices away whose norms are smallest.

    Args:
        amount, dim: see `RandomStructured`.
        n: which norm.
    """

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _scores(self, t: Tensor) -> Tensor:
        return t.norm(self.n, [d for d in range(t.ndim) if d != self.dim % t.ndim])


class CustomFromMask(BasePruningMethod):
    """Takes away what a mask of your own says."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """See the base class."""
        return default_mask * self.mask.to(dtype=default_mask.dtype)


# ---- the functions that scripts call -------------------------------------------------------------


def _function(method: Any) -> Callable[..., Module]:
    """The function (module, name, *arguments of the class) that prunes and returns the module."""

    def prune(module: Module, name: str, *args: Any, **kwargs: Any) -> Module:
        method.apply(module, name, *args, **kwargs)
        return module

    prune.__doc__ = f"`{method.__name__}` for `module.name`, with the arguments of the class."
    return prune


identity, custom_from_mask = _function(Identity), _function(CustomFromMask)
random_unstructured, random_structured = map(_function, (RandomUnstructured, RandomStructured))
l1_unstructured, ln_structured = _function(L1Unstructured), _function(LnStructured)


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: Any = None,
    **kwargs: Any,
) -> None:
    """Prune several tensors as if they were one.

    Args:
        parameters: pairs of a module and a name.
        pruning_method: a class of type "unstructured"; `kwargs` are its arguments.
        importance_scores: a dict from such pairs to what is compared instead of the tensors.
    """
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(f'Only "unstructured" PRUNING_TYPE supported. Found {pruning_method}')
    method._tensor_name = "temp"
    scores = importance_scores or {}
    given = [(module, name, getattr(module, name)) for module, name in parameters]
    compared = [scores.get((m, n), t).detach() for m, n, t in given]
    masks = [getattr(m, f"{n}_mask", ones_like(t.detach())) for m, n, t in given]
    mask = PruningContainer(method).compute_mask(
        parameters_to_vector(compared), parameters_to_vector(masks)
    )
    for module, name, t in given:
        part, mask = mask.split([t.numel(), len(mask) - t.numel()])
        custom_from_mask(module, name, part.reshape(t.shape))


def remove(module: Module, name: str) -> Module:
    """Make what is left of a pruned tensor an ordinary parameter, the pruned elements being 0.

    Raises:
        ValueError: it is not pruned.
    """
    hook = take_hook(module, BasePruningMethod, name, "_tensor_name")
    if hook is None:
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned first")
    hook.remove(module)
    return module


def is_pruned(module: Module) -> bool:
    """Whether a tensor of the module, or of one in it, is pruned."""
    hooks = [hook for m in module.modules() for hook in m._forward_pre_hooks.values()]
    return any([isinstance(hook, BasePruningMethod) for hook in hooks])
