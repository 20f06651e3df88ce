"""Pruning: torch's masks, names, hooks and errors."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours
from tinygrad_edu.nn.utils import prune as ours_prune

torch = pytest.importorskip("torch")
import torch.nn.utils.prune as torch_prune  # noqa: E402


def both(act: Any) -> None:
    """Do the same with both libraries; the modules must then be alike, and compute the same."""
    seen: list[Any] = []
    for lib, prune in ((ours, ours_prune), (torch, torch_prune)):
        lib.manual_seed(0)
        model = lib.nn.Sequential(lib.nn.Conv2d(2, 6, 3), lib.nn.Flatten(), lib.nn.Linear(24, 5))
        result = act(lib, prune, model)
        x = lib.tensor(np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype(np.float32))
        y = model(x)
        y.sum().backward()
        state = {k: v.numpy() for k, v in model.state_dict().items()}
        gradients = {n: p.grad.numpy() for n, p in model.named_parameters()}
        buffers = [n for n, _ in model.named_buffers()]
        hooks = [type(h).__name__ for m in model for h in m._forward_pre_hooks.values()]
        seen.append((state, gradients, {"y": y.detach().numpy()}, buffers, hooks, result))
    (*mine, names, hooks, result), (*theirs, their_names, their_hooks, their_result) = seen
    assert names == their_names and hooks == their_hooks and result == their_result
    for one, other in zip(mine, theirs, strict=True):
        assert list(one) == list(other)
        for key in one:
            assert one[key] == pytest.approx(other[key], abs=1e-5), key


ACTIONS = {
    "random": lambda lib, p, m: p.random_unstructured(m[0], "weight", 0.3) and None,
    "l1 count": lambda lib, p, m: p.l1_unstructured(m[0], "bias", amount=3) and None,
    "ln": lambda lib, p, m: p.ln_structured(m[0], "weight", amount=0.5, n=2, dim=0) and None,
    "ln of the last": lambda lib, p, m: p.ln_structured(m[2], "weight", 0.25, n=1, dim=-1) and None,
    "ln inf": lambda lib, p, m: p.ln_structured(m[0], "weight", 2, n=float("inf"), dim=1) and None,
    "random slices": lambda lib, p, m: p.random_structured(m[0], "weight", 2, dim=0) and None,
    "nothing": lambda lib, p, m: p.random_structured(m[0], "weight", 0, dim=1) and None,
    "identity": lambda lib, p, m: p.identity(m[0], "weight") and None,
    "mask": lambda lib, p, m: p.custom_from_mask(m[2], "bias", lib.arange(5) % 2) and None,
    "scores": lambda lib, p, m: p.l1_unstructured(
        m[2], "bias", 2, importance_scores=lib.tensor([5.0, 1, 4, 2, 3])) and None,
    "pretend": lambda lib, p, m: (p.is_pruned(m), p.identity(m[0], "bias") and p.is_pruned(m)),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIONS)
def test_methods(name: str) -> None:
    both(ACTIONS[name])


def test_again_and_again() -> None:
    def act(lib: Any, prune: Any, model: Any) -> Any:
        layer = model[0]
        prune.l1_unstructured(layer, "weight", 0.3)
        prune.ln_structured(layer, "weight", 0.5, n=2, dim=0)
        prune.random_unstructured(layer, "weight", 10)
        prune.random_structured(layer, "weight", 1, dim=1)
        (hook,) = layer._forward_pre_hooks.values()
        assert len(hook) == 4 and [type(m).__name__ for m in hook][0] == "L1Unstructured"
        return [type(m).__name__ for m in hook], hook._tensor_name, float(layer.weight_mask.sum())

    both(act)


def test_globally() -> None:
    def act(lib: Any, prune: Any, model: Any) -> Any:
        pairs = [(model[0], "weight"), (model[2], "weight"), (model[2], "bias")]
        prune.l1_unstructured(model[2], "weight", 0.2)
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.4)
        return [float(getattr(m, f"{n}_mask").sum()) for m, n in pairs]

    both(act)


def test_removed() -> None:
    def act(lib: Any, prune: Any, model: Any) -> Any:
        prune.random_unstructured(model[0], "weight", 0.5)
        original = model[0].weight_orig
        assert prune.remove(model[0], "weight") is model[0]
        assert model[0].weight is original and isinstance(model[0].weight, lib.nn.Parameter)
        with pytest.raises(ValueError, match="has to be pruned"):
            prune.remove(model[0], "bias")
        return prune.is_pruned(model)

    both(act)


def test_ones_own_method() -> None:
    def act(lib: Any, prune: Any, model: Any) -> Any:
        class EveryOther(prune.BasePruningMethod):  # type: ignore[misc]
            PRUNING_TYPE = "unstructured"

            def compute_mask(self, t: Any, default_mask: Any) -> Any:
                mask = default_mask.clone()
                mask.view(-1)[::2] = 0
                return mask

        EveryOther.apply(model[0], "bias")
        EveryOther.apply(model[0], "bias")
        return model[0].bias_mask.tolist(), EveryOther().prune(lib.ones(4)).tolist()

    both(act)


@pytest.mark.parametrize("amount", [-1, 1.5, "x", 1000])
def test_amounts(amount: Any) -> None:
    for lib, prune in ((torch, torch_prune), (ours, ours_prune)):
        with pytest.raises((ValueError, TypeError)) as caught:
            prune.l1_unstructured(lib.nn.Linear(2, 2), "weight", amount)
        assert caught.type is (TypeError if amount == "x" else ValueError)
        layer = lib.nn.Linear(2, 2)
        with pytest.raises((ValueError, TypeError)):
            prune.l1_unstructured(layer, "weight", amount)
        assert sorted(layer._parameters) == ["bias", "weight"]


def test_a_dimension_that_is_not_there() -> None:
    for lib, prune in ((torch, torch_prune), (ours, ours_prune)):
        layer = lib.nn.Linear(3, 3)
        with pytest.raises(IndexError):
            prune.ln_structured(layer, "weight", 1, n=2, dim=2)
        layer = prune.random_structured(lib.nn.Linear(3, 3), "weight", 1, dim=-2)
        with pytest.raises(IndexError):
            prune.ln_structured(layer, "weight", 1, n=2, dim=2)


def test_trained_and_saved() -> None:
    """Pruned elements stay 0 while the others learn; the file is torch's."""
    layer = ours.nn.Linear(4, 3)
    ours_prune.l1_unstructured(layer, "weight", 0.5)
    optimizer = ours.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(ours.ones(2, 4)).sum().backward()
        optimizer.step()
    layer(ours.ones(2, 4))
    assert bool((layer.weight[layer.weight_mask == 0] == 0).all())
    file = io.BytesIO()
    ours.save(layer.state_dict(), file)
    file.seek(0)
    theirs = torch.nn.Linear(4, 3)
    torch_prune.identity(theirs, "weight")
    theirs.load_state_dict(torch.load(file))
    expected = theirs(torch.ones(2, 4)).detach().numpy()
    assert layer(ours.ones(2, 4)).detach().numpy() == pytest.approx(expected, abs=1e-6)
