"""Bugs of cuts, models and data, in other styles."""

from __future__ import annotations

import random

import numpy as np
from doctor.gpt import GPT, Block, GPTConfig, batch, fit, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn, optim
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, Dataset, Subset, TensorDataset


def graph_cut_numpy_feat():
    enc = nn.Linear(8, 16)
    head = nn.Linear(16, 3)
    opt = optim.Adam(list(enc.parameters()) + list(head.parameters()))
    x, y = points()
    for _ in range(4):
        z = torch.tensor(enc(x).detach().numpy())  # BUG: graph-cut
        loss = F.cross_entropy(head(z), y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def graph_cut_nograd_fn():
    enc, head = net(8, 16), nn.Linear(16, 3)
    opt = optim.SGD([*enc.parameters(), *head.parameters()], 0.1)
    x, y = points()

    @torch.no_grad()
    def features(x):
        return enc(x)  # BUG: graph-cut

    for _ in range(4):
        loss = F.cross_entropy(head(features(x)), y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def graph_cut_round():
    m = net(8, 1)
    opt = optim.SGD(m.parameters(), 0.1)
    x = torch.randn(16, 8)
    y = torch.randint(0, 2, (16, 1)).float()
    for _ in range(4):
        p = torch.sigmoid(m(x)).round().long().float()  # BUG: graph-cut
        loss = ((p - y) ** 2).mean().requires_grad_()
        opt.zero_grad()
        loss.backward()
        opt.step()


def graph_cut_item_sum():
    w = torch.randn(8, requires_grad=True)
    opt = optim.SGD([w], 0.1)
    x = torch.randn(16, 8)
    for _ in range(4):
        tot = 0.0
        for r in x:
            tot += (r @ w).pow(2).item()
        loss = torch.tensor(tot, requires_grad=True)  # BUG: graph-cut
        opt.zero_grad()
        loss.backward()
        opt.step()


def graph_cut_gpt_data():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), 1e-3)
    for _ in range(3):
        X, Y = batch()
        lg, _ = m(X)
        lg = lg.data.requires_grad_()  # BUG: graph-cut
        loss = F.cross_entropy(lg.view(-1, 11), Y.view(-1))
        opt.zero_grad()
        loss.backward()
        opt.step()


def graph_cut_raw():
    w1 = torch.randn(8, 16, requires_grad=True)
    w2 = torch.randn(16, 3, requires_grad=True)
    x, y = points()
    opt = optim.SGD([w1, w2], 0.1)
    for _ in range(4):
        h = (x @ w1).relu()
        h = h.detach()  # BUG: graph-cut
        loss = F.cross_entropy(h @ w2, y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def data_write_gpt():
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)
    x, y = points()
    for _ in range(3):
        h = torch.sigmoid(m[0](x))
        h.data.clamp_(0.1, 0.9)  # BUG: data-write
        loss = F.cross_entropy(m[2](h), y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def data_write_w():
    w = torch.ones(3, requires_grad=True)
    x = torch.randn(3)
    y = (w * w * x).exp().sum()
    w.data.mul_(0.5)  # BUG: data-write
    y.backward()


def data_write_assign():
    w = torch.ones(3, requires_grad=True)
    torch.randn(3)
    h = w * 2
    y = h**2
    h.data[:] = 0  # BUG: data-write
    y.sum().backward()


def leaf_replaced_fn():
    def update(w, lr):
        return w - lr * w.grad  # BUG: leaf-replaced

    w = torch.randn(8, 1, requires_grad=True)
    x = torch.randn(16, 8)
    y = torch.randn(16, 1)
    for _ in range(3):
        loss = (x @ w - y).pow(2).mean()
        loss.backward()
        w = update(w, 0.01)


def leaf_replaced_dict():
    P = {"w": torch.randn(8, 1, requires_grad=True), "b": torch.zeros(1, requires_grad=True)}
    x = torch.randn(16, 8)
    for _ in range(3):
        loss = (x @ P["w"] + P["b"]).pow(2).mean()
        loss.backward()
        for k in P:
            with torch.no_grad():
                P[k] = P[k] - 0.1 * P[k].grad  # BUG: leaf-replaced


def nonleaf_grad_a():
    x = torch.randn(3, requires_grad=True)
    h = x * 2
    (h**2).sum().backward()
    return h.grad  # BUG: nonleaf-grad


def nonleaf_grad_b():
    (torch.randn(8, 3) / 8**0.5).requires_grad_()
    V = torch.randn(8, 3, requires_grad=True) * 0.1
    x, y = points()
    loss = F.cross_entropy(x @ V, y)
    loss.backward()
    if V.grad is None:  # BUG: nonleaf-grad
        pass


def layers_in_list_blocks():
    class M(nn.Module):
        def __init__(s):
            super().__init__()
            s.emb = nn.Embedding(11, 16)
            s.head = nn.Linear(16, 11)
            s.blocks = [Block(GPTConfig()) for _ in range(2)]  # BUG: layers-in-list

        def forward(s, i):
            x = s.emb(i)
            for b in s.blocks:
                x = b(x)
            return s.head(x)

    m = M()
    opt = optim.AdamW(m.parameters())
    for _ in range(3):
        X, Y = batch()
        loss = F.cross_entropy(m(X).view(-1, 11), Y.view(-1))
        opt.zero_grad()
        loss.backward()
        opt.step()


def layers_in_list_append():
    class M(nn.Module):
        def __init__(s, sizes):
            super().__init__()
            s.layers = []  # BUG: layers-in-list
            for a, b in zip(sizes, sizes[1:], strict=False):
                s.layers.append(nn.Linear(a, b))
            s.out = nn.Linear(sizes[-1], 3)

        def forward(s, x):
            for layer in s.layers:
                x = torch.relu(layer(x))
            return s.out(x)

    m = M([8, 16, 16])
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y))


