"""Bugs of the loop and of what flows, once more in other words."""

from __future__ import annotations

from doctor.bugs_flow import fit
from doctor.bugs_models import Body
from doctor.common import data, mlp, regression, sgd

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.optim import lr_scheduler
from tinygrad_edu.utils.data import DataLoader, TensorDataset


def loop(model, x, y, steps=6, lr=0.1):
    """An ordinary loop over batches."""
    optimizer = sgd(model, lr)
    for a, b in DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True):
        optimizer.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimizer.step()


def optimizer_of_a_copy():
    import copy

    model, (x, y) = mlp(), data()
    spare = copy.deepcopy(model)
    optimizer = torch.optim.Adam(spare.parameters())  # BUG: optimizer-other-parameters
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def clip_by_value_after_step():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(3):
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        nn.utils.clip_grad_value_(model.parameters(), 0.01)  # BUG: clip-after-step
        optimizer.zero_grad()


def accumulated_without_a_loader():
    model, (x, y) = mlp(), data(64)
    optimizer = sgd(model, 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        for i in range(0, 32, 8):
            loss = F.cross_entropy(model(x[i : i + 8]), y[i : i + 8])
            loss.backward()  # BUG: accumulation-not-divided
        optimizer.step()


def step_lr_in_the_inner_loop():
    model, (x, y) = mlp(), data(64)
    optimizer = sgd(model)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
    for _ in range(2):
        for a, b in DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            optimizer.step()
            scheduler.step()  # BUG: scheduler-per-batch


def schedule_at_the_beginning_of_the_epoch():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.9)
    for _ in range(2):
        scheduler.step()  # BUG: scheduler-before-optimizer
        for a, b in DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            optimizer.step()


def schedule_just_before_the_step():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.9)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        scheduler.step()  # BUG: scheduler-before-optimizer
        optimizer.step()


def deep_net_diverges():
    model, (x, y) = mlp(out=1), regression()
    optimizer = sgd(model, 20.0)
    for _ in range(8):
        optimizer.zero_grad()
        F.mse_loss(model(x), 5 * y).backward()  # BUG: diverging
        optimizer.step()


def softmax_in_forward():
    class Net(Body):
        def forward(self, x):
            return torch.softmax(self.head(self.body(x).relu()), dim=-1)

    model, (x, y) = Net(), data()
    fit(model, lambda: nn.CrossEntropyLoss()(model(x), y))  # BUG: softmax-twice


def softmax_detached_by_a_view():
    model, (x, y) = mlp(), data()
    fit(model, lambda: F.cross_entropy(F.softmax(model(x), 1).view(-1, 3), y))  # BUG: softmax-twice


def softmax_in_the_model_and_again():
    model, (x, y) = nn.Sequential(mlp(), nn.Softmax(1)), data()

    def loss_of():
        p = F.softmax(model(x), dim=1)  # BUG: softmax-twice
        return F.nll_loss(p.log(), y)

    fit(model, loss_of)


def sigmoid_in_forward():
    model, (x, y) = mlp(out=1), data(classes=2)
    loss = nn.BCEWithLogitsLoss()
    fit(model, lambda: loss(torch.sigmoid(model(x)).squeeze(), y.float()))  # BUG: sigmoid-twice


def divergence_of_probabilities():
    model, (x, _) = mlp(), data()
    aim = torch.full((32, 3), 1 / 3)
    kl = nn.KLDivLoss(reduction="batchmean")
    fit(model, lambda: kl(model(x).softmax(1), aim))  # BUG: log-missing


def log_of_log_softmax():
    model, (x, y) = mlp(), data()

    def loss_of():
        logp = torch.log(F.log_softmax(model(x), 1))  # BUG: log-twice
        return F.nll_loss(logp, y)

    fit(model, loss_of, 2)


def attention_over_queries():
    model, x = nn.Linear(8, 8), torch.randn(2, 5, 8)

    def loss_of():
        q = model(x)
        weights = (q @ q.transpose(1, 2)).softmax(dim=1)
        return (weights @ q).pow(2).mean()  # BUG: softmax-axis

    fit(model, loss_of)


