"""`torch.func` against torch's: values, structures, nesting, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from beside_torch import same_error
from test_functional import close, one, scalar, scalar_of_two, t, two

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def test_grad() -> None:
    def run(T: Any) -> Any:
        f = T.func
        x, y = t(T, 3), t(T, 3, seed=1)
        return [
            f.grad(scalar)(x),
            f.grad(scalar_of_two, argnums=1)(x, y),
            f.grad(scalar_of_two, argnums=(0, -1))(x, y),
            f.grad(lambda x: (scalar(x), {"more": x * 1}), has_aux=True)(x),
            f.grad_and_value(scalar)(x),
            f.grad_and_value(lambda x: (scalar(x), x * 1), has_aux=True)(x),
            f.grad(lambda d, k=2.0: (d["a"] * d["b"][0]).sum() * k)({"a": x, "b": [y]}, k=3.0),
            f.grad(lambda x: T.tensor(1.0))(x),
        ]

    close(run)


def test_nesting() -> None:
    def run(T: Any) -> Any:
        f = T.func
        x = t(T, 3)
        return [
            f.grad(f.grad(f.grad(lambda x: x.sin())))(x[0]),
            f.grad(lambda x: f.grad(scalar)(x).pow(2).sum())(x),
            f.grad(lambda a: f.grad(lambda b: (a * b).sin())(a * 2))(x[0]),  # two levels at once
            f.jacrev(f.jacrev(scalar))(x),
            f.jacfwd(f.jacrev(scalar))(x),
            f.hessian(scalar)(x),
            f.hessian(scalar_of_two, argnums=(0, 1))(x, x * 2),
            f.jvp(f.grad(scalar), (x,), (t(T, 3, seed=2),)),  # a Hessian-vector product
            f.vjp(f.grad(scalar), x)[1](t(T, 3, seed=2)),
            f.grad(lambda x: f.vjp(one, x)[1](x)[0].sum())(x),
        ]

    close(run)


def test_inside_the_ordinary_graph() -> None:
    """Results stay differentiable where an input, or a closed-over tensor, requires grad."""

    def run(T: Any) -> Any:
        x, w = t(T, 3).requires_grad_(), t(T, 3, seed=1).requires_grad_()
        out = []
        for y in (
            T.func.grad(scalar)(x),
            T.func.grad(lambda x: (x * w).exp().sum())(x.detach()),
            T.func.jacrev(lambda x: x * w)(x),
            T.func.vjp(one, x)[1](w)[0],
            T.func.jvp(one, (x,), (w,))[1],
        ):
            out += [y, *T.autograd.grad(y.sum(), (x, w), allow_unused=True, materialize_grads=True)]
        with T.no_grad():
            out.append(T.func.grad(scalar)(x))
        return out

    close(run)


def test_vjp_and_jvp() -> None:
    def run(T: Any) -> Any:
        f = T.func
        x, y, u, v = (t(T, 3, seed=s) for s in range(4))
        out, pull = f.vjp(two, x, y)
        third = f.vjp(lambda x: ({"y": one(x)}, x * 1), x, has_aux=True)
        return [
            out, pull((u, v)), pull((v, u)),
            third[0], third[1]({"y": u}), third[2],
            f.jvp(two, (x, y), (u, v)),
            f.jvp(lambda x: (one(x), x * 1), (x,), (u,), has_aux=True),
        ]  # fmt: skip

    close(run)


def test_jacobians() -> None:
    def run(T: Any) -> Any:
        f = T.func
        x, y = t(T, 2, 3), t(T, 2, 3, seed=1)
        return [
            make(function, **options)(*args)
            for make in (f.jacrev, f.jacfwd)
            for function, args, options in (
                (one, (x,), {}),
                (two, (x, y), {}),
                (two, (x, y), {"argnums": (0, 1)}),
                (lambda x: {"a": x.sum(), "b": x * 2}, (x,), {}),
                (lambda x: (x.exp(), x * 1), (x,), {"has_aux": True}),
                (lambda d: d["p"] * d["q"], ({"p": x, "q": y},), {}),
            )
        ]

    close(run)


@pytest.mark.parametrize(
    ("run", "kind", "facts"),
    [
        (lambda T, f: f.grad(one)(T.ones(2)), RuntimeError, ["scalar Tensor", "1 dims"]),
        (lambda T, f: f.grad(lambda x: 2)(T.ones(2)), RuntimeError, ["return a Tensor", "int"]),
        (lambda T, f: f.grad(lambda x: (x.sum(), 1))(T.ones(2)), RuntimeError, ["tuple"]),
        (lambda T, f: f.grad(one, argnums=3)(T.ones(2)), RuntimeError, ["argnum=3", "1 pos"]),
        (lambda T, f: f.grad(one)(2.0), ValueError, ["must be Tensor", "float"]),
        (lambda T, f: f.jvp(one, T.ones(2), (T.ones(2),)), RuntimeError, ["primals to be a tuple"]),
        (lambda T, f: f.jvp(one, (T.ones(2),), (T.ones(3),)), RuntimeError, ["[2]", "[3]"]),
        (lambda T, f: f.jvp(one, (T.ones(2),), (T.ones(2),) * 2), RuntimeError, ["structure"]),
        (lambda T, f: f.jacrev(lambda x: 2)(T.ones(2)), RuntimeError, ["only tensors", "int"]),
        (lambda T, f: f.vjp(one, T.ones(2))[1](T.ones(3)), RuntimeError, ["shape", "[3]"]),
        (lambda T, f: f.stack_module_state([]), RuntimeError, ["at least one model"]),
    ],
)
def test_refusals(run: Any, kind: type[Exception], facts: list[str]) -> None:
    same_error(lambda T: run(T, T.func), kind, *facts)


# ---- vmap


def test_vmap() -> None:
    def run(T: Any) -> Any:
        v = T.vmap
        x, y, w = t(T, 4, 3), t(T, 4, 3, seed=1), t(T, 3, 4, seed=2)
        return [
            v(T.dot)(x, y),
            v(T.dot, in_dims=(0, 1))(x, w),
            v(T.dot, in_dims=(0, None))(x, y[0]),
            v(lambda x: x * 2, in_dims=-1, out_dims=1)(x),
            v(lambda x, y: (x + y, x.sum()), out_dims=(1, 0))(x, y),
            v(lambda d, k: {"s": d["a"] * k + d["b"]}, in_dims=({"a": 0, "b": 1}, None))(
                {"a": x, "b": w}, 3
            ),
            v(v(T.mul))(x, y),  # nested
            v(v(T.mul, in_dims=(None, 0)), in_dims=(0, None))(x, y),  # all pairs
            v(lambda x, s=1.0: x * s)(x, s=3.0),
            v(T.func.grad(scalar))(x),  # per-sample gradients
            T.func.grad(lambda x: v(scalar)(x).sum())(x),
            T.func.jacrev(v(T.func.grad(scalar)))(x[:2]),
            v(T.func.hessian(scalar))(x),
        ]

    close(run)


@pytest.mark.parametrize(
    ("run", "facts"),
    [
        (lambda T, v: v(lambda x: x)(2.0), ["in_dim=0", "non-Tensor"]),
        (lambda T, v: v(lambda: 2)(), ["no inputs"]),
        (lambda T, v: v(T.add)(T.ones(2), T.ones(3)), ["same size", "[2, 3]"]),
        (lambda T, v: v(one, in_dims=(0, 0))(T.ones(2)), ["in_dims", "structure"]),
        (lambda T, v: v(one, in_dims=None)(T.ones(2)), ["expected `in_dims`"]),
        (lambda T, v: v(one, in_dims=3)(T.ones(2)), ["in_dim=3", "-1 <= in_dim < 1"]),
        (lambda T, v: v(lambda x: 2)(T.ones(2)), ["only return Tensors", "int"]),
        (lambda T, v: v(one, out_dims=(0, 0))(T.ones(2)), ["out_dims", "structure"]),
        (lambda T, v: v(one)(T.tensor(2.0)), ["dimensionality 0"]),
        (lambda T, v: v(one, in_dims="a")(T.ones(2)), ["expected `in_dims`"]),
    ],
)
def test_vmap_refusals(run: Any, facts: list[str]) -> None:
    same_error(lambda T: run(T, T.vmap), ValueError, *facts)


def test_vmap_randomness() -> None:
    def run(T: Any) -> None:
        with pytest.raises(RuntimeError, match="randomness error mode"):
            T.vmap(lambda x: T.rand(2))(T.ones(3))
        once = T.vmap(lambda x: T.rand(2) + x, randomness="same")(T.ones(3))
        assert (once == once[0]).all()
        each = T.vmap(lambda x: T.rand(2) + x, randomness="different")(T.ones(3))
        assert (each[0] != each[1]).any()

    run(ours)
    run(torch)
    with pytest.raises(ValueError, match="empty"):
        ours.vmap(one)(ours.ones(0, 2))


# ---- modules


def test_functional_call() -> None:
    def run(T: Any) -> Any:
        net = T.nn.Sequential(T.nn.Linear(3, 2, dtype=T.float64), T.nn.Tanh())
        params = {"0.weight": t(T, 2, 3).requires_grad_(), "0.bias": t(T, 2, seed=1)}
        before = [p for p in net.parameters()]
        x = t(T, 4, 3, seed=2)
        y = T.func.functional_call(net, params, (x,))
        y.sum().backward()

        def loss(params: Any, x: Any) -> Any:
            return T.func.functional_call(net, (params, {}), x).pow(2).sum()

        plain = {k: v.detach() for k, v in params.items()}
        same = all(a is b for a, b in zip(before, net.parameters(), strict=True))
        each = T.vmap(T.func.grad(loss), in_dims=(None, 0))(plain, x)
        return y, params["0.weight"].grad, same, T.func.grad(loss)(plain, x), each

    close(run)


def test_functional_call_errors_and_tying() -> None:
    def strict(T: Any, names: list[str]) -> Any:
        given = {name: T.ones(2, 2) for name in names}
        return T.func.functional_call(T.nn.Linear(2, 2), given, T.ones(2), strict=True)

    same_error(lambda T: strict(T, ["nope"]), RuntimeError, "Unexpected", "'nope'", "'weight'")
    same_error(lambda T: strict(T, ["weight"]), RuntimeError, "Missing key(s): 'bias'")

    def tied(T: Any) -> Any:
        net = T.nn.Sequential(T.nn.Linear(2, 2, bias=False), T.nn.Linear(2, 2, bias=False))
        net[1].weight = net[0].weight
        given = {"0.weight": T.full((2, 2), 2.0)}
        return [
            T.func.functional_call(net, given, T.ones(2), tie_weights=tie).sum() > 15
            for tie in (True,)
        ]

    close(tied)


def test_ensemble() -> None:
    def run(T: Any) -> Any:
        models = []
        for i in range(3):
            net = T.nn.Sequential(T.nn.Linear(3, 2), T.nn.BatchNorm1d(2)).double().eval()
            with T.no_grad():
                for j, p in enumerate(net.parameters()):
                    p.copy_(t(T, *p.shape, seed=10 * i + j))
            models.append(net)
        params, buffers = T.func.stack_module_state(models)
        x = t(T, 5, 3, seed=99)

        def call(p: Any, b: Any) -> Any:
            return T.func.functional_call(models[0], (p, b), (x,))

        return params, buffers, T.vmap(call)(params, buffers)

    close(run)
