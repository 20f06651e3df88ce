"""Hooks of modules, forward and backward, against torch's."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import pytest
from beside_torch import ours, same, same_error
from test_module import make

torch = pytest.importorskip("torch")


def test_forward_hooks() -> None:
    def run(T: Any) -> Any:
        m, log = make(T).first, []
        m.register_forward_pre_hook(lambda mod, args: log.append(("pre", args)))
        m.register_forward_pre_hook(lambda mod, args: args[0] + 1, prepend=True)
        m.register_forward_pre_hook(
            lambda mod, args, kwargs: (args, {**kwargs, "twice": True}), with_kwargs=True
        )
        m.register_forward_hook(lambda mod, args, out: log.append(("out", args, out)))
        m.register_forward_hook(lambda mod, args, out: out * 10, prepend=True)
        m.register_forward_hook(
            lambda mod, args, kwargs, out: log.append(sorted(kwargs)), with_kwargs=True
        )
        removed = m.register_forward_hook(lambda mod, args, out: out * 1000)
        removed.remove()
        removed.remove()
        return [m(T.ones(2)), log]

    same(run)
    same_error(
        lambda T: _with_hook(T, lambda *a: (1, 2, 3)), RuntimeError, "forward pre-hook must return"
    )


def _with_hook(T: Any, hook: Any) -> Any:
    m = T.nn.Identity()
    m.register_forward_pre_hook(hook, with_kwargs=True)
    return m(T.ones(1))


def test_forward_hooks_that_are_always_called() -> None:
    def run(T: Any) -> Any:
        class Bad(T.nn.Module):  # type: ignore[misc,name-defined]
            def forward(self, x: Any) -> Any:
                raise ValueError("bad")

        m, log = Bad(), []
        m.register_forward_hook(lambda *a: log.append("no"))
        m.register_forward_hook(lambda mod, args, out: log.append(out), always_call=True)
        m.register_forward_hook(lambda *a: 1 / 0, always_call=True)
        with pytest.raises(ValueError, match="bad"):
            m(T.ones(1))
        return log

    same(run)


def test_backward_hooks() -> None:
    def run(T: Any) -> Any:
        m, log = make(T), []
        m.first.register_full_backward_hook(lambda mod, gi, go: log.append(("first", gi, go)))
        m.second.register_full_backward_hook(lambda mod, gi, go: log.append(("second", gi, go)))
        m.second.register_full_backward_hook(lambda mod, gi, go: (gi[0] * 10,))
        m.second.register_full_backward_hook(
            lambda mod, gi, go: log.append(("prepended", gi)), prepend=True
        )
        m.register_full_backward_pre_hook(lambda mod, go: (go[0] * 100,))
        m.register_full_backward_pre_hook(lambda mod, go: log.append(("pre", go)))
        x = T.tensor([1.0, 2.0], requires_grad=True)
        y = m(x)
        y.sum().backward(retain_graph=True)
        (y * y).sum().backward()
        return [log, x.grad, m.first.factor.grad, m.tied.grad]

    same(run)


def test_backward_hooks_of_a_module_with_several_inputs_and_outputs() -> None:
    def run(T: Any) -> Any:
        class Two(T.nn.Module):  # type: ignore[misc,name-defined]
            def forward(self, x: Any, y: Any, n: int, *, z: Any) -> Any:
                return x * n, y * z, "text"

        m, log = Two(), []
        m.register_full_backward_hook(lambda mod, gi, go: log.append((gi, go)))
        m.register_full_backward_pre_hook(lambda mod, go: log.append(go))
        x, y, z = (T.tensor([1.0, 2.0], requires_grad=i != 1) for i in range(3))
        a, b, _ = m(x, y, 3, z=z)
        (a * b).sum().backward()
        a, b, _ = m(x, y, 3, z=z)
        a.sum().backward()
        a, b, _ = m(x, x, 3, z=z)
        b.sum().backward()
        with T.no_grad():
            m(x, y, 3, z=z)
        return [log, x.grad, z.grad, y.grad]

    same(run)


def test_backward_hook_without_inputs_that_need_gradients() -> None:
    def run(T: Any) -> Any:
        m, log = make(T).first, []
        m.register_full_backward_hook(lambda mod, gi, go: log.append((gi, go)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            m(T.ones(2)).sum().backward()
        return [log, m.factor.grad, any("no inputs require" in str(w.message) for w in caught)]

    same(run)


def test_backward_hook_errors() -> None:
    def with_hooks(T: Any, hook: Any, pre: Any, grad: bool = True) -> None:
        m = make(T).first
        m.register_full_backward_hook(hook)
        m.register_full_backward_pre_hook(pre)
        m(T.ones(2, requires_grad=grad)).sum().backward()

    nothing: Any = lambda *args: None  # noqa: E731
    assert same(lambda T: with_hooks(T, lambda m, gi, go: (1, 2), nothing))[0] == "RuntimeError"
    assert same(lambda T: with_hooks(T, nothing, lambda m, go: (1, 2)))[0] == "RuntimeError"
    run = lambda T: with_hooks(T, lambda m, gi, go: go, nothing, grad=False)  # noqa: E731
    assert same(run)[0] == "RuntimeError"


def test_backward_hooks_under_create_graph() -> None:
    def run(T: Any) -> Any:
        m, log = make(T), []
        m.register_full_backward_hook(lambda mod, gi, go: (gi[0] * gi[0],))
        m.first.register_full_backward_hook(lambda mod, gi, go: log.append(gi[0].requires_grad))
        x = T.tensor([1.0, 2.0], requires_grad=True)
        (g,) = T.autograd.grad((m(x) ** 2).sum(), x, create_graph=True)
        (gg,) = T.autograd.grad(g.sum(), x)
        return [g, gg, log]

    same(run)


def test_backward_hooks_of_several_inputs_under_create_graph() -> None:
    def run(T: Any) -> Any:
        class Product(T.nn.Module):  # type: ignore[misc,name-defined]
            def forward(self, x: Any, y: Any) -> Any:
                return x * y, x + y

        m = Product()
        m.register_full_backward_hook(lambda mod, gi, go: (gi[0] * gi[1], gi[1]))
        x = T.tensor([1.0, 2.0], requires_grad=True)
        y = T.tensor([3.0, 5.0], requires_grad=True)
        a, b = m(x, y)
        g = T.autograd.grad((a * b).sum(), [x, y], create_graph=True)
        return [g, T.autograd.grad((g[0] * g[1]).sum(), [x, y])]

    same(run)


def test_writing_in_place_into_a_hooked_output_is_refused() -> None:
    def run(T: Any) -> None:
        m = make(T).first
        m.register_full_backward_hook(lambda *args: None)
        m(T.ones(2, requires_grad=True)).mul_(2)

    same_error(run, RuntimeError, "is a view and is being modified inplace")


def test_hooks_everywhere() -> None:
    def run(T: Any) -> Any:
        log: list[Any] = []
        M = T.nn.modules.module
        handles = [
            M.register_module_forward_pre_hook(lambda m, a: log.append(("pre", type(m).__name__))),
            M.register_module_forward_hook(lambda m, a, o: log.append(("out", type(m).__name__))),
            M.register_module_full_backward_pre_hook(lambda m, go: log.append(("bpre", go))),
            M.register_module_full_backward_hook(lambda m, gi, go: log.append(("b", gi))),
        ]
        m = make(T)
        m.first.register_forward_hook(lambda *a: log.append("own"))
        m(T.ones(2, requires_grad=True)).sum().backward()
        for handle in handles:
            handle.remove()
        count = len(log)
        handles[0].remove()
        m(T.ones(2, requires_grad=True))
        return [log, len(log) - count]

    same(run)


class Pair(NamedTuple):
    first: Any
    second: Any = None


class Named(Pair):
    """A subclass, whose objects have attributes of their own."""


class Plain(tuple):
    pass


def outputs(T: Any) -> dict[str, Any]:
    """What `forward` may return, as functions of the input."""

    def marked(x: Any) -> Any:
        made = Named(x * 2, x * 3)
        made.mark = 5  # type: ignore[attr-defined]
        return made

    return {
        "tensor": lambda x: x * 2,
        "tuple": lambda x: (x * 2, 3),
        "namedtuple": lambda x: Pair(x * 2, x.sum()),
        "with other values": lambda x: Pair("text", x * 2),
        "subclass": marked,
        "nested": lambda x: Pair((x * 2, x * 3), x),
        "no gradient": lambda x: Pair(x.detach()),
        "plain subclass": lambda x: Plain((x * 2, 3)),
        "packed": lambda x: T.nn.utils.rnn.pack_sequence([x * 1, x[1:] * 2]),
        "values and indices": lambda x: (x * 2).max(0),
        "list": lambda x: [x * 2],
        "dictionary": lambda x: {"x": x * 2},
    }


# There the hooks cannot put these together again, or lose what they have besides.
NOT_IN_TORCH = ("plain subclass", "values and indices", "subclass")


@pytest.mark.parametrize("kind", outputs(ours))
@pytest.mark.parametrize("register", [
    "register_forward_hook", "register_full_backward_hook", "register_full_backward_pre_hook",
])  # fmt: skip
def test_an_output_keeps_its_class(kind: str, register: str) -> None:
    def run(T: Any) -> Any:
        module, x, calls = T.nn.Module(), T.tensor([1.0, 2.0], requires_grad=True), []
        module.forward = outputs(T)[kind]
        plain = module(x)
        getattr(module, register)(lambda *args: calls.append(len(args)))
        y = module(x)
        assert type(y) is type(plain)
        assert vars(y) == vars(plain) if kind == "subclass" else True
        values = y.values() if isinstance(y, dict) else y if isinstance(y, (tuple, list)) else [y]
        total = [v.sum() for v in values if isinstance(v, T.Tensor) and v.requires_grad]
        if total:
            sum(total[1:], total[0]).backward()
        return len(values), x.grad, calls

    if kind in NOT_IN_TORCH:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert run(ours)[2]
    else:
        same(run)


def test_the_node_of_backward_hooks_has_the_name_of_torch() -> None:
    names = []
    for lib in (ours, torch):
        model = lib.nn.Linear(2, 2)
        model.register_full_backward_hook(lambda *args: None)
        names.append(model(lib.ones(1, 2)).grad_fn.name())
    assert names[0] == names[1]
