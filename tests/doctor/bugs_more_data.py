"""Bugs of numbers that are not finite, and of data, in other styles."""

from __future__ import annotations

import random

import numpy as np
from doctor.gpt import fit, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn, optim
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, Dataset, Subset, TensorDataset


def nan_first_a():
    m = net()
    x, y = points()

    def f():
        p = F.softmax(m(x) * 1e4, 1)
        lp = torch.log(p)  # BUG: nan-first
        return -(F.one_hot(y, 3) * lp).sum(1).mean()

    fit(m, f, 3)


def nan_first_b():
    w = torch.zeros(3, requires_grad=True)
    loss = torch.sqrt((w**2).sum()) + 1  # BUG: nan-first
    opt = optim.SGD([w], 0.1)
    loss.backward()
    opt.step()


def nan_first_c():
    m = net(8, 1)
    x = torch.randn(16, 8)

    def f():
        return torch.log(m(x)).mean()  # BUG: nan-first

    fit(m, f, 3)


def nan_first_d():
    def norm(x):
        return (x - x.mean(0)) / x.std(0)  # BUG: nan-first

    x = torch.randn(16, 8)
    x[:, 3] = 2.0
    m = net()
    y = torch.randint(0, 3, (16,))
    fit(m, lambda: F.cross_entropy(m(norm(x)), y), 3)


def nan_first_e():
    a = torch.randn(8, requires_grad=True)
    opt = optim.SGD([a], 0.1)
    for _ in range(3):
        loss = (a.exp() * 1e3).exp().log().mean()  # BUG: nan-first
        opt.zero_grad()
        loss.backward()
        opt.step()


def nan_first_f():
    a = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
    opt = optim.SGD([a], 0.1)
    for _ in range(2):
        y = torch.where(a > 0, a / a, torch.zeros(3))  # BUG: nan-first
        opt.zero_grad()
        y.sum().backward()
        opt.step()


def nan_input_a():
    x, y = points()
    x[3, 2] = float("nan")
    dl = DataLoader(TensorDataset(x, y), 16)
    m = net()
    opt = optim.Adam(m.parameters())
    for a, b in dl:
        out = m(a)  # BUG: nan-input
        loss = F.cross_entropy(out, b)
        opt.zero_grad()
        loss.backward()
        opt.step()


def nan_input_b():
    X = np.random.randn(16, 8).astype("float32")
    X[0, 0] = np.nan
    w = torch.randn(8, 1, requires_grad=True)
    x = torch.from_numpy(X)
    y = torch.randn(16, 1)
    for _ in range(3):
        p = x @ w  # BUG: nan-input
        value = F.mse_loss(p, y)
        value.backward()
        w.data -= 0.1 * w.grad
        w.grad = None


def nan_input_c():
    x = torch.randn(16, 8)
    y = x.sum(1, keepdim=True)
    y[5] = float("nan")
    m = net(8, 1)
    fit(m, lambda: nn.L1Loss()(m(x), y), 2)  # BUG: nan-input


def nan_input_d():
    x = torch.randn(16, 8)
    x[1] = float("inf")
    m = net(8, 1)
    fit(m, lambda: m(x).pow(2).mean(), 2)  # BUG: nan-input


def vanishing_a():
    m = nn.Sequential(
        *[loss for _ in range(12) for loss in (nn.Linear(16, 16), nn.Sigmoid())], nn.Linear(16, 3)
    )
    x = torch.randn(32, 16)
    y = torch.randint(0, 3, (32,))
    opt = optim.SGD(m.parameters(), 0.1)
    for _ in range(8):
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()  # BUG: vanishing


def exploding_a():
    m = nn.Sequential(
        *[layer for _ in range(10) for layer in (nn.Linear(32, 32), nn.ReLU())], nn.Linear(32, 1)
    )
    x = torch.randn(32, 32)
    for layer in m:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=2.0)
    opt = optim.SGD(m.parameters(), 1e-25)
    for _ in range(8):
        opt.zero_grad()
        m(x).pow(2).mean().backward()
        opt.step()  # BUG: exploding


def unshuffled_a():
    x = torch.randn(90, 8)
    y = torch.arange(90) // 30
    dl = DataLoader(TensorDataset(x, y), batch_size=10)  # BUG: unshuffled
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)
    for a, b in dl:
        opt.zero_grad()
        F.cross_entropy(m(a), b).backward()
        opt.step()


def unshuffled_b():
    x = torch.randn(60, 8)
    y = torch.cat([torch.full((20,), i) for i in range(3)])
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)
    for i in range(0, 60, 6):
        xb, yb = x[i : i + 6], y[i : i + 6]
        loss = F.cross_entropy(m(xb), yb)  # BUG: unshuffled
        opt.zero_grad()
        loss.backward()
        opt.step()


