"""Methods that look like bugs, each in the style in which it is mostly written."""

from __future__ import annotations

import copy
import math

import numpy as np
from doctor.gpt import GPT, GPTConfig, batch, fit, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn, optim
from tinygrad_edu.nn import functional as F


def gpt_full():
    m = GPT(GPTConfig())
    decay = [p for p in m.parameters() if p.dim() >= 2]
    nod = [p for p in m.parameters() if p.dim() < 2]
    opt = optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": nod, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.95),
    )

    @torch.no_grad()
    def est():
        out = {}
        m.eval()
        for s in ("train", "val"):
            L = torch.zeros(2)
            for k in range(2):
                _, value = m(*batch())
                L[k] = value.item()
            out[s] = L.mean()
        m.train()
        return out

    X, Y = batch()
    for it in range(8):
        lr = (
            1e-3 * (it + 1) / 4
            if it < 4
            else 1e-4 + 0.5 * (1 + math.cos(math.pi * (it - 4) / 4)) * 9e-4
        )
        for g in opt.param_groups:
            g["lr"] = lr
        if it % 4 == 0:
            est()
        for _micro in range(2):
            _, loss = m(X, Y)
            loss = loss / 2
            X, Y = batch()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
    m.eval()
    idx = torch.zeros((1, 1), dtype=torch.long)
    with torch.no_grad():
        for _ in range(5):
            lg, _ = m(idx[:, -8:])
            lg = lg[:, -1] / 0.8
            v, _i = torch.topk(lg, 5)
            lg[lg < v[:, [-1]]] = -float("inf")
            idx = torch.cat((idx, torch.multinomial(F.softmax(lg, -1), 1)), 1)


def dcgan():
    G = nn.Sequential(
        nn.ConvTranspose2d(4, 8, 4, 1, 0, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(True),
        nn.ConvTranspose2d(8, 1, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    D = nn.Sequential(
        nn.Conv2d(1, 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(8, 1, 4, 1, 0, bias=False),
        nn.Sigmoid(),
    )
    crit = nn.BCELoss()
    fixed = torch.randn(4, 4, 1, 1)
    oD = optim.Adam(D.parameters(), 2e-4, betas=(0.5, 0.999))
    oG = optim.Adam(G.parameters(), 2e-4, betas=(0.5, 0.999))
    imgs = []
    gl = []
    dl = []
    for it in range(8):
        D.zero_grad()
        real = torch.randn(8, 1, 8, 8)
        label = torch.full((8,), 1.0)
        out = D(real).view(-1)
        eD = crit(out, label)
        eD.backward()
        out.mean().item()
        noise = torch.randn(8, 4, 1, 1)
        fake = G(noise)
        label.fill_(0.0)
        out = D(fake.detach()).view(-1)
        eF = crit(out, label)
        eF.backward()
        err = eD + eF
        oD.step()
        G.zero_grad()
        label.fill_(1.0)
        out = D(fake).view(-1)
        eG = crit(out, label)
        eG.backward()
        oG.step()
        gl.append(eG.item())
        dl.append(err.item())
        if it % 3 == 0:
            with torch.no_grad():
                f = G(fixed).detach().cpu()
            imgs.append(f.numpy().transpose(0, 2, 3, 1))


def finetune_frozen():
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    head = nn.Linear(4 * 36, 3)
    m = nn.Sequential(body, head)
    for p in body.parameters():
        p.requires_grad = False
    body.eval()
    x = torch.randn(32, 1, 8, 8)
    y = torch.randint(0, 3, (32,))
    opt = optim.SGD(filter(lambda p: p.requires_grad, m.parameters()), 0.01, momentum=0.9)
    for _ep in range(4):
        m.train()
        body.eval()
        for i in range(0, 32, 8):
            opt.zero_grad()
            F.cross_entropy(m(x[i : i + 8]), y[i : i + 8]).backward()
            opt.step()
        m.eval()
        with torch.no_grad():
            (m(x).argmax(1) == y).float().mean().item()


def unfreeze_later():
    m = net()
    x, y = points()
    for p in m[0].parameters():
        p.requires_grad_(False)
    opt = optim.Adam(m.parameters(), 1e-3)
    for ep in range(10):
        if ep == 5:
            for p in m[0].parameters():
                p.requires_grad_(True)
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()


def tbptt():
    r = nn.LSTM(4, 8, batch_first=True)
    o = nn.Linear(8, 1)
    opt = optim.Adam([*r.parameters(), *o.parameters()])
    h = None
    for _i in range(8):
        x = torch.randn(2, 5, 4)
        out, h = r(x, h)
        loss = o(out).pow(2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        h = tuple(s.detach() for s in h)


def repackage():
    def repack(h):
        return h.detach() if isinstance(h, torch.Tensor) else tuple(repack(v) for v in h)

    e = nn.Embedding(11, 8)
    r = nn.GRU(8, 8)
    o = nn.Linear(8, 11)
    ps = [*e.parameters(), *r.parameters(), *o.parameters()]
    h = torch.zeros(1, 4, 8)
    tot = 0.0
    for _i in range(8):
        x = torch.randint(0, 11, (6, 4))
        y = torch.roll(x, -1, 0)
        h = repack(h)
        out, h = r(e(x), h)
        loss = F.cross_entropy(o(out).view(-1, 11), y.view(-1))
        for p in ps:
            p.grad = None
        loss.backward()
        nn.utils.clip_grad_norm_(ps, 0.25)
        for p in ps:
            p.data.add_(p.grad, alpha=-1.0)
        tot += loss.item()


def mc_dropout():
    m = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1))
    x = torch.randn(32, 8)
    y = x.sum(1, keepdim=True)
    fit(m, lambda: F.mse_loss(m(x), y))
    m.train()
    with torch.no_grad():
        S = np.stack([m(x).numpy() for _ in range(10)])
    _mean, _std = S.mean(0), S.std(0)


def mc_dropout_fn():
    m = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y))

    def enable(m):
        m.eval()
        for layer in m.modules():
            if isinstance(layer, nn.Dropout):
                layer.train()

    enable(m)
    out = []
    with torch.no_grad():
        for _ in range(10):
            p = F.softmax(m(x), -1)
            out.append(p)
    mean = torch.stack(out).mean(0)
    -(mean * mean.log()).sum(1)
    (mean.argmax(1) == y).float().mean().item()


def ema():
    m = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    e = copy.deepcopy(m).eval().requires_grad_(False)
    x, y = points()
    opt = optim.Adam(m.parameters())
    for _it in range(8):
        opt.zero_grad(set_to_none=True)
        F.cross_entropy(m(x), y).backward()
        opt.step()
        with torch.no_grad():
            for a, b in zip(e.parameters(), m.parameters(), strict=False):
                a.lerp_(b, 0.1)
            for a, b in zip(e.buffers(), m.buffers(), strict=False):
                a.copy_(b)
        (e(x).argmax(1) == y).float().mean().item()


def fgsm():
    m = net()
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y), 20)
    m.eval()
    correct = 0
    for eps in (0, 0.1, 0.3):
        for i in range(0, 64, 8):
            d = x[i : i + 8].clone()
            d.requires_grad = True
            out = m(d)
            value = F.nll_loss(F.log_softmax(out, 1), y[i : i + 8])
            m.zero_grad()
            value.backward()
            p = d + eps * d.grad.data.sign()
            out = m(p)
            correct += (out.max(1)[1] == y[i : i + 8]).sum().item()


