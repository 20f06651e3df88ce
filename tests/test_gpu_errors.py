"""What goes wrong silently on a GPU unless it is looked for; the stand-in must not hide it.

Indices out of range, factorizations that fail, numbers of another width, memory that a graph
still needs, empty tensors.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import strict_cupy
from strict_cupy import kernels as host

import tinygrad_edu as torch
from tinygrad_edu import backend
from tinygrad_edu.kernels.cuda import flash, launch, products

F = torch.nn.functional


def stand_in() -> bool:
    return "strict" in sys.modules["cupy"].__version__


# Numbers as arguments of kernels ------------------------------------------------------------------

KERNELS = [
    (file, name)
    for file in launch.FILES
    for name in re.findall(r"KERNEL (\w+)\(", launch.source(file, np.float32, 32))
]
GIVEN = [0, 1, True, 0.0, 1.0, np.float64(1), np.float32(1), np.float16(1), np.bool_(True),
         np.int64(1), np.int32(1), np.uint8(1)]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("file, name", KERNELS)
def test_numbers_arrive_in_the_width_that_is_declared(
    file: str, name: str, dtype: str, cuda: str
) -> None:
    if not hasattr(sys.modules["cupy"], "RawModule"):
        pytest.skip("no C++ compiler to run kernels with")
    declared = {"T": np.float64 if dtype == "float64" else np.float32, "float": np.float32,
                "Int": np.int64, "int": np.int32}  # fmt: skip
    sizes = flash.variant(16, np.dtype(dtype), False)[1] if file == "flash" else ()
    text = launch.source(file, dtype, launch.THREADS, sizes)
    parameters = re.search(rf"KERNEL {name}\(([^)]*)\)", text)
    assert parameters is not None
    kinds = [p.rpartition(" ")[0].strip() for p in parameters[1].split(",")]
    xp = sys.modules["cupy"]
    _, convert = launch._function(xp, 0, file, name, np.dtype(dtype), launch.THREADS, sizes)
    assert len(convert) == len(kinds)
    for kind, to in zip(kinds, convert, strict=True):
        if kind.endswith("*"):
            for wrong in (np.ones(1), 1.0, np.float64(1), None):
                with pytest.raises(TypeError, match="an array of the GPU is needed"):
                    to(wrong)
            continue
        for value in GIVEN if kind in declared else ():
            if kind == "Int" and not isinstance(value, (int, np.integer)):
                with pytest.raises(TypeError):
                    to(value)
            else:
                assert type(to(value)) is declared[kind] and to(value) == value


# Indices out of range -----------------------------------------------------------------------------


def at(*values: int) -> Any:
    return torch.tensor(values, device="cuda")


def ones(w: Any) -> Any:
    return torch.ones(2, device="cuda", dtype=w.dtype)


FAR: dict[str, Callable[[Any], Any]] = {
    "embedding": lambda w: F.embedding(at(9), w),
    "embedding, negative": lambda w: F.embedding(at(-1), w),
    "embedding_bag, sum": lambda w: F.embedding_bag(at(9, 0), w, at(0), mode="sum"),
    "embedding_bag, mean": lambda w: F.embedding_bag(at(9, 0), w, at(0), mode="mean"),
    "embedding_bag, max": lambda w: F.embedding_bag(at(9, 0), w, at(0), mode="max"),
    "cross_entropy": lambda w: F.cross_entropy(w, at(0, 1, 0, 7)),
    "cross_entropy, negative": lambda w: F.cross_entropy(w, at(0, 1, 0, -1)),
    "cross_entropy, ignoring": lambda w: F.cross_entropy(w, at(0, -100, 0, 7)),
    "cross_entropy, smoothed": lambda w: F.cross_entropy(w, at(0, 1, 0, 7), label_smoothing=0.1),
    "cross_entropy, weighted": lambda w: F.cross_entropy(w, at(0, 1, 0, 7), weight=ones(w)),
    "cross_entropy, images": lambda w: F.cross_entropy(w[..., None], at(0, 1, 0, 7)[:, None]),
    "nll_loss": lambda w: F.nll_loss(w, at(0, 1, 0, 7)),
    "nll_loss, weighted": lambda w: F.nll_loss(w, at(0, 1, 0, 7), weight=ones(w)),
    "multi_margin_loss": lambda w: F.multi_margin_loss(w, at(0, 1, 0, 7)),
    "gather": lambda w: w.gather(0, at(9, 0)[None]),
    "take": lambda w: w.take(at(9)),
    "take_along_dim": lambda w: w.take_along_dim(at(9, 0)[None], 0),
    "index_select": lambda w: w.index_select(0, at(9)),
    "w[i]": lambda w: w[at(9)],
    "w[:, i]": lambda w: w[:, at(9)],
    "w[-i]": lambda w: w[at(-9)],
    "w[i, j]": lambda w: w[at(0), at(2)],
    "index_put": lambda w: w.index_put((at(9),), w[0]),
    "scatter": lambda w: w.scatter(0, at(9, 0)[None], w),
    "scatter_add": lambda w: w.scatter_add(0, at(9, 0)[None], w),
    "scatter_reduce": lambda w: w.scatter_reduce(0, at(9, 0)[None], w, "amax"),
    "index_add": lambda w: w.index_add(0, at(9), w[:1]),
    "index_copy": lambda w: w.index_copy(0, at(9), w[:1]),
    "index_fill": lambda w: w.index_fill(0, at(9), 1),
    "index_reduce": lambda w: w.index_reduce(0, at(9), w[:1], "amax"),
    "put": lambda w: w.put(at(99), w[0, :1]),
    "one_hot": lambda w: F.one_hot(at(9), 4),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", FAR)
def test_an_index_out_of_range_is_an_error(name: str, dtype: Any, cuda: str) -> None:
    """At once, or when the GPU is next waited for, as in torch; afterwards all goes on."""
    with pytest.raises(
        (RuntimeError, IndexError), match="range|out of bounds|invalid|Class values"
    ):
        FAR[name](torch.ones(4, 2, device=cuda, dtype=dtype)).cpu()
    assert F.embedding(at(1), torch.ones(4, 2, device=cuda)).sum().item() == 2


def test_in_range_nothing_is_noted(cuda: str) -> None:
    w = torch.ones(4, 2, device=cuda, requires_grad=True)
    loss = F.embedding(at(0, 3), w).sum() + F.cross_entropy(w, at(0, 1, -100, 0))
    loss.backward()
    assert np.isfinite(loss.item()) and np.isfinite(w.grad.cpu().numpy()).all()


# Factorizations that fail -------------------------------------------------------------------------

SINGULAR = [[1.0, 2.0], [2.0, 4.0]]
FAILING: dict[str, Callable[[Any], Any]] = {
    "inv": lambda x: torch.linalg.inv(x),
    "solve": lambda x: torch.linalg.solve(x, x),
    "solve, vector": lambda x: torch.linalg.solve(x, x[..., 0]),
    "cholesky": lambda x: torch.linalg.cholesky(-x),
    "batch": lambda x: torch.linalg.inv(torch.stack([torch.eye(2, device=x.device), x])),
    "matrix_power": lambda x: torch.linalg.matrix_power(x, -1),
    "inv_ex": lambda x: torch.linalg.inv_ex(x, check_errors=True),
    "cholesky_ex": lambda x: torch.linalg.cholesky_ex(-x, check_errors=True),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_factorization_that_fails_is_an_error(name: str, device: str) -> None:
    with pytest.raises(torch.linalg.LinAlgError, match="singular|positive-definite|dependent"):
        FAILING[name](torch.tensor(SINGULAR, device=device))


def test_what_may_be_singular_stays_so(device: str) -> None:
    x = torch.tensor(SINGULAR, device=device, requires_grad=True)
    y = torch.linalg.det(x)
    y.backward()
    assert abs(y.item()) < 1e-6
    np.testing.assert_allclose(x.grad.cpu(), [[4.0, -2.0], [-2.0, 1.0]], atol=1e-5)


@pytest.mark.parametrize("left, right", [
    ((2, 2), (3, 2, 4)), ((3, 2, 2), (2, 4)), ((3, 1, 2, 2), (5, 2, 1)), ((1, 2, 2), (3, 2, 2)),
    ((3, 2, 2), (3, 2)), ((2, 2), (2,)), ((3, 2, 2), (1, 2, 3)),
])  # fmt: skip
def test_solve_broadcasts(left: Any, right: Any, device: str) -> None:
    random = np.random.default_rng(0)
    a = random.standard_normal(left) + 3 * np.eye(2)
    b = random.standard_normal(right)
    x, y = (torch.tensor(v, device=device, requires_grad=True) for v in (a, b))
    found = torch.linalg.solve(x, y)
    vector = len(right) == 1 or right == left[:-1]
    expected = np.linalg.inv(a) @ (b[..., None] if vector else b)
    expected = expected[..., 0] if vector else expected
    np.testing.assert_allclose(found.detach().cpu(), expected, rtol=1e-10)
    found.sum().backward()
    assert x.grad.shape == x.shape and y.grad.shape == y.shape


# Memory that a graph still needs ------------------------------------------------------------------


def test_a_graph_keeps_the_workspace_of_its_products(cuda: str) -> None:
    """What was allocated before the capture belongs to nobody once a stream has another one."""
    if products.prepare() is None:
        pytest.skip("no C++ compiler for cuBLAS on the host")
    x, side = torch.ones(4, 4, device=cuda), torch.cuda.Stream()
    with torch.cuda.stream(side):
        (x @ x).sum()
    handle = products.prepare()
    before = handle.workspace
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        y = x @ x
        during = handle.workspace
    assert during is not before
    assert any(kept is during for kept in graph._workspaces)
    with torch.cuda.stream(side):
        x @ x
    assert handle.workspace is not during
    graph.replay()
    assert (y == 4).all().item()
    graph.reset()
    assert not graph._workspaces


# Others -------------------------------------------------------------------------------------------

EMPTY: dict[str, Callable[[], Any]] = {
    "rand": lambda: torch.rand(0, device="cuda"),
    "randn": lambda: torch.randn(0, 3, device="cuda"),
    "randint": lambda: torch.randint(5, (0,), device="cuda"),
    "randperm": lambda: torch.randperm(0, device="cuda"),
    "bernoulli": lambda: torch.bernoulli(torch.rand(0, 2, device="cuda")),
    "multinomial": lambda: torch.multinomial(torch.rand(0, 2, device="cuda"), 1),
    "poisson": lambda: torch.poisson(torch.rand(0, device="cuda")),
    "normal": lambda: torch.normal(torch.rand(0, device="cuda"), 1.0),
    "rand_like": lambda: torch.rand_like(torch.rand(0, device="cuda")),
    "dropout": lambda: F.dropout(torch.ones(0, 3, device="cuda"), 0.5),
    "alpha_dropout": lambda: F.alpha_dropout(torch.ones(0, 3, device="cuda"), 0.5),
    "gumbel_softmax": lambda: F.gumbel_softmax(torch.ones(0, 3, device="cuda")),
    **{
        name: lambda name=name, args=args: getattr(torch.ones(0, 2, device="cuda"), name)(*args)
        for name, args in {
            "uniform_": (), "normal_": (), "exponential_": (), "cauchy_": (), "log_normal_": (),
            "geometric_": (0.5,), "random_": (), "bernoulli_": (),
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_no_random_numbers_at_all(name: str, cuda: str) -> None:
    assert EMPTY[name]().cpu().numel() == 0


def test_the_gradient_of_a_bias_is_not_rounded(cuda: str) -> None:
    """It is a product with ones; with TF32 only the products of the layer itself are rounded."""
    g = torch.full((64, 3), 1 + 2.0**-13, device=cuda)
    layer = torch.nn.Linear(2, 3).to(cuda)
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        (layer(torch.ones(64, 2, device=cuda)) * g).sum().backward()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (layer.bias.grad.cpu() == 64 + 64 * 2.0**-13).all()
    if stand_in() and products.prepare() is not None:
        assert (layer.weight.grad.cpu() == 64).all()


# The stand-in refuses what it used to hide --------------------------------------------------------


def test_the_stand_in_is_strict_about_factorizations() -> None:
    with strict_cupy.installed() as cupy:
        x = cupy.asarray(np.array(SINGULAR))
        for name, args in (("inv", (x,)), ("solve", (x, x)), ("cholesky", (-x,))):
            with pytest.raises(strict_cupy.StrictError, match="CuPy returns numbers"):
                getattr(cupy.linalg, name)(*args)
            with backend.solving(x), pytest.raises(np.linalg.LinAlgError):
                getattr(cupy.linalg, name)(*args)
        with pytest.raises(ValueError, match="a must have"):
            cupy.linalg.solve(cupy.ones((2, 2)), cupy.ones((3, 2, 2)))


def test_the_stand_in_wraps_an_index_only_if_that_has_been_noted() -> None:
    with strict_cupy.installed() as cupy:
        x, index = cupy.arange(4), cupy.asarray(np.array([5]))
        for read in (lambda: x[index], lambda: cupy.take(x, index)):
            with pytest.raises(strict_cupy.StrictError, match="wrap this index silently"):
                read()
        if hasattr(cupy, "RawModule"):
            launch_checks = sys.modules["tinygrad_edu.kernels.cuda.checks"]
            launch_checks.require(index, 0, 4)
            assert int(x[index][0]) == int(cupy.take(x, index)[0]) == 1


# What is not left behind --------------------------------------------------------------------------


@pytest.mark.skipif(host.COMPILER is None, reason="no C++ compiler to run kernels with")
def test_threads_share_the_handles_of_cublas() -> None:
    """Twenty threads, one after the other, use one handle; two at once have one each."""
    with strict_cupy.installed() as cupy:
        x = cupy.ones((2, 3), np.float32)
        made: list[int] = []
        together = threading.Barrier(2)

        def work(wait: bool) -> None:
            products.matmul(x, x.T)
            made.append(id(products.prepare()))
            if wait:
                together.wait(30)

        for _ in range(20):
            alone = threading.Thread(target=work, args=(False,))
            alone.start()
            alone.join()
        assert len(set(made)) == 1
        pair = [threading.Thread(target=work, args=(True,)) for _ in range(2)]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()
        assert len(set(made)) == 2
        ours = products.prepare()
        assert id(ours) in made and ours is not None and ours.stream == -1


def test_a_capture_that_cannot_begin_leaves_all_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with strict_cupy.installed() as cupy:
        allocators: list[Any] = ["before"]
        monkeypatch.setattr(cupy.cuda, "get_allocator", lambda: allocators[-1])
        monkeypatch.setattr(cupy.cuda, "set_allocator", allocators.append)
        torch.ones(1, device="cuda")
        before, stream = allocators[-1], torch.cuda.current_stream().cuda_stream
        side = torch.cuda.Stream()
        monkeypatch.setattr(side.cupy, "begin_capture", lambda: 1 / 0, raising=False)
        captured = torch.cuda.CUDAGraph()
        with pytest.raises(ZeroDivisionError), torch.cuda.graph(captured, stream=side):
            pass
        assert allocators[-1] is before and len(allocators) > 2
        assert torch.cuda.current_stream().cuda_stream == stream
        assert not backend.switches.capturing and captured not in backend.graph_pools
        with pytest.raises(RuntimeError, match="without capture_begin"):
            captured.capture_end()


@pytest.mark.skipif(host.COMPILER is None, reason="no C++ compiler to run kernels with")
def test_a_number_costs_one_wait_and_still_tells_of_an_index() -> None:
    with strict_cupy.installed():
        table = torch.ones(4, 2, device="cuda")
        index = torch.tensor([1, 3], device="cuda")
        total = torch.nn.functional.embedding(index, table).sum()  # now there is a note
        strict_cupy.Counters.reset()
        assert total.item() == 4 and strict_cupy.Counters.synchronizations == 1
        torch.nn.functional.embedding(index + 3, table)
        with pytest.raises(RuntimeError, match="out of range"):
            total.item()
        assert total.item() == 4
        torch.nn.functional.embedding(index + 3, table)
        with pytest.raises(RuntimeError, match="out of range"):
            torch.ones(0, device="cuda").cpu()  # an empty array waits too
