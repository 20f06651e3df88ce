"""Under the name by which scripts reach `default_collate` without its being public."""

from __future__ import annotations

import importlib

__path__: list[str] = []  # so that `from torch.utils.data._utils.collate import …` looks here
# The package has a function of that name, which an ordinary import would find.
collate = importlib.import_module("tinygrad_edu.utils.data.collate")
