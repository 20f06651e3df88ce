"""Writing in place, with its history.

`x.mul_(y)` computes what `x * y` computes, writes it into the memory of `x`, and gives `x` the node
of the product: from here on, `x` is the product.  Two cases need care.

A rule may need the old value of `x`, which is about to be overwritten: it gets a copy.

`x` may be a view, say row 0 of `base`.  Then the whole of `base` has a new history: its new value
is its old one everywhere but in row 0, and in row 0 it is the product.  `copy_slices` is that
operation, and becomes the node of `base`.  Other views of `base` notice that it was `rebased` when
they are next used, and repeat their view operation on it (views.py).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, is_floating, scalar_type_name
from tinygrad_edu.engine.boundary import refuse_expanded
from tinygrad_edu.engine.graph import INFERENCE, Node, TensorBase, clock
from tinygrad_edu.engine.hooks import unhooked
from tinygrad_edu.engine.levels import refuse_captured
from tinygrad_edu.engine.mode import is_recording, state
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import as_array, current_node, note, wrap
from tinygrad_edu.engine.types import Call, Gradient
from tinygrad_edu.engine.views import CutOff, replay
from tinygrad_edu.kernels.memory_order import overlap_in_part, slow_to_fast

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def check_writable(t: Any) -> None:
    """Raise torch's error where an in-place write is not possible or may not be recorded."""
    check_history(t)
    refuse_expanded(t.array)


def check_history(t: Any) -> None:
    """Raise torch's error where an in-place change may not be recorded."""
    if not isinstance(t, TensorBase):
        raise TypeError(f"an in-place operation needs a Tensor, not {type(t).__name__}")
    if state.mode.level is not None:
        refuse_captured(t)
    if t._storage is INFERENCE and not state.mode.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed. You can make"
            " a clone to get a normal tensor before doing inplace update."
        )
    if not is_recording():
        return
    node = current_node(t)
    if isinstance(node, CutOff) and t.view_of is not None and current_node(t.view_of.base) is None:
        t.node = node = None  # its base requires no gradient any more
    if node is not None and node.is_leaf:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    if t.view_of is None or t.view_of.base.node is None:
        return
    if t.view_of.base.node.is_leaf:
        raise RuntimeError(
            "a view of a leaf Variable that requires grad is being used in an in-place operation."
        )
    if not t.view_of.recorded:
        raise RuntimeError(
            "A view was created in no_grad mode and is being modified inplace with grad mode"
            " enabled. Make the view inside the enabled mode, or write under no_grad."
        )
    if any([part is not None for _, _, part in t.view_of.path]):
        raise RuntimeError(
            "Output 0 of a function that returns multiple views is a view and is being modified"
            " inplace. This view is the output of a function that returns multiple views. Such"
            " functions do not allow the output views to be modified inplace. You should replace"
            " the inplace operation by an out-of-place one."
        )


def refuse_overlap(t: Any, others: Any, apart: bool = False, gaps: str = "") -> None:
    """Raise torch's error where `t` is to be written from memory that overlaps its own.

    What was to be read might be overwritten before; on a GPU that would be left to chance.

    Args:
        apart: refuse `t` itself, too: not every element is read before it alone is written.
        gaps: see `overlap_in_part`; "in turn" unless given, and "free" of what is `apart`.
    """
    gaps = gaps or ("free" if apart else "in turn")
    for other in others:
        if isinstance(other, TensorBase) and other._storage is t._storage:
            if overlap_in_part(t.array, other.array, apart, gaps):
                raise RuntimeError(
                    "unsupported operation: some elements of the input tensor and the written-to"
                    " tensor refer to a single memory location. Please clone() the tensor before"
                    " performing the operation."
                )


def _laid_out(x: Array, order: Any) -> Array:
    """The array in memory as the base is, so that the same views can be made of it.

    Args:
        order: the dimensions from the largest step in memory to the smallest; None for C order.
    """
    order = range(x.ndim) if order is None else order
    y = x.transpose(order)
    return x if y.flags.c_contiguous else y.copy().transpose(np.argsort(order).tolist())


@primitive(node="CopySlices")
def copy_slices(base: Array, value: Array, path: Any, order: Any) -> Array:
    """`base` with the part that `path` leads to replaced by `value`."""
    changed = _laid_out(as_array(base).copy(order="K"), order)
    replay(path, changed)[...] = value
    return changed


@primitive
def read_slices(x: Array, path: Any, order: Any) -> Array:
    """A copy of the part that `path` leads to."""
    return as_array(replay(path, _laid_out(x, order))).copy()


def _in_zeros(g: Gradient, shape: tuple[int, ...], path: object, order: object) -> Tensor:
    array = g.array if isinstance(g, TensorBase) else g
    return copy_slices(np.zeros_like(array, shape=shape), g, path, order)


def _read(g: Gradient, path: Any, order: Any) -> Any:
    if isinstance(g, TensorBase):
        return read_slices(g, path, order)
    return replay(path, _laid_out(as_array(g), order))


copy_slices.vjp(
    base=lambda g, path, order: copy_slices(g, 0.0, path, order),
    value=_read,
)
read_slices.vjp(x=lambda g, x_shape, path, order: _in_zeros(g, x_shape, path, order))


