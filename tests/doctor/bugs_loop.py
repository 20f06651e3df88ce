"""Bugs of the training loop.  `# BUG: id` marks the line that the doctor is to name."""

from __future__ import annotations

from doctor.common import data, mlp, regression, sgd

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.optim import lr_scheduler
from tinygrad_edu.utils.data import DataLoader, TensorDataset


def zero_grad_forgotten():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # BUG: zero-grad-missing
        optimizer.step()


def zero_grad_once_before_the_loop():
    model, (x, y) = mlp(), data()
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.zero_grad()
    for a, b in zip(x.split(8), y.split(8), strict=True):
        nn.CrossEntropyLoss()(model(a), b).backward()  # BUG: zero-grad-missing
        optimizer.step()


def zero_grad_by_hand_forgotten():
    x, y = regression()
    w = torch.zeros(8, 1, requires_grad=True)
    for _ in range(6):
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()  # BUG: zero-grad-missing
        with torch.no_grad():
            w -= 0.01 * w.grad


def zero_grad_of_another_model():
    model, other, (x, y) = mlp(), mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        other.zero_grad()
        F.cross_entropy(model(x), y).backward()  # BUG: zero-grad-missing
        optimizer.step()


def zero_grad_between_backward_and_step():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.zero_grad()  # BUG: zero-grad-before-step
        optimizer.step()


def zero_grad_with_zeros_before_step():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        F.cross_entropy(model(x), y).backward()
        model.zero_grad(set_to_none=False)  # BUG: zero-grad-before-step
        optimizer.step()


def step_forgotten():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # BUG: step-missing


def step_without_parentheses():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(12):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()  # BUG: step-missing
        optimizer.step  # noqa: B018


def step_before_backward():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        optimizer.step()  # BUG: step-before-backward
        loss.backward()


def step_before_backward_linear():
    model, (x, y) = nn.Linear(8, 3), data()
    optimizer = sgd(model)
    for _ in range(5):
        loss = F.cross_entropy(model(x), y)
        optimizer.step()  # BUG: step-before-backward
        optimizer.zero_grad()
        loss.backward()


def optimizer_of_another_model():
    model, other, (x, y) = mlp(), mlp(), data()
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)  # BUG: optimizer-other-parameters
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def model_made_again_after_the_optimizer():
    model, (x, y) = mlp(), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # BUG: optimizer-stale-parameters
    model = mlp()
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def head_replaced_after_the_optimizer():
    model, (x, y) = mlp(out=10), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # BUG: optimizer-stale-parameters
    model[2] = nn.Linear(16, 3)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def only_the_head_is_optimized():
    model, (x, y) = mlp(), data()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)  # BUG: parameter-not-optimized
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def layer_never_called():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.a(self.a(x).relu()).relu())

    model, (x, y) = Net(), data()
    optimizer = sgd(model)
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()  # BUG: parameter-unreached


def gradients_thrown_away_while_accumulating():
    model, (x, y) = mlp(), data(64)
    optimizer = sgd(model)
    for i in range(12):
        optimizer.zero_grad()  # BUG: gradient-discarded
        rows = slice(8 * (i % 8), 8 * (i % 8) + 8)
        loss = F.cross_entropy(model(x[rows]), y[rows]) / 4
        loss.backward()
        if (i + 1) % 4 == 0:
            optimizer.step()


def clip_after_step():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # BUG: clip-after-step


def clip_before_backward():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # BUG: clip-before-backward
        loss.backward()
        optimizer.step()


def accumulated_but_not_divided():
    model, (x, y) = mlp(), data(64)
    optimizer = sgd(model, 0.01)
    for i, (a, b) in enumerate(DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True)):
        loss = F.cross_entropy(model(a), b)
        loss.backward()  # BUG: accumulation-not-divided
        if (i + 1) % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()


def scheduler_never_stepped():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    scheduler = lr_scheduler.StepLR(optimizer, 2)  # BUG: scheduler-missing
    for _ in range(6):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return scheduler


def cosine_per_batch():
    model, (x, y) = mlp(), data(64)
    optimizer = sgd(model)
    epochs = 3
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    for _ in range(epochs):
        for a, b in DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            optimizer.step()
            scheduler.step()  # BUG: scheduler-per-batch


def step_lr_per_batch_without_a_loader():
    model, (x, y) = mlp(), data(64)
    optimizer = sgd(model)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _epoch in range(3):
        for i in range(0, 64, 8):
            optimizer.zero_grad()
            F.cross_entropy(model(x[i : i + 8]), y[i : i + 8]).backward()
            optimizer.step()
            scheduler.step()  # BUG: scheduler-per-batch


def cosine_past_its_end():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=5)
    for _ in range(12):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        scheduler.step()  # BUG: scheduler-past-end


def scheduler_before_optimizer():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    scheduler = lr_scheduler.StepLR(optimizer, 30)
    for _ in range(4):
        scheduler.step()  # BUG: scheduler-before-optimizer
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def rate_vanishes():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.1)
    for _ in range(12):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        scheduler.step()  # BUG: learning-rate-vanished


def rate_too_high():
    model, (x, y) = nn.Linear(8, 1), regression()
    optimizer = sgd(model, 3.0)
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()  # BUG: diverging
        optimizer.step()


def loss_does_not_fall():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model, 1e-7)
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # BUG: loss-flat
        optimizer.step()


def scores_start_too_large():
    model, (x, y) = mlp(), data()
    nn.init.normal_(model[2].weight, std=20.0)
    optimizer = sgd(model, 1e-4)
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)  # BUG: loss-start
        loss.backward()
        optimizer.step()
