"""Bugs of modes, cuts, models and data, once more in other words."""

from __future__ import annotations

import numpy as np
from doctor.bugs_again_loop import loop
from doctor.bugs_flow import fit
from doctor.bugs_models import Body
from doctor.common import Attention, data, mlp, regression, sgd

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, Subset, TensorDataset


def evaluated_while_training():
    model, (x, y) = mlp(8, 3, nn.Dropout(0.3)), data(64)

    def accuracy():
        right = 0
        with torch.no_grad():
            for a, b in DataLoader(TensorDataset(x, y), batch_size=16):
                scores = model(a)  # BUG: eval-forgotten
                right += (scores.argmax(dim=1) == b).sum().item()
        return right / 64

    for _ in range(2):
        loop(model, x, y)
        accuracy()


def validation_loss_in_training_mode():
    model, (x, y) = mlp(out=1), regression(64)
    model.insert(1, nn.BatchNorm1d(16))
    for _ in range(2):
        fit(model, lambda: F.mse_loss(model(x[:48]), y[:48]), lr=0.01)
        with torch.no_grad():
            F.mse_loss(model(x[48:]), y[48:]).item()  # BUG: eval-forgotten


def train_not_restored():
    model, (x, y) = mlp(8, 3, nn.BatchNorm1d(16)), data(64)
    optimizer = sgd(model)
    model.train()
    for _ in range(3):
        for a, b in DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True):
            optimizer.zero_grad()
            scores = model(a)  # BUG: train-forgotten
            F.cross_entropy(scores, b).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            (model(x).argmax(1) == y).float().mean().item()


def validation_loss_recorded():
    model, (x, y) = mlp(8, 3, nn.Dropout(0.3)), data(64)
    for _ in range(2):
        model.train()
        loop(model, x, y)
        model.eval()
        total = 0.0
        for a, b in DataLoader(TensorDataset(x, y), batch_size=16):
            out = model(a)  # BUG: no-grad-missing
            total += F.cross_entropy(out, b).item()


def history_in_a_dict():
    model, (x, y) = mlp(), data()
    optimizer, history = sgd(model), {"loss": []}
    for _ in range(15):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        history["loss"].append(loss)  # BUG: graph-kept


def mean_of_losses_kept():
    model, (x, y) = mlp(), data()
    optimizer, epoch_loss = sgd(model), 0
    for _ in range(15):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        epoch_loss = epoch_loss + loss / 15  # BUG: graph-kept


def state_kept_with_retain_graph():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(4, 8), nn.Linear(8, 1)

        def forward(self, x, h):
            y, h = self.rnn(x, h)  # BUG: state-not-detached
            return self.head(y), h

    model, h = Net(), torch.zeros(1, 2, 8)
    optimizer = sgd(model, 0.01)
    for _ in range(4):
        y, h = model(torch.randn(3, 2, 4), h)
        optimizer.zero_grad()
        y.pow(2).mean().backward(retain_graph=True)
        optimizer.step()


def detached_loss():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y).detach()  # BUG: graph-cut
        loss.requires_grad = True
        loss.backward()
        optimizer.step()


def loss_without_a_gradient():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(3):
        optimizer.zero_grad()
        scores = (model(x) > 0).float()  # BUG: graph-cut
        loss = (scores - F.one_hot(y, 3)).pow(2).mean()
        loss.backward()
        optimizer.step()


def tensor_of_a_tensor():
    import warnings

    model, (x, y) = Body(), data()
    optimizer = sgd(model)
    warnings.simplefilter("ignore")
    for _ in range(6):
        optimizer.zero_grad()
        h = torch.tensor(model.body(x).relu())  # BUG: graph-cut
        F.cross_entropy(model.head(h), y).backward()
        optimizer.step()


def features_as_lists():
    model, (x, y) = Body(), data()
    optimizer = sgd(model)
    for _ in range(6):
        optimizer.zero_grad()
        h = torch.tensor(model.body(x).relu().tolist())  # BUG: graph-cut
        F.cross_entropy(model.head(h), y).backward()
        optimizer.step()


