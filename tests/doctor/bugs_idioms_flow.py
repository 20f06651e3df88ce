"""Bugs of modes, scores, masks and cuts in many idioms.  See bugs_idioms_loop.py."""

from __future__ import annotations

import functools

import numpy as np
from doctor.bugs_idioms_loop import Learner, batches, blobs

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F


def fit(net, loss, steps=5, lr=0.05, kind=torch.optim.Adam):
    opt = kind(net.parameters(), lr=lr)
    for _ in range(steps):
        opt.zero_grad()
        loss().backward()
        opt.step()


def validation_of_a_segmenter():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)
    )
    x, y = torch.randn(6, 1, 8, 8), torch.randint(0, 2, (6, 8, 8))

    @torch.no_grad()
    def overlap(net):
        guess = net(x).argmax(1)  # BUG: eval-forgotten
        return ((guess == 1) & (y == 1)).sum().item() / max((y == 1).sum().item(), 1)

    for _ in range(3):
        fit(net, lambda: F.cross_entropy(net(x), y), 2)
        overlap(net)


def test_loss_with_dropout():
    net = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 1))
    x = torch.randn(30, 6)
    fit(net, lambda: F.mse_loss(net(x), x[:, :1]))
    with torch.inference_mode():
        error = F.mse_loss(net(x), x[:, :1])  # BUG: eval-forgotten
    print("", end=f"{error.item():.0f}"[:0])


def validation_that_switches_for_good():
    class Validated(Learner):
        def step(self, x, y):
            self.opt.zero_grad()
            loss = F.cross_entropy(self.net(x), y)  # BUG: train-forgotten
            loss.backward()
            self.opt.step()
            return loss.detach()

        def validate(self, x):
            self.net.eval()
            with torch.no_grad():
                return self.net(x).argmax(1)

    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    learner = Validated(net)
    for _ in range(3):
        learner.run(batches(), 1)
        learner.validate(blobs()[0])


def policy_asked_with_a_graph():
    policy = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    opt = torch.optim.Adam(policy.parameters())
    policy.train()
    for _ in range(4):
        states = torch.randn(12, 4)
        opt.zero_grad()
        F.cross_entropy(policy(states), (states[:, 0] > 0).long()).backward()
        opt.step()
        policy.eval()
        total = 0
        for s in torch.randn(3, 5, 4):
            scores = policy(s)  # BUG: no-grad-missing
            total += scores.argmax(1).sum().item()
        policy.train()


def meter_of_losses():
    class Meter:
        def __init__(self):
            self.total, self.count = 0.0, 0

        def update(self, value, n):
            self.total = self.total + value * n
            self.count += n

    net, meter = nn.Linear(6, 4), Meter()
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for x, y in batches(96):
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        meter.update(loss, len(x))  # BUG: graph-kept


def walker_with_a_memory():
    cell, out = nn.GRUCell(3, 8), nn.Linear(8, 3)
    opt = torch.optim.SGD([*cell.parameters(), *out.parameters()], lr=0.05)
    h = torch.zeros(4, 8)
    for _ in range(4):
        x = torch.randn(4, 3)
        h = cell(x, h)  # BUG: state-not-detached
        loss = F.mse_loss(out(h), x)
        opt.zero_grad()
        loss.backward(retain_graph=True)
        opt.step()


def probabilities_from_a_property():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4))

        def forward(self, x):
            return {"logits": self.body(x), "probs": self.body(x).softmax(dim=-1)}

    net, (x, y) = Net(), blobs()
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    fit(net, lambda: criterion(net(x)["probs"], y))  # BUG: softmax-twice


def pixels_softmaxed_twice():
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Softmax(dim=1))
    x, y = torch.randn(4, 3, 6, 6), torch.randint(0, 5, (4, 6, 6))
    loss = functools.partial(F.cross_entropy, ignore_index=255)
    fit(net, lambda: loss(net(x), y))  # BUG: softmax-twice


