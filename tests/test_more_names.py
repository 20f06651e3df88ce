"""Names that few programs use, beside torch's: results, memory, gradients, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import beside_torch, close, ours, same, same_error, torch

Body = Callable[[Any], Any]


def grid(T: Any, **options: Any) -> Any:
    return T.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], **options)


# ---- set_, is_set_to


def taken_over(T: Any) -> Any:
    x, y = grid(T), T.zeros(1)
    same_object = y.set_(x) is y
    y[0, 0] = 9.0
    seen = x[0, 0].item(), y.is_set_to(x), x.is_set_to(y), x.is_set_to(x[0]), x.is_set_to(x.view(6))
    return same_object, y, y.data_ptr() == x.data_ptr(), seen


def in_another_shape(T: Any) -> Any:
    x = grid(T)
    strided = T.zeros(1).set_(x, 1, (2, 2), (1, 1)), T.zeros(1).set_(x, 1, (2, 2))
    return [(y, y.stride()) for y in strided]


def of_a_storage(T: Any) -> Any:
    x = grid(T)
    y = T.zeros(1).set_(x.untyped_storage(), 1, (3,), (1,))
    y[0] = 7.0
    return y, x


def of_nothing(T: Any) -> Any:
    y = T.ones(2).set_()
    return y.shape == (0,), y


def leaf_under_no_grad(T: Any) -> Any:
    y = T.ones(2, requires_grad=True)
    with T.no_grad():
        y.set_(grid(T))
    (y * 2).sum().backward()
    return y, y.grad


@pytest.mark.parametrize(
    "body", [taken_over, in_another_shape, of_a_storage, of_nothing, leaf_under_no_grad]
)
def test_set(body: Body) -> None:
    same(body)


def test_what_set_refuses() -> None:
    same_error(lambda T: T.zeros(1).set_(grid(T).int()), RuntimeError, "Could not set tensor of")
    same_error(lambda T: T.ones(2, requires_grad=True).set_(grid(T)), RuntimeError)
    same_error(lambda T: T.zeros(1).set_(3), TypeError, "'source' must be Tensor, not int")
    for where in ((grid(ours), 0, (30,), (1,)), (grid(ours).untyped_storage(), 4, (3,))):
        with pytest.raises(RuntimeError, match="out of bounds for storage of size 24"):
            ours.zeros(1).set_(*where)
    with pytest.raises(RuntimeError, match="no derivative"):  # torch says so in the backward pass
        ours.zeros(1).set_(grid(ours, requires_grad=True))
    with pytest.raises(RuntimeError, match="a view"):
        ours.zeros(4)[:2].set_(grid(ours))


def test_a_write_after_set_is_noticed() -> None:
    x = grid(ours, requires_grad=True)
    y = x * x
    ours.zeros(1).set_(x.detach()).zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# ---- apply_, map_, map2_


@pytest.mark.parametrize("function", [lambda v: v * 1.5, lambda v: v > 1, lambda v: int(v) // 2])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("layout", ["as it is", "transposed", "every second"])
def test_apply(layout: str, dtype: str, function: Any) -> None:
    def run(T: Any) -> Any:
        x = grid(T).to(getattr(T, dtype))
        x = {"as it is": x, "transposed": x.t(), "every second": x[:, ::2]}[layout]
        seen: list[Any] = []
        y = x.apply_(lambda v: seen.append(v) or function(v))
        return y is x, x, seen, x.stride()

    same(run)


def test_map() -> None:
    same(lambda T: grid(T).map_(grid(T) * 10, lambda a, b: a - b))
    same(lambda T: grid(T).map_(T.ones(3), lambda a, b: a - b))
    same(lambda T: grid(T).t().map_(T.ones(1), max))
    same(lambda T: grid(T).map2_(grid(T), T.ones(3), lambda a, b, c: a + b * c))


def test_what_apply_and_map_refuse() -> None:
    same_error(lambda T: grid(T, requires_grad=True).apply_(float), RuntimeError)
    same_error(lambda T: (grid(T, requires_grad=True) * 1).map_(grid(T), max), RuntimeError)
    same_error(lambda T: grid(T).map_(grid(T, requires_grad=True), max), RuntimeError)
    same_error(lambda T: grid(T).apply_(lambda v: "1"), TypeError)
    same_error(lambda T: grid(T).int().apply_(lambda v: "1"), TypeError, "real number")
    same_error(lambda T: grid(T).map_(grid(T).int(), max), TypeError)
    same_error(lambda T: grid(T).map_(3, max), TypeError)
    same_error(lambda T: T.ones(3).map_(grid(T), max), RuntimeError, "the number of sizes provided")


def test_a_write_by_apply_is_noticed() -> None:
    """torch does not notice, and returns a wrong gradient."""
    x = grid(ours, requires_grad=True)
    z = x * 1
    y = z * z
    z.detach().apply_(lambda v: 0.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# ---- dim_order, is_same_size


SHAPES: dict[str, Body] = {
    "scalar": lambda T: T.ones(()),
    "vector": lambda T: T.ones(3),
    "matrix": lambda T: T.ones(2, 3),
    "transposed": lambda T: T.ones(2, 3).t(),
    "ones": lambda T: T.ones(1, 1),
    "column": lambda T: T.ones(2, 1),
    "permuted": lambda T: T.ones(2, 3, 4).permute(2, 0, 1),
    "permuted with a one": lambda T: T.ones(2, 1, 3).permute(2, 1, 0),
    "expanded": lambda T: T.ones(2, 3).expand(2, 2, 3),
    "expanded and turned": lambda T: T.ones(2, 3).expand(4, 2, 3).permute(1, 2, 0),
    "empty": lambda T: T.ones(3, 0, 2).permute(2, 0, 1),
    "images": lambda T: T.ones(2, 3, 4, 5),
    "channels last": lambda T: T.ones(2, 3, 4, 5).to(memory_format=T.channels_last),
    "overlapping": lambda T: T.as_strided(T.ones(20), (2, 3, 2), (1, 4, 1)),
    "sliced": lambda T: T.ones(4, 6)[::2, ::3],
}
CHECKS: dict[str, Body] = {
    "no": lambda T: False,
    "yes": lambda T: True,
    "contiguous": lambda T: [T.contiguous_format],
    "last": lambda T: [T.channels_last],
    "either": lambda T: [T.contiguous_format, T.channels_last],
    "wrong": lambda T: [3],
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_dim_order(shape: str, check: str) -> None:
    last = "last" in check or check == "either"
    if last and SHAPES[shape](ours).ndim != 4:
        return  # both refuse that format for other numbers of dimensions, each in its way
    same(lambda T: SHAPES[shape](T).dim_order(ambiguity_check=CHECKS[check](T)))


def test_is_same_size() -> None:
    same(lambda T: [T.is_same_size(grid(T), other) for other in (grid(T).int(), grid(T).t())])
    same_error(lambda T: grid(T).is_same_size(3), TypeError)


# ---- as_subclass


def test_as_subclass() -> None:
    def run(T: Any) -> Any:
        class Labels(T.Tensor):  # type: ignore[misc,name-defined]
            extra = 5

        x = grid(T, requires_grad=True)
        y = x.as_subclass(Labels)
        z = grid(T)
        view = z.t().as_subclass(Labels)
        view[0, 0] = 8.0
        (y * 2).sum().backward()
        back = type(y.as_subclass(T.Tensor)) is T.Tensor
        same_memory = y.data_ptr() == x.data_ptr()
        return [y.extra, y.requires_grad, y.is_leaf, same_memory, x.grad, back, z, view.stride()]

    same(run)
    same_error(lambda T: grid(T).as_subclass(int), TypeError)


# ---- functions


def test_functions_of_tensors() -> None:
    same(lambda T: T.index_put_(grid(T), (T.tensor([0, 0]),), T.tensor(9.0), accumulate=True))
    same(lambda T: T.index_put_(grid(T), (T.tensor([0]), T.tensor([1])), T.tensor(9.0)))
    same(lambda T: (T.pdist(grid(T)), T.pdist(grid(T), 1.0)))
    same(lambda T: (T.is_inference(grid(T)), grid(T).is_inference()))
    same(lambda T: T.constant_pad_nd(grid(T), (1, -1, 0, 2), 5.0))
    same(lambda T: T.constant_pad_nd(input=grid(T), pad=[1, 0], value=2))
    same_error(lambda T: T.constant_pad_nd(grid(T), (1,)))
    same_error(lambda T: T.constant_pad_nd(grid(T), [1] * 6))
    with ours.inference_mode():
        assert ours.is_inference(ours.ones(1))


def test_narrow_copy() -> None:
    def run(T: Any) -> Any:
        x = grid(T)
        copies = [T.narrow_copy(x, 1, 1, 2), x.t().narrow_copy(0, -2, 2), x.narrow_copy(0, 0, 2)]
        for copied in copies:
            copied.zero_()
        return x, [c.stride() for c in copies]

    same(run)
    same_error(lambda T: grid(T).narrow_copy(1, 2, 2))
    beside_torch(lambda T, x: T.narrow_copy(x, 1, 1, 2) ** 2, np.random.randn(2, 3))


# ---- cells

CELLS = {"lstm_cell": 4, "gru_cell": 3, "rnn_tanh_cell": 1, "rnn_relu_cell": 1}


@pytest.mark.parametrize("biases", [(), (None, None), (1, 1), (1, None), (None, 1)])
@pytest.mark.parametrize("name", CELLS)
def test_cells(name: str, biases: tuple[Any, ...]) -> None:
    gates, random = CELLS[name], np.random.default_rng(0)
    shapes = [(4, 2), (4, 3), (4, 3), (gates * 3, 2), (gates * 3, 3)]
    shapes += [(gates * 3,) for bias in biases if bias]

    def run(T: Any, x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, *given: Any) -> Any:
        rest = iter(given)
        bias = [next(rest) if b else None for b in biases]
        y = getattr(T, name)(x, (h, c) if name == "lstm_cell" else h, w_ih, w_hh, *bias)
        return y[0] * 2 + y[1] if name == "lstm_cell" else y + c * c

    beside_torch(run, *[random.standard_normal(shape) for shape in shapes])


def test_what_cells_refuse() -> None:
    def call(T: Any, x: Any, h: Any, count: int = 2) -> Any:
        state, w, v = [T.ones(*h)] * count, T.ones(12, 2), T.ones(12, 3)
        return T.lstm_cell(T.ones(*x), state, w, v)

    same_error(lambda T: call(T, (4, 2), (4, 3), 1))
    same_error(lambda T: call(T, (4, 1), (4, 3)))
    same_error(lambda T: call(T, (4, 2), (4, 1)))
    same_error(lambda T: call(T, (4, 2), (2, 3)))
    same_error(lambda T: call(T, (2,), (3,)))


# ---- bags


@pytest.mark.parametrize("padding", [None, 1])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_embedding_bag(mode: int, last: bool, padding: int | None) -> None:
    table = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    offsets = [0, 0, 2, 5] if last else [0, 0, 2]

    def run(T: Any, weights: bool) -> Any:
        w = T.tensor(table, requires_grad=True)
        index, starts = T.tensor([0, 1, 2, 3, 1]), T.tensor(offsets)
        sample = T.full((5,), 2.0) if weights else None
        y, *rest = T.embedding_bag(w, index, starts, False, mode, False, sample, last, padding)
        (y * y).sum().backward()
        return y, rest, w.grad

    for weights in (False, True) if mode == 0 else (False,):
        (y, rest, g), (y2, rest2, g2) = run(ours, weights), run(torch, weights)
        close(y, y2, "float32", "result")
        close(g, g2, "float32", "gradient")
        if mode or not (weights or padding is not None):
            for i, (a, b) in enumerate(zip(rest, rest2, strict=True)):
                n = 5 if i == 0 else 3  # torch may count one bag more
                assert str(a.dtype) == str(b.dtype)
                assert a.tolist()[:n] == b.tolist()[:n], i
