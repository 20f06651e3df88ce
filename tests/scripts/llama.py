"""A small llama: rotary positions, grouped queries, RMS norm, SwiGLU; a cache of keys; LoRA."""

import argparse
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=100)
args = parser.parse_args()

torch.manual_seed(0)
VOCAB, DIM, HEADS, GROUPS, LENGTH = 50, 32, 4, 2, 32


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        scaled = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
        return scaled.type_as(x) * self.weight


def rotate(x, cos, sin):
    a, b = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
    cos, sin = cos[:, None, :], sin[:, None, :]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(3).type_as(x)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.size = DIM // HEADS
        self.wq = nn.Linear(DIM, DIM, bias=False)
        self.wk = nn.Linear(DIM, GROUPS * self.size, bias=False)
        self.wv = nn.Linear(DIM, GROUPS * self.size, bias=False)
        self.wo = nn.Linear(DIM, DIM, bias=False)
        for name in ("keys", "values"):
            cache = torch.zeros(1, LENGTH, GROUPS, self.size)
            self.register_buffer(name, cache, persistent=False)

    def forward(self, x, cos, sin, start=None):
        n, t, _ = x.shape
        q = rotate(self.wq(x).view(n, t, HEADS, self.size), cos, sin)
        k = rotate(self.wk(x).view(n, t, GROUPS, self.size), cos, sin)
        v = self.wv(x).view(n, t, GROUPS, self.size)
        if start is not None:
            self.keys[:, start : start + t], self.values[:, start : start + t] = k, v
            k, v = self.keys[:, : start + t], self.values[:, : start + t]
        k, v = (z.repeat_interleave(HEADS // GROUPS, dim=2).transpose(1, 2) for z in (k, v))
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, is_causal=t > 1)
        return self.wo(y.transpose(1, 2).reshape(n, t, DIM))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attention, self.norm2 = RMSNorm(DIM), Attention(), RMSNorm(DIM)
        self.gate, self.up = (nn.Linear(DIM, 48, bias=False) for _ in range(2))
        self.down = nn.Linear(48, DIM, bias=False)

    def forward(self, x, cos, sin, start=None):
        x = x + self.attention(self.norm1(x), cos, sin, start)
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, DIM)
        self.layers = nn.ModuleList(Block() for _ in range(2))
        self.norm, self.output = RMSNorm(DIM), nn.Linear(DIM, VOCAB, bias=False)
        self.embed.weight = self.output.weight
        steps = 1.0 / 10000 ** (torch.arange(0, 8, 2).float() / 8)
        self.register_buffer("angles", torch.outer(torch.arange(LENGTH).float(), steps), False)
        self.apply(self.start)

    def start(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens, start=None):
        angles = self.angles[start or 0 :][: tokens.shape[1]]
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin(), start)
        return self.output(self.norm(x))


class LoRA(nn.Module):
    def __init__(self, layer, rank=2, alpha=4):
        super().__init__()
        self.layer, self.scale = layer, alpha / rank
        self.a = nn.Parameter(torch.randn(rank, layer.in_features) / math.sqrt(rank))
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x):
        return self.layer(x) + x @ self.a.t() @ self.b.t() * self.scale


def train(params, steps, text):
    optimizer = torch.optim.AdamW(params, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(steps):
        at = torch.randint(0, len(text) - 17, (4,))
        x, y = (torch.stack([text[i + j : i + j + 16] for i in at]) for j in (0, 1))
        loss = F.cross_entropy(model(x).view(-1, VOCAB), y.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        if step % 5 == 0:
            print(f"step {step:3} loss {loss.item():.6f} norm {norm.item():.5f}")


model = Llama()
train(list(model.parameters()), args.steps, torch.arange(500) % 7 * torch.arange(500) % VOCAB)
with torch.inference_mode():
    tokens = torch.randint(0, VOCAB, (1, 6))
    logits = model(tokens, start=0)
    print(torch.allclose(logits, model(tokens), atol=1e-5))
    for _ in range(8):
        tokens = torch.cat([tokens, logits[:, -1].argmax(-1, keepdim=True)], 1)
        logits = model(tokens[:, -1:], start=tokens.shape[1] - 1)
    print(tokens.tolist(), torch.allclose(logits[:, -1], model(tokens)[:, -1], atol=1e-4))

model.requires_grad_(False)
for layer in model.layers:
    layer.attention.wq, layer.attention.wv = LoRA(layer.attention.wq), LoRA(layer.attention.wv)
trained = [p for p in model.parameters() if p.requires_grad]
print(sum(p.numel() for p in trained), "numbers are trained")
train(trained, args.steps // 2, torch.arange(500).flip(0) % 11)
