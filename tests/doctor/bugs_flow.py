"""Bugs in what flows from the model to the loss, and of modes.  See bugs_loop.py."""

from __future__ import annotations

from doctor.common import Attention, data, mlp, regression, sgd

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F


def fit(model, loss_of, steps=4, lr=0.1):
    optimizer = sgd(model, lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()


def softmax_in_the_model():
    model, (x, y) = nn.Sequential(mlp(), nn.Softmax(dim=1)), data()
    criterion = nn.CrossEntropyLoss()
    optimizer = sgd(model)
    for _ in range(3):
        optimizer.zero_grad()
        loss = criterion(model(x), y)  # BUG: softmax-twice
        loss.backward()
        optimizer.step()


def softmax_by_hand():
    model, (x, y) = mlp(), data()

    def loss_of():
        e = model(x).exp()
        return F.cross_entropy(e / e.sum(1, keepdim=True), y)  # BUG: softmax-twice

    fit(model, loss_of)


def softmax_missing():
    model, (x, y) = mlp(), data()
    fit(model, lambda: nn.NLLLoss()(model(x), y))  # BUG: softmax-missing


def sigmoid_twice():
    model, (x, y) = nn.Sequential(mlp(out=1), nn.Sigmoid()), data(classes=2)
    y = y.float().unsqueeze(1)
    fit(model, lambda: F.binary_cross_entropy_with_logits(model(x), y))  # BUG: sigmoid-twice


def sigmoid_missing():
    model, (x, y) = mlp(out=1), data(classes=2)
    y = y.float().unsqueeze(1)
    fit(model, lambda: nn.BCELoss()(model(x), y))  # BUG: sigmoid-missing


def sigmoid_missing_clamped():
    model, (x, y) = mlp(out=1), data(classes=2)
    y = y.float()
    fit(model, lambda: nn.BCELoss()(model(x).squeeze(1).clamp(0, 1), y))  # BUG: sigmoid-missing


def log_missing():
    model, (x, y) = mlp(), data()
    fit(model, lambda: F.nll_loss(model(x).softmax(1), y))  # BUG: log-missing


def log_twice():
    model, (x, y) = nn.Sequential(mlp(), nn.LogSoftmax(1)), data()
    fit(model, lambda: F.cross_entropy(model(x), y))  # BUG: log-twice


def softmax_over_the_batch():
    model, (x, y) = mlp(), data()
    fit(model, lambda: F.nll_loss(F.log_softmax(model(x), dim=0), y))  # BUG: softmax-axis


def softmax_over_one_column():
    model, (x, y) = mlp(out=1), data(classes=2)
    y = y.float().unsqueeze(1)

    def loss_of():
        p = model(x).softmax(1)  # BUG: softmax-axis
        return F.binary_cross_entropy(p, y)

    fit(model, loss_of)


def target_broadcast_by_hand():
    model, (x, y) = mlp(out=1), regression()
    y = y.squeeze(1)

    def loss_of():
        return ((model(x) - y) ** 2).mean()  # BUG: target-broadcast

    fit(model, loss_of, lr=0.01)


def target_broadcast_mse():
    model, (x, y) = mlp(out=1), regression()
    y = y.squeeze(1)
    fit(model, lambda: F.mse_loss(model(x), y), lr=0.01)  # BUG: target-broadcast


def classes_last():
    ids = torch.randint(0, 6, (4, 6))
    model = nn.Sequential(nn.Embedding(6, 8), nn.Linear(8, 6))
    fit(model, lambda: F.cross_entropy(model(ids), ids))  # BUG: class-axis


def accuracy_of_pairs():
    model, (x, y) = mlp(out=1), data(classes=2)
    fit(model, lambda: F.mse_loss(model(x).squeeze(1), y.float()))
    model.eval()
    with torch.no_grad():
        right = (model(x).round() == y).sum() / len(y)  # BUG: accuracy-range
        return right.item()


def view_for_transpose():
    model = nn.Linear(8, 3)
    x, y = torch.randn(5, 7, 8), torch.randint(0, 3, (7, 5))

    def loss_of():
        scores = model(x.view(7, 5, 8))  # BUG: view-mixes-axes
        return F.cross_entropy(scores.reshape(-1, 3), y.reshape(-1))

    fit(model, loss_of)


def heads_not_transposed_back():
    model, x = nn.Linear(12, 12), torch.randn(2, 5, 12)

    def loss_of():
        q = model(x).view(2, 5, 3, 4).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, q, q)
        return (y.reshape(2, 5, 12) ** 2).mean()  # BUG: view-mixes-axes

    fit(model, loss_of)