def numpy_in_between():
    model, (x, y) = Body(), data()
    optimizer = sgd(model)
    for _ in range(6):
        optimizer.zero_grad()
        h = model.body(x).detach().numpy()  # BUG: graph-cut
        h = torch.from_numpy(np.maximum(h, 0))
        F.cross_entropy(model.head(h), y).backward()
        optimizer.step()


def input_scaled_through_data():
    w = torch.randn(4, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        h = w.exp()
        loss = (h * h).sum()
        h.data[0] = 0.0  # BUG: data-write
        loss.backward()
        optimizer.step()


def list_of_new_parameters():
    x, y = regression()
    parameters = [torch.zeros(8, 1, requires_grad=True), torch.zeros(1, requires_grad=True)]
    for _ in range(3):
        w, b = parameters
        ((x @ w + b - y) ** 2).mean().backward()
        parameters = [p - 0.01 * p.grad for p in parameters]  # BUG: leaf-replaced


def grad_of_a_cast():
    x, y = regression()
    w = torch.zeros(8, 1, requires_grad=True).to(torch.float64)
    ((x.double() @ w - y) ** 2).mean().backward()
    if w.grad is not None:  # BUG: nonleaf-grad
        w.data -= 0.1 * w.grad


def block(width):
    return nn.Sequential(nn.Linear(width, width), nn.ReLU())


def layers_by_comprehension():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 3)
            self.blocks = [block(8) for _ in range(3)]  # BUG: layers-in-list

        def forward(self, x):
            for part in self.blocks:
                x = part(x)
            return self.head(x)

    model, (x, y) = Net(), data()
    loop(model, x, y)


def weights_in_a_list():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            w = torch.randn(8, 8, requires_grad=True)
            self.ws = [w]  # BUG: parameter-plain-tensor
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            for w in self.ws:
                x = (x @ w).tanh()
            return self.head(x)

    model, (x, y) = Net(), data()
    loop(model, x, y)


def layer_called_where_it_is_made():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(8, 16)

        def forward(self, x):
            x = torch.relu(self.body(x))
            return nn.Linear(16, 3)(x)  # BUG: layer-made-in-forward

    model, (x, y) = Net(), data()
    loop(model, x, y)


def device_dropped():
    model, (x, y) = mlp(), data()
    device = torch.device("cpu")
    model.to(device)
    for a, _ in DataLoader(TensorDataset(x, y), batch_size=8):
        a.to(device)  # BUG: to-dropped
        model(a)


def double_dropped():
    x = torch.ones(3)
    x.double()  # BUG: to-dropped


def encoder_forward_directly():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = mlp(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.encoder.forward(x))  # BUG: forward-direct

    model, (x, y) = Net(), data()
    loop(model, x, y)


def killed_by_the_rate():
    model, (x, y) = mlp(out=1), regression()
    optimizer = sgd(model, 0.1)
    with torch.no_grad():
        model[0].weight.mul_(0.01)
        model[0].bias.copy_(torch.full((16,), -3.0))
    for _ in range(8):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()  # BUG: dead-units
        optimizer.step()


def saturated_by_the_inputs():
    class Net(Body):
        def forward(self, x):
            return self.head(torch.sigmoid(self.body(x)))  # BUG: saturated-units

    model, (x, y) = Net(), data()
    fit(model, lambda: F.cross_entropy(model(200 * x), y), 6)


def zeros_by_apply():
    def init(layer):
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.weight)  # BUG: symmetric-start
            nn.init.zeros_(layer.bias)

    model, (x, y) = mlp(), data()
    model.apply(init)
    loop(model, x, y)


def filled_through_data():
    model, (x, y) = mlp(), data()
    for p in model.parameters():
        p.data.fill_(0.5)  # BUG: symmetric-start
    loop(model, x, y)


def division_of_zero_by_zero():
    model, (x, y) = mlp(), data()
    x[:, 3] = 1.0

    def loss_of():
        scaled = (x - x.mean(0)) / x.std(0)  # BUG: nan-first
        return F.cross_entropy(model(scaled), y)

    fit(model, loss_of, 2)


