"""`autocast`: products in 16 bits, sums that need it in float32, without a change to the model."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from tinygrad_edu import backend, dtypes
from tinygrad_edu.amp import detour
from tinygrad_edu.autograd.graph import Variable
from tinygrad_edu.autograd.mode import state as grad_mode
from tinygrad_edu.dtypes import dtype
from tinygrad_edu.ops.cross_entropy import nll_loss
from tinygrad_edu.ops.softmax import log_softmax
from tinygrad_edu.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])

_DEVICES = ("cpu", "cuda")


class _State(threading.local):
    """What one thread has set."""

    def __init__(self) -> None:
        self.enabled = dict.fromkeys(_DEVICES, False)
        self.dtypes = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}
        self.cache_enabled = True
        self.nesting = 0
        self.inside = False  # a listed operation: what it is made of is not cast again
        self.cache: dict[int, tuple[Tensor, int, Tensor]] = {}


_state = _State()


# ---- casting


def _eligible(t: Any, device: str) -> bool:
    """Whether autocast may cast it: a float tensor on that device, but not float64."""
    return (
        isinstance(t, Variable)
        and dtypes.is_floating(t.array.dtype)
        and t.array.dtype != np.float64
        and backend.device_of(t.array).type == device
    )


def _cast(t: Any, target: dtype) -> Any:
    """The tensor as `target`; that of a parameter is kept for its next use in the region."""
    if t.array.dtype == target.numpy:
        return t
    keeps = (
        _state.cache_enabled and t.requires_grad and t.is_leaf and t.base is None
        and grad_mode.enabled and target is not dtypes.float32
    )  # fmt: skip
    if not keeps:
        return t.to(target)
    found = _state.cache.get(id(t))
    if found is None or found[1] != t.storage.version or found[2].dtype is not target:
        found = _state.cache[id(t)] = (t, t.storage.version, t.to(target))
    return found[2]


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    """`change` of every tensor in the arguments of an operation."""
    if isinstance(value, Variable):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)([_map(part, change) for part in value])
    return value


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, Variable):
        return [value]
    return [t for part in value for t in _tensors(part)] if type(value) in (list, tuple) else []


def _target(policy: str, device: str, tensors: list[Any]) -> dtype | None:
    """What to cast the operands to; None for nothing."""
    kinds = {dtypes.from_numpy(t.array.dtype) for t in tensors if _eligible(t, device)}
    if policy == "lower":
        return _state.dtypes[device]
    if policy == "as_state":
        lower = dtypes.is_half(tensors[1].array.dtype)
        return _state.dtypes[device] if lower else dtypes.float32
    if policy == "float32":
        return dtypes.float32
    return dtypes.float32 if policy == "widest" and len(kinds) > 1 else None


def _call(
    operation: Any, policies: detour.Policies, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Make the call of a listed operation as its list says."""
    tensors = _tensors([*args, *kwargs.values()])
    places = {backend.device_of(t.array).type for t in tensors}
    device = "cuda" if "cuda" in places else "cpu"
    policy = policies.get(device)
    if policy is None or not (_state.enabled[device] and not _state.inside):
        return _uncast(operation, args, kwargs)
    if policy == "refused":
        raise RuntimeError(
            "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast."
            " Many models use a sigmoid layer right before the binary cross entropy layer: use"
            " torch.nn.functional.binary_cross_entropy_with_logits or torch.nn.BCEWithLogitsLoss"
        )
    if policy == "in_two_steps":
        operation, args, kwargs = _in_two_steps(operation, *args, **kwargs)
        policy = "float32"
    target = _target(policy, device, tensors)
    if target is None:
        return _uncast(operation, args, kwargs)

    def change(t: Any) -> Any:
        return _cast(t, target) if _eligible(t, device) else t

    named = {name: _map(value, change) for name, value in kwargs.items()}
    return _uncast(operation, _map(args, change), named)


def _in_two_steps(cross_entropy: Any, *args: Any, **kwargs: Any) -> Any:
    """On the CPU the first half of cross-entropy, log_softmax, runs in what it is given."""
    bound = inspect.signature(cross_entropy).bind(*args, **kwargs)
    bound.apply_defaults()
    x, target, weight, size_average, ignore_index, reduce, reduction, smoothing = bound.args
    classes = not smoothing and size_average is None and reduce is None
    if not classes or x.array.shape == target.array.shape or not dtypes.is_half(x.array.dtype):
        return cross_entropy, args, kwargs
    logp = _uncast(log_softmax, (x, 0 if x.array.ndim == 1 else 1), {})
    return nll_loss, (logp, target, weight, ignore_index, reduction), {}


