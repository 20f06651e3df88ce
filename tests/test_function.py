"""`autograd.Function` against torch's: values, gradients of both orders, and every refusal."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from beside_torch import same, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


def define(T: Any) -> Any:
    """The same functions on either library."""
    Function = T.autograd.Function

    class Cube(Function):  # type: ignore[misc,valid-type]
        @staticmethod
        def forward(ctx: Any, x: Any, scale: float = 1.0) -> Any:
            ctx.save_for_backward(x)
            ctx.scale = scale
            return scale * x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * ctx.scale * x**2 * g, None

    class Exp(Function):  # type: ignore[misc,valid-type]
        """Keeps its output."""

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (y,) = ctx.saved_tensors
            return g * y

    class Both(Function):  # type: ignore[misc,valid-type]
        """Two inputs, two outputs, keeps one of each and something between."""

        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            between = T.full_like(b, 2.0)
            y, z = a * b, (a + b).exp()
            ctx.save_for_backward(a, b, z, between, None)
            return y, z

        @staticmethod
        def backward(ctx: Any, gy: Any, gz: Any) -> Any:
            a, b, z, between, nothing = ctx.saved_tensors
            assert nothing is None
            Both.needs = ctx.needs_input_grad  # type: ignore[attr-defined]
            Both.got = [None if g is None else g.tolist() for g in (gy, gz)]  # type: ignore[attr-defined]
            return gy * b + gz * z, gy * a * between / 2 + gz * z

    class Apart(Function):  # type: ignore[misc,valid-type]
        """forward without ctx."""

        @staticmethod
        def forward(x: Any, n: int) -> Any:
            return x * n, x > 0

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            x, ctx.n = inputs
            ctx.mark_non_differentiable(output[1])

        @staticmethod
        def backward(ctx: Any, g: Any, _: Any) -> Any:
            return g * ctx.n, None

    Cube.Exp, Cube.Both, Cube.Apart = Exp, Both, Apart
    return Cube


def leaf(T: Any, *values: float) -> Any:
    return T.tensor(list(values), dtype=T.float64, requires_grad=True)


def test_first_and_second_derivative() -> None:
    def run(T: Any) -> Any:
        F = define(T)
        out = []
        for f in (lambda x: F.apply(x), lambda x: F.apply(x, 0.5), F.Exp.apply):
            x = leaf(T, 0.5, -1.5, 2.0)
            y = f(x)
            g0 = leaf(T, 1.0, -0.3, 2.0)
            (g,) = T.autograd.grad(y, x, g0, create_graph=True)
            out += [y, g, *T.autograd.grad(g, (x, g0), T.tensor([0.1, 2.0, -1.0]).double())]
            out += [y.requires_grad, y.is_leaf]
        return out

    same(run)


def test_several_outputs() -> None:
    def run(T: Any) -> Any:
        Both = define(T).Both
        a, b = leaf(T, 0.5, -1.0), leaf(T, 2.0, 0.3)
        y, z = Both.apply(a, b)
        g = T.autograd.grad((y * z).sum(), (a, b), create_graph=True)
        second = T.autograd.grad((g[0] * g[1]).sum(), (a, b))
        needs = Both.needs
        y, z = Both.apply(a.detach(), b)
        z.sum().backward()
        return [*g, *second, needs, Both.needs, Both.got, b.grad, a.grad]

    same(run)


def test_gradcheck() -> None:
    F = define(ours)
    x, y = leaf(ours, 0.5, -0.7), leaf(ours, 1.5, 0.2)
    for f, args in ((F.apply, (x,)), (F.Exp.apply, (x,)), (F.Both.apply, (x, y))):
        assert ours.autograd.gradcheck(f, args)
        assert ours.autograd.gradgradcheck(f, args)


def test_setup_context_and_non_differentiable() -> None:
    def run(T: Any) -> Any:
        x = leaf(T, 1.0, -2.0)
        y, mask = define(T).Apart.apply(x, 3)
        y.sum().backward()
        return y, mask, mask.requires_grad, x.grad

    same(run)


def test_without_gradients() -> None:
    def run(T: Any) -> Any:
        Cube = define(T)
        y = Cube.apply(T.ones(2))
        with T.no_grad():
            z = Cube.apply(leaf(T, 2.0))
        return y, y.requires_grad, z, z.requires_grad

    same(run)


def test_materialize_grads() -> None:
    def run(T: Any) -> Any:
        seen = []

        class Pair(T.autograd.Function):  # type: ignore[misc,name-defined]
            @staticmethod
            def forward(ctx: Any, x: Any, materialize: bool) -> Any:
                ctx.set_materialize_grads(materialize)
                return x * 1, x * 2

            @staticmethod
            def backward(ctx: Any, g: Any, h: Any) -> Any:
                seen.append([g, h])
                return g, None

        for materialize in (True, False):
            Pair.apply(leaf(T, 1.0, 2.0), materialize)[0].sum().backward()
        return seen

    same(run)


def once(T: Any) -> Any:
    class Square(T.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @T.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return T.from_numpy(2 * x.numpy() * g.numpy())

    return Square.apply


def test_once_differentiable() -> None:
    def first(T: Any) -> Any:
        x = leaf(T, 1.0, 3.0)
        (g,) = T.autograd.grad(once(T)(x).sum(), x, create_graph=True)
        return g, g.requires_grad

    def twice(T: Any) -> None:
        x = leaf(T, 1.0, 3.0)
        (g,) = T.autograd.grad((once(T)(x) ** 2).sum(), x, create_graph=True)
        assert g.requires_grad
        g.sum().backward()

    same(first)
    same_error(twice, RuntimeError, "differentiate twice", "@once_differentiable")


def returning(T: Any, answer: Any) -> Any:
    class Wrong(T.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any, n: float) -> Any:
            return x * n

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return answer(g)

    x = leaf(T, 1.0, 2.0, 3.0)
    Wrong.apply(x, 2.0).sum().backward()
    return x.grad


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        (lambda g: g, ("WrongBackward", "incorrect number of gradients", "expected 2, got 1")),
        (lambda g: (g, None, g), ("incorrect number", "expected 2, got 3")),
        (lambda g: (g, g), ("different than None at position 2",)),
        (lambda g: (g[:2], None), ("WrongBackward", "index 0", "got [2]", "[3]")),
        (lambda g: (1.0, None), ("expected Variable or None (got float)",)),
    ],
)
def test_wrong_gradients_are_refused(answer: Any, facts: tuple[str, ...]) -> None:
    same_error(lambda T: returning(T, answer), RuntimeError, *facts)


@pytest.mark.parametrize(
    "answer",
    [
        lambda g: (g, None, None),  # a None too many
        lambda g: (g.expand(2, 3), None),  # summed back
        lambda g: (g.float(), None),  # cast back
        lambda g: (None, None),
        lambda g: [g, None],
    ],
)
def test_gradients_that_torch_accepts(answer: Any) -> None:
    if answer(ours.ones(3)).__class__ is list:  # torch wants a tuple; a list does no harm
        assert returning(ours, answer).tolist() == [1, 1, 1]
    else:
        same(lambda T: returning(T, answer))


def test_saving_what_is_no_tensor() -> None:
    def run(T: Any) -> None:
        class Keeps(T.autograd.Function):  # type: ignore[misc,name-defined]
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.save_for_backward(x, 3)
                return x

        Keeps.apply(leaf(T, 1.0))

    same_error(run, TypeError, "save_for_backward", "argument 1", "int")


def test_second_backward_and_overwritten_input() -> None:
    def again(T: Any) -> None:
        y = define(T).apply(leaf(T, 1.0))
        y.backward()
        y.backward()

    def overwritten(T: Any) -> None:
        x = leaf(T, 1.0) * 1
        y = define(T).apply(x)
        x.mul_(2)
        y.backward()

    same_error(again, RuntimeError, "backward through the graph a second time")
    same_error(overwritten, RuntimeError, "modified by an inplace operation")


def test_missing_methods_and_instances() -> None:
    def no_backward(T: Any) -> None:
        class Half(T.autograd.Function):  # type: ignore[misc,name-defined]
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                return x / 2

        Half.apply(leaf(T, 1.0)).backward()

    def no_forward(T: Any) -> None:
        class Nothing(T.autograd.Function):  # type: ignore[misc,name-defined]
            pass

        Nothing.apply(leaf(T, 1.0))

    same_error(no_backward, NotImplementedError, "backward")
    same_error(no_forward, NotImplementedError, "forward")
    with pytest.raises(RuntimeError, match="apply"):
        define(ours)()


def dirty(T: Any, returned: bool) -> Any:
    class Double(T.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            x.mul_(2)
            return x if returned else x + 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    return Double.apply


def test_mark_dirty() -> None:
    def run(T: Any) -> Any:
        x = leaf(T, 1.0, 2.0)
        y = x * 3
        z = dirty(T, True)(y)
        (y * T.tensor([1.0, -2.0])).sum().backward()
        return z is y, z, x.grad

    def of_a_view(T: Any) -> Any:
        x = leaf(T, 1.0, 2.0)
        y = x * 3
        dirty(T, True)(y[:1])
        (y * T.tensor([1.0, -2.0])).sum().backward()
        return y, x.grad

    same(run)
    same(of_a_view)
    same_error(lambda T: dirty(T, False)(leaf(T, 1.0) * 1), RuntimeError, "marked as dirty")
    same_error(lambda T: dirty(T, True)(leaf(T, 1.0)), RuntimeError, "leaf Variable")


def identity(T: Any, how: Any) -> Any:
    class Reverse(T.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return how(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return -g

    return Reverse.apply


@pytest.mark.parametrize("how", [lambda x: x, lambda x: x.view_as(x)], ids=["itself", "a view"])
def test_input_returned(how: Any) -> None:
    """A gradient reversal layer: the output is the input, with another gradient."""

    def run(T: Any) -> Any:
        x = leaf(T, 1.0, 2.0)
        y = identity(T, how)(x)
        (y * 3).sum().backward()
        return x.grad, y is x, y.data_ptr() == x.data_ptr()

    def written(T: Any) -> None:
        y = identity(T, how)(leaf(T, 1.0) * 1)
        y.mul_(2)

    same(run)
    same_error(written, RuntimeError, "view")


def test_returning_a_parameter_that_is_no_input() -> None:
    def run(T: Any) -> Any:
        w, x = leaf(T, 5.0), leaf(T, 1.0)

        class Other(T.autograd.Function):  # type: ignore[misc,name-defined]
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                return w

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return g * 2

        Other.apply(x).backward()
        return x.grad, w.is_leaf, w.grad

    assert run(ours) == (ours.tensor([2.0]), True, None)


def test_graph_dies_by_reference_count() -> None:
    gc.disable()
    try:
        x = leaf(ours, 1.0)
        y = define(ours).Exp.apply(x)
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_name() -> None:
    y = define(ours).apply(leaf(ours, 1.0))
    assert y.grad_fn.name() == "CubeBackward"
    assert "grad_fn=<CubeBackward>" in repr(y)


def test_hooks_on_results() -> None:
    def run(T: Any) -> Any:
        x = leaf(T, 1.0, 2.0)
        y = define(T).apply(x)
        seen: list[Any] = []
        y.register_hook(lambda g: seen.append(g.clone()))
        y.register_hook(lambda g: g * 2)
        y.retain_grad()
        y.sum().backward()
        return seen, x.grad

    same(run)
