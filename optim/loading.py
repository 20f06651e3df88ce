"""Saved state of an optimizer, made to fit its parameters."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu import dtypes
from tinygrad_edu.backend import device_of, to_device
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.optim.common import counter
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.optim.optimizer import Optimizer, State

_YOUNGER = {
    "amsgrad": False, "capturable": False, "centered": False, "decoupled_weight_decay": False,
    "differentiable": False, "foreach": None, "fused": None, "maximize": False, "momentum": 0,
    "nesterov": False,
}  # fmt: skip
"""Options younger than some checkpoints, and what those were trained with."""


def fitted_state(optimizer: Optimizer, state_dict: dict[str, Any], ours: bool) -> dict[str, Any]:
    """The groups and the state of a checkpoint; see `Optimizer.load_state_dict`.

    Args:
        ours: it counts its steps in tensors, as optimizers of this package do.
    """
    saved = deepcopy(state_dict["param_groups"])
    if len(saved) != len(optimizer.param_groups):
        raise ValueError("loaded state dict has a different number of parameter groups")
    parameter: dict[int, Tensor] = {}
    counted_beside = set()
    for group, new in zip(optimizer.param_groups, saved, strict=True):
        if len(group["params"]) != len(new["params"]):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of"
                " optimizer's group"
            )
        parameter.update(zip(new["params"], group["params"], strict=True))
        if new.get("capturable"):
            counted_beside.update(new["params"])
        new["params"] = group["params"]
        if "param_names" in group:
            new.setdefault("param_names", group["param_names"])
        for name, then in _YOUNGER.items():
            if name in optimizer.defaults:
                new.setdefault(name, then)
        if ours:
            _check_options(optimizer, new)
    state: defaultdict[Any, State] = defaultdict(dict)
    for key, value in state_dict["state"].items():
        if key in parameter:
            fitted = state[parameter[key]] = _fit(value, parameter[key].array)
            if ours and isinstance(fitted.get("step"), (int, float)):
                fitted["step"] = counter(fitted["step"])  # from before torch 1.12
            if key in counted_beside and isinstance(fitted.get("step"), Tensor):
                step = fitted["step"].array.astype(np.float32)
                fitted["step"] = wrap(to_device(step, device_of(parameter[key].array)))
        else:
            state[key] = value
    return {"state": state, "param_groups": saved}


def _check_options(optimizer: Optimizer, group: dict[str, Any]) -> None:
    """A group of another kind of optimizer lacks options."""
    missing = [name for name in optimizer.defaults if name not in group]
    if missing:
        raise ValueError(
            f"loaded state dict is not one of {type(optimizer).__name__}: its parameter group"
            f" has no option {missing[0]!r}"
        )


def _fit(value: object, x: Array, key: object = None) -> Any:
    """A copy of saved state that fits the parameter array `x`."""
    if isinstance(value, Tensor):
        if key == "step":
            return wrap(value.array.copy())
        array = to_device(value.array, device_of(x))
        return wrap(array.astype(x.dtype if dtypes.is_floating(x.dtype) else array.dtype))
    if isinstance(value, dict):
        return {name: _fit(part, x, name) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_fit(part, x) for part in value)
    return value
