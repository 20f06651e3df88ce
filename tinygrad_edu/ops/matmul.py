"""Products of matrices and vectors: `matmul`, its named special cases, and `linear`.

One operation, `matmul`, covers all shapes.  Its two rules are the textbook ones, for y = a @ b:

    gradient of a = g @ b transposed          gradient of b = a transposed @ g

The rest of the file is about shapes: vectors, batches, and batches that broadcast.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, from_numpy, is_floating, scalar_type_name
from tinygrad_edu.engine.boundary import need_tensors, not_a_tensor
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.nodes import shown_as
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.blocks import filled
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.kernels.memory_order import in_order
from tinygrad_edu.ops.arguments import ufunc
from tinygrad_edu.ops.casting import contiguous
from tinygrad_edu.ops.shape import _expand, _permute
from tinygrad_edu.out import takes_out

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@ufunc("matmul")
@primitive(
    node=lambda a, b: _chain(a, b),
    autocast="lower",
    half="by gpu",
)
def matmul(a: Array, b: Array) -> Array:
    """`a @ b`: the product of matrices, of vectors, or of batches of them.

    Args:
        a: (..., n, k) or (k,).
        b: (..., k, m) or (k,).  The leading dimensions broadcast.

    Returns:
        (..., n, m), without n where `a` is a vector, without m where `b` is one.

    Raises:
        RuntimeError: the inner sizes or the dtypes differ, or a tensor has no dimensions.

    >>> import tinygrad_edu as torch
    >>> torch.matmul(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0, 4.0]))
    tensor([11.])
    """
    if a.dtype is not b.dtype or a.dtype.kind == "b":  # the rest NumPy refuses by itself
        _check_dtypes(a, b)
    if a.ndim > 2 and b.ndim in (1, 2):  # one large product instead of many small ones
        rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
        return _multiply(rows, b).reshape(a.shape[:-1] + b.shape[1:])
    y = _multiply(a, b)
    return y if y.ndim < 4 else in_order(y)


def _transposed(x: Tensor) -> Tensor:
    return x.swapaxes(-1, -2)


def _gradient_a(g: Any, a_shape: tuple[int, ...], b: Any) -> Any:
    a_dims, b_dims = len(a_shape), len(b.shape)
    if b_dims == 1:
        return g[..., None] * b  # every row of `a` has been multiplied by b
    if a_dims == 1:
        return matmul(b, g) if b_dims == 2 else matmul(b, g[..., None])[..., 0]
    if a_dims == 2 and b_dims > 2:
        return matmul(_merge(g, 1), _transposed(_merge(b, 1)))
    return matmul(g, _transposed(b))


def _gradient_b(g: Any, a: Any, b_shape: tuple[int, ...]) -> Any:
    a_dims, b_dims = len(a.shape), len(b_shape)
    if a_dims == 1:
        return a * g if b_dims == 1 else a[:, None] * g[..., None, :]
    if b_dims == 1:
        rows = math.prod(a.shape[:-1])
        return matmul(g.reshape((rows,)), a.reshape((rows, a.shape[-1])))
    if b_dims == 2 and a_dims > 2:
        return matmul(_transposed(_merge(a, 0)), _merge(g, 0))
    return matmul(_transposed(a), g)


def _merge(x: Any, place: int) -> Any:
    """A batch of matrices as one: stacked (0) or side by side (1)."""
    shape = tuple(x.shape)
    if len(shape) == 2:
        return x
    if place:
        x = _permute(x, (len(shape) - 2, *range(len(shape) - 2), len(shape) - 1))
        return x.reshape((shape[-2], math.prod(shape) // max(shape[-2], 1)))
    return x.reshape((math.prod(shape[:-1]), shape[-1]))


matmul.vjp(a=lambda g, a_shape, b: _gradient_a(g, a_shape, b),
           b=lambda g, a, b_shape: _gradient_b(g, a, b_shape))  # fmt: skip


def _multiply(a: Array, b: Array, exact: bool = False) -> Array:
    """`a @ b`; 16-bit floats, for which the CPU has no BLAS, are multiplied as float32.

    Args:
        exact: even if a GPU may round the factors of products.
    """
    if not isinstance(a, np.ndarray):
        return cuda.products.matmul(a, b, exact=exact)
    if a.dtype.itemsize == 2 and is_floating(a.dtype):
        return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    return np.matmul(a, b)


@matmul.refuse
def _refuse(a: Tensor, b: Tensor) -> None:
    """Raise torch's error for what cannot be multiplied."""
    for x, name, place in ((a, "input", 1), (b, "other", 2)):
        if not hasattr(x, "dtype"):
            raise not_a_tensor("matmul", place, x, name)
    _check_dtypes(a, b)
    _check_shapes(a, b)


