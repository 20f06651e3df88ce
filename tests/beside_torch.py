"""Run the same few lines on our tensors and on torch's, and compare everything that comes out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

TOLERANCES = {"float16": (5e-3, 5e-3), "float32": (2e-5, 1e-5), "float64": (1e-9, 1e-11)}


def numbers(t: Any) -> np.ndarray:
    """A tensor of either library as a NumPy array."""
    return np.asarray(t.detach().numpy(force=True))


def close(a: Any, b: Any, dtype: str, what: str) -> None:
    """Shape, dtype and values are equal, values within rounding."""
    a, b = numbers(a), numbers(b)
    assert a.shape == b.shape, what
    assert a.dtype == b.dtype, what
    rtol, atol = max(TOLERANCES[dtype], TOLERANCES.get(str(a.dtype), (0.0, 0.0)))
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=what)


def beside_torch(
    run: Callable[..., Any],
    *arrays: Any,
    constants: Sequence[Any] = (),
    dtype: str = "float64",
    second: bool = True,
) -> None:
    """Compare `run(library, *tensors, *constants)`: values, gradients, second derivatives.

    Args:
        arrays: made into tensors of `dtype` that require grad.
        constants: made into tensors of their own dtype (floats: of `dtype`) that do not.
        second: compare second derivatives too.

    Gradients start from random numbers: a gradient of all ones hides what rules forget.
    """
    results: list[list[Any]] = []
    for library in (ours, torch):
        random = np.random.default_rng(1)
        leaves = [library.tensor(np.asarray(a, dtype), requires_grad=True) for a in arrays]
        fixed = [library.tensor(_of(c, dtype)) if c is not None else None for c in constants]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            y = run(library, *leaves, *fixed)
        found = [y]
        if arrays:
            start = library.tensor(random.standard_normal(tuple(y.shape)).astype(numbers(y).dtype))
            found += library.autograd.grad(y, leaves, start, retain_graph=True)
        if arrays and second:
            grads = library.autograd.grad(y, leaves, start, create_graph=True)
            total = 0.0
            for g in grads:
                weights = random.standard_normal(tuple(g.shape)).astype(dtype)
                total = total + (g * library.tensor(weights)).sum()
            if total.requires_grad:
                more = library.autograd.grad(total, leaves, allow_unused=True)
                found += [
                    library.zeros_like(x) if g is None else g
                    for x, g in zip(leaves, more, strict=True)
                ]
            else:
                found += [library.zeros_like(x) for x in leaves]
        results.append(found)
    names = ["value", *[f"gradient {i}" for i in range(len(arrays))]]
    names += [f"second derivative {i}" for i in range(len(arrays))]
    for name, a, b in zip(names, *results, strict=False):
        close(a, b, dtype, name)


def _of(value: Any, dtype: str) -> Any:
    value = np.asarray(value)
    return value.astype(dtype) if value.dtype.kind == "f" else value


def outcome(run: Callable[[Any], Any], library: Any) -> Any:
    """What `run(library)` gives: its value as `plain`, or the type and text of its exception."""
    library.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return plain(run(library))
        except Exception as error:
            text = str(error).replace("tinygrad_edu", "torch").replace("torch.tensor.", "torch.")
            return type(error).__name__, text


def plain(value: Any) -> Any:
    """A value of either library as something that can be compared."""
    if isinstance(value, (ours.Tensor, torch.Tensor)):
        return ("tensor", str(value.dtype), value.detach().tolist())
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return repr(value)


def same(run: Callable[[Any], Any]) -> Any:
    """Check that `run(library)` has the same outcome with both libraries, and return it."""
    found, expected = outcome(run, ours), outcome(run, torch)
    assert found == expected
    return found


def pair(make: Callable[[Any], Any]) -> tuple[Any, Any]:
    """`make(library)` of both from the same seed; the modules begin alike, to the last bit."""
    modules = []
    for library in (ours, torch):
        library.manual_seed(5)
        modules.append(make(library))
    mine, theirs = modules
    assert repr(mine) == repr(theirs)
    assert [n for n, _ in mine.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    state, expected = mine.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for name in state:
        np.testing.assert_array_equal(numbers(state[name]), numbers(expected[name]), name)
    assert ours.get_rng_state().tolist() == torch.get_rng_state().tolist()
    return mine, theirs


def same_error(run: Callable[[Any], Any], *expected: type[Exception] | str) -> None:
    """`run(library)` raises the same type of exception in both.

    Args:
        expected: what type, or what ours says; left out, ours says all that torch's says.
    """
    kinds = tuple(e for e in expected if isinstance(e, type)) or Exception
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(kinds) as theirs:
            run(torch)
        with pytest.raises(type(theirs.value)) as mine:
            run(ours)
    assert type(mine.value) is type(theirs.value)
    for fact in expected or (str(theirs.value),):
        assert isinstance(fact, type) or fact in str(mine.value)


def same_warning(run: Callable[[Any], Any]) -> None:
    """`run(library)` warns with the same words in both."""
    said = []
    for library in (torch, ours):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run(library)
        said.append([(w.category, str(w.message)) for w in caught])
    assert said[0] and said[0] == said[1]
