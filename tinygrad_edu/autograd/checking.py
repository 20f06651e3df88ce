"""Check derivative rules against finite differences.

The derivative of a function at `x`, as computed from its values alone, is

    J[i, j] = (f(x + eps e_i)[j] - f(x - eps e_i)[j]) / (2 eps),

exact but for terms in eps^2 and rounding.  `gradcheck` compares it with what the backward pass
says, one output element at a time; `gradgradcheck` does the same to the backward pass itself.

Agreement of the two matrices is not enough to trust a rule, so three more things are looked at: a
rule must be linear in `g` (`g * g` agrees wherever g is 1), give the same result when called again,
and return gradients of the right shape and precision without writing into `g`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.autograd.rules import GradcheckError, check_rules, recorded
from tinygrad_edu.backend import module_of
from tinygrad_edu.dtypes import Array, from_numpy, is_floating
from tinygrad_edu.engine.gradients import grad
from tinygrad_edu.engine.graph import Part, TensorBase
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.switches import enable_grad

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def gradcheck(
    func: Callable[..., Any],
    inputs: object,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = True,
    check_backward_ad: bool = True,
    check_forward_ad: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the backward pass of `func` agrees with central finite differences.

    Args:
        func: takes the inputs, returns a tensor or a tuple of them; must be deterministic.
        inputs: a tensor or a tuple of arguments; those that require grad are checked. They should
            be float64, and away from points where `func` has a kink.
        eps: the step of the finite differences.
        atol, rtol: allowed is a difference of `atol + rtol * abs(numerical)`.
        raise_exception: raise on disagreement instead of returning False.
        nondet_tol: how much two backward passes over the same graph may differ.
        check_undefined_grad, masked: accepted for torch's sake; every output is always tried
            alone, with no gradient for the others.
        check_grad_dtypes: check the type of the gradients every rule on the way returns.
        fast_mode: compare one random projection u J v instead of the whole Jacobian.

    Raises:
        GradcheckError: they disagree; the message has both Jacobians, the largest difference, the
            operations that were recorded, and the inputs.
        ValueError: no input requires grad, or batched gradients are asked for.
        RuntimeError: an input's elements share memory, as after `expand`.

    Unlike torch, forward mode is the backward pass differentiated, so `check_forward_ad` checks
    the same (and a `jvp` where a Function has no `backward`).  It also rejects rules that are not
    linear in the incoming gradient, and checks the dtypes of gradients unless told not to.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.exp, x)
    True
    """
    if check_batched_grad or check_batched_forward_grad:
        raise ValueError("batched gradients are not checked: vmap is a loop here")
    if not (check_backward_ad or check_forward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad")
    args = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    checked = _checked_inputs(args)
    outputs = _call(func, args)
    try:
        check_rules(outputs, check_grad_dtypes)
        compare = _compare_projection if fast_mode else _compare_jacobians
        compare(func, args, checked, outputs, eps, atol, rtol, nondet_tol)
    except GradcheckError as error:
        if raise_exception:
            raise GradcheckError(f"{error}\n{_setting(func, args, outputs)}") from None
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: object,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = True,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Whether the second derivatives of `func` agree with finite differences of the first.

    Args:
        func, inputs: as for `gradcheck`.
        grad_outputs: the gradients of the outputs to start from; random ones unless given.
        gen_non_contig_grad_outputs: make the random ones non-contiguous.
        eps, atol, rtol, raise_exception, nondet_tol, fast_mode: as for `gradcheck`.

    Raises:
        As `gradcheck`.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradgradcheck(torch.exp, x)
    True
    """
    if check_fwd_over_rev or check_batched_grad or not check_rev_over_rev:
        raise ValueError("only the backward pass can be checked: there is no forward mode here")
    args = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    outputs = _call(func, args)
    if grad_outputs is None:
        starts = tuple(
            _random_start(y, gen_non_contig_grad_outputs) for y in outputs if y.node is not None
        )
    else:
        starts = tuple(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else (grad_outputs,)
    try:
        _checkrecorded(func, args, starts, atol, rtol)
    except GradcheckError as error:
        if raise_exception:
            raise GradcheckError(f"{error}\n{_setting(func, args, outputs)}") from None
        return False

    def first_derivative(*given: object) -> tuple[Any, ...]:
        own, gs = given[: len(args)], given[len(args) :]
        wanted = [x for x in own if isinstance(x, TensorBase) and x.node is not None]
        ys = [y for y in _call(func, own) if y.node is not None]
        with enable_grad():
            found = grad(ys, wanted, list(gs), create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    first_derivative.__name__ = f"the first derivative of {_name(func)}"
    return gradcheck(
        first_derivative,
        (*args, *starts),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        fast_mode=fast_mode,
    )


def _name(func: Callable[..., Any]) -> str:
    return str(getattr(func, "__name__", type(func).__name__))


def _setting(func: Callable[..., Any], args: Sequence[Any], outputs: Sequence[Any]) -> str:
    """What was checked, in which operations the fault may be, and with which inputs."""
    nodes = [node for node in recorded(outputs) if not isinstance(node, Part)]
    names = dict.fromkeys([node.name() for node in nodes])
    lines = [f"in {_name(func)}, which recorded {', '.join(names) or 'nothing'}"]
    for i, x in enumerate(args):
        shown = repr(x)
        if isinstance(x, TensorBase) and x.array.size <= _SHOWN:  # all digits, to try it again
            shown = f"{_host(x.array).tolist()} ({from_numpy(x.array.dtype)!r})"
        lines.append(f"input {i}: {shown}")
    return "\n".join(lines)


_SHOWN = 64
"""Of how many elements at most an input is printed with all digits."""


def _checkrecorded(
    func: Callable[..., Any],
    args: Sequence[Any],
    starts: Sequence[Any],
    atol: float,
    rtol: float,
) -> None:
    """With `create_graph` the first derivative must be the same as without."""
    places = _checked_inputs(args)
    ys = [y for y in _call(func, args) if y.node is not None]
    inputs = [args[i] for i in places]
    plain, recorded = (
        grad(ys, inputs, list(starts), retain_graph=True, create_graph=create, allow_unused=True)
        for create in (False, True)
    )
    for i, one, two in zip(places, plain, recorded, strict=True):
        if one is None or two is None:
            continue
        expected, found = _host(one.array), _host(two.array)
        gap = np.abs(found - expected)
        if (gap > atol + rtol * np.abs(expected)).any():
            raise GradcheckError(
                f"the gradient of input {i} is not the same with create_graph=True:\n{found}\n"
                f"without:\n{expected}\nlargest difference: {_largest(gap):g}"
            )


def _random_start(y: Any, non_contiguous: bool) -> Tensor:
    """A random gradient for `y` that itself requires grad."""
    shape = y.array.shape
    values: Any = wrap(np.empty(shape, y.array.dtype)).uniform_(-1, 1)  # the numbers torch draws
    if non_contiguous:
        values = values.unsqueeze(-1).repeat_interleave(2, -1)[..., 0]
    return wrap(module_of(y.array).asarray(values.array)).requires_grad_()


def _checked_inputs(args: Sequence[Any]) -> list[int]:
    """The places of the inputs to check."""
    places = [i for i, x in enumerate(args) if isinstance(x, TensorBase) and x.node is not None]
    if not places:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have"
            " requires_grad=True."
        )
    for i in places:
        array = args[i].array
        if array.dtype != np.float64:
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point. This"
                " check will likely fail if all the inputs are not of double precision.",
                stacklevel=3,
            )
        steps = zip(array.shape, array.strides, strict=True)
        if array.size and any(n > 1 and step == 0 for n, step in steps):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs"
                " that are non-overlapping to be able to compute the numerical gradients"
                " correctly. You should call .contiguous on the input before passing it to"
                " gradcheck."
            )
    return places


def _call(func: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, ...]:
    """The outputs of `func` that can have a gradient."""
    outputs = func(*args)
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    for y in outputs:
        if not isinstance(y, TensorBase):
            raise TypeError(f"gradcheck: func must return tensors, not {type(y).__name__}")
    return tuple(y for y in outputs if is_floating(y.array.dtype))


def _compare_jacobians(
    func: Callable[..., Any],
    args: Sequence[Any],
    checked: list[int],
    outputs: tuple[Any, ...],
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
) -> None:
    numerical = {i: _numerical(func, args, i, eps) for i in checked}
    for j, y in enumerate(outputs):
        found = _analytical(y, [args[i] for i in checked])
        again = _analytical(y, [args[i] for i in checked])
        for i, jacobian, repeated in zip(checked, found, again, strict=True):
            expected = numerical[i][j]
            gap = np.abs(jacobian - expected)
            wrong = ~(gap <= atol + rtol * np.abs(expected))
            wrong &= ~(np.isnan(jacobian) & np.isnan(expected))
            if wrong.any():
                raise GradcheckError(_mismatch(i, j, jacobian, expected, wrong))
            drift = _largest(jacobian - repeated)
            if drift > nondet_tol:
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and"
                    " grad_output multiple times gives different values, although analytical"
                    f" gradient matches numerical gradient: output {j} with respect to input {i}"
                    f" differs by {drift:g}. The tolerance for nondeterminism was {nondet_tol}."
                )
        _check_linear(y, [args[i] for i in checked], checked, j, found, atol, rtol)


def _compare_projection(
    func: Callable[..., Any],
    args: Sequence[Any],
    checked: list[int],
    outputs: tuple[Any, ...],
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
) -> None:
    """Compare u J v for a random direction v of each input and a random cotangent u."""
    random = np.random.default_rng(1)
    for i in checked:
        x = args[i].array
        v = random.standard_normal(x.shape)
        v /= max(float(np.sqrt((v * v).sum())), 1e-30)
        step = module_of(x).asarray((eps * v).astype(x.dtype))
        ups, downs = _evaluate(func, args, x, x + step), _evaluate(func, args, x, x - step)
        for j, y in enumerate(outputs):
            u = random.standard_normal(y.array.shape)
            expected = float((u * (ups[j] - downs[j])).sum()) / (2 * eps)
            first, second = (_pull(y, u, [args[i]])[0] for _ in range(2))
            found, again = float((first * v).sum()), float((second * v).sum())
            if not abs(found - expected) <= atol + rtol * abs(expected):
                raise GradcheckError(
                    f"Jacobian mismatch for output {j} with respect to input {i}, on a random"
                    f" projection (fast_mode):\nnumerical:  {expected!r}\nanalytical: {found!r}\n"
                    f"difference: {abs(found - expected):g}"
                )
            if abs(found - again) > nondet_tol:
                raise GradcheckError("Backward is not reentrant: two walks give different values.")


def _evaluate(func: Callable[..., Any], args: Sequence[Any], x: Array, value: Array) -> list[Array]:
    """The outputs, in float64 on the host, with `x`, the array of an argument, at `value`."""
    before = x.copy()
    x[...] = value
    try:
        # Not under no_grad: the function may itself call backward.
        return [_host(y.array).astype(np.float64) for y in _call(func, args)]
    finally:
        x[...] = before


def _host(array: Array) -> Array:
    return array if isinstance(array, np.ndarray) else array.get()


def _numerical(func: Callable[..., Any], args: Sequence[Any], i: int, eps: float) -> list[Array]:
    """For each output the matrix of finite differences [elements of input i, of the output]."""
    x = args[i].array
    rows: list[list[Array]] = []
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += eps
        down[index] -= eps
        width = float(up[index]) - float(down[index])  # 2 eps as it came out in x's own precision
        ups, downs = _evaluate(func, args, x, up), _evaluate(func, args, x, down)
        rows.append([(a - b).ravel() / width for a, b in zip(ups, downs, strict=True)])
    if not rows:
        return [np.zeros((0, y.array.size)) for y in _call(func, args)]
    return [np.stack(columns) for columns in zip(*rows, strict=True)]


def _pull(y: Any, u: Array, inputs: list[Any]) -> list[Array]:
    """The gradients of `inputs` for the gradient `u` of `y`; zeros where there is no path."""
    if y.node is None:
        return [np.zeros(x.array.shape) for x in inputs]
    start = wrap(module_of(y.array).asarray(u.astype(y.array.dtype)))
    found = grad(y, inputs, start, retain_graph=True, allow_unused=True)
    for x, g in zip(inputs, found, strict=True):
        if g is not None and (g.array.shape, g.array.dtype) != (x.array.shape, x.array.dtype):
            raise GradcheckError(
                f"the gradient of an input of shape {list(x.array.shape)} and type {x.array.dtype}"
                f" has shape {list(g.array.shape)} and type {g.array.dtype}"
            )
    return [
        np.zeros(x.array.shape) if g is None else _host(g.array).astype(np.float64)
        for x, g in zip(inputs, found, strict=True)
    ]


def _analytical(y: Any, inputs: list[Any]) -> list[Array]:
    """For each input the matrix of gradients [elements of the input, of y]."""
    jacobians = [np.zeros((x.array.size, y.array.size)) for x in inputs]
    for column, index in enumerate(np.ndindex(y.array.shape)):
        u = np.zeros(y.array.shape)
        u[index] = 1.0
        for jacobian, g in zip(jacobians, _pull(y, u, inputs), strict=True):
            jacobian[:, column] = g.ravel()
    return jacobians


def _check_linear(
    y: Any,
    inputs: list[Any],
    places: list[int],
    j: int,
    jacobians: list[Array],
    atol: float,
    rtol: float,
) -> None:
    """A gradient for a random cotangent must be that combination of the Jacobian's columns."""
    u = np.random.default_rng(2).standard_normal(y.array.shape)
    for i, jacobian, g in zip(places, jacobians, _pull(y, u, inputs), strict=True):
        expected = jacobian @ u.ravel()
        gap = np.abs(g.ravel() - expected)
        if (gap > atol + rtol * np.abs(expected)).any():
            raise GradcheckError(
                f"Backward is not linear in the gradient of output {j}: for a random one, the"
                f" gradient of input {i} is\n{g.ravel()}\nbut the Jacobian says\n{expected}\n"
                f"largest difference: {_largest(gap):g}"
            )


def _largest(gap: Array) -> float:
    return float(np.abs(gap).max()) if gap.size else 0.0


def _mismatch(i: int, j: int, found: Array, expected: Array, wrong: Array) -> str:
    gap = np.where(wrong, np.abs(found - expected), 0.0)
    gap = np.where(np.isnan(gap), np.inf, gap)
    row, column = np.unravel_index(int(gap.argmax()), gap.shape)
    return (
        f"Jacobian mismatch for output {j} with respect to input {i},\n"
        f"numerical:{expected}\nanalytical:{found}\n"
        f"largest difference: {gap[row, column]:g}, at element {row} of the input and element"
        f" {column} of the output: {found[row, column]!s}, expected {expected[row, column]!s};"
        f" {int(wrong.sum())} of {wrong.size} entries differ"
    )