def unshuffled_c():
    class D(Dataset):
        def __init__(s):
            s.x = torch.randn(64, 8)

        def __len__(s):
            return 64

        def __getitem__(s, i):
            return s.x[i], torch.tensor([float(i >= 32)])

    m = nn.Linear(8, 1)
    opt = optim.SGD(m.parameters(), 0.1)
    dl = DataLoader(D(), batch_size=8, shuffle=False)  # BUG: unshuffled
    for a, b in dl:
        opt.zero_grad()
        F.binary_cross_entropy_with_logits(m(a), b).backward()
        opt.step()


class _Aug(Dataset):
    def __init__(s):
        s.rng = np.random.default_rng(0)

    def __len__(s):
        return 16

    def __getitem__(s, i):
        return torch.tensor(s.rng.normal(size=8).astype("float32")), i % 2


def same_augmentation_a():
    dl = DataLoader(_Aug(), batch_size=4, num_workers=2)  # BUG: same-augmentation
    for _a, _b in dl:
        pass


class _T:
    def __init__(s):
        s.rng = random.Random(3)

    def __call__(s, x):
        return x + s.rng.random()


class _DT(Dataset):
    def __init__(s, transform):
        s.transform = transform

    def __len__(s):
        return 16

    def __getitem__(s, i):
        return s.transform(torch.ones(8)), i % 2


def same_augmentation_b():
    ds = _DT(_T())
    loader = DataLoader(ds, 4, num_workers=2)  # BUG: same-augmentation
    for _ in loader:
        pass


def _init(worker_id):
    np.random.seed(42)


def same_augmentation_c():
    loader = DataLoader(  # BUG: same-augmentation
        _DT(torch.abs), 4, num_workers=2, worker_init_fn=_init
    )
    for _ in loader:
        pass


def validation_in_training_a():
    x, y = points()
    ds = TensorDataset(x, y)
    tr = DataLoader(ds, 16, shuffle=True)
    va = DataLoader(Subset(ds, range(50, 64)), 16)
    m = net()
    opt = optim.Adam(m.parameters())
    for _ep in range(2):
        m.train()
        for a, b in tr:
            opt.zero_grad()
            F.cross_entropy(m(a), b).backward()
            opt.step()
        m.eval()
        with torch.no_grad():
            for a, _ in va:  # BUG: validation-in-training
                m(a)


def validation_in_training_b():
    x, y = points()
    ds = TensorDataset(x, y)
    a, b = Subset(ds, list(range(0, 50))), Subset(ds, list(range(40, 64)))
    tr, va = DataLoader(a, 10, shuffle=True), DataLoader(b, 8)
    m = net()
    opt = optim.Adam(m.parameters())

    class T:
        def fit(s):
            for a, b in tr:
                opt.zero_grad()
                F.cross_entropy(m(a), b).backward()
                opt.step()

        def ev(s):
            m.eval()
            with torch.no_grad():
                for a, _b in va:  # BUG: validation-in-training
                    m(a)
            m.train()

    t = T()
    for _ in range(2):
        t.fit()
        t.ev()


def validation_in_training_c():
    x, y = points()
    tr = DataLoader(TensorDataset(x, y), 16, shuffle=True)
    va = DataLoader(TensorDataset(x[48:], y[48:]), 16)
    m = net()
    opt = optim.Adam(m.parameters())
    for _ep in range(2):
        for a, b in tr:
            opt.zero_grad()
            F.cross_entropy(m(a), b).backward()
            opt.step()
        m.eval()
        with torch.no_grad():
            for a, _ in va:  # BUG: validation-in-training
                m(a)
        m.train()


def unnormalised_a():
    x = torch.randint(0, 256, (16, 1, 8, 8)).float()
    m = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    y = torch.randint(0, 3, (16,))
    fit(m, lambda: F.cross_entropy(m(x), y))  # BUG: unnormalised


def unnormalised_b():
    w = torch.randn(2, 1, requires_grad=True)
    x = torch.tensor([[2104.0, 3], [1600, 3], [2400, 3], [1416, 2]])
    y = torch.tensor([[4.0], [3], [3.6], [2.3]])
    for _ in range(3):
        loss = (x @ w - y).pow(2).mean()  # BUG: unnormalised
        loss.backward()
        w.data -= 1e-9 * w.grad
        w.grad = None


def unnormalised_c():
    r = nn.LSTM(1, 8, batch_first=True)
    x = torch.arange(1000, 1100).float().view(10, 10, 1)
    fit(r, lambda: r(x)[0].pow(2).mean())  # BUG: unnormalised
