"""How operations are applied to all slices of a batch at once.

A rule is given the run, the operation and its arguments, of which some tensors are `Batched`
(batched.py), and returns the result with the slices along dimension 0.  `whole` in a rule
is such a tensor with all slices; `ndim` counts the dimensions of one.  An operation without a rule
is called slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.autograd.batched import Batched, BatchedRun, Unbatched
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.levels import tensors
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.ops.joining import stack

Rule = Callable[..., Any]


def apply(run: BatchedRun, op: Any, args: tuple[Any, ...]) -> Any:
    """A call on all slices: by the operation's rule, or one by one."""
    if not isinstance(op, Primitive):
        given, kwargs, make = args
        composed = _COMPOSED.get(op.name)
        return make(*given, **kwargs) if composed is None else composed(run, make, *given, **kwargs)
    args = tuple([wrap(a) if isinstance(a, np.ndarray) else a for a in args])
    rule = _RULES.get(op.forward.__name__)
    if rule is None and op.elementwise:
        rule = _elementwise
    inside = state.mode
    try:  # as `with run.outside()`, for every call pays for it
        state.mode = run.mode_outside(inside)
        y = NotImplemented if rule is None else rule(run, op, *args)
        if y is NotImplemented:
            y = _one_by_one(run, op, args)
    finally:
        state.mode = inside
    if op.multiple:
        return tuple([Batched(run, part) for part in y])
    return Batched(run, y)


def _one_by_one(run: BatchedRun, op: Primitive, args: tuple[Any, ...]) -> Any:
    """The operation called for every slice, and the results stacked."""
    columns: list[Any] = []
    for arg in args:
        if isinstance(arg, (tuple, list)) and any([run.owns(part) for part in arg]):
            parts = [run.slices(part) for part in arg]
            columns.append([list(row) for row in zip(*parts, strict=True)])
        else:
            columns.append(run.slices(arg))
    rows = [op.call(*row) for row in zip(*columns, strict=True)]
    if op.multiple:
        return [stack(list(parts)) for parts in zip(*rows, strict=True)]
    return stack(rows)


# ---- element by element


def _elementwise(run: BatchedRun, op: Primitive, *args: Any) -> Any:
    """The slices get as many dimensions as broadcasting them gives."""
    given = [t for t in args if hasattr(t, "dtype")]
    ndims = [t.ndim for t in given]
    if 0 in ndims and len({t.dtype for t in given}) > 1:
        return NotImplemented  # a 0-d tensor counts less in promotion, and would no longer be one
    ndim = max(ndims)
    return op.call(*[_widened(t.whole, ndim) if run.owns(t) else t for t in args])


def _widened(whole: Any, ndim: int) -> Any:
    """All slices, each with dimensions of size 1 put in front of its own."""
    missing = ndim + 1 - whole.ndim
    if missing <= 0:
        return whole
    size, *shape = whole.shape
    return whole.reshape(size, *[1] * missing, *shape)


# ---- one more dimension in the arguments


def _given(kinds: str) -> Rule:
    """The rule that makes the same call with one more dimension, told what the arguments are.

    Args:
        kinds: for each argument its name in `_ARGUMENTS`, or `-` if it stays as it is; so do those
            that are not told of.
    """
    changes = [(i, _ARGUMENTS[kind]) for i, kind in enumerate(kinds.split()) if kind != "-"]
    shaped = " shape" in kinds

    def rule(run: BatchedRun, op: Primitive, *args: Any) -> Any:
        ndim = len(args[1]) if shaped else args[0].ndim
        changed = list(args)
        for i, change in changes:
            found = changed[i] = change(run, args[i], ndim)
            if found is NotImplemented:
                return found
        return op.call(*changed)

    return rule


def _tensor(run: BatchedRun, t: Any, ndim: int) -> Any:
    if t.__class__ is Batched and t.run is run:
        return t.whole
    return run.whole(t) if isinstance(t, TensorBase) else t


def _dim(run: BatchedRun, dim: int | None, ndim: int) -> Any:
    return dim % ndim + 1 if ndim and dim is not None else NotImplemented


def _new_dim(run: BatchedRun, dim: int, ndim: int) -> Any:
    return dim % (ndim + 1) + 1 if -ndim - 1 <= dim <= ndim else NotImplemented


def _dims(run: BatchedRun, dims: Any, ndim: int) -> Any:
    return _shifted(range(ndim) if dims is None else dims, ndim) if ndim else NotImplemented


def _shifted(dims: Any, ndim: int) -> tuple[int, ...]:
    return tuple([d % ndim + 1 for d in dims])


