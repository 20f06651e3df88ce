"""Views and in-place writes: the cases one should know, run by torch and by us."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from beside_torch import same

import tinygrad_edu

torch = pytest.importorskip("torch")
pytest.importorskip("hypothesis")


def both(function: Any) -> None:
    """Run it with either library; the arrays it returns must be equal."""
    found, expected = (
        [t.detach().numpy() if hasattr(t, "detach") else t for t in function(library)]
        for library in (tinygrad_edu, torch)
    )
    for mine, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, reference)


UNRECORDED = [
    "x[1:]", "x.view(3)", "x.expand(2, 3)", "x[None]", "x[None].unbind()[0]", "x.reshape(3, 1)",
    "x.split(2)[1]", "x.unfold(0, 1, 2)", "x.as_strided((2,), (1,))", "x.diag_embed()",
    "x.detach()", "x.data", "x * 2", "x.flatten()", "x[[0, 1]]",
]  # fmt: skip


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
@pytest.mark.parametrize("line", UNRECORDED)
def test_a_view_made_while_recording_is_off(line: str, mode: str) -> None:
    """It requires grad as its source does, and so does what is made of it; no gradient arrives."""

    def run(library: Any) -> Any:
        leaf = library.tensor([1.0, 2.0, 3.0], requires_grad=True)
        found = []
        for x in (leaf, leaf * 2, leaf.detach()):
            with getattr(library, mode)():
                y = eval(line, {"x": x})
                found += [y.requires_grad, y.is_leaf, repr(y), y[0].requires_grad, y.numel()]
            z = y * leaf[0]
            gradients = library.autograd.grad(z.sum(), leaf, retain_graph=True)
            found += [y.requires_grad, y.is_leaf, y.grad_fn is None, z.requires_grad, *gradients]
            if y.requires_grad:
                y.register_hook(lambda g: g * 100)
                y.retain_grad()
                found += library.autograd.grad(z.sum(), [y], retain_graph=True, allow_unused=True)
                y.sum().backward()
            z.sum().backward()
            found += [leaf.grad, y.grad]
            with library.no_grad():
                y.mul_(3)
            found += [x, y.detach()]
        return found

    same(run)


def test_a_view_made_while_recording_is_off_may_be_asked_for_a_gradient() -> None:
    def run(library: Any) -> Any:
        x = library.ones(2, requires_grad=True)
        with library.no_grad():
            y = x[:1]
        y.requires_grad_()
        (y * 3).sum().backward()
        return y.grad, x.grad

    same(run)


def test_writing_a_row() -> None:
    def run(torch: Any) -> Any:
        w = torch.ones(2, 3, requires_grad=True)
        y = w * 2
        row = y[0]
        row.mul_(5)
        y.sum().backward()
        return [y, row, w.grad]

    both(run)


def test_a_view_sees_a_write_to_its_base() -> None:
    def run(torch: Any) -> Any:
        w = torch.ones(2, 3, requires_grad=True)
        y = w * 2
        view = y.t()[1]
        y.mul_(w)
        (view * 3).sum().backward()
        return [view, w.grad]

    both(run)


def test_a_view_sees_a_write_through_another_view() -> None:
    def run(torch: Any) -> Any:
        w = torch.arange(4.0, requires_grad=True)
        y = w * w
        a, b = y[1:], y[:3]
        a.mul_(2)
        b.add_(a.clone())
        (a * b).sum().backward()
        return [a, b, w.grad]

    both(run)


def test_assignment_by_index() -> None:
    def run(torch: Any) -> Any:
        w, v = torch.ones(3, 2, requires_grad=True), torch.ones(2, requires_grad=True)
        y = w * 2
        y[1] = v * 7
        y[:, 0] *= 3
        y[y > 10] = 0.5
        (y * y).sum().backward()
        return [y, w.grad, v.grad]

    both(run)


def test_a_constant_buffer_becomes_part_of_the_graph() -> None:
    def run(torch: Any) -> Any:
        w = torch.ones(3, requires_grad=True)
        buffer = torch.zeros(2, 3)
        buffer[0] = w * 2
        buffer[1].add_(w)
        (buffer * buffer).sum().backward()
        return [buffer, w.grad, buffer.requires_grad]

    both(run)


def test_a_rule_that_needs_the_overwritten_value_gets_a_copy() -> None:
    def run(torch: Any) -> Any:
        w = torch.full((3,), 0.5, requires_grad=True)
        y = w * 1
        y.sin_()
        y.pow_(3)
        y.mul_(w)
        y.exp_()
        y.sum().backward()
        return [y, w.grad]

    both(run)


def test_writing_a_view_of_a_0d_tensor() -> None:
    def run(torch: Any) -> Any:
        w = torch.tensor([0.1, 0.3], requires_grad=True)
        total = w.sum()
        view = total.unsqueeze(0)
        view.exp_()
        (total * 1 + view).sum().backward()
        return [total, view, w.grad]

    both(run)


@pytest.mark.parametrize(
    ("message", "program"),
    [
        ("a leaf Variable that requires grad", lambda t, w: w.add_(1)),
        ("a view of a leaf Variable", lambda t, w: w[0].add_(1)),
        ("a view of a leaf Variable", lambda t, w: w.__setitem__(slice(1, 2), 1)),
        ("^a leaf Variable", lambda t, w: w.__setitem__(..., 1)),
        ("^a leaf Variable", lambda t, w: w.__setitem__([0, 1], 1)),
        ("a leaf Variable that requires grad", lambda t, w: w.__iadd__(1)),
        ("more than one element", lambda t, w: t.zeros(1).expand(3).add_(1)),
        ("match", lambda t, w: t.zeros(3).add_(t.zeros(2, 3))),
        ("can't be cast", lambda t, w: t.zeros(3, dtype=t.int64).add_(1.5)),
        ("multiple views", lambda t, w: (w * 1).unbind()[0].add_(1)),
    ],
)  # fmt: skip
def test_refusals(message: str, program: Any) -> None:
    for library in (torch, tinygrad_edu):
        w = library.ones(3, requires_grad=True)
        with pytest.raises(RuntimeError, match=message):
            program(library, w)
        assert w.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.filterwarnings("ignore:An output with one or more")
def test_results_written_into_a_tensor() -> None:
    """torch's `out=`, of the operations on one or two tensors."""

    def run(t: Any) -> list[Any]:
        x, y = t.tensor([[1.0, 2.0], [3.0, 5.0]]), t.tensor([[2.0, 4.0], [8.0, 1.0]])
        outs = [t.zeros(2, 2) for _ in range(7)]
        assert t.matmul(x, y, out=outs[0]) is outs[0]
        t.mul(x, 3, out=outs[1])
        t.add(x, y, alpha=2, out=outs[2][0:2])
        t.sub(x, 1, out=outs[3].T)
        t.div(x, y, out=outs[4])
        t.exp(x, out=outs[5])
        t.maximum(x, y, out=outs[6])
        empty, other = t.tensor([]), t.zeros(3)
        t.add(x, y, out=empty)
        t.sqrt(x, out=other)
        with pytest.raises(RuntimeError, match="out=... arguments don't support automatic"):
            t.mul(x.clone().requires_grad_(), y, out=t.zeros(2, 2))
        with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired"):
            t.add(x, y, out=t.zeros(2, 2, dtype=t.int64))
        return [*outs, empty, other]

    for mine, theirs in zip(run(tinygrad_edu), run(torch), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-6)


