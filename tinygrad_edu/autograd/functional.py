"""Products with Jacobians and Hessians, and these matrices themselves, of functions of tensors.

Everything is made of the backward pass.  `vjp` is one.  `jvp` is two: u -> u J is linear in u, so
its own backward pass, started from v, gives J v, whatever u is (the double-backward trick).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.autograd.batch_rules import apply
from tinygrad_edu.autograd.batched import (
    Batched,
    BatchedRun,
    Unbatched,
    blank,
    filled,
    gradients_of,
)
from tinygrad_edu.backend import new_like
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.engine.switches import enable_grad

Tensors = Any
"""A tensor or a tuple of them."""


def vjp(
    func: Callable[..., Any],
    inputs: Tensors,
    v: Tensors = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """`func(*inputs)` and the product v J of `v` with its Jacobian, shaped as the inputs.

    Args:
        func: takes tensors, returns a tensor or a tuple of them.
        inputs: a tensor or a tuple of them.
        v: shaped as the outputs; may be left out if the output is one number.
        create_graph: let the results be differentiated.
        strict: RuntimeError, rather than zeros, where an output does not depend on an input.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([1.0, 2.0])
    >>> torch.autograd.functional.vjp(lambda x: x ** 2, x, torch.ones(2))[1]
    tensor([2., 4.])
    """
    xs, ys, several_in, several_out = _run("vjp", func, inputs, create_graph, strict)
    us = _directions(v, ys, "output of the user-provided function returns", create_graph)
    with enable_grad():
        gs = _pull(ys, xs, us, create_graph, strict)
    return _finish(ys, several_out, create_graph), _finish(gs, several_in, create_graph)


def jvp(
    func: Callable[..., Any],
    inputs: Tensors,
    v: Tensors = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """`func(*inputs)` and the product J v of its Jacobian with `v`, shaped as the outputs.

    Arguments as for `vjp`, but `v` is shaped as the inputs.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([1.0, 2.0])
    >>> torch.autograd.functional.jvp(lambda x: x.sum() * x, x, torch.tensor([1.0, 0.0]))[1]
    tensor([4., 2.])
    """
    xs, ys, _, several = _run("jvp", func, inputs, create_graph, strict)
    vs = _directions(v, xs, "input to the user-provided function is", create_graph)
    with enable_grad():
        products = push(ys, xs, vs, create_graph, strict)
    return _finish(ys, several, create_graph), _finish(products, several, create_graph)


def push(ys: list[Any], xs: list[Any], vs: list[Any], create: bool, strict: bool = False) -> Any:
    """J v, by differentiating u -> u J."""
    us = [filled(y, 0).requires_grad_() for y in ys]
    pulled = _pull(ys, xs, us, True, strict)
    products = gradients_of(pulled, us, vs, create)
    return [filled(y, 0) if p is None else p for p, y in zip(products, ys, strict=True)]


def jacobian(
    func: Callable[..., Any],
    inputs: Tensors,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The matrix of derivatives of every output element for every input element.

    Args:
        func, inputs, create_graph, strict: as for `vjp`.
        vectorize, strategy: accepted for torch's sake; one backward pass serves all outputs.

    Returns:
        A tensor of shape `[*output.shape, *input.shape]`; a tuple of them for several inputs; for
        several outputs a tuple of that.

    >>> import tinygrad_edu as torch
    >>> torch.autograd.functional.jacobian(lambda x: x ** 2, torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    xs, ys, several_in, several_out = _run("jacobian", func, inputs, create_graph, strict)
    with enable_grad():
        rows = [jacobian_of(y, xs, create_graph, strict) for y in ys]
    found = [_finish(row, several_in, create_graph) for row in rows]
    return tuple(found) if several_out else found[0]


def jacobian_of(y: Any, xs: list[Any], create: bool, strict: bool = False) -> list[Any]:
    """For each input the tensor `[*y.shape, *x.shape]` of derivatives."""
    if y.array.size > 2 and not strict:
        try:
            return _rows_at_once(y, xs, create)
        except (Unbatched, Exception):  # row by row, then; that says what is wrong, if anything is
            pass
    rows: list[list[Any]] = []
    for index in np.ndindex(y.array.shape):
        u = blank(y)
        u[index] = 1
        rows.append(_pull([y], xs, [wrap(u)], create, strict))
    if not rows:
        return [wrap(new_like(x.array, y.array.shape + x.array.shape, 0)) for x in xs]
    from tinygrad_edu.ops.joining import stack

    return [
        stack(list(column)).reshape(y.array.shape + column[0].array.shape)
        for column in zip(*rows, strict=True)
    ]


def _rows_at_once(y: Any, xs: list[Any], create: bool) -> list[Any]:
    """The Jacobians by one walk, whose cotangents are all rows of the unit matrix."""
    size = y.array.size
    run = BatchedRun(size, apply)
    rows = wrap(np.eye(size, dtype=y.array.dtype).reshape(size, *y.array.shape))
    with run:
        found = gradients_of([y], xs, [Batched(run, rows)], create)
        wholes = [None if g is None else run.whole(g) for g in found]
    shapes = [(*y.array.shape, *x.array.shape) for x in xs]
    return [
        filled(x, 0).unsqueeze(0).expand((size, *x.array.shape)).reshape(shape)
        if whole is None
        else whole.reshape(shape)
        for x, whole, shape in zip(xs, wholes, shapes, strict=True)
    ]


def hessian(
    func: Callable[..., Any],
    inputs: Tensors,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a function whose result is one number.

    Arguments as for `jacobian`.

    Returns:
        A tensor of shape `[*input.shape, *input.shape]`; for several inputs a tuple of tuples.

    >>> import tinygrad_edu as torch
    >>> torch.autograd.functional.hessian(lambda x: (x ** 3).sum(), torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    _, several = _as_tuple(inputs, "inputs", "hessian")

    def first(*xs: object) -> Any:
        y = _one_number(func(*xs), "hessian")
        return tuple(_pull([y], list(xs), [wrap(np.ones_like(y.array))], True, strict))

    rows = jacobian(first, inputs if several else (inputs,), create_graph, strict)
    return rows if several else rows[0][0]


def vhp(
    func: Callable[..., Any],
    inputs: Tensors,
    v: Tensors = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """`func(*inputs)`, one number, and the product v H of `v` with its Hessian.

    Arguments as for `vjp`; `v` is shaped as the inputs.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([1.0, 2.0])
    >>> torch.autograd.functional.vhp(lambda x: (x ** 3).sum(), x, torch.ones(2))[1]
    tensor([ 6., 12.])
    """
    xs, ys, several, _ = _run("vhp", func, inputs, create_graph, strict)
    y = _one_number(ys[0] if len(ys) == 1 else ys, "vhp")
    vs = _directions(v, xs, "input to the user-provided function is", create_graph)
    with enable_grad():
        firsts = _pull([y], xs, [wrap(np.ones_like(y.array))], True, strict)
        gs = _pull(firsts, xs, vs, create_graph, strict)
    return _finish([y], False, create_graph), _finish(gs, several, create_graph)


def hvp(
    func: Callable[..., Any],
    inputs: Tensors,
    v: Tensors = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """`func(*inputs)`, one number, and the product H v of its Hessian with `v`.

    Arguments as for `vjp`; `v` is shaped as the inputs.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([1.0, 2.0])
    >>> torch.autograd.functional.hvp(lambda x: (x ** 3).sum(), x, torch.ones(2))[1]
    tensor([ 6., 12.])
    """
    xs, ys, several, _ = _run("hvp", func, inputs, create_graph, strict)
    y = _one_number(ys[0] if len(ys) == 1 else ys, "hvp")
    vs = _directions(v, xs, "input to the user-provided function is", create_graph)
    with enable_grad():
        firsts = _pull([y], xs, [wrap(np.ones_like(y.array))], True, strict)
        products = push(firsts, xs, vs, create_graph, strict)
    return _finish([y], False, create_graph), _finish(products, several, create_graph)


# ---- the steps they share


def _run(
    name: str, func: Callable[..., Any], inputs: object, create: bool, strict: bool
) -> tuple[list[Any], list[Any], bool, bool]:
    """The inputs as fresh variables, the outputs, and whether either was a tuple."""
    given, several_in = _as_tuple(inputs, "inputs", name)
    with enable_grad():
        xs = [fresh(x, create) for x in given]
        outputs = func(*xs)
    ys, several_out = _as_tuple(outputs, "outputs of the user-provided function", name)
    if strict:
        for i, y in enumerate(ys):
            if current_node(y) is None:
                raise RuntimeError(
                    f"Output {i} of the user-provided function does not require gradients. The"
                    " outputs must be computed in a differentiable manner from the input when"
                    " running in strict mode."
                )
    return xs, ys, several_in, several_out


def fresh(x: Any, connected: bool) -> Any:
    """The same values as a variable of its own, connected to the history of `x` or not."""
    if connected and current_node(x) is not None:
        return x.view_as(x)
    return x.detach().requires_grad_()


def _as_tuple(value: Any, what: str, name: str) -> tuple[list[Any], bool]:
    several = isinstance(value, tuple)
    values = list(value) if several else [value]
    for i, t in enumerate(values):
        if isinstance(t, TensorBase):
            continue
        if what == "inputs":
            start = f"The inputs given to {name}"
        else:
            start = f"The outputs of the user-provided function given to {name}"
        if several:
            raise TypeError(
                f"{start} must be either a Tensor or a tuple of Tensors but the value at index {i}"
                f" has type {type(t)}."
            )
        given = "the given inputs" if what == "inputs" else f"the given {what}"
        raise TypeError(
            f"{start} must be either a Tensor or a tuple of Tensors but {given} has type {type(t)}."
        )
    return values, several


def _directions(v: Any, like: list[Any], where: str, create: bool) -> list[Any]:
    """`v` as a list of tensors shaped as `like`."""
    if v is None:
        if len(like) != 1 or like[0].array.size != 1:
            what = "containing a single element" if "returns" in where else "with a single element"
            raise RuntimeError(
                f"The vector v can only be None if the {where} a single Tensor {what}."
            )
        return [wrap(np.ones_like(like[0].array))]
    vs = list(v) if isinstance(v, tuple) else [v]
    if len(vs) != len(like):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(vs)}."
        )
    for i, (one, t) in enumerate(zip(vs, like, strict=True)):
        if one.shape != t.shape:
            entry = f"Entry {i} in v" if len(like) > 1 else "v"
            raise RuntimeError(
                f"{entry} has invalid size: should be {t.shape} but got {one.shape}."
            )
    return [one if create else one.detach() for one in vs]


def _pull(ys: list[Any], xs: list[Any], us: list[Any], create: bool, strict: bool) -> list[Any]:
    """u J; zeros where there is no path."""
    found = gradients_of(ys, xs, us, create)
    results = []
    for i, (x, g) in enumerate(zip(xs, found, strict=True)):
        if g is None and strict:
            raise RuntimeError(
                "The output of the user-provided function is independent of input"
                f" {i}. This is not allowed in strict mode."
            )
        results.append(filled(x, 0) if g is None else g)
    return results


def _one_number(y: Any, name: str) -> Any:
    if not isinstance(y, TensorBase):
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if y.array.size != 1:
        raise RuntimeError(
            f"The Tensor returned by the function given to {name} should contain a single element"
        )
    return y


def _finish(tensors: list[Any], several: bool, create: bool) -> Any:
    results = [t if create else t.detach() for t in tensors]
    return tuple(results) if several else results[0]
