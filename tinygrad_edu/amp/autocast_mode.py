"""`autocast`: products in 16 bits, sums that need it in float32, without a change to the model.

Which operation runs in which precision it says itself, as `autocast=`, on every device or by
device:

    lower     floats that are not float64 are cast to autocast's dtype: products, which are fast
              in 16 bits and add up in float32 anyway
    float32   16-bit operands are cast to float32: what would overflow, or lose too many digits
    widest    all operands are cast to the widest dtype among them
    as_state  a step of a cell: as its state, lower or float32
    as_given  nothing is cast, though the function is made of operations that are listed
    in_two_steps  cross-entropy on a CPU: log_softmax in what it is given, the rest in float32
    refused   an error: it is unsafe

Everything else takes what it is given.  What a thread has set is a `Casting`, which listens to its
calls (see engine/mode.py) while it is on.

Source: PyTorch's documentation, "Autocast Op Reference", for each of the two devices.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygrad_edu import backend, dtypes
from tinygrad_edu.dtypes import dtype
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.mode import Mode, is_recording, state
from tinygrad_edu.engine.types import Call, typed_as
from tinygrad_edu.ops.losses import nll_loss
from tinygrad_edu.ops.softmax import log_softmax
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from types import TracebackType


F = TypeVar("F", bound=Call)

_DEVICES = ("cpu", "cuda")


class Casting:
    """What a thread has set: it never changes, another one takes its place.

    Attributes:
        enabled, dtypes: by device, whether autocast is on, and what products are cast to.
        cache_enabled: whether casts of parameters are kept for the rest of the outermost block.
        cache: those, by the parameter's id: (parameter, version, cast); None outside a block.
    """

    casts = True
    """A call with `out=` is made without it (see out.py)."""

    def __init__(
        self,
        enabled: Mapping[str, bool],
        dtypes: Mapping[str, dtype],
        cache_enabled: bool = True,
        cache: dict[int, tuple[Tensor, int, Tensor]] | None = None,
    ) -> None:
        self.enabled, self.dtypes = enabled, dtypes
        self.cache_enabled, self.cache = cache_enabled, cache

    def but(self, device: str, enabled: bool, dtype: dtype, **changes: Any) -> Casting:
        """This with other settings for one device."""
        return Casting(
            {**self.enabled, device: enabled},
            {**self.dtypes, device: dtype},
            **{"cache_enabled": self.cache_enabled, "cache": self.cache, **changes},
        )

    def __call__(self, op: Any, make: Call, *args: Any, **kwargs: Any) -> Any:
        """Make a call of this thread in the precision that `op` asks for."""
        if op.autocast is None or kwargs.get("out") is not None:
            return make(*args, **kwargs)
        tensors = _tensors([*args, *kwargs.values()])
        places = {backend.device_of(t.array).type for t in tensors}
        device = "cuda" if "cuda" in places else "cpu"
        policy = op.autocast.get(device)
        if policy is None or not self.enabled[device]:
            return make(*args, **kwargs)
        mode = state.mode
        try:  # what a listed function is made of is not cast again
            state.mode = mode.but(listeners=tuple([x for x in mode.listeners if x is not self]))
            return self._cast_and_make(policy, device, tensors, make, args, kwargs)
        finally:
            state.mode = mode

    def _cast_and_make(
        self, policy: str, device: str, tensors: list[Any], make: Any, args: Any, kwargs: Any
    ) -> Any:
        if policy == "refused":
            raise RuntimeError(
                "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to"
                " autocast. Many models use a sigmoid layer right before the binary cross entropy"
                " layer: use torch.nn.functional.binary_cross_entropy_with_logits or"
                " torch.nn.BCEWithLogitsLoss"
            )
        target = self._target(policy, device, tensors)
        if target is None:
            return make(*args, **kwargs)

        def change(t: object) -> Any:
            return self._cast(t, target) if _eligible(t, device) else t

        if policy == "in_two_steps":
            return _in_two_steps(make, change, *args, **kwargs)
        named = {name: _map(value, change) for name, value in kwargs.items()}
        return make(*_map(args, change), **named)

    def _target(self, policy: str, device: str, tensors: list[Any]) -> dtype | None:
        """What to cast the operands to; None for nothing."""
        kinds = {dtypes.from_numpy(t.array.dtype) for t in tensors if _eligible(t, device)}
        if policy == "lower":
            return self.dtypes[device]
        if policy == "as_state":
            lower = dtypes.is_half(tensors[1].array.dtype)
            return self.dtypes[device] if lower else dtypes.float32
        if policy in ("float32", "in_two_steps"):
            return dtypes.float32
        return dtypes.float32 if policy == "widest" and len(kinds) > 1 else None

    def _cast(self, t: Any, target: dtype) -> Any:
        """The tensor as `target`; that of a parameter is kept for its next use in the block."""
        if t.array.dtype == target.numpy:
            return t
        keeps = (
            self.cache_enabled and self.cache is not None and t.requires_grad and t.is_leaf
            and t.view_of is None and is_recording() and target is not dtypes.float32
        )  # fmt: skip
        if not keeps or self.cache is None:
            return t.to(target)
        found = self.cache.get(id(t))
        if found is None or found[1] != t._storage.version or found[2].dtype is not target:
            found = self.cache[id(t)] = (t, t._storage.version, t.to(target))
        return found[2]


def _eligible(t: object, device: str) -> bool:
    """Whether autocast may cast it: a float tensor on that device, but not float64."""
    return (
        isinstance(t, TensorBase)
        and dtypes.is_floating(t.array.dtype)
        and t.array.dtype != np.float64
        and backend.device_of(t.array).type == device
    )


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    """`change` of every tensor in the arguments of an operation."""
    if isinstance(value, TensorBase):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)([_map(part, change) for part in value])
    return value


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, TensorBase):
        return [value]
    return [t for part in value for t in _tensors(part)] if type(value) in (list, tuple) else []


def _in_two_steps(
    cross_entropy: Any, change: Any, input: Any, target: Any, weight: Any = None,
    size_average: Any = None, ignore_index: int = -100, reduce: Any = None,
    reduction: str = "mean", label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    """On the CPU the first half of cross-entropy, log_softmax, runs in what it is given."""
    classes = not label_smoothing and size_average is None and reduce is None
    same = input.array.shape == target.array.shape
    if not classes or same or not dtypes.is_half(input.array.dtype):
        return cross_entropy(
            *_map((input, target, weight), change), size_average, ignore_index, reduce, reduction,
            label_smoothing,
        )  # fmt: skip
    logp = log_softmax(input, 0 if input.array.ndim == 1 else 1)
    logp, target, weight = _map((logp, target, weight), change)
    return nll_loss(logp, target, weight, ignore_index, reduction)


# ---- what is set


_INITIAL = Casting(dict.fromkeys(_DEVICES, False), {"cpu": dtypes.bfloat16, "cuda": dtypes.float16})


def _now() -> Casting:
    """What this thread has set."""
    return next((x for x in state.mode.listeners if isinstance(x, Casting)), _INITIAL)


def _with(casting: Casting) -> Mode:
    """The mode of this thread with `casting` set."""
    mode = state.mode
    others = [x for x in mode.listeners if not isinstance(x, Casting)]
    idle = casting.dtypes == _INITIAL.dtypes and casting.cache_enabled
    if any(casting.enabled.values()) or not idle:
        others.append(casting)
    return mode.but(listeners=tuple(others))


def _known(device_type: str) -> str:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if device_type not in _DEVICES:
        raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
    return device_type


def is_autocast_available(device_type: str) -> bool:
    """Whether there is an autocast for devices of that type."""
    return device_type in _DEVICES


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on in this thread, for that device.

    >>> import tinygrad_edu as torch
    >>> torch.is_autocast_enabled("cpu")
    False
    """
    return _now().enabled[_known(device_type)]


