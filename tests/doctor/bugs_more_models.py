"""Bugs of models, in other styles."""

from __future__ import annotations

import numpy as np
from doctor.gpt import Block, GPTConfig, batch, fit, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn, optim
from tinygrad_edu.nn import functional as F


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
