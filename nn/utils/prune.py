"""Pruning: a weight becomes `weight_orig * weight_mask`, computed anew before each `forward`.

A method says which elements stay (`compute_mask`).  Pruned again, a weight is pruned among the
elements that are left, and a `PruningContainer` remembers both methods.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.ops.creation import ones_like, zeros
from tinygrad_edu.ops.joining import cat
from tinygrad_edu.ops.more.norms import norm
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
        original = getattr(module, f"{self._tensor_name}_orig")
        mask = getattr(module, f"{self._tensor_name}_mask")
        pruned: Tensor = mask.to(dtype=original.dtype) * original
        return pruned

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune `module.name` from now on; other arguments are those of the class."""
        method: Any = cls(*args, **kwargs)
        method._tensor_name = name
        number, before = _find(module, name)
        original = getattr(module, name)
        scores = original if importance_scores is None else importance_scores
        if scores.shape != original.shape:
            raise AssertionError("importance_scores should have the same shape as the tensor")
        mask = getattr(module, f"{name}_mask") if before else ones_like(original.detach())
        if before is not None:
            container = before if isinstance(before, PruningContainer) else PruningContainer(before)
            container.add_pruning_method(method)
            method = container
        mask = method.compute_mask(scores.detach(), mask.clone())
        if before is None:
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", original)
        else:
            del module._forward_pre_hooks[number]
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method  # type: ignore[no-any-return]

    def prune(self, t: Tensor, default_mask: Any = None, importance_scores: Any = None) -> Tensor:
        """A pruned copy of a tensor, without any module."""
        scores = t if importance_scores is None else importance_scores
        return t * self.compute_mask(scores, ones_like(t) if default_mask is None else default_mask)

    def remove(self, module: Module) -> None:
        """Make what is left of the tensor its parameter again; see the function `remove`."""
        name = self._tensor_name
        kept, original = self.apply_mask(module), getattr(module, f"{name}_orig")
        for gone in (name, f"{name}_orig", f"{name}_mask"):
            delattr(module, gone)
        original.data = kept.data
        setattr(module, name, original)


class PruningContainer(BasePruningMethod):
    """Several methods, one after the other, for one tensor."""

    def __init__(self, *methods: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        for method in methods:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Add a method for the same tensor; ValueError if it is for another."""
        self._tensor_name = getattr(self, "_tensor_name", method._tensor_name)
        if self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named"
                f" '{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

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
            dim = method.dim % t.ndim  # type: ignore[attr-defined]
            left = mask.sum([d for d in range(t.ndim) if d != dim]) != 0
            where = (slice(None),) * dim + (left,)
        new = mask.clone()
        new[where] = method.compute_mask(t[where], default_mask=mask[where]).to(new.dtype)
        return new


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

    _largest = True

    def __init__(self, amount: float) -> None:
        if not isinstance(amount, numbers.Real):
            raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
        if amount < 0 or (not isinstance(amount, int) and amount > 1):
            raise ValueError(
                f"amount={amount} should be a float in [0, 1] or a count of at least 0"
            )
        self.amount: Any = amount

    def _lost(self, size: int) -> int:
        """How many of `size` elements or slices go."""
        if isinstance(self.amount, int) and self.amount > size:
            raise ValueError(f"amount={self.amount} should be at most the number there is, {size}")
        return self.amount if isinstance(self.amount, int) else round(self.amount * size)

    def _scores(self, t: Tensor) -> Tensor:
        return rand_like(t)

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """See the base class."""
        mask, lost = default_mask.clone(), self._lost(t.numel())
        if lost:
            where = self._scores(t).reshape(-1).topk(lost, largest=self._largest).indices
            mask.view(-1)[where] = 0
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

    _largest = False

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

    def _kept(self, t: Tensor, lost: int) -> Tensor:
        draws = rand(t.shape[self.dim])
        kept: Tensor = draws > draws.kthvalue(lost).values
        return kept

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """See the base class."""
        if t.ndim < 2:
            raise ValueError(f"a tensor of {t.ndim} dimensions has no slices to be pruned")
        lost = self._lost(t.shape[self.dim])
        if not lost:
            return default_mask
        kept = self._kept(t, lost).to(default_mask.dtype)
        return default_mask * kept.reshape([-1] + [1] * (t.ndim - 1 - self.dim % t.ndim))


class LnStructured(RandomStructured):
    """Takes the slices away whose norms are smallest.

    Args:
        amount, dim: see `RandomStructured`.
        n: which norm.
    """

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _kept(self, t: Tensor, lost: int) -> Tensor:
        norms = norm(t, self.n, [d for d in range(t.ndim) if d != self.dim % t.ndim])
        kept = zeros(norms.shape)
        kept[norms.topk(len(norms) - lost).indices] = 1
        return kept


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
    pairs, scores, method = list(parameters), importance_scores or {}, pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(f'Only "unstructured" PRUNING_TYPE supported. Found {pruning_method}')
    method._tensor_name = "temp"
    tensors = [getattr(module, name) for module, name in pairs]
    masks = [
        getattr(m, f"{n}_mask", ones_like(t)) for (m, n), t in zip(pairs, tensors, strict=True)
    ]
    compared = [scores.get(pair, t) for pair, t in zip(pairs, tensors, strict=True)]
    final = PruningContainer(method).compute_mask(_joined(compared), _joined(masks))
    parts = final.split([t.numel() for t in tensors])
    for (module, name), t, part in zip(pairs, tensors, parts, strict=True):
        custom_from_mask(module, name, part.reshape(t.shape))


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return cat([t.detach().reshape(-1) for t in tensors])


def _find(module: Module, name: str) -> tuple[int, BasePruningMethod | None]:
    """The hook that prunes the tensor, and its number; None if nothing does."""
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return number, hook
    return 0, None


def remove(module: Module, name: str) -> Module:
    """Make what is left of a pruned tensor an ordinary parameter, the pruned elements being 0.

    Raises:
        ValueError: it is not pruned.
    """
    number, hook = _find(module, name)
    if hook is None:
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned first")
    hook.remove(module)
    del module._forward_pre_hooks[number]
    return module


def is_pruned(module: Module) -> bool:
    """Whether a tensor of the module, or of one in it, is pruned."""
    hooks = [hook for m in module.modules() for hook in m._forward_pre_hooks.values()]
    return any([isinstance(hook, BasePruningMethod) for hook in hooks])