def get_autocast_dtype(device_type: str) -> dtype:
    """What autocast casts products to: on the CPU bfloat16, on a GPU float16, unless set.

    >>> import tinygrad_edu as torch
    >>> torch.get_autocast_dtype("cuda")
    torch.float16
    """
    return _now().dtypes[_known(device_type)]


def set_autocast_enabled(device_type: str, enabled: bool) -> None:
    """Switch autocast on or off in this thread; `with autocast(...)` is the better way."""
    now, device = _now(), _known(device_type)
    cache = {} if now.cache is None else now.cache
    state.mode = _with(now.but(device, bool(enabled), now.dtypes[device], cache=cache))


def set_autocast_dtype(device_type: str, dtype: dtype) -> None:
    """Set what products are cast to on that device, in this thread."""
    now, device = _now(), _known(device_type)
    state.mode = _with(now.but(device, now.enabled[device], dtype))


def is_autocast_cpu_enabled() -> bool:
    """`is_autocast_enabled("cpu")`, as older scripts write it."""
    return _now().enabled["cpu"]


def get_autocast_cpu_dtype() -> dtype:
    """`get_autocast_dtype("cpu")`, as older scripts write it."""
    return _now().dtypes["cpu"]


def get_autocast_gpu_dtype() -> dtype:
    """`get_autocast_dtype("cuda")`, as older scripts write it."""
    return _now().dtypes["cuda"]


