"""`Module` against torch's: registration, walking, modes, copies, printed form."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import pytest
from beside_torch import same, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


def make(T: Any) -> Any:
    """A model with a nested module, a shared parameter, buffers of both kinds, an int buffer."""
    nn = T.nn

    class Scale(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, size: int) -> None:
            super().__init__()
            self.factor = nn.Parameter(T.arange(1.0, size + 1))
            self.register_parameter("absent", None)
            self.register_buffer("seen", T.zeros(size))
            self.register_buffer("scratch", T.ones(1), persistent=False)
            self.register_buffer("steps", T.tensor(0))

        def forward(self, x: Any, *, twice: bool = False) -> Any:
            return x * self.factor * (2 if twice else 1)

        def extra_repr(self) -> str:
            return f"size={len(self.factor)}"

    class Net(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first = Scale(2)
            self.second = Scale(2)
            self.again = self.first
            self.tied = self.second.factor
            self.body = nn.Sequential(OrderedDict(a=nn.Identity(), b=nn.Sequential(Scale(3))))
            self.nothing = None

        def forward(self, x: Any) -> Any:
            return self.second(self.first(x)) * self.tied

    return Net()


# ---- registration


def test_walks() -> None:
    def run(T: Any) -> Any:
        m = make(T)
        return [
            [n for n, _ in m.named_parameters()],
            [n for n, _ in m.named_parameters(remove_duplicate=False)],
            [n for n, _ in m.named_parameters("p", recurse=False)],
            [n for n, _ in m.named_buffers()],
            [n for n, _ in m.named_buffers(prefix="x", remove_duplicate=False)],
            [n for n, _ in m.named_modules()],
            [n for n, _ in m.named_modules(prefix="x", remove_duplicate=False)],
            [n for n, _ in m.named_children()],
            [type(c).__name__ for c in m.children()],
            [type(c).__name__ for c in m.modules()],
            [type(p).__name__ for p in m.parameters()],
            len(list(m.buffers())),
            [n for n in dir(m) if n in ("first", "tied", "forward", "body", "0")],
            [n for n in dir(m.body.b) if n == "0"],
        ]

    same(run)


def test_apply_visits_children_first() -> None:
    def run(T: Any) -> Any:
        names: list[str] = []
        make(T).apply(lambda m: names.append(type(m).__name__))
        return names

    same(run)


def test_reassignment_changes_the_kind_and_place() -> None:
    def run(T: Any) -> Any:
        m = T.nn.Module()
        log = []
        for value in (
            1, T.nn.Parameter(T.ones(1)), T.nn.Parameter(T.zeros(1)), None, T.nn.Identity(),
            T.nn.Parameter(T.ones(1)), T.nn.Buffer(T.ones(2)),
            T.nn.Buffer(T.ones(3), persistent=False), T.ones(4), None,
        ):  # fmt: skip
            m.x = value
            log.append([list(m._parameters), list(m._buffers), list(m._modules), "x" in vars(m)])
            log.append(sorted(m.state_dict()))
        m.x = T.nn.Identity()
        del m.x
        return [*log, hasattr(m, "x")]

    same(run)


def test_replacing_keeps_the_order() -> None:
    def run(T: Any) -> Any:
        m = T.nn.Module()
        m.a, m.b = T.nn.Identity(), T.nn.Identity()
        m.p, m.q = T.nn.Parameter(T.ones(1)), T.nn.Parameter(T.ones(1))
        m.a, m.p = T.nn.Flatten(), T.nn.Parameter(T.zeros(1))
        return [list(m._modules), list(m._parameters), type(m.a).__name__]

    same(run)


def test_assigning_the_wrong_thing() -> None:
    def to_parameter(T: Any) -> None:
        m = T.nn.Module()
        m.p = T.nn.Parameter(T.ones(1))
        m.p = 3

    def to_module(T: Any) -> None:
        m = T.nn.Module()
        m.child = T.nn.Identity()
        m.child = "x"

    def to_buffer(T: Any) -> None:
        m = T.nn.Module()
        m.register_buffer("b", T.ones(1))
        m.b = "x"

    def tensor_to_parameter(T: Any) -> None:
        T.nn.Linear(1, 1).weight = T.ones(1, 1)

    assert "torch.FloatTensor" in same(tensor_to_parameter)[1]
    assert same(to_parameter)[0] == same(to_module)[0] == same(to_buffer)[0] == "TypeError"


@pytest.mark.parametrize("what", ["parameter", "module", "buffer", "call"])
def test_before_init(what: str) -> None:
    def run(T: Any) -> None:
        class Forgetful(T.nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                if what == "parameter":
                    self.x = T.nn.Parameter(T.ones(1))
                elif what == "module":
                    self.x = T.nn.Identity()
                elif what == "buffer":
                    self.register_buffer("x", T.ones(1))

            def forward(self) -> None:
                pass

        m = Forgetful()
        m()

    same_error(run, AttributeError, "" if what == "call" else "before Module.__init__() call")


@pytest.mark.parametrize("name", ["", "a.b", "forward", 3, "taken"])
@pytest.mark.parametrize("method", ["register_parameter", "register_buffer", "add_module"])
def test_bad_names(name: Any, method: str) -> None:
    kind = TypeError if name == 3 else KeyError

    def run(T: Any) -> None:
        m = T.nn.Module()
        m.taken = 1
        value = {"register_parameter": T.nn.Parameter(T.ones(1)), "register_buffer": T.ones(1),
                 "add_module": T.nn.Identity()}[method]  # fmt: skip
        getattr(m, method)(name, value)

    same_error(run, kind)


@pytest.mark.parametrize("method", ["register_parameter", "register_buffer", "add_module"])
def test_registering_the_wrong_thing(method: str) -> None:
    same_error(lambda T: getattr(T.nn.Module(), method)("x", 3), TypeError, "int")


def test_registering_a_computed_tensor() -> None:
    def run(T: Any) -> None:
        p = T.nn.Parameter(T.ones(1))
        q = T.nn.Parameter(T.ones(1))
        if T is torch:
            q = p * 2
            q.__class__ = T.nn.Parameter
        else:
            q.node = (p * 2).node
        T.nn.Module().register_parameter("x", q)

    same_error(run, ValueError, "Cannot assign non-leaf Tensor to parameter 'x'")


def test_missing_attribute() -> None:
    assert same(lambda T: T.nn.Identity().absent)[0] == "AttributeError"
    assert same(lambda T: delattr(T.nn.Identity(), "absent"))[0] == "AttributeError"


def test_paths() -> None:
    def run(T: Any) -> Any:
        m = make(T)
        found = [
            type(m.get_submodule("")).__name__, type(m.get_submodule("body.b.0")).__name__,
            m.get_parameter("body.b.0.factor"), m.get_parameter("tied"), m.get_buffer("first.seen"),
        ]  # fmt: skip
        m.set_submodule("body.b.0", T.nn.Identity())
        m.set_submodule("body.added", T.nn.ReLU())
        return [*found, type(m.body.b[0]).__name__, type(m.body.added).__name__]

    same(run)
    for path, strict in (("body.absent", True), ("absent.b", False), ("tied", False)):
        assert same(
            lambda T, p=path, s=strict: make(T).set_submodule(p, T.nn.ReLU(), strict=s)
        )[0] == "AttributeError"  # fmt: skip
    for path in ("absent", "body.absent", "tied"):
        assert same(lambda T, path=path: make(T).get_submodule(path))[0] == "AttributeError"
    for path in ("absent", "first.seen", "x.y"):
        assert same(lambda T, path=path: make(T).get_parameter(path))[0] == "AttributeError"
    for path in ("absent", "first.factor"):
        assert same(lambda T, path=path: make(T).get_buffer(path))[0] == "AttributeError"


# ---- modes, conversion


def test_train_and_eval() -> None:
    def run(T: Any) -> Any:
        m = make(T)
        modes = [m.training, m.eval() is m, m.first.training, m.train().body.b[0].training]
        return modes

    same(run)
    assert same(lambda T: make(T).train("yes"))[0] == "ValueError"


def test_requires_grad_and_zero_grad() -> None:
    def run(T: Any) -> Any:
        m = make(T)
        m(T.ones(2)).sum().backward()
        log = [m.first.factor.grad, m.second.factor.grad, m.body.b[0].factor.grad]
        m.zero_grad(set_to_none=False)
        log.append(m.first.factor.grad)
        m.zero_grad()
        log.append(m.first.factor.grad)
        m.requires_grad_(False)
        return [*log, [p.requires_grad for p in m.parameters()]]

    same(run)


def test_to_keeps_parameters_and_converts_only_floats() -> None:
    for T in (ours, torch):
        m = make(T)
        m(T.ones(2)).sum().backward()
        before = list(m.parameters())
        m.to(T.float64)
        assert [id(p) for p in m.parameters()] == [id(p) for p in before]
        assert m.first.factor.dtype == m.first.factor.grad.dtype == m.first.seen.dtype == T.float64
        assert m.first.steps.dtype == T.int64
        assert m.tied is m.second.factor
        assert m.half().first.factor.dtype == T.float16
        assert m.float().first.factor.dtype == T.float32
        assert m.double().first.factor.dtype == T.float64
        assert m.type(T.float32).first.steps.dtype == T.float32
        assert m.to("cpu", T.float64, non_blocking=True).first.factor.dtype == T.float64
        assert m.to(T.ones(1)).first.factor.dtype == T.float32
        assert m.to(device=T.device("cpu"), dtype=T.float64).first.factor.dtype == T.float64
        assert m.cpu() is m
        assert m.first.factor.requires_grad and m.first.factor.is_leaf
        m(T.ones(2, dtype=T.float64)).sum().backward()
    same_error(lambda T: make(T).to(T.int64), TypeError, "int64")


def test_an_optimizer_sees_a_module_that_was_moved_later() -> None:
    m = make(ours)
    parameters = list(m.parameters())
    m.double()
    with ours.no_grad():
        parameters[0].copy_(ours.full((2,), 7.0))
    assert m.tied.tolist() == [7.0, 7.0]


# ---- state dicts


def test_deepcopy_and_pickle() -> None:
    for T in (ours, torch):
        m = make(T)
        m(T.ones(2)).sum().backward()
        twin = copy.deepcopy(m)
        assert twin.tied is twin.second.factor and twin.again is twin.first
        assert type(twin.tied) is T.nn.Parameter and twin.tied.requires_grad
        assert twin.tied is not m.tied and twin.tied.grad is None
        with T.no_grad():
            twin.tied.fill_(9)
        assert m.tied.tolist() == [1.0, 2.0] and twin.second.factor.tolist() == [9.0, 9.0]
    layer = ours.nn.ParameterList([ours.ones(2)])
    layer.append(layer[0])
    layer.flag = ours.nn.Buffer(ours.zeros(1), persistent=False)
    loaded = pickle.loads(pickle.dumps(layer))
    assert loaded[0] is loaded[1] and type(loaded[0]) is ours.nn.Parameter
    assert loaded[0].requires_grad and loaded[0].is_leaf and loaded.flag.persistent is False
    assert "flag" not in loaded.state_dict()


def test_parameter() -> None:
    def run(T: Any) -> Any:
        t = T.ones(2)
        p = T.nn.Parameter(t)
        t.fill_(3)
        frozen = T.nn.Parameter(T.tensor([1]), requires_grad=False)
        return [
            p, repr(p), repr(frozen), p.is_leaf, type(p * 2).__name__, type(p.data).__name__,
            type(p.detach()).__name__, T.nn.Parameter().shape, isinstance(p, T.Tensor),
            T.nn.Parameter(p * 2).is_leaf, T.nn.Buffer(T.ones(1)).requires_grad,
        ]  # fmt: skip

    same(run)
    same_error(lambda T: T.nn.Parameter(T.tensor([1])), RuntimeError, "floating point")


def test_modules_survive_no_cycle() -> None:
    """A hooked call leaves nothing behind that only the garbage collector could free."""
    import gc
    import weakref

    gc.disable()
    try:
        m = make(ours)
        m.first.register_full_backward_hook(lambda *args: None)
        y = m(ours.ones(2, requires_grad=True))
        alive = weakref.ref(y)
        y.sum().backward()
        del y
        assert alive() is None
    finally:
        gc.enable()


# ---- printing


def test_repr() -> None:
    def run(T: Any) -> Any:
        class Two(T.nn.Module):  # type: ignore[misc,name-defined]
            def extra_repr(self) -> str:
                return "a=1\nb=2"

        two = Two()
        two.add_module("x", None)
        two.y = make(T)
        return [repr(make(T)), repr(Two()), repr(two), repr(T.nn.Module()), str(two)]

    same(run)


def test_not_implemented() -> None:
    same_error(lambda T: T.nn.Module()(1), NotImplementedError, "forward")


@pytest.mark.parametrize("args", [(), (1,), (1, 2)])
@pytest.mark.parametrize("kwargs", [{}, {"b": 2}])
@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("base", ["Module", "Sequential"])
def test_the_init_of_the_next_base_class(base: str, goes_on: bool, kwargs: Any, args: Any) -> None:
    def run(T: Any) -> Any:
        class Mixed:
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__()
                self.seen = args, sorted(kwargs)

        class Net(T.nn.Module, Mixed):  # type: ignore[misc,name-defined]
            call_super_init = goes_on

            def __init__(self) -> None:
                super().__init__(*args, **kwargs)

        class Chain(T.nn.Sequential, Mixed):  # type: ignore[misc,name-defined]
            call_super_init = goes_on

        made = Net() if base == "Module" else Chain(T.nn.ReLU())
        return getattr(made, "seen", None), T.nn.Module.call_super_init

    same(run)
