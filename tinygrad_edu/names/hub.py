"""`torch.hub`: importable; nothing is downloaded."""

from __future__ import annotations

import os

from tinygrad_edu.names.settings import unavailable

_REASON = "nothing is downloaded: fetch the file, then torch.load it"
load = unavailable("torch.hub.load", _REASON)
list = unavailable("torch.hub.list", _REASON)
help = unavailable("torch.hub.help", _REASON)


def _get_torch_home() -> str:
    """The folder that libraries keep what they download in: $TORCH_HOME, or ~/.cache/torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def get_dir() -> str:
    """The folder for models and programs in it."""
    return os.path.join(_get_torch_home(), "hub")


load_state_dict_from_url = unavailable("torch.hub.load_state_dict_from_url", _REASON)
download_url_to_file = unavailable("torch.hub.download_url_to_file", _REASON)
