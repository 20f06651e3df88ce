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
the walk would add to in place.  (One that does must say so: `penalty.primitive.owns = False`.)  An
argument through which no gradient flows is declared constant, `vjp(mask=None)`; one that has no
rule and is not declared raises an error when a gradient arrives.

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
from typing import TYPE_CHECKING, Any, ClassVar, cast, overload

from tinygrad_edu.engine.binding import bind, signature_of
from tinygrad_edu.engine.boundary import missing_rule
from tinygrad_edu.engine.fast import form_of
from tinygrad_edu.engine.mode import named_like
from tinygrad_edu.engine.types import (
    Call,
    Chain,
    Decorator,
    F,
    Operation,
    Options,
    P,
    Policy,
    Rule,
    Values,
)

if TYPE_CHECKING:
    from tinygrad_edu.engine.graph import Node
    from tinygrad_edu.tensor import Tensor


class Plan:
    """What one set of inputs that need gradients (`live`) asks to keep and to run.

    Attributes:
        names: what is kept, by name: arrays and other values, behind them the shapes.
        keep: the places of the former in `[*arguments, y, *saved]`; `pick` gives those entries.
        by_rules: how many of these the rules ask for; those behind them only the definition.
        shapes: the places of the arguments of which only the shape is kept.
        arrays: whether that certainly includes one; else it may be numbers, which are not freed,
            or is (None) of arrays that are not: see `nodes.lasting`.
        rules: (input, rule, pick) for every live input; `pick(kept)` gives the rule's arguments.
        joint, joint_pick: the one rule that serves all inputs, if the operation has one.
        live: which inputs need a gradient; of a variadic operation, which of its tensors.
        node: the class of the nodes, None where it depends on the arguments (`Primitive.chain`).
    """

    def __init__(self, op: Primitive, live: tuple[bool, ...]) -> None:
        self.op = op
        self.live = live
        alive = (any(live),) if op.variadic else live  # one rule returns the gradients of all
        needy = [name for name, one in zip(op.inputs, alive, strict=False) if one]
        ruled = [name for name in needy if name in op.rules]
        wanted = [*op.joint_needs, *[need for name in ruled for need in op.needs[name]]]
        self.by_rules = len({n for n in wanted if n in op.places})
        wanted += op.parameters if op.definition is not None else ()
        known = dict.fromkeys(n for n in wanted if n != "live")
        kept = [n for n in known if n in op.places]
        shapes = [n for n in known if n in op.shape_places]
        self.names = (*kept, *shapes)
        self.keep = tuple(op.places[n] for n in kept)
        self.shapes = tuple(op.shape_places[n] for n in shapes)
        arrays = not {*(op.rules or op.inputs), "y", *op.saves}.isdisjoint(kept)
        self.arrays: bool | None = arrays or (None if op.view else False)  # beside: sizes, indices
        self.pick = _picker(list(self.keep))
        self.no_guards = (None,) * len(self.keep)
        place = self.names.index
        self.joint: Rule | None = op.joint
        self.joint_pick = _picker([place(n) for n in op.joint_needs if n != "live"])
        self.rules: list[tuple[int, Rule, Call]] = [
            (op.inputs.index(name), op.rules[name], _picker([place(n) for n in op.needs[name]]))
            for name in ruled
        ]
        absent = [] if op.joint else [n for n in needy if n not in ruled and n not in op.constants]
        self.rules += [(op.inputs.index(n), missing_rule(op, n), _picker([])) for n in absent]
        self.node = op.class_of() if op.chain_is_fixed else None


def _picker(places: list[int]) -> Callable[[Values], Values]:
    """A fast function that picks those entries of a tuple, as a tuple even if it is one entry."""
    if len(places) >= 2:
        return itemgetter(*places)
    if places:
        return itemgetter(slice(places[0], places[0] + 1))
    return itemgetter(slice(0, 0))


