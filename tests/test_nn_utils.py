"""nn.utils against torch's."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from beside_torch import same, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


def pair(*arrays: Any) -> tuple[list[Any], list[Any]]:
    """Parameters with these gradients, of both libraries; None for no gradient."""
    made: tuple[list[Any], list[Any]] = ([], [])
    for T, into in ((ours, made[0]), (torch, made[1])):
        for a in arrays:
            p = T.nn.Parameter(T.zeros(3 if a is None else a.shape))
            if a is not None:
                p = T.nn.Parameter(T.tensor(a * 0))
                p.grad = T.tensor(a)
            into.append(p)
    return made


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(torch.tensor(found.numpy()), expected)


@pytest.mark.parametrize("norm_type", [2, 2.0, 1, 3, 0.5, math.inf, -math.inf, 0, "inf"])
@pytest.mark.parametrize("max_norm", [0.7, 1e9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_clip_grad_norm(norm_type: Any, max_norm: float, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    shapes: list[tuple[int, ...]] = [(3, 4), (200,), (2, 1, 5), ()]
    mine, theirs = pair(*[rng.standard_normal(s).astype(dtype) for s in shapes], None)
    found = ours.nn.utils.clip_grad_norm_(mine, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert str(found.dtype) == str(expected.dtype)
    tolerance = {"rtol": 4e-3, "atol": 1e-3} if dtype is np.float16 else {"rtol": 2e-6, "atol": 0}
    torch.testing.assert_close(torch.tensor(found.numpy()), expected, **tolerance)
    for p, q in zip(mine[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(torch.tensor(p.grad.numpy()), q.grad, **tolerance)
    assert mine[-1].grad is None


def test_clip_grad_norm_takes_one_tensor_generators_and_nothing() -> None:
    def run(T: Any) -> Any:
        p = T.nn.Parameter(T.zeros(2))
        p.grad = T.tensor([3.0, 4.0])
        clip = T.nn.utils.clip_grad_norm_
        log = [clip(p, 10.0), clip((q for q in [p]), 2.5, foreach=None), p.grad]
        return [*log, clip([], 1.0), clip([T.nn.Parameter(T.ones(1))], 1.0)]

    same(run)
    with pytest.warns(UserWarning, match="empty generator"):
        ours.nn.utils.clip_grad_norm_((p for p in []), 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_norms_that_are_not_finite(bad: float) -> None:
    def run(T: Any, error: bool = False) -> Any:
        p = T.nn.Parameter(T.zeros(2))
        p.grad = T.tensor([bad, 4.0])
        total = T.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=error)
        return [str(total.item()), [str(v) for v in p.grad.tolist()]]

    same(run)
    same_error(lambda T: run(T, True), RuntimeError, "2.0", "error_if_nonfinite=False")


def test_views_and_shared_gradients() -> None:
    """A gradient may be a transposed view, and appear twice."""
    g = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    mine, theirs = pair(g, g)
    for p, T in ((mine, ours), (theirs, torch)):
        p[0].grad = T.tensor(g.T.copy()).t()
        p.append(p[0])
    found = ours.nn.utils.clip_grad_norm_(mine, 1.0)
    close(found, torch.nn.utils.clip_grad_norm_(theirs, 1.0))
    for p, q in zip(mine, theirs, strict=True):
        close(p.grad, q.grad)


def test_total_norm_and_clipping_with_it() -> None:
    def run(T: Any) -> Any:
        a, b = T.tensor([3.0, 0.0]), T.tensor([[4.0]])
        total = T.nn.utils.get_total_norm([a, b])
        p = T.nn.Parameter(T.zeros(2))
        p.grad = a
        T.nn.utils.clip_grads_with_norm_([p], 2.5, total)
        return [total, p.grad, T.nn.utils.get_total_norm([]), T.nn.utils.get_total_norm(b, 1)]

    same(run)
    same_error(lambda T: T.nn.utils.get_total_norm([T.tensor([1])]), RuntimeError, "floating")


def test_clipping_counts_as_a_write() -> None:
    p = ours.nn.Parameter(ours.zeros(2))
    p.grad = ours.tensor([3.0, 4.0])
    before = p.grad._version
    ours.nn.utils.clip_grad_norm_(p, 1.0)
    assert p.grad._version == before + 1


@pytest.mark.parametrize("package", [ours, torch])
def test_clip_grad_value_wants_a_gradient(package: Any) -> None:
    for parameters in ([], package.nn.Parameter(package.ones(1))):
        with pytest.raises(RuntimeError):
            package.nn.utils.clip_grad_value_(parameters, -1.0)


def test_clip_grad_value() -> None:
    def run(T: Any) -> Any:
        p = T.nn.Parameter(T.zeros(4))
        p.grad = T.tensor([-3.0, -0.1, 0.1, 4.0])
        nothing = T.nn.utils.clip_grad_value_([p, T.nn.Parameter(T.ones(1))], 0.5)
        log = [nothing, p.grad]
        T.nn.utils.clip_grad_value_(p, 0.05)
        return [*log, p.grad]

    same(run)


def test_parameters_as_a_vector() -> None:
    def run(T: Any) -> Any:
        parameters = [T.nn.Parameter(T.arange(6.0).view(2, 3)), T.nn.Parameter(T.ones(2))]
        vector = T.nn.utils.parameters_to_vector(parameters)
        log = [vector, vector.requires_grad]
        T.nn.utils.vector_to_parameters(vector.detach() * 2, parameters)
        return [*log, parameters, [p.is_leaf for p in parameters]]

    same(run)
    same_error(lambda T: T.nn.utils.vector_to_parameters([1], []), TypeError)
    same_error(
        lambda T: T.nn.utils.vector_to_parameters(T.ones(1), [T.nn.Parameter(T.ones(2))]),
        RuntimeError,
    )


def test_pad_sequence() -> None:
    def run(T: Any) -> Any:
        rnn = T.nn.utils.rnn
        parts = [T.arange(6.0).view(3, 2), T.ones(1, 2), T.ones(2, 2)]
        padded = rnn.pad_sequence(parts)
        x = T.ones(2, requires_grad=True)
        rnn.pad_sequence([x, T.ones(4)]).sum().backward()
        return [
            padded, rnn.pad_sequence(parts, True, -1.0), x.grad,
            rnn.pad_sequence(parts, True, 9.0, "left"),
            rnn.pad_sequence([T.tensor([1, 2]), T.tensor([3])]),
            rnn.unpad_sequence(padded.clone(), T.tensor([3, 1, 2])),
            rnn.unpad_sequence(rnn.pad_sequence(parts, True), T.tensor([3, 1, 2]), True),
        ]  # fmt: skip

    same(run)
    same_error(lambda T: T.nn.utils.rnn.pad_sequence(3), RuntimeError, "int")
    same_error(lambda T: T.nn.utils.rnn.pad_sequence([]), RuntimeError)
    same_error(lambda T: T.nn.utils.rnn.pad_sequence([T.ones(1)], padding_side="up"), RuntimeError)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.nn.utils.rnn.pad_sequence([ours.ones(1), ours.ones(2)])
