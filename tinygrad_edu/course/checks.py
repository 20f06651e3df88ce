"""What `check` asks of each exercise: pairs (question, function of the file's names)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.autograd import gradcheck, gradgradcheck

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


Names = dict[str, Any]
Question = tuple[str, Callable[[Names], None]]


def require(condition: object, text: str) -> None:
    """Raise AssertionError with that text unless the condition holds."""
    if not condition:
        raise AssertionError(text)


def gradient(t: Tensor) -> Tensor:
    """Its gradient, which must have arrived."""
    if t.grad is None:
        raise AssertionError("no gradient arrives")
    return t.grad


def near(found: float, expected: float) -> None:
    """Raise unless the two are close."""
    require(abs(found - expected) <= 1e-6 * max(1.0, abs(expected)), f"{found}, not {expected:.6g}")


def doubles(*shape: int, low: float = 0.5) -> Tensor:
    """Random numbers from [low, low + 1), in double precision, that require grad."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(*shape, dtype=torch.float64, generator=generator) + low
    return x.requires_grad_()


def right(check: Callable[..., bool], function: Callable[..., Any], *inputs: Tensor) -> None:
    """Raise unless its derivatives are those of finite differences."""
    text = f"finite differences give something else: see what {check.__name__} prints"
    require(check(function, inputs, raise_exception=False), text)


# ---- 1


def quotient_value(names: Names) -> None:
    a, b = names["Number"](3.0), names["Number"](4.0)
    near((a / b).value, 0.75)


def quotient_derivatives(names: Names) -> None:
    Number, derivative = names["Number"], names["derivative"]
    a, b = Number(3.0), Number(4.0)
    near(derivative(a / b, a), 0.25)
    near(derivative(a / b, b), -3 / 16)
    near(derivative(a / a, a), 0.0)


# ---- 2


def swish_is_right(names: Names) -> None:
    x = doubles(5, low=-1.0)
    right(gradcheck, names["swish"], x)
    near(float(names["swish"](x.detach())[0]), float(x[0] * torch.sigmoid(x[0])))


def quotient_is_right(names: Names) -> None:
    a, b = doubles(2, 3), doubles(3)
    right(gradcheck, names["quotient"], a, b)


def twice(names: Names) -> None:
    right(gradgradcheck, names["quotient"], doubles(3), doubles(3))


# ---- 3


def small_graph(names: Names) -> None:
    a, b = names["Number"](2.0), names["Number"](3.0)
    c = a * b
    names["backward"](c * c + a)
    near(a.grad, 2 * 6 * 3 + 1)
    near(b.grad, 2 * 6 * 2)


def many_paths(names: Names) -> None:
    x = y = names["Number"](1.0)
    for _ in range(40):
        y = y + y
    start = time.perf_counter()
    _within_a_second(names["backward"], y, start)
    near(x.grad, 2.0**40)


def _within_a_second(backward: Callable[[Any], None], y: object, start: float) -> None:
    """Stop a walk that takes every path: it would take days."""
    import sys

    def watch(frame: object, event: str, argument: object) -> Any:
        if time.perf_counter() - start > 1:
            raise TimeoutError("it still visits a node for every path")
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        backward(y)
    finally:
        sys.settrace(before)


def long_chain(names: Names) -> None:
    x = y = names["Number"](1.0)
    for _ in range(5000):
        y = y + x
    names["backward"](y)
    near(x.grad, 5001.0)


# ---- 4


def summed(shape: tuple[int, ...], wide: tuple[int, ...]) -> Callable[[Names], None]:
    def ask(names: Names) -> None:
        g = np.random.default_rng(0).standard_normal(wide)
        x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        (expected,) = torch.autograd.grad(x.expand(wide), x, torch.from_numpy(g))
        found = names["unbroadcast"](g, shape)
        require(found.shape == shape, f"it has shape {found.shape}")
        require(np.allclose(found, expected.numpy()), "it has other values")

    return ask


# ---- 5


def sigmoid_is_right(names: Names) -> None:
    right(gradcheck, names["sigmoid"], doubles(5, low=-1.0))


def keeps_its_output(names: Names) -> None:
    node = names["sigmoid"](doubles(3)).node
    require(
        set(node.plan.names) == {"y"},
        f"it keeps {', '.join(node.plan.names)}; its output is enough",
    )


# ---- 6


WRITES: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "a": lambda x: (x * 2, lambda h: h * h),
    "b": lambda x: (x * 2, lambda h: h + h),
    "c": lambda x: (x.exp(), lambda h: h * 3),
    "d": lambda x: (x * 2, lambda h: h.sin()),
    "e": lambda x: (x * 2, lambda h: h.exp()),
    "f": lambda x: (x * 2, lambda h: h.exp()),
}


