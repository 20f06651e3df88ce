"""`primitive` makes an operation of a function of arrays and one derivative rule per argument.

    @primitive
    def div(a, b):
        return a / b
    div.vjp(a=lambda g, b: g / b,
            b=lambda g, b, y: -g * y / b)

A rule maps `g`, the gradient of the output, to the gradient of one argument (a vector-Jacobian
product).  The names of its parameters say what it needs besides `g`, and so what must be kept:

    y               the output
    <argument>      that argument
    <argument>_shape  only its shape
    <saved>         a further value the forward function returned, declared with `saves=(...)`

A rule returns a new array, or `g`, or a view of it; never an array that it was given to keep, which
the walk would add to in place.  (One that does must say so: `penalty.primitive.owns = False`.)

Names are read once, here, and checked: a misspelt one fails at import.  At run time the operation
keeps exactly what the rules of those inputs that need a gradient ask for, and nothing else.

Called with tensors, an operation returns a tensor and records itself.  Called with arrays, it just
computes: that is how one rule serves both the ordinary backward pass, where it receives arrays, and
`create_graph=True`, where it receives tensors.

A primitive takes plain arguments only.  Where torch's function has others as well (`alpha=`,
`rounding_mode=`), the primitive is called `_name`, and `name` is the function that calls it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

from tinygrad_edu.autograd.record import (
    call_binary,
    call_general,
    call_unary,
    call_variadic,
    call_view,
)

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

P = ParamSpec("P")
Q = ParamSpec("Q")
F = TypeVar("F", bound=Callable[..., Any])
Rule = Callable[..., Any]


class Plan:
    """What one set of inputs that need gradients (`live`) asks to keep and to run.

    Attributes:
        keep: positions in `[*arguments, y, *saved]` of the arrays to keep.
        by_rules: how many of these the rules ask for; those behind them only the definition.
        shapes: positions of the arguments of which only the shape is kept, behind the arrays.
        arrays: whether that certainly includes one; else it may be numbers, which are not freed.
        pick: gives those entries of `[*arguments, y, *saved]` as a tuple.
        rules: (input, rule, pick) for every live input; `pick(kept)` gives the rule's arguments.
        joint, joint_pick: the one rule that serves all inputs, if the operation has such a one.
        live: which inputs need a gradient; of a variadic operation, which of its tensors.
    """

    def __init__(self, op: Primitive, live: tuple[bool, ...]) -> None:
        self.op = op
        self.live = live
        if op.variadic:
            live = (any(live),)  # one rule returns the gradients of all
        self.joint: Rule | None = op.joint
        wanted: list[str] = []
        if op.joint is not None:
            wanted += op.joint_needs
        for name, alive in zip(op.inputs, live, strict=False):
            if alive and name in op.rules:
                wanted += op.needs[name]
        self.by_rules = len({n for n in wanted if n in op.places})
        if op.definition is not None:
            wanted += op.parameters
        names = dict.fromkeys(n for n in wanted if n != "live")
        self.keep = tuple(op.places[n] for n in names if n in op.places)
        own = {*op.inputs, "y", *op.saves}  # what is an array for certain
        self.arrays = not own.isdisjoint(names)
        self.pick = _picker(list(self.keep))
        self.no_guards = (None,) * len(self.keep)
        self.shapes = tuple(op.shape_places[n] for n in names if n in op.shape_places)
        order = [n for n in names if n in op.places] + [n for n in names if n in op.shape_places]
        self.joint_pick = _picker([order.index(n) for n in op.joint_needs if n != "live"])
        self.rules = [
            (i, op.rules[name], _picker([order.index(n) for n in op.needs[name]]))
            for i, (name, alive) in enumerate(zip(op.inputs, live, strict=False))
            if alive and name in op.rules
        ]


def _picker(places: list[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """A fast function that picks those entries of a tuple, as a tuple even if it is one entry."""
    if len(places) >= 2:
        return itemgetter(*places)
    if places:
        return itemgetter(slice(places[0], places[0] + 1))
    return itemgetter(slice(0, 0))


def _names(function: Callable[..., Any]) -> list[str]:
    """Its parameters; read from the code, for `inspect` would take a fifth of the import's time."""
    code = function.__code__
    if code.co_kwonlyargcount or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        raise TypeError(f"{function.__name__} must take plain arguments only")
    return list(code.co_varnames[: code.co_argcount])


