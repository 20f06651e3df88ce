"""NumPy's functions applied to tensors: `np.exp(t)`, `array * t`, `np.concatenate([t, u])`.

NumPy asks an argument's `__array_ufunc__` and `__array_function__` what to do.  Where we have the
operation, its result is a tensor and is recorded: of NumPy's elementwise functions, an operation
says itself which it is (`ops/arguments.ufunc`), the others are in the table below.  Where we have
not, NumPy computes on the tensors' arrays and returns what it always does; a tensor that
requires grad then raises, as `t.numpy()` would, so no gradient is lost in silence.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu import dtypes
from tinygrad_edu.engine import tree
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.methods import more
from tinygrad_edu.ops import (
    arithmetic,
    comparison,
    creation,
    extrema,
    joining,
    largest,
    masking,
    reduction,
    rounding,
    shape,
)
from tinygrad_edu.ops.arguments import UFUNCS
from tinygrad_edu.ops.more import (
    arranging,
    cumulative,
    diagonals,
    differences,
    einsum,
    linalg,
    norms,
    products,
    sorting,
    statistics,
)

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


more.import_all()  # so that `UFUNCS` is complete

Operation = Callable[..., Any]


def _flattened(op: Operation) -> Operation:
    """NumPy's default for these, `axis=None`, is the flattened tensor."""

    def call(x: Tensor, dim: int | tuple[int, ...] | None = None, **kwargs: object) -> Any:
        return op(x.flatten(), 0, **kwargs) if dim is None else op(x, dim, **kwargs)

    return call


def _deviation(op: Operation) -> Operation:
    """NumPy divides by N - ddof, ddof being 0; torch by N - correction, correction being 1."""

    def call(
        x: Tensor,
        dim: int | tuple[int, ...] | None = None,
        *,
        ddof: float = 0,
        keepdim: bool = False,
    ) -> Any:
        return op(x, dim, correction=ddof, keepdim=keepdim)

    return call


def _arg(op: Operation) -> Operation:
    def call(x: Tensor, dim: int | tuple[int, ...] | None = None, *, keepdim: bool = False) -> Any:
        return op(x, dim, keepdim)

    return call


def _reduced(op: Operation) -> Operation:
    """A reduction over all dimensions, one, or several, of one argument."""

    def call(
        x: Tensor,
        dim: int | tuple[int, ...] | None = None,
        *,
        keepdim: bool = False,
        dtype: Any = None,
    ) -> Any:
        options = {} if dtype is None else {"dtype": _dtype(dtype)}
        if op is reduction.mean and not x.is_floating_point() and not options:
            options = {"dtype": dtypes.float64}
        dims = tuple(range(x.ndim)) if dim is None else dim
        return op(x, dims, keepdim, **options)

    return call


def _one_by_one(op: Operation) -> Operation:
    """A reduction that takes one dimension, over several of them."""

    def call(x: Tensor, dim: int | tuple[int, ...] | None = None, *, keepdim: bool = False) -> Any:
        dims = range(x.ndim) if dim is None else dim if isinstance(dim, tuple) else (dim,)
        for d in sorted([d % x.ndim for d in dims], reverse=True):
            x = op(x, d, keepdim)
        return x

    return call


def _permute(x: Any, axes: Any = None) -> Any:
    return x.permute(*(range(x.ndim)[::-1] if axes is None else axes))


def _norm(
    x: Any, ord: Any = None, dim: Sequence[int] | None = None, keepdim: bool = False
) -> Tensor:
    if ord is None and dim is None:
        dim = tuple(range(x.ndim))
        return norms.vector_norm(x, 2, dim, keepdim)
    if dim is None and x.ndim > 2:
        raise ValueError("Improper number of dimensions to norm.")
    return norms.matrix_or_vector_norm(x, ord, dim, keepdim)


def _like(make: Operation) -> Operation:
    def call(x: Tensor, *args: object, dtype: Any = None) -> Any:
        return make(x, *args) if dtype is None else make(x, *args, dtype=_dtype(dtype))

    return call


def _trapezoid(y: Tensor, x: Tensor | None = None, dx: float = 1.0, dim: int = -1) -> Tensor:
    return (
        differences.trapezoid(y, dx=dx, dim=dim)
        if x is None
        else differences.trapezoid(y, x, dim=dim)
    )