def write(t: Any, y: Any) -> Any:
    """Give `t` the value and the history of `y`, in place; `y` is a fresh result, not used again.

    Raises:
        RuntimeError: the shapes differ, or `t` cannot hold values of that type.
    """
    target, source = t.array, y.array
    if source.shape != target.shape:
        raise RuntimeError(
            f"output with shape {list(target.shape)} doesn't match the broadcast shape"
            f" {list(source.shape)}"
        )
    if source.dtype != target.dtype and not can_hold(target.dtype, source.dtype):
        raise RuntimeError(
            f"result type {scalar_type_name(source.dtype)} can't be cast to the desired output"
            f" type {scalar_type_name(target.dtype)}"
        )
    node = y.node if is_floating(target.dtype) else None  # integers have no history
    if node is not None and any([guard is t._storage for guard in node.guards]):
        pairs = list(zip(node.kept or (), node.guards, strict=False))
        shapes = (node.kept or ())[len(pairs) :]
        node.kept = tuple([k.copy() if s is t._storage else k for k, s in pairs]) + shapes
        node.guards = tuple([None if s is t._storage else s for _, s in pairs])
    np.copyto(target, source, casting="unsafe")
    t._storage.write()
    if not is_recording():
        return t
    if node is not None:
        _keep_in_place(node, t, y)
    set_history(t, node)
    return t


def _keep_in_place(node: Node, t: Any, y: Any) -> None:
    """A node that keeps its output keeps it where it now lives: in `t`."""
    kept = node.kept or ()
    if y.array.dtype == t.array.dtype and any([k is y.array for k in kept]):
        node.guards = tuple(
            [t._storage if k is y.array else s for k, s in zip(kept, node.guards, strict=False)]
        )
        node.kept = tuple([t.array if k is y.array else k for k in kept])
    node.number = clock()
    node.dtype = t.array.dtype


def set_history(t: Any, node: Node | None) -> None:
    """Make `node` the maker of `t`; of a view, by way of its base."""
    if t.view_of is None:
        _follow(t.node, node)
        t.node = node
        t.rebased += 1
        return
    base = t.view_of.base
    before = base.node
    if before is None and node is None:
        return
    order = None if base.array.flags.c_contiguous else slow_to_fast(base.array)
    copied = note(
        copy_slices.primitive,
        [before, node],
        (base.array, t.array, t.view_of.path, order),
        (base._storage, t._storage, None, None),
        base.array,
    )
    _follow(before, copied.node)
    base.node = copied.node
    base.rebased += 1
    t.view_of.refresh(t)


def _follow(before: Node | None, after: Node | None) -> None:
    if before is not None and after is not None and before.hooks is not None:
        before.hooks.follow(after)


def can_hold(target: Any, source: Any) -> bool:
    """Whether torch writes values of `source` into `target`: never into a lower category."""
    if is_floating(target):
        return True
    if target.kind in "iu":
        return not is_floating(source)
    return bool(source.kind == "b")


def inplace(
    op: Any,
    name: str | None = None,
    *,
    check: Callable[[Any], None] = check_writable,
    apart: bool = False,
    gaps: str = "",
    reads: int | None = None,
) -> Callable[..., Tensor]:
    """The in-place twin of an operation: `mul_ = inplace(mul)`.

    Args:
        op: the operation.
        name: of the twin, if it is not that of `op` and an underscore.
        check: refuses tensors that cannot be written to.
        apart: no argument may share memory with the tensor, even if it is the same.
        gaps: of memory with gaps: see `overlap_in_part`.
        reads: so many of the arguments are read while the tensor is written; all if None.
    """
    simple = hasattr(op, "primitive") and not op.primitive.saves and not op.primitive.variadic

    def call(t: Any, *args: Any, **kwargs: Any) -> Any:
        if state.mode.level is not None and isinstance(t, TensorBase):
            refuse_captured(t, twin.__name__, (args, kwargs))
        check(t)
        read = (*args, *kwargs.values()) if kwargs else args
        refuse_overlap(t, read if reads is None else read[:reads], apart, gaps)
        # A composed operation may keep the old value anywhere, and a recorder that packs what is
        # kept does so at once: they get a copy from the start.
        same = simple and state.mode.maker is operator.call
        node = t.node
        if t.view_of is not None and node is not None:
            node = unhooked(node, t.view_of.base.node, len(t.view_of.path))
        before = wrap(t.array if same else t.array.copy(), node, t._storage if same else None)
        return write(t, op(before, *args, **kwargs))

    twin = twin_of(op, call, name)
    twin.__doc__ = f"`{op.__name__.strip('_')}`, with the result written into the tensor."
    return twin


def twin_of(op: Any, call: Call, name: str | None = None) -> Call:
    """`call` under the name of the in-place twin of `op`."""
    functools.update_wrapper(call, op, assigned=("__module__",), updated=())
    call.__name__ = call.__qualname__ = name or f"{op.__name__.strip('_')}_"
    call.__doc__ = f"`{op.__name__}`, of the tensor itself."
    return call
