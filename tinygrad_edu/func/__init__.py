"""`torch.func`: functions of functions.

    grad(f)         x -> the gradient of f at x
    vjp, jvp        products with the Jacobian
    jacrev, hessian the matrices of first and second derivatives
    vmap(f)         f, applied to every slice
    functional_call a module as a function of its parameters

Each takes a function and returns one, so they nest.  An input is given to the function as a fresh
variable.  If it has a history itself, the fresh one is connected to it, and what is computed stays
differentiable; so does what depends on other tensors that require grad.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_edu.autograd import functional
from tinygrad_edu.autograd.batched import batched_here, cut_off, filled
from tinygrad_edu.engine import tree
from tinygrad_edu.engine.graph import Node, TensorBase
from tinygrad_edu.engine.levels import tensors
from tinygrad_edu.engine.record import current_node
from tinygrad_edu.engine.runs import Level
from tinygrad_edu.engine.switches import enable_grad, is_grad_enabled
from tinygrad_edu.engine.views import CutOff
from tinygrad_edu.func.batching import vmap
from tinygrad_edu.ops.joining import stack

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
    "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap",
]  # fmt: skip

ArgNums = int | tuple[int, ...]


class _Run:
    """One run of a function on fresh variables.

    Attributes:
        xs: the variables; ys: the tensors that came out; output: the tree of these.
        connected: whether anything the outputs depend on, besides `xs`, requires grad.
    """

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], places: Sequence[int],
                 kwargs: dict[str, Any], has_aux: bool = False) -> None:  # fmt: skip
        outside = is_grad_enabled()
        given = [args[i] for i in places]
        before = tree.flatten(given)
        for t in before:
            if not isinstance(t, TensorBase):
                raise ValueError(f"Thing passed to transform API must be Tensor, got {type(t)}")
        with enable_grad():
            self.xs: list[Any] = [functional.fresh(batched_here(t), outside) for t in before]
            changed = dict(zip(places, tree.rebuild(given, self.xs), strict=True))
            new_args = [changed.get(i, a) for i, a in enumerate(args)]
            with Level(tensors((new_args, kwargs))):
                self.output = f(*new_args, **kwargs)
        self.aux: Any = None
        if has_aux:
            if not (isinstance(self.output, tuple) and len(self.output) == 2):
                raise RuntimeError(
                    f"{_name(f)}: output of function f should be a tuple: (output, aux) if has_aux"
                    " is True"
                )
            self.output, self.aux = self.output
        self.ys = tree.flatten(self.output)
        own = [x.node for x in self.xs]
        self.connected = outside and (
            any([current_node(t) is not None for t in before])
            or _reaches_others(self.ys + tree.flatten(self.aux), own)
        )
        self.aux = self.finished(self.aux)

    def finished(self, value: Any) -> Any:
        """A result without the history that only this run gave it."""
        if self.connected:
            return value
        return tree.change(value, _detached)


def _detached(value: Any) -> Any:
    return cut_off(value) if isinstance(value, TensorBase) else value


def _reaches_others(ys: list[Any], own: list[Any]) -> bool:
    """Whether the outputs depend on leaves other than the variables of the run."""
    seen: set[Node] = set(own)
    todo = [node for y in ys if (node := current_node(y)) is not None]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        if node.is_leaf and not isinstance(node, CutOff):
            return True
        seen.add(node)
        todo.extend([edge for edge in node.edges if edge is not None])
    return False


def _name(f: object) -> str:
    return str(getattr(f, "__name__", type(f).__name__))


def _places(argnums: ArgNums, args: tuple[Any, ...]) -> list[int]:
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    return [n % len(args) for n in numbers]


def _shaped(args: tuple[Any, ...], argnums: ArgNums, places: list[int], leaves: list[Any]) -> Any:
    """Results for all leaves of the chosen arguments, in the structure of these."""
    found = tree.rebuild(tuple(args[i] for i in places), leaves)
    return found if isinstance(argnums, tuple) else found[0]


def grad_and_value(
    func: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the gradient of `func` and the value of `func`.

    Args:
        func: returns a 0-d tensor.
        argnums: the position, or positions, of the arguments to differentiate for; they may be
            nested lists, tuples and dictionaries of tensors.
        has_aux: `func` returns (value, something else); so does the result.

    Raises:
        RuntimeError: `func` returned anything but a 0-d tensor.

    >>> import tinygrad_edu as torch
    >>> torch.func.grad_and_value(lambda x: (x * x).sum())(torch.tensor([1.0, 2.0]))
    (tensor([2., 4.]), tensor(5.))
    """

    @functools.wraps(func)
    def inside(*args: object, **kwargs: object) -> Any:
        places = _places(argnums, args)
        run = _Run(func, args, places, kwargs, has_aux)
        y = run.output
        if not isinstance(y, TensorBase):
            raise RuntimeError(
                f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(y)}"
            )
        if y.array.ndim:
            raise RuntimeError(
                "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor"
                f" with {y.array.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs"
                " instead?"
            )
        with enable_grad():
            ones = [filled(y, 1)]
            found = functional._pull([y], run.xs, ones, run.connected, False)
        gradients = run.finished(_shaped(args, argnums, places, found))
        value = run.finished(y)
        return gradients, ((value, run.aux) if has_aux else value)

    return inside