FURTHER_NAMES: dict[str, int | str] = {
    "input": 0, "self": 0, "tensors": 0, "x": 0, "x1": 0, "a": 0, "other": 1, "x2": 1,
    "axis": "dim", "keepdims": "keepdim", "element": "elements", "test_element": "test_elements",
}  # fmt: skip
"""Keywords of torch's, and NumPy's that torch takes too: which argument they stand for."""


class Primitive:
    """A forward function of arrays with its derivative rules.

    Attributes:
        forward: the function of arrays.
        parameters: names of its arguments, in order.
        inputs: the leading arguments that may need a gradient (those with a rule decide).
        rules: for each such argument, its rule.
        definition: the same computed by other operations; what `create_graph` differentiates.
        owns: its rules return new arrays, or views of `g`; never an array that others hold.
        numbers: which of two operands may be a Python number: the "second", "none", or "either".
        run: what a call with tensors runs: `forward`, unless half.py or amp exchanged it.
        everyone: all primitives there are; `made` is told of each new one.
    """

    owns = True
    call: Callable[..., Any]
    numbers = "either"
    everyone: ClassVar[list[Primitive]] = []
    made: ClassVar[Callable[[Primitive], None]] = staticmethod(lambda op: None)

    def __init__(
        self, forward: Callable[..., Any], saves: Sequence[str], variadic: bool, multiple: bool
    ) -> None:
        self.forward = self.run = forward
        self.name = forward.__name__.strip("_")
        self.saves, self.variadic, self.multiple = tuple(saves), variadic, multiple
        self.parameters = _names(forward)
        for name in ("y", "live"):
            if name in self.parameters:
                raise TypeError(
                    f"{self.name}: {name!r} has a meaning in rules; rename the argument"
                )
        self.arity = len(self.parameters)
        defaults = forward.__defaults__ or ()
        self.defaults = dict(zip(reversed(self.parameters), reversed(defaults), strict=False))
        self.inputs: tuple[str, ...] = ()
        self.rules: dict[str, Rule] = {}
        self.needs: dict[str, list[str]] = {}
        self.joint: Rule | None = None
        self.joint_needs: list[str] = []
        self.definition: Callable[..., Tensor] | None = None
        self.plans: dict[tuple[bool, ...], Plan] = {}
        values = [*self.parameters, "y", *self.saves]
        self.places = {name: i for i, name in enumerate(values)}
        self.shape_places = {f"{name}_shape": i for i, name in enumerate(self.parameters)}
        Primitive.everyone.append(self)
        Primitive.made(self)

    def check(self, rule: Rule, extra: tuple[str, ...] = ()) -> list[str]:
        """The names a rule needs besides `g`; TypeError for one that does not exist."""
        names = _names(rule)
        if not names or names[0] != "g":
            raise TypeError(f"a rule of {self.name} must take g first, not {names}")
        for name in names[1:]:
            if name not in self.places and name not in self.shape_places and name not in extra:
                known = ", ".join([*self.places, *self.shape_places])
                raise TypeError(f"a rule of {self.name} names {name!r}; it can name: g, {known}")
        return names[1:]

    def vjp(self, **rules: Rule) -> None:
        """Declare the rule of each differentiable argument.

        Raises:
            TypeError: an argument or a name in a rule's signature does not exist.
        """
        for name, rule in rules.items():
            if name not in self.parameters:
                raise TypeError(f"{self.name} has no argument {name!r} to differentiate")
            self.rules[name] = rule
            self.needs[name] = self.check(rule)
        self._set_inputs([self.parameters.index(name) for name in rules])

    def vjp_joint(self, *inputs: str) -> Callable[[Rule], Rule]:
        """Declare one rule for several inputs whose gradients share heavy work.

        The rule may name `live`, a tuple of bools, one per input: which of them need a gradient.
        It returns a tuple, one gradient per input, anything where none is needed.
        """

        def declare(rule: Rule) -> Rule:
            self.joint, self.joint_needs = rule, self.check(rule, ("live",))
            self._set_inputs([self.parameters.index(name) for name in inputs])
            return rule

        return declare

    def defined_as(self, definition: F) -> F:
        """Declare the composition of other operations that this operation computes faster.

        It takes the same arguments; `create_graph=True` differentiates it instead of the rules.
        """
        if _names(definition) != self.parameters:
            raise TypeError(f"the definition of {self.name} must take {self.parameters}")
        self.definition = definition
        return definition

    def _set_inputs(self, places: list[int]) -> None:
        self.inputs = tuple(self.parameters[: max(places) + 1])
        self.plans.clear()

    def plan(self, live: tuple[bool, ...]) -> Plan:
        """The plan for these inputs, made on first use."""
        made = self.plans[live] = Plan(self, live)
        return made

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments in order, given some by name (torch's names included) and defaults."""
        for theirs in [name for name in kwargs if name not in self.parameters]:
            ours = FURTHER_NAMES.get(theirs, theirs)
            if isinstance(ours, int):
                ours = self.parameters[ours] if ours < self.arity else theirs
            if ours in self.parameters and ours not in kwargs:
                kwargs[ours] = kwargs.pop(theirs)
        full = {**self.defaults, **dict(zip(self.parameters, args, strict=False)), **kwargs}
        given = set(self.parameters[: len(args)])
        if (
            len(args) > self.arity
            or len(full) != self.arity
            or any(name in given or name not in self.parameters for name in kwargs)
        ):
            self._refuse(args, kwargs)
        return tuple([full[name] for name in self.parameters])

    def _refuse(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            inspect.signature(self.forward).bind(*args, **kwargs)
        except TypeError as error:
            takes = inspect.signature(self.forward)
            raise TypeError(f"{self.name}() {error}; it takes {takes}") from None
        raise AssertionError(f"{self.name}: could not bind {args}, {kwargs}")


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

    def vjp(self, **rules: Rule) -> None: ...
    def vjp_joint(self, *inputs: str) -> Callable[[Rule], Rule]: ...
    def defined_as(self, definition: F) -> F: ...


class _Decorator(Protocol):
    def __call__(self, forward: Callable[P, Any]) -> Operation[P]: ...


@overload
def primitive(forward: Callable[P, Any], /) -> Operation[P]: ...
@overload
def primitive(
    *,
    saves: Sequence[str] = (),
    variadic: bool = False,
    multiple: bool = False,
    view: bool = False,
    numbers: str = "either",
) -> _Decorator: ...
def primitive(
    forward: Callable[..., Any] | None = None,
    /,
    *,
    saves: Sequence[str] = (),
    variadic: bool = False,
    multiple: bool = False,
    view: bool = False,
    numbers: str = "either",
) -> Any:
    """Make an operation of a function of arrays.

    Args:
        saves: names of further values the function returns behind `y`, for its rules to use.
        variadic: the first argument is a sequence of tensors, and its rule returns a sequence.
        multiple: the result is a tuple of tensors; `g` is then a list, None where none arrived.
        view: the result shares the memory of the first argument.
        numbers: which of two operands may be a Python number: "either", the "second" or "none".

    >>> from tinygrad_edu.autograd.primitive import primitive
    >>> import tinygrad_edu as torch
    >>> @primitive
    ... def cube(x):
    ...     return x * x * x
    >>> cube.vjp(x=lambda g, x: 3 * g * x * x)
    >>> t = torch.tensor([2.0], requires_grad=True)
    >>> cube(t).backward(); t.grad
    tensor([12.])
    """
    if forward is None:
        return lambda f: _operation(Primitive(f, saves, variadic, multiple), view, numbers)
    return _operation(Primitive(forward, saves, variadic, multiple), view)


def _operation(op: Primitive, view: bool, numbers: str = "either") -> Operation[Any]:
    op.numbers = numbers
    if view:
        call = call_view(op)
    elif op.variadic:
        call = call_variadic(op)
    elif op.saves or op.multiple:
        call = call_general(op)
    elif op.arity == 1:
        call = call_unary(op)
    elif op.arity == 2:
        call = call_binary(op)
    else:
        call = call_general(op)
    op.call = call
    call.__name__ = call.__qualname__ = op.forward.__name__
    call.__doc__ = op.forward.__doc__
    call.__module__ = op.forward.__module__
    call.__wrapped__ = op.forward  # type: ignore[attr-defined]
    call.primitive = op  # type: ignore[attr-defined]
    call.vjp = op.vjp  # type: ignore[attr-defined]
    call.vjp_joint = op.vjp_joint  # type: ignore[attr-defined]
    call.defined_as = op.defined_as  # type: ignore[attr-defined]
    return cast("Operation[Any]", call)
