"""Hooks of nodes, edges of the graph, and what is told when: as on torch."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import pytest
from test_leaves import Body, leaf, outcome

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


def order_of_all_hooks(lib: Any) -> Any:
    log: list[Any] = []
    y = leaf(lib) * 2
    y.register_hook(lambda g: log.append("tensor"))
    y.grad_fn.register_prehook(lambda g: log.append(("before", len(g))))
    y.grad_fn.register_hook(lambda gx, g: log.append(("after", len(gx), len(g))))
    y.retain_grad()
    y.sum().backward()
    return log


def before_an_operation_of_several_outputs(lib: Any) -> Any:
    log: list[Any] = []
    p, q = leaf(lib, 4).split(2)
    p.grad_fn.register_prehook(lambda g: log.append([part.tolist() for part in g]))
    p.register_hook(lambda g: log.append("tensor"))
    (p.sum() + 2 * q.sum()).backward()
    return log


def hook_of_a_node_changes_its_inputs(lib: Any) -> Any:
    x = leaf(lib)
    y = x * 3
    y.grad_fn.register_hook(lambda gx, g: (gx[0] * 10, *gx[1:]))
    y.sum().backward()
    return x.grad


def hooks_of_the_end_of_a_path(lib: Any) -> Any:
    x, log = leaf(lib), []  # type: ignore[var-annotated]
    end = (x * 1).grad_fn.next_functions[0][0]
    end.register_hook(lambda gx, g: log.append(("after", len(gx), g[0].tolist())))
    end.register_prehook(lambda g: log.append("before"))
    x.register_hook(lambda g: log.append("tensor"))
    (x * 2).sum().backward()
    return log


def hook_of_a_view_that_is_written(lib: Any) -> Any:
    y, log = leaf(lib) * 1, []  # type: ignore[var-annotated]
    v = y[1:]
    v.register_hook(lambda g: log.append(g.tolist()))
    v.retain_grad()
    v.mul_(3)
    (v * 2).sum().backward()
    return log, v.grad


def hook_of_a_view_whose_base_is_written(lib: Any) -> Any:
    y, log = leaf(lib) * 1, []  # type: ignore[var-annotated]
    v = y[1:]
    v.register_hook(lambda g: log.append(g.tolist()))
    v.retain_grad()
    y.mul_(3)
    (v * 2).sum().backward()
    return log, v.grad


def hooks_before_and_after_a_write(lib: Any) -> Any:
    y, log = leaf(lib) * 1, []  # type: ignore[var-annotated]
    y.register_hook(lambda g: log.append(("old", g.tolist())))
    y.mul_(3)
    y.register_hook(lambda g: log.append(("new", g.tolist())))
    y.sum().backward()
    return log


def gradient_of_nothing(lib: Any) -> Any:
    return lib.autograd.grad(leaf(lib).sum(), [])


def gradient_at_an_edge(lib: Any) -> Any:
    y = leaf(lib) * 2
    edge = lib.autograd.graph.get_gradient_edge(y)
    return edge.output_nr, lib.autograd.grad((y * 3).sum(), edge)


def gradients_of_a_batch(lib: Any) -> Any:
    x = leaf(lib)
    y = x * lib.tensor([1.0, 2.0, 3.0])
    return lib.autograd.grad(y, x, lib.eye(3), is_grads_batched=True)


def all_of_several(lib: Any) -> Any:
    a, b, log = leaf(lib), leaf(lib), []  # type: ignore[var-annotated]
    c, d = a * b, a + b
    handle = lib.autograd.graph.register_multi_grad_hook(
        (c, d, a), lambda gs: log.append([None if g is None else g.tolist() for g in gs])
    )
    c.sum().backward(retain_graph=True)
    (c.sum() + d.sum()).backward(retain_graph=True)
    handle.remove()
    c.sum().backward()
    return log


def any_of_several(lib: Any) -> Any:
    a, b, log = leaf(lib), leaf(lib), []  # type: ignore[var-annotated]
    c, d = a * b, a + b
    lib.autograd.graph.register_multi_grad_hook(
        (c, d, a), lambda g: log.append(g.tolist()), mode="any"
    )
    (c.sum() + d.sum()).backward(retain_graph=True)
    c.sum().backward()
    return log


def written_after_it_was_kept(lib: Any) -> Any:
    with lib.autograd.graph.allow_mutation_on_saved_tensors():
        a = leaf(lib)
        b = a.clone()
        y = (b**2).sum()
        b.sin_()
        y.backward()
    return a.grad


def packing_writes(lib: Any) -> Any:
    with lib.autograd.graph.saved_tensors_hooks(lambda t: t.mul_(2), lambda t: t):
        return (leaf(lib) * 1).exp()


def types_and_names(lib: Any) -> Any:
    x, m = leaf(lib), lib.ones(2, 3, requires_grad=True)
    made = [
        x.exp(), x * 2, x.sum(), m.sum(0), m.mean(), x**2, x**x, 2**x, m @ m.t(), x @ x, m[0],
        m[None, :, 1:], m.view(3, 2), m.t(), x.clamp(min=0), 1 - x, lib.log1p(x), m.unbind()[0],
        lib.nn.functional.mse_loss(x, x * 2), lib.nn.functional.linear(lib.ones(2, 2, 3), m),
    ]  # fmt: skip
    return [(type(y.grad_fn).__name__, y.grad_fn.name()) for y in made]


def chain_of_a_linear_layer(lib: Any) -> Any:
    def chain(node: Any) -> Any:
        return node and [node.name(), *[chain(edge) for edge, _ in node.next_functions]]

    linear, shapes = lib.nn.Linear, [(3,), (2, 3), (2, 2, 3)]
    return [chain(linear(3, 4, bias=b)(lib.ones(s)).grad_fn) for b in (True, False) for s in shapes]


def what_is_saved(lib: Any) -> Any:
    x = leaf(lib)
    return [
        (x - x).exp().grad_fn._saved_result, (x * (x * 2)).grad_fn._saved_other,
        (x * (x * 2)).grad_fn._saved_self, x.log().grad_fn._saved_self,
        (x @ (x * 3)).grad_fn._saved_tensor,
    ]  # fmt: skip


def names_of_what_is_saved(lib: Any) -> Any:
    """What a picture of the graph with `show_saved` shows: no more and no less than on torch."""
    x, m = leaf(lib) + 1, lib.rand(3, 3, requires_grad=True) + 1
    softmax, gelu, silu = lib.softmax, lib.nn.functional.gelu, lib.nn.functional.silu
    made = [
        x * (x * 2), x / (x + 1), m @ m, m @ x[:3], x @ x, x**2, x**x, 2**x, x.exp(), x.log(),
        x.sqrt(), x.sin(), x.tanh(), x.sigmoid(), x.relu(), gelu(x), silu(x), softmax(m, 1),
        lib.log_softmax(m, 1), m.sum(1), lib.cat([x, x]), lib.where(x > 1, x, x * 2), x.abs(),
        x.clamp(0, 5), m.var(1), m.std(0), m.norm(), m.masked_fill(m > 1, 0.0), m.cumsum(1),
        lib.bmm(m[None], m[None]), lib.maximum(x, x * 2), m.prod(1), lib.lerp(x, x * 2, 0.3),
        lib.logsumexp(m, 1), m.permute(1, 0), m.view(9), lib.stack([x, x]), m[[0, 1]],
    ]  # fmt: skip
    nodes = [y.grad_fn for y in made]
    return [
        [a for a in sorted(dir(n)) if a.startswith("_saved_") and "sym_" not in a] for n in nodes
    ]


def a_batch_of_gradients_frees(lib: Any) -> Any:
    x = leaf(lib)
    for retain in (True, None):
        y = x.exp()
        (g,) = lib.autograd.grad(
            y, x, lib.eye(x.numel()), retain_graph=retain, is_grads_batched=True
        )
        y.sum().backward()
    return g


def saved_but_freed(lib: Any) -> Any:
    y = leaf(lib).exp()
    y.sum().backward()
    return y.grad_fn._saved_result


def nodes_walked(lib: Any) -> Any:
    """Who walks a graph compares nodes: asked twice, they are the same."""
    y = lib.nn.Linear(3, 4)(lib.ones(2, 2, 3)).sum()
    again = [y.grad_fn.next_functions[0][0].next_functions[0][0] for _ in range(2)]
    return again[0] is again[1], again[0].name()


BODIES: list[Body] = [
    order_of_all_hooks, before_an_operation_of_several_outputs, hook_of_a_node_changes_its_inputs,
    hooks_of_the_end_of_a_path, hook_of_a_view_that_is_written,
    hook_of_a_view_whose_base_is_written, hooks_before_and_after_a_write, gradient_of_nothing,
    gradient_at_an_edge, gradients_of_a_batch, all_of_several, any_of_several,
    written_after_it_was_kept, packing_writes, types_and_names, chain_of_a_linear_layer,
    what_is_saved, names_of_what_is_saved, a_batch_of_gradients_frees, saved_but_freed,
    nodes_walked,
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_same_as_torch(body: Body) -> None:
    assert outcome(body, ours) == outcome(body, torch)


def test_a_node_has_a_class_of_its_own() -> None:
    x = leaf(ours)
    assert type(x.exp().grad_fn) is type(x.exp().grad_fn)
    assert type(x.exp().grad_fn) is not type(x.log().grad_fn)
    with pytest.raises(Exception):  # noqa: B017  (a graph is not pickled, here or on torch)
        pickle.dumps(x.exp().grad_fn)


def hook_of_a_view(lib: Any, program: str) -> Any:
    """What the hook of `v` is told, and the gradient of `x`."""
    log: list[Any] = []
    x = lib.ones(4, requires_grad=True)
    y = x * 2
    v = y.view(2, 2)
    v.register_hook(lambda g: log.append(g.tolist()))
    w = v[0]
    before = v + 3 if "used before" in program else 0
    (v if "itself" in program else w).mul_(2)
    total = y.sum() + w.sum() + (5 * before).sum() if "used before" in program else y.sum()
    total.backward()
    return log, x.grad.tolist()


@pytest.mark.parametrize(
    "program", ["a part", "itself", "a part, used before", "itself, used before"]
)
def test_the_hook_of_a_view_is_told_what_torch_tells_it(program: str) -> None:
    assert hook_of_a_view(ours, program) == hook_of_a_view(torch, program)


def gradients_with_hooks(
    T: Any, hooked: tuple[int, ...], asked: tuple[int, ...], create: bool
) -> Any:
    """The gradients of some tensors of a chain, of which some have hooks that double."""
    x = T.tensor([1.0, 2.0], requires_grad=True)
    chain = [x, x * 3, (x * 3).unbind()[1]]
    chain.append(chain[1] * chain[2])
    for i in hooked:
        chain[i].register_hook(lambda g: g * 2)
    inputs = [chain[i] for i in asked]
    found = T.autograd.grad((chain[3] ** 2).sum(), inputs, allow_unused=True, create_graph=create)
    return [None if g is None else g.tolist() for g in found]


@pytest.mark.parametrize("create", [False, True])
def test_hooks_and_what_autograd_grad_returns(create: bool) -> None:
    """Of a tensor through which the walk goes on, the gradient as it was before its hooks."""
    some = [c for n in range(1, 5) for c in itertools.combinations(range(4), n)]
    for hooked, asked in itertools.product(some, repeat=2):
        found, expected = (gradients_with_hooks(T, hooked, asked, create) for T in (ours, torch))
        assert found == expected, (hooked, asked)
