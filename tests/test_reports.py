"""Small programs of the kinds in docs/reports.md: each gives the same here as on torch."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

Body = Callable[[Any], Any]


def plain(value: Any) -> Any:
    if isinstance(value, (ours.Tensor, torch.Tensor)):
        return np.round(np.array(value.detach()), 5).tolist()
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def outcome(body: Body, lib: Any) -> Any:
    """What it returns, tensors as lists; or the exception's class and first words."""
    lib.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return plain(body(lib))
        except Exception as error:
            return type(error), str(error)[:30]


def leaf(lib: Any, n: int = 2) -> Any:
    return lib.ones(n, requires_grad=True)


# ---- custom functions


def outputs_that_are_no_tensors(lib: Any) -> Any:
    seen = []

    class F(lib.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2, "text", 3, None

        @staticmethod
        def backward(ctx: Any, g: Any, *others: Any) -> Any:
            seen.append(others)
            return g * 2

    x = leaf(lib)
    y, *others = F.apply(x)
    y.sum().backward()
    return x.grad, others, seen


def outputs_in_a_list(lib: Any, pack: Callable[[Any], Any] = lambda y: [y, y * 2]) -> Any:
    class F(lib.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return pack(x * 2)

    found = F.apply(leaf(lib))
    parts = found.values() if isinstance(found, dict) else found
    return found, [y.requires_grad for y in parts], type(found).__name__


def outputs_in_a_dict(lib: Any) -> Any:
    return outputs_in_a_list(lib, lambda y: {"y": y})


def defaults_reach_setup_context(lib: Any) -> Any:
    seen = []

    class F(lib.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(x: Any, a: int = 2, b: int = 3) -> Any:
            return x * a * b

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            seen.append(inputs[1:])
            ctx.factor = inputs[1] * inputs[2]

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.factor, None, None

    x = leaf(lib)
    (F.apply(x) + F.apply(x, 5)).sum().backward()
    return x.grad, seen


# ---- hooks


def node_hook(lib: Any, changed: Any) -> Any:
    x = leaf(lib)
    y = x * x
    y.grad_fn.register_hook(lambda inputs, outputs: changed(inputs))
    y.sum().backward()
    return x.grad


def node_hook_that_is_too_short(lib: Any) -> Any:
    return node_hook(lib, lambda inputs: inputs[:1])


def node_hook_without_a_tuple(lib: Any) -> Any:
    return node_hook(lib, lambda inputs: inputs[0])


def node_hook_with_a_number(lib: Any) -> Any:
    return node_hook(lib, lambda inputs: (1, 2))


def node_hook_that_doubles(lib: Any) -> Any:
    return node_hook(lib, lambda inputs: tuple(g * 2 for g in inputs))


def post_accumulate_hook_that_returns_something(lib: Any) -> Any:
    x = leaf(lib)
    x.register_post_accumulate_grad_hook(lambda p: p.grad)
    x.sum().backward()


def backward_hook(lib: Any, pack: Callable[[Any], Any], full: bool = False) -> Any:
    seen = []

    class M(lib.nn.Linear):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return pack(super().forward(x) * 3)

    module = M(2, 2)
    module.register_backward_hook(lambda m, gi, go: seen.append((m is module, gi, go)))
    if full:
        module.register_full_backward_hook(lambda m, gi, go: None)
    found = module(lib.ones(1, 2, requires_grad=True))
    tensor = found["y"] if isinstance(found, dict) else found[0] if pack is tuple_of else found
    tensor.sum().backward()
    return seen, module.weight.grad


def tuple_of(y: Any) -> Any:
    return (y, y * 2)


def older_backward_hook(lib: Any) -> Any:
    return backward_hook(lib, lambda y: y)


def older_backward_hook_of_a_dict(lib: Any) -> Any:
    return backward_hook(lib, lambda y: {"k": 1, "y": y})


def older_backward_hook_of_a_tuple(lib: Any) -> Any:
    return backward_hook(lib, tuple_of)


def both_kinds_of_backward_hooks(lib: Any) -> Any:
    return backward_hook(lib, lambda y: y, full=True)


def registration(lib: Any, kind: str) -> Any:
    hooks, seen = lib.nn.modules.module, []
    register = getattr(hooks, f"register_module_{kind}_registration_hook")
    with register(lambda m, name, part: seen.append((type(m).__name__, name))):
        m = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.BatchNorm1d(2))
        m.weight = lib.nn.Parameter(lib.ones(1))
        m.register_parameter("none", None)
        m.register_buffer("held", lib.ones(1))
        m.held = lib.zeros(1)
        m.add_module("added", lib.nn.ReLU())
        m.assigned = lib.nn.ReLU()
    m.later = lib.nn.Linear(1, 1)
    return seen


def parameters_are_told_of(lib: Any) -> Any:
    return registration(lib, "parameter")


def buffers_are_told_of(lib: Any) -> Any:
    return registration(lib, "buffer")


def modules_are_told_of(lib: Any) -> Any:
    return registration(lib, "module")


def a_parameter_is_exchanged(lib: Any) -> Any:
    def zeros(module: Any, name: str, part: Any) -> Any:
        return lib.nn.Parameter(lib.zeros(1, 1)) if name == "weight" else None

    with lib.nn.modules.module.register_module_parameter_registration_hook(zeros):
        layer = lib.nn.Linear(1, 1)
    return layer.weight, list(layer.state_dict())


def hooks_of_saved_tensors_are_disabled(lib: Any) -> Any:
    graph, x = lib.autograd.graph, leaf(lib)
    with graph.disable_saved_tensors_hooks("not here"):
        (x * x).sum().backward()
    with graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        pass
    with graph.disable_saved_tensors_hooks("not here"), graph.save_on_cpu():
        return x.grad


def mutation_contexts_do_not_nest(lib: Any) -> Any:
    allowed = lib.autograd.graph.allow_mutation_on_saved_tensors
    with allowed(), allowed():
        pass


def versions_are_incremented(lib: Any) -> Any:
    x = leaf(lib)
    y = x * 1
    z = y * y
    before = y._version
    lib.autograd.graph.increment_version(y)
    z.sum().backward() if y._version == before else None
    return y._version - before


# ---- checkpoints


def checkpointed(lib: Any, early: bool | None = None, **options: Any) -> Any:
    tools = importlib.import_module(f"{lib.__name__}.utils.checkpoint")
    seen = []

    def part(x: Any) -> Any:
        y = x.sin()
        seen.append("sin")
        y = y.exp()
        seen.append("exp")
        return y + 1

    x = lib.arange(3.0).requires_grad_()
    if early is None:
        y = tools.checkpoint(part, x, **options)
    else:
        with tools.set_checkpoint_early_stop(early):
            y = tools.checkpoint(part, x, **options)
    y.sum().backward()
    return x.grad, seen


def checkpoint_stops_early(lib: Any) -> Any:
    return checkpointed(lib, use_reentrant=False)


def checkpoint_runs_to_its_end(lib: Any) -> Any:
    return checkpointed(lib, use_reentrant=False, early_stop=False)


def reentrant_checkpoint_runs_to_its_end(lib: Any) -> Any:
    return checkpointed(lib, use_reentrant=True)


def early_stop_is_switched_off(lib: Any) -> Any:
    return checkpointed(lib, early=False, use_reentrant=False)


def reentrant_checkpoint_refuses_keywords(lib: Any) -> Any:
    return checkpointed(lib, use_reentrant=True, scale=3)


BODIES: list[Body] = [
    outputs_that_are_no_tensors, outputs_in_a_list, outputs_in_a_dict,
    defaults_reach_setup_context, node_hook_that_is_too_short, node_hook_without_a_tuple,
    node_hook_with_a_number, node_hook_that_doubles, post_accumulate_hook_that_returns_something,
    older_backward_hook, older_backward_hook_of_a_dict, older_backward_hook_of_a_tuple,
    both_kinds_of_backward_hooks, parameters_are_told_of, buffers_are_told_of,
    modules_are_told_of, a_parameter_is_exchanged, hooks_of_saved_tensors_are_disabled,
    mutation_contexts_do_not_nest, versions_are_incremented, checkpoint_stops_early,
    checkpoint_runs_to_its_end, reentrant_checkpoint_runs_to_its_end, early_stop_is_switched_off,
    reentrant_checkpoint_refuses_keywords,
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_same_as_torch(body: Body) -> None:
    assert outcome(body, ours) == outcome(body, torch)