def _uncast(operation: Any, args: Any, kwargs: Any) -> Any:
    before, _state.inside = _state.inside, True
    try:
        return operation(*args, **kwargs)
    finally:
        _state.inside = before


def _wanted() -> bool:
    return not _state.inside and (_state.enabled["cpu"] or _state.enabled["cuda"])


# ---- what is set


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
    return _state.enabled[_known(device_type)]


def get_autocast_dtype(device_type: str) -> dtype:
    """What autocast casts products to: on the CPU bfloat16, on a GPU float16, unless set.

    >>> import tinygrad_edu as torch
    >>> torch.get_autocast_dtype("cuda")
    torch.float16
    """
    return _state.dtypes[_known(device_type)]


def set_autocast_enabled(device_type: str, enabled: bool) -> None:
    """Switch autocast on or off in this thread; `with autocast(...)` is the better way."""
    device, enabled = _known(device_type), bool(enabled)
    if enabled != _state.enabled[device]:
        if enabled:
            _state.dtypes[device].numpy  # noqa: B018  (16-bit floats are met before the detour)
            detour.enter(_call, _wanted)
        else:
            detour.leave()
        _state.enabled[device] = enabled


def set_autocast_dtype(device_type: str, dtype: dtype) -> None:
    """Set what products are cast to on that device, in this thread."""
    _state.dtypes[_known(device_type)] = dtype


def is_autocast_cpu_enabled() -> bool:
    """`is_autocast_enabled("cpu")`, as older scripts write it."""
    return _state.enabled["cpu"]


def get_autocast_cpu_dtype() -> dtype:
    """`get_autocast_dtype("cpu")`, as older scripts write it."""
    return _state.dtypes["cpu"]


def get_autocast_gpu_dtype() -> dtype:
    """`get_autocast_dtype("cuda")`, as older scripts write it."""
    return _state.dtypes["cuda"]


def is_autocast_cache_enabled() -> bool:
    """Whether the casts of parameters are kept for the rest of the region."""
    return _state.cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Set whether the casts of parameters are kept for the rest of the region."""
    _state.cache_enabled = bool(enabled)


def clear_autocast_cache() -> None:
    """Forget the casts of parameters."""
    _state.cache.clear()


class autocast:
    """A block, or a decorated function, in which each operation runs in the precision fit for it.

    Products (matrices, convolutions, attention) run in 16 bits; losses and what else would lose
    too much in float32; all others in what they are given.  Parameters stay float32.  The lists
    are in amp/lists.py.  Backward passes belong outside.  The state is the thread's own.

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
        self._cache_enabled = _state.cache_enabled if cache_enabled is None else cache_enabled
        problem = self._problem() if enabled else None
        if problem is not None:
            warnings.warn(problem, stacklevel=2)
        self._enabled = bool(enabled) and problem is None
        if self._enabled:
            self.fast_dtype.numpy  # noqa: B018  (without ml_dtypes it says so here)
        self._before: list[tuple[bool, dtypes.dtype, bool]] = []

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
        device = self.device
        self._before.append((_state.enabled[device], _state.dtypes[device], _state.cache_enabled))
        set_autocast_enabled(device, self._enabled)
        set_autocast_dtype(device, self.fast_dtype)
        _state.cache_enabled = self._cache_enabled
        _state.nesting += 1
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        _state.nesting -= 1
        if not _state.nesting:
            clear_autocast_cache()
        enabled, dtype, _state.cache_enabled = self._before.pop()
        set_autocast_enabled(self.device, enabled)
        set_autocast_dtype(self.device, dtype)

    def __call__(self, func: F) -> F:
        if not callable(func):
            raise TypeError(
                f"autocast()(func) requires a callable, but got {type(func).__name__}; as a"
                " context manager it is used in a with statement"
            )

        @functools.wraps(func)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return inside  # type: ignore[return-value]


def as_it_is() -> Callable[[], contextlib.ExitStack]:
    """What brings back the autocast of this moment, for a computation that is repeated later."""
    set_now = [
        (device, _state.dtypes[device], _state.enabled[device], _state.cache_enabled)
        for device in _DEVICES
    ]

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
