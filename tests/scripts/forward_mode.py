"""Train by forward gradients: the slope of the loss along a random direction, and no backward."""

import argparse

import torch
import torch.autograd.forward_ad as fwAD
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--hidden", type=int, default=24)
args = parser.parse_args()

torch.manual_seed(0)
x = torch.randn(128, 4)
target = torch.sin(x[:, :1]) + 0.5 * x[:, 1:2] * x[:, 2:3]
model = nn.Sequential(nn.Linear(4, args.hidden), nn.Tanh(), nn.Linear(args.hidden, 1))
params = {name: p.detach() for name, p in model.named_parameters()}

for step in range(args.steps + 1):
    direction = {name: torch.randn_like(p) for name, p in params.items()}
    with fwAD.dual_level():
        duals = {name: fwAD.make_dual(p, direction[name]) for name, p in params.items()}
        loss, slope = fwAD.unpack_dual(F.mse_loss(functional_call(model, duals, (x,)), target))
    if step % 20 == 0:
        print(f"step {step:4d} loss {loss.item():.5f} slope {slope.item():.5f}")
    params = {name: p - 2e-3 * slope * direction[name] for name, p in params.items()}

# Every parameter that a module holds may be dual, and so may its input.
for name in list(params):
    module, _, last = name.rpartition(".")
    delattr(model.get_submodule(module), last)
    setattr(model.get_submodule(module), last, params[name])
v = torch.randn_like(x)
with fwAD.dual_level():
    y = fwAD.unpack_dual(model(fwAD.make_dual(x, v)))
    print(f"J v: {y.tangent.norm().item():.5f}, none: {fwAD.unpack_dual(x).tangent}")
_, again = torch.func.jvp(model, (x,), (v,))
print(f"func.jvp: {again.norm().item():.5f}, same: {torch.allclose(again, y.tangent, atol=1e-5)}")


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return x**3

    @staticmethod
    def jvp(ctx, tangent):
        gradient = 3 * ctx.x**2 * tangent
        del ctx.x
        return gradient


with fwAD.dual_level():
    dual = fwAD.make_dual(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.5]))
    print("cube:", fwAD.unpack_dual(Cube.apply(dual)).tangent.tolist())
try:
    fwAD.make_dual(x, v)
except RuntimeError as error:
    print(str(error).partition(",")[0])