def layers_in_list_tuple():
    class E(nn.Module):
        def __init__(s):
            super().__init__()
            s.heads = (nn.Linear(8, 3), nn.Linear(8, 3))  # BUG: layers-in-list
            s.w = nn.Parameter(torch.ones(2))

        def forward(s, x):
            return sum(w * h(x) for w, h in zip(s.w, s.heads, strict=False))

    m = E()
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y))


def layers_in_list_all():
    class E(nn.Module):
        def __init__(s):
            super().__init__()
            s.net = [nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)]  # BUG: layers-in-list

        def forward(s, x):
            for layer in s.net:
                x = layer(x)
            return x

    m = E()
    x, y = points()
    opt = optim.SGD(m.parameters(), 0.1)
    opt.zero_grad()
    F.cross_entropy(m(x), y).backward()
    opt.step()


def parameter_plain_tensor_lora():
    class L(nn.Module):
        def __init__(s):
            super().__init__()
            s.l = nn.Linear(8, 3)
            s.A = torch.randn(8, 2, requires_grad=True)  # BUG: parameter-plain-tensor

        def forward(s, x):
            return s.l(x) + (x @ s.A).sum(1, keepdim=True)

    m = L()
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y))


def parameter_plain_tensor_init():
    class L(nn.Module):
        def __init__(s):
            super().__init__()
            s.l = nn.Linear(8, 3)
            s.scale = (  # BUG: parameter-plain-tensor
                nn.Parameter(torch.ones(3)).to(torch.float64).float()
            )

        def forward(s, x):
            return s.l(x) * s.scale

    m = L()
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y), 3)


def parameter_plain_tensor_dict():
    class L(nn.Module):
        def __init__(s):
            super().__init__()
            s.l = nn.Linear(8, 3)
            s.extra = {"g": torch.ones(3, requires_grad=True)}  # BUG: parameter-plain-tensor

        def forward(s, x):
            return s.l(x) * s.extra["g"]

    m = L()
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y), 3)


def layer_made_in_forward_a():
    class M(nn.Module):
        def __init__(s):
            super().__init__()
            s.c = nn.Conv2d(1, 4, 3)

        def forward(s, x):
            x = s.c(x).relu()
            x = x.flatten(1)
            fc = nn.Linear(x.shape[1], 3)  # BUG: layer-made-in-forward
            return fc(x)

    m = M()
    x = torch.randn(8, 1, 6, 6)
    y = torch.randint(0, 3, (8,))
    fit(m, lambda: F.cross_entropy(m(x), y))