def is_autocast_cache_enabled() -> bool:
    """Whether the casts of parameters are kept for the rest of the region."""
    return _now().cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Set whether the casts of parameters are kept for the rest of the region."""
    now = _now()
    state.mode = _with(Casting(now.enabled, now.dtypes, bool(enabled), now.cache))


def clear_autocast_cache() -> None:
    """Forget the casts of parameters."""
    cache = _now().cache
    if cache is not None:
        cache.clear()


class autocast:
    """A block, or a decorated function, in which each operation runs in the precision fit for it.

    Products (matrices, convolutions, attention) run in 16 bits; losses and what else would lose
    too much in float32; all others in what they are given.  Parameters stay float32.  Backward
    passes belong outside.  The state is the thread's own.

    Args:
        device_type: "cpu" or "cuda".
        dtype: float16 or bfloat16; bfloat16 on the CPU and float16 on a GPU unless given.
        enabled: if False, the block switches a surrounding autocast off.
        cache_enabled: keep the cast of a parameter for its next use in the block.

    Raises:
        ValueError, RuntimeError: no such device.

    Unlike torch, a kept cast is made again once the parameter is written to, and casts made under
    `no_grad` are not kept.

    >>> import tinygrad_edu as torch
    >>> a = torch.ones(2, 2)
    >>> with torch.autocast("cpu"):
    ...     y = a @ a
    >>> y.dtype, a.dtype
    (torch.bfloat16, torch.float32)
    """

    def __init__(
        self,
        device_type: str,
        dtype: dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        self.device = _known(device_type)
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = _now().cache_enabled if cache_enabled is None else cache_enabled
        problem = self._problem() if enabled else None
        if problem is not None:
            warnings.warn(problem, stacklevel=2)
        self._enabled = bool(enabled) and problem is None
        if self._enabled:
            self.fast_dtype.numpy  # noqa: B018  (without ml_dtypes it says so here)
        self._before: list[tuple[Casting, Mode, Mode]] = []

    def _problem(self) -> str | None:
        if self.device == "cuda":
            missing = backend.cupy_problem() is not None
            return "CUDA is not available. Disabling autocast." if missing else None
        if self.fast_dtype in (dtypes.bfloat16, dtypes.float16):
            return None
        return (
            "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
            "CPU Autocast only supports dtypes of torch.bfloat16, torch.float16 currently."
        )

    def __enter__(self) -> autocast:
        now, device = _now(), self.device
        cache = {} if now.cache is None else now.cache
        casting = now.but(
            device, self._enabled, self.fast_dtype, cache_enabled=self._cache_enabled, cache=cache
        )
        inside = _with(casting)
        self._before.append((now, state.mode, inside))
        state.mode = inside
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        before, outside, inside = self._before[-1]
        state.mode = outside if state.mode is inside else self._left(before)
        self._before.pop()

    def _left(self, before: Casting) -> Mode:
        """The present mode, which something else has changed too, with autocast as before."""
        return _with(
            _now().but(
                self.device,
                before.enabled[self.device],
                before.dtypes[self.device],
                cache_enabled=before.cache_enabled,
                cache=before.cache,
            )
        )

    def __call__(self, func: F) -> F:
        if not callable(func):
            raise TypeError(
                f"autocast()(func) requires a callable, but got {type(func).__name__}; as a"
                " context manager it is used in a with statement"
            )

        @functools.wraps(func)
        def inside(*args: object, **kwargs: object) -> Any:
            with self:
                return func(*args, **kwargs)

        return typed_as(func, inside)


def as_it_is() -> Callable[[], contextlib.ExitStack]:
    """What brings back the autocast of this moment, for a computation that is repeated later."""
    now = _now()
    set_now = [(d, now.dtypes[d], now.enabled[d], now.cache_enabled) for d in _DEVICES]

    def again() -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        for options in set_now:
            stack.enter_context(autocast(*options))
        return stack

    return again


# ---- for autograd.Function


def _cast_all(value: Any, device: str, target: dtype) -> Any:
    """Every float tensor in nested containers cast, but for float64."""
    if isinstance(value, Mapping):
        return {name: _cast_all(part, device, target) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_cast_all(part, device, target) for part in value])
    return value.to(target) if _eligible(value, device) else value


def custom_fwd(fwd: Any = None, *, device_type: str, cast_inputs: dtype | None = None) -> Any:
    """Decorate `forward` of an `autograd.Function` whose `backward` has `custom_bwd`.

    Args:
        device_type: "cpu" or "cuda".
        cast_inputs: within autocast, cast float tensors to this and run with autocast off; unless
            given, run with it on.

    >>> import tinygrad_edu as torch
    >>> class Double(torch.autograd.Function):
    ...     @staticmethod
    ...     @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    ...     def forward(ctx, x): return 2 * x
    ...     @staticmethod
    ...     @torch.amp.custom_bwd(device_type="cpu")
    ...     def backward(ctx, g): return 2 * g
    >>> with torch.autocast("cpu"):
    ...     Double.apply(torch.ones(1, dtype=torch.float16))
    tensor([2.])
    """
    device = _known(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        enabled = is_autocast_enabled(device)
        ctx._dtype = get_autocast_dtype(device)
        ctx._fwd_used_autocast = enabled and cast_inputs is None
        if cast_inputs is None or not enabled:
            return fwd(ctx, *args, **kwargs)
        args, kwargs = _cast_all((args, kwargs), device, cast_inputs)
        with autocast(device, enabled=False):
            return fwd(ctx, *args, **kwargs)

    return decorated


def custom_bwd(bwd: Any = None, *, device_type: str) -> Any:
    """Decorate `backward` of an `autograd.Function`: it runs with autocast as `forward` did."""
    device = _known(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device)

    @functools.wraps(bwd)
    def decorated(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(ctx, *args, **kwargs)

    return decorated
