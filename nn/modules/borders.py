"""The borders of a module, where backward hooks look at the gradients that pass.

Both are operations that do nothing forward, `border`, put around the inputs and around the outputs;
their derivative rule hands the gradients to the hooks.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_edu.backend import module_of
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.views import View, base_of

if TYPE_CHECKING:
    from tinygrad_edu.nn.modules.hooks import Hook
    from tinygrad_edu.nn.modules.module import Module


@primitive(variadic=True, multiple=True, node="BackwardHookFunctionBackward")
def border(tensors: Sequence[Array], on_gradients: Any) -> tuple[Array, ...]:
    """The tensors themselves; on the way back their gradients go through `on_gradients`."""
    return tuple(tensors)


border.vjp(tensors=lambda g, on_gradients: on_gradients(g))
border.primitive.owns = False


def _alias_part(x: Any) -> tuple[Any]:
    from tinygrad_edu.engine.second import alias

    return (alias(x),)


def _cross(tensors: list[Any], on_gradients: Callable[[list[Any]], list[Any]]) -> Any:
    """Put the tensors behind a border.  They share memory with the originals, as views do."""
    crossed: Any = border(tensors, on_gradients)
    for before, after in zip(tensors, crossed, strict=True):
        after._storage, after.plain = before._storage, False
        base, path = base_of(before)
        after.view_of = View(base, (*path, (_alias_part, (), 0)), is_recording())
    return crossed


class Borders:
    """One call of a module, as its backward hooks see it."""

    def __init__(self, module: Module, pre_hooks: Iterable[Hook], hooks: Iterable[Hook]) -> None:
        self.module = module
        self.pre_hooks = [hook.function for hook in pre_hooks]
        self.hooks = [hook.function for hook in hooks]
        self.inputs = Border((), False)
        self.grad_output: tuple[Any, ...] | None = None
        """The gradients at the outputs, on their way to the inputs."""

    def around_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, those that need a gradient behind a border."""
        self.inputs = Border(args, bool(self.hooks))
        return self.inputs.around(args, self._at_inputs)

    def around_outputs(self, result: Any) -> Any:
        """The output, a tensor or a tuple with tensors, behind a border."""
        if not isinstance(result, (TensorBase, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of"
                f" Tensors but received {type(result)}",
                stacklevel=5,
            )
            return result
        outputs = result if isinstance(result, tuple) else (result,)
        self.outputs = Border(outputs, bool(self.hooks or self.pre_hooks))
        crossed = self.outputs.around(outputs, self._at_outputs)
        return _like(result, crossed) if isinstance(result, tuple) else crossed[0]

    def _at_outputs(self, gradients: list[Any]) -> list[Any]:
        """The way back enters the module: `gradients` of its outputs."""
        grad_output = self.outputs.among_all(gradients)
        for hook in self.pre_hooks:
            replaced = hook(self.module, grad_output)
            grad_output = _checked(replaced, grad_output, "pre hook", "output")
        self.grad_output = grad_output
        if self.hooks and not self.inputs.places:
            self._without_inputs()
        return self.outputs.collect(grad_output, gradients)

    def _at_inputs(self, gradients: list[Any]) -> list[Any]:
        """The way back leaves the module: `gradients` of its inputs."""
        if self.grad_output is None:  # it came from inside, not through the outputs
            return gradients
        grad_input = self.inputs.with_zeros(self.inputs.among_all(gradients))
        for hook in self.hooks:
            replaced = hook(self.module, grad_input, self.grad_output)
            grad_input = _checked(replaced, grad_input, "hook", "input")
        self.grad_output = None
        return self.inputs.collect(grad_input, gradients)

    def _without_inputs(self) -> None:
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module"
            " outputs since no inputs require gradients.",
            stacklevel=2,
        )
        for hook in self.hooks:
            replaced = hook(self.module, (None,) * self.inputs.width, self.grad_output)
            if replaced is not None and any([g is not None for g in replaced]):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always"
                    " return None or None for all gradients."
                )
        self.grad_output = None


def _like(before: tuple[Any, ...], values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Other values in a tuple of the same class: a namedtuple, say."""
    if type(before) is tuple or values is before:
        return values
    made = tuple.__new__(type(before), values)
    if hasattr(before, "__dict__"):
        vars(made).update(vars(before))
    return made


class Border:
    """The tensors among some values, and which of them need a gradient.

    Attributes:
        places: of the tensors that need a gradient.
        zeros: for the place of every tensor, what makes its zero gradient.
        width: how many values there are.
    """

    def __init__(self, values: Sequence[Any], watched: bool) -> None:
        self.width = len(values)
        self.places: list[int] = []
        self.zeros: dict[int, Callable[[], Array]] = {}
        for i, v in enumerate(values):
            if watched and is_recording() and isinstance(v, TensorBase):
                xp, shape, dtype = module_of(v.array), v.array.shape, v.array.dtype
                self.zeros[i] = functools.partial(xp.zeros, shape, dtype)
                if v.node is not None:
                    self.places.append(i)

    def around(
        self, values: tuple[Any, ...], on_gradients: Callable[[list[Any]], list[Any]]
    ) -> tuple[Any, ...]:
        """The values, those that need a gradient behind a border of the graph."""
        if not self.places:
            return values
        crossed = iter(_cross([values[i] for i in self.places], on_gradients))
        return tuple([next(crossed) if i in self.places else v for i, v in enumerate(values)])

    def among_all(self, gradients: list[Any]) -> tuple[Any, ...]:
        """One entry per value: its gradient as a tensor, or None."""
        full: list[Any] = [None] * self.width
        for place, g in zip(self.places, gradients, strict=True):
            full[place] = g if g is None or isinstance(g, TensorBase) else wrap(g)
        return tuple(full)

    def with_zeros(self, full: tuple[Any, ...]) -> tuple[Any, ...]:
        """Zeros instead of None for those values that are tensors."""
        return tuple(
            [
                wrap(self.zeros[i]()) if g is None and i in self.zeros else g
                for i, g in enumerate(full)
            ]
        )

    def collect(self, full: tuple[Any, ...], before: list[Any]) -> list[Any]:
        """The gradients of those that need one: arrays if the walk works on arrays."""
        tensors = any([isinstance(g, TensorBase) for g in before])
        full = self.with_zeros(full)
        return [full[i] if tensors else full[i].array for i in self.places]


def _checked(replaced: Any, before: tuple[Any, ...], kind: str, what: str) -> tuple[Any, ...]:
    """The gradients a hook returned, or those it was given if it returned None."""
    if replaced is None:
        return before
    given: tuple[Any, ...] = (replaced,) if isinstance(replaced, TensorBase) else tuple(replaced)
    if len(given) != len(before):
        raise RuntimeError(
            f"Backward {kind} returned an invalid number of grad_{what}, got {len(given)}, but"
            f" expected {len(before)}"
        )
    return given
