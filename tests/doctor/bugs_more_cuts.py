"""Bugs of graphs that are cut, in other styles."""

from __future__ import annotations

from doctor.gpt import GPT, GPTConfig, batch, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn, optim
from tinygrad_edu.nn import functional as F


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
