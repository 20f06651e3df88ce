"""Right programs of other styles: trainers, closures, optimizers.  See clean_training.py."""

from __future__ import annotations

import copy

from doctor import helpers
from doctor.bugs_styles import Trainer
from doctor.common import data, mlp, regression, sgd

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.optim import lr_scheduler


def trainer_with_evaluation_elsewhere():
    model, (x, y) = mlp(8, 3, nn.Dropout(0.5)), data()
    trainer = Trainer(model, nn.CrossEntropyLoss())
    for _ in range(3):
        model.train()
        trainer.fit([(x, y)] * 2)
        model.eval()
        helpers.accuracy(model, x, y)


def closures_of_lbfgs():
    model, (x, y) = nn.Linear(8, 1), regression()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)

    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)


def list_of_optimizers():
    body, head, (x, y) = nn.Linear(8, 16), nn.Linear(16, 3), data()
    optimizers = [sgd(body), torch.optim.Adam(head.parameters())]
    for _ in range(5):
        [optimizer.zero_grad() for optimizer in optimizers]
        F.cross_entropy(head(body(x).relu()), y).backward()
        [optimizer.step() for optimizer in optimizers]


def dictionary_of_losses_with_weights():
    trunk = nn.Linear(8, 16)
    heads = nn.ModuleDict({"kind": nn.Linear(16, 3), "size": nn.Linear(16, 1)})
    (x, y), (_, size) = data(), regression()
    optimizer = torch.optim.Adam([*trunk.parameters(), *heads.parameters()])
    totals = dict.fromkeys(heads, 0.0)
    for _ in range(12):
        h = trunk(x).relu()
        losses = {"kind": F.cross_entropy(heads["kind"](h), y),
                  "size": F.huber_loss(heads["size"](h), size)}  # fmt: skip
        optimizer.zero_grad()
        (losses["kind"] + 0.1 * losses["size"]).backward()
        optimizer.step()
        for name, loss in losses.items():
            totals[name] += loss.item()


def accumulation_divided_with_a_remainder():
    model, (x, y) = mlp(), data(80)
    optimizer, every = sgd(model, 0.01), 4
    for _ in range(2):
        for i in range(10):
            inside = every if i < 8 else 2
            loss = F.cross_entropy(model(x[8 * i : 8 * i + 8]), y[8 * i : 8 * i + 8]) / inside
            loss.backward()
            if (i + 1) % every == 0 or i == 9:
                optimizer.step()
                optimizer.zero_grad()


def early_stopping_with_the_best_state():
    model, (x, y) = mlp(8, 3, nn.BatchNorm1d(16)), data()
    optimizer, best, patience = sgd(model), float("inf"), 2
    state = copy.deepcopy(model.state_dict())
    for _ in range(8):
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(x[:16]), y[:16]).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            value = F.cross_entropy(model(x[16:]), y[16:]).item()
        if value < best:
            best, patience, state = value, 2, copy.deepcopy(model.state_dict())
        else:
            patience -= 1
        if not patience:
            break
    model.load_state_dict(state)
    helpers.accuracy(model, x[16:], y[16:])


def average_of_the_weights():
    model, (x, y) = mlp(), data()
    average = copy.deepcopy(model).eval()
    for p in average.parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(6):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.copy_(0.9 * slow + 0.1 * fast)
        helpers.accuracy(average, x, y)


def warm_up_by_steps():
    model, (x, y) = mlp(), data()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / 8) / (1 + i) ** 0.5)
    for _ in range(3):
        for i in range(0, 32, 8):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x[i : i + 8]), y[i : i + 8]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()


def mixed_precision_with_a_scaler():
    model, (x, y) = mlp(), data()
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu", init_scale=2.0**8)
    for _ in range(5):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(helpers.scores(model, x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()


def functional_style_with_a_focal_loss():
    x, y = data()
    weights = {"w": 0.1 * torch.randn(8, 3), "b": torch.zeros(3)}
    weights = {name: p.requires_grad_() for name, p in weights.items()}

    def focal(scores):
        log_p = F.log_softmax(scores, 1).gather(1, y[:, None]).squeeze(1)
        return ((1 - log_p.exp()) ** 2 * -log_p).mean()

    for _ in range(5):
        loss = focal(x @ weights["w"] + weights["b"])
        grads = torch.autograd.grad(loss, list(weights.values()))
        weights = {name: (p - 0.5 * g).detach().requires_grad_()
                   for (name, p), g in zip(weights.items(), grads, strict=True)}  # fmt: skip
