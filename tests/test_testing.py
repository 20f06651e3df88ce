"""tinygrad_edu.testing: assert_close says what torch's says; the strategies keep their word."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_edu
from tinygrad_edu import testing
from tinygrad_edu.testing import assert_close, make_tensor

torch = pytest.importorskip("torch")
hypothesis = pytest.importorskip("hypothesis")
from hypothesis import find, given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

PAIRS: list[tuple[Any, Any, dict[str, Any]]] = [
    ([1.0, 2.0], [1.0, 2.0], {}),
    ([1.0, 2.0, 3.0], [1.0, 2.5, 3.0], {}),
    ([1.0, 2.0], [1.0, 2.0 + 1e-6], {}),
    ([1.0, 2.0], [1.0, 2.0 + 1e-3], {}),
    ([1.0, 2.0], [1.0, 2.1], {"rtol": 0.1, "atol": 0.0}),
    ([1.0, 2.0], [1.0, 2.1], {"rtol": 0.0, "atol": 0.0}),
    ([1.0, math.nan], [1.0, math.nan], {}),
    ([1.0, math.nan], [1.0, math.nan], {"equal_nan": True}),
    ([math.inf, 1.0], [math.inf, 1.0], {}),
    ([math.inf, 1.0], [-math.inf, 1.0], {}),
    ([1.0], [1.0, 2.0], {}),
    ([1, 2], [1, 3], {}),
    ([1, 2], [1.0, 2.0], {}),
    ([1, 2], [1.0, 2.0], {"check_dtype": False}),
    ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.5, 1.0]], {}),
    (1.5, 1.5, {}),
    (1.5, 2.5, {}),
    ([True, False], [True, True], {}),
    ([0.0], [1e-6], {}),
]


def verdict(check: Any, *args: Any, **options: Any) -> str:
    try:
        check(*args, **options)
    except AssertionError as error:
        return str(error)
    return "close"


@pytest.mark.parametrize("case", range(len(PAIRS)))
@pytest.mark.parametrize("dtype", [None, "float64", "float16"])
def test_assert_close_says_what_torch_says(case: int, dtype: str | None) -> None:
    a, b, options = PAIRS[case]
    made = [
        [lib.tensor(v, dtype=dtype and getattr(lib, dtype)) for v in (a, b)]
        for lib in (tinygrad_edu, torch)
    ]
    ours = verdict(assert_close, *made[0], **options)
    theirs = verdict(torch.testing.assert_close, *made[1], **options)
    assert (ours == "close") == (theirs == "close"), (ours, theirs)
    # the first lines are the same; the numbers may differ in their last digits
    assert [line.split(" difference")[0] for line in ours.splitlines()] == [
        line.split(" difference")[0] for line in theirs.splitlines()
    ]


@pytest.mark.parametrize(
    ("a", "b", "options"),
    [
        (1.0, 1.0, {}), (1.0, 2.0, {}), (1, 1.0, {}), (1, 1.0, {"check_dtype": False}), (1, 2, {}),
        ([1.0, 2.0], [1.0, 2.5], {}), ([1.0], [1.0, 2.0], {}), ({"a": 1.0}, {"a": 1.5}, {}),
        ({"a": 1.0}, {"b": 1.0}, {}), ((1.0, [2.0, 3.0]), (1.0, [2.0, 3.5]), {}), (None, None, {}),
    ],
)  # fmt: skip
def test_numbers_and_containers(a: Any, b: Any, options: dict[str, Any]) -> None:
    ours = verdict(assert_close, a, b, **options)
    theirs = verdict(torch.testing.assert_close, a, b, **options)
    assert (ours == "close") == (theirs == "close")
    if ours != "close":
        assert ours.splitlines()[0] == theirs.splitlines()[0]
        assert ours.splitlines()[-1] == theirs.splitlines()[-1]


def test_the_message_can_be_replaced() -> None:
    x, y = tinygrad_edu.tensor([1.0]), tinygrad_edu.tensor([2.0])
    assert verdict(assert_close, x, y, msg="mine") == "mine"
    assert verdict(assert_close, x, y, msg=lambda text: "Mine: " + text[:6]) == "Mine: Tensor"


def test_arguments_are_checked() -> None:
    x = tinygrad_edu.tensor([1.0])
    with pytest.raises(ValueError, match="rtol and atol must both be specified"):
        assert_close(x, x, rtol=0.1)
    with pytest.raises(AssertionError, match="types do not match"):
        assert_close(x, 1.0)
    with pytest.raises(AssertionError, match="stride"):
        assert_close(tinygrad_edu.zeros(2, 3).t(), tinygrad_edu.zeros(3, 2), check_stride=True)
    assert_close(x, np.ones(1, np.float32))


def test_make_tensor() -> None:
    for name in ("float32", "float64", "int64", "uint8", "bool"):
        x = make_tensor(20, 30, dtype=getattr(tinygrad_edu, name))
        reference = torch.testing.make_tensor(20, 30, dtype=getattr(torch, name), device="cpu")
        assert x.shape == tuple(reference.shape) and repr(x.dtype) == repr(reference.dtype)
        assert abs(float(x.double().mean()) - float(reference.double().mean())) < 1.5
    x = make_tensor((2, 4), dtype=tinygrad_edu.float32, low=0, high=1, requires_grad=True)
    assert x.requires_grad and 0 <= x.min().item() and x.max().item() < 1
    assert not make_tensor(3, 4, dtype=tinygrad_edu.float32, noncontiguous=True).is_contiguous()
    assert make_tensor(1000, dtype=tinygrad_edu.int64, low=0, high=2, exclude_zero=True).all()
    with pytest.raises(ValueError, match="must be less than"):
        make_tensor(2, dtype=tinygrad_edu.float32, low=1, high=0)
    tinygrad_edu.manual_seed(3)
    a = make_tensor(5, dtype=tinygrad_edu.float32)
    tinygrad_edu.manual_seed(3)
    assert (a == make_tensor(5, dtype=tinygrad_edu.float32)).all()


# ---- the strategies


@given(testing.shapes(1, 2, 0, 3))
def test_shapes(shape: tuple[int, ...]) -> None:
    assert 1 <= len(shape) <= 2 and all(0 <= side <= 3 for side in shape)


@given(testing.broadcasting(3))
def test_broadcasting(shapes: tuple[tuple[int, ...], ...]) -> None:
    np.broadcast_shapes(*shapes)


@given(st.data(), testing.shapes())
def test_broadcastable_shapes(data: Any, shape: tuple[int, ...]) -> None:
    other = data.draw(testing.broadcastable_shapes(shape, max_dims=5))
    assert np.broadcast_shapes(other, shape)[-len(shape) or 9 :] == shape[-len(shape) or 9 :]


@given(testing.tensors(dtype=testing.dtypes(["float", "half", "int", "uint", "bool"])))
def test_tensors(x: Any) -> None:
    assert isinstance(x, tinygrad_edu.Tensor) and not x.requires_grad and x.ndim <= 3


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layouts_hold_the_same_values(layout: str) -> None:
    x = find(testing.tensors(shape=(3, 4), layout=layout), lambda x: bool((x != 0).all()))
    assert x.is_contiguous() == (layout in ("contiguous", "offset"))


@given(testing.tensors(elements=testing.away_from(0.0, 1.0, margin=0.25)))
def test_away_from(x: Any) -> None:
    assert ((x.abs() >= 0.25) & ((x - 1).abs() >= 0.25)).all()


@given(testing.tensors(elements=testing.positive()), testing.masks(), testing.indices(4))
def test_values(x: Any, mask: Any, index: Any) -> None:
    assert (x > 0).all()
    assert mask.dtype == tinygrad_edu.bool
    assert ((index >= 0) & (index < 4)).all()


@given(testing.distinct(gap=0.5))
def test_distinct(x: Any) -> None:
    values = np.sort(x.numpy().ravel())
    assert (np.diff(values) >= 0.5).all()


@given(st.data())
def test_views_do_the_same_in_torch(data: Any) -> None:
    shape = data.draw(testing.shapes(1, 3))
    view, text = data.draw(testing.views(shape))
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    mine, reference = view(tinygrad_edu.from_numpy(x)), view(torch.from_numpy(x))
    assert mine.numpy().tolist() == reference.numpy().tolist(), text
    assert mine.stride() == tuple(reference.stride())
    mine.fill_(-1.0)  # it is a view: torch sees what is written
    assert (reference == -1).all()


@given(testing.compositions())
def test_compositions_know_their_shape(program: Any) -> None:
    inputs = [tinygrad_edu.zeros(shape) for shape in program.inputs]
    assert program(*inputs).shape == program.shape
    assert len(program.text.splitlines()) == len(program.steps)


def test_without_hypothesis_the_rest_works() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import tinygrad_edu as torch\n"
        "from tinygrad_edu import testing\n"
        "testing.assert_close(torch.ones(2), torch.ones(2))\n"
        "try: testing.shapes\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'tinygrad-edu[test]'" in done.stdout, done.stderr


def test_nothing_else_is_exported() -> None:
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError):
        testing.no_such_thing  # noqa: B018