def _index(run: BatchedRun, index: Any, ndim: int) -> Any:
    """An index that is the same for all slices, its arrays side by side."""
    places = [i for i, part in enumerate(index) if not isinstance(part, slice)]
    if places and any([hasattr(part, "dtype") for part in index]):
        apart = places[-1] - places[0] >= len(places)
        if apart or any([isinstance(part, TensorBase) for part in index]):
            return NotImplemented
    return (slice(None), *index)


_ARGUMENTS: dict[str, Callable[[BatchedRun, Any, int], Any]] = {
    "x": _tensor,
    "packed": lambda run, t, ndim: run.whole(t).contiguous(),
    "dim": _dim,
    "new": _new_dim,
    "dims": _dims,
    "order": lambda run, dims, ndim: (0, *_shifted(dims, ndim)),
    "shape": lambda run, shape, ndim: (run.size, *shape),
    "index": _index,
}


# ---- along dimensions


def _reduction(run: BatchedRun, op: Primitive, x: Any, dims: Any, *rest: Any) -> Any:
    if not x.ndim:
        return op.call(x.whole.unsqueeze(1), (1,), *[False if r is True else r for r in rest])
    return op.call(x.whole, _dims(run, dims, x.ndim), *rest)


def _full_extremum(name: str) -> Rule:
    """Of a row that holds a nan, the gradient is shared otherwise than by `amax`."""

    def rule(run: BatchedRun, op: Primitive, x: Any) -> Any:
        inner = x
        while isinstance(inner, Batched):
            inner = inner.whole
        if not x.ndim or bool(inner.isnan().any()):
            return NotImplemented
        return getattr(x.whole, name)(tuple(range(1, x.ndim + 1)))

    return rule


def _prod(run: BatchedRun, op: Primitive, x: Any, dims: Any, keepdim: bool, dtype: Any) -> Any:
    if dims is not None:
        return _reduction(run, op, x, dims, keepdim, dtype)
    y = op.call(x.whole.reshape(run.size, -1), (1,), False, dtype)
    return y.reshape(run.size, *[1] * x.ndim) if keepdim else y


# ---- other shapes


def _shape(run: BatchedRun, op: Primitive, x: Any, shape: Any) -> Any:
    return x.whole.reshape(run.size, *shape)


def _expand(run: BatchedRun, op: Primitive, x: Any, shape: Any) -> Any:
    return _widened(x.whole, len(shape)).expand((run.size, *shape))


def _repeat(run: BatchedRun, op: Primitive, x: Any, sizes: Any) -> Any:
    return op.call(_widened(x.whole, len(sizes)), (1, *sizes))


def _add_rows(run: BatchedRun, op: Primitive, rows: Any) -> Any:
    return rows.whole.sum(tuple(range(1, rows.ndim))) if rows.ndim > 1 else rows.whole * 1


def _joined(run: BatchedRun, op: Primitive, tensors: Any, dim: int) -> Any:
    first = next(t for t in tensors if run.owns(t))
    count = first.ndim + (op.name == "stack")
    if not count or not -count <= dim < count or any([t.ndim != first.ndim for t in tensors]):
        return NotImplemented
    return op.call([run.whole(t) for t in tensors], dim % count + 1)


def _pad(run: BatchedRun, op: Primitive, x: Any, widths: Any, value: Any) -> Any:
    return op.call(x.whole, ((0, 0), *widths), value) if run.owns(x) else NotImplemented


def _as_it_is(run: BatchedRun, op: Primitive, x: Any, *rest: Any) -> Any:
    """Of an operation on the last dimensions, or one that keeps the shape."""
    if any([run.owns(t) for t in rest]) or any([type(r) is tuple for r in rest]):
        return NotImplemented
    return op.call(x.whole, *rest)


# ---- products


def _matmul(run: BatchedRun, op: Primitive, a: Any, b: Any) -> Any:
    ndim = max(a.ndim, b.ndim, 2)
    if not a.ndim or not b.ndim:
        return NotImplemented
    first = _as_matrices(run, a, ndim, -2)
    y = op.call(first, _as_matrices(run, b, ndim, -1))
    y = y.squeeze(-1) if b.ndim == 1 else y
    return y.squeeze(-1 if b.ndim == 1 else -2) if a.ndim == 1 else y


def _as_matrices(run: BatchedRun, t: Any, ndim: int, place: int) -> Any:
    """The factor, with a dimension put in if it is a vector, and others in front."""
    factor = t.whole if run.owns(t) else t
    factor = factor.unsqueeze(place) if t.ndim == 1 else factor
    return _widened(factor, ndim) if run.owns(t) else factor


