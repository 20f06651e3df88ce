"""Losses against torch: every option, derivatives, errors and warnings; the fast cross-entropy
against its definition."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from beside_torch import beside_torch, close, numbers, ours, same_error, same_warning, torch
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_edu.ops.losses import _cross_entropy

REDUCTIONS = ("none", "sum", "mean")
random = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return random.normal(size=shape)


def uniform(*shape: int) -> np.ndarray:
    return random.uniform(0.05, 0.95, size=shape)


def signs(*shape: int) -> np.ndarray:
    return np.where(normal(*shape) > 0, 1.0, -1.0)


def loss(name: str, **options: Any) -> Any:
    return lambda library, *args: getattr(library.nn.functional, name)(*args, **options)


# ---- cross-entropy and NLL

SCORES = [
    ((4, 3), (4,)),
    ((3,), ()),
    ((2, 3, 5), (2, 5)),
    ((2, 3, 2, 4), (2, 2, 4)),
    ((1, 1), (1,)),
]


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("shape", "rows"), SCORES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [-100, 1, 7])
def test_classes(
    name: str, reduction: str, shape: tuple[int, ...], rows: tuple[int, ...], weighted: bool,
    ignore: int,
) -> None:  # fmt: skip
    classes = shape[0 if len(shape) == 1 else 1]
    target = random.integers(0, classes, rows)
    if ignore == 7 and rows:
        target.reshape(-1)[0] = 7
    weight = random.uniform(0.5, 2, classes) if weighted else None
    if np.all(target == ignore) and reduction == "mean":
        return  # nan: see test_nothing_to_average
    run = lambda library, x, t, w=None: getattr(library.nn.functional, name)(  # noqa: E731
        x, t, weight=w, ignore_index=ignore, reduction=reduction
    )
    beside_torch(run, normal(*shape), constants=(target, weight))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("shape", "rows"), SCORES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.parametrize("ignore", [-100, 1])
def test_label_smoothing(
    reduction: str, shape: tuple[int, ...], rows: tuple[int, ...], weighted: bool,
    smoothing: float, ignore: int,
) -> None:  # fmt: skip
    classes = shape[0 if len(shape) == 1 else 1]
    target = random.integers(0, classes, rows)
    if ignore == 1:
        target.reshape(-1)[0] = 0
    weight = random.uniform(0.5, 2, classes) if weighted else None
    run = lambda library, x, t, w=None: library.nn.functional.cross_entropy(  # noqa: E731
        x, t, weight=w, ignore_index=ignore, reduction=reduction, label_smoothing=smoothing
    )
    beside_torch(run, normal(*shape), constants=(target, weight))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(4, 3), (3,), (2, 3, 5)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_probabilities(
    reduction: str, shape: tuple[int, ...], weighted: bool, smoothing: float
) -> None:
    run = lambda library, x, t, w=None: library.nn.functional.cross_entropy(  # noqa: E731
        x, t, weight=w, reduction=reduction, label_smoothing=smoothing
    )
    weights = [random.uniform(0.5, 2, 3)] if weighted else []
    beside_torch(run, normal(*shape), uniform(*shape), *weights)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_layouts_and_dtypes(dtype: str) -> None:
    target = np.array([0, 2, 1])
    beside_torch(lambda library, x, t: library.nn.functional.cross_entropy(x.t(), t),
                 normal(4, 3), constants=[target], dtype=dtype)  # fmt: skip
    beside_torch(lambda library, x, t: library.nn.functional.cross_entropy(x[:, ::2], t),
                 normal(3, 6), constants=[target], dtype=dtype)  # fmt: skip
    beside_torch(loss("cross_entropy"), normal(3, 3), constants=[target.astype(np.uint8)],
                 dtype=dtype)  # fmt: skip
    wide = np.array([[0, 9, 2, 9, 1]])
    beside_torch(lambda library, x, t: library.nn.functional.cross_entropy(x, t[0, ::2]),
                 normal(3, 3), constants=[wide], dtype=dtype)  # fmt: skip


def test_half_precision() -> None:
    beside_torch(loss("cross_entropy"), normal(5, 4), constants=[np.array([0, 1, 2, 3, 0])],
                 dtype="float16", second=False)  # fmt: skip


def test_extreme_scores() -> None:
    inf = float("inf")
    for row in ([1e4, -1e4, 0.0], [0.0, 1e4, 1e4], [-inf, 0.0, 1.0]):
        beside_torch(loss("cross_entropy"), [row], constants=[np.array([1])], second=False)
    beside_torch(loss("cross_entropy"), constants=[[[0.0, inf]], np.array([0])])
    beside_torch(loss("cross_entropy", reduction="sum"),
                 constants=[[[-inf, 0.0], [0.0, 1.0]], np.array([-100, 1])])  # fmt: skip


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_nothing_to_average(name: str) -> None:
    for reduction in REDUCTIONS:
        beside_torch(loss(name, reduction=reduction), constants=[normal(0, 3), np.zeros(0, int)])
        beside_torch(loss(name, reduction=reduction), constants=[normal(2, 3), np.full(2, -100)])


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_class_errors(name: str) -> None:
    def check(words: str | None, shape: tuple[int, ...], target: Any, **options: Any) -> None:
        def run(library: Any) -> None:
            made = {k: library.tensor(v) if isinstance(v, np.ndarray) else v
                    for k, v in options.items()}  # fmt: skip
            x = library.tensor(np.zeros(shape, np.float32))
            getattr(library.nn.functional, name)(x, library.tensor(target), **made)

        same_error(run, *filter(None, [words]))

    check("Target 3 is out of bounds.", (4, 3), [0, 1, 2, 3])
    check("Target -1 is out of bounds.", (4, 3), [0, 1, 2, -1])
    check("Target 7 is out of bounds.", (2, 3, 2), [[0, 1], [7, 2]])
    check(None, (4, 3), [0, 1, 2])
    check("but got", (4, 3), [0.0, 1.0, 2.0, 1.0])
    check("but got", (2, 3), np.array([0, 1], np.int32))
    check("Expected target size [2, 5], got [2, 6]", (2, 3, 5), np.zeros((2, 6), int))
    check(None, (4, 3), [[0], [1], [2], [0]])
    check(None, (3,), [1, 1])
    check("weight tensor should be defined", (2, 3), [0, 1], weight=np.ones(4, np.float32))
    check("expected scalar type", (2, 3), [0, 1], weight=np.ones(3))
    check(None, (2, 3), [0, 1], reduction="most")


def test_cross_entropy_errors() -> None:
    F = lambda library: library.nn.functional.cross_entropy  # noqa: E731
    same_error(lambda t: F(t)(t.zeros(2, 3), t.tensor([0, 1]), label_smoothing=1.5))
    same_error(lambda t: F(t)(t.zeros(2, 3), t.zeros(2, 3), ignore_index=1))
    same_error(lambda t: F(t)(t.zeros(2, 3), t.zeros(2, 3).long()), "Expected floating point type")
    same_error(lambda t: F(t)(t.zeros(2, 3).long(), t.tensor([0, 1])), "not implemented")
    same_error(
        lambda t: F(t)(t.zeros(2, 3), t.tensor([0, 1]), t.ones(3, requires_grad=True)),
        "This input cannot have requires_grad True.",
    )


@given(st.data())
def test_kernel_equals_definition(data: Any) -> None:
    rows, classes = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = data.draw(st.sampled_from([0.1, 1.0, 100.0]))
    target = ours.tensor(rng.integers(0, classes, rows))
    ignore = data.draw(st.sampled_from([-100, 0]))
    weight = ours.tensor(rng.uniform(0.5, 2, classes)) if data.draw(st.booleans()) else None
    reduction = data.draw(st.sampled_from(["none", "sum"] + ["mean"] * (ignore == -100)))
    x = ours.tensor(rng.normal(size=(rows, classes)) * scale, requires_grad=True)
    found = []
    for function in (_cross_entropy, _cross_entropy.primitive.definition):
        fixed = (target, weight) if function is _cross_entropy else (
            target.array, None if weight is None else weight.array)  # fmt: skip
        y = function(x, *fixed, ignore, reduction)
        start = np.random.default_rng(1).normal(size=y.shape)
        found.append((y, *ours.autograd.grad(y, x, ours.tensor(start))))
    for a, b in zip(*found, strict=True):
        close(a, b, "float64", "kernel and definition")


def test_writing_into_targets_is_noticed() -> None:
    x = ours.randn(2, 3, requires_grad=True)
    target = ours.tensor([0, 1])
    y = ours.nn.functional.cross_entropy(x, target)
    target[0] = 2
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        y.backward()


# ---- element by element

REGRESSION = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {"beta": 0.7},
    "huber_loss": {"delta": 0.7},
}


@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 2)])
def test_regression(name: str, reduction: str, dtype: str, shape: tuple[int, ...]) -> None:
    for options in ({}, REGRESSION[name]):
        run = loss(name, reduction=reduction, **options)
        beside_torch(run, normal(*shape), normal(*shape), dtype=dtype)
        beside_torch(run, normal(*shape), constants=[normal(*shape)], dtype=dtype)


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_broadcasts_with_a_warning(name: str) -> None:
    beside_torch(loss(name), normal(4, 1), normal(3))
    beside_torch(loss(name), normal(4), constants=[normal(3, 4)])
    same_warning(lambda t: loss(name)(t, t.zeros(4, 1), t.zeros(4)))
    same_error(lambda t: loss(name)(t, t.zeros(4), t.zeros(3)), "must match the size of tensor b")
    same_error(lambda t: loss(name, reduction="most")(t, t.zeros(4), t.zeros(4)))


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_regression_weights(name: str, reduction: str) -> None:
    run = lambda t, x, y, w: getattr(t.nn.functional, name)(x, y, reduction=reduction, weight=w)  # noqa: E731
    beside_torch(run, normal(3, 2), normal(3, 2), uniform(3, 2))
    same_error(lambda t: run(t, t.zeros(3), t.zeros(3), t.ones(2)))


def test_regression_options() -> None:
    beside_torch(loss("smooth_l1_loss", beta=0.0), normal(3), normal(3))
    for beta in (0.5, 2.0):  # exactly at the corner
        beside_torch(loss("smooth_l1_loss", beta=beta), [beta, -beta, 0.0], constants=[np.zeros(3)],
                     second=False)  # fmt: skip
    beside_torch(loss("l1_loss"), [1.0, 2.0], constants=[[1.0, 5.0]])
    beside_torch(loss("l1_loss", reduction="sum"), constants=[np.arange(3), np.ones(3, int)])
    same_error(lambda t: loss("mse_loss")(t, t.tensor([1]), t.tensor([2])), "not implemented")
    same_error(lambda t: loss("smooth_l1_loss", beta=-1)(t, t.zeros(2), t.zeros(2)))
    same_error(lambda t: loss("huber_loss", delta=0)(t, t.zeros(2), t.zeros(2)))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary(reduction: str, dtype: str) -> None:
    plain = loss("binary_cross_entropy", reduction=reduction)
    beside_torch(plain, uniform(3, 4), constants=[uniform(3, 4)], dtype=dtype)
    beside_torch(plain, uniform(3, 4), uniform(3, 4), dtype=dtype)
    beside_torch(plain, uniform(3, 4), constants=[uniform(3, 4), uniform(4)], dtype=dtype)
    logits = loss("binary_cross_entropy_with_logits", reduction=reduction)
    beside_torch(logits, normal(3, 4), uniform(3, 4), dtype=dtype)
    beside_torch(logits, normal(3, 4), uniform(3, 4), constants=[uniform(4)], dtype=dtype)
    run = lambda t, x, y, p, w=None: t.nn.functional.binary_cross_entropy_with_logits(  # noqa: E731
        x, y, weight=w, reduction=reduction, pos_weight=p
    )
    beside_torch(run, normal(3, 4), uniform(3, 4), constants=[uniform(4) * 3], dtype=dtype)
    beside_torch(run, normal(3, 4), uniform(3, 4), constants=[uniform(4) * 3, uniform(3, 4)],
                 dtype=dtype)  # fmt: skip


def test_binary_at_the_ends() -> None:
    beside_torch(loss("binary_cross_entropy", reduction="none"), [0.0, 1.0, 0.0, 1.0],
                 constants=[[0.0, 1.0, 1.0, 0.0]], dtype="float32", second=False)  # fmt: skip
    x = [1000.0, -1000.0, 1000.0, -1000.0, 0.0]
    beside_torch(loss("binary_cross_entropy_with_logits", reduction="none"), x,
                 constants=[[1.0, 0.0, 0.0, 1.0, 1.0]])  # fmt: skip


def test_binary_errors() -> None:
    F = "binary_cross_entropy"
    same_error(lambda t: loss(F)(t, t.ones(4, 3) / 2, t.ones(1, 3)))
    same_error(lambda t: loss(F)(t, t.ones(2) * 2, t.ones(2)))
    same_error(lambda t: loss(F)(t, t.ones(2) * float("nan"), t.ones(2)))
    same_error(lambda t: loss(F)(t, t.ones(2), t.ones(2) * 2))
    same_error(lambda t: loss(F)(t, t.ones(2), t.ones(2).double()), "Found dtype")
    same_error(lambda t: loss(F + "_with_logits")(t, t.ones(4, 3), t.ones(1, 3)))
    same_error(lambda t: loss(F + "_with_logits")(t, t.ones(2), t.ones(2).long()), "can't be cast")
    same_error(lambda t: loss(F, reduction="most")(t, t.ones(2), t.ones(2)))


@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
def test_kl_div(reduction: str) -> None:
    beside_torch(loss("kl_div", reduction=reduction), normal(3, 4), uniform(3, 4))
    beside_torch(loss("kl_div", reduction=reduction, log_target=True), normal(3, 4), normal(3, 4))
    target = uniform(3, 4) * (uniform(3, 4) > 0.5)
    beside_torch(loss("kl_div", reduction=reduction), normal(3, 4), constants=[target])
    beside_torch(loss("kl_div", reduction=reduction), normal(), constants=[uniform()])


def test_kl_div_warns_of_mean() -> None:
    same_warning(lambda t: loss("kl_div")(t, t.zeros(2), t.ones(2)))
    same_error(lambda t: loss("kl_div", reduction="most")(t, t.zeros(2), t.ones(2)))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_likelihoods(reduction: str) -> None:
    counts = random.integers(0, 6, (3, 2)).astype(float)
    for log_input, full in itertools.product([True, False], repeat=2):
        run = loss("poisson_nll_loss", reduction=reduction, log_input=log_input, full=full)
        beside_torch(run, uniform(3, 2), constants=[counts])
    for full in (False, True):
        run = loss("gaussian_nll_loss", reduction=reduction, full=full)
        for shape in ((3, 2), (3,), (3, 1)):
            beside_torch(run, normal(3, 2), normal(3, 2), uniform(*shape))
        beside_torch(run, normal(3), normal(3), [0.0, 1e-9, 1.0], second=False)
        beside_torch(
            lambda t, x, y, run=run: run(t, x, y, 0.7), normal(3, 2), constants=[normal(3, 2)]
        )
    same_error(lambda t: loss("gaussian_nll_loss")(t, t.zeros(2), t.zeros(2), -t.ones(2)))
    same_error(lambda t: loss("gaussian_nll_loss")(t, t.zeros(2, 3), t.zeros(2, 3), t.ones(2, 2)))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_comparing_vectors(reduction: str, dtype: str) -> None:
    def check(name: str, *args: Any, constants: Any = (), **options: Any) -> None:
        run = loss(name, reduction=reduction, **options)
        second = name != "multi_margin_loss"  # torch has no second derivative of it
        beside_torch(run, *args, constants=constants, dtype=dtype, second=second)

    pairs = np.array([1, -1, 1, -1])
    check("cosine_embedding_loss", normal(4, 3), normal(4, 3), constants=[pairs], margin=0.1)
    check("cosine_embedding_loss", normal(3), normal(3), constants=[np.array(1)])
    check("hinge_embedding_loss", normal(4, 3), constants=[signs(4, 3)])
    check("hinge_embedding_loss", normal(4, 3), constants=[signs(4, 3)], margin=0.3)
    check("margin_ranking_loss", normal(5), normal(5), constants=[signs(5)], margin=0.2)
    for p, swap in itertools.product([1, 2, 3], [False, True]):
        check("triplet_margin_loss", normal(4, 3), normal(4, 3), normal(4, 3), p=p, swap=swap)
    check("soft_margin_loss", normal(3, 2), constants=[signs(3, 2)])
    check("multilabel_soft_margin_loss", normal(3, 4), constants=[uniform(3, 4)])
    check("multilabel_soft_margin_loss", normal(3, 4), constants=[uniform(3, 4), uniform(4)])
    for p, margin in itertools.product([1, 2], [1.0, 0.5]):
        check("multi_margin_loss", normal(3, 4), constants=[np.array([0, 3, 1])], p=p,
              margin=margin)  # fmt: skip
        check("multi_margin_loss", normal(4), constants=[np.array(2)], p=p, margin=margin)
    run = lambda t, x, y, w: t.nn.functional.multi_margin_loss(x, y, weight=w, reduction=reduction)  # noqa: E731
    if dtype == "float64":
        beside_torch(run, normal(3, 4), constants=[np.array([0, 3, 1]), uniform(4)], second=False)


def test_comparing_vectors_errors() -> None:
    same_error(lambda t: loss("cosine_embedding_loss")(t, t.ones(4, 3), t.ones(4, 3), t.ones(4, 1)))
    same_error(lambda t: loss("margin_ranking_loss")(t, t.ones(4, 3), t.ones(4, 3), t.ones(1)))
    same_error(lambda t: loss("triplet_margin_loss")(t, t.ones(4, 3), t.ones(4, 3), t.ones(3)))
    same_error(lambda t: loss("triplet_margin_loss", margin=-1)(t, *[t.ones(4, 3)] * 3))
    same_error(lambda t: loss("multi_margin_loss")(t, t.ones(2, 3), t.tensor([0, 3])))
    same_error(lambda t: loss("multi_margin_loss", p=3)(t, t.ones(2, 3), t.tensor([0, 1])))
    same_error(lambda t: loss("multi_margin_loss")(t, t.ones(2, 3), t.tensor([0])))


def test_distances() -> None:
    beside_torch(loss("cosine_similarity"), normal(4, 3), normal(4, 3))
    beside_torch(loss("cosine_similarity", dim=0), normal(4, 3), normal(4, 3))
    beside_torch(loss("cosine_similarity", dim=-1), normal(4, 1, 3), normal(5, 3))
    beside_torch(loss("cosine_similarity"), constants=[normal(4, 3), np.zeros((4, 3))])
    for p in (1.0, 2.0, 3.0, float("inf")):
        beside_torch(loss("pairwise_distance", p=p), normal(4, 3), normal(4, 3))
        beside_torch(loss("normalize", p=p), normal(4, 3), second=p != float("inf"))
    beside_torch(loss("pairwise_distance", keepdim=True), normal(4, 3), normal(3))
    beside_torch(loss("normalize", dim=0), normal(4))
    beside_torch(loss("normalize"), constants=[np.zeros((2, 3))])


# ---- modules

MODULES: list[tuple[str, dict[str, Any], list[Any], list[Any]]] = [
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, [(4, 3)], [np.array([0, 1, 2, 0])]),
    ("CrossEntropyLoss", {"ignore_index": 0, "reduction": "sum"}, [(2, 3)], [np.array([0, 1])]),
    ("NLLLoss", {}, [(4, 3)], [np.array([0, 1, 2, 0])]),
    ("MSELoss", {}, [(4, 3), (4, 3)], []),
    ("L1Loss", {"reduction": "none"}, [(4, 3), (4, 3)], []),
    ("SmoothL1Loss", {"beta": 0.5}, [(4, 3), (4, 3)], []),
    ("HuberLoss", {"delta": 0.5}, [(4, 3), (4, 3)], []),
    ("KLDivLoss", {"log_target": True, "reduction": "batchmean"}, [(4, 3), (4, 3)], []),
    ("BCEWithLogitsLoss", {}, [(4, 3)], [np.full((4, 3), 0.3)]),
    ("PoissonNLLLoss", {}, [(4,)], [np.arange(4.0)]),
    ("GaussianNLLLoss", {"full": True}, [(4,), (4,)], [np.full(4, 0.5)]),
    ("CosineEmbeddingLoss", {"margin": 0.2}, [(2, 3), (2, 3)], [np.array([1, -1])]),
    ("HingeEmbeddingLoss", {"margin": 0.2}, [(2,)], [np.array([1, -1])]),
    ("MarginRankingLoss", {"margin": 0.2}, [(2,), (2,)], [np.array([1.0, -1.0])]),
    ("TripletMarginLoss", {"p": 1.0, "swap": True}, [(2, 3), (2, 3), (2, 3)], []),
    ("SoftMarginLoss", {}, [(2,)], [np.array([1.0, -1.0])]),
    ("MultiMarginLoss", {"p": 2, "margin": 0.7}, [(2, 3)], [np.array([1, 2])]),
    ("MultiLabelSoftMarginLoss", {}, [(2, 3)], [np.ones((2, 3))]),
    ("CosineSimilarity", {"dim": 0}, [(2, 3), (2, 3)], []),
    ("PairwiseDistance", {"p": 1.0}, [(2, 3), (2, 3)], []),
]


@pytest.mark.parametrize(("name", "options", "shapes", "constants"), MODULES)
def test_modules(name: str, options: Any, shapes: Any, constants: Any) -> None:
    run = lambda t, *args: getattr(t.nn, name)(**options)(*args)  # noqa: E731
    beside_torch(run, *[normal(*shape) for shape in shapes], constants=constants, second=False)
    mine, theirs = getattr(ours.nn, name)(**options), getattr(torch.nn, name)(**options)
    assert repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for attribute, value in options.items():
        if attribute != "p" or name != "PairwiseDistance":
            assert getattr(mine, attribute) == value


def test_weights_of_modules_are_buffers() -> None:
    for name in ("CrossEntropyLoss", "NLLLoss", "BCELoss", "MultiMarginLoss", "BCEWithLogitsLoss",
                 "MultiLabelSoftMarginLoss"):  # fmt: skip
        mine = getattr(ours.nn, name)(weight=ours.ones(3))
        theirs = getattr(torch.nn, name)(weight=torch.ones(3))
        assert list(mine.state_dict()) == list(theirs.state_dict()) == ["weight"]
        assert mine.double().weight.dtype == ours.float64
    both = ours.nn.BCEWithLogitsLoss(pos_weight=ours.ones(3))
    assert list(both.state_dict()) == ["pos_weight"]
    y = ours.nn.BCELoss(ours.tensor([2.0]))(ours.tensor([0.5]), ours.tensor([1.0]))
    np.testing.assert_allclose(numbers(y), 2 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("options", [{"size_average": False}, {"reduce": False},
                                     {"size_average": True}, {"reduce": True}])  # fmt: skip
def test_old_arguments(options: dict[str, bool]) -> None:
    for name in ("cross_entropy", "nll_loss"):
        run = loss(name, **options)
        beside_torch(run, normal(4, 3), constants=[np.array([0, 1, 2, 0])])
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "kl_div"):
        beside_torch(loss(name, **options), normal(4), normal(4))
    same_warning(lambda t: loss("mse_loss", **options)(t, t.zeros(4), t.zeros(4)))
    same_warning(lambda t: t.nn.CrossEntropyLoss(**options))
