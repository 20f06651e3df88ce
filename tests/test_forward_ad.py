"""Forward-mode differentiation gives torch's tangents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours
import tinygrad_edu.autograd.forward_ad as ours_forward

torch = pytest.importorskip("torch")
import torch.autograd.forward_ad as torch_forward  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")

BOTH = [(ours, ours_forward), (torch, torch_forward)]


def arrays(*shapes: tuple[int, ...]) -> list[Any]:
    draw = np.random.default_rng(0)
    return [draw.normal(size=shape) for shape in shapes]


FUNCTIONS = {
    "sin": lambda lib, x, y: lib.sin(x),
    "both": lambda lib, x, y: x * y + x.exp(),
    "matmul": lambda lib, x, y: x @ y.t(),
    "softmax": lambda lib, x, y: lib.softmax(x, -1) * y,
    "reduced": lambda lib, x, y: (x.sum(0), (x * y).logsumexp(1), y.mean()),
    "views": lambda lib, x, y: x[1:, ::2].t().reshape(-1),
    "indices": lambda lib, x, y: x.gather(1, y.argsort(1)),
    "linear only": lambda lib, x, y: lib.cat([x, 2 * y]),
    "norm": lambda lib, x, y: lib.nn.functional.layer_norm(x, (3,)) - y.norm(),
    "in place": lambda lib, x, y: x.mul_(2).add_(y),
    "constant": lambda lib, x, y: lib.ones(2),
    "the inputs": lambda lib, x, y: (x, y),
    "a zero": lambda lib, x, y: x * 0,
    "solve": lambda lib, x, y: lib.linalg.solve(x[:3, :3] @ x[:3, :3].t(), y[:3]),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("recorded", [True, False])
def test_tangents(name: str, recorded: bool) -> None:
    found = []
    for lib, forward in BOTH:
        x, y, v, w = map(lib.tensor, arrays((4, 3), (4, 3), (4, 3), (4, 3)))
        with lib.set_grad_enabled(recorded), forward.dual_level():
            result = FUNCTIONS[name](lib, forward.make_dual(x, v), forward.make_dual(y, w))
            outputs = result if isinstance(result, tuple) else (result,)
            pairs = [forward.unpack_dual(t) for t in outputs]
        found.append([
            (p.primal.numpy(), None if p.tangent is None else p.tangent.numpy()) for p in pairs
        ])  # fmt: skip
        assert forward.unpack_dual(x).tangent is None
    for (mine, dmine), (theirs, dtheirs) in zip(*found, strict=True):
        assert mine == pytest.approx(theirs)
        assert (dmine is None) == (dtheirs is None)
        assert dmine is None or dmine == pytest.approx(dtheirs)


def test_a_network_and_its_gradient_afterwards() -> None:
    """Tangents of parameters; reverse over forward."""
    found = []
    for lib, forward in BOTH:
        net = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.Tanh(), lib.nn.Linear(4, 2)).double()
        given = iter(arrays(*[p.shape for p in net.parameters()] * 2, (5, 3)))
        with lib.no_grad():
            for p in net.parameters():
                p.copy_(lib.tensor(next(given)))
        params = dict(net.named_parameters())
        tangents = {n: lib.tensor(next(given)) for n in params}
        with forward.dual_level():
            duals = {n: forward.make_dual(p, tangents[n]) for n, p in params.items()}
            y = lib.func.functional_call(net, duals, (lib.tensor(next(given)),))
            tangent = forward.unpack_dual(y).tangent
            gradients = lib.autograd.grad(
                (tangent**2).sum(), list(params.values()), allow_unused=True
            )
        found.append([tangent.detach().numpy(), *[g.numpy() for g in gradients if g is not None]])
    assert len(found[0]) == len(found[1])
    for mine, theirs in zip(*found, strict=True):
        assert mine == pytest.approx(theirs)


def test_a_function_with_only_a_jvp() -> None:
    found = [own_functions(lib, forward) for lib, forward in BOTH]
    for mine, theirs in zip(*found, strict=True):
        assert mine == pytest.approx(theirs)


def own_functions(lib: Any, forward: Any) -> list[Any]:
    class Exp(lib.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.result = lib.exp(x)
            return ctx.result

        @staticmethod
        def jvp(ctx: Any, v: Any) -> Any:
            out = v * ctx.result
            del ctx.result
            return out

    class Product(lib.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any, n: int, y: Any) -> Any:
            ctx.save_for_forward(x, y)
            ctx.n = n
            return x * y * n

        @staticmethod
        def jvp(ctx: Any, v: Any, n: Any, w: Any) -> Any:
            x, y = ctx.saved_tensors
            return ctx.n * (v * y + x * w)

    x, v, y, w = map(lib.tensor, arrays((3,), (3,), (3,), (3,)))
    with forward.dual_level():
        x, y = forward.make_dual(x, v), forward.make_dual(y, w)
        outputs = Exp.apply(x), Product.apply(x, 3, y)
        tangents = [forward.unpack_dual(t).tangent.numpy() for t in outputs]
    start = lib.tensor(arrays((3,))[0]).requires_grad_()
    assert lib.autograd.gradcheck(
        Exp.apply, (start,), check_forward_ad=True, check_backward_ad=False,
        check_undefined_grad=False, check_batched_grad=False,
    )  # fmt: skip
    return tangents


def test_a_wrong_jvp_is_found() -> None:
    class Wrong(ours.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_forward(x)
            return x * x

        @staticmethod
        def jvp(ctx: Any, v: Any) -> Any:
            return 3 * v * ctx.saved_tensors[0]

    x = ours.ones(2, dtype=ours.float64, requires_grad=True)
    with pytest.raises(RuntimeError):
        ours.autograd.gradcheck(Wrong.apply, (x,), check_forward_ad=True, check_backward_ad=False)


@pytest.mark.parametrize("lib, forward", BOTH)
def test_errors(lib: Any, forward: Any) -> None:
    x = lib.ones(2)
    with pytest.raises(RuntimeError, match="no level exists"):
        forward.make_dual(x, x)
    with pytest.raises(RuntimeError):
        forward.exit_dual_level()
    with forward.dual_level():
        with pytest.raises(RuntimeError, match="Nested forward mode"):
            forward.enter_dual_level()
        with pytest.raises(ValueError, match="Expected primal to be floating point"):
            forward.make_dual(lib.ones(2, dtype=lib.int64), x)
        with pytest.raises(RuntimeError, match="different size"):
            forward.make_dual(x, lib.ones(3))
    assert lib.is_grad_enabled()

    @forward.dual_level()  # type: ignore[untyped-decorator]
    def slope() -> float:
        return float(forward.unpack_dual(forward.make_dual(x, 3 * x) ** 2).tangent[0])

    assert slope() == slope() == 6
    dual = None
    with lib.no_grad():
        with forward.dual_level():
            dual = forward.make_dual(x, x)
        assert not lib.is_grad_enabled()
    assert forward.unpack_dual(dual).tangent is None
