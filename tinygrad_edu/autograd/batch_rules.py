"""How operations are applied to all slices of a batch at once.

A rule is given the run, the operation and its arguments, of which some tensors are `Batched`
(batched.py), and returns the result with the slices along dimension 0.  `whole` in a rule
is such a tensor with all slices; `ndim` counts the dimensions of one.  An operation without a rule
is called slice by slice.
"""

from __future__ import annotations

import math
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
    ndim = max([t.ndim for t in given])
    if any([t.ndim == 0 for t in given]) and len({t.dtype for t in given}) > 1:
        return NotImplemented  # a 0-d tensor counts less in promotion, and would no longer be one
    return op.call(*[_widened(t, ndim) if run.owns(t) else t for t in args])


def _widened(t: Batched, ndim: int) -> Any:
    """All slices, each with dimensions of size 1 put in front of its own."""
    missing = ndim - t.ndim
    if missing <= 0:
        return t.whole
    size, *shape = t.whole.shape
    return t.whole.reshape(size, *[1] * missing, *shape)


# ---- along dimensions


def _reduction(run: BatchedRun, op: Primitive, x: Any, dims: Any, *rest: Any) -> Any:
    if not x.ndim:
        return op.call(x.whole.unsqueeze(1), (1,), *[False if r is True else r for r in rest])
    return op.call(x.whole, _shifted(range(x.ndim) if dims is None else dims, x.ndim), *rest)


def _shifted(dims: Any, ndim: int) -> tuple[int, ...]:
    return tuple([d % ndim + 1 for d in dims])


def _norm_over(run: BatchedRun, op: Primitive, x: Any, p: Any, dims: Any, keepdim: bool) -> Any:
    if not x.ndim:
        return NotImplemented
    return op.call(x.whole, p, _shifted(range(x.ndim) if dims is None else dims, x.ndim), keepdim)


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


def _along(position: int, *tensors: int) -> Rule:
    """Of an operation that works along one dimension, the argument at `position`.

    The arguments at the places `tensors` (the first, if none is given) get all slices.
    """
    places = tensors or (0,)

    def rule(run: BatchedRun, op: Primitive, *args: Any) -> Any:
        first = args[places[0]]
        changed = list(args)
        if not first.ndim or changed[position] is None:
            return NotImplemented
        changed[position] = changed[position] % first.ndim + 1
        for i in places:
            changed[i] = run.whole(args[i]) if isinstance(args[i], TensorBase) else args[i]
        return op.call(*changed)

    return rule


def _pick(run: BatchedRun, op: Primitive, x: Any, index: Any, dim: int, keepdim: bool) -> Any:
    if not x.ndim or not (run.owns(x) and run.owns(index)):
        return NotImplemented
    return op.call(x.whole, index.whole, dim % x.ndim + 1, keepdim)


# ---- other shapes


def _shape(run: BatchedRun, op: Primitive, x: Any, shape: Any) -> Any:
    return x.whole.reshape(run.size, *_known(shape, x))


def _known(shape: Any, x: Any) -> Any:
    """The shape with its -1 filled in."""
    sizes: list[int] = list(shape)
    if -1 in sizes:
        rest = -math.prod(sizes)
        sizes[sizes.index(-1)] = x.array.size // rest if rest else 0
    return sizes


def _expand(run: BatchedRun, op: Primitive, x: Any, shape: Any) -> Any:
    return _widened(x, len(shape)).expand((run.size, *shape))


def _permute(run: BatchedRun, op: Primitive, x: Any, dims: Any) -> Any:
    return op.call(x.whole, (0, *_shifted(dims, x.ndim)))


def _transpose(run: BatchedRun, op: Primitive, x: Any, dim0: int, dim1: int) -> Any:
    return op.call(x.whole, *_shifted((dim0, dim1), x.ndim)) if x.ndim else NotImplemented


def _dims(run: BatchedRun, op: Primitive, x: Any, dims: Any) -> Any:
    return op.call(x.whole, _shifted(dims, x.ndim)) if x.ndim else NotImplemented


def _roll(run: BatchedRun, op: Primitive, x: Any, shifts: Any, dims: Any) -> Any:
    return op.call(x.whole, shifts, _shifted(dims, x.ndim)) if x.ndim and dims else NotImplemented


def _diagonal(run: BatchedRun, op: Primitive, x: Any, offset: int, dim1: int, dim2: int) -> Any:
    return op.call(x.whole, offset, *_shifted((dim1, dim2), x.ndim))


def _undiagonal(run: BatchedRun, op: Primitive, x: Any, shape: Any, *rest: Any) -> Any:
    offset, *dims = rest
    return op.call(x.whole, (run.size, *shape), offset, *_shifted(dims, len(shape)))


