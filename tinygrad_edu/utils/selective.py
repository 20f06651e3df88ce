"""Selective checkpointing: some results of a checkpointed function are kept, the others computed
again.

A listener (engine/mode.py) stands between each call and what computes it. In the first run it
notes what the calls that the policy picks have computed; in the second it hands that out, in the
same order, in place of computing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from tinygrad_edu.engine import half
from tinygrad_edu.engine.graph import Storage, TensorBase
from tinygrad_edu.engine.mode import Mode, state
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.engine.types import Call
from tinygrad_edu.ops.more.aten import Overload, name_of

__all__ = [
    "CheckpointPolicy",
    "SelectiveCheckpointContext",
    "create_selective_checkpoint_contexts",
]


class CheckpointPolicy(enum.Enum):
    """What to do with a result; "prefer" and "must" differ only where a compiler decides."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3


_SAVED = (CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_SAVE)


class SelectiveCheckpointContext:
    """What a policy is told besides the operation. It is asked in the first run alone.

    Attributes:
        is_recompute: always False, as in torch.
        op_output: what the operation returned.
    """

    def __init__(self, *, is_recompute: bool, op_output: Any = None) -> None:
        self.is_recompute, self.op_output = is_recompute, op_output


class _Kept:
    """What one call computed, and the versions of the memory where it lies."""

    def __init__(self, values: Any, result: Any) -> None:
        self.values = values
        parts = result if isinstance(result, tuple) else (result,)
        storages: list[Storage] = [t._storage for t in parts if isinstance(t, TensorBase)]
        self.versions = [(storage, storage.version) for storage in storages]

    def unwritten(self) -> bool:
        return all([storage.version == version for storage, version in self.versions])


class _Run:
    """A context, the first run or the second: it listens to the calls."""

    def __init__(
        self, policy: Call, kept: dict[Any, list[_Kept | None]], second: bool, lax: bool
    ) -> None:
        self.policy, self.kept, self.second, self.lax = policy, kept, second, lax
        self.places: dict[Any, int] = {}
        self.outside: list[Mode] = []

    def __enter__(self) -> None:
        self.places.clear()
        self.outside.append(state.mode)
        state.mode = state.mode.but(listeners=(*state.mode.listeners, self.heard))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        state.mode = self.outside.pop()

    def heard(self, op: Any, make: Call, *args: Any, **kwargs: Any) -> Any:
        """One call: computed and noted, or taken from what was noted."""
        if not isinstance(op, Primitive) or op.view:  # a view costs nothing
            return make(*args, **kwargs)
        called = name_of(op, args)
        noted = self.kept.setdefault(called, [])
        if self.second:
            place = self.places.get(called, 0)
            self.places[called] = place + 1
            if place >= len(noted):
                raise RuntimeError(f"{called} encountered during backward but not found in storage")
            return self.again(noted[place], make, args, kwargs)
        result, kept = self.first(op, make, args, kwargs)
        context = SelectiveCheckpointContext(is_recompute=False, op_output=result)
        answer = self.policy(context, called, *args, **kwargs)
        noted.append(kept if (answer if isinstance(answer, bool) else answer in _SAVED) else None)
        return result

    def first(self, op: Any, make: Call, args: Any, kwargs: Any) -> tuple[Any, _Kept]:
        """Compute, and what can be kept of it."""
        computed = []

        def note(*values: Any) -> Any:
            computed.append(half.compute(op, *values))
            return computed[-1]

        result = make(*args, _by=note, **kwargs)
        return result, _Kept(computed[-1], result)

    def again(self, kept: _Kept | None, make: Call, args: Any, kwargs: Any) -> Any:
        """Take what was noted, or compute once more if it was not kept."""
        if kept is None:
            return make(*args, **kwargs)
        if not self.lax and not kept.unwritten():
            raise RuntimeError(
                "Tensor cached during selective activation checkpoint has been mutated"
            )
        return make(*args, _by=lambda *values: kept.values, **kwargs)


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Callable[..., Any] | Sequence[Any],
    allow_cache_entry_mutation: bool = False,
) -> tuple[_Run, _Run]:
    """The two contexts of `checkpoint(..., context_fn=...)`, for one part.

    Args:
        policy_fn_or_list: `policy(context, op, *args, **kwargs)` returns a `CheckpointPolicy`, or
            whether to keep the result; or a list of the operations to keep results of. Operations
            have their names in torch: `torch.ops.aten.mm.default`. One that torch composes of
            several has the name of that which costs: `linear` is `addmm`, or `mm` without a bias.
        allow_cache_entry_mutation: a result may have been written in place before it is used again.

    Raises:
        ValueError: something in the list is no operation.
        TypeError: neither a function nor a list.
        RuntimeError: in the backward pass, if a result that was kept has been written in place, or
            the function calls other operations than before.

    Unlike in torch, views are always computed again, and a graph that was retained may be walked
    more than once.

    >>> import functools
    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.utils.checkpoint import checkpoint
    >>> contexts = functools.partial(
    ...     create_selective_checkpoint_contexts, [torch.ops.aten.mm.default]
    ... )
    >>> x = torch.ones(2, 2, requires_grad=True)
    >>> y = checkpoint(lambda x: (x @ x).exp(), x, use_reentrant=False, context_fn=contexts)
    >>> y.sum().backward(); x.grad[0, 0]
    tensor(29.5562)
    """
    if isinstance(policy_fn_or_list, (list, tuple)):
        for op in policy_fn_or_list:
            if not isinstance(op, Overload):
                raise ValueError(
                    f"Expected op in `op_list` to be an OpOverload but got: {op} of type"
                    f" {type(op)}."
                )
        picked = set(policy_fn_or_list)
        policy: Call = lambda context, op, *args, **kwargs: op in picked  # noqa: E731
    elif callable(policy_fn_or_list):
        policy = policy_fn_or_list
    else:
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    kept: dict[Any, list[_Kept | None]] = {}
    runs = [_Run(policy, kept, second, allow_cache_entry_mutation) for second in (False, True)]
    return runs[0], runs[1]