def _linear(run: BatchedRun, op: Primitive, x: Any, weight: Any, bias: Any) -> Any:
    if not run.owns(weight) and not run.owns(bias):
        return op.call(x.whole, weight, bias)
    if weight.ndim != 2:
        return NotImplemented
    rows = run.whole(x) if run.owns(x) or run.owns(weight) else x
    rows = rows.unsqueeze(1) if x.ndim == 1 else rows.reshape(rows.shape[0], -1, rows.shape[-1])
    y = rows @ run.whole(weight).mT
    if bias is not None:
        y = y + (bias.whole.unsqueeze(1) if run.owns(bias) else bias)
    return y.reshape(y.shape[0], *x.shape[:-1], y.shape[-1])


def _convolve(run: BatchedRun, op: Primitive, x: Any, weight: Any, bias: Any, how: Any) -> Any:
    """Slices become images, or, where each has weights of its own, groups of channels."""
    if not run.owns(weight) and not run.owns(bias):
        return _as_images(run, op, x, weight, bias, how)
    biases = None if bias is None else run.whole(bias).reshape(-1)
    y = op.call(_channels(run, x), run.whole(weight).flatten(0, 1), biases, _groups(run, how))
    return _from_channels(run, y)


def _convolve_input(
    run: BatchedRun, op: Primitive, h: Any, weight: Any, shape: Any, how: Any
) -> Any:
    if not run.owns(weight):
        return _as_images(run, op, h, weight, _of_images(run, shape), how)
    wide = (shape[0], run.size * shape[1], *shape[2:])
    y = op.call(_channels(run, h), weight.whole.flatten(0, 1), wide, _groups(run, how))
    return _from_channels(run, y)


def _convolve_weight(run: BatchedRun, op: Primitive, h: Any, x: Any, shape: Any, how: Any) -> Any:
    wide = _of_images(run, shape)
    if run.owns(x):
        y = op.call(_channels(run, h), _channels(run, x), wide, _groups(run, how))
        return y.reshape(run.size, *shape)
    groups = how.groups  # each has its channels of every slice
    parts = h.whole.reshape(run.size, h.shape[0], groups, -1, *h.shape[2:]).movedim(0, 2)
    y = op.call(parts.flatten(1, 3), x, wide, how)
    y = y.reshape(groups, run.size, -1, *shape[1:]).transpose(0, 1)
    return y.reshape(run.size, *shape)


def _channels(run: BatchedRun, x: Any) -> Any:
    """(N, slices * C, ...)"""
    return run.whole(x).transpose(0, 1).flatten(1, 2)