def _unsqueeze(run: BatchedRun, op: Primitive, x: Any, dim: int) -> Any:
    if not -x.ndim - 1 <= dim <= x.ndim:
        return NotImplemented
    return op.call(x.whole, dim % (x.ndim + 1) + 1)


def _slice(run: BatchedRun, op: Primitive, x: Any, index: Any) -> Any:
    return op.call(x.whole, (slice(None), *index))


def _take(run: BatchedRun, op: Primitive, x: Any, index: Any) -> Any:
    """An index that is the same for all slices, its arrays side by side."""
    arrays = [i for i, part in enumerate(index) if not isinstance(part, slice)]
    apart = arrays and arrays[-1] - arrays[0] >= len(arrays)
    if apart or not run.owns(x) or any([isinstance(part, TensorBase) for part in index]):
        return NotImplemented
    return op.call(x.whole, (slice(None), *index))


def _unslice(run: BatchedRun, op: Primitive, part: Any, shape: Any, index: Any) -> Any:
    arrays = [i for i, one in enumerate(index) if hasattr(one, "dtype")]
    if arrays and arrays[-1] - arrays[0] >= len(arrays):
        return NotImplemented
    return op.call(part.whole, (run.size, *shape), (slice(None), *index))


def _put(run: BatchedRun, op: Primitive, x: Any, shape: Any, index: Any, dim: int) -> Any:
    if not shape:
        return NotImplemented
    return op.call(
        run.whole(x), (run.size, *shape), run.whole(index).contiguous(), dim % len(shape) + 1
    )


def _repeat(run: BatchedRun, op: Primitive, x: Any, sizes: Any) -> Any:
    return op.call(_widened(x, len(sizes)), (1, *sizes))


def _add_rows(run: BatchedRun, op: Primitive, rows: Any) -> Any:
    return rows.whole.sum(tuple(range(1, rows.ndim))) if rows.ndim > 1 else rows.whole * 1


def _joined(run: BatchedRun, op: Primitive, tensors: Any, dim: int) -> Any:
    first = next(t for t in tensors if run.owns(t))
    count = first.ndim + (op.name == "stack")
    if not count or not -count <= dim < count or any([t.ndim != first.ndim for t in tensors]):
        return NotImplemented
    return op.call([run.whole(t) for t in tensors], dim % count + 1)


def _split(run: BatchedRun, op: Primitive, x: Any, *args: Any) -> Any:
    return op.call(x.whole, *args[:-1], args[-1] % x.ndim + 1)


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
    if not run.owns(t):
        return t.unsqueeze(place) if t.ndim == 1 else t
    whole = t.whole.unsqueeze(place) if t.ndim == 1 else t.whole
    size, *shape = whole.shape
    missing = ndim - len(shape)
    return whole.reshape(size, *[1] * missing, *shape) if missing else whole


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
        return _as_images(run, op, h, weight, (run.size * shape[0], *shape[1:]), how)
    wide = (shape[0], run.size * shape[1], *shape[2:])
    y = op.call(_channels(run, h), weight.whole.flatten(0, 1), wide, _groups(run, how))
    return _from_channels(run, y)


def _convolve_weight(run: BatchedRun, op: Primitive, h: Any, x: Any, shape: Any, how: Any) -> Any:
    wide = (run.size * shape[0], *shape[1:])
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
    whole = run.whole(x).transpose(0, 1)
    count, size, channels, *rest = whole.array.shape
    return whole.reshape(count, size * channels, *rest)


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


def _unpool(run: BatchedRun, op: Primitive, h: Any, index: Any, shape: Any, apart: bool) -> Any:
    wide = (run.size * shape[0], *shape[1:])
    y = op.call(run.whole(h).flatten(0, 1), run.whole(index).flatten(0, 1), wide, apart)
    return y.reshape(run.size, *shape)


def _repool(run: BatchedRun, op: Primitive, x: Any, index: Any) -> Any:
    y = op.call(run.whole(x).flatten(0, 1), run.whole(index).flatten(0, 1))
    return y.reshape(run.size, x.shape[0], *y.shape[1:])


def _spread(run: BatchedRun, op: Primitive, h: Any, shape: Any, *rest: Any) -> Any:
    return _as_images(run, op, h, (run.size * shape[0], *shape[1:]), *rest)


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
    if weight is not None or rest or kwargs or input.ndim not in (1, 2):
        raise Unbatched
    with run.outside():
        classes = run.whole(target).reshape(run.size, *input.shape[:-1])
        losses = _picked_losses(run.whole(input), classes, ignore_index)
        y = _reduced(losses, target.ndim, reduction)
    return Batched(run, y)


