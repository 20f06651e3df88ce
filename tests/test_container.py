"""Containers and the simple layers against torch's: the list and dictionary API, errors, repr."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from beside_torch import same, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


def layers(T: Any, count: int) -> list[Any]:
    """Modules that can be told apart by their printed form."""
    return [T.nn.Flatten(i) for i in range(count)]


def state(m: Any) -> Any:
    return [repr(m), list(m._modules), len(m)]


# ---- Sequential and ModuleList


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList"])
def test_list_methods(kind: str) -> None:
    def run(T: Any) -> Any:
        def new(count: int) -> Any:
            made = layers(T, count)
            return T.nn.Sequential(*made) if kind == "Sequential" else T.nn.ModuleList(made)

        m = new(4)
        log = [state(m), repr(m[0]), repr(m[-1]), repr(m[1:3]), repr(m[::-2]), repr(list(m))]
        m[1] = T.nn.Identity()
        m[-1] = T.nn.Identity()
        log.append(state(m))
        del m[0]
        log.append(state(m))
        del m[-2:]
        log.append(state(m))
        m.append(T.nn.Identity()).append(T.nn.Flatten(7))
        m.insert(1, T.nn.Flatten(8))
        m.insert(len(m), T.nn.Flatten(9))
        log.append(state(m))
        log.append(repr(m.pop(1)))
        log.append(repr(m.pop(-1)))
        m.extend(layers(T, 2))
        m += new(2)
        log.append(state(m))
        log.append(state(m + new(1)))
        log.append(type(m + new(1)).__name__)
        log.append(T.nn.Flatten in [type(x) for x in m])
        log.append([repr(new(0)), repr(new(1)), bool(new(0))])
        return log

    same(run)


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList"])
def test_list_errors(kind: str) -> None:
    def new(T: Any) -> Any:
        made = layers(T, 2)
        return T.nn.Sequential(*made) if kind == "Sequential" else T.nn.ModuleList(made)

    def set_far(T: Any) -> None:
        new(T)[5] = T.nn.Identity()

    def delete_far(T: Any) -> None:
        del new(T)[-3]

    cases: list[tuple[Callable[[Any], Any], type[Exception]]] = [
        (lambda T: new(T)[2], IndexError),
        (lambda T: new(T)[-3], IndexError),
        (lambda T: new(T)["0"], TypeError),
        (set_far, IndexError),
        (delete_far, IndexError),
        (lambda T: new(T).append(3), TypeError),
        (lambda T: new(T).extend(3), TypeError),
    ]
    for run, expected in cases:
        same_error(run, expected)


def test_sequential() -> None:
    def run(T: Any) -> Any:
        named = T.nn.Sequential(OrderedDict(a=T.nn.Flatten(), b=T.nn.Identity()))
        twice = named * 2
        twice *= 2
        return [
            state(named), repr(named.b), repr(named[0:1]), state(2 * named), state(twice),
            twice[0] is twice[2], named(T.ones(2, 2, 2)), T.nn.Sequential()(T.ones(1)),
        ]  # fmt: skip

    same(run)
    same_error(lambda T: T.nn.Sequential() + [1], ValueError, "list")
    same_error(lambda T: T.nn.Sequential() * 1.5, TypeError)
    same_error(lambda T: T.nn.Sequential() * 0, ValueError, "0")
    same_error(lambda T: T.nn.Sequential().insert(3, T.nn.Identity()), IndexError, "3")
    same_error(lambda T: T.nn.Sequential().insert(0, 3), AssertionError)


def test_module_list_prints_equal_neighbours_once() -> None:
    def run(T: Any) -> Any:
        nn = T.nn
        block = nn.Sequential(nn.Flatten(), nn.Identity())
        m = nn.ModuleList([block, copy.deepcopy(block), nn.Identity(), nn.Flatten(), nn.Flatten()])
        return [repr(m), repr(nn.Sequential(m, nn.ModuleList([m, m])))]

    same(run)
    same_error(lambda T: T.nn.ModuleList(3), TypeError)
    same_error(lambda T: T.nn.ModuleList([T.nn.Identity()])(1), NotImplementedError, "forward")


# ---- ModuleDict


def test_module_dict() -> None:
    def run(T: Any) -> Any:
        nn = T.nn
        m = nn.ModuleDict({"b": nn.Identity(), "a": nn.Flatten()})
        log = [state(m), list(m), list(m.keys()), repr(list(m.items())), "a" in m, "z" in m]
        m["c"] = nn.Flatten(3)
        m["b"] = nn.Flatten(4)
        m.update([["d", nn.Identity()]])
        m.update(nn.ModuleDict({"e": nn.Identity()}))
        log += [state(m), repr(m.pop("a")), repr(m["b"]), repr(m.b), repr(list(m.values()))]
        del m["b"]
        log.append(state(m))
        m.clear()
        return [*log, state(m)]

    same(run)
    same_error(lambda T: T.nn.ModuleDict({"a": 3}), TypeError)
    same_error(lambda T: T.nn.ModuleDict()["a"], KeyError)
    same_error(lambda T: T.nn.ModuleDict().pop("a"), KeyError)
    same_error(lambda T: T.nn.ModuleDict({"keys": T.nn.Identity()}), KeyError, "keys")
    same_error(lambda T: T.nn.ModuleDict(3), TypeError, "int")
    same_error(lambda T: T.nn.ModuleDict([3]), TypeError, "int")
    same_error(lambda T: T.nn.ModuleDict([("a",)]), ValueError, "#0", "2 is required")


# ---- ParameterList and ParameterDict


def test_parameter_list() -> None:
    def run(T: Any) -> Any:
        m = T.nn.ParameterList([T.ones(2, 3), T.nn.Parameter(T.zeros(1)), "text"])
        log = [repr(m), list(m.state_dict()), len(m), m[0], m[-1], repr(m[1:]), m[1].is_leaf]
        m.append(T.ones(1, dtype=T.float64)).append(None)
        m.extend([T.ones(4)])
        m += [T.ones(5)]
        m[0] = T.zeros(2)
        m[-1] = T.zeros(6)
        log += [repr(m), [n for n, _ in m.named_parameters()], len(list(m)), repr(m[::2])]
        return [*log, repr(T.nn.ParameterList())]

    same(run)
    same_error(lambda T: T.nn.ParameterList(T.ones(2)), TypeError, "Tensor")
    same_error(lambda T: T.nn.ParameterList([T.ones(2)])[1], IndexError)
    same_error(lambda T: T.nn.ParameterList()(1), RuntimeError, "should not be called")


def test_parameter_dict() -> None:
    def run(T: Any) -> Any:
        ordered = OrderedDict([("z", T.ones(1)), ("y", T.ones(2))])
        m = T.nn.ParameterDict({"b": T.ones(2, 3), "a": T.nn.Parameter(T.zeros(1)), "c": 3})
        log = [repr(m), list(m), list(m.state_dict()), len(m), "a" in m, list(reversed(m))]
        m.update(ordered)
        m["d"] = T.ones(4)
        m.setdefault("e", T.ones(5))
        log += [repr(m), m.get("no"), m.get("c", 4), m.setdefault("c", 9), list(m.keys())]
        log += [m.pop("c"), m.popitem()[0], [k for k, _ in m.items()], len(list(m.values()))]
        del m["z"]
        other = T.nn.ParameterDict({"d": T.zeros(1), "q": T.zeros(1)})
        log += [list(m | other), (m | other)["d"], list(m.copy()), m.copy()["d"] is m["d"]]
        m |= other
        log += [list(m), m["d"], repr(m.fromkeys(["x", "y"], 3))]
        m.clear()
        return [*log, repr(m), list(m.state_dict())]

    same(run)
    for key in ("no", 3):
        for T in (ours, torch):
            with pytest.raises((KeyError, TypeError, AttributeError)):
                T.nn.ParameterDict({"a": T.ones(1)})[key]
    same_error(lambda T: T.nn.ParameterDict(3), TypeError, "int")
    same_error(lambda T: T.nn.ParameterDict([("a",)]), ValueError, "2 is required")
    same_error(lambda T: T.nn.ParameterDict()(1), RuntimeError, "should not be called")


# ---- Linear, Bilinear, Identity, Flatten


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(7, 5), (64, 33), (1, 1)])
def test_linear(sizes: tuple[int, int], bias: bool) -> None:
    def run(T: Any) -> Any:
        m = T.nn.Linear(*sizes, bias=bias)
        return [repr(m), m.state_dict(), T.nn.Linear(*sizes, dtype=T.float64).weight]

    same(run)  # bit for bit
    ours.manual_seed(0)
    torch.manual_seed(0)
    a, b = ours.nn.Linear(*sizes, bias=bias), torch.nn.Linear(*sizes, bias=bias)
    x = torch.randn(2, 3, sizes[0])
    found, expected = a(ours.tensor(x.numpy())), b(x)
    torch.testing.assert_close(torch.tensor(found.detach().numpy()), expected)
    (found * found).sum().backward()
    (expected * expected).sum().backward()
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(torch.tensor(p.grad.numpy()), q.grad)


def test_bilinear() -> None:
    def run(T: Any) -> Any:
        m = T.nn.Bilinear(3, 4, 5)
        return [repr(m), m.state_dict()]

    same(run)
    ours.manual_seed(0)
    torch.manual_seed(0)
    a = ours.nn.Bilinear(3, 4, 5, dtype=ours.float64)
    b = torch.nn.Bilinear(3, 4, 5, dtype=torch.float64)
    x, y, g = (torch.randn(2, 6, n, dtype=torch.float64) for n in (3, 4, 5))
    u, v = (ours.tensor(t.numpy(), requires_grad=True) for t in (x, y))
    x.requires_grad_()
    y.requires_grad_()
    found, expected = a(u, v), b(x, y)
    found.backward(ours.tensor(g.numpy()))
    expected.backward(g)
    torch.testing.assert_close(torch.tensor(found.detach().numpy()), expected)
    pairs = [(u, x), (v, y), *zip(a.parameters(), b.parameters(), strict=True)]
    for p, q in pairs:
        torch.testing.assert_close(torch.tensor(p.grad.numpy()), q.grad)
    same_error(lambda T: T.nn.Bilinear(0, 4, 5), ValueError, "in1_features must be > 0")
    same_error(
        lambda T: T.nn.functional.bilinear(T.ones(2, 3), T.ones(2, 4), T.ones(5, 3)), IndexError
    )
    one, two, w = (2, 3), (2, 4), (5, 3, 4)
    for shapes in [((3, 3), two, w, (5,)), (one, (2, 5), w, (5,)), ((2, 2), two, w, (5,)),
                   (one, two, w, (4,))]:  # fmt: skip
        same_error(
            lambda T, s=shapes: T.nn.functional.bilinear(*[T.ones(*n) for n in s]), RuntimeError
        )


def test_flatten_and_identity() -> None:
    def run(T: Any) -> Any:
        nn, x = T.nn, T.ones(2, 3, 4)
        return [
            nn.Flatten()(x).shape, nn.Flatten(0)(x).shape, nn.Flatten(0, 1)(x).shape,
            nn.Unflatten(2, (2, 2))(x).shape, repr(nn.Unflatten(-1, [2, -1])),
            nn.Unflatten(-1, [2, -1])(x).shape, repr(nn.Flatten(2, 3)),
            nn.Identity(3, a=4)(x) is x, repr(nn.Identity(3)),
        ]  # fmt: skip

    same(run)
    same_error(lambda T: T.nn.Unflatten(1, 3), TypeError)
    same_error(lambda T: T.nn.Unflatten(1, (2, "x")), TypeError)


# ---- dropout

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "dropout": [(5,), (3, 4, 5)], "alpha_dropout": [(3, 4)], "feature_alpha_dropout": [(3, 4, 5)],
    "dropout1d": [(4, 5), (3, 4, 5)], "dropout2d": [(3, 4, 5), (3, 4, 2, 2)],
    "dropout3d": [(4, 2, 2, 2), (3, 4, 2, 2, 2)],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:dropout2d")
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", SHAPES)
def test_dropout(name: str, p: float) -> None:
    def run(T: Any) -> Any:
        log = []
        for shape in SHAPES[name]:
            count = 1
            for n in shape:
                count *= n
            x = (T.arange(1.0, count + 1) - 5).reshape(shape).requires_grad_()
            y = getattr(T.nn.functional, name)(x, p, training=True)
            (y * y).sum().backward()
            z = x.detach() * 1
            w = getattr(T.nn.functional, name)(z, p, True, True)
            log += [y, x.grad, z, w, getattr(T.nn.functional, name)(x, p, training=False) is x]
        return [*log, T.get_rng_state().tolist()]

    same(run)


def test_dropout_follows_the_order_of_memory() -> None:
    def run(T: Any) -> Any:
        x = T.ones(3, 4, 5).transpose(0, 2)
        y = T.nn.functional.dropout(x, 0.5)
        return [y, y.stride()]

    same(run)


def test_dropout_layers() -> None:
    def run(T: Any) -> Any:
        nn = T.nn
        kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
        made = [kind(0.25, inplace=True) for kind in (*kinds, nn.FeatureAlphaDropout)]
        x, image = T.ones(2, 3, 4), T.ones(2, 3, 4, 4)
        made[3].p = 0.0
        unchanged = [m.eval()(image if i in (2, 3) else x) is x for i, m in enumerate(made)]
        return [repr(made), unchanged, nn.Dropout()(x), nn.Dropout2d()(image)]

    same(run)
    for p in (-0.1, 1.1):
        same_error(lambda T, p=p: T.nn.Dropout(p), ValueError, str(p))
        for name in SHAPES:
            same_error(
                lambda T, p=p, name=name: getattr(T.nn.functional, name)(T.ones(2, 2, 2), p),
                ValueError, str(p),
            )  # fmt: skip
    same_error(lambda T: T.nn.functional.dropout(T.tensor([1])), RuntimeError, "Float")
    same_error(lambda T: T.nn.functional.dropout1d(T.ones(2)), RuntimeError, "1D input")
