"""Bugs of models and data in many idioms.  See bugs_idioms_loop.py."""

from __future__ import annotations

import numpy as np
from doctor.bugs_idioms_flow import fit
from doctor.bugs_idioms_loop import Learner, batches, blobs

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, Dataset, Subset, TensorDataset


def experts_in_a_list():
    class Mixture(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Linear(6, 3)
            self.experts = [nn.Linear(6, 4) for _ in range(3)]  # BUG: layers-in-list

        def forward(self, x):
            g = self.gate(x).softmax(-1)
            return torch.einsum("be,ebo->bo", g, torch.stack([e(x) for e in self.experts]))

    net, (x, y) = Mixture(), blobs()
    fit(net, lambda: F.cross_entropy(net(x), y))


def heads_in_a_dict_of_tuples():
    class Tasks(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, heads = nn.Linear(6, 8), {}
            for name in ("a", "b"):
                heads[name] = (nn.Linear(8, 4), nn.Dropout(0.1))
            self.heads = heads  # BUG: layers-in-list

        def forward(self, x):
            h = F.relu(self.trunk(x))
            return {name: drop(layer(h)) for name, (layer, drop) in self.heads.items()}

    net, (x, y) = Tasks(), blobs()
    fit(net, lambda: sum(F.cross_entropy(z, y) for z in net(x).values()))


def projection_made_when_needed():
    class Residual(nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.f, self.b = nn.Linear(a, b), b

        def forward(self, x):
            skip = x
            if x.shape[-1] != self.b:
                skip = nn.Linear(x.shape[-1], self.b)(x)  # BUG: layer-made-in-forward
            return skip + self.f(x).relu()

    net, (x, y) = nn.Sequential(Residual(6, 10), Residual(10, 4)), blobs()
    fit(net, lambda: F.cross_entropy(net(x), y))


def temperature_as_a_tensor():
    class Contrast(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(6, 5)
            self.scale = torch.ones([], requires_grad=True)  # BUG: parameter-plain-tensor

        def forward(self, x):
            z = F.normalize(self.embed(x), dim=-1)
            return self.scale.exp() * z @ z.T

    net, x = Contrast(), torch.randn(10, 6)
    fit(net, lambda: F.cross_entropy(net(x), torch.arange(10)))


def half_dropped_in_a_loader():
    net = nn.Linear(6, 4)

    def collate(rows):
        x, y = zip(*rows, strict=True)
        x = torch.stack(x).double()
        x.float()  # BUG: to-dropped
        return x.to(torch.float32), torch.stack(y)

    for x, y in DataLoader(TensorDataset(*blobs()), batch_size=12, collate_fn=collate):
        F.cross_entropy(net(x), y).backward()


def module_forward_with_a_hook():
    net, (x, y) = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), blobs()
    seen = []
    net.register_forward_hook(lambda m, a, out: seen.append(out.detach().mean()))
    fit(net, lambda: F.cross_entropy(net.forward(x), y))  # BUG: forward-direct


def biases_that_kill():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 20), nn.Linear(20, 4)
            nn.init.constant_(self.a.bias, -30.0)

        def forward(self, x):
            return self.b(F.relu(self.a(x)))  # BUG: dead-units

    net, (x, y) = Net(), blobs()
    fit(net, lambda: F.cross_entropy(net(x), y), 8)


def gates_that_saturate():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 4)
            nn.init.uniform_(self.a.weight, -40, 40)

        def forward(self, x):
            return self.b(torch.sigmoid(self.a(x)))  # BUG: saturated-units

    net, (x, y) = Gated(), blobs()
    fit(net, lambda: F.cross_entropy(net(x), y), 7, 1e-3)


def ones_everywhere():
    net, (x, y) = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)), blobs()
    for p in net.parameters():
        nn.init.ones_(p)  # BUG: symmetric-start
    fit(net, lambda: F.cross_entropy(net(x), y))


def cosine_of_a_zero_vector():
    net, x = nn.Linear(4, 4, bias=False), torch.randn(8, 4)
    x[2] = 0

    def loss():
        z = net(x)
        z = z / z.norm(dim=1, keepdim=True)  # BUG: nan-first
        return -(z * x).sum(1).mean()

    fit(net, loss, 2)


