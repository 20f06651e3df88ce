"""Loss scaling: keep the gradients of float16 from underflowing to 0."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from operator import imul, setitem
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu import backend, dtypes
from tinygrad_edu.engine.composed import heard
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.kernels.undivided import Calls, undivided
from tinygrad_edu.ops import creation
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.optim.optimizer import Optimizer


class OptState(Enum):
    """How far an optimizer's iteration has come."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _fresh() -> dict[str, Any]:
    return {"stage": OptState.READY, "found_inf_per_device": {}}


_NOT_SCALED = (
    "This may indicate your script did not use scaler.scale(loss or outputs) earlier in the"
    " iteration."
)


class GradScaler:
    """Multiplies the loss by a large number, and divides the gradients by it before the step.

    A step whose gradients hold inf or nan is left out, and the scale shrinks; after many steps
    that went well it grows.

    Args:
        device: "cuda" or "cpu".
        init_scale: the first scale.
        growth_factor: > 1, what the scale is multiplied by when it grows.
        backoff_factor: < 1, what it is multiplied by after inf or nan.
        growth_interval: how many steps in a row must go well before it grows.
        enabled: if False, nothing is scaled and `step` is the optimizer's.

    Raises:
        AssertionError: a factor is out of range.

    Source: Micikevicius et al., "Mixed Precision Training", 2018, section 3.2.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = torch.optim.SGD([w], lr=0.5), torch.amp.GradScaler("cpu")
    >>> scaler.scale((3 * w).sum()).backward()
    >>> w.grad
    tensor([196608.])
    >>> scaler.step(optimizer); scaler.update(); w
    tensor([-0.5000], requires_grad=True)
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = device
        if device == "cuda" and enabled and backend.cupy_problem() is not None:
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        if not enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale, self._init_growth_tracker = init_scale, 0
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._scale: Tensor | None = None  # made on the device of the first loss
        self._growth_tracker: Tensor | None = None
        self._per_optimizer_states: defaultdict[int, dict[str, Any]] = defaultdict(_fresh)

    def _started(self, doing: str) -> tuple[Tensor, Tensor]:
        if self._scale is None or self._growth_tracker is None:
            raise AssertionError(f"Attempted {doing} but _scale is None.  {_NOT_SCALED}")
        return self._scale, self._growth_tracker

    # ---- one iteration: scale, backward, unscale_, step, update

    def scale(self, outputs: Any) -> Any:
        """The loss, or every tensor of nested sequences, multiplied by the scale.

        Raises:
            ValueError: an element of it is not a tensor.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                place = outputs.device
                self._scale = creation.full(
                    (), self._init_scale, dtype=dtypes.float32, device=place
                )
                self._growth_tracker = creation.full(
                    (), self._init_growth_tracker, dtype=dtypes.int32, device=place
                )
            return outputs * self._scale.to(device=outputs.device)
        if not isinstance(outputs, Iterable):
            raise ValueError("outputs must be a Tensor or an iterable of Tensors")
        scaled = map(self.scale, outputs)
        return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled

    def unscale_(self, optimizer: Any) -> None:
        """Divide the optimizer's gradients by the scale, in place, before they are clipped.

        Raises:
            RuntimeError: it has been called since the last `update`, or `step` has.
            ValueError: a gradient is float16: autocast's parameters are float32.
            AssertionError: nothing has been scaled yet.
        """
        if not self._enabled:
            return
        scale, _ = self._started("unscale_")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        with no_grad():
            inverse = scale.double().reciprocal().float()
        found, calls = self._unscale(optimizer, inverse)
        calls.append((state.update, {"found_inf_per_device": found, "stage": OptState.UNSCALED}))
        with np.errstate(all="ignore"):
            undivided(calls)

    def _unscale(self, optimizer: Optimizer, inverse: Tensor) -> tuple[dict[Any, Tensor], Calls]:
        """For each device, 1 if a gradient is inf or nan, else 0; and the calls that multiply."""
        grads = [
            p.grad for group in optimizer.param_groups for p in group["params"]
            if p.grad is not None
        ]  # fmt: skip
        if any([g.dtype is dtypes.float16 for g in grads]):
            raise ValueError("Attempting to unscale FP16 gradients.")
        found: dict[Any, Tensor] = {}
        calls: Calls = []
        for g in grads:
            array, place = g.array, g.device
            if place not in found:
                found[place] = creation.zeros((), dtype=dtypes.float32, device=place)
            bad = ~np.isfinite(array).all()
            found[place].array[...] = np.maximum(found[place].array, bad.astype(np.float32))
            factor = inverse.to(device=place).array
            factor = factor.astype(array.dtype) if array.dtype.itemsize != 2 else factor
            calls.append((imul, array, factor))
            g._storage.write()
        return found, calls

    @heard("scaler_step")
    def step(self, optimizer: Optimizer, *args: object, **kwargs: object) -> Any:
        """`optimizer.step(...)` with the gradients divided by the scale, unless one is inf or nan.

        Raises:
            RuntimeError: called twice since the last `update`, or with a closure.
            AssertionError: nothing has been scaled yet, or no parameter has a gradient.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._started("step")
        state = self._per_optimizer_states[id(optimizer)]
        if state["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state["stage"] is OptState.READY:
            self.unscale_(optimizer)
        if not state["found_inf_per_device"]:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = None
        if not sum(found.item() for found in state["found_inf_per_device"].values()):
            result = optimizer.step(*args, **kwargs)
        state["stage"] = OptState.STEPPED
        return result

    def update(self, new_scale: Any = None) -> None:
        """Let the scale grow or shrink, at the end of an iteration.

        Args:
            new_scale: set it to this number, or one-element tensor, instead.

        Raises:
            AssertionError: no optimizer's gradients have been looked at.
        """
        if not self._enabled:
            return
        scale, tracker = self._started("update")
        calls: Calls = []
        if isinstance(new_scale, float):
            scale.fill_(new_scale)
        elif new_scale is not None:
            if (
                new_scale.device.type != self._device
                or new_scale.numel() != 1
                or new_scale.requires_grad
            ):
                raise AssertionError(
                    "new_scale should be a float or a 1-element torch.cuda.FloatTensor or"
                    " torch.FloatTensor with requires_grad=False."
                )
            scale.copy_(new_scale)
        else:
            states = self._per_optimizer_states.values()
            found = [f for state in states for f in state["found_inf_per_device"].values()]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            calls = self._adapt(scale, tracker, sum(f.to(scale.device).array for f in found))
        undivided([*calls, (setattr, self, "_per_optimizer_states", defaultdict(_fresh))])

    def _adapt(self, scale: Tensor, tracker: Tensor, found: Any) -> Calls:
        """Shrink after inf or nan; grow after enough steps without; all of it on the device.

        Returns the calls that write what comes of it.
        """
        streak = tracker.array + 1
        grows = (found == 0) & (streak == self._growth_interval)
        factor = np.where(grows, self._growth_factor, 1.0).astype(np.float32)
        grown = scale.array * factor
        grown = np.where(np.isfinite(grown), grown, scale.array)
        scale._storage.write()
        tracker._storage.write()
        return [
            (setitem, scale.array, ...,
             np.where(found > 0, scale.array * self._backoff_factor, grown)),
            (setitem, tracker.array, ..., np.where((found > 0) | grows, 0, streak)),
        ]  # fmt: skip

    # ---- what is set

    def get_scale(self) -> float:
        """The scale; 1 if disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale.item())

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        """How many steps in a row went well."""
        if not self._enabled:
            return 0
        tracker = self._growth_tracker
        return self._init_growth_tracker if tracker is None else int(tracker.item())

    def is_enabled(self) -> bool:
        return self._enabled

    # ---- saving

    def state_dict(self) -> dict[str, Any]:
        """The scale and what decides over its growth, in numbers; empty if disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; nothing if disabled.

        Raises:
            RuntimeError: it is empty.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled"
                " instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        if self._scale is not None and self._growth_tracker is not None:
            self._scale.fill_(self._init_scale)
            self._growth_tracker.fill_(self._init_growth_tracker)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if self._per_optimizer_states:
                raise AssertionError(
                    "A GradScaler instance may only be pickled at the beginning of an iteration,"
                    " or at the end after scaler.update()."
                )
            state["_init_scale"] = self.get_scale()
            state["_init_growth_tracker"] = self._get_growth_tracker()
            state["_scale"] = state["_growth_tracker"] = None
        return state
