"""`functional_call` beside torch's: tied names, what `forward` assigns, refusals."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from beside_torch import same, same_error, same_warning

import tinygrad_edu as tg

pytest.importorskip("torch")


def tied(m: Any) -> Any:
    """One matrix under two names."""
    net = m.nn.Module()
    net.a, net.b = m.nn.Linear(2, 2, bias=False), m.nn.Linear(2, 2, bias=False)
    net.b.weight = net.a.weight
    with m.no_grad():
        net.a.weight.copy_(m.tensor([[1.0, 2.0], [3.0, 4.0]]))
    net.forward = lambda x: (net.a(x), net.b(x))
    return net


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("a", [0, 5, 7])
@pytest.mark.parametrize("b", [0, 5, 7])
def test_every_way_to_give_a_tied_tensor(a: int, b: int, tie: bool) -> None:
    def run(m: Any) -> Any:
        tensors = {number: m.full((2, 2), float(number)) for number in (5, 7)}
        given = {n: tensors[i] for n, i in (("a.weight", a), ("b.weight", b)) if i}
        net = tied(m)
        y = m.func.functional_call(net, given, m.ones(2), tie_weights=tie)
        return y, list(given), net.a.weight, net.b.weight is net.a.weight

    same(run)


@pytest.mark.parametrize("values", list(itertools.product([0, 5, 7], repeat=3)))
def test_three_names_one_of_them_a_module_that_is_there_twice(values: tuple[int, ...]) -> None:
    """torch has a KeyError for two of three names, and forgets the module's own tensor."""
    net = tied(tg)
    net.c = tg.nn.Sequential(net.a)
    own = net.a.weight
    tensors = {number: tg.full((2, 2), float(number)) for number in (5, 7)}
    names = ("a.weight", "b.weight", "c.0.weight")
    given = {n: tensors[i] for n, i in zip(names, values, strict=True) if i}
    if {5, 7} <= set(values):
        with pytest.raises(ValueError, match="multiple values for keys .* which are tied"):
            tg.func.functional_call(net, given, tg.ones(2))
    else:
        for y in tg.func.functional_call(net, given, tg.ones(2)):
            expected = [2.0 * max(values)] * 2 if max(values) else [3.0, 7.0]
            assert y.tolist() == expected
    assert net.a.weight is own and net.b.weight is own and net.c[0].weight is own


class _Assigns:
    """What `forward` may do to its attributes; with `nn.Module` of either library."""

    def prepare(self, m: Any) -> None:
        self.register_buffer("count", m.zeros(1))  # type: ignore[attr-defined]
        self.register_buffer("other", self.count)  # type: ignore[attr-defined]
        self.register_parameter("bias", None)  # type: ignore[attr-defined]
        self.plain = m.ones(1)
        self.seen = 3

    def forward(self, x: Any) -> Any:
        self.count = self.count + 1
        self.plain = self.plain * 2
        bias = getattr(self, "bias", None)
        y = x * self.count + self.plain + getattr(self, "extra", 0.0)
        return (y if bias is None else y + bias), self.other


@pytest.mark.parametrize("names", [
    [], ["count"], ["count", "plain"], ["other"], ["bias"], ["extra"], ["extra", "bias", "plain"],
    ["seen"], ["nowhere.count"], [""], ["forward"],
])  # fmt: skip
@pytest.mark.parametrize("in_list", [False, True])
def test_what_forward_assigns_goes_to_the_dictionary(names: list[str], in_list: bool) -> None:
    def run(m: Any) -> Any:
        net = type("Net", (_Assigns, m.nn.Module), {})()
        net.prepare(m)
        given = {name: m.full((1,), 5.0) for name in names}
        y = m.func.functional_call(net, [given] if in_list else given, m.ones(1))
        found = [net.count, net.other, net.plain, net.bias, hasattr(net, "extra")]
        return y, given, found, list(net._buffers), list(net._parameters)

    if names == ["forward"]:
        same_error(run, TypeError, "is not an instance of torch.Tensor")
    else:
        same(run)


def test_a_forward_that_fails_leaves_the_module_as_it_was() -> None:
    def run(m: Any) -> Any:
        net = tied(m)
        before = net.a.weight
        net.forward = lambda x: x + "text"
        with pytest.raises(TypeError):
            m.func.functional_call(net, {"b.weight": m.ones(2, 2)}, m.ones(2))
        return net.a.weight is before, net.b.weight is before

    assert same(run) == [True, True]


@pytest.mark.parametrize("given", [
    [{"a.weight": 1}, {"a.weight": 1}], [{"a.weight": 1}, {"b.weight": 2}], [{}, 3], 3, "text",
])  # fmt: skip
def test_refusals(given: Any) -> None:
    def run(m: Any) -> Any:
        def made(part: Any) -> Any:
            is_dict = isinstance(part, dict)
            return {k: m.full((2, 2), float(v)) for k, v in part.items()} if is_dict else part

        dicts = [made(part) for part in given] if isinstance(given, list) else given
        return m.func.functional_call(tied(m), dicts, m.ones(2))

    same_error(run, ValueError)


def test_a_value_that_is_no_tensor() -> None:
    def run(m: Any) -> Any:
        return m.func.functional_call(tied(m), {"a.weight": 3}, m.ones(2))

    same_error(run, TypeError, "'a.weight'", "3 is not an instance of torch.Tensor")


def test_the_older_name_says_that_it_is_old() -> None:
    same_warning(lambda m: m.nn.utils.stateless.functional_call(m.nn.ReLU(), {}, m.ones(1)))
