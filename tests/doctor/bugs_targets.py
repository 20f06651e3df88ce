"""Bugs of targets, of padding and of clipping.  See bugs_loop.py."""

from __future__ import annotations

from doctor.common import Attention, data, mlp, sgd

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F


def one_hot_numbers():
    model, (x, y) = mlp(), data()
    F.cross_entropy(model(x), F.one_hot(y, 3))  # BUG: target-one-hot


def one_hot_floats():
    model, (x, y) = mlp(), data()
    optimizer, rows = sgd(model), torch.eye(3)[y]
    for _ in range(3):
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(model(x), rows).backward()  # BUG: target-one-hot
        optimizer.step()


def labels_from_one():
    model, (x, y) = mlp(), data()
    F.cross_entropy(model(x), y + 1)  # BUG: target-shifted


def labels_of_images_from_one():
    model = nn.Conv2d(3, 4, 3, padding=1)
    y = torch.randint(1, 5, (8, 6, 6))
    F.nll_loss(F.log_softmax(model(torch.randn(8, 3, 6, 6)), 1), y)  # BUG: target-shifted


def words_are_their_own_labels():
    model, ids = Attention(11), torch.randint(0, 11, (4, 8))
    optimizer = sgd(model)
    for _ in range(3):
        optimizer.zero_grad()
        scores = model(ids, causal=True)
        F.cross_entropy(scores.flatten(0, 1), ids.flatten()).backward()  # BUG: target-shifted
        optimizer.step()


def padding_in_the_mean():
    embed, head = nn.Embedding(20, 8), nn.Linear(8, 2)
    optimizer = torch.optim.Adam([*embed.parameters(), *head.parameters()])
    ids = torch.randint(1, 20, (16, 6)) * (torch.arange(6) < torch.randint(2, 7, (16, 1)))
    lengths = (ids != 0).sum(1, keepdim=True)
    for _ in range(3):
        h = embed(ids).sum(1) / lengths  # BUG: padding-trained
        optimizer.zero_grad()
        F.cross_entropy(head(h), ids[:, 0] % 2).backward()
        optimizer.step()


def padding_in_a_recurrent_net():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(30, 8)
            self.rnn = nn.GRU(8, 6, batch_first=True, bidirectional=True)
            self.out = nn.Linear(12, 30)

        def forward(self, ids):
            h, _ = self.rnn(self.embed(ids))  # BUG: padding-trained
            return self.out(h)

    model, criterion = Tagger(), nn.CrossEntropyLoss(ignore_index=0)
    optimizer = sgd(model)
    ids = torch.randint(1, 30, (8, 7))
    ids[::2, 4:] = 0
    for _ in range(2):
        optimizer.zero_grad()
        criterion(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:]).backward()
        optimizer.step()


def clip_far_above_the_norm():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model, 0.01)
    for _ in range(18):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1000.0)  # BUG: clip-never
        optimizer.step()


def clip_far_below_the_norm():
    model, (x, y) = mlp(), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(18):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1e-3)  # BUG: clip-always
        optimizer.step()
