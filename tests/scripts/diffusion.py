"""Denoising diffusion of small pictures: a U-Net that knows the time, an average of it, samples."""

import argparse
import copy
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60)
args = parser.parse_args()

torch.manual_seed(0)
TIMES = 20


def positions(t, dim=8):
    rates = torch.exp(torch.arange(dim // 2) * -(math.log(10000) / (dim // 2 - 1)))
    return torch.cat(((t[:, None] * rates).sin(), (t[:, None] * rates).cos()), dim=-1)


class Residual(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(2, channels), nn.Conv2d(channels, out, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(2, out), nn.Conv2d(out, out, 3, padding=1)
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(16, 2 * out))
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x, t):
        scale, shift = self.time(t)[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (scale + 1) + shift
        return self.conv2(F.silu(h)) + self.skip(x)


class Attention(nn.Module):
    def __init__(self, channels, heads=2):
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(1, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        n, c, h, w = x.shape
        parts = self.qkv(self.norm(x)).chunk(3, dim=1)
        q, k, v = (z.reshape(n, self.heads, c // self.heads, h * w) for z in parts)
        scores = torch.einsum("nhdi,nhdj->nhij", q, k) * (c // self.heads) ** -0.5
        y = torch.einsum("nhij,nhdj->nhid", scores.softmax(dim=-1), v)
        return self.out(y.transpose(2, 3).reshape(n, c, h, w)) + x


class UNet(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 16))
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.left, self.low = Residual(width, width), Residual(2 * width, 2 * width)
        self.down = nn.Conv2d(width, 2 * width, 4, 2, 1)
        self.attention = Attention(2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.right, self.last = Residual(2 * width, width), nn.Conv2d(width, 1, 1)

    def forward(self, x, t):
        t = self.time(positions(t))
        side = self.left(self.first(x), t)
        low = self.attention(self.low(self.down(side), t))
        return self.last(self.right(torch.cat((self.up(low), side), 1), t))


betas = torch.linspace(1e-4, 0.2, TIMES)
kept = torch.cumprod(1 - betas, 0)
before = F.pad(kept[:-1], (1, 0), value=1.0)


def at(values, t):
    return values.gather(-1, t).reshape(len(t), 1, 1, 1)


model = UNet()
average = copy.deepcopy(model).eval().requires_grad_(False)
optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
pictures = F.interpolate(torch.rand(64, 1, 2, 2), size=8, mode="bilinear") * 2 - 1
for step in range(args.steps):
    x = pictures[torch.randint(0, 64, (8,))]
    t = torch.randint(0, TIMES, (8,))
    noise = torch.randn_like(x)
    loss = F.mse_loss(model(at(kept.sqrt(), t) * x + at((1 - kept).sqrt(), t) * noise, t), noise)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for a, p in zip(average.parameters(), model.parameters()):
            a.lerp_(p, 0.1)
    if step % 2 == 0:
        print(f"step {step:3} loss {loss.item():.6f}")

with torch.no_grad():
    x = torch.randn(2, 1, 8, 8)
    for i in reversed(range(TIMES)):
        t = torch.full((2,), i)
        x = x - at(betas, t) * average(x, t) / at((1 - kept).sqrt(), t)
        x = x / at((1 - betas).sqrt(), t)
        if i > 0:
            spread = betas * (1 - before) / (1 - kept)
            x = x + at(spread.sqrt(), t) * torch.randn_like(x)
print(f"sample: mean {x.mean().item():.5f} standard deviation {x.std().item():.5f}")