def _from_channels(run: BatchedRun, y: Any) -> Any:
    count, channels, *rest = y.array.shape
    return y.reshape(count, run.size, channels // run.size, *rest).transpose(0, 1)


def _groups(run: BatchedRun, how: Any) -> Any:
    return how._replace(groups=how.groups * run.size)


def _as_images(run: BatchedRun, op: Primitive, x: Any, *rest: Any) -> Any:
    """Slices become images."""
    y = op.call(x.whole.flatten(0, 1), *rest)
    if op.multiple:
        return [part.reshape(run.size, x.shape[0], *part.shape[1:]) for part in y]
    return y.reshape(run.size, x.shape[0], *y.shape[1:])


def _spread(run: BatchedRun, op: Primitive, h: Any, shape: Any, *rest: Any) -> Any:
    return _as_images(run, op, h, _of_images(run, shape), *rest)


def _of_images(run: BatchedRun, shape: Any) -> tuple[int, ...]:
    return (run.size * shape[0], *shape[1:])


def _by_index(run: BatchedRun, op: Primitive, x: Any, index: Any, *rest: Any) -> Any:
    """Of pooling, where elements were taken: there are as many again in the result."""
    shape = [_of_images(run, part) if isinstance(part, tuple) else part for part in rest]
    y = op.call(run.whole(x).flatten(0, 1), run.whole(index).flatten(0, 1), *shape)
    return y.reshape(run.size, x.shape[0], *y.shape[1:])


# ---- functions that look into the memory of their arguments


def _grad(run: BatchedRun, make: Any, outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """Of what is the same for all slices; cotangents alone may differ (see `gradients_of`)."""
    if any([run.owns(t) for t in tensors((outputs, inputs))]):
        raise Unbatched
    return make(outputs, inputs, *args, **kwargs)


def _nll_loss(
    run: BatchedRun, make: Any, input: Any, target: Any, weight: Any = None, *rest: Any,
    ignore_index: int = -100, reduction: str = "mean", **kwargs: Any,
) -> Any:  # fmt: skip
    """By gathering; classes that may have to be ignored are left to the run slice by slice."""
    fits = input.ndim in (1, 2) and target.shape == input.shape[:-1]
    if weight is not None or rest or kwargs or not fits:
        raise Unbatched
    with run.outside():
        logp, classes = run.whole(input), run.whole(target)
        if _may_ignore(classes, ignore_index):
            raise Unbatched
        losses = -logp.gather(-1, classes.unsqueeze(-1)).squeeze(-1)
        y = _reduced(losses, reduction)
    return Batched(run, y)


def _may_ignore(classes: Any, ignore_index: int) -> bool:
    """Whether a class is to be ignored, or may be, as an outer run hides what it is."""
    return isinstance(classes, Batched) or bool((classes.array == ignore_index).any())


def _cross_entropy(run: BatchedRun, op: Primitive, x: Any, target: Any, *rest: Any) -> Any:
    weight, ignore_index, reduction = rest
    rows, classes = run.whole(x), run.whole(target)
    if weight is not None or _may_ignore(classes, ignore_index):
        return NotImplemented
    losses = op.call(rows.flatten(0, 1), classes.flatten(), None, ignore_index, "none")
    return _reduced(losses.reshape(run.size, -1), reduction)


def _reduced(losses: Any, reduction: str) -> Any:
    dims = tuple(range(1, losses.ndim))
    if reduction == "none" or not dims:
        return losses
    return losses.sum(dims) if reduction == "sum" else losses.mean(dims)


def _embedding(run: BatchedRun, op: Primitive, weight: Any, index: Any, *rest: Any) -> Any:
    if run.owns(weight):
        return NotImplemented
    return op.call(weight, index.whole, *rest)


def _norm(run: BatchedRun, op: Primitive, x: Any, *rest: Any) -> Any:
    """Over the last dimensions; a weight of each slice's own is applied afterwards."""
    *affine, size, eps = rest
    if not any([run.owns(t) for t in affine]):
        return op.call(x.whole, *affine, size, eps)
    y = op.call(run.whole(x), *[None] * len(affine), size, eps)
    for t, combine in zip(affine, ("mul", "add"), strict=False):
        if t is not None:
            y = getattr(y, combine)(_widened(t.whole, y.ndim - 1) if run.owns(t) else t)
    return y


_ELEMENTWISE = """
    softplus _softplus_slope logsigmoid gelu leaky_relu _rsub addcmul addcdiv lerp _where
    _masked_fill clamp gate weigh _elu _elu_slope _hardtanh hardshrink softshrink threshold logit
    isclose nan_to_num squared_error smooth_l1 _smooth_l1 huber bce bce_logits ldexp _scaled _hazard
""".split()
_REDUCTIONS = """
    _sum _mean _nansum _any _all _count_nonzero _logsumexp _amax _amin _var _std
""".split()
_ALONG = """
    _argmax _argmin _softmax _log_softmax _cumsum _cumprod _logcumsumexp _settled
""".split()

_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "_max": _full_extremum("amax"), "_min": _full_extremum("amin"),
    "_prod": _prod,
    **dict.fromkeys(_ALONG, _given("x dim")), "pick": _given("x x dim"),
    "_softmax_gradient": _given("x x dim"), "_log_softmax_gradient": _given("x x dim"),
    "_gather": _given("x dim x"), "_scatter_add": _given("x dim x x"),
    "_scatter": _given("x dim x x"), "_put": _given("x shape packed dim"),
    "_view": _shape, "_reshape_copy": _shape, "_expand": _expand, "_permute": _given("x order"),
    "transpose": _given("x dim dim"), "_squeeze": _given("x dims"), "_flip": _given("x dims"),
    "unsqueeze": _given("x new"), "_roll": _given("x - dims"), "_cat": _joined, "_stack": _joined,
    "_slice": _given("x index"), "_take": _given("x index"),
    "_unslice": _given("x shape index"), "_untake": _given("x shape index"),
    "_diagonal": _given("x - dim dim"), "_undiagonal": _given("x shape - dim dim"),
    "_vector_norm": _given("x - dims"), "_split": _given("x - dim"), "_unbind": _given("x dim"),
    "_pad": _pad, "_repeat": _repeat, "_add_rows": _add_rows,
    "tril": _as_it_is, "triu": _as_it_is, "inv": _as_it_is, "det": _as_it_is,
    "_cholesky": _as_it_is, "_logabsdet": _as_it_is, "_sign_of_det": _as_it_is,
    "_clone": _as_it_is, "_to_copy": _as_it_is,
    "matmul": _matmul, "_linear": _linear, "_convolve": _convolve,
    "_convolve_input": _convolve_input, "_convolve_weight": _convolve_weight,
    "_max_pool": _as_images, "sum_windows": _as_images, "spread_windows": _spread,
    "_unpool": _by_index, "_repool": _by_index,
    "_cross_entropy": _cross_entropy, "_embedding": _embedding,
    "layer_norm": _norm, "rms_norm": _norm,
}  # fmt: skip
_COMPOSED: dict[str, Rule] = {"nll_loss": _nll_loss, "autograd.grad": _grad}
