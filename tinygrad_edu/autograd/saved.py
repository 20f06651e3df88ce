"""Saved-tensor hooks: what rules keep is packed when it is kept and unpacked when it is used."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from tinygrad_edu.backend import device_of, module_of, to_device
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine import mode
from tinygrad_edu.engine.graph import Node, Storage, TensorBase
from tinygrad_edu.engine.mode import PLAIN, Mode, Recorder, state
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.types import Call, Gradient, Values

Pack = Callable[[Any], Any]


class Packed(Values):
    """What a node keeps, packed; `unpack` gives the tensors back."""

    unpack: Pack


class _Packed:
    """What `pack` returned, whatever its type."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _each(kept: Values, kind: Any, change: Callable[[Any], Any]) -> Values:
    """`change` applied to every entry of that kind, also inside nested tuples."""
    return tuple(
        [
            change(k) if isinstance(k, kind) else _each(k, kind, change) if type(k) is tuple else k
            for k in kept
        ]
    )


def _array(tensor: object) -> Array:
    if not isinstance(tensor, TensorBase):
        raise TypeError(
            "Output of saved tensor unpack_hook expected to be a Tensor but got result of type"
            f" {type(tensor).__name__}"
        )
    return tensor.array


def _unpacked(step: Call, node: Node, kept: object, g: Gradient) -> Any:
    """A wrapper for the walk: the rules get what was kept, not what was made of it."""
    return step(node, unpacked(kept), g)


def unpacked(kept: object) -> Any:
    """What a node keeps, as it was before it was packed, if it was."""
    if not isinstance(kept, Packed):
        return kept
    before = state.mode
    try:
        state.mode = before.but(enabled=False)
        return _each(kept, _Packed, lambda p: _array(kept.unpack(p.value)))
    finally:
        state.mode = before


class saved_tensors_hooks:
    """Inside the block, what an operation keeps for the backward pass is passed through hooks.

    Args:
        pack_hook: takes a tensor that is to be kept, returns anything.
        unpack_hook: takes what `pack_hook` returned, returns a tensor of the same values.

    Unlike torch, hooks get what our rules keep, which may be fewer or other tensors than torch's
    rules keep; inputs of an operation come without their history.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([3.0], requires_grad=True)
    >>> with torch.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), torch.tensor):
    ...     y = x * x
    >>> y.backward(); x.grad
    tensor([6.])
    """

    def __init__(self, pack_hook: Pack, unpack_hook: Pack) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook
        self._before: list[tuple[Mode, Mode]] = []

    def __enter__(self) -> None:
        if isinstance(state.mode.maker, _Refusing):
            raise RuntimeError(state.mode.maker.message)
        if _unpacked not in mode.around:
            mode.around.append(_unpacked)
        outside, outer = state.mode, state.mode.maker
        made_by = outer.outer if isinstance(outer, _Packing) else outer  # the innermost hooks count
        inside = outside.but(maker=_Packing(self.pack_hook, self.unpack_hook, made_by))
        self._before.append((outside, inside))
        state.mode = inside

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        outside, inside = self._before[-1]
        state.mode = outside if state.mode is inside else state.mode.but(maker=outside.maker)
        self._before.pop()


class disable_saved_tensors_hooks:
    """Inside the block, `saved_tensors_hooks` raise this message.

    >>> import tinygrad_edu as torch
    >>> with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
    ...     with torch.autograd.graph.save_on_cpu():
    ...         pass
    Traceback (most recent call last):
    RuntimeError: not here
    """

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def __enter__(self) -> None:
        self._outside = state.mode
        state.mode = self._outside.but(maker=_Refusing(self.error_message, self._outside.maker))

    def __exit__(self, *raised: object) -> None:
        state.mode = state.mode.but(maker=self._outside.maker)


class _Refusing:
    """The recorder inside the block: it records as the one outside does."""

    def __init__(self, message: str, outer: Recorder) -> None:
        self.message, self.outer = message, outer

    def __call__(self, *made_of: Any) -> Node:
        return self.outer(*made_of)


class _Packing:
    """The recorder inside the block: nodes keep what `pack` makes of the arrays.

    Later writes to these do no harm.
    """

    def __init__(self, pack: Pack, unpack: Pack, outer: Recorder) -> None:
        self.pack, self.unpack, self.outer = pack, unpack, outer

    def _packed(self, array: Array) -> _Packed:
        given = wrap(array)
        packed = _Packed(self.pack(given))
        if given._storage.version:
            raise RuntimeError(
                "A saved tensor pack hook is modifying its input in place. Tensors provided as"
                " input to pack hook cannot be modified by in-place operations as this can lead to"
                " unexpected side-effects. Please open an issue if you need to perform in-place"
                " operations on the input to a pack hook."
            )
        return packed

    def __call__(
        self, cls: Any, plan: Any, edges: Any, kept: Any, guards: Any, shape: Any, dtype: Any
    ) -> Node:
        packed = Packed(kept)
        if kept:
            before = state.mode
            try:
                state.mode = PLAIN.but(enabled=False)  # what `pack` does is not packed
                kind = module_of_any(kept)
                packed = Packed(_each(kept, kind, self._packed))
            finally:
                state.mode = before
            guards = _each(guards, Storage, lambda storage: None)
        packed.unpack = self.unpack
        return self.outer(cls, plan, edges, packed, guards, shape, dtype)


def module_of_any(kept: Values) -> Any:
    """The array type of what is kept: NumPy's or CuPy's."""
    for k in kept:
        if type(k) is tuple:
            found = module_of_any(k)
            if found is not _Packed:
                return found
        elif hasattr(k, "__array_function__"):
            return module_of(k).ndarray
    return _Packed  # no array is an instance of it


def _copied(tensor: Any) -> Any:
    return tensor.clone()


class allow_mutation_on_saved_tensors(saved_tensors_hooks):
    """Inside the block, tensors that operations keep may be written to before the backward pass.

    The operations keep copies.

    >>> import tinygrad_edu as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.autograd.graph.allow_mutation_on_saved_tensors():
    ...     y = x.clone()
    ...     z = (y ** 2).sum()
    ...     _ = y.zero_()
    >>> z.backward(); x.grad
    tensor([2., 2.])
    """

    def __init__(self) -> None:
        super().__init__(_copied, lambda t: t)

    def __enter__(self) -> None:
        if isinstance(state.mode.maker, _Packing) and state.mode.maker.pack is self.pack_hook:
            raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
        super().__enter__()


class save_on_cpu(saved_tensors_hooks):
    """Inside the block, what operations keep waits in the computer's memory, not the GPU's.

    Args:
        pin_memory, device_type: accepted for torch's sake.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(t: Any) -> Any:
            place = device_of(t.array)
            return place, to_device(t.array, type(place)("cpu"))

        def unpack(packed: Any) -> Any:
            place, array = packed
            return wrap(to_device(array, place))

        super().__init__(pack, unpack)
