"""Bugs that cut gradients, of models, and of data.  See bugs_loop.py."""

from __future__ import annotations

from doctor.bugs_flow import fit
from doctor.common import data, mlp, regression, sgd

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, Dataset, Subset, TensorDataset


class Body(nn.Module):
    """Two layers; a subclass says how the features reach the second."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)


def detached_in_forward():
    class Net(Body):
        def forward(self, x):
            h = self.body(x).relu().detach()  # BUG: graph-cut
            return self.head(h)

    model, (x, y) = Net(), data()
    fit(model, lambda: F.cross_entropy(model(x), y), 6)


def through_numpy():
    class Net(Body):
        def forward(self, x):
            h = torch.from_numpy(self.body(x).relu().detach().numpy())  # BUG: graph-cut
            return self.head(h)

    model, (x, y) = Net(), data()
    fit(model, lambda: F.cross_entropy(model(x), y), 6)


def no_grad_around_the_body():
    class Net(Body):
        def forward(self, x):
            with torch.no_grad():
                h = self.body(x).relu()  # BUG: graph-cut
            return self.head(h)

    model, (x, y) = Net(), data()
    fit(model, lambda: F.cross_entropy(model(x), y), 6)


def loss_made_anew():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(4):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss = torch.tensor(loss.item(), requires_grad=True)  # BUG: graph-cut
        loss.backward()
        optimizer.step()


def loss_of_choices():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(4):
        optimizer.zero_grad()
        guess = model(x).argmax(1)  # BUG: graph-cut
        loss = (guess.float() - y.float()).pow(2).mean()
        loss.requires_grad_()
        loss.backward()
        optimizer.step()


def data_of_the_scores():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(4):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).data, y)  # BUG: graph-cut
        loss.backward()
        optimizer.step()


def written_behind_the_graph():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(3):
        optimizer.zero_grad()
        h = model[0](x).sigmoid()
        loss = F.cross_entropy(model[2](h), y)
        h.data.mul_(2)  # BUG: data-write
        loss.backward()
        optimizer.step()


def leaf_replaced():
    x, y = regression()
    w = torch.zeros(8, 1, requires_grad=True)
    for _ in range(4):
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()
        w = w - 0.01 * w.grad  # BUG: leaf-replaced


def leaf_replaced_in_no_grad():
    x, y = regression()
    w = torch.zeros(8, 1, requires_grad=True)
    for _ in range(4):
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w = w - 0.01 * w.grad  # BUG: leaf-replaced


def parameters_not_written():
    model, (x, y) = mlp(), data()
    for _ in range(4):
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            for p in model.parameters():
                p = p - 0.1 * p.grad  # BUG: leaf-replaced


def grad_of_a_result():
    x, y = regression()
    w = torch.randn(8, 1, requires_grad=True) * 0.1
    loss = ((x @ w - y) ** 2).mean()
    loss.backward()
    return w.grad  # BUG: nonleaf-grad


def layers_in_a_list():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(8, 8), nn.Linear(8, 8)]  # BUG: layers-in-list
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            for layer in self.layers:
                x = layer(x).relu()
            return self.head(x)

    model, (x, y) = Net(), data()
    fit(model, lambda: F.cross_entropy(model(x), y))


def layers_in_a_dict():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = {}  # BUG: layers-in-list
            self.parts["a"] = nn.Linear(8, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.parts["a"](x).relu())

    model, (x, y) = Net(), data()
    fit(model, lambda: F.cross_entropy(model(x), y))


def layer_made_in_forward():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(8, 16)

        def forward(self, x):
            head = nn.Linear(16, 3)  # BUG: layer-made-in-forward
            return head(self.body(x).relu())

    model, (x, y) = Net(), data()
    fit(model, lambda: F.cross_entropy(model(x), y))


def weight_is_a_plain_tensor():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.randn(8, 8, requires_grad=True)  # BUG: parameter-plain-tensor
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head((x @ self.w).relu())

    model, (x, y) = Net(), data()
    fit(model, lambda: F.cross_entropy(model(x), y))


def weight_is_a_scaled_parameter():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(8, 8)) * 0.1  # BUG: parameter-plain-tensor
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head((x @ self.w).relu())

    model, (x, y) = Net(), data()
    optimizer = sgd(model)
    for _ in range(1):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def to_dropped():
    model, (x, y) = mlp().double(), data()
    x.to(torch.float64)  # BUG: to-dropped
    fit(model, lambda: F.cross_entropy(model(x.double()), y))


def forward_called_directly():
    model, (x, y) = mlp(), data()
    fit(model, lambda: F.cross_entropy(model.forward(x), y))  # BUG: forward-direct


def dead_units():
    model, (x, y) = mlp(), data()
    with torch.no_grad():
        model[0].bias.fill_(-50.0)
    optimizer = sgd(model)
    for _ in range(8):
        optimizer.zero_grad()
        scores = model(x)  # BUG: dead-units
        F.cross_entropy(scores, y).backward()
        optimizer.step()


def saturated_units():
    model, (x, y) = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)), data()
    nn.init.normal_(model[0].weight, std=50.0)
    optimizer = sgd(model)
    for _ in range(8):
        optimizer.zero_grad()
        scores = model(x)  # BUG: saturated-units
        F.cross_entropy(scores, y).backward()
        optimizer.step()


def all_weights_equal():
    model, (x, y) = mlp(), data()
    for p in model.parameters():
        nn.init.constant_(p, 0.1)  # BUG: symmetric-start
    fit(model, lambda: F.cross_entropy(model(x), y))


def log_of_a_negative():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(3):
        optimizer.zero_grad()
        h = torch.log(model(x))  # BUG: nan-first
        F.cross_entropy(h, y).backward()
        optimizer.step()


def root_of_zero():
    x, y = regression()
    w = torch.zeros(8, 1, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        norm = (w * w).sum().sqrt()  # BUG: nan-first
        (((x @ w - y) ** 2).mean() + norm).backward()
        optimizer.step()


def nan_in_the_data():
    model, (x, y) = mlp(), data()
    x[3, 2] = float("nan")
    optimizer = sgd(model)
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)  # BUG: nan-input
        loss.backward()
        optimizer.step()


def deep_and_vanishing():
    layers = [part for _ in range(14) for part in (nn.Linear(16, 16), nn.Sigmoid())]
    model, (x, y) = nn.Sequential(nn.Linear(8, 16), *layers, nn.Linear(16, 3)), data()
    optimizer = sgd(model)
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()  # BUG: vanishing


def deep_and_exploding():
    layers = [part for _ in range(10) for part in (nn.Linear(16, 16), nn.ReLU())]
    model, (x, y) = nn.Sequential(nn.Linear(8, 16), *layers, nn.Linear(16, 3)), data()
    for p in model.parameters():
        if p.ndim == 2:
            nn.init.normal_(p, std=3.0)
    optimizer = sgd(model, 1e-12)
    for _ in range(6):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()  # BUG: exploding


def sorted_and_unshuffled():
    x, y = data(64, classes=4)
    y, order = y.sort()
    loader = DataLoader(TensorDataset(x[order], y), batch_size=4)  # BUG: unshuffled
    model = mlp(out=4)
    optimizer = sgd(model)
    for a, b in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimizer.step()


def one_seed_for_all_workers():
    class Noisy(Dataset):
        def __init__(self):
            import numpy as np

            self.x, self.rng = torch.randn(16, 8), np.random.default_rng(0)

        def __len__(self):
            return 16

        def __getitem__(self, i):
            return self.x[i] + self.rng.normal()

    loader = DataLoader(Noisy(), batch_size=4, num_workers=2)  # BUG: same-augmentation
    for _ in loader:
        pass


def validation_rows_in_training():
    x, y = data(40)
    whole = TensorDataset(x, y)
    train = DataLoader(Subset(whole, range(32)), batch_size=8, shuffle=True)
    held_out = DataLoader(Subset(whole, range(24, 40)), batch_size=8)
    model = mlp()
    optimizer = sgd(model)
    for a, b in train:
        optimizer.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for a, _ in held_out:  # BUG: validation-in-training
            model(a).argmax(1)


def pixels_not_scaled():
    x, y = torch.randint(0, 256, (32, 64)).float(), torch.randint(0, 3, (32,))
    model = mlp(64)
    optimizer = sgd(model, 1e-5)
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)  # BUG: unnormalised
        loss.backward()
        optimizer.step()
