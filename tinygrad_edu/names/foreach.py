"""`torch._foreach_add_` and its kin: an operation on every tensor of a list.

Optimizers that people write call them.  Here it is a loop, with nothing to gain and nothing lost.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import Dtype


def _each(name: str) -> Callable[..., Any]:
    plain = name.removesuffix("_")
    torch = importlib.import_module(__name__.partition(".")[0])
    function: Any = getattr(Tensor if name.endswith("_") else torch, name, None)
    function = _norm if plain == "norm" else function
    function = function or (lambda x, *others: x.copy_(getattr(torch, plain)(x, *others)))

    def call(self: Sequence[Tensor], *others: object, **options: object) -> Any:
        lists = [o if isinstance(o, (list, tuple)) else [o] * len(self) for o in others]
        for other in lists:
            if len(other) != len(self):
                raise RuntimeError(
                    f"_foreach_{name}(): got lists of {len(self)} and {len(other)} elements"
                )
        found = [function(*given, **options) for given in zip(self, *lists, strict=True)]
        return self if name.endswith("_") else tuple(found)

    call.__name__, call.__doc__ = f"_foreach_{name}", f"`{name}` of each tensor of a list."
    return no_grad()(call) if name.endswith("_") else call


def _norm(x: Tensor, ord: float = 2, dtype: Dtype = None) -> Tensor:
    return x.norm(ord, dtype=dtype)


def __getattr__(name: str) -> Any:
    if not name.startswith("_foreach_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _each(name.removeprefix("_foreach_"))