def entropy_of_hard_choices():
    net, x = nn.Linear(4, 3), 500 * torch.randn(8, 4)

    def loss():
        p = net(x).softmax(1)
        return -(p * p.log()).sum(1).mean()  # BUG: nan-first

    fit(net, loss, 2)


def table_with_gaps():
    rows = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
    rows[5, 2] = np.nan
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    x = torch.from_numpy(rows)
    fit(net, lambda: net(x).pow(2).mean())  # BUG: nan-input


def very_deep_sigmoids():
    layers = [layer for _ in range(10) for layer in (nn.Linear(8, 8), nn.Sigmoid())]
    net, x = nn.Sequential(*layers, nn.Linear(8, 1)), torch.randn(16, 8)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(7):
        opt.zero_grad()
        F.mse_loss(net(x), x[:, :1]).backward()
        opt.step()  # BUG: vanishing


def very_deep_and_wide():
    net = nn.Sequential(*[nn.Linear(16, 16) for _ in range(8)])
    for p in net.parameters():
        nn.init.normal_(p, std=4.0)
    x = torch.randn(16, 16)
    opt = torch.optim.SGD(net.parameters(), lr=1e-30)
    for _ in range(7):
        opt.zero_grad()
        net(x).square().mean().backward()
        opt.step()  # BUG: exploding


class Folders(Dataset):
    """Samples class by class, as folders of images are read."""

    def __init__(self, classes=3, each=14):
        self.items = [(c, torch.randn(6) + c) for c in range(classes) for _ in range(each)]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        label, x = self.items[i]
        return x, label


def folders_in_order():
    net = nn.Linear(6, 3)
    loader = DataLoader(Folders(), 6)  # BUG: unshuffled
    opt = torch.optim.Adam(net.parameters())
    for _ in range(2):
        for x, y in loader:
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()


class Noisy(Folders):
    """Augments with a generator of its own."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.RandomState(0)

    def __getitem__(self, i):
        x, label = super().__getitem__(i)
        return x + float(self.rng.rand()), label


def augmentation_by_a_copied_generator():
    loader = DataLoader(Noisy(), 8, shuffle=True, num_workers=2)  # BUG: same-augmentation
    net = nn.Linear(6, 3)
    opt = torch.optim.Adam(net.parameters())
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(net(x.float()), y).backward()
        opt.step()


def subsets_that_overlap():
    data = TensorDataset(*blobs(40))
    train = DataLoader(Subset(data, list(range(32))), 8, shuffle=True)
    valid = DataLoader(Subset(data, list(range(24, 40))), 8)
    net = nn.Linear(6, 4)
    learner = type("L", (Learner,), {"step": _plain})(net)
    for _ in range(2):
        learner.run(train, 1)
        net.eval()
        with torch.no_grad():
            for x, _ in valid:  # BUG: validation-in-training
                net(x).argmax(1)
        net.train()


def _plain(self, x, y):
    self.opt.zero_grad()
    loss = F.cross_entropy(self.net(x), y)
    loss.backward()
    self.opt.step()
    return loss.detach()


def prices_in_thousands():
    net, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)), 5000 * torch.rand(20, 3)
    fit(net, lambda: F.l1_loss(net(x), x[:, :1] / 1000))  # BUG: unnormalised


def bytes_of_images():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    x = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8)
    y = torch.arange(8) % 2
    fit(net, lambda: F.cross_entropy(net(x.float()), y))  # BUG: unnormalised


def learner_of_a_list():
    class Lists(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.out = nn.Linear(6, 8), nn.Linear(8, 4)
            self.hidden = []  # BUG: layers-in-list
            for _ in range(2):
                self.hidden.append(nn.Sequential(nn.Linear(8, 8), nn.ReLU()))

        def forward(self, x):
            x = self.inp(x)
            for layer in self.hidden:
                x = layer(x)
            return self.out(x)

    type("L", (Learner,), {"step": _plain})(Lists()).run(batches())