def _listed(x: Array, kept: int, name: str) -> str:
    """How torch makes one list of what the last `kept` dimensions hold: by a copy if it must."""
    if x.flags.c_contiguous:
        return f"View({name})"
    steps = [pair for pair in zip(x.shape[:-kept], x.strides, strict=False) if pair[0] != 1]
    even = all([a == b * n for (_, a), (n, b) in itertools.pairwise(steps)])
    return f"ReshapeAlias({name})" if even else f"UnsafeView(Clone({name}))"


def _chain(a: Array, b: Array) -> str:
    """What torch makes of a product."""
    if b.ndim == 2 and a.ndim > 1:
        return "Mm" if a.ndim == 2 else f"UnsafeView(Mm({_listed(a, 1, 'a')}, b))"
    if a.ndim == b.ndim == 1:
        return "Dot"
    if a.ndim == 1 and b.ndim == 2:
        return "SqueezeBackward4(Mm(Unsqueeze(a), b))"
    if b.ndim == 1:
        return "Mv" if a.ndim == 2 else f"UnsafeView(Mv({_listed(a, 1, 'a')}, b))"
    return f"UnsafeView(Bmm({_listed(a, 2, 'Expand(a)')}, {_listed(b, 2, 'Expand(b)')}))"


def c_name(x: Array) -> str:
    """The name of its dtype in C++, as some of torch's messages show it: with `int` written out."""
    name = from_numpy(x.dtype).c_name
    return f"{name} int" if name in ("short", "long") else name


def _check_dtypes(a: Array, b: Array, plain: bool = True) -> None:
    """The error for dtypes that differ; torch words it otherwise where something is added."""
    if a.dtype != b.dtype and plain:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {c_name(a)} != {c_name(b)}"
        )
    if a.dtype != b.dtype:
        raise RuntimeError(
            "mat1 and mat2 must have the same dtype, but got"
            f" {scalar_type_name(a.dtype)} and {scalar_type_name(b.dtype)}"
        )
    if a.dtype == bool:
        raise NotImplementedError("\"matmul\" not implemented for 'Bool'")


def _check_shapes(a: Array, b: Array) -> None:
    """Raise torch's error for shapes that cannot be multiplied."""
    if not a.ndim or not b.ndim:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D"
        )
    for i in range(3, min(a.ndim, b.ndim) + 1):
        if a.shape[-i] != b.shape[-i] and 1 not in (a.shape[-i], b.shape[-i]):
            raise RuntimeError(
                f"The size of tensor a ({a.shape[-i]}) must match the size of tensor b"
                f" ({b.shape[-i]}) at non-singleton dimension {max(a.ndim, b.ndim) - i}"
            )
    inner = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if a.shape[-1] == inner:
        return
    if a.ndim == b.ndim == 1:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{a.size}] and src [{b.size}] to have the"
            f" same number of elements, but got {a.size} and {b.size} elements respectively"
        )
    if b.ndim == 1:
        rows = math.prod(a.shape[:-1])
        raise RuntimeError(
            f"size mismatch, got input ({rows}), mat ({rows}x{a.shape[-1]}), vec ({b.size})"
        )
    if a.ndim > 2 and b.ndim > 2:
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be:"
            f" {[b.shape[0], a.shape[-1]]} but got: {[b.shape[0], b.shape[-2]]}."
        )
    raise RuntimeError(
        "mat1 and mat2 shapes cannot be multiplied"
        f" ({math.prod(a.shape[:-1])}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
    )


def _need(name: str, x: Tensor, ndim: int, message: str) -> None:
    if x.array.ndim != ndim:
        raise RuntimeError(message)


@takes_out
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """`matmul` of two matrices, nothing else.

    >>> import tinygrad_edu as torch
    >>> torch.mm(torch.ones(2, 3), torch.ones(3, 1))
    tensor([[3.],
            [3.]])
    """
    need_tensors("mm", input=input, mat2=mat2)
    _need("mm", input, 2, "self must be a matrix")
    _need("mm", mat2, 2, "mat2 must be a matrix")
    return matmul(input, mat2)


