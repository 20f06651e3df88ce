"""Saved-tensor hooks: what rules keep is packed when it is kept and unpacked when it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, cast

from tinygrad_edu.autograd.graph import Node, Storage, Variable
from tinygrad_edu.autograd.mode import no_grad
from tinygrad_edu.autograd.observers import unwatch, watch
from tinygrad_edu.autograd.record import wrap
from tinygrad_edu.autograd.walk import _written as written
from tinygrad_edu.backend import device_of, module_of, to_device
from tinygrad_edu.dtypes import Array

Pack = Callable[[Any], Any]


class PackedNode(Node):
    """A node whose kept arrays went through `pack`; reading `kept` runs `unpack`."""

    packed: tuple[Any, ...] | None = None
    unpack: Pack | None = None

    @property
    def kept(self) -> tuple[Any, ...] | None:
        if self.packed is None:
            return cast("tuple[Any, ...] | None", self.__dict__["kept"])
        assert self.unpack is not None
        with no_grad():
            return _each(self.packed, _Packed, lambda p: _array(cast("Pack", self.unpack)(p.value)))

    @kept.setter
    def kept(self, value: tuple[Any, ...] | None) -> None:
        self.__dict__["kept"], self.packed = value, None


class _Packed:
    """What `pack` returned, whatever its type."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _each(kept: tuple[Any, ...], kind: Any, change: Callable[[Any], Any]) -> tuple[Any, ...]:
    """`change` applied to every entry of that kind, also inside nested tuples."""
    return tuple(
        [
            change(k) if isinstance(k, kind) else _each(k, kind, change) if type(k) is tuple else k
            for k in kept
        ]
    )


def _array(tensor: Any) -> Array:
    if not isinstance(tensor, Variable):
        raise TypeError(
            "Output of saved tensor unpack_hook expected to be a Tensor but got result of type"
            f" {type(tensor).__name__}"
        )
    return tensor.array


def _any_written(guards: tuple[Any, ...], number: int) -> bool:
    return any([g is not None and written(g, number) for g in guards])


class _Stack(threading.local):
    def __init__(self) -> None:
        self.hooks: list[saved_tensors_hooks] = []


_stack = _Stack()


def _note(node: Node) -> None:
    """Have a new node packed.

    Not at once: an in-place operation, right after its node is made, replaces what that keeps (see
    inplace.py).  So a node is packed when the next one is made, or the block ends.
    """
    if not _stack.hooks:
        return
    hooks = _stack.hooks[-1]
    hooks.pack_waiting()
    if node.__dict__["kept"]:
        node.__class__ = PackedNode
        hooks.waiting = node


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
        self.waiting: Any = None

    def pack_waiting(self) -> None:
        """Pack what the node made last keeps."""
        node, self.waiting = self.waiting, None
        if node is None or not node.__dict__["kept"]:
            return
        if _any_written(node.guards, node.number):
            return  # too late; the backward pass will say so
        kept = node.__dict__["kept"]
        _stack.hooks.append(_NOTHING)  # what pack_hook computes is not packed
        try:
            with no_grad():
                array = module_of_any(kept)
                packed = _each(kept, array, lambda a: _Packed(self.pack_hook(wrap(a))))
        finally:
            _stack.hooks.pop()
        node.unpack, node.packed = self.unpack_hook, packed
        node.__dict__["kept"] = ()
        node.guards = _each(node.guards, Storage, lambda storage: None)  # later writes do no harm

    def __enter__(self) -> None:
        if _stack.hooks:
            _stack.hooks[-1].pack_waiting()
        _stack.hooks.append(self)
        watch(_note)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        unwatch(_note)
        try:
            self.pack_waiting()
        finally:
            _stack.hooks.pop()


class _Nothing(saved_tensors_hooks):
    def __init__(self) -> None:
        super().__init__(lambda t: t, lambda t: t)

    def pack_waiting(self) -> None:
        self.waiting = None


_NOTHING = _Nothing()


def module_of_any(kept: tuple[Any, ...]) -> Any:
    """The array type of what is kept: NumPy's or CuPy's."""
    for k in kept:
        if type(k) is tuple:
            found = module_of_any(k)
            if found is not _Packed:
                return found
        elif hasattr(k, "__array_function__"):
            return module_of(k).ndarray
    return _Packed  # no array is an instance of it


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
