"""What type checkers are told of operations: they are called with tensors and return one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    overload,
)

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive
    from tinygrad_edu.tensor import Tensor

P = ParamSpec("P")
Q = ParamSpec("Q")
F = TypeVar("F", bound=Callable[..., Any])
Call = Callable[..., Any]
"""Any function."""
Rule = Call
Values: TypeAlias = tuple[Any, ...]
"""Arguments, or what is kept: arrays, numbers, shapes."""
Options: TypeAlias = dict[str, Any]
"""Arguments given by name."""
Gradient: TypeAlias = Any
"""An array; where the walk is recorded, a tensor; of several outputs, a list of them."""
Chain = str | Callable[..., str]
Policy = str | Mapping[str, str]


def typed_as(function: F, call: Call) -> F:
    """`call`, made to stand in place of `function`: of its type to type checkers."""
    anything: Any = call
    same: F = anything
    return same


class Operation(Protocol[P]):
    """The type of what `primitive` returns: call it with tensors, declare its rules."""

    primitive: Primitive
    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Operation[P]: ...
    @overload
    def __get__(
        self: Operation[Concatenate[Any, Q]], instance: Any, owner: type | None = None
    ) -> Callable[Q, Tensor]: ...

    def vjp(self, **rules: Rule | None) -> None: ...
    def vjp_joint(self, *inputs: str) -> Callable[[Rule], Rule]: ...
    def defined_as(self, definition: F) -> F: ...
    def called(self, chain: str) -> Operation[P]: ...
    def refuse(self, refusal: F) -> F: ...


class Decorator(Protocol):
    def __call__(self, forward: Callable[P, Any]) -> Operation[P]: ...