@takes_out
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """`matmul` of two batches of matrices, (b, n, k) and (b, k, m); nothing broadcasts.

    >>> import tinygrad_edu as torch
    >>> torch.bmm(torch.ones(2, 1, 3), torch.ones(2, 3, 1)).shape
    torch.Size([2, 1, 1])
    """
    need_tensors("bmm", input=input, mat2=mat2)
    _need("bmm", input, 3, "batch1 must be a 3D tensor")
    _need("bmm", mat2, 3, "batch2 must be a 3D tensor")
    a, b = input.array.shape, mat2.array.shape
    if (a[0], a[2]) != b[:2]:
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be:"
            f" {[a[0], a[2]]} but got: {list(b[:2])}."
        )
    return shown_as(matmul(input, mat2), "BmmBackward0")


@takes_out
@composed(autocast={"cpu": "as_given"})
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """`matmul` of a matrix and a vector."""
    if input.array.ndim != 2 or vec.array.ndim != 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got 1, {input.array.ndim}, {vec.array.ndim}"
        )
    return matmul(input, vec)


@takes_out
@composed(autocast={"cpu": "as_given", "cuda": "widest"})
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors.

    >>> import tinygrad_edu as torch
    >>> torch.dot(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    tensor(11.)
    """
    a, b = input.array, tensor.array
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.dtype != b.dtype:
        raise RuntimeError(
            "dot : expected both vectors to have same dtype, but found"
            f" {scalar_type_name(a.dtype)} and {scalar_type_name(b.dtype)}"
        )
    return matmul(input, tensor)


@takes_out
@composed(autocast={"cpu": "as_given"})
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """`dot`; the two differ only for complex numbers, which are not supported."""
    return dot(input, other)


def _check_linear(x: Array, weight: Array, bias: Array | None) -> None:
    """Raise torch's error for what does not fit."""
    _check_dtypes(x, weight, bias is None)
    if weight.ndim not in (1, 2) or not x.ndim:
        raise RuntimeError(
            "linear(): expected an input of at least one dimension and a weight of one or two, but"
            f" got {x.ndim} and {weight.ndim}"
        )
    k = weight.shape[-1]
    rows = math.prod(x.shape[:-1])
    if x.shape[-1] != k:
        columns = weight.shape[0] if weight.ndim == 2 else 1
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x.shape[-1]} and {k}x{columns})"
        )
    if bias is None:
        return
    if bias.dtype != x.dtype:
        raise RuntimeError(
            "self and mat2 must have the same dtype, but got"
            f" {scalar_type_name(bias.dtype)} and {scalar_type_name(x.dtype)}"
        )
    shape = x.shape[:-1] + weight.shape[:-1]
    last = shape[-1] if shape else 1
    if bias.ndim > 1 or bias.size not in (1, last):
        raise RuntimeError(
            f"The expanded size of the tensor ({last}) must match the existing size"
            f" ({bias.shape[-1]}) at non-singleton dimension 1.  Target sizes: {[rows, last]}. "
            f" Tensor sizes: {list(bias.shape)}"
        )


@functools.cache
def _linear_chain(x: int, weight: int, biased: bool, rows: str) -> str:
    """torch makes a matrix of x, multiplies by the transposed weight, and goes back."""
    if not rows.startswith(("View", "x")) and weight == 2:
        product = f"UnsafeView(Mm({rows}, T(weight)))"
        return f"Add({product}, bias)" if biased else product
    if weight == 1:
        return f"UnsafeView(Mv({rows}, weight))"
    if biased:
        product = f"Addmm(bias, {rows}, T(weight))"
        return product if x == 2 else f"View({product})"
    if x == 1:
        return "SqueezeBackward4(Mm(Unsqueeze(x), T(weight)))"
    return f"Mm({rows}, T(weight))" if x == 2 else f"UnsafeView(Mm({rows}, T(weight)))"


@primitive(
    node=lambda x, weight, bias: _linear_chain(
        x.ndim, weight.ndim, bias is not None, "x" if x.ndim == 2 else _listed(x, 1, "x")
    ),
    autocast="lower",
    half="by gpu",
)
def _linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """The bias is added in place, on a GPU by the product's own kernel where cuBLASLt has one.

    No activation is fused with it: the sum is a tensor of its own, which hooks may see and which
    the backward pass of most activations reads.
    """
    if (
        x.dtype is not weight.dtype or x.dtype.kind != "f"
        or weight.ndim != 2 or x.shape[-1:] != weight.shape[1:]
        or (bias is not None and (bias.dtype is not x.dtype or bias.shape != weight.shape[:1]))
    ):  # fmt: skip
        _check_linear(x, weight, bias)
    rows = x if x.ndim <= 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    if bias is not None and rows.ndim == weight.ndim == 2 and not isinstance(rows, np.ndarray):
        y = cuda.epilogues.linear(rows, weight, bias)
        if y is not None:
            return y if x.ndim <= 2 else y.reshape(x.shape[:-1] + weight.shape[:-1])
    y = _multiply(rows, weight.T)
    if bias is not None:
        y = np.add(y, bias, out=y) if y.ndim else np.add(y, bias)
    return y if x.ndim <= 2 else y.reshape(x.shape[:-1] + weight.shape[:-1])


