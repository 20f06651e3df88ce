"""`torch.utils.model_zoo`: importable; nothing is downloaded."""

from __future__ import annotations

import importlib
from typing import Any

from tinygrad_edu.names.hub import load_state_dict_from_url as load_url

__all__ = ["load_url"]


def __getattr__(name: str) -> Any:
    if name == "tqdm":
        return importlib.import_module("tqdm").tqdm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
