"""Bugs in programs of other styles: trainers, closures, several optimizers.  See bugs_loop.py."""

from __future__ import annotations

import copy

from doctor import helpers
from doctor.common import data, mlp, regression, sgd

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.optim import lr_scheduler


class Trainer:
    """Holds the model, the optimizer and the rest; each step calls its methods in order."""

    def __init__(self, model, criterion, clear=True):
        self.model, self.criterion, self.clear = model, criterion, clear
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        self.history = []

    def training_step(self, batch):
        x, y = batch
        return self.criterion(self.model(x), y)

    def fit(self, batches):
        for batch in batches:
            if self.clear:
                self.optimizer.zero_grad()
            loss = self.training_step(batch)
            loss.backward()
            self.optimizer.step()
            self.history.append(loss.item())


def trainer_that_evaluates_as_it_trains():
    model, (x, y) = mlp(8, 3, nn.Dropout(0.5)), data()
    trainer = Trainer(model, nn.CrossEntropyLoss())
    for _ in range(3):
        trainer.fit([(x, y)] * 2)
        with torch.no_grad():
            found = model(x)  # BUG: eval-forgotten
            _ = found.argmax(1).eq(y).sum().item() / len(y)


def closure_that_does_not_clear():
    model, (x, y) = mlp(), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure():
        loss = F.cross_entropy(model(x), y)
        loss.backward()  # BUG: zero-grad-missing
        return loss

    for _ in range(4):
        optimizer.step(closure)


def two_optimizers_one_cleared():
    body, head, (x, y) = nn.Linear(8, 16), nn.Linear(16, 3), data()
    optimizers = [sgd(body), sgd(head)]
    for _ in range(4):
        optimizers[0].zero_grad()
        loss = F.cross_entropy(head(body(x).relu()), y)
        loss.backward()  # BUG: zero-grad-missing
        for optimizer in optimizers:
            optimizer.step()


def dictionary_of_losses():
    trunk = nn.Linear(8, 16)
    heads = nn.ModuleDict({"kind": nn.Linear(16, 3), "size": nn.Linear(16, 1)})
    (x, y), (_, size) = data(), regression()
    optimizer = torch.optim.Adam([*trunk.parameters(), *heads.parameters()])
    for _ in range(4):
        h = trunk(x).relu()
        losses = {
            "kind": F.cross_entropy(heads["kind"](h), y),
            "size": ((heads["size"](h) - size.squeeze(1)) ** 2).mean(),  # BUG: target-broadcast
        }
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()


def accumulation_with_a_remainder():
    model, (x, y) = mlp(), data(80)
    optimizer, every = sgd(model, 0.01), 4
    for _ in range(2):
        optimizer.zero_grad()
        for i in range(10):
            loss = nn.CrossEntropyLoss()(model(x[8 * i : 8 * i + 8]), y[8 * i : 8 * i + 8])
            loss.backward()  # BUG: accumulation-not-divided
            if (i + 1) % every == 0 or i == 9:
                optimizer.step()
                optimizer.zero_grad()


def early_stopping_that_stays_in_eval():
    model, (x, y) = mlp(8, 3, nn.BatchNorm1d(16)), data()
    optimizer, best, patience = sgd(model), float("inf"), 3
    for _ in range(6):
        optimizer.zero_grad()
        output = model(x)  # BUG: train-forgotten
        F.cross_entropy(output, y).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            value = F.cross_entropy(model(x), y).item()
        best, patience = (value, 3) if value < best else (best, patience - 1)
        if not patience:
            break


def optimizer_of_the_average():
    model, (x, y) = mlp(), data()
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(average.parameters())  # BUG: optimizer-other-parameters
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.mul_(0.9).add_(fast, alpha=0.1)


def warm_up_that_nobody_steps():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    rate = lambda i: min(1.0, (i + 1) / 4)  # noqa: E731
    warm_up = lr_scheduler.LambdaLR(optimizer, rate)  # BUG: scheduler-missing
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert warm_up is not None


def loss_of_ones_own_on_numbers():
    class Focal(nn.Module):
        def forward(self, scores, y):
            log_p = torch.log_softmax(scores, 1).gather(1, y[:, None]).squeeze(1)
            loss = ((1 - log_p.exp()) ** 2 * -log_p).mean()
            return torch.tensor(loss.item(), requires_grad=True)  # BUG: graph-cut

    model, (x, y) = mlp(), data()
    optimizer, criterion = sgd(model), Focal()
    for _ in range(4):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()


def probabilities_of_a_helper():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(4):
        optimizer.zero_grad()
        loss = F.cross_entropy(helpers.probabilities(model, x), y)  # BUG: softmax-twice
        loss.backward()
        optimizer.step()
