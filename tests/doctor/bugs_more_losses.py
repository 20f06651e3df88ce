"""Bugs of what a loss is given, in other styles."""

from __future__ import annotations

from doctor.gpt import CausalSelfAttention, GPTConfig, fit, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F


def softmax_twice_self():
    class Net(nn.Module):
        def __init__(s):
            super().__init__()
            s.l = nn.Linear(8, 3)
            s.sm = nn.Softmax(dim=1)

        def forward(s, x):
            return s.sm(s.l(x))

    m = Net()
    crit = nn.CrossEntropyLoss(label_smoothing=0.1)
    x, y = points()
    for _ in range(3):
        o = m(x)
        layer = crit(o, y)  # BUG: softmax-twice
        layer.backward()


def softmax_twice_raw():
    W = torch.randn(8, 3, requires_grad=True)
    x, y = points()
    for _ in range(3):
        p = torch.softmax(x @ W, dim=-1)
        loss = F.cross_entropy(p, y)  # BUG: softmax-twice
        loss.backward()
        W.data -= 0.1 * W.grad
        W.grad.zero_()


def softmax_twice_seq():
    m = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11))
    i = torch.randint(0, 11, (4, 6))

    def f():
        p = F.softmax(m(i), dim=-1)
        return F.cross_entropy(p.permute(0, 2, 1), i)  # BUG: softmax-twice

    fit(m, f)


def softmax_missing_a():
    m = net()
    x, y = points()
    fit(m, lambda: F.nll_loss(m(x), y))  # BUG: softmax-missing


def softmax_missing_b():
    m = nn.Conv2d(1, 3, 3, padding=1)
    x = torch.randn(4, 1, 6, 6)
    y = torch.randint(0, 3, (4, 6, 6))
    crit = nn.NLLLoss()

    def f():
        o = m(x)
        return crit(o, y)  # BUG: softmax-missing

    fit(m, f)


def sigmoid_twice_a():
    class D(nn.Module):
        def __init__(s):
            super().__init__()
            s.net = nn.Sequential(
                nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1), nn.Sigmoid()
            )

        def forward(s, x):
            return s.net(x)

    m = D()
    crit = nn.BCEWithLogitsLoss()
    x = torch.randn(32, 8)
    fit(m, lambda: crit(m(x), torch.ones(32, 1)))  # BUG: sigmoid-twice


def sigmoid_twice_b():
    w = torch.randn(8, requires_grad=True)
    x = torch.randn(32, 8)
    y = (x[:, 0] > 0).float()
    for _ in range(3):
        p = 1 / (1 + torch.exp(-(x @ w)))
        loss = F.binary_cross_entropy_with_logits(p, y)  # BUG: sigmoid-twice
        loss.backward()
        w.data -= w.grad
        w.grad = None


def sigmoid_twice_c():
    m = nn.Sequential(nn.Linear(8, 1), nn.Sigmoid())
    x = torch.randn(32, 8)
    y = (x[:, :1] > 0).float()

    def f():
        p = torch.sigmoid(m(x))  # BUG: sigmoid-twice
        return F.binary_cross_entropy(p, y)

    fit(m, f)


def sigmoid_missing_a():
    m = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1), nn.ReLU())
    x = torch.randn(32, 8)
    y = (x[:, :1] > 0).float()
    fit(m, lambda: nn.BCELoss()(m(x) * 0.01, y))  # BUG: sigmoid-missing


def sigmoid_missing_b():
    w = torch.randn(8, 1, requires_grad=True)
    x = torch.randn(32, 8)
    y = (x[:, :1] > 0).float()
    for _ in range(3):
        p = x @ w
        loss = F.binary_cross_entropy(p, y)  # BUG: sigmoid-missing
        loss.backward()


def log_missing_a():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.l = nn.Linear(8, 3)

        def forward(s, x):
            return F.softmax(s.l(x), dim=1)

    m = N()
    crit = nn.NLLLoss()
    x, y = points()
    fit(m, lambda: crit(m(x), y))  # BUG: log-missing


def log_missing_b():
    t, s = net(), net()
    x, _ = points()
    k = nn.KLDivLoss(reduction="batchmean")
    soft = F.softmax(t(x) / 2, dim=1).detach()
    fit(s, lambda: k(F.softmax(s(x) / 2, dim=1), soft))  # BUG: log-missing


def log_missing_c():
    t, s = net(), net()
    x, _ = points()
    fit(
        s,
        lambda: F.kl_div(  # BUG: log-missing
            F.softmax(s(x), -1),
            F.log_softmax(t(x), -1).detach(),
            log_target=True,
            reduction="batchmean",
        ),
    )


def log_twice_a():
    m = nn.Sequential(net(), nn.LogSoftmax(dim=1))
    x, y = points()
    c = nn.CrossEntropyLoss()
    fit(m, lambda: c(m(x), y))  # BUG: log-twice


