"""The same code run with both libraries: `same(lambda T: T.ones(2) * 3)`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


def outcome(run: Callable[[Any], Any], library: Any) -> Any:
    """What `run(library)` gives: its value, or the type and text of its exception."""
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
    """Check that `run` has the same outcome with both libraries, and return it."""
    found, expected = outcome(run, ours), outcome(run, torch)
    assert found == expected
    return found


def same_error(run: Callable[[Any], Any], kind: type[Exception], *facts: str) -> None:
    """Check that both libraries raise the same type of exception, naming the facts."""
    for library in (ours, torch):
        with pytest.raises(kind) as caught:
            run(library)
        for fact in facts:
            assert fact in str(caught.value), library.__name__
