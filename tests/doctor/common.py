"""What the programs of the corpus share: small data and small models."""

from __future__ import annotations

from typing import Any

import tinygrad_edu as torch
from tinygrad_edu import nn


def data(n: int = 32, width: int = 8, classes: int = 3) -> tuple[Any, Any]:
    """Points around one centre for each class."""
    y = torch.randint(0, classes, (n,))
    return torch.randn(classes, width)[y] + 0.5 * torch.randn(n, width), y


def regression(n: int = 32, width: int = 8) -> tuple[Any, Any]:
    x = torch.randn(n, width)
    return x, x @ torch.randn(width, 1) + 0.1 * torch.randn(n, 1)


def mlp(width: int = 8, out: int = 3, *more: Any) -> Any:
    return nn.Sequential(nn.Linear(width, 16), nn.ReLU(), *more, nn.Linear(16, out))


def sgd(model: Any, lr: float = 0.1) -> Any:
    return torch.optim.SGD(model.parameters(), lr=lr)


class Attention(nn.Module):
    """One head of attention, masked or not, over embedded tokens."""

    def __init__(self, words: int, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, words)

    def forward(self, ids: Any, causal: bool = False) -> Any:
        q, k, v = self.qkv(self.embed(ids)).chunk(3, -1)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        if causal:
            hidden = torch.ones(ids.shape[1], ids.shape[1]).triu(1).bool()
            scores = scores.masked_fill(hidden, float("-inf"))
        weights = scores.softmax(-1)  # BUG-IF-UNMASKED
        return self.out(weights @ v)
