"""`x[...]`: every kind of index, read and written, against torch, with gradients."""

import copy

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import tinygrad_edu
from tinygrad_edu.kernels.atomic import add_at

torch = pytest.importorskip("torch")


@st.composite
def cases(draw):
    """A shape and a valid index for it, in plain form: ("tensor", data) stands for a tensor."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    entries, dim = [], 0
    count = draw(st.integers(0, len(shape)))
    common = draw(st.sampled_from([(), (2,), (1,), (2, 2), (2, 1)]))
    dots = draw(st.booleans())
    for _ in range(count):
        size = shape[dim]
        kind = draw(st.sampled_from(["int", "slice", "none", "tensor", "list", "mask", "bool"]))
        if kind == "int":
            entries.append(draw(st.integers(-size, size - 1)))
        elif kind == "slice":
            low = draw(st.none() | st.integers(-size - 1, size + 1))
            high = draw(st.none() | st.integers(-size - 1, size + 1))
            entries.append(slice(low, high, draw(st.none() | st.integers(1, 3))))
        elif kind == "none":
            entries.append(None)
            continue
        elif kind == "bool":
            entries.append(draw(st.booleans()))
            continue
        elif kind == "tensor":
            number = int(np.prod(common, dtype=int))
            flat = draw(st.lists(st.integers(-size, size - 1), min_size=number, max_size=number))
            entries.append(("tensor", np.array(flat, np.int64).reshape(common)))
        elif kind == "list":
            two = st.lists(st.integers(-size, size - 1), min_size=2, max_size=2)
            entries.append(draw(two))
        else:
            mask = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
            entries.append(("tensor", mask))
        dim += 1
    if dots:
        entries.insert(draw(st.integers(0, len(entries))), Ellipsis)
    return tuple(shape), tuple(entries)


def with_tensors(lib, index):
    return tuple(lib.tensor(e[1]) if isinstance(e, tuple) else copy.copy(e) for e in index)


def outcome(function):
    try:
        return function()
    except Exception as error:
        return type(error)


def read(lib, data, index, cotangent):
    x = lib.tensor(data, requires_grad=True)
    y = (x * 1)[with_tensors(lib, index)]
    g = np.resize(cotangent, tuple(y.shape))
    y.backward(lib.tensor(g))
    return y.detach().numpy(), x.grad.numpy()


def write(lib, data, index, cotangent, scalar, grads):
    x = lib.tensor(data, requires_grad=grads) * 1
    index = with_tensors(lib, index)
    shape = tuple(x[index].shape)
    v = lib.tensor(np.resize(cotangent, () if scalar else shape), requires_grad=grads)
    x[index] = v
    if not grads:
        return x.numpy(), None
    x.backward(lib.tensor(np.resize(cotangent[::-1], data.shape)))
    return x.detach().numpy(), v.grad.numpy()


def same(ours, theirs, picked):
    if isinstance(theirs, type):
        assert ours is theirs, (ours, theirs)
        return
    if ours is IndexError and picked.numel() == 0:
        return  # where nothing is picked, torch does not look whether the index was in range
    assert not isinstance(ours, type), ours
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b)


@given(cases())
def test_reading_equals_torch(case):
    shape, index = case
    rng = np.random.default_rng(0)
    data, cotangent = rng.standard_normal(shape), rng.standard_normal(1000)
    same(
        outcome(lambda: read(tinygrad_edu, data, index, cotangent)),
        outcome(lambda: read(torch, data, index, cotangent)),
        outcome(lambda: torch.tensor(data)[with_tensors(torch, index)]),
    )


def _writes_twice(shape, index):
    """Whether an element is named twice: then which value stays is undefined."""
    counted = torch.zeros(shape)
    ones = torch.ones(shape)[with_tensors(torch, index)]
    tensors = torch.arange(counted.numel()).reshape(shape)[with_tensors(torch, index)]
    return tensors.unique().numel() != ones.numel()


@given(cases(), st.booleans(), st.booleans())
def test_writing_equals_torch(case, scalar, grads):
    shape, index = case
    if not isinstance(outcome(lambda: _writes_twice(shape, index)), type) and not scalar:
        if _writes_twice(shape, index):
            return
    rng = np.random.default_rng(0)
    data, cotangent = rng.standard_normal(shape), rng.standard_normal(1000)
    same(
        outcome(lambda: write(tinygrad_edu, data, index, cotangent, scalar, grads)),
        outcome(lambda: write(torch, data, index, cotangent, scalar, grads)),
        outcome(lambda: torch.tensor(data)[with_tensors(torch, index)]),
    )


@pytest.mark.parametrize(
    "index",
    [5, (0, 9), (0, 0, 0), 1.5, slice(None, None, -1), ("tensor", np.array([7])),
     ("tensor", np.array([True, False])), ("tensor", np.array([0.5]))],
    ids=str,
)  # fmt: skip
def test_bad_indices_raise_torchs_error(index):
    data = np.arange(12.0).reshape(3, 4)
    errors = []
    for lib in (tinygrad_edu, torch):
        i = lib.tensor(index[1]) if isinstance(index, tuple) and index[0] == "tensor" else index
        with pytest.raises((IndexError, ValueError, TypeError)) as caught:
            lib.tensor(data)[i]
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("index", [0, -1, 1, slice(None), (slice(None),), (0,), (..., slice(1))])
def test_a_number_has_no_parts(index):
    words = set()
    for package in (tinygrad_edu, torch):
        x = package.tensor(3.0)
        for act in (lambda x=x: x[index], lambda x=x: x.__setitem__(index, 1.0)):
            with pytest.raises(IndexError) as caught:
                act()
            words.add(str(caught.value).replace("in Python or `tensor.item<T>()` in C++ ", ""))
        assert x.item() == 3
    assert len(words) == 1


@pytest.mark.parametrize(
    "index", [(slice(None),) * 3, (..., slice(None), slice(None), slice(None))]
)
def test_writing_with_too_many_slices_is_refused(index):
    for package in (tinygrad_edu, torch):
        with pytest.raises(IndexError, match="too many indices for tensor of dimension 2"):
            package.zeros(2, 2)[index] = 1.0


def test_a_value_of_a_wrong_shape_is_refused():
    for index in (0, [0, 1]):
        for lib in (tinygrad_edu, torch):
            with pytest.raises(RuntimeError, match="shape|size"):
                lib.zeros(3, 4)[index] = lib.ones(3)


def test_basic_indices_share_memory_and_advanced_ones_do_not():
    x = tinygrad_edu.zeros(3, 4)
    x[1, 1:3][...] = 5
    assert x[1].tolist() == [0, 5, 5, 0]
    x[[1]][...] = 7
    assert x[1].tolist() == [0, 5, 5, 0]


def test_second_order_through_an_index():
    data = np.random.default_rng(0).standard_normal((3, 4))
    results = []
    for lib in (tinygrad_edu, torch):
        x = lib.tensor(data, requires_grad=True)
        y = (x * x * x)[lib.tensor([0, 0, 2])][:, 1:]
        (g,) = lib.autograd.grad(y, x, lib.ones(3, 3, dtype=lib.float64), create_graph=True)
        (h,) = lib.autograd.grad(g, x, lib.tensor(data))
        results.append(h.numpy())
    np.testing.assert_allclose(*results)


def test_additions_at_rows():
    """However the index leads to rows, the sums are those of `np.add.at`, bit for bit."""
    random, full = np.random.default_rng(0), slice(None)

    def some(low, high, *shape):
        return random.integers(low, high, shape)

    for shape, index in [
        ((5, 3), (some(-5, 5, 7),)), ((5, 3), (some(0, 5, 2, 4),)), ((5, 3), (some(0, 5, 0),)),
        ((5, 3, 2), (some(0, 5, 7), full)), ((5, 3, 2), (some(-5, 5, 7), some(-3, 3, 7))),
        ((5, 3, 2), (some(0, 5, 7, 1), some(0, 3, 1, 4), full)), ((5, 0), (some(0, 5, 7),)),
        ((5, 3, 2), (some(0, 5, 7), full, some(0, 2, 7))), ((5, 3), (full, some(0, 3, 7))),
        ((2, 70_000), (some(0, 2, 5),)), ((1, 2), (some(0, 1, 2), np.array([False, True]))),
        ((5, 3), (some(0, 5, 7), some(0, 3, 7))),
    ]:  # fmt: skip
        for dtype in ("float32", "float16", "int64"):
            expected = np.zeros(shape, dtype)
            part = expected[index].shape
            for values in (random.normal(size=part) * 9, random.normal(size=part[-1:]) * 9, 2):
                values = np.asarray(values).astype(dtype)
                np.add.at(expected, index, values)
                found = add_at(np.zeros(shape, dtype), index, values)
                np.testing.assert_array_equal(found, expected)
                expected[...] = 0
