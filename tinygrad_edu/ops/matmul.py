"""Products of matrices and vectors: matmul and its named special cases, and `linear`.

One operation, `matmul`, covers all shapes.  Its two rules are the textbook ones, for y = a @ b:

    gradient of a = g @ b transposed          gradient of b = a transposed @ g

The rest of the file is about shapes: vectors, batches, and batches that broadcast.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.autograd.graph import Variable
from tinygrad_edu.autograd.primitive import primitive
from tinygrad_edu.dtypes import Array, from_numpy, is_floating
from tinygrad_edu.ops.reduction import sum, type_name
from tinygrad_edu.ops.shape import _expand, _permute
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _c_name(x: Array) -> str:
    names = {"float32": "float", "float64": "double", "float16": "c10::Half",
             "bfloat16": "c10::BFloat16", "int64": "long int", "int32": "int", "int16": "short int",
             "int8": "signed char", "uint8": "unsigned char", "bool": "bool"}  # fmt: skip
    name = from_numpy(x.dtype).name
    return names.get(name, name)


def _check_dtypes(a: Array, b: Array) -> None:
    if a.dtype != b.dtype:
        raise RuntimeError(
            "expected m1 and m2 to have the same dtype, but got:"
            f" {_c_name(a)} != {_c_name(b)}"
        )
    if a.dtype == bool:
        raise NotImplementedError("\"matmul\" not implemented for 'Bool'")


def _check_shapes(a: Array, b: Array) -> None:
    """Raise torch's error for shapes that cannot be multiplied."""
    if not a.ndim or not b.ndim:
        raise RuntimeError(
            "both arguments to matmul need to be at least 1D, but they are"
            f" {a.ndim}D and {b.ndim}D"
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


def _multiply(a: Array, b: Array) -> Array:
    """`a @ b`; 16-bit floats, for which there is no BLAS, are multiplied as float32."""
    if a.dtype.itemsize == 2 and is_floating(a.dtype):
        return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    return np.matmul(a, b)


@primitive
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
    for x, name, place in ((a, "input", 1), (b, "other", 2)):
        if not hasattr(x, "dtype"):
            raise TypeError(
                f"matmul(): argument '{name}' (position {place}) must be Tensor,"
                f" not {type(x).__name__}"
            )
    if a.dtype is not b.dtype or a.dtype.kind == "b":
        _check_dtypes(a, b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        _check_shapes(a, b)
        if a.ndim > 2 and b.ndim <= 2:  # one large product instead of many small ones
            rows = a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
            return _multiply(rows, b).reshape(a.shape[:-1] + b.shape[1:])
    return _multiply(a, b)


def _transposed(x: Any) -> Any:
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
    if place:
        x = _permute(x, (len(shape) - 2, *range(len(shape) - 2), len(shape) - 1))
        return x.reshape((shape[-2], math.prod(shape) // max(shape[-2], 1)))
    return x.reshape((math.prod(shape[:-1]), shape[-1]))


matmul.vjp(a=lambda g, a_shape, b: _gradient_a(g, a_shape, b),
           b=lambda g, a, b_shape: _gradient_b(g, a, b_shape))  # fmt: skip


def _need(name: str, x: Any, ndim: int, message: str) -> None:
    if not isinstance(x, Variable):
        raise TypeError(f"{name}(): argument must be Tensor, not {type(x).__name__}")
    if x.array.ndim != ndim:
        raise RuntimeError(message)


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """`matmul` of two matrices, nothing else.

    >>> import tinygrad_edu as torch
    >>> torch.mm(torch.ones(2, 3), torch.ones(3, 1))
    tensor([[3.],
            [3.]])
    """
    _need("mm", input, 2, "self must be a matrix")
    _need("mm", mat2, 2, "mat2 must be a matrix")
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """`matmul` of two batches of matrices, (b, n, k) and (b, k, m); nothing broadcasts.

    >>> import tinygrad_edu as torch
    >>> torch.bmm(torch.ones(2, 1, 3), torch.ones(2, 3, 1)).shape
    torch.Size([2, 1, 1])
    """
    _need("bmm", input, 3, "batch1 must be a 3D tensor")
    _need("bmm", mat2, 3, "batch2 must be a 3D tensor")
    a, b = input.array.shape, mat2.array.shape
    if (a[0], a[2]) != b[:2]:
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be:"
            f" {[a[0], a[2]]} but got: {list(b[:2])}."
        )
    return matmul(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """`matmul` of a matrix and a vector."""
    if input.array.ndim != 2 or vec.array.ndim != 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got 1, {input.array.ndim}, {vec.array.ndim}"
        )
    return matmul(input, vec)


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
            f" {type_name(a.dtype)} and {type_name(b.dtype)}"
        )
    return matmul(input, tensor)


def vdot(input: Tensor, other: Tensor) -> Tensor:
    """`dot`; the two differ only for complex numbers, which are not supported."""
    return dot(input, other)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of one vector and one of another: (n,), (m,) -> (n, m).

    >>> import tinygrad_edu as torch
    >>> torch.outer(torch.tensor([1, 2]), torch.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    for name, x in (("self", input), ("vec2", vec2)):
        if x.array.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {x.array.ndim}-D")
    return input[:, None] * vec2  # type: ignore[no-any-return]


ger = outer


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dimension: (..., k), (***, k) -> (..., ***)."""
    a, b = input.array.shape, other.array.shape
    if not a or not b:
        return input * other  # type: ignore[operator, no-any-return]
    if a[-1] != b[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes"
            f" {list(a)} and {list(b)}"
        )
    return tensordot(input, other, ([-1], [-1]))


def tensordot(a: Any, b: Any, dims: Any = 2) -> Tensor:
    """Sums of products over several dimensions of each tensor.

    Args:
        dims: an int n, for the last n of `a` and the first n of `b`; or two lists of dimensions.

    Raises:
        RuntimeError: the lists differ in length, or the dimensions in size.

    >>> import tinygrad_edu as torch
    >>> torch.tensordot(torch.ones(2, 3), torch.ones(3, 2), dims=([0, 1], [1, 0]))
    tensor(6.)
    """
    a_shape, b_shape = a.array.shape, b.array.shape
    if isinstance(dims, int):
        if dims < 0 or dims > min(len(a_shape), len(b_shape)):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        from_a: Any = range(len(a_shape) - dims, len(a_shape))
        from_b: Any = range(dims)
    else:
        from_a, from_b = dims
        from_a = [from_a] if isinstance(from_a, int) else list(from_a)
        from_b = [from_b] if isinstance(from_b, int) else list(from_b)
    if len(from_a) != len(from_b):
        raise RuntimeError("both dimension lists should have same length")
    for i, j in zip(from_a, from_b, strict=True):
        if a_shape[i] != b_shape[j]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a_shape[i]} in dim {i}"
                f" and second has size {b_shape[j]} in dim {j}"
            )
    from_a = [read_dim(i, len(a_shape)) for i in from_a]
    from_b = [read_dim(j, len(b_shape)) for j in from_b]
    rows = [i for i in range(len(a_shape)) if i not in from_a]
    columns = [j for j in range(len(b_shape)) if j not in from_b]
    k = math.prod([a_shape[i] for i in from_a])
    left, right = [a_shape[i] for i in rows], [b_shape[j] for j in columns]
    a = _permute(a, (*rows, *from_a)).reshape((math.prod(left), k))
    b = _permute(b, (*from_b, *columns)).reshape((k, math.prod(right)))
    return matmul(a, b).reshape((*left, *right))


def multi_dot(tensors: Any) -> Tensor:
    """The product of several matrices, in the order of multiplication that costs least.

    Args:
        tensors: two or more matrices; the first and the last may be vectors.

    Source: Cormen et al., Introduction to Algorithms, matrix-chain multiplication.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.multi_dot([torch.ones(2, 3), torch.ones(3, 4), torch.ones(4, 1)])
    tensor([[12.],
            [12.]])
    """
    chain = list(tensors)
    if len(chain) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(chain)}")
    for i, x in enumerate(chain):
        if x.array.ndim != 2 and not (x.array.ndim == 1 and i in (0, len(chain) - 1)):
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {x.array.ndim}D")
    first, last = chain[0].array.shape, chain[-1].array.shape
    if len(first) == 1:
        chain[0] = chain[0][None]
    if len(last) == 1:
        chain[-1] = chain[-1][:, None]
    sizes = [chain[0].array.shape[0], *[x.array.shape[1] for x in chain]]

    @functools.cache
    def cost(i: int, j: int) -> tuple[int, int]:
        """The least cost of multiplying matrices i to j, and the place to cut them there."""
        if i == j:
            return 0, i
        cuts = [
            (cost(i, k)[0] + cost(k + 1, j)[0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
            for k in range(i, j)
        ]
        return min(cuts)

    def product(i: int, j: int) -> Any:
        if i == j:
            return chain[i]
        cut = cost(i, j)[1]
        return matmul(product(i, cut), product(cut + 1, j))

    y = product(0, len(chain) - 1)
    return y.reshape(first[:-1] + last[1:])  # type: ignore[no-any-return]


def chain_matmul(*matrices: Tensor) -> Tensor:
    """`linalg.multi_dot` under its old name, with the matrices as arguments."""
    return multi_dot(matrices) if len(matrices) > 1 else matrices[0]


def _combine(input: Tensor, product: Any, beta: Any, alpha: Any) -> Tensor:
    """`beta * input + alpha * product`, of the product's shape; `input` is not read if beta is 0."""
    if alpha != 1:
        product = product * alpha
    _expand.primitive.forward(input.array, product.array.shape)  # raises where it does not fit
    if beta == 0:
        return product  # type: ignore[no-any-return]
    return product + (input if beta == 1 else input * beta)  # type: ignore[operator, no-any-return]


def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """`beta * input + alpha * (mat1 @ mat2)`.

    >>> import tinygrad_edu as torch
    >>> torch.addmm(torch.ones(1), torch.ones(1, 3), torch.ones(3, 2))
    tensor([[4., 4.]])
    """
    return _combine(input, mm(mat1, mat2), beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * input + alpha * (mat @ vec)`."""
    return _combine(input, mv(mat, vec), beta, alpha)


def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * input + alpha * outer(vec1, vec2)`."""
    return _combine(input, outer(vec1, vec2), beta, alpha)


def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """`beta * input + alpha * bmm(batch1, batch2)`."""
    return _combine(input, bmm(batch1, batch2), beta, alpha)


def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """`beta * input + alpha * (bmm(batch1, batch2) summed over the batch)`."""
    return _combine(input, sum(bmm(batch1, batch2), 0), beta, alpha)


def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: every element of `input` times all of `other`, as a block.

    >>> import tinygrad_edu as torch
    >>> torch.kron(torch.tensor([1, 10]), torch.tensor([1, 2]))
    tensor([ 1,  2, 10, 20])
    """
    a, b = input.array.shape, other.array.shape
    ndim = max(len(a), len(b))
    a, b = (1,) * (ndim - len(a)) + a, (1,) * (ndim - len(b)) + b
    blocks = tuple([n for size in a for n in (size, 1)])
    inside = tuple([n for size in b for n in (1, size)])
    product: Any = input.reshape(blocks) * other.reshape(inside)  # type: ignore[operator]
    return product.reshape(tuple([n * m for n, m in zip(a, b, strict=True)]))  # type: ignore[no-any-return]


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product of vectors of three elements, which lie along `dim`.

    Args:
        dim: the dimension of size 3; the first such one if it is None.

    Raises:
        RuntimeError: there is no such dimension, or the shapes do not fit.

    >>> import tinygrad_edu as torch
    >>> torch.cross(torch.tensor([1, 0, 0]), torch.tensor([0, 1, 0]), dim=0)
    tensor([0, 0, 1])
    """
    a, b = input.array.shape, other.array.shape
    if len(a) != len(b):
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    if dim is None:
        if 3 not in a:
            raise RuntimeError("no dimension of size 3 in input")
        dim = a.index(3)
    place = read_dim(dim, len(a))
    if a[place] != 3 or b[place] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {a[place]} and"
            f" {b[place]}"
        )
    from tinygrad_edu.ops.shape import roll

    x: Any = input
    y: Any = other
    left = roll(x, -1, place) * roll(y, -2, place)  # type: ignore[operator]
    return left - roll(x, -2, place) * roll(y, -1, place)  # type: ignore[operator, no-any-return]
