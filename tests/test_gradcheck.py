"""The test of the tests: gradcheck and gradgradcheck are fed wrong rules, and must reject them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu
from tinygrad_edu.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from tinygrad_edu.engine.primitive import primitive


def tensor(*shape: int, seed: int = 0) -> Any:
    values = np.random.default_rng(seed).uniform(0.5, 2.0, shape)
    return tinygrad_edu.from_numpy(np.asarray(values)).requires_grad_()


def op(forward: Callable[..., Any], **rules: Callable[..., Any]) -> Any:
    made = primitive(forward)
    made.vjp(**rules)
    return made


def _softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _flip(x: Any) -> Any:
    return x[::-1].copy()


def _matmul(a: Any, b: Any) -> Any:
    return a @ b


def _cube(x: Any) -> Any:
    return x**3


_calls = 0


def _counting(g: Any, x: Any) -> Any:
    global _calls
    _calls += 1
    return g * 3 * x * x * (1 + 1e-9 * _calls)


def _writing(g: Any, x: Any) -> Any:
    g *= 3 * x * x
    return g


RIGHT = {
    "cube": (op(_cube, x=lambda g, x: g * 3 * x * x), [(3,)]),
    "matmul": (op(_matmul, a=lambda g, b: g @ b.T, b=lambda g, a: a.T @ g), [(2, 3), (3, 2)]),
    "flip": (op(_flip, x=lambda g: g[::-1]), [(4,)]),
    "softmax": (
        op(_softmax, x=lambda g, y: y * (g - (g * y).sum(-1, keepdims=True))), [(2, 3)],
    ),
}  # fmt: skip

WRONG = {
    "softmax without the sum": (op(_softmax, x=lambda g, y: g * y), [(2, 3)], "mismatch"),
    "flip not flipped": (op(_flip, x=lambda g: g), [(4,)], "mismatch"),
    "a transposed gradient": (
        op(_matmul, a=lambda g, b: (g @ b.T).T, b=lambda g, a: a.T @ g), [(2, 2), (2, 2)],
        "mismatch for output 0 with respect to input 0",
    ),
    "the second input's rule": (
        op(_matmul, a=lambda g, b: g @ b.T, b=lambda g, a: g @ a), [(2, 2), (2, 2)],
        "mismatch for output 0 with respect to input 1",
    ),
    "a missing factor": (op(_cube, x=lambda g, x: g * x * x), [(3,)], "mismatch"),
    "a wrong sign": (op(_cube, x=lambda g, x: -3 * g * x * x), [(3,)], "mismatch"),
    "one wrong element": (
        op(_cube, x=lambda g, x: g * 3 * x * x * (np.arange(5) != 4)), [(5,)],
        "at element 4 of the input and element 4 of the output",
    ),
    "g left out": (op(_cube, x=lambda g, x: 3 * x * x), [(3,)], "mismatch"),
    "not linear in g": (op(_cube, x=lambda g, x: g * g * 3 * x * x), [(3,)], "not linear"),
    "depends on the call count": (op(_cube, x=_counting), [(3,)], "not reentrant"),
    "writes into g": (op(_cube, x=_writing), [(3,)], "writes into the gradient"),
    "wrong dtype": (
        op(_cube, x=lambda g, x: (g * 3 * x * x).astype(np.float32)), [(3,)], "dtype.*float32",
    ),
    "integers": (
        op(lambda x: x * 2.0, x=lambda g: (g * 2).astype(np.int64)), [(3,)], "dtype.*int64",
    ),
    "too small a shape": (op(_cube, x=lambda g, x: (g * 3 * x * x).sum()), [(3,)], "shape"),
    "another shape": (op(_cube, x=lambda g, x: (g * 3 * x * x)[:2]), [(3,)], "shape"),
    "nan": (op(_cube, x=lambda g, x: g * np.nan), [(3,)], "mismatch"),
    "no rule at all": (op(_cube, x=lambda g: g * 0), [(3,)], "mismatch"),
}  # fmt: skip

WRONG_SECOND = {
    # its first derivative is right, but computed by code that the second one cannot see through
    "detached": (op(_cube, x=lambda g, x: g * 3 * (x * x).detach() if hasattr(x, "detach")
                    else g * 3 * x * x), [(3,)]),
    "another formula when recorded": (
        op(_cube, x=lambda g, x: g * (x**3 if hasattr(x, "detach") else 3 * x * x)), [(3,)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize("case", RIGHT)
def test_right_rules_pass(case: str, fast_mode: bool) -> None:
    function, shapes = RIGHT[case]
    inputs = tuple(tensor(*shape, seed=i) for i, shape in enumerate(shapes))
    assert gradcheck(function, inputs, fast_mode=fast_mode)


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rules_are_rejected(case: str) -> None:
    function, shapes, message = WRONG[case]
    inputs = tuple(tensor(*shape, seed=i) for i, shape in enumerate(shapes))
    with pytest.raises(GradcheckError, match=message) as caught:
        gradcheck(function, inputs)
    assert gradcheck(function, inputs, raise_exception=False) is False
    said = str(caught.value)  # where to look, and with what to try it again
    assert re.search(r"\nin \S+, which recorded .*Backward0", said)
    for i, x in enumerate(inputs):
        assert f"\ninput {i}: {x.tolist()} (torch.float64)" in said


@pytest.mark.parametrize(
    "case", ["softmax without the sum", "flip not flipped", "a missing factor", "wrong dtype"]
)
def test_fast_mode_rejects_them_too(case: str) -> None:
    function, shapes, _ = WRONG[case]
    with pytest.raises(GradcheckError):
        gradcheck(function, tuple(tensor(*shape) for shape in shapes), fast_mode=True)


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize("case", WRONG_SECOND)
def test_wrong_second_derivatives_are_rejected(case: str, fast_mode: bool) -> None:
    function, shapes = WRONG_SECOND[case]
    inputs = tuple(tensor(*shape) for shape in shapes)
    assert gradcheck(function, inputs)
    with pytest.raises(GradcheckError):
        gradgradcheck(function, inputs, fast_mode=fast_mode)


def test_second_derivatives_that_are_right_pass() -> None:
    x = tensor(3)
    assert gradgradcheck(RIGHT["cube"][0], x)
    assert gradgradcheck(RIGHT["cube"][0], x, gen_non_contig_grad_outputs=True)
    assert gradgradcheck(lambda a, b: a * b.exp(), (tensor(2, 3), tensor(3, seed=1)))
    start = tensor(3, seed=5)
    assert gradgradcheck(lambda x: x * x, x, start)


def test_the_message_says_where() -> None:
    def halves(x: Any, y: Any) -> Any:
        return x * 2, WRONG["a missing factor"][0](y)

    with pytest.raises(GradcheckError) as info:
        gradcheck(halves, (tensor(2), tensor(2, seed=1)))
    text = str(info.value)
    assert "output 1 with respect to input 1" in text
    assert "numerical" in text and "analytical" in text and "largest difference" in text
    assert isinstance(info.value, RuntimeError)


def test_inputs_that_do_not_matter_and_outputs_without_gradient() -> None:
    x, y = tensor(3), tensor(2, seed=1)
    assert gradcheck(lambda x, y: x * 2, (x, y))
    assert gradcheck(lambda x: (x * 2, x.argmax(), x.detach() * 0), x)
    assert gradcheck(lambda x, k: x * k, (x, 3.0))
    assert gradcheck(lambda a, b: a * b, (x, x.detach().clone()))
    assert gradcheck(lambda x: x.exp(), tinygrad_edu.zeros(0, 3, dtype=tinygrad_edu.float64,
                                                           requires_grad=True))  # fmt: skip


def test_a_constant_that_should_not_be_one() -> None:
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: x.detach() * 2, tensor(3))


def test_inputs_are_left_as_they_were() -> None:
    x = tensor(3)
    before, version = x.detach().numpy().copy(), x._version
    gradcheck(lambda x: x * x, x)
    assert (x.detach().numpy() == before).all() and x._version == version and x.grad is None


def test_inputs_that_cannot_be_checked() -> None:
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(lambda x: x, tensor(3).detach())
    expanded = tensor(1).expand(3)
    with pytest.raises(RuntimeError, match="The 0th input has a dimension with stride 0"):
        gradcheck(lambda x: x * 2, expanded)
    with pytest.raises(TypeError, match="must return tensors"):
        gradcheck(lambda x: 3, tensor(2))
    with pytest.raises(ValueError, match="batched gradients"):
        gradcheck(lambda x: x, tensor(2), check_batched_grad=True)
    with pytest.raises(AssertionError, match="at least one"):
        gradcheck(lambda x: x, tensor(2), check_backward_ad=False)
    assert gradcheck(lambda x: x * x, tensor(2), check_forward_ad=True, check_backward_ad=False)


def test_single_precision_is_warned_of() -> None:
    x = tinygrad_edu.tensor([0.5, 1.5], requires_grad=True)
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double"):
        gradcheck(lambda x: x * 2, x, eps=1e-2, atol=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradcheck(lambda x: x * 2, tensor(2))


def test_it_agrees_with_torch_on_who_is_right() -> None:
    """torch's own gradcheck accepts and rejects the same pair of rules."""
    torch = pytest.importorskip("torch")

    class Cube(torch.autograd.Function):
        factor = 3.0

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return Cube.factor * g * ctx.saved_tensors[0] ** 2

    x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    ours = tinygrad_edu.tensor([0.5, 1.5], dtype=tinygrad_edu.float64, requires_grad=True)
    for factor in (3.0, 2.0):
        Cube.factor = factor
        rule = primitive(_cube)
        rule.vjp(x=lambda g, x: Cube.factor * g * x * x)
        theirs = torch.autograd.gradcheck(Cube.apply, x, raise_exception=False)
        assert gradcheck(rule, ours, raise_exception=False) == theirs == (factor == 3.0)


def test_a_failure_shows_a_large_input_in_short() -> None:
    wrong, _ = next((f, s) for f, s, *_ in WRONG.values() if len(s) == 1)
    with pytest.raises(GradcheckError) as caught:
        gradcheck(wrong, (tensor(9, 9),))
    assert len(str(caught.value).partition("input 0: ")[2]) < 1000


def test_a_failure_of_a_second_derivative_says_so() -> None:
    function, shapes = WRONG_SECOND["detached"]
    with pytest.raises(GradcheckError, match=r"(?s)\nin \w+.*\ninput 0: \["):
        gradgradcheck(function, tuple(tensor(*shape) for shape in shapes))