def absolute_errors_broadcast():
    model, (x, y) = nn.Linear(8, 1), regression()
    y = y.flatten()

    def loss_of():
        error = model(x) - y  # BUG: target-broadcast
        return error.abs().mean()

    fit(model, loss_of, lr=0.01)


def transformer_with_classes_last():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(7, 8), nn.Linear(8, 7)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, ids):
            return self.head(self.layer(self.embed(ids)))

    ids, model = torch.randint(0, 7, (3, 7)), Net()
    fit(model, lambda: F.cross_entropy(model(ids), ids))  # BUG: class-axis


def accuracy_by_batches():
    model, (x, y) = mlp(), data(64)
    fit(model, lambda: F.cross_entropy(model(x), y), 10)
    model.eval()
    right, batches = torch.tensor(0), 0
    with torch.no_grad():
        for a, b in DataLoader(TensorDataset(x, y), batch_size=16):
            right = right + (model(a).argmax(1) == b).sum()
            batches += 1
        return (right / batches).item()  # BUG: accuracy-range


def channels_by_view():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
    images, y = torch.rand(4, 8, 8, 3), torch.randint(0, 2, (4,))

    def loss_of():
        x = images.reshape(4, 3, 8, 8)  # BUG: view-mixes-axes
        return F.cross_entropy(model(x), y)

    fit(model, loss_of)


def heads_by_view():
    model, x = nn.Linear(12, 12), torch.randn(2, 5, 12)

    def loss_of():
        q = model(x).view(2, 3, 5, 4)  # BUG: view-mixes-axes
        return F.scaled_dot_product_attention(q, q, q).pow(2).mean()

    fit(model, loss_of)


def causal_mask_for_the_other_convention():
    model, x = nn.Linear(8, 8), torch.randn(2, 5, 8)
    mask = torch.triu(torch.ones(5, 5), diagonal=1).bool()

    def loss_of():
        q = model(x)
        y = F.scaled_dot_product_attention(q, q, q, attn_mask=mask)  # BUG: mask-inverted
        return y[:, :-1].pow(2).mean()

    fit(model, loss_of, 2)


def past_filled_instead_of_future():
    model, x = nn.Linear(8, 8), torch.randn(2, 5, 8)
    mask = torch.tril(torch.ones(5, 5))

    def loss_of():
        q = model(x)
        scores = q @ q.transpose(1, 2)
        scores = scores.masked_fill(mask == 1, -1e9)  # BUG: mask-inverted
        return (scores.softmax(-1) @ q).pow(2).mean()

    fit(model, loss_of, 2)


def words_filled_instead_of_padding():
    ids = torch.tensor([[1, 2, 3, 0, 0], [4, 5, 1, 2, 0]])
    model = nn.Embedding(6, 8)

    def loss_of():
        h = model(ids)
        scores = h @ h.transpose(1, 2)
        keep = (ids != 0)[:, None, :]
        scores = scores.masked_fill(keep, float("-inf"))  # BUG: mask-inverted
        return (scores.softmax(-1) @ h).pow(2).mean()

    fit(model, loss_of, 2)


def a_row_of_padding():
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    x, hidden = torch.randn(2, 4, 8), torch.zeros(2, 4).bool()
    hidden[1] = True
    fit(model, lambda: model(x, x, x, key_padding_mask=hidden)[0].mean(), 2)  # BUG: mask-hides-all


def causal_flag_forgotten():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 8), nn.Linear(8, 9)

        def forward(self, ids):
            h = self.embed(ids)
            return self.head(F.scaled_dot_product_attention(h, h, h))  # BUG: mask-missing

    text, model = torch.randint(0, 9, (4, 9)), Net()
    fit(model, lambda: F.cross_entropy(model(text[:, :-1]).mT, text[:, 1:]), 3)


def encoder_for_a_language_model():
    embed, head = nn.Embedding(9, 8), nn.Linear(8, 9)
    layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    text, model = torch.randint(0, 9, (4, 9)), nn.ModuleList([embed, layer, head])

    def loss_of():
        h = layer(embed(text[:, :-1]))  # BUG: mask-missing
        return F.cross_entropy(head(h).reshape(-1, 9), text[:, 1:].reshape(-1))

    fit(model, loss_of, 3)