def _names(function: Call) -> list[str]:
    """Its parameters; read from the code, for `inspect` would take a fifth of the import's time."""
    code = function.__code__
    if code.co_kwonlyargcount or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        raise TypeError(f"{function.__name__} must take plain arguments only")
    return list(code.co_varnames[: code.co_argcount])


def _chain(chain: Chain) -> tuple[Call, bool]:
    """A chain as a function of the arguments, and whether it is the same for all."""
    return (lambda *values: chain, True) if isinstance(chain, str) else (chain, False)


class Primitive:
    """A forward function of arrays with its derivative rules, and all that is known of it.

    Attributes:
        forward: the function of arrays.
        parameters: names of its arguments, in order.
        inputs: the leading arguments that may need a gradient.
        others: how many arguments need not be tensors.
        rules: for each argument that has one, its rule.
        constants: the arguments declared to need none.
        definition: the same computed by other operations; what `create_graph` differentiates.
        elementwise: it goes through one or two tensors element by element (see ops/arguments.py).
        owns: its rules return new arrays, or views of `g`; never an array that others hold.
        narrow: they take a gradient of 16 bits, of a result of 32, and widen it themselves.
        numbers: which of two operands may be a Python number: the "second", "none", or "either".
        chain: gives what torch calls the node of a call with some arguments (see nodes.py).
        autocast: the precision that autocast runs it in, by device (see amp/autocast_mode.py).
        half: how it takes 16-bit floats (see half.py).
        refuse: called with the arguments once the array library has raised; raises torch's error.
        call: what users call.
        everyone: all primitives there are.
    """

    owns = True
    narrow = elementwise = False
    call: Call
    refuse: Callable[..., None] | None = None
    node_class: ClassVar[Any]
    """Makes the class of an operation's nodes: nodes.py puts it here."""
    write_out: ClassVar[Call]
    """A call with `out=`: filling.py puts it here."""
    everyone: ClassVar[list[Primitive]] = []

    def __init__(
        self,
        forward: Call,
        saves: Sequence[str] = (),
        variadic: bool = False,
        multiple: bool = False,
        view: bool = False,
        numbers: str = "either",
        node: Chain | None = None,
        autocast: Policy | None = None,
        half: str = "widened",
    ) -> None:
        self.forward = forward
        self.name = forward.__name__.strip("_")
        self.saves, self.variadic, self.multiple, self.view = tuple(saves), variadic, multiple, view
        self.numbers, self.half = numbers, half
        self.autocast = {"cpu": autocast, "cuda": autocast} if type(autocast) is str else autocast
        self.parameters = _names(forward)
        for name in ("y", "live"):
            if name in self.parameters:
                raise TypeError(f"{self.name}: {name!r} has a meaning in rules; rename it")
        self.names, self.arity = tuple(self.parameters), len(self.parameters)
        named = "".join(map(str.capitalize, self.name.split("_")))
        self.chain, self.chain_is_fixed = _chain(named if node is None else node)
        kinds, defaults = forward.__annotations__, forward.__defaults__ or ()
        self.others = self.arity - [kinds.get(name) for name in self.parameters].count("Array")
        self.defaults = dict(zip(self.parameters[-len(defaults) :], defaults, strict=False))
        self.inputs: tuple[str, ...] = ()
        self.rules: dict[str, Rule] = {}
        self.constants: set[str] = set()
        self.needs: dict[str, list[str]] = {}
        self.joint: Rule | None = None
        self.joint_needs: list[str] = []
        self.definition: Callable[..., Tensor] | None = None
        self.plans: dict[tuple[bool, ...], Plan] = {}
        self.classes: dict[str, type[Node]] = {}
        self.places = {n: i for i, n in enumerate([*self.parameters, "y", *self.saves])}
        self.shape_places = {f"{name}_shape": i for i, name in enumerate(self.parameters)}
        Primitive.everyone.append(self)

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

    def vjp(self, **rules: Rule | None) -> None:
        """Declare the rule of each differentiable argument; None for one that is constant.

        Raises:
            TypeError: an argument or a name in a rule's signature does not exist.
        """
        for name, rule in rules.items():
            if name not in self.parameters:
                raise TypeError(f"{self.name} has no argument {name!r} to differentiate")
            if rule is None:
                self.constants.add(name)
            else:
                self.rules[name] = rule
                self.needs[name] = self.check(rule)
        self._set_inputs()

    def vjp_joint(self, *inputs: str) -> Callable[[Rule], Rule]:
        """Declare one rule for several inputs whose gradients share heavy work.

        The rule may name `live`, a tuple of bools, one per input: which of them need a gradient.
        It returns a tuple, one gradient per input, anything where none is needed.
        """

        def declare(rule: Rule) -> Rule:
            self.joint, self.joint_needs, self.inputs = rule, self.check(rule, ("live",)), inputs
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

    def plan(self, live: tuple[bool, ...]) -> Plan:
        """The plan for these inputs, made on first use."""
        made = self.plans[live] = Plan(self, live)
        return made

    def _set_inputs(self) -> None:
        ruled = [self.parameters.index(name) for name in self.rules]
        last = len(self.parameters) if self.arity <= 2 and ruled else max(ruled, default=-1) + 1
        self.inputs = tuple(self.parameters[:last])
        self.plans.clear()

    def class_of(self, *values: object) -> type[Node]:
        """The class of the node of a call with these arguments."""
        chain = self.chain(*values)
        return self.classes.setdefault(chain, self.node_class(chain, self.names))

    def undeclared(self, live: Sequence[bool]) -> None:
        """Make an input of what is neither one nor declared constant, of these arguments.

        It has no rule: a gradient that arrives there raises an error.
        """
        known = {*self.inputs, *self.constants}
        pairs = zip(self.parameters, live, strict=False)
        found = [i for i, (name, one) in enumerate(pairs) if one and name not in known]
        if found:
            self.inputs = tuple(self.parameters[: max(found) + 1])
            self.plans.clear()

    def bind(self, args: Values, kwargs: Options) -> Values:
        """All arguments in order, given some by name and defaults."""
        return bind(self, args, kwargs)

    def called(self, chain: str) -> Operation[Any]:
        """The same operation, whose nodes are called otherwise: `pick.called("Sort")`."""
        twin = object.__new__(Primitive)
        made, fixed = _chain(chain)
        twin.__dict__.update(self.__dict__, chain=made, chain_is_fixed=fixed, plans={})
        return _operation(twin)


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
    node: Chain | None = None,
    autocast: Policy | None = None,
    half: str = "widened",
) -> Decorator: ...
def primitive(forward: Call | None = None, /, **facts: Any) -> Any:
    """Make an operation of a function of arrays.

    Args:
        saves: names of further values the function returns behind `y`, for its rules to use.
        variadic: the first argument is a sequence of tensors, and its rule returns a sequence.
        multiple: the result is a tuple of tensors; `g` is then a list, None where none arrived.
        view: the result shares the memory of the first argument.
        numbers, autocast, half: see `Primitive`.
        node: its `chain`, as a text or a function of the arguments.

    >>> from tinygrad_edu.engine.primitive import primitive
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
        return lambda f: _operation(Primitive(f, **facts))
    return _operation(Primitive(forward))


def _operation(op: Primitive) -> Operation[Any]:
    """What users call: the form of call that serves `op`, under its name, with its declarations."""
    call = named_like(op.forward, form_of(op))
    op.call = call
    call.__doc__, call.__module__ = op.forward.__doc__, op.forward.__module__
    call.__wrapped__, call.__signature__ = op.forward, signature_of(op)
    call.primitive = op
    call.vjp, call.vjp_joint, call.defined_as = op.vjp, op.vjp_joint, op.defined_as
    call.called = op.called

    def refuse(refusal: F) -> F:
        op.refuse = refusal
        return refusal

    call.refuse = refuse
    return cast("Operation[Any]", call)