def test_leaves_can_be_written_without_recording() -> None:
    w = tinygrad_edu.ones(3, requires_grad=True)
    with tinygrad_edu.no_grad():
        w -= 0.5
        w[0] = 7.0
    assert w.tolist() == [7.0, 0.5, 0.5] and w.requires_grad and w.is_leaf
    w.data.zero_()
    assert w.tolist() == [0.0, 0.0, 0.0] and w.is_leaf


def test_a_parameter_turned_in_place_stays_one() -> None:
    """Without recording, the shape changes and the history does not; with it, a leaf is refused."""
    w = tinygrad_edu.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        w.t_()
    with tinygrad_edu.no_grad():
        w.t_()
    assert w.is_leaf and w.requires_grad and w.shape == (3, 2)
    (w * tinygrad_edu.arange(6.0).reshape(3, 2)).sum().backward()
    assert w.grad.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_views_changed_in_place_keep_their_history() -> None:
    """The gradient of what became another view, and of writing through it."""
    x = tinygrad_edu.arange(6.0).reshape(2, 3).requires_grad_()
    y = x * 1
    row = y[1]
    row.unsqueeze_(1).mul_(tinygrad_edu.tensor([[2.0], [3.0], [4.0]]))
    assert row.shape == (3, 1)
    y.sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0, 1.0], [2.0, 3.0, 4.0]]


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    "turn",
    [
        lambda x: x.unsqueeze_(0), lambda x: x.unsqueeze_(1), lambda x: x.squeeze_(),
        lambda x: x.squeeze_(1), lambda x: x.transpose_(0, 2), lambda x: x.swapaxes_(0, 1),
        lambda x: x.unsqueeze_(0).transpose_(1, 3).squeeze_(), lambda x: x,
    ],
)  # fmt: skip
def test_views_made_before_the_shape_changed(turn, create_graph):
    """They keep their own shape and memory, and lead to the same elements of the base."""

    def run(T):
        x = T.arange(6.0).reshape(2, 1, 3).double().requires_grad_()
        base = x * 1
        row, flat = base[0], base.view(-1)
        turn(base)
        row.mul_(3)
        doubled = flat * 2
        flat[1:3].mul_(10)
        base[-1].mul_(7)
        weights = T.arange(6.0).reshape(base.shape[::-1]).permute(*range(base.ndim)[::-1])
        total = (base * weights).sum() + (row * row).sum() + (doubled * flat * flat).sum()
        (g,) = T.autograd.grad(total, x, create_graph=create_graph)
        more = T.autograd.grad((g * g).sum(), x)[0] if create_graph else g
        return [base.shape, row.shape, total.item(), g.tolist(), more.tolist()]

    same(run)


def test_a_view_made_before_the_memory_was_read_in_another_way():
    base = tinygrad_edu.ones(2, 3, requires_grad=True) * 1
    row = base[0]
    base.as_strided_((3, 2), (1, 3))
    assert row.tolist() == [1.0, 1.0, 1.0] and (row * 2).tolist() == [2.0, 2.0, 2.0]
    base.mul_(2)
    with pytest.raises(RuntimeError, match="made before `as_strided_`"):
        row * 2


def test_gradients_of_a_view_in_another_order_of_memory():
    def run(T):
        x = T.arange(6.0).reshape(2, 3).double().requires_grad_()
        y, z = x * 1, (x * 1).t().clone()
        y.view(-1).mul_(2)
        z.t().view(-1).mul_(3)
        weights = T.arange(6.0).reshape(3, 2) ** 2
        total = (y.t() * weights).sum() + (z * z * weights).sum()
        return T.autograd.grad(total, x)[0].tolist()

    same(run)