def layer_made_in_forward_b():
    class M(nn.Module):
        def __init__(s):
            super().__init__()
            s.e = nn.Embedding(11, 8)

        def forward(s, i):
            o, _ = nn.LSTM(8, 8, batch_first=True)(s.e(i))  # BUG: layer-made-in-forward
            return o.mean(1)

    m = M()
    i = torch.randint(0, 11, (4, 5))
    fit(m, lambda: m(i).pow(2).mean())


def layer_made_in_forward_c():
    class M(nn.Module):
        def __init__(s):
            super().__init__()
            s.l = nn.Linear(8, 16)
            s.o = nn.Linear(16, 3)

        def forward(s, x):
            s.bn = nn.BatchNorm1d(16)  # BUG: layer-made-in-forward
            return s.o(s.bn(s.l(x)))

    m = M()
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y))


def to_dropped_a():
    x, y = points()
    m = net()
    for _i in range(2):
        xb, yb = x[:16], y[:16]
        xb.to("cpu")  # BUG: to-dropped
        F.cross_entropy(m(xb), yb)


def to_dropped_b():
    x = np.random.randn(4, 8)
    t = torch.from_numpy(x)
    t.float()  # BUG: to-dropped


def to_dropped_c():
    t = torch.arange(4)
    t.type(torch.float32)  # BUG: to-dropped


def to_dropped_d():
    t = torch.randn(4)
    t.cuda() if torch.cuda.is_available() else t.cpu()  # BUG: to-dropped


def to_dropped_e():
    t = torch.randn(4)
    t.half()  # BUG: to-dropped


def forward_direct_a():
    m = net()
    m.register_forward_hook(lambda *a: None)
    x, y = points()
    fit(m, lambda: F.cross_entropy(m.forward(x), y))  # BUG: forward-direct


def forward_direct_b():
    m = (
        nn.utils.spectral_norm(nn.Linear(8, 3))
        if hasattr(nn.utils, "spectral_norm")
        else nn.Linear(8, 3)
    )
    x, y = points()
    for _ in range(2):
        out = m.forward(x)  # BUG: forward-direct
        F.cross_entropy(out, y).backward()


def forward_direct_c():
    class T:
        def __init__(s):
            s.model = net()

        def run(s, x):
            return s.model.forward(x)  # BUG: forward-direct

    T().run(torch.randn(4, 8))


def dead_units_a():
    m = net(8, 3, 32)
    m[0].bias.data.fill_(-50.0)
    x, y = points()
    opt = optim.SGD(m.parameters(), 0.1)
    for _ in range(8):
        out = m(x)  # BUG: dead-units
        loss = F.cross_entropy(out, y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def dead_units_b():
    W = torch.randn(8, 32, requires_grad=True)
    b = torch.full((32,), -30.0, requires_grad=True)
    V = torch.randn(32, 1, requires_grad=True)
    x = torch.randn(64, 8)
    for _ in range(8):
        h = F.relu(x @ W + b)  # BUG: dead-units
        loss = (h @ V - 1).pow(2).mean()
        loss.backward()
        with torch.no_grad():
            for p in (W, b, V):
                p -= 0.01 * p.grad
                p.grad = None


def dead_units_c():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(8, 64)
            s.b = nn.Linear(64, 3)

        def forward(s, x):
            return s.b(torch.clamp(s.a(x) - 40, min=0))  # BUG: dead-units

    m = N()
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y), 10)


def saturated_units_a():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(8, 64)
            s.b = nn.Linear(64, 3)
            nn.init.normal_(s.a.weight, std=50.0)

        def forward(s, x):
            return s.b(torch.tanh(s.a(x)))  # BUG: saturated-units

    m = N()
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y), 8)


def saturated_units_b():
    W = (100 * torch.randn(8, 32)).requires_grad_()
    V = torch.randn(32, 3, requires_grad=True)
    x, y = points()
    for _ in range(8):
        h = torch.sigmoid(x @ W)
        loss = F.cross_entropy(h @ V, y)  # BUG: saturated-units
        loss.backward()
        for p in (W, V):
            p.data -= 0.1 * p.grad
            p.grad = None


def saturated_units_c():
    m = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3))
    x, y = points()
    x = x * 1000
    fit(m, lambda: F.cross_entropy(m(x), y), 8)  # BUG: saturated-units


def symmetric_start_a():
    m = net()
    for p in m.parameters():
        nn.init.zeros_(p)  # BUG: symmetric-start
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y))


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
