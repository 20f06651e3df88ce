"""Meta-learning of sine waves: the inner step of every task of a batch under one vmap."""

import argparse
import math

import torch
import torch.nn.functional as F
from torch.func import grad, vmap

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
args = parser.parse_args()

torch.manual_seed(0)
sizes = [1, 20, 20, 1]
weights = [
    (torch.randn(a, b) * math.sqrt(2 / a)).requires_grad_() for a, b in zip(sizes, sizes[1:])
]
biases = [torch.zeros(b, requires_grad=True) for b in sizes[1:]]


def net(params, x):
    weights, biases = params
    for w, b in zip(weights[:-1], biases[:-1]):
        x = F.relu(x @ w + b)
    return x @ weights[-1] + biases[-1]


def loss(params, x, y):
    return F.mse_loss(net(params, x), y)


def adapted_loss(params, x1, y1, x2, y2):
    slopes = grad(loss)(params, x1, y1)
    moved = tuple([p - 0.01 * g for p, g in zip(*pair)] for pair in zip(params, slopes))
    return loss(moved, x2, y2)


optimizer = torch.optim.Adam([*weights, *biases], lr=1e-3)
for step in range(args.steps):
    amplitude, phase = torch.rand(8, 1, 1) * 4 + 1, torch.rand(8, 1, 1) * math.pi
    x1, x2 = torch.rand(2, 8, 10, 1) * 10 - 5
    y1, y2 = (amplitude * torch.sin(x + phase) for x in (x1, x2))
    losses = vmap(adapted_loss, in_dims=(None, 0, 0, 0, 0))((weights, biases), x1, y1, x2, y2)
    optimizer.zero_grad()
    losses.mean().backward()
    optimizer.step()
    if step % 5 == 0:
        print(f"step {step:4} loss {losses.mean().item():.6f} worst {losses.max().item():.5f}")