FUNCTIONS: dict[Any, Operation] = {
    np.sum: _reduced(reduction.sum), np.mean: _reduced(reduction.mean),
    np.prod: _one_by_one(cumulative.prod), np.std: _deviation(statistics.std),
    np.var: _deviation(statistics.var), np.max: _reduced(largest.amax),
    np.amax: _reduced(largest.amax), np.amin: _reduced(largest.amin),
    np.min: _reduced(largest.amin), np.argmax: _arg(largest.argmax),
    np.argmin: _arg(largest.argmin), np.any: _one_by_one(reduction.any),
    np.all: _one_by_one(reduction.all), np.cumsum: _flattened(cumulative.cumsum),
    np.cumprod: _flattened(cumulative.cumprod),
    np.trapezoid: _trapezoid,
    np.concatenate: lambda ts, dim=0: (
        joining.cat([t.flatten() for t in ts]) if dim is None else joining.cat(ts, dim)
    ),
    np.stack: joining.stack, np.vstack: joining.vstack, np.hstack: joining.hstack,
    np.dstack: joining.dstack, np.column_stack: joining.column_stack,
    np.split: lambda x, n, dim=0: (
        _even(x, n, dim) if isinstance(n, int) else joining.tensor_split(x, n, dim)
    ),
    np.array_split: lambda x, n, dim=0: joining.tensor_split(x, n, dim),
    np.reshape: lambda x, shape: x.reshape(shape), np.ravel: lambda x: x.flatten(),
    np.transpose: _permute, np.swapaxes: shape.transpose, np.moveaxis: shape.movedim,
    np.expand_dims: lambda x, dim: _unsqueeze(x, dim),
    np.squeeze: lambda x, dim=None: x.squeeze() if dim is None else _squeeze(x, dim),
    np.broadcast_to: shape.broadcast_to,
    np.flip: lambda x, dim=None: x.flip(
        tuple(range(x.ndim)) if dim is None else dim if isinstance(dim, tuple) else (dim,)
    ),
    np.roll: lambda x, shift, dim=None: x.roll(shift) if dim is None else x.roll(shift, dim),
    np.tile: lambda x, reps: x.tile((reps,) if isinstance(reps, int) else tuple(reps)),
    np.repeat: lambda x, n, dim=None: arranging.repeat_interleave(x, n, dim),
    np.where: masking.where, np.clip: lambda x, low=None, high=None: extrema.clamp(x, low, high),
    np.dot: lambda a, b: _dot(a, b), np.inner: products.inner, np.outer: products.outer,
    np.tensordot: lambda a, b, axes=2: products.tensordot(a, b, axes),
    np.einsum: lambda equation, *ts: einsum.einsum(equation, *ts), np.kron: products.kron,
    np.diag: lambda x, k=0: diagonals.diag(x, k), np.trace: diagonals.trace,
    np.tril: lambda x, k=0: masking.tril(x, k), np.triu: lambda x, k=0: masking.triu(x, k),
    np.sort: lambda x, dim=-1: _flattened(lambda t, d: sorting.sort(t, d)[0])(x, dim),
    np.argsort: lambda x, dim=-1: _flattened(sorting.argsort)(x, dim),
    np.linalg.norm: _norm, np.linalg.inv: linalg.inv, np.linalg.det: linalg.det,
    np.linalg.solve: linalg.solve,
    np.zeros_like: _like(creation.zeros_like), np.ones_like: _like(creation.ones_like),
    np.empty_like: _like(creation.empty_like), np.full_like: _like(creation.full_like),
    np.copy: lambda x: x.clone(), np.isclose: comparison.isclose,
    np.allclose: comparison.allclose, np.array_equal: comparison.equal,
    np.nan_to_num: lambda x, *, nan=0.0, posinf=None, neginf=None: rounding.nan_to_num(
        x, nan, posinf, neginf
    ),
    np.round: lambda x, decimals=0: rounding.round(x, decimals=decimals),
    np.shape: lambda x: x.shape, np.ndim: lambda x: x.ndim,
    np.size: lambda x, dim=None: x.numel() if dim is None else x.shape[dim],
}  # fmt: skip
"""NumPy's other functions, and ours; `axis` and `keepdims` arrive as `dim` and `keepdim`."""


def _even(x: Any, sections: int, dim: int) -> tuple[Tensor, ...]:
    if x.shape[dim] % sections:
        raise ValueError("array split does not result in an equal division")
    return joining.tensor_split(x, sections, dim)


def _squeeze(x: Any, dims: int | Sequence[int]) -> Any:
    if any([x.shape[d] != 1 for d in (dims if isinstance(dims, tuple) else (dims,))]):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return x.squeeze(dims)