def log_twice_b():
    m = nn.Sequential(net(), nn.LogSoftmax(dim=1))
    x, y = points()

    def f():
        lp = m(x)
        return F.nll_loss(torch.log(lp), y)  # BUG: log-twice

    fit(m, f, 3)


def log_twice_c():
    m = nn.Linear(8, 1)
    x = torch.randn(32, 8)
    y = (x[:, :1] > 0).float()

    def f():
        return -(y * torch.log(F.logsigmoid(m(x)))).mean()  # BUG: log-twice

    fit(m, f, 3)


def softmax_axis_a():
    m = nn.Sequential(net(), nn.Softmax(dim=0))
    x, y = points()
    fit(m, lambda: F.nll_loss(torch.log(m(x) + 1e-9), y))  # BUG: softmax-axis


def softmax_axis_b():
    m = CausalSelfAttention(GPTConfig())
    x = torch.randn(2, 8, 16)

    def f():
        q, k, v = m.c_attn(x).chunk(3, -1)
        a = torch.softmax(q @ k.mT / 4, dim=1)
        return (a @ v).pow(2).mean()  # BUG: softmax-axis

    fit(m, f)


def softmax_axis_c():
    m = nn.Linear(8, 1)
    x = torch.randn(32, 8)
    y = torch.randint(0, 2, (32, 1)).float()

    def f():
        p = F.softmax(m(x), dim=1)  # BUG: softmax-axis
        return F.binary_cross_entropy(p, y)

    fit(m, f)


def softmax_axis_d():
    m = net()
    x, y = points()

    def f():
        p = m(x).softmax(0)
        return -p[torch.arange(64), y].log().mean()  # BUG: softmax-axis

    fit(m, f)


def target_broadcast_a():
    m = net(8, 1)
    x = torch.randn(32, 8)
    y = x.sum(1)
    fit(m, lambda: ((y - m(x)) ** 2).mean())  # BUG: target-broadcast


def target_broadcast_b():
    m = net(8, 1)
    x = torch.randn(32, 8)
    y = x.sum(1)
    c = nn.SmoothL1Loss()
    fit(m, lambda: c(m(x), y))  # BUG: target-broadcast


def target_broadcast_c():
    w = torch.randn(8, 1, requires_grad=True)
    x = torch.randn(32, 8)
    y = x.sum(1)
    for _ in range(4):
        e = x @ w - y  # BUG: target-broadcast
        loss = torch.mean(e**2)
        loss.backward()
        w.data -= 0.01 * w.grad
        w.grad.zero_()


def target_broadcast_d():
    m = net(8, 1)
    x = torch.randn(32, 8)
    y = x.sum(1)

    def f():
        d = torch.abs(m(x) - y)  # BUG: target-broadcast
        return d.sum() / 32

    fit(m, f)


def target_broadcast_e():
    q = net(4, 2)
    s = torch.randn(16, 4)
    a = torch.randint(0, 2, (16,))
    r = torch.randn(16, 1)

    def f():
        qa = q(s).gather(1, a[:, None]).squeeze(1)
        t = r + 0.9 * q(s).max(1, keepdim=True).values.detach()
        return F.mse_loss(qa, t)  # BUG: target-broadcast

    fit(q, f)


def target_broadcast_f():
    m = net(8, 1)
    x = torch.randn(32, 8)
    y = x.sum(1)

    def f():
        return torch.square(m(x) - y).mean().sqrt()  # BUG: target-broadcast

    fit(m, f)


def target_broadcast_g():
    m = net(8, 1)
    x = torch.randn(32, 8)
    y = (x[:, 0] > 0).float()

    def f():
        p = torch.sigmoid(m(x))
        return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()  # BUG: target-broadcast

    fit(m, f)


def class_axis_a():
    m = nn.Sequential(nn.Embedding(6, 8), nn.Linear(8, 6))
    i = torch.randint(0, 6, (6, 6))
    fit(m, lambda: nn.CrossEntropyLoss()(m(i), i))  # BUG: class-axis


def class_axis_b():
    r = nn.LSTM(4, 8, batch_first=True)
    h = nn.Linear(8, 5)
    x = torch.randn(3, 5, 4)
    y = torch.randint(0, 5, (3, 5))
    m = nn.ModuleList([r, h])

    def f():
        o, _ = r(x)
        return F.cross_entropy(h(o), y)  # BUG: class-axis

    fit(m, f)


def class_axis_c():
    W = torch.randn(4, 5, requires_grad=True)
    x = torch.randn(3, 5, 4)
    y = torch.randint(0, 5, (3, 5))
    lp = F.log_softmax(x @ W, -1)
    value = F.nll_loss(lp, y)  # BUG: class-axis
    value.backward()
