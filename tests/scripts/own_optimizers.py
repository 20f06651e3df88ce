"""Optimizers and schedules that the user wrote, the average of weights, and L-BFGS to finish."""

import argparse
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim.lr_scheduler import LinearLR, LRScheduler, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60)
args = parser.parse_args()


class LARS(torch.optim.Optimizer):
    def __init__(self, params, lr, weight_decay=1e-4, momentum=0.9, eta=0.02):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum, eta=eta))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad.add(p, alpha=group["weight_decay"])
                size, slope = p.norm(), g.norm()
                one = torch.ones_like(size)
                trust = torch.where((size > 0) & (slope > 0), group["eta"] * size / slope, one)
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].mul_(group["momentum"]).add_(g * trust)
                p.add_(state["momentum"], alpha=-group["lr"])


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            first, second = group["betas"]
            for p in filter(lambda p: p.grad is not None, group["params"]):
                state = self.state[p]
                if len(state) == 0:
                    state["average"] = torch.zeros_like(p)
                p.data.mul_(1 - group["lr"] * group["weight_decay"])
                update = state["average"].clone().mul_(first).add(p.grad, alpha=1 - first)
                p.add_(update.sign_(), alpha=-group["lr"])
                state["average"].mul_(second).add_(p.grad, alpha=1 - second)


class Sharpness(torch.optim.Optimizer):
    """Sharpness-aware steps around another optimizer."""

    def __init__(self, params, base, rho=0.05, **options):
        super().__init__(params, dict(rho=rho, **options))
        self.base = base(self.param_groups, **options)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def climb(self):
        params = [p for group in self.param_groups for p in group["params"]]
        norm = torch.stack([p.grad.norm() for p in params]).norm()
        for p in params:
            self.state[p]["here"] = p.data.clone()
            p.add_(p.grad * (self.param_groups[0]["rho"] / (norm + 1e-12)))
        self.zero_grad()

    def step(self, closure=None):
        self.climb()
        with torch.enable_grad():
            closure().backward()
        for group in self.param_groups:
            for p in group["params"]:
                p.data = self.state[p]["here"]
        self.base.step()


class Cosine(LRScheduler):
    def __init__(self, optimizer, steps, last_epoch=-1):
        self.steps = steps
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        share = 0.5 * (1 + math.cos(math.pi * self.last_epoch / self.steps))
        return [base * share for base in self.base_lrs]


torch.manual_seed(0)
x = torch.randn(128, 6)
y = (x @ torch.randn(6, 3)).sin()


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.BatchNorm1d(24), nn.Linear(24, 3))


makers = {
    "LARS": lambda params: LARS(params, lr=1.0),
    "Lion": lambda params: Lion(params, lr=3e-3),
    "Sharpness": lambda params: Sharpness(params, torch.optim.SGD, lr=0.1, momentum=0.9),
    "Adam": lambda params: torch.optim.Adam(params, lr=1e-2, amsgrad=True),
}
for name, make in makers.items():
    model = network()
    optimizer = make(model.parameters())
    warm = LinearLR(optimizer, start_factor=0.1, total_iters=5)
    schedule = SequentialLR(optimizer, [warm, Cosine(optimizer, args.steps)], milestones=[5])
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for step in range(args.steps):
        batch = torch.randint(0, 128, (32,))
        loss = F.mse_loss(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(lambda m=model, at=batch: F.mse_loss(m(x[at]), y[at]))
        schedule.step()
        average.update_parameters(model)
        if step % 10 == 0:
            print(f"{name:9} {step:3} loss {loss.item():.6f} lr {schedule.get_last_lr()[0]:.6f}")
    update_bn([x[:64], x[64:]], average)
    print(f"{name:9} average {F.mse_loss(average(x), y).item():.6f}")

finish = torch.optim.LBFGS(model.parameters(), max_iter=5, line_search_fn="strong_wolfe")


def closure():
    finish.zero_grad()
    loss = F.mse_loss(model(x), y)
    loss.backward()
    return loss


for step in range(3):
    print(f"L-BFGS    {step:3} loss {finish.step(closure).item():.6f}")