@primitive
def _add_rows(rows: Array) -> Array:
    """The sum over all dimensions but the last: BLAS adds rows faster than a reduction does."""
    if rows.ndim != 2:
        rows = rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])
    if rows.__class__ is np.ndarray and rows.dtype.itemsize > 2:
        return np.matmul(filled(rows, len(rows), 1.0), rows)
    if rows.__class__ is not np.ndarray and launch.ready(rows, half=True):
        found = cuda.epilogues.sums(rows)
        return found if found is not None else cuda.elementwise.add_rows(rows)
    if rows.dtype.itemsize == 2:
        return _add_rows.primitive.forward(rows.astype(np.float32)).astype(rows.dtype)
    return _multiply(filled(rows, len(rows), 1.0), rows, exact=True)


_add_rows.vjp(rows=lambda g, rows_shape: _expand(g, rows_shape))


def _weight_gradient(
    g: Any, x: Any, weight_shape: tuple[int, ...], bias_shape: tuple[int, ...] | None
) -> Any:
    """`g` transposed @ `x`, both seen as matrices of all rows."""
    if len(weight_shape) == 1:  # one output, and no dimension for it
        return matmul(g.reshape((math.prod(x.shape[:-1]),)), _merge(x, 0))
    rows, x = _merge(g, 0), _merge(x, 0)
    if g.__class__ is np.ndarray:
        return matmul(rows.T, x)
    if bias_shape == weight_shape[:1] and not isinstance(g, (np.ndarray, TensorBase)):
        # and the bias's, for the next rule
        found: Tensor | None = cuda.epilogues.weight_gradient(rows, x)
        if found is not None:
            return found
    return matmul(rows.swapaxes(0, 1), x)


_linear.vjp(
    x=lambda g, weight: matmul(g, weight) if len(weight.shape) == 2 else g[..., None] * weight,
    weight=lambda g, x, weight_shape, bias_shape: _weight_gradient(g, x, weight_shape, bias_shape),
    bias=lambda g, x_shape, weight_shape, bias_shape: (
        _add_rows(g)
        if len(weight_shape) == 2 and len(x_shape) > 1 and bias_shape == weight_shape[:1]
        else g
    ),  # the walk adds up what is left
)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`.

    Args:
        input: x, (..., in_features).
        weight: (out_features, in_features), or (in_features,) for one output without a dimension.
        bias: (out_features,) or None.

    Returns:
        (..., out_features).

    Raises:
        RuntimeError: the sizes or the dtypes do not fit.
        TypeError: one of them is not a tensor.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.linear(torch.ones(1, 2), torch.tensor([[1.0, 2.0]]), torch.ones(1))
    tensor([[4.]])
    """
    try:
        x = input.array, weight.array, weight.array if bias is None else bias.array
    except AttributeError:
        need_tensors("linear", input=input, weight=weight, **{} if bias is None else {"bias": bias})
        raise
    if x[0].ndim > 2 and not _has_rows(x[0]):
        rows = contiguous(input)  # it is copied anyway, and keeps the copy: `input` may be written
        copied = "UnsafeView(Clone(x))"
        chain = _linear_chain(x[0].ndim, x[1].ndim, bias is not None, copied)
        y = _linear(rows, weight, bias)
        return shown_as(y, chain, x=input, weight=weight, bias=bias)
    return _linear(input, weight, bias)


def rmatmul(input: Tensor, other: Tensor) -> Tensor:
    """`other @ input`."""
    return matmul(other, input)


def _has_rows(x: Array) -> bool:
    """Whether its memory can be seen as a matrix of all rows without a copy."""
    if x.flags.c_contiguous:
        return True
    steps = zip(x.strides, x.strides[1:], x.shape[:-1], x.shape[1:-1], strict=False)
    return all([step == inner * count or size == 1 for step, inner, size, count in steps])