def _unsqueeze(x: Tensor, dims: int) -> Tensor:
    many = dims if isinstance(dims, tuple) else (dims,)
    rank = x.ndim + len(many)
    for d in sorted([d % rank for d in many]):
        x = x.unsqueeze(d)
    return x


def _dot(a: Any, b: Any) -> Tensor:
    if a.ndim == 0 or b.ndim == 0:
        return arithmetic.mul(a, b)
    return products.matmul(a, b) if b.ndim <= 2 else products.tensordot(a, b, ([-1], [-2]))


def _dtype(dtype: Any) -> Any:
    return dtype if isinstance(dtype, dtypes.dtype) else dtypes.from_numpy(np.dtype(dtype))


def _tensor(value: Any) -> Any:
    """Arrays become tensors that share their memory."""
    return wrap(value) if isinstance(value, np.ndarray) else value


def _zero_dim(value: Any) -> Any:
    """Numbers become tensors without dimensions, for the operations that take no numbers."""
    number = isinstance(value, (bool, int, float))
    return np.asarray(value, dtypes.result_type(value)) if number else value


def _array(value: Any) -> Any:
    """Tensors become arrays; RuntimeError for one that requires grad."""
    return value.numpy() if isinstance(value, TensorBase) and hasattr(value, "numpy") else value


def array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """What NumPy calls for `np.exp(t)`, `array * t`, `array += t`."""
    outs = kwargs.pop("out", (None,))
    given = {k: _array(v) for k, v in kwargs.items()}
    if any([isinstance(out, TensorBase) for out in outs]):
        return _into(outs, self, ufunc, method, *inputs, **given)
    op = UFUNCS.get(ufunc.__name__)
    if any([out is not None for out in outs]):
        given["out"] = outs
    if op is not None and method == "__call__" and not given:
        if getattr(getattr(op, "primitive", None), "numbers", "either") != "either":
            inputs = tuple([_zero_dim(x) for x in inputs])
        return op(*[_tensor(x) for x in inputs])
    if ufunc is np.add and method == "reduce" and set(given) <= {"axis", "keepdims"}:
        return array_function(self, np.sum, (), inputs, {"axis": 0, **given})
    y = getattr(ufunc, method)(*[_array(x) for x in inputs], **given)
    if method == "at" and isinstance(inputs[0], TensorBase):
        inputs[0]._storage.write()
    return y


def _into(
    outs: tuple[Any, ...], self: Any, ufunc: Any, method: str, *inputs: Any, **given: Any
) -> Any:
    """A call that fills tensors; with `where`, they keep what they hold elsewhere."""
    if "where" in given or len(outs) > 1:
        held = [np.array(_array(out)) for out in outs]
        y = getattr(ufunc, method)(*[_array(x) for x in inputs], **given, out=tuple(held))
    else:
        y = array_ufunc(self, ufunc, method, *inputs, **given)
    results = y if len(outs) > 1 else (y,)
    filled = [out.copy_(_tensor(part)) for out, part in zip(outs, results, strict=True)]
    return tuple(filled) if len(outs) > 1 else filled[0]


def array_function(self: object, function: Any, types: object, args: Any, kwargs: Any) -> Any:
    """What NumPy calls for `np.sum(t, axis=0)`, `np.concatenate([t, u])`."""
    op = FUNCTIONS.get(function)
    out = kwargs.get("out")
    if isinstance(out, TensorBase):
        others = {k: v for k, v in kwargs.items() if k != "out"}
        y = array_function(self, function, types, args, others)
        return out.copy_(_tensor(np.asarray(y)) if isinstance(y, np.generic) else _tensor(y))  # type: ignore[attr-defined]
    given = {
        k: v for k, v in kwargs.items() if v is not np._NoValue and not (k == "out" and v is None)
    }
    if op is not None and "out" not in given:
        names = {"axis": "dim", "keepdims": "keepdim", "a": "x"}
        named = {names.get(k, k): tree.change(v, _tensor) for k, v in given.items()}
        if _takes(op, args, named):
            return op(*[tree.change(a, _tensor) for a in args], **named)
    arrays = [tree.change(a, _array) for a in args]
    return function(*arrays, **{k: tree.change(v, _array) for k, v in kwargs.items()})


_signature = functools.cache(inspect.signature)


def _takes(op: Operation, args: Any, named: dict[str, Any]) -> bool:
    """Whether our operation has all these arguments; else NumPy computes, which has."""
    try:
        _signature(op).bind(*args, **named)
    except TypeError:
        return False
    return True
