"""Every layer says which shapes go in and come out."""

from __future__ import annotations

import re

import pytest

from tinygrad_edu import nn

CONTAINERS = {"Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"}
CONTAINERS |= {"RNNBase", "RNNCellBase"}
LAYERS = [
    name
    for name in nn.modules.__all__
    if isinstance(getattr(nn, name), type)
    and issubclass(getattr(nn, name), nn.Module)
    and name not in CONTAINERS
]


@pytest.mark.parametrize("name", LAYERS)
def test_shapes(name: str) -> None:
    text = (getattr(nn, name).__doc__ or "").partition(">>>")[0]
    assert re.search(r"Shape: |->|\((N|\*|S|T|L|B|M)\b|any shape", text), text
