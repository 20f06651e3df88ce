"""Products of tensors made of simpler ones: outer, inner, tensordot, addmm, kron, cross and kin."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from tinygrad_edu.dtypes import is_floating
from tinygrad_edu.engine.boundary import need_tensors
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.nodes import shown_as
from tinygrad_edu.ops.arguments import numbers_first, numpy_names
from tinygrad_edu.ops.matmul import bmm, dot, matmul, mm, mv, vdot
from tinygrad_edu.ops.more.arranging import roll
from tinygrad_edu.ops.reduction import sum
from tinygrad_edu.ops.shape import _permute, expand
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@takes_out(dtype="any", overlap="none")
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
    return input[:, None] * vec2


ger = outer


@takes_out(
    overlap=lambda input, other: (
        "any" if input.array.ndim and other.array.ndim else "same",
        [input, other],
    )
)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dimension: (..., k), (***, k) -> (..., ***)."""
    a, b = input.array.shape, other.array.shape
    if not a or not b:
        return input * other
    if a[-1] != b[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes"
            f" {list(a)} and {list(b)}"
        )
    if len(a) == len(b) == 1:
        return dot(input, other)
    return tensordot(input, other, ([-1], [-1]))


@takes_out
@composed(autocast={"cpu": "lower", "cuda": "widest"})
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
        from_a: Any = range(-dims, 0)
        from_b: Any = range(dims)
    else:
        from_a, from_b = dims
        from_a = [from_a] if isinstance(from_a, int) else list(from_a)
        from_b = [from_b] if isinstance(from_b, int) else list(from_b)
    if len(from_a) != len(from_b):
        raise RuntimeError("both dimension lists should have same length")
    for i, j in zip(from_a, from_b, strict=True):
        if a_shape[i] != b_shape[j] and 1 not in (a_shape[i], b_shape[j]):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a_shape[i]} in dim {i}"
                f" and second has size {b_shape[j]} in dim {j}"
            )
    from_a = [read_dim(i, len(a_shape)) for i in from_a]
    from_b = [read_dim(j, len(b_shape)) for j in from_b]
    wide_a = [i for i, j in zip(from_a, from_b, strict=True) if b_shape[j] == 1 != a_shape[i]]
    wide_b = [j for i, j in zip(from_a, from_b, strict=True) if a_shape[i] == 1 != b_shape[j]]
    if wide_a or wide_b:  # broadcast: the other is the same all along
        a = sum(a, wide_a, True, dtype=a.dtype) if wide_a else a
        b = sum(b, wide_b, True, dtype=b.dtype) if wide_b else b
        return tensordot(a, b, (from_a, from_b))
    rows = [i for i in range(len(a_shape)) if i not in from_a]
    columns = [j for j in range(len(b_shape)) if j not in from_b]
    k = math.prod([a_shape[i] for i in from_a])
    left, right = [a_shape[i] for i in rows], [b_shape[j] for j in columns]
    a = _permute(a, (*rows, *from_a)).reshape((math.prod(left), k))
    b = _permute(b, (*from_b, *columns)).reshape((k, math.prod(right)))
    return matmul(a, b).reshape((*left, *right))


@takes_out
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
    result: Tensor = y.reshape(first[:-1] + last[1:])
    return result


@takes_out
def chain_matmul(*matrices: Tensor) -> Tensor:
    """`linalg.multi_dot` under its old name, with the matrices as arguments."""
    return multi_dot(matrices) if len(matrices) > 1 else matrices[0]


def _combine(
    name: str,
    input: Tensor,
    product: Tensor,
    beta: float,
    alpha: float,
    *,
    input_first: bool = False,
) -> Tensor:
    """`beta * input + alpha * product`, of the product's shape; a beta of 0 ignores `input`.

    The result lies in memory as the product does, or as `input` if that is to come first.
    """
    if product.array.dtype.kind in "iu":  # torch, too, drops what an integer cannot hold
        beta, alpha = int(beta), int(alpha)
    factors = product
    if alpha != 1:
        product = product * alpha
    addend: Any = expand(input, product.array.shape)  # raises where it does not fit
    if beta != 0:
        addend = addend if beta == 1 else addend * beta
        product = addend + product if input_first else product + addend
    chain = f"{name}(input, factors.a, factors.b)"
    result: Tensor = shown_as(product, chain, input=input, factors=factors)
    return result


