"""A normalizing flow of points on a circle, and distributions that learn their parameters."""

import argparse
import math

import torch
import torch.nn as nn
from torch import distributions as D

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=100)
args = parser.parse_args()

torch.manual_seed(0)


class Coupling(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)
        self.scale = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(), nn.Linear(16, 2), nn.Tanh())
        self.shift = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(), nn.Linear(16, 2))

    def forward(self, x):
        held = x * self.mask
        scale, shift = ((1 - self.mask) * f(held) for f in (self.scale, self.shift))
        return held + (1 - self.mask) * (x - shift) * torch.exp(-scale), -scale.sum(dim=1)


class RealNVP(nn.Module):
    def __init__(self, layers=4):
        super().__init__()
        masks = torch.tensor([[0.0, 1.0], [1.0, 0.0]] * (layers // 2))
        self.layers = nn.ModuleList(Coupling(mask) for mask in masks)
        self.prior = D.MultivariateNormal(torch.zeros(2), torch.eye(2))

    def log_prob(self, x):
        log_det = x.new_zeros(x.shape[0])
        for layer in self.layers:
            x, change = layer(x)
            log_det += change
        return self.prior.log_prob(x) + log_det


angles = torch.rand(256) * 2 * math.pi
points = torch.stack([angles.cos(), angles.sin()], 1) + 0.05 * torch.randn(256, 2)
flow = RealNVP()
optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
for step in range(args.steps):
    loss = -flow.log_prob(points[torch.randint(0, 256, (64,))]).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"flow {step:3} loss {loss.item():.6f}")


def fit(name, make, params, data):
    params = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = torch.optim.Adam(params, lr=0.1)
    for _ in range(args.steps // 4):
        loss = -make(*params).log_prob(data).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{name:17} loss {loss.item():.6f} " + " ".join(f"{p.item():.5f}" for p in params))


scores = D.StudentT(3.0, 1.0, 0.5).sample((200,))
counts = D.NegativeBinomial(4.0, torch.tensor(0.4)).sample((200,))
heights = D.HalfCauchy(2.0).sample((200,))
fit("StudentT", lambda a, b, c: D.StudentT(a.exp(), b, c.exp()), [1.0, 0.0, 0.0], scores)
fit("NegativeBinomial", lambda a, b: D.NegativeBinomial(a.exp(), logits=b), [0.0, 0.0], counts)
fit("HalfCauchy", lambda a: D.HalfCauchy(a.exp()), [0.0], heights)
relaxed = D.RelaxedBernoulli(torch.tensor(0.5), torch.tensor([0.2, 0.7]))
print("relaxed", *[f"{value:.5f}" for value in relaxed.sample((3,)).flatten().tolist()])