def likelihood_of_scores():
    net, (x, y) = nn.Linear(6, 4), blobs()
    nll = nn.NLLLoss(reduction="sum")
    fit(net, lambda: nll(net(x), y) / len(x))  # BUG: softmax-missing


def discriminator_with_two_sigmoids():
    d = nn.Sequential(nn.Linear(5, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1), nn.Sigmoid())
    labels, x = torch.cat([torch.ones(8, 1), torch.zeros(8, 1)]), torch.randn(16, 5)
    fit(d, lambda: F.binary_cross_entropy_with_logits(d(x), labels))  # BUG: sigmoid-twice


def reconstruction_without_a_sigmoid():
    net, x = (
        nn.Sequential(nn.Linear(9, 3), nn.ReLU(), nn.Linear(3, 9), nn.ReLU()),
        torch.rand(12, 9),
    )
    fit(net, lambda: F.binary_cross_entropy(net(x).clamp(0, 1), x))  # BUG: sigmoid-missing


def likelihood_of_probabilities():
    net, (x, y) = nn.Linear(6, 4), blobs()
    fit(net, lambda: F.nll_loss(torch.softmax(net(x), 1), y))  # BUG: log-missing


def divergence_from_a_teacher():
    teacher, student, (x, _) = nn.Linear(6, 4), nn.Linear(6, 4), blobs()
    q, kl = teacher(x).detach().softmax(1), nn.KLDivLoss(reduction="batchmean")
    fit(student, lambda: kl(student(x).softmax(1), q))  # BUG: log-missing


def log_probabilities_into_cross_entropy():
    net = nn.Sequential(nn.Linear(6, 4), nn.LogSoftmax(dim=1))
    x, y = blobs()
    fit(net, lambda: nn.CrossEntropyLoss()(net(x), y))  # BUG: log-twice


def policy_over_the_batch():
    policy, s = nn.Linear(4, 3), torch.randn(10, 4)
    action, reward = torch.randint(0, 3, (10,)), torch.randn(10)

    def loss():
        p = policy(s).softmax(0)
        picked = p.gather(1, action[:, None]).squeeze(1)  # BUG: softmax-axis
        return -(picked.log() * reward).mean()

    fit(policy, loss)


def temporal_difference_of_pairs():
    q, s = nn.Linear(4, 2), torch.randn(14, 4)
    a, r = torch.randint(0, 2, (14, 1)), torch.randn(14)

    def loss():
        with torch.no_grad():
            target = r + 0.9 * q(s).max(1).values
        td = q(s).gather(1, a) - target  # BUG: target-broadcast
        return td.pow(2).mean()

    fit(q, loss)


def regression_on_a_column():
    net, x = nn.Sequential(nn.Linear(3, 8), nn.ELU(), nn.Linear(8, 1)), torch.randn(25, 3)
    huber = nn.HuberLoss(delta=0.5)
    fit(net, lambda: huber(net(x), x.sum(1)))  # BUG: target-broadcast


def tags_with_classes_last():
    rnn, out = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 5)
    x, y = torch.randn(8, 5, 4), torch.randint(0, 5, (8, 5))
    net = nn.ModuleList([rnn, out])
    fit(net, lambda: F.cross_entropy(out(rnn(x)[0]), y))  # BUG: class-axis


def accuracy_per_batch():
    net, correct, count = nn.Linear(6, 4), 0, 0
    opt = torch.optim.SGD(net.parameters(), lr=0.5)
    for x, y in batches():
        scores = net(x)
        opt.zero_grad()
        F.cross_entropy(scores, y).backward()
        opt.step()
        correct += (scores.argmax(-1) == y).sum()
        count += 1
    accuracy = correct / count  # BUG: accuracy-range
    assert accuracy > 0


