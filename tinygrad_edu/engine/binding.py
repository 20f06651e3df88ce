"""Arguments given by name: torch's names of them, and NumPy's, for ours."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.types import Options, Values

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive

FURTHER_NAMES: dict[str, int | str] = {
    "input": 0, "self": 0, "tensors": 0, "x": 0, "x1": 0, "a": 0, "other": 1, "x2": 1,
    "axis": "dim", "keepdims": "keepdim", "element": "elements", "test_element": "test_elements",
}  # fmt: skip
"""Keywords of torch's, and NumPy's that torch takes too: which argument they stand for."""


SHOWN = {"x": "input", "a": "input", "b": "other"}
"""Our names of operands, and torch's, which are shown."""


def signature_of(op: Primitive) -> inspect.Signature:
    """What a user may give it: tensors where its function takes arrays, torch's names of them."""
    kinds, defaults = op.forward.__annotations__, op.defaults
    shown = [
        inspect.Parameter(
            SHOWN.get(name, name) if i < 2 else name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=defaults.get(name, inspect.Parameter.empty),
            annotation=_of_tensors(kinds.get(name)),
        )
        for i, name in enumerate(op.parameters)
    ]
    if not op.view and "out" not in op.parameters:
        shown.append(
            inspect.Parameter(
                "out", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Tensor | None"
            )
        )
    return inspect.Signature(shown, return_annotation=_of_tensors(kinds.get("return")))


def _of_tensors(annotation: object) -> Any:
    """The annotation, with tensors for arrays."""
    return str(annotation).replace("Array", "Tensor") if annotation else inspect.Parameter.empty


def bind(op: Primitive, args: Values, kwargs: Options) -> Values:
    """All arguments of `op` in order, given some by name (torch's names included) and defaults.

    Raises:
        TypeError: there are too many, too few, or unknown ones.
    """
    missing = op.arity - len(args)
    if not kwargs and not missing:
        return args
    if not kwargs and 0 < missing <= len(op.defaults):
        return (*args, *[*op.defaults.values()][-missing:])
    for theirs in [name for name in kwargs if name not in op.parameters]:
        ours = FURTHER_NAMES.get(theirs, theirs)
        if isinstance(ours, int):
            ours = op.parameters[ours] if ours < op.arity else theirs
        if ours in op.parameters and ours not in kwargs:
            kwargs[ours] = kwargs.pop(theirs)
    full = {**op.defaults, **dict(zip(op.parameters, args, strict=False)), **kwargs}
    given = set(op.parameters[: len(args)])
    if (
        len(args) > op.arity
        or len(full) != op.arity
        or any(name in given or name not in op.parameters for name in kwargs)
    ):
        takes = inspect.signature(op.forward)
        try:
            takes.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{op.name}() {error}; it takes {takes}") from None
    return tuple([full[name] for name in op.parameters])