def mask_inverted():
    model, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(2, 5, 8)
    mask = torch.ones(5, 5).tril().bool()
    fit(model, lambda: model(x, x, x, attn_mask=mask)[0].pow(2).mean())  # BUG: mask-inverted


def padding_mask_inverted():
    ids = torch.tensor([[1, 2, 3, 0, 0], [4, 5, 1, 2, 0]])
    embed, layer = nn.Embedding(6, 8), nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    model = nn.ModuleList([embed, layer])

    def loss_of():
        return layer(embed(ids), src_key_padding_mask=ids != 0).mean()  # BUG: mask-inverted

    fit(model, loss_of)


def mask_hides_all():
    model, x = nn.Linear(8, 8), torch.randn(2, 5, 8)
    mask = torch.zeros(2, 1, 5).bool()
    mask[1] = True

    def loss_of():
        q = model(x)
        scores = (q @ q.transpose(1, 2)).masked_fill(mask, float("-inf"))
        return (scores.softmax(-1) @ q).pow(2).mean()  # BUG: mask-hides-all

    fit(model, loss_of, 2)


def mask_missing():
    text = torch.randint(0, 9, (4, 9))
    model = Attention(9)
    inputs, targets = text[:, :-1], text[:, 1:]
    fit(model, lambda: F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()), 3)


mask_missing.expected = ("mask-missing", "common.py", "BUG-IF-UNMASKED")


def eval_forgotten():
    model, (x, y) = mlp(8, 3, nn.Dropout(0.5)), data()
    fit(model, lambda: F.cross_entropy(model(x), y))
    with torch.no_grad():
        right = (model(x[:16]).argmax(1) == y[:16]).float().mean()  # BUG: eval-forgotten
        return right.item()


def eval_forgotten_batch_norm():
    model, (x, y) = mlp(8, 3, nn.BatchNorm1d(16)), data()
    for _ in range(2):
        fit(model, lambda: F.cross_entropy(model(x), y))
        total = 0.0
        with torch.inference_mode():
            for i in range(0, 32, 8):
                scores = model(x[i : i + 8])  # BUG: eval-forgotten
                total += F.cross_entropy(scores, y[i : i + 8]).item()


def train_forgotten():
    model, (x, y) = mlp(8, 3, nn.Dropout(0.5)), data()
    for _ in range(3):
        fit(model, lambda: F.cross_entropy(model(x), y))  # BUG: train-forgotten
        model.eval()
        with torch.no_grad():
            model(x).argmax(1)


def no_grad_missing():
    model, (x, y) = mlp(8, 3, nn.Dropout(0.5)), data()
    for _ in range(2):
        model.train()
        fit(model, lambda: F.cross_entropy(model(x), y))
        model.eval()
        right = 0
        for i in range(0, 32, 8):
            scores = model(x[i : i + 8])  # BUG: no-grad-missing
            right += (scores.argmax(1) == y[i : i + 8]).sum().item()


def losses_kept():
    model, (x, y) = mlp(), data()
    optimizer, losses = sgd(model), []
    for _ in range(16):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss)  # BUG: graph-kept


def total_kept():
    model, (x, y) = mlp(), data()
    optimizer, total = sgd(model), 0.0
    for _ in range(16):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss  # BUG: graph-kept


def state_not_detached():
    cell, head = nn.RNNCell(4, 8), nn.Linear(8, 1)
    optimizer = sgd(nn.ModuleList([cell, head]))
    h = torch.zeros(2, 8)
    for _ in range(4):
        h = cell(torch.randn(2, 4), h)  # BUG: state-not-detached
        loss = head(h).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
