"""The older `torch.cuda.amp` and `torch.cpu.amp`: the same with the device's name filled in.

As in torch, they say that they are deprecated.
"""

from __future__ import annotations

import warnings
from typing import Any

from tinygrad_edu import dtypes
from tinygrad_edu.amp import autocast_mode, grad_scaler


def _deprecated(name: str, instead: str) -> None:
    warnings.warn(
        f"`torch.{name}(args...)` is deprecated. Please use `torch.{instead}` instead.",
        FutureWarning,
        stacklevel=3,
    )


def forms(device: str, default: dtypes.dtype) -> tuple[Any, Any, Any, Any]:
    """autocast, GradScaler, custom_fwd and custom_bwd of `torch.<device>.amp`.

    Args:
        device: "cuda" or "cpu".
        default: what autocast casts to unless told.
    """

    class autocast(autocast_mode.autocast):
        __doc__ = f"`torch.amp.autocast` for {device!r}."

        def __init__(
            self, enabled: bool = True, dtype: Any = default, cache_enabled: bool = True
        ) -> None:
            _deprecated(f"{device}.amp.autocast", f"amp.autocast('{device}', args...)")
            super().__init__(device, dtype, enabled, cache_enabled)

    class GradScaler(grad_scaler.GradScaler):
        __doc__ = f"`torch.amp.GradScaler` for {device!r}."

        def __init__(
            self,
            init_scale: float = 2.0**16,
            growth_factor: float = 2.0,
            backoff_factor: float = 0.5,
            growth_interval: int = 2000,
            enabled: bool = True,
        ) -> None:
            _deprecated(f"{device}.amp.GradScaler", f"amp.GradScaler('{device}', args...)")
            super().__init__(
                device, init_scale, growth_factor, backoff_factor, growth_interval, enabled
            )

    def custom_fwd(fwd: Any = None, *, cast_inputs: Any = None) -> Any:
        """`torch.amp.custom_fwd` for that device."""
        _deprecated(f"{device}.amp.custom_fwd", "amp.custom_fwd(args..., device_type=...)")
        return autocast_mode.custom_fwd(fwd, device_type=device, cast_inputs=cast_inputs)

    def custom_bwd(bwd: object) -> Any:
        """`torch.amp.custom_bwd` for that device."""
        _deprecated(f"{device}.amp.custom_bwd", "amp.custom_bwd(args..., device_type=...)")
        return autocast_mode.custom_bwd(bwd, device_type=device)

    return autocast, GradScaler, custom_fwd, custom_bwd
