"""`Function`: an operation of the user's own, with its own backward pass, written on tensors.

`apply` runs `forward` unrecorded and gives its results a node whose plan is a `FunctionPlan`: to
the walk it looks like the plan of any operation with one rule for all inputs.  That rule calls the
user's `backward`.  With `create_graph=True` what `backward` does is recorded, so a backward written
with differentiable operations can be differentiated again.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_edu.autograd.saved import unpacked
from tinygrad_edu.backend import module_of
from tinygrad_edu.dtypes import is_floating
from tinygrad_edu.engine.graph import Node, Part, Storage, TensorBase
from tinygrad_edu.engine.inplace import check_writable, set_history
from tinygrad_edu.engine.mode import is_recording, state
from tinygrad_edu.engine.nodes import node_class
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.engine.second import lift
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.engine.types import Call, Gradient, Values
from tinygrad_edu.engine.views import View

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


class FunctionCtx:
    """What `forward` leaves for `backward`; any attribute may be set on it.

    Attributes:
        needs_input_grad: for each argument of `forward`, whether it needs a gradient.
    """

    needs_input_grad: tuple[bool, ...] = ()
    _saved: Values = ()
    _to_save: Values = ()
    _dirty: Values = ()
    _constant: Values = ()
    _materialize = True
    _shapes_in: dict[int, tuple[int, ...]]

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors (inputs, outputs, others, or None) for `saved_tensors` in `backward`.

        Raises:
            TypeError: one is neither a tensor nor None; keep such values as attributes of `ctx`.
        """
        for i, t in enumerate(tensors):
            if t is not None and not isinstance(t, TensorBase):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {i} is of type"
                    f" {type(t).__name__}"
                )
        self._to_save = self._saved = tensors

    @property
    def saved_tensors(self) -> Values:
        """What `save_for_backward` was given."""
        return self._saved

    saved_variables = saved_tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """`save_for_backward`, for a Function that has only a `jvp`."""
        if not self._to_save:
            self.save_for_backward(*tensors)

    def mark_dirty(self, *args: object) -> None:
        """Name the inputs that `forward` writes in place; it must return each of them."""
        self._dirty = args

    def mark_non_differentiable(self, *args: object) -> None:
        """Name the outputs through which no gradient flows."""
        self._constant = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` gets zeros, rather than None, for outputs that were not used."""
        self._materialize = value


class FunctionPlan:
    """The plan of one call of a `Function`, and in the place of its operation.

    See `Plan` and `Primitive` in primitive.py for the attributes that the walk reads.
    """

    definition = None
    variadic = owns = False
    arrays = True
    rules: Sequence[Any] = ()
    joint_needs: Sequence[str] = ()
    by_rules: int | None = None

    def __init__(self, function: type[Function], ctx: FunctionCtx, arity: int) -> None:
        self.function, self.ctx, self.arity = function, ctx, arity
        self.name = f"{function.__name__}Backward"
        self.inputs = tuple([f"input{i}" for i in range(arity)])
        self.names: tuple[str, ...] = ()
        self.multiple = False
        self.outputs: list[Any] = []  # (array module, shape, dtype), None for what is not a tensor
        self.kept_outputs: list[tuple[int, int]] = []  # (place among the kept, output)
        self.node: Callable[[], Node | None] = lambda: None  # weakly, or node and plan were a cycle
        self.parts: dict[int, Callable[[], Part | None]] = {}  # weakly, too
        self.no_tensors: frozenset[int] = frozenset()  # places of the arguments that are none
        self.shapes_in: dict[int, tuple[int, ...]] = {}  # of the inputs that need a gradient

    @property
    def op(self) -> FunctionPlan:
        return self

    def joint_pick(self, kept: Values) -> Values:
        return ()

    def joint(self, g: Gradient) -> list[Any]:
        """The gradients of the inputs; `g` as for every rule, an array or a tensor."""
        node = self.node()
        assert node is not None  # the walk holds it
        saved = [_as_tensor(k) for k in lift(node, unpacked(node.kept))]
        if self.multiple:
            for place, i in self.kept_outputs:
                saved[place] = wrap(saved[place].array, self._part(node, i))
        arrived = g if self.multiple else [g]
        gs = [
            self._zeros(i) if part is None and self.ctx._materialize else _as_tensor(part)
            for i, part in enumerate(arrived)
        ]
        ctx = self.ctx
        ctx._saved = tuple(saved)
        try:
            found = self.function.backward(ctx, *gs)
        finally:
            ctx._saved = ()
        return self._checked(found)

    def _part(self, node: Node, i: int) -> Part:
        """The node of output i: the one it has, for two would not add up their gradients."""
        part = self.parts[i]() if i in self.parts else None
        if part is None:
            _, shape, dtype = self.outputs[i]
            part = node.part(i, shape, dtype)
            self.parts[i] = weakref.ref(part)
        return part

    def _zeros(self, i: int) -> Tensor | None:
        if self.outputs[i] is None:
            return None  # no tensor
        xp, shape, dtype = self.outputs[i]
        return wrap(xp.zeros(shape, dtype))

    def _checked(self, found: Any) -> list[Any]:
        """What `backward` returned, as the walk wants it; torch's errors where it is wrong."""
        gradients = list(found) if isinstance(found, (tuple, list)) else [found]
        which = f"function {self.name} returned"
        while len(gradients) > self.arity and gradients[-1] is None:
            gradients.pop()
        if len(gradients) != self.arity:
            raise RuntimeError(
                f"{which} an incorrect number of gradients (expected {self.arity}, got"
                f" {len(gradients)})"
            )
        for i, gx in enumerate(gradients):
            if gx is None:
                continue
            if not isinstance(gx, TensorBase):
                raise RuntimeError(
                    f"expected Variable or None (got {type(gx).__name__}) from {self.name}"
                )
            if i in self.no_tensors:
                raise RuntimeError(
                    f"{which} a gradient different than None at position {i + 1}, but the"
                    " corresponding forward input was not a Variable"
                )
            shape, found_shape = self.shapes_in.get(i), gx.array.shape
            if shape is not None and shape != found_shape and not _sums_to(found_shape, shape):
                raise RuntimeError(
                    f"Function {self.name} returned an invalid gradient at index {i} - got"
                    f" {list(gx.array.shape)} but expected shape compatible with {list(shape)}"
                )
        if is_recording():
            return gradients
        return [None if gx is None else gx.array for gx in gradients]


def _as_tensor(value: Any) -> Any:
    return value if value is None or isinstance(value, TensorBase) else wrap(value)


def _sums_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    extra = len(shape) - len(target)
    return extra >= 0 and all(m in (1, n) for m, n in zip(target, shape[extra:], strict=True))


class Function:
    """The base class of an operation with a backward pass of its own.

    Define two static methods: `forward(ctx, *args)`, which returns a tensor or a tuple of them, and
    `backward(ctx, *grad_outputs)`, which returns one gradient, or None, per argument of `forward`.
    Or define `forward(*args)` and `setup_context(ctx, inputs, output)`.  Call it by `apply`.

    Raises (from the backward pass):
        RuntimeError: the wrong number of gradients, or one of the wrong shape.

    Unlike torch, an output that shares memory with an input is never a recorded view: writing it in
    place raises.  `ctx` is not the `grad_fn` of the result.  A static method `jvp(ctx, *tangents)`
    is used where there is no `backward`, which is then derived from it.

    >>> import tinygrad_edu as torch
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x ** 3
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         x, = ctx.saved_tensors
    ...         return 3 * x ** 2 * g
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward(); x.grad
    tensor(12.)
    """

    generate_vmap_rule = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"{type(self).__name__} is used through its static methods: call"
            f" {type(self).__name__}.apply(...), do not make an instance"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the result; every Function defines its own."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: Values, output: Any) -> None:
        """Keep in `ctx` what `backward` needs, if `forward` does not take `ctx`."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the arguments of `forward`; every Function defines its own."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom"
            " autograd.Function to use it with backward mode AD."
        )

    vjp = backward

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "vjp" in cls.__dict__ and "backward" not in cls.__dict__:
            cls.backward = cls.__dict__["vjp"]  # type: ignore[method-assign]
        elif "jvp" in cls.__dict__ and cls.backward is Function.backward:
            from tinygrad_edu.autograd.forward_ad import by_transposing

            derived: Any = staticmethod(by_transposing(cls.__dict__["jvp"].__func__))
            cls.backward = derived  # type: ignore[method-assign]

    @classmethod
    def apply(cls, *args: object, **kwargs: object) -> Any:
        """Run the operation and record it; arguments as for `forward`, without `ctx`."""
        ctx = FunctionCtx()
        separate = cls.setup_context is not Function.setup_context
        if separate:
            given = inspect.signature(cls.forward).bind(*args, **kwargs)
            given.apply_defaults()
            args = given.args
        edges = tuple([current_node(a) for a in args]) if is_recording() else (None,) * len(args)
        ctx.needs_input_grad = tuple([edge is not None for edge in edges])
        before = state.mode
        try:
            state.mode = before.but(enabled=False)
            if separate:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args, **kwargs)
        finally:
            state.mode = before
        several = isinstance(result, tuple)
        results = result if several else (result,)
        if not several and not isinstance(result, TensorBase):
            return result  # as in torch: tensors in a list or a dict have no history
        for t in ctx._dirty:
            if not any([t is r for r in results]):
                raise RuntimeError(
                    "Some elements marked as dirty during the forward method were not returned as"
                    " output. The inputs that are modified inplace must all be outputs of the"
                    " Function."
                )
        if any(ctx.needs_input_grad):
            results = _record(cls, ctx, args, edges, results, several)
        ctx._saved = ctx._to_save = ()
        ctx._dirty = ctx._constant = ()
        return results if several else results[0]


def _record(
    cls: type[Function],
    ctx: FunctionCtx,
    args: Values,
    edges: tuple[Node | None, ...],
    results: Values,
    several: bool,
) -> Values:
    """Give the results of `forward` their node."""
    for t in ctx._dirty:
        check_writable(t)
    plan = FunctionPlan(cls, ctx, len(args))
    plan.multiple = several
    plan.no_tensors = frozenset(i for i, a in enumerate(args) if not isinstance(a, TensorBase))
    plan.shapes_in = {i: edge.shape for i, edge in enumerate(edges) if edge is not None}
    ctx._shapes_in = plan.shapes_in
    flows = [_differentiable(r, ctx) for r in results]
    if not any(flows):
        return results
    plan.outputs = [
        (module_of(r.array), r.array.shape, r.array.dtype) if isinstance(r, TensorBase) else None
        for r in results
    ]
    kept, guards = _keep(plan, ctx, args, results)
    first = next(r for r, flow in zip(results, flows, strict=True) if flow).array
    recorder = state.mode.maker
    node = recorder(node_class(plan.name), plan, edges, kept, guards, first.shape, first.dtype)
    plan.node = weakref.ref(node)
    if several:
        node.parts = len(results)
    made: list[Any] = []
    for i, (r, flow) in enumerate(zip(results, flows, strict=True)):
        if flow:
            own = plan._part(node, i) if several else node
            made.append(_give(r, own, ctx, args))
        else:
            made.append(r.detach() if any([r is a for a in args]) else r)
    return tuple(made)


def _differentiable(result: object, ctx: FunctionCtx) -> bool:
    return (
        isinstance(result, TensorBase)
        and is_floating(result.array.dtype)
        and not any([result is t for t in ctx._constant])
    )


def _keep(
    plan: FunctionPlan, ctx: FunctionCtx, args: Values, results: Values
) -> tuple[Values, tuple[Storage | None, ...]]:
    """The arrays of `save_for_backward`, their storages; notes in the plan which is which.

    Their names are those of the inputs, "y" for the only output, and "" for what is neither.
    """
    names: list[str] = []
    for k, t in enumerate(ctx._to_save):
        dirty = any([t is d for d in ctx._dirty])
        name = ""
        for ours, a in zip(plan.inputs, args, strict=True):
            if t is a and t is not None and not dirty:
                name = ours
        for i, r in enumerate(results):
            if t is r and t is not None and not name:
                plan.kept_outputs.append((k, i))
                name = "" if plan.multiple else "y"
        names.append(name)
    plan.names = tuple(names)
    kept = tuple([None if t is None else t.array for t in ctx._to_save])
    return kept, tuple([None if t is None else t._storage for t in ctx._to_save])


def _give(result: Any, node: Node, ctx: FunctionCtx, args: Values) -> Any:
    """The output with its history."""
    if any([result is t for t in ctx._dirty]):
        set_history(result, node)
        return result
    source = next((a for a in args if a is result), result.view_of and result.view_of.base)
    if source is None and result.node is None:
        result.node = node
        return result
    alias = wrap(result.array, node, result._storage)
    if source is None:  # a parameter, say, that is none of the inputs: it keeps its own node
        return alias
    base = source if source.view_of is None else source.view_of.base
    alias.view_of = View(base, ((_refuse, (), None),), recorded=False)
    return alias


def _refuse(*args: object) -> Any:
    raise RuntimeError(
        "the output of a custom Function shares memory with an input that has since been modified"
        " in place; the Function's backward would be lost. Return a clone from its forward."
    )


class _Spent:
    """The plan of a gradient that must not be differentiated."""

    name = "DelayedError"
    definition = None
    variadic = owns = multiple = arrays = False
    names = inputs = ()
    joint_needs: Sequence[str] = ()
    by_rules: int | None = None
    live: tuple[bool, ...] = ()

    @property
    def op(self) -> _Spent:
        return self

    def joint_pick(self, kept: Values) -> Values:
        return kept

    def joint(self, g: Gradient, *kept: object) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


def once_differentiable(backward: Call) -> Call:
    """Mark a `backward` that computes right gradients but cannot itself be differentiated.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.autograd.function import once_differentiable
    >>> class Double(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x): return x * 2
    ...     @staticmethod
    ...     @once_differentiable
    ...     def backward(ctx, g): return torch.from_numpy(g.numpy() * 2)
    """

    @functools.wraps(backward)
    def once(ctx: Any, *gs: Any) -> Any:
        recording = is_recording()
        saved = ctx.saved_tensors
        edges = [current_node(g) for g in gs] if recording else []
        with no_grad():
            ctx._saved = tuple([None if t is None else t.detach() for t in saved])
            found = backward(ctx, *[None if g is None else g.detach() for g in gs])
        edge = next((e for e in edges if e is not None), None)
        if edge is None:
            return found
        results = found if isinstance(found, tuple) else (found,)
        spent: Any = _Spent()
        marked = tuple(
            wrap(
                r.array,
                node_class("DelayedError")(spent, (edge,), (), (), r.array.shape, r.array.dtype),
            )
            if isinstance(r, TensorBase)
            else r
            for r in results
        )
        return marked if isinstance(found, tuple) else marked[0]

    return once
