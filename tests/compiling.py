"""For the tests of `torch.compile`: the same run with it and without it, compared bit for bit."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.engine import tree
from tinygrad_edu.nn import functional as F

explained = torch.compiler.explain


def recorded(compiled: Any) -> bool:
    text = explained(compiled)
    return "recorded:" in text and "runs as it is" not in text


def bits(t: Any) -> Any:
    return None if t is None else (t.array.shape, t.array.dtype, t.array.strides, t.array.tobytes())


def left_behind(model: Any, optimizer: Any) -> list[Any]:
    """Parameters, buffers, gradients, the optimizer's state and groups, the stream."""
    found: list[Any] = [bits(p) for p in [*model.parameters(), *model.buffers()]]
    for p in model.parameters():
        state = optimizer.state.get(p, {})
        found += [bits(p.grad), {k: bits(v) if isinstance(v, torch.Tensor) else v
                                 for k, v in state.items()}]  # fmt: skip
    found += [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    return [*found, torch.get_rng_state().array.tobytes()]


def both_ways(script: Callable[[Any], Any], is_recorded: bool | None = True) -> list[Any]:
    """What `script(compile)` has compiled, and has recorded if it should.

    It runs twice, with torch.compile and with a `compile` that hands the function back, and what it
    returns must be equal.
    """
    compiled: list[Any] = []

    def compile(function: Any) -> Any:
        compiled.append(torch.compile(function))
        return compiled[-1]

    found = []
    for how in (compile, lambda function: function):
        torch.manual_seed(7)
        found.append(script(how))
    assert found[0] == found[1], "\n".join(map(explained, compiled))
    for one in compiled:
        assert is_recorded is None or recorded(one) is is_recorded, explained(one)
    return compiled


def same_runs(model: Any, *args: Any, calls: int = 4, loss: Any = None) -> Any:
    """Run a model and its compiled twin: equal results and gradients, bit for bit."""
    model.zero_grad()
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin)
    for call in range(calls):
        found = []
        for run, owner in ((model, model), (compiled, twin)):
            torch.manual_seed(call)
            given = [a.detach().clone().requires_grad_(a.requires_grad) for a in args]
            y = run(*given)
            y = tree.flatten(y)
            flat = [t for t in y if t is not None and t.requires_grad]
            if flat:
                total = sum([(t * t.detach().cos()).sum() for t in flat])
                total.backward()
            leaves = [*given, *owner.parameters()]
            found.append([*map(bits, [t for t in y if t is not None]),
                          *[bits(p.grad) for p in leaves],
                          torch.get_rng_state().array.tobytes()])  # fmt: skip
        assert found[0] == found[1], f"call {call}\n{explained(compiled)}"
    return compiled


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, how: str, p: float) -> None:
        super().__init__()
        self.heads, self.how, self.p = heads, how, p
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop = nn.Dropout(p)
        self.register_buffer("mask", torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16))

    def forward(self, x: Any) -> Any:
        n, t, c = x.size()
        q, k, v = self.qkv(x).split(c, dim=2)
        q, k, v = [a.view(n, t, self.heads, c // self.heads).transpose(1, 2) for a in (q, k, v)]
        if self.how == "fused":
            p = self.p if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        else:
            scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            scores = scores.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
            y = self.drop(F.softmax(scores, dim=-1)) @ v
        return self.out(y.transpose(1, 2).contiguous().view(n, t, c))


class Block(nn.Module):
    def __init__(self, width: int, how: str, p: float) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, 2, how, p)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.Dropout(p)
        )

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    """Tied weights: one tensor gets gradients from both ends."""

    def __init__(self, how: str = "fused", p: float = 0.1, layers: int = 2) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(11, 8), nn.Embedding(16, 8)
        self.blocks = nn.ModuleList([Block(8, how, p) for _ in range(layers)])
        self.ln, self.head = nn.LayerNorm(8), nn.Linear(8, 11, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, idx: Any, targets: Any = None) -> Any:
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device)
        x = self.wte(idx) + self.wpe(pos)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.ln(x))
        if targets is None:
            return logits, None
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
        return logits, loss


def mlp(p: float = 0.2) -> Any:
    return nn.Sequential(
        nn.Linear(6, 9), nn.ReLU(), nn.Dropout(p), nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 3)
    )