def exp_overflows():
    model, (x, y) = mlp(), data()

    def loss_of():
        e = torch.exp(100 * model(x))  # BUG: nan-first
        p = e / e.sum(1, keepdim=True)
        return F.nll_loss(p.log(), y)

    fit(model, loss_of, 2)


def nan_in_the_targets():
    model, (x, y) = nn.Linear(8, 1), regression()
    y[2] = float("nan")
    fit(model, lambda: F.mse_loss(model(x), y), 2)  # BUG: nan-input


def recurrent_explosion():
    cell, head = nn.RNNCell(4, 16, nonlinearity="relu"), nn.Linear(16, 1)
    model = nn.ModuleList([cell, head])
    nn.init.normal_(cell.weight_hh, std=0.7)
    optimizer = sgd(model, 1e-20)
    for _ in range(5):
        h = torch.zeros(8, 16)
        for _ in range(12):
            h = cell(torch.randn(8, 4), h)
        optimizer.zero_grad()
        head(h).pow(2).mean().backward()
        optimizer.step()  # BUG: exploding


def sorted_slices():
    x, y = data(64, classes=4)
    y, order = y.sort()
    x, model = x[order], mlp(out=4)
    optimizer = sgd(model)
    for i in range(0, 64, 4):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[i : i + 4]), y[i : i + 4])  # BUG: unshuffled
        loss.backward()
        optimizer.step()


def seeded_alike():
    loader = DataLoader(  # BUG: same-augmentation
        TensorDataset(torch.randn(8, 2)), batch_size=2, num_workers=2,
        worker_init_fn=lambda i: np.random.seed(0),
    )  # fmt: skip
    for _ in loader:
        pass


def whole_set_for_training():
    x, y = data(40)
    whole = TensorDataset(x, y)
    held_out = Subset(whole, list(range(30, 40)))
    model = mlp()
    loader = DataLoader(whole, batch_size=8, shuffle=True)
    optimizer = sgd(model)
    for a, b in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for a, _ in DataLoader(held_out, batch_size=5):  # BUG: validation-in-training
            model(a).argmax(1)


def one_column_in_thousands():
    x, y = regression()
    x[:, 0] = 30_000 + 5_000 * x[:, 0]
    model = mlp(out=1)
    fit(model, lambda: F.mse_loss(model(x), y), 3, 1e-12)  # BUG: unnormalised


def attention_without_a_mask():
    text, model = torch.randint(0, 9, (2, 12)), Attention(9)
    fit(model, lambda: F.cross_entropy(model(text[:, :-1]).mT, text[:, 1:]), 2)


attention_without_a_mask.expected = ("mask-missing", "common.py", "BUG-IF-UNMASKED")


def outputs_kept():
    model, (x, y) = mlp(), data()
    optimizer, outputs = sgd(model), []
    for _ in range(15):
        optimizer.zero_grad()
        scores = model(x)
        F.cross_entropy(scores, y).backward()
        optimizer.step()
        outputs.append(scores)  # BUG: graph-kept


def words_by_size_hidden():
    ids = torch.tensor([[1, 2, 3, 0, 0], [4, 5, 1, 2, 0]])
    embed, layer = nn.Embedding(6, 8), nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1)
    model = nn.ModuleList([embed, encoder])

    def loss_of():
        mask = ids > 0
        return encoder(embed(ids), src_key_padding_mask=mask).pow(2).mean()  # BUG: mask-inverted

    fit(model, loss_of)


def overlap_judged_inside_the_loop():
    x, y = data(64)
    whole, model = TensorDataset(x, y), mlp()
    train = DataLoader(Subset(whole, range(50)), batch_size=10, shuffle=True)
    optimizer = sgd(model)
    for a, b in train:
        optimizer.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimizer.step()
    model.eval()
    held_out = DataLoader(Subset(whole, range(40, 64)), batch_size=12)
    for a, _ in held_out:  # BUG: validation-in-training
        with torch.no_grad():
            model(a).argmax(1)