WHY = {
    "a": "h * h keeps h, which is written",
    "b": "a sum keeps nothing",
    "c": "exp keeps its output, and that is h",
    "d": "sin keeps h, and y is written",
    "e": "exp keeps y, and h is written",
    "f": "exp keeps y, which is written",
}


def really_raises(case: str) -> bool:
    """Try it."""
    x = torch.ones(3, requires_grad=True)
    h, then = WRITES[case](x)
    y = then(h)
    with torch.no_grad():
        target = y if case in "df" else h
        if case in "cf":
            target[0] = 0
        else:
            target += 1
    try:
        y.sum().backward()
    except RuntimeError:
        return True
    return False


def foreseen(case: str) -> Callable[[Names], None]:
    def ask(names: Names) -> None:
        answer = names["raises"].get(case)
        require(isinstance(answer, bool), "say True or False")
        require(answer == really_raises(case), f"try it: {WHY[case]}")

    return ask


# ---- 7


def has_parameters(names: Names) -> None:
    count = len(list(names["Net"]().parameters()))
    require(count == 4, f"it has {count} parameters, its layers have 4: see nn.ModuleList")


def gives_scores(names: Names) -> None:
    torch.manual_seed(0)
    sums = names["Net"]()(torch.randn(8, 2)).sum(1)
    require((sums - 1).abs().max() > 1e-3, "cross-entropy takes scores, not probabilities")


def learns(names: Names) -> None:
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x = torch.randn(64, 2)
    target = (x[:, 0] > 0).long()
    reference = nn.Linear(2, 2)
    reference.load_state_dict(model.state_dict())
    names["train"](model, optimizer, x, target, 2)
    for _ in range(2):
        reference.zero_grad()
        nn.functional.cross_entropy(reference(x), target).backward()
        with torch.no_grad():
            for p in reference.parameters():
                p -= 0.5 * gradient(p)
    same = torch.allclose(model.weight, reference.weight, atol=1e-6)
    require(same, "after two steps the weights are others: what is in .grad as the second begins?")


# ---- 8


def sees_the_past_alone(names: Names) -> None:
    q = torch.randn(1, 6, 4, requires_grad=True)
    names["causal_attention"](q, q, q)[0, 2].sum().backward()
    reached = gradient(q)[0].abs().sum(1) > 0
    require(not reached[3:].any(), "position 2 sees a later one")
    require(reached[:3].all(), "position 2 does not see all up to itself")


def is_attention(names: Names) -> None:
    q, k, v = [torch.randn(2, 5, 4) for _ in range(3)]
    expected = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    require(
        torch.allclose(names["causal_attention"](q, k, v), expected, atol=1e-5),
        "other values than softmax(q kᵀ / √D) v over the positions up to each",
    )


# ---- 9


def reaches_back(names: Names) -> None:
    torch.manual_seed(0)
    x = torch.randn(100, 4, 3, requires_grad=True)
    names["memory"](x).square().sum().backward()
    sizes = gradient(x).abs().mean((1, 2))
    share = float(sizes[0] / sizes.max())
    require(share > 1e-3, f"the first position gets {share:.0e} of the greatest gradient, not 1e-3")


def sees_all(names: Names) -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 2, 3, requires_grad=True)
    state = names["memory"](x)
    require(state.shape == (2, 3), f"the state has shape {tuple(state.shape)}")
    state.square().sum().backward()
    reached = gradient(x).abs().sum((1, 2)) > 0
    require(reached.all(), "a position does not reach the state")


CHECKS: dict[int, list[Question]] = {
    1: [("3 / 4", quotient_value), ("the derivatives of a / b", quotient_derivatives)],
    2: [
        ("swish", swish_is_right),
        ("quotient", quotient_is_right),
        ("second derivatives of quotient", twice),
    ],
    3: [("a small graph", small_graph), ("2**40 paths", many_paths), ("a long chain", long_chain)],
    4: [
        ("(3,) to (2, 3)", summed((3,), (2, 3))),
        ("(2, 1) to (2, 3)", summed((2, 1), (2, 3))),
        ("(1, 3) to (4, 2, 3)", summed((1, 3), (4, 2, 3))),
        ("() to (2, 3)", summed((), (2, 3))),
    ],
    5: [("its rule", sigmoid_is_right), ("what it keeps", keeps_its_output)],
    6: [(case, foreseen(case)) for case in WRITES],
    7: [("the layers", has_parameters), ("its output", gives_scores), ("the loop", learns)],
    8: [("what is seen", sees_the_past_alone), ("the values", is_attention)],
    9: [("the first of 100 positions", reaches_back), ("every position", sees_all)],
}
"""By the step of the course."""
