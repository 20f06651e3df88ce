"""`torch.utils.model_zoo`: importable; nothing is downloaded."""

from __future__ import annotations

from tinygrad_edu.names.hub import load_state_dict_from_url as load_url

__all__ = ["load_url"]
