"""Tools for testing code that uses tensors: comparing, making inputs, generating them.

`assert_close` and `make_tensor` need nothing but NumPy.  `examine` asks of an operation all that
those of this package are asked; `python -m tinygrad_edu.testing module:operation` writes a test
file; `tinygrad_edu.testing.plugin` has fixtures for pytest.  The hypothesis strategies (`shapes`,
`tensors`, `views`, `compositions`, ...) need the package hypothesis; they generate the inputs on
which derivative rules tend to be wrong: empty and 0-d tensors, transposed and sliced memory,
broadcast operands, ties, values on both sides of a kink.

A property test of an operation of your own takes three lines of arguments and one of test:

>>> import tinygrad_edu as torch
>>> from hypothesis import given, settings
>>> from tinygrad_edu.engine.primitive import primitive
>>> from tinygrad_edu.testing import away_from, tensors
>>> @primitive
... def softsign(x):
...     return x / (1 + abs(x))
>>> softsign.vjp(x=lambda g, x: g / (1 + abs(x)) ** 2)
>>> @settings(max_examples=10, deadline=None)
... @given(tensors(elements=away_from(0.0), dtype=torch.float64, requires_grad=True))
... def test_softsign(x):
...     assert torch.autograd.gradcheck(softsign, x)
...     assert torch.autograd.gradgradcheck(softsign, x)
>>> test_softsign()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_edu.testing.comparison import assert_close, make_tensor

if TYPE_CHECKING:
    from tinygrad_edu.testing.builders import (
        index_expressions,
        modules,
        optimizers,
        view_programs,
    )
    from tinygrad_edu.testing.examination import Report, examine
    from tinygrad_edu.testing.programs import Composition, compositions
    from tinygrad_edu.testing.strategies import (
        LAYOUTS,
        away_from,
        broadcastable_shapes,
        broadcasting,
        distinct,
        dtypes,
        floats,
        indices,
        layouts,
        like,
        masks,
        positive,
        shapes,
        tensors,
        views,
    )

_PLACES = {
    "builders": ("index_expressions", "modules", "optimizers", "view_programs"),
    "examination": ("Report", "examine"),
    "programs": ("Composition", "compositions"),
}
_STRATEGIES = (
    "LAYOUTS",
    "away_from",
    "broadcastable_shapes",
    "broadcasting",
    "distinct",
    "dtypes",
    "floats",
    "indices",
    "layouts",
    "like",
    "masks",
    "positive",
    "shapes",
    "tensors",
    "views",
)

__all__ = [
    "LAYOUTS",
    "Composition",
    "Report",
    "assert_close",
    "away_from",
    "broadcastable_shapes",
    "broadcasting",
    "compositions",
    "distinct",
    "dtypes",
    "examine",
    "floats",
    "index_expressions",
    "indices",
    "layouts",
    "like",
    "make_tensor",
    "masks",
    "modules",
    "optimizers",
    "positive",
    "shapes",
    "tensors",
    "view_programs",
    "views",
]


def __getattr__(name: str) -> Any:
    """Import hypothesis only when a strategy is asked for."""
    place = next((place for place, names in _PLACES.items() if name in names), "strategies")
    if place == "strategies" and name not in _STRATEGIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import hypothesis  # noqa: F401
    except ImportError:
        raise ImportError(
            f"tinygrad_edu.testing.{name} needs the package hypothesis:"
            " pip install 'tinygrad-edu[test]'"
        ) from None
    return getattr(importlib.import_module(f"{__name__}.{place}"), name)


def __dir__() -> list[str]:
    return __all__