def sequence_first_by_view():
    rnn, head = nn.GRU(6, 5), nn.Linear(5, 2)
    x, y = torch.randn(7, 9, 6), torch.randint(0, 2, (7,))
    net = nn.ModuleList([rnn, head])
    fit(net, lambda: F.cross_entropy(head(rnn(x.view(9, 7, 6))[1][0]), y))  # BUG: view-mixes-axes


def future_kept_by_tril():
    emb, qkv, out = nn.Embedding(9, 8), nn.Linear(8, 24), nn.Linear(8, 9)
    ids = torch.randint(0, 9, (4, 7))
    keep = torch.tril(torch.ones(6, 6, dtype=torch.bool), -1)

    def loss():
        q, k, v = qkv(emb(ids[:, :-1])).chunk(3, 2)
        scores = torch.einsum("bqd,bkd->bqk", q, k).masked_fill(keep, -1e9)  # BUG: mask-inverted
        return F.cross_entropy(out(scores.softmax(2) @ v).flatten(0, 1), ids[:, 1:].flatten())

    fit(nn.ModuleList([emb, qkv, out]), loss)


def empty_sentences():
    emb, att = nn.Embedding(9, 8, padding_idx=0), nn.Linear(8, 1)
    ids = torch.randint(1, 9, (5, 6))
    ids[3] = 0

    def loss():
        h = emb(ids)
        scores = att(h).squeeze(-1).masked_fill(ids == 0, float("-inf"))
        w = F.softmax(scores, dim=1)  # BUG: mask-hides-all
        return (w.unsqueeze(-1) * h).sum(1).pow(2).mean()

    fit(nn.ModuleList([emb, att]), loss, 2)


def transformer_without_a_mask():
    emb, out = nn.Embedding(13, 16), nn.Linear(16, 13)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    text = torch.randint(0, 13, (6, 10))
    x, y = text[:, :-1], text[:, 1:]
    net = nn.ModuleList([emb, layer, out])
    fit(net, lambda: F.cross_entropy(out(layer(emb(x))).reshape(-1, 13), y.reshape(-1)))
    # the line is that of the layer's call


transformer_without_a_mask.expected = (
    "mask-missing", "bugs_idioms_flow.py", "out(layer(emb(x))).reshape(-1, 13)"
)  # fmt: skip


def reward_through_numpy():
    net, s = nn.Linear(4, 4), torch.randn(8, 4)
    head = nn.Linear(4, 1)

    def loss():
        scaled = torch.from_numpy(np.tanh(net(s).detach().numpy()))  # BUG: graph-cut
        return head(scaled).pow(2).mean()

    fit(nn.ModuleList([net, head]), loss)


def loss_rebuilt_from_items():
    net, (x, y) = nn.Linear(6, 4), blobs()
    pairs = list(zip(x.split(12), y.split(12), strict=True))

    def loss():
        parts = [F.cross_entropy(net(a), b).item() for a, b in pairs]  # BUG: graph-cut
        return torch.tensor(parts, requires_grad=True).mean()

    fit(net, loss)


def normalised_through_data():
    net, x = nn.Linear(5, 5), torch.randn(9, 5)

    def loss():
        h = net(x).exp()
        h.data.div_(h.data.sum(1, keepdim=True))  # BUG: data-write
        return -(h.log() * x).sum()

    fit(net, loss)


def descent_by_rebinding():
    weights = {"w": torch.randn(5, requires_grad=True), "b": torch.zeros(1, requires_grad=True)}
    x = torch.randn(20, 5)
    for _ in range(3):
        loss = (x @ weights["w"] + weights["b"] - x[:, 0]).pow(2).mean()
        loss.backward()
        for name in weights:
            weights[name] = weights[name] - 0.1 * weights[name].grad  # BUG: leaf-replaced


def gradient_of_a_reshaped_leaf():
    w = torch.randn(6, requires_grad=True).view(2, 3)
    for _ in range(2):
        (w**2).sum().backward()
        if w.grad is not None:  # BUG: nonleaf-grad
            break
        w = torch.randn(6, requires_grad=True).view(2, 3)
