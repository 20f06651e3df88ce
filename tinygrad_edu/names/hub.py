"""`torch.hub`: importable; nothing is downloaded."""

from __future__ import annotations

from tinygrad_edu.names.settings import unavailable

_REASON = "nothing is downloaded: fetch the file, then torch.load it"
load = unavailable("torch.hub.load", _REASON)
list = unavailable("torch.hub.list", _REASON)
help = unavailable("torch.hub.help", _REASON)
get_dir = unavailable("torch.hub.get_dir", _REASON)
load_state_dict_from_url = unavailable("torch.hub.load_state_dict_from_url", _REASON)
download_url_to_file = unavailable("torch.hub.download_url_to_file", _REASON)
