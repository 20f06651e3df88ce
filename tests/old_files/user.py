"""Classes such as a user's script has, for pickles that hold their instances."""

from __future__ import annotations

from typing import Any

import tinygrad_edu as torch
from tinygrad_edu import nn


class Net(nn.Module):
    """Layers under all kinds of names, a buffer, and functions of the library as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.norms = nn.ModuleDict({"first": nn.LayerNorm(6), "second": nn.BatchNorm1d(6)})
        self.scales = nn.ParameterList([torch.ones(6), torch.full((6,), 0.5)])
        self.named = nn.ParameterDict({"bias": torch.zeros(3)})
        self.register_buffer("table", torch.arange(6.0), persistent=False)
        self.head = nn.Linear(6, 3)
        self.head.weight.requires_grad_(False)
        self.act, self.squash = nn.functional.gelu, torch.tanh

    def forward(self, index: Any) -> Any:
        x = self.embed(index).mean(1) + self.table
        x = self.norms["first"](x + self.act(self.blocks[0](x)) * self.scales[0])
        x = self.norms["second"](x + self.squash(self.blocks[1](x)) * self.scales[1])
        return self.head(x) + self.named["bias"]


class Marked(torch.Tensor):
    """A subclass of tensors."""


class Warmup:
    """A schedule as an object, because a lambda cannot be pickled."""

    def __call__(self, epoch: int) -> float:
        return min(1.0, (epoch + 1) / 4)


def double(module: Any, args: Any, y: Any) -> Any:
    """A forward hook."""
    return 2 * y