def grad(
    func: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns the gradient of `func`.

    Arguments and errors as for `grad_and_value`; with `has_aux` the result is (gradient, else).

    >>> import tinygrad_edu as torch
    >>> torch.func.grad(torch.func.grad(torch.sin))(torch.tensor(1.0))  # - sin(1)
    tensor(-0.8415)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def inside(*args: object, **kwargs: object) -> Any:
        gradients, value = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return inside


def vjp(func: Callable[..., Any], *primals: object, has_aux: bool = False) -> Any:
    """`func(*primals)`, and a function that maps a cotangent u of the outputs to u J.

    Args:
        func: returns a tensor, or nested containers of them.
        primals: the arguments to differentiate for.
        has_aux: `func` returns (outputs, something else), which becomes the third result.

    Raises:
        RuntimeError: `func` returned something other than tensors.

    >>> import tinygrad_edu as torch
    >>> y, pull = torch.func.vjp(torch.sin, torch.zeros(2))
    >>> pull(torch.tensor([1.0, 3.0]))
    (tensor([1., 3.]),)
    """
    run = _Run(func, primals, range(len(primals)), {}, has_aux)
    _only_tensors(run.ys, "vjp(f, *primals)", "f(*primals)")

    def pull(
        cotangents: object, retain_graph: bool = True, create_graph: bool | None = None
    ) -> Any:
        us = tree.flatten(cotangents)
        if len(us) != len(run.ys):
            raise RuntimeError(
                f"Expected pytree structure of cotangents to be the same as pytree structure of"
                f" outputs to the function: {len(us)} tensors for {len(run.ys)} outputs"
            )
        history = any([current_node(u) is not None for u in us])
        create = is_grad_enabled() and (run.connected or history)
        create = create if create_graph is None else create_graph
        with enable_grad():
            found = functional._pull(run.ys, run.xs, us, create, False)
        result = tree.rebuild(primals, found)
        return result if create else run.finished(result)

    output = run.finished(run.output)
    return (output, pull, run.aux) if has_aux else (output, pull)


def _only_tensors(ys: list[Any], who: str, what: str) -> None:
    for y in ys:
        if not isinstance(y, TensorBase):
            raise RuntimeError(
                f"{who}: expected {what} to return only tensors, got unsupported type {type(y)}"
            )


def jvp(
    func: Callable[..., Any],
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> Any:
    """`func(*primals)` and J v, where v is `tangents`.

    Args:
        primals, tangents: tuples of the same structure and shapes.
        has_aux: `func` returns (outputs, something else), which becomes the third result.

    Raises:
        RuntimeError: structures or shapes differ, or `func` returned something other than tensors.

    Unlike torch, there is no forward mode: this is two backward passes, so `func` must be twice
    differentiable.

    >>> import tinygrad_edu as torch
    >>> torch.func.jvp(torch.sin, (torch.zeros(2),), (torch.tensor([1.0, 3.0]),))
    (tensor([0., 0.]), tensor([1., 3.]))
    """
    if not isinstance(primals, tuple):
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to"
            " call f(*primals)."
        )
    vs = tree.flatten(tangents)
    if len(vs) != len(tree.flatten(primals)) or tree.broadcast(tangents, primals) is None:
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals and tangents to have the same python"
            " structure. For example, if primals is a tuple of 3 tensors, tangents also must be."
        )
    run = _Run(func, primals, range(len(primals)), {}, has_aux)
    _only_tensors(run.ys, "jvp(f, primals, tangents)", "f(*primals)")
    for x, v in zip(run.xs, vs, strict=True):
        if x.shape != v.shape:
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the"
                f" original Tensor, this is not supported. Tensor is of size {list(x.shape)} while"
                f" the given forward gradient is of size {list(v.shape)}."
            )
    create = run.connected or any([current_node(v) is not None for v in vs])
    with enable_grad():
        products = functional.push(run.ys, run.xs, vs, create)
    pushed = tree.rebuild(run.output, products)
    result = run.finished(run.output), (pushed if create else run.finished(pushed))
    return (*result, run.aux) if has_aux else result


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """`func(*primals)`, and a function that maps tangents v of the primals to J v.

    The function is run once, however many tangents there are.

    >>> import tinygrad_edu as torch
    >>> y, push = torch.func.linearize(torch.sin, torch.zeros(2))
    >>> push(torch.tensor([1.0, 3.0]))
    tensor([1., 3.])
    """
    run = _Run(func, primals, range(len(primals)), {})
    _only_tensors(run.ys, "linearize(f, *primals)", "f(*primals)")

    def pushed(*tangents: Any) -> Any:
        vs = tree.flatten(tangents)
        if len(vs) != len(run.xs):
            raise RuntimeError(
                "linearize: expected tangents of the same structure as the primals:"
                f" {len(vs)} tensors for {len(run.xs)}"
            )
        create = run.connected or any([current_node(v) is not None for v in vs])
        with enable_grad():
            products = functional.push(run.ys, run.xs, vs, create)
        result = tree.rebuild(run.output, products)
        return result if create else run.finished(result)

    return run.finished(run.output), pushed


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Take the running statistics from every batch norm of a model; returns the model.

    Then `vmap` may run it: updating them in place would mix the slices.
    """
    for module in root.modules():
        if hasattr(module, "running_mean") and hasattr(module, "track_running_stats"):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root


def jacrev(
    func: Callable[..., Any],
    argnums: ArgNums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that returns the Jacobian of `func`, of shape `[*output.shape, *input.shape]`.

    Args:
        argnums, has_aux: as for `grad_and_value`.
        chunk_size: accepted for torch's sake; one backward pass serves all outputs.

    >>> import tinygrad_edu as torch
    >>> torch.func.jacrev(lambda x: x ** 2)(torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    @functools.wraps(func)
    def inside(*args: object, **kwargs: object) -> Any:
        places = _places(argnums, args)
        run = _Run(func, args, places, kwargs, has_aux)
        _only_tensors(run.ys, "vjp(f, *primals)", "f(*primals)")
        rows = []
        with enable_grad():
            for y in run.ys:
                found = functional.jacobian_of(y, run.xs, run.connected)
                rows.append(run.finished(_shaped(args, argnums, places, found)))
        jacobians = tree.rebuild(run.output, rows)
        return (jacobians, run.aux) if has_aux else jacobians

    return inside


def jacfwd(
    func: Callable[..., Any],
    argnums: ArgNums = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
) -> Callable[..., Any]:
    """The same as `jacrev`.

    Unlike torch, there is no forward mode: the Jacobian is computed by backward passes.

    >>> import tinygrad_edu as torch
    >>> torch.func.jacfwd(torch.exp)(torch.zeros(1))
    tensor([[1.]])
    """
    return jacrev(func, argnums, has_aux=has_aux)


def hessian(func: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """A function that returns the second derivatives of `func`.

    >>> import tinygrad_edu as torch
    >>> torch.func.hessian(lambda x: (x ** 3).sum())(torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacrev(jacrev(func, argnums), argnums)


# ---- modules as functions


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)`, with other tensors in the place of its parameters and buffers.

    Args:
        module: left as it was; a buffer that it updates in place is updated in the given tensor.
        parameter_and_buffer_dicts: path -> tensor, as from `named_parameters`; or several such
            dictionaries in a sequence. What `forward` assigns to one of these attributes is put
            into the dictionary, if it is a single one.
        args: a tuple of arguments, or a single one that is not a tuple.
        tie_weights: replace a shared parameter under all its names when one is given.
        strict: RuntimeError unless exactly the module's parameters and buffers are given.

    Raises:
        ValueError: two values for one tensor, under two names or in two dictionaries.
        TypeError: a value, or what it would replace, is not a tensor.
        AttributeError: a path leads to no module.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> torch.func.functional_call(layer, {"weight": torch.ones(1, 2)}, (torch.ones(2),))
    tensor([2.])
    """
    from tinygrad_edu.nn.utils.stateless import call_with

    given = _merged(parameter_and_buffer_dicts)
    return call_with(module, given, args, kwargs, tie_weights, strict)


def _merged(dicts: object) -> dict[str, Any]:
    """One dictionary: the given one itself, or a new one of a sequence's."""
    if isinstance(dicts, dict):
        return dicts
    if not isinstance(dicts, Sequence):
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got"
            f" {type(dicts)}"
        )
    if not all(isinstance(part, dict) for part in dicts):
        raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
    count = Counter([name for part in dicts for name in part])
    if repeated := [name for name, times in count.items() if times > 1]:
        raise ValueError(
            f"{repeated} appeared in multiple dictionaries; behavior of functional call is"
            " ambiguous"
        )
    return {name: tensor for part in dicts for name, tensor in part.items()}


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of several models of one kind, each stacked along dimension 0.

    Raises:
        RuntimeError: there is none, they differ in class, or not all are in the same mode.

    >>> import tinygrad_edu as torch
    >>> models = [torch.nn.Linear(2, 3) for _ in range(5)]
    >>> params, buffers = torch.func.stack_module_state(models)
    >>> params["weight"].shape
    torch.Size([5, 3, 2])
    """
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or all(not m.training for m in models)):
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if not all(type(m) is type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    params = {}
    for name, first in models[0].named_parameters():
        stacked = stack([dict(m.named_parameters())[name].detach() for m in models])
        params[name] = stacked.requires_grad_(first.requires_grad)
    buffers = {
        name: stack([dict(m.named_buffers())[name] for m in models])
        for name, _ in models[0].named_buffers()
    }
    return params, buffers
