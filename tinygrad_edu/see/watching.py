"""`watch`: inside the block, the graph remembers which module made what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

from tinygrad_edu.engine.graph import Node
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.types import Call
from tinygrad_edu.nn import Module


@contextmanager
def looking(listener: Call | None = None, around: Call | None = None) -> Iterator[None]:
    """Inside the block, calls are told to `listener` and backward steps are made by `around`."""
    outside = state.mode
    listeners = outside.listeners + ((listener,) if listener is not None else ())
    wrappers = outside.around + ((around,) if around is not None else ())
    inside = state.mode = outside.but(listeners=listeners, around=wrappers)
    try:
        yield
    finally:
        now = state.mode
        back = {"listeners": outside.listeners, "around": outside.around}
        state.mode = outside if now is inside else now.but(**back)


class watch:
    """Inside the block, every node notes the path of the module in whose `forward` it was made.

    `see.graph` and `see.backward` group nodes by it; without it they tell the modules by whose
    parameters a node reads.

    Args:
        model: the module whose calls are watched, with all in it.

    >>> import tinygrad_edu as torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    >>> with torch.see.watch(model):
    ...     y = model(torch.ones(1, 2))
    >>> y.node.module
    '1'
    """

    def __init__(self, model: Module) -> None:
        self.model = model
        self.path: list[str] = []

    def __call__(self, *made: Any) -> Node:
        node = self.outer(*made)
        node.module = self.path[-1] if self.path else ""  # type: ignore[attr-defined]
        return node

    def entered(self, path: str, module: Module, args: object) -> None:
        """A call of that module begins."""
        self.path.append(path)

    def left(self, path: str, module: Module, args: object, output: object) -> None:
        """It ends, perhaps by an error."""
        self.path.pop()

    def __enter__(self) -> watch:
        self.hooks = ExitStack()
        for path, module in self.model.named_modules():
            before = module.register_forward_pre_hook(
                lambda m, args, path=path: self.entered(path, m, args), prepend=True
            )
            after = module.register_forward_hook(
                lambda m, args, y, path=path: self.left(path, m, args, y), always_call=True
            )
            self.hooks.callback(before.remove)
            self.hooks.callback(after.remove)
        self.outside = state.mode
        self.outer = self.outside.maker
        self.inside = state.mode = self.outside.but(maker=self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        now = state.mode
        state.mode = self.outside if now is self.inside else now.but(maker=self.outer)
        self.hooks.close()