@takes_out(overlap="self")
@numbers_first(3, "beta", "alpha")
@composed(autocast="lower")
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """`beta * input + alpha * (mat1 @ mat2)`.

    >>> import tinygrad_edu as torch
    >>> torch.addmm(torch.ones(1), torch.ones(1, 3), torch.ones(3, 2))
    tensor([[4., 4.]])
    """
    return _combine("Addmm", input, mm(mat1, mat2), beta, alpha)


@takes_out(overlap="self")
@numbers_first(3, "beta", "alpha")
@composed(autocast={"cpu": "as_given", "cuda": "lower"})
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """`beta * input + alpha * (mat @ vec)`."""
    return _combine("Addmv", input, mv(mat, vec), beta, alpha)


def _addr_reads(input: Tensor, vec1: Tensor, vec2: Tensor, **_: object) -> Any:
    """What `out` must not overlap in part: the matrices that are added and multiplied."""
    a, b = vec1[:, None], vec2[None]
    return "same", [expand(input, (len(vec1), len(vec2))), a, b]


@takes_out(dtype="any", overlap=_addr_reads)
@numbers_first(3, "beta", "alpha")
@composed(autocast={"cpu": "as_given", "cuda": "lower"})
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """`beta * input + alpha * outer(vec1, vec2)`.

    Raises:
        RuntimeError: beta or alpha is a float, and the tensors are of integers.
    """
    product = outer(vec1, vec2)
    if not is_floating(product.array.dtype) and not is_floating(input.array.dtype):
        for name, factor in (("beta", beta), ("alpha", alpha)):
            if isinstance(factor, float):
                raise RuntimeError(
                    f"For integral input tensors, argument {name} must not be a floating point"
                    " number."
                )
        if input.array.dtype == product.array.dtype == bool:
            beta, alpha = bool(beta), bool(alpha)
    return _combine("Addr", input, product, beta, alpha, input_first=True)


@takes_out(overlap="self")
@numbers_first(3, "beta", "alpha")
@composed(autocast="lower")
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """`beta * input + alpha * bmm(batch1, batch2)`."""
    return _combine("Baddbmm", input, bmm(batch1, batch2), beta, alpha)


@takes_out(overlap="self")
@numbers_first(3, "beta", "alpha")
@composed(autocast="lower")
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """`beta * input + alpha * (bmm(batch1, batch2) summed over the batch)`."""
    total = sum(bmm(batch1, batch2), 0, dtype=batch1.dtype)
    return _combine("Addbmm", input, total, beta, alpha)


@takes_out(dtype="any", overlap="none")
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
    product: Any = input.reshape(blocks) * other.reshape(inside)
    result: Tensor = product.reshape(tuple([n * m for n, m in zip(a, b, strict=True)]))
    return result


@takes_out(overlap="none")
@numpy_names
@composed(autocast={"cuda": "widest"})
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
    x: Any = input
    y: Any = other
    left = roll(x, -1, place) * roll(y, -2, place)
    return left - roll(x, -2, place) * roll(y, -1, place)


@takes_out(overlap="none")
@numpy_names
def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """`cross` along the last dimension unless `dim` says otherwise."""
    return cross(input, other, dim)


__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "cross", "dot", "ger",
    "inner", "kron", "linalg_cross", "matmul", "mm", "multi_dot", "mv", "outer",
    "tensordot", "vdot",
]  # fmt: skip


@takes_out
@numpy_names
@composed(autocast={"cpu": "lower"})
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The dot products of the vectors that lie in one dimension.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.vecdot(torch.ones(2, 3), torch.tensor([1.0, 2.0, 3.0]))
    tensor([6., 6.])
    """
    need_tensors("linalg_vecdot", x=x, y=y)
    return sum(x * y, dim)