def pgd():
    m = net()
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y), 40, 0.05)
    delta = torch.zeros_like(x, requires_grad=True)
    for _ in range(25):
        loss = F.cross_entropy(m(x + delta), y)
        loss.backward()
        delta.data = (delta + 0.5 * delta.grad.detach().sign()).clamp(-3, 3)
        delta.grad.zero_()


def saliency():
    m = net()
    x, y = points()
    m.eval()
    x.requires_grad_()
    s = m(x)
    s[torch.arange(64), s.argmax(1)].sum().backward()
    x.grad.abs().max(1)[0]


def style_transfer():
    f = nn.Conv2d(1, 4, 3).eval().requires_grad_(False)
    img = torch.rand(1, 1, 8, 8, requires_grad=True)
    tgt = f(torch.rand(1, 1, 8, 8)).detach()
    opt = optim.LBFGS([img])
    for _ in range(3):

        def closure():
            with torch.no_grad():
                img.clamp_(0, 1)
            opt.zero_grad()
            value = F.mse_loss(f(img), tgt)
            value.backward()
            return value

        opt.step(closure)


def unused_head():
    class N(nn.Module):
        def __init__(s):
            super().__init__()
            s.b = nn.Linear(8, 8)
            s.h1 = nn.Linear(8, 3)
            s.h2 = nn.Linear(8, 2)

        def forward(s, x, t):
            h = s.b(x).relu()
            return s.h1(h) if t == 0 else s.h2(h)

    m = N()
    x, y = points()
    opt = optim.Adam(m.parameters())
    for _i in range(8):
        opt.zero_grad()
        F.cross_entropy(m(x, 0), y).backward()
        opt.step()


def pairwise():
    m = net(8, 4)
    x, y = points(16)
    opt = optim.Adam(m.parameters())
    for _ in range(4):
        z = m(x)
        d = (z[:, None] - z[None]).pow(2).sum(-1)
        same = y[:, None] == y[None]
        loss = (d * same).sum() / same.sum() + (F.relu(1 - d) * ~same).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()


def pairwise_rank():
    m = net(8, 1)
    x = torch.randn(16, 8)
    y = x.sum(1)

    def f():
        s = m(x).squeeze(1)
        ds = s[:, None] - s[None, :]
        dy = (y[:, None] - y[None, :]).sign()
        return F.softplus(-ds * dy).mean()

    fit(m, f)


def rbf():
    m = net(8, 1)
    x = torch.randn(16, 8)

    def f():
        s = m(x)
        k = torch.exp(-((s - s.T) ** 2))
        t = torch.randn(16, 1)
        return (t.T @ k @ t).mean() + (s - s.squeeze(1).detach()).pow(2).mean() * 0

    fit(m, f)


def wgan_gp():
    G, D = net(4, 8), net(8, 1)
    oG = optim.Adam(G.parameters(), 1e-3)
    oD = optim.Adam(D.parameters(), 1e-3)
    for _it in range(6):
        for _ in range(2):
            r = torch.randn(16, 8)
            f = G(torch.randn(16, 4)).detach()
            a = torch.rand(16, 1)
            h = (a * r + (1 - a) * f).requires_grad_(True)
            s = D(h)
            g = torch.autograd.grad(s, h, torch.ones_like(s), create_graph=True, retain_graph=True)[
                0
            ]
            gp = ((g.norm(2, dim=1) - 1) ** 2).mean()
            loss = D(f).mean() - D(r).mean() + 10 * gp
            oD.zero_grad()
            loss.backward()
            oD.step()
        oG.zero_grad()
        (-D(G(torch.randn(16, 4))).mean()).backward()
        oG.step()
