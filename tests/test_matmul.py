"""What the rows of the operations table cannot say of products: shapes at large, einsum, errors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from beside_torch import beside_torch, close, ours, same_error, torch
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_edu.autograd.gradcheck import gradcheck

rand = np.random.standard_normal
BATCHES = [(), (2,), (1,), (3, 2), (3, 1), (1, 2), (0,)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_pairs_of_batches(dtype: str) -> None:
    """Vectors, matrices and broadcast batches, on both sides."""
    for one, two in itertools.product([None, *BATCHES], repeat=2):
        a = rand(3) if one is None else rand((*one, 2, 3))
        b = rand(3) if two is None else rand((*two, 3, 4))
        try:
            np.matmul(a, b)
        except ValueError:
            continue
        beside_torch(lambda T, a, b: a @ b, a, b, dtype=dtype, second=dtype == "float64")


def test_memory_orders() -> None:
    a, b = rand((4, 3, 2)), rand((3, 4, 5))
    beside_torch(lambda T, a, b: a.permute(1, 2, 0) @ b, a, b)
    beside_torch(lambda T, a, b: a[:, 0].mT @ b[0], a, b)
    beside_torch(lambda T, a, b: a[::2, 0, :1] @ b[1, 1:2], a, b)
    beside_torch(lambda T, a: a[:1].expand(5, 3, 2) @ a[0].mT, a)
    beside_torch(lambda T, a: a @ a.mT, a)


def test_raw_arrays_and_reflected() -> None:
    x = ours.ones(2, 2)
    with pytest.raises(TypeError):
        x @ 3
    with pytest.raises(TypeError):
        3 @ x
    out = ours.tensor([[1.0, 2.0]])
    assert (out @ x).tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "float16"])
def test_other_dtypes(kind: str) -> None:
    a, b = (
        (T.arange(6).reshape(2, 3).to(getattr(T, kind)) @ T.ones(3, 2).to(getattr(T, kind)))
        for T in (ours, torch)
    )
    close(a, b, "float16", kind)


ERRORS = {
    "sizes": lambda T: T.ones(2, 3) @ T.ones(4, 5),
    "folded": lambda T: T.ones(2, 2, 3) @ T.ones(4, 3),
    "vector": lambda T: T.ones(2, 3) @ T.ones(4),
    "row": lambda T: T.ones(4) @ T.ones(2, 3),
    "dot": lambda T: T.ones(3) @ T.ones(4),
    "0-d": lambda T: T.tensor(3.0) @ T.ones(2),
    "batch": lambda T: T.ones(2, 2, 3) @ T.ones(2, 4, 3),
    "batches": lambda T: T.ones(2, 2, 3) @ T.ones(3, 3, 4),
    "dtypes": lambda T: T.ones(2, 2) @ T.ones(2, 2).double(),
    "ints": lambda T: T.ones(2, 2) @ T.ones(2, 2).long(),
    "number": lambda T: T.matmul(T.ones(2, 2), 3),
    "mm": lambda T: T.mm(T.ones(2, 3), T.ones(3)),
    "bmm": lambda T: T.bmm(T.ones(2, 2, 3), T.ones(3, 3, 4)),
    "mv": lambda T: T.mv(T.ones(2, 3), T.ones(2)),
    "dot types": lambda T: T.dot(T.ones(3), T.ones(3).double()),
    "inner": lambda T: T.inner(T.ones(2, 3), T.ones(4, 5)),
    "outer": lambda T: T.outer(T.ones(2, 3), T.ones(3)),
    "addmm": lambda T: T.addmm(T.ones(3), T.ones(2, 3), T.ones(3, 5)),
    "tensordot": lambda T: T.tensordot(T.ones(2, 3), T.ones(4, 5), 1),
    "tensordot lists": lambda T: T.tensordot(T.ones(2, 3), T.ones(2, 3), ([0, 1], [0])),
    "multi_dot": lambda T: T.linalg.multi_dot([T.ones(2, 2)]),
    "cross": lambda T: T.linalg.cross(T.ones(2, 3), T.ones(4, 5)),
    "linear": lambda T: T.nn.functional.linear(T.ones(2, 3), T.ones(4, 5)),
    "linear vector": lambda T: T.nn.functional.linear(T.ones(4), T.ones(4, 3)),
    "linear dtypes": lambda T: T.nn.functional.linear(T.ones(2, 3), T.ones(4, 3).double()),
    "einsum sizes": lambda T: T.einsum("ij,jk->ik", T.ones(2, 3), T.ones(4, 5)),
    "einsum output": lambda T: T.einsum("ij->il", T.ones(2, 3)),
    "einsum twice": lambda T: T.einsum("ij->ijj", T.ones(2, 3)),
    "einsum letters": lambda T: T.einsum("ijk", T.ones(2, 3)),
    "einsum digit": lambda T: T.einsum("i1", T.ones(2, 3)),
    "einsum dots": lambda T: T.einsum("i.j", T.ones(2, 3)),
    "einsum few": lambda T: T.einsum("ij,jk->ik", T.ones(2, 3)),
    "einsum many": lambda T: T.einsum("ij", T.ones(2, 3), T.ones(2, 3)),
    "einsum diagonal": lambda T: T.einsum("ii", T.ones(2, 3)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_torchs(name: str) -> None:
    """The same type and, word for word, the same facts."""
    same_error(ERRORS[name])


def test_linear() -> None:
    """Every number of dimensions, with and without bias; the bias of one element broadcasts."""
    linear = lambda T, *args: T.nn.functional.linear(*args)  # noqa: E731
    for shape in ((3,), (2, 3), (5, 2, 3), (2, 1, 2, 3), (0, 3), (1, 3)):
        for dtype in ("float64", "float32"):
            beside_torch(linear, rand(shape), rand((4, 3)), rand(4), dtype=dtype)
        beside_torch(linear, rand(shape), rand((4, 3)))
        beside_torch(linear, rand(shape), rand((4, 3)), rand(1))
        beside_torch(linear, rand(shape), rand(3))
    beside_torch(lambda T, x, w: T.nn.functional.linear(x.mT, w), rand((3, 2)), rand((4, 3)))


EQUATIONS = [
    ("ij,jk", (2, 3), (3, 4)), ("ij", (2, 3)), ("ji", (2, 3)), ("ii", (3, 3)), ("ii->i", (3, 3)),
    ("ij->", (2, 3)), ("i j -> j i", (2, 3)), ("bA,aB", (2, 3), (4, 5)), ("...i->...", (2, 2, 3)),
    ("i...->...", (2, 2, 3)), ("i...", (2, 2, 3)), ("b...i,...j->...ij", (2, 2, 3), (2, 3)),
    ("ij,ik->ij", (2, 3), (2, 4)), ("ij,ij", (2, 3), (1, 3)), ("...,...", (2, 2, 3), (2, 3)),
    (",ij", (), (2, 3)), ("...ij->ji", (2, 2, 3)), ("ij->i...", (2, 3)), ("iij->j", (2, 2, 3)),
    ("iji->j", (3, 2, 3)), ("iii", (2, 2, 2)), ("ij,kl,mn->", (2, 1), (2, 2), (1, 3)),
    ("ab,bc,cd,da->", (2, 3), (3, 2), (2, 4), (4, 2)), ("i,ij,j", (2,), (2, 3), (3,)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 2), (2, 2, 4, 2)),
    ("bhqk,bhkd->bqhd", (2, 2, 3, 4), (2, 2, 4, 2)),
    ("bi,bj,bij->b", (2, 3), (2, 4), (2, 3, 4)), ("ik,kj->ji", (2, 3), (3, 4)),
    ("i,j->ji", (2,), (3,)), ("ij,j->ij", (2, 3), (1,)), ("i->", (0,)),
    ("ij,jk->ik", (2, 0), (0, 3)),
    ("...ij,...jk->...ik", (2, 1, 2, 3), (4, 3, 2)), ("ii,jj->ij", (2, 2), (3, 3)),
]  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda e: e[0])
def test_einsum(equation: Any) -> None:
    """Ellipses, diagonals, implicit results, broadcasting, orders of contraction."""
    text, *shapes = equation
    beside_torch(lambda T, *x: T.einsum(text, *x), *[rand(shape) for shape in shapes])


def test_einsum_lists() -> None:
    a, b = rand((2, 3)), rand((2, 4))
    beside_torch(lambda T, a, b: T.einsum(a, [0, 1], b, [0, 2], [1, 2]), a, b)
    beside_torch(lambda T, a, b: T.einsum(a, [30, 1], b, [30, 2]), a, b)
    beside_torch(lambda T, a: T.einsum(a, [..., 0], [0, ...]), a)
    beside_torch(lambda T, a, b: T.einsum("ij,ik", [a, b]), a, b)


@given(st.data())
def test_einsum_of_any_two(data: Any) -> None:
    """Random labels for two tensors and the result; against torch and NumPy."""
    sizes = {"a": 2, "b": 3, "c": 1, "d": 2}
    words = [data.draw(st.text("abcd", max_size=4)) for _ in range(2)]
    letters = sorted(set("".join(words)))
    order = data.draw(st.permutations(letters))
    out = "".join(order[: data.draw(st.integers(0, len(letters)))])
    arrays = [np.random.rand(*[sizes[c] for c in word]) for word in words]
    equation = ",".join(words) + "->" + out
    beside_torch(lambda T, *x: T.einsum(equation, *x), *arrays)
    found = ours.einsum(equation, *[ours.tensor(np.asarray(x)) for x in arrays])
    np.testing.assert_allclose(found.numpy(), np.einsum(equation, *arrays))


def test_multi_dot_chooses_the_cheapest_order() -> None:
    sizes = [(2, 30), (30, 3), (3, 40), (40, 1)]
    beside_torch(lambda T, *x: T.linalg.multi_dot(x), *[rand(s) for s in sizes])
    beside_torch(lambda T, *x: T.linalg.multi_dot(x), rand(3), rand((3, 2)), rand(2))


def test_beta_of_zero_ignores_nan() -> None:
    x = ours.addmm(ours.full((2,), float("nan")), ours.ones(2, 2), ours.ones(2, 2), beta=0)
    assert x.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_diagonal_is_a_view() -> None:
    x = ours.zeros(3, 3)
    x.diagonal().fill_(1.0)
    assert x.tolist() == ours.eye(3).tolist()
    y = ours.ones(2, 2, requires_grad=True)
    z = y * 1
    z.diagonal().mul_(5.0)
    z.sum().backward()
    assert y.grad is not None and y.grad.tolist() == [[5.0, 1.0], [1.0, 5.0]]


def test_determinant_of_singular_matrices() -> None:
    """The gradient is that of cofactors: it exists where the inverse does not."""
    for matrix in ([[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 3.0]]):
        x = ours.tensor(matrix, dtype=ours.float64, requires_grad=True)
        assert gradcheck(ours.linalg.det, (x,))
    for run in (
        lambda T: T.linalg.inv(T.ones(2, 2)),
        lambda T: T.linalg.solve(T.zeros(2, 2), T.ones(2)),
        lambda T: T.linalg.cholesky(-T.eye(2)),
    ):
        with pytest.raises(RuntimeError, match="singular|positive-definite"):
            run(ours)