def _picked_losses(logp: Any, classes: Any, ignore_index: int) -> Any:
    if isinstance(classes, Batched):
        raise Unbatched  # an outer run hides what the classes are
    if classes.array.size and (classes.array == ignore_index).any():
        raise Unbatched
    return -logp.gather(-1, classes.unsqueeze(-1)).squeeze(-1)


def _reduced(losses: Any, ndim: int, reduction: str) -> Any:
    if reduction == "none":
        return losses
    dims = tuple(range(1, losses.ndim))
    if reduction == "sum":
        return losses.sum(dims) if dims else losses
    return losses.mean(dims) if dims else losses


def _cross_entropy(run: BatchedRun, op: Primitive, x: Any, target: Any, *rest: Any) -> Any:
    weight, ignore_index, reduction = rest
    if weight is not None:
        return NotImplemented
    rows, classes = run.whole(x), run.whole(target)
    if isinstance(classes, Batched) or (classes.array == ignore_index).any():
        return NotImplemented
    losses = op.call(rows.flatten(0, 1), classes.flatten(), None, ignore_index, "none")
    return _reduced(losses.reshape(run.size, -1), 1, reduction)


def _embedding(run: BatchedRun, op: Primitive, weight: Any, index: Any, *rest: Any) -> Any:
    if run.owns(weight):
        return NotImplemented
    return op.call(weight, index.whole, *rest)


def _norm(run: BatchedRun, op: Primitive, x: Any, *rest: Any) -> Any:
    """Over the last dimensions; a weight of each slice's own is applied afterwards."""
    *affine, size, eps = rest
    if not any([run.owns(t) for t in affine]):
        return op.call(x.whole, *affine, size, eps)
    shape = None
    y = op.call(run.whole(x), *[None] * len(affine), size, eps)
    for t, combine in zip(affine, ("mul", "add"), strict=False):
        if t is not None:
            shape = t.whole.shape if run.owns(t) else (1, *t.shape)
            t = t.whole if run.owns(t) else t.unsqueeze(0)
            y = getattr(y, combine)(t.reshape(shape[0], *[1] * (y.ndim - len(shape)), *shape[1:]))
    return y


_ELEMENTWISE = """
    softplus _softplus_slope logsigmoid gelu leaky_relu _rsub addcmul addcdiv lerp _where
    _masked_fill clamp gate weigh _elu _elu_slope _hardtanh hardshrink softshrink threshold logit
    isclose nan_to_num squared_error smooth_l1 _smooth_l1 huber bce bce_logits ldexp _scaled _hazard
""".split()
_REDUCTIONS = """
    _sum _mean _nansum _any _all _count_nonzero _logsumexp _amax _amin _var _std
""".split()

_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "_max": _full_extremum("amax"), "_min": _full_extremum("amin"),
    "_prod": _prod, "_argmax": _along(1), "_argmin": _along(1), "pick": _pick,
    "_softmax": _along(1), "_log_softmax": _along(1),
    "_softmax_gradient": _along(2, 0, 1), "_log_softmax_gradient": _along(2, 0, 1),
    "_cumsum": _along(1), "_cumprod": _along(1), "_logcumsumexp": _along(1), "_settled": _along(1),
    "_gather": _along(1, 0, 2), "_scatter_add": _along(1, 0, 2, 3), "_scatter": _along(1, 0, 2, 3),
    "_view": _shape, "_reshape_copy": _shape, "_expand": _expand, "_permute": _permute,
    "transpose": _transpose, "_squeeze": _dims, "_flip": _dims, "unsqueeze": _unsqueeze,
    "_slice": _slice, "_take": _take, "_cat": _joined, "_stack": _joined,
    "_diagonal": _diagonal, "_undiagonal": _undiagonal, "_roll": _roll,
    "_vector_norm": _norm_over, "_split": _split, "_unbind": _split, "_pad": _pad,
    "tril": _as_it_is, "triu": _as_it_is, "inv": _as_it_is, "det": _as_it_is,
    "_cholesky": _as_it_is, "_logabsdet": _as_it_is, "_sign_of_det": _as_it_is,
    "_clone": _as_it_is, "_to_copy": _as_it_is,
    "matmul": _matmul, "_linear": _linear, "_convolve": _convolve,
    "_convolve_input": _convolve_input, "_convolve_weight": _convolve_weight,
    "_max_pool": _as_images, "sum_windows": _as_images, "spread_windows": _spread,
    "_unpool": _unpool, "_repool": _repool,
    "_unslice": _unslice, "_untake": _unslice, "_put": _put, "_repeat": _repeat,
    "_add_rows": _add_rows,
    "_cross_entropy": _cross_entropy, "_embedding": _embedding,
    "layer_norm": _norm, "rms_norm": _norm,
}  # fmt: skip
_COMPOSED: dict[str, Rule] = {"nll_loss": _nll_loss, "autograd.grad": _grad}
