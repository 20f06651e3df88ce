"""`vmap`: a function of one example, applied to every example of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tinygrad_edu.autograd.batch_rules import apply
from tinygrad_edu.autograd.batched import Batched, BatchedRun, Unbatched
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine import tree
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.runs import Level
from tinygrad_edu.ops.joining import stack
from tinygrad_edu.ops.shape import movedim
from tinygrad_edu.random import get_rng_state, set_rng_state


def vmap(
    func: Callable[..., Any],
    in_dims: object = 0,
    out_dims: object = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that applies `func` to every slice of its arguments and stacks the results.

    Args:
        func: takes and returns tensors, or nested containers of them.
        in_dims: the dimension to slice, for all arguments or one per argument; None for an argument
            that every call gets whole. Nested as the arguments are, or less.
        out_dims: where the new dimension goes in the results, likewise.
        randomness: "error" refuses functions that draw random numbers, "different" gives every
            slice its own, "same" the same to all.
        chunk_size: accepted for torch's sake.

    Raises:
        ValueError: `in_dims` or `out_dims` does not fit, sizes differ, or something other than a
            tensor is mapped or returned.
        RuntimeError: random numbers under "error", a write into a tensor from outside that is not
            mapped, `out=`, or `backward` inside of the function.

    All slices are computed at once, unless the function draws random numbers, looks at values or
    writes in place; then it is called once more, slice by slice.

    Unlike torch, `.item()` and conditions on values therefore work, and the mapped dimension must
    not be empty.  A write into a tensor from outside is refused even where the same would be
    written for every slice, and one into a tensor that the function has made is not.

    >>> import tinygrad_edu as torch
    >>> torch.vmap(torch.dot)(torch.ones(2, 3), torch.ones(2, 3))
    tensor([3., 3.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got"
            f" {randomness}"
        )

    @functools.wraps(func)
    def mapped(*args: object, **kwargs: object) -> Any:
        name = getattr(func, "__name__", type(func).__name__)
        dims = _in_dims(args, in_dims, name)
        leaves = tree.flatten(args)
        size = _size(leaves, dims)
        if randomness == "error":
            start = get_rng_state()
            try:
                return _at_once(func, args, kwargs, leaves, dims, size, out_dims, start.array)
            except (Unbatched, Exception):  # the calls below say what is wrong, if anything is
                set_rng_state(start)
        slices = [
            [leaf] * size if dim is None else leaf.unbind(dim)
            for leaf, dim in zip(leaves, dims, strict=True)
        ]
        start = get_rng_state()
        outputs: list[Any] = []
        for i in range(size):
            if randomness == "same":
                set_rng_state(start)
            given = [s[i] for s in slices]
            varying = [t for t, dim in zip(given, dims, strict=True) if dim is not None]
            with Level(given, varying):
                outputs.append(func(*tree.rebuild(args, given), **kwargs))
            if i == 0 and randomness == "error" and (get_rng_state() != start).any():
                raise RuntimeError(
                    "vmap: called random operation while in randomness error mode. Please either"
                    " use the 'same' or 'different' randomness flags on vmap or perform the"
                    " randomness operation out of vmap"
                )
        return _joined(outputs, out_dims, name)

    return mapped


def _at_once(
    func: Callable[..., Any], args: Any, kwargs: Any, leaves: list[Any], dims: list[int | None],
    size: int, out_dims: Any, state: Array,
) -> Any:  # fmt: skip
    """All slices in one call of the function (see autograd/batched.py), which may not draw.

    Raises:
        Unbatched, or any error: the function must be called slice by slice.
    """
    run = BatchedRun(size, apply)
    given = [
        leaf if dim is None else Batched(run, movedim(leaf, dim, 0))
        for leaf, dim in zip(leaves, dims, strict=True)
    ]
    with run:
        output = func(*tree.rebuild(args, given), **kwargs)
    if get_rng_state().array.tobytes() != state.tobytes():
        raise Unbatched
    out = tree.broadcast(out_dims, output)
    if isinstance(out_dims, tuple) and len(out_dims) == 1 and isinstance(output, TensorBase):
        out = list(out_dims)
    if out is None:
        raise Unbatched
    joined: list[Any] = []
    for leaf, dim in zip(tree.flatten(output), out, strict=True):
        if not isinstance(leaf, TensorBase) or (dim is None and run.owns(leaf)):
            raise Unbatched
        joined.append(leaf if dim is None else movedim(run.whole(leaf), 0, dim))
    return tree.rebuild(output, joined)


def _in_dims(args: tuple[Any, ...], in_dims: object, name: str) -> list[int | None]:
    """The dimension to slice of every leaf of the arguments."""
    call = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple, list)):
        raise ValueError(
            f"{call}: expected `in_dims` to be int or a (potentially nested) tuple matching the"
            f" structure of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are"
            " trying to vmap over a function with no inputs. The latter is unsupported."
        )
    dims = tree.broadcast(tuple(in_dims) if isinstance(in_dims, list) else in_dims, args)
    if dims is None:
        raise ValueError(
            f"{call}: in_dims is not compatible with the structure of `inputs`: it has"
            f" {len(tree.flatten(in_dims))} entries for {len(args)} inputs."
        )
    found: list[int | None] = []
    for leaf, dim in zip(tree.flatten(args), dims, strict=True):
        if dim is not None and not isinstance(dim, int):
            raise ValueError(
                f"{call}: Got in_dim={dim} for an input but in_dim must be either an integer"
                " dimension or None."
            )
        if dim is not None and not isinstance(leaf, TensorBase):
            raise ValueError(
                f"{call}: Got in_dim={dim} for an input but the input is of type {type(leaf)}. We"
                " cannot vmap over non-Tensor arguments, please use None as the respective in_dim"
            )
        if dim is not None and not -leaf.array.ndim <= dim < leaf.array.ndim:
            raise ValueError(
                f"{call}: Got in_dim={dim} for some input, but that input is a Tensor of"
                f" dimensionality {leaf.array.ndim} so expected in_dim to satisfy"
                f" -{leaf.array.ndim} <= in_dim < {leaf.array.ndim}."
            )
        found.append(dim)
    return found


def _size(leaves: list[Any], dims: list[int | None]) -> int:
    """The common size of the mapped dimensions."""
    sizes = [x.array.shape[d] for x, d in zip(leaves, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError("vmap: at least one input must have an in_dim that is not None")
    if any(size != sizes[0] for size in sizes):
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes"
            f" {sizes} for the mapped dimension"
        )
    if sizes[0] == 0:
        raise ValueError(
            "vmap: the mapped dimension is empty, so the function is never called and the shape of"
            " its result is unknown"
        )
    return int(sizes[0])


def _joined(outputs: list[Any], out_dims: object, name: str) -> Any:
    """The results of all calls, stacked leaf by leaf."""
    first = outputs[0]
    for leaf in tree.flatten(first):
        if not isinstance(leaf, TensorBase):
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(leaf)}."
            )
    dims = tree.broadcast(out_dims, first)
    if isinstance(out_dims, tuple) and len(out_dims) == 1 and isinstance(first, TensorBase):
        dims = list(out_dims)
    if dims is None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the"
            " structure of `outputs`."
        )
    joined: list[Any] = []
    for column, dim in zip(zip(*map(tree.flatten, outputs), strict=True), dims, strict=True):
        if dim is not None:
            joined.append(movedim(stack(list(column)), 0, dim))
        elif all((column[0] == other).all() for other in column[1:]):
            joined.append(column[0])
        else:
            raise ValueError(
                f"vmap({name}, ..., out_dims={out_dims}): `{name}` returned different values for"
                " different slices where out_dims is None"
            )
    return tree.rebuild(first, joined)
