"""Clean programs: methods that look like bugs, each in the style in which it is mostly written."""

from __future__ import annotations

import copy
import math

import numpy as np
from doctor.gpt import GPT, GPTConfig, batch, fit, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn, optim
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, TensorDataset


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


def reinforce():
    p = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 2))
    opt = optim.Adam(p.parameters(), 1e-2)
    from tinygrad_edu.distributions import Categorical

    for _ep in range(6):
        lps, rs = [], []
        for _t in range(8):
            d = Categorical(F.softmax(p(torch.randn(1, 4)), 1))
            a = d.sample()
            lps.append(d.log_prob(a))
            rs.append(float(a.item()))
        R = 0
        ret = []
        for r in rs[::-1]:
            R = r + 0.99 * R
            ret.insert(0, R)
        ret = torch.tensor(ret)
        ret = (ret - ret.mean()) / (ret.std() + 1e-8)
        loss = torch.cat([-lp * r for lp, r in zip(lps, ret, strict=False)]).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()


def ppo():
    class AC(nn.Module):
        def __init__(s):
            super().__init__()
            s.b = nn.Sequential(nn.Linear(4, 16), nn.Tanh())
            s.a = nn.Linear(16, 2)
            s.c = nn.Linear(16, 1)

        def forward(s, x):
            h = s.b(x)
            return s.a(h), s.c(h).squeeze(-1)

    m = AC()
    opt = optim.Adam(m.parameters(), 3e-3, eps=1e-5)
    for _up in range(3):
        obs = torch.randn(32, 4)
        with torch.no_grad():
            lg, v = m(obs)
            d = torch.distributions.Categorical(logits=lg)
            act = d.sample()
            old = d.log_prob(act)
        rew = act.float()
        adv = rew - v
        ret = rew
        for _ in range(2):
            for ix in torch.randperm(32).split(8):
                lg, v2 = m(obs[ix])
                d = torch.distributions.Categorical(logits=lg)
                ratio = (d.log_prob(act[ix]) - old[ix]).exp()
                A = adv[ix]
                A = (A - A.mean()) / (A.std() + 1e-8)
                value = (
                    -torch.min(ratio * A, ratio.clamp(0.8, 1.2) * A).mean()
                    + 0.5 * F.mse_loss(v2, ret[ix])
                    - 0.01 * d.entropy().mean()
                )
                opt.zero_grad()
                value.backward()
                nn.utils.clip_grad_norm_(m.parameters(), 0.5)
                opt.step()


def dqn():
    q = net(4, 2)
    t = copy.deepcopy(q)
    opt = optim.RMSprop(q.parameters(), 1e-3)
    for it in range(10):
        s, a, r, s2, dn = (
            torch.randn(16, 4),
            torch.randint(0, 2, (16, 1)),
            torch.randn(16),
            torch.randn(16, 4),
            torch.randint(0, 2, (16,)).float(),
        )
        qa = q(s).gather(1, a)
        with torch.no_grad():
            tv = t(s2).max(1)[0]
        tgt = (r + 0.99 * (1 - dn) * tv).unsqueeze(1)
        value = F.smooth_l1_loss(qa, tgt)
        opt.zero_grad()
        value.backward()
        for p in q.parameters():
            p.grad.data.clamp_(-1, 1)
        opt.step()
        if it % 3 == 0:
            t.load_state_dict(q.state_dict())
        with torch.no_grad():
            q(torch.randn(1, 4)).max(1)[1].view(1, 1).item()


def data_parallel():
    m = net()
    R = [m, copy.deepcopy(m)]
    opts = [optim.SGD(r.parameters(), 0.1) for r in R]
    x, y = points()
    for _ in range(5):
        for i, r in enumerate(R):
            opts[i].zero_grad()
            F.cross_entropy(r(x[i::2]), y[i::2]).backward()
        for ps in zip(*[r.parameters() for r in R], strict=False):
            g = sum(p.grad for p in ps) / 2
            for p in ps:
                p.grad = g.clone()
        for o in opts:
            o.step()


def data_parallel_sum():
    m = net()
    x, y = points()
    opt = optim.SGD(m.parameters(), 0.1)
    for _ in range(5):
        opt.zero_grad()
        reps = [copy.deepcopy(m) for _ in range(2)]
        for i, r in enumerate(reps):
            r.zero_grad()
            F.cross_entropy(r(x[i::2]), y[i::2]).backward()
        for p, *qs in zip(m.parameters(), *[r.parameters() for r in reps], strict=False):
            p.grad = sum(q.grad for q in qs) / 2
        opt.step()


def lr_finder():
    m = net()
    st = copy.deepcopy(m.state_dict())
    x, y = points()
    opt = optim.SGD(m.parameters(), 1e-7)
    best = 1e9
    ls = []
    for _i in range(60):
        opt.zero_grad()
        loss = F.cross_entropy(m(x), y)
        loss.backward()
        opt.step()
        ls.append(loss.item())
        best = min(best, ls[-1])
        if ls[-1] > 4 * best:
            break
        for g in opt.param_groups:
            g["lr"] *= 1.35
    m.load_state_dict(st)


def amp():
    m = net()
    x, y = points()
    opt = optim.SGD(m.parameters(), 0.1)
    sc = torch.amp.GradScaler("cpu", init_scale=2.0**40, enabled=True)
    sched = optim.lr_scheduler.CosineAnnealingLR(opt, 10)
    for _i in range(10):
        opt.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(m(x), y)
        sc.scale(loss).backward()
        sc.unscale_(opt)
        nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        sc.step(opt)
        sc.update()
        sched.step()


def swa():
    from tinygrad_edu.optim.swa_utils import SWALR, AveragedModel, update_bn

    m = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    x, y = points()
    dl = DataLoader(TensorDataset(x, y), 16, shuffle=True)
    s = AveragedModel(m)
    opt = optim.SGD(m.parameters(), 0.1)
    sch = optim.lr_scheduler.CosineAnnealingLR(opt, T_max=6)
    sw = SWALR(opt, swa_lr=0.05)
    for ep in range(6):
        for a, b in dl:
            opt.zero_grad()
            F.cross_entropy(m(a), b).backward()
            opt.step()
        if ep > 3:
            s.update_parameters(m)
            sw.step()
        else:
            sch.step()
    update_bn(dl, s)
    s.eval()
    with torch.no_grad():
        (s(x).argmax(1) == y).float().mean().item()


def maml():
    m = nn.Linear(8, 1)
    meta = optim.Adam(m.parameters(), 1e-2)
    from tinygrad_edu.func import functional_call

    for _it in range(5):
        tot = 0.0
        meta.zero_grad()
        for _task in range(3):
            x = torch.randn(8, 8)
            y = x @ torch.randn(8, 1)
            ps = dict(m.named_parameters())
            layer = F.mse_loss(functional_call(m, ps, (x,)), y)
            g = torch.autograd.grad(layer, ps.values(), create_graph=True)
            fast = {k: p - 0.1 * gg for (k, p), gg in zip(ps.items(), g, strict=False)}
            tot = tot + F.mse_loss(functional_call(m, fast, (x,)), y)
        (tot / 3).backward()
        meta.step()


def reptile():
    m = net(8, 1)
    for _it in range(4):
        old = {k: v.clone() for k, v in m.state_dict().items()}
        opt = optim.SGD(m.parameters(), 0.02)
        x = torch.randn(16, 8)
        y = x.sum(1, keepdim=True)
        for _ in range(3):
            opt.zero_grad()
            F.mse_loss(m(x), y).backward()
            opt.step()
        new = m.state_dict()
        m.load_state_dict({k: old[k] + 0.1 * (new[k] - old[k]) for k in old})


def distill():
    t = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3)).eval()
    s = net()
    x, y = points()
    T = 4.0
    opt = optim.Adam(s.parameters())
    for _ in range(6):
        with torch.no_grad():
            tl = t(x)
        o = s(x)
        loss = 0.7 * F.kl_div(
            F.log_softmax(o / T, 1), F.softmax(tl / T, 1), reduction="batchmean"
        ) * T * T + 0.3 * F.cross_entropy(o, y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def vae():
    class V(nn.Module):
        def __init__(s):
            super().__init__()
            s.e = nn.Linear(16, 8)
            s.mu = nn.Linear(8, 2)
            s.lv = nn.Linear(8, 2)
            s.d = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 16))

        def forward(s, x):
            h = F.relu(s.e(x))
            mu, lv = s.mu(h), s.lv(h)
            z = mu + torch.randn_like(mu) * torch.exp(0.5 * lv)
            return torch.sigmoid(s.d(z)), mu, lv

    m = V()
    opt = optim.Adam(m.parameters(), 1e-3)
    x = torch.rand(32, 16)
    tot = 0
    for _ in range(6):
        r, mu, lv = m(x)
        loss = F.binary_cross_entropy(r, x, reduction="sum") - 0.5 * torch.sum(
            1 + lv - mu.pow(2) - lv.exp()
        )
        opt.zero_grad()
        loss.backward()
        tot += loss.item()
        opt.step()
    with torch.no_grad():
        torch.sigmoid(m.d(torch.randn(4, 2))).view(4, 1, 4, 4).numpy()


def simclr():
    m = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
    opt = optim.Adam(m.parameters())
    for _ in range(5):
        x = torch.randn(16, 8)
        z = F.normalize(
            torch.cat([m(x + 0.1 * torch.randn_like(x)), m(x + 0.1 * torch.randn_like(x))]), dim=1
        )
        sim = z @ z.T / 0.5
        sim = sim.masked_fill(torch.eye(32, dtype=torch.bool), float("-inf"))
        loss = F.cross_entropy(sim, torch.arange(32).roll(16))
        opt.zero_grad()
        loss.backward()
        opt.step()


def clip_loss():
    a, b = net(8, 4), net(6, 4)
    ls = nn.Parameter(torch.tensor(2.0))
    opt = optim.Adam([*a.parameters(), *b.parameters(), ls])
    for _ in range(5):
        u = F.normalize(a(torch.randn(16, 8)), dim=-1)
        v = F.normalize(b(torch.randn(16, 6)), dim=-1)
        lg = ls.exp() * u @ v.t()
        y = torch.arange(16)
        value = (F.cross_entropy(lg, y) + F.cross_entropy(lg.t(), y)) / 2
        opt.zero_grad()
        value.backward()
        opt.step()


def byol():
    o = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
    p = nn.Linear(8, 8)
    t = copy.deepcopy(o)
    opt = optim.Adam([*o.parameters(), *p.parameters()])
    for q in t.parameters():
        q.requires_grad = False
    for _ in range(5):
        x = torch.randn(16, 8)
        a, b = x + 0.1 * torch.randn_like(x), x + 0.1 * torch.randn_like(x)
        with torch.no_grad():
            ta = t(a)
        loss = 2 - 2 * F.cosine_similarity(p(o(b)), ta, dim=-1).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        for q, r in zip(t.parameters(), o.parameters(), strict=False):
            q.data = 0.99 * q.data + 0.01 * r.data


def pseudo_labels():
    m = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 3))
    opt = optim.Adam(m.parameters())
    x, y = points()
    for _ in range(5):
        u = torch.randn(32, 8)
        with torch.no_grad():
            pr = F.softmax(m(u), 1)
            conf, lab = pr.max(1)
            mask = (conf > 0.4).float()
        loss = (
            F.cross_entropy(m(x), y)
            + (
                F.cross_entropy(m(u + 0.1 * torch.randn_like(u)), lab, reduction="none") * mask
            ).mean()
        )
        opt.zero_grad()
        loss.backward()
        opt.step()


def pseudo_labels_argmax():
    m = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 3))
    opt = optim.Adam(m.parameters())
    for _ in range(5):
        u = torch.randn(32, 8)
        with torch.no_grad():
            lab = m(u).argmax(1)
        s = m(u * 1.1)
        loss = F.cross_entropy(s, lab)
        opt.zero_grad()
        loss.backward()
        opt.step()


def seq2seq():
    class E(nn.Module):
        def __init__(s):
            super().__init__()
            s.e = nn.Embedding(11, 8)
            s.d = nn.Dropout(0.1)
            s.r = nn.GRU(8, 8, batch_first=True)

        def forward(s, i):
            return s.r(s.d(s.e(i)))

    class Dd(nn.Module):
        def __init__(s):
            super().__init__()
            s.e = nn.Embedding(11, 8)
            s.d = nn.Dropout(0.1)
            s.r = nn.GRU(8, 8, batch_first=True)
            s.o = nn.Linear(8, 11)

        def forward(s, i, h):
            o, h = s.r(s.d(s.e(i)), h)
            return F.log_softmax(s.o(o[:, 0]), 1), h

    e, d = E(), Dd()
    oe, od = optim.SGD(e.parameters(), 0.1), optim.SGD(d.parameters(), 0.1)
    crit = nn.NLLLoss()
    for it in range(5):
        src = torch.randint(2, 11, (4, 6))
        tgt = src.flip(1)
        _, h = e(src)
        inp = torch.ones(4, 1, dtype=torch.long)
        loss = 0
        teach = it % 2 == 0
        for t in range(6):
            o, h = d(inp, h)
            loss = loss + crit(o, tgt[:, t])
            inp = tgt[:, t : t + 1] if teach else o.topk(1)[1].detach()
        oe.zero_grad()
        od.zero_grad()
        (loss / 6).backward()
        oe.step()
        od.step()
    e.eval()
    d.eval()
    with torch.no_grad():
        _, h = e(src)
        inp = torch.ones(4, 1, dtype=torch.long)
        out = []
        for _ in range(6):
            o, h = d(inp, h)
            inp = o.argmax(1, keepdim=True)
            out.append(inp)


def scheduled_sampling_nograd():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), 1e-3)
    for _ in range(4):
        X, Y = batch()
        with torch.no_grad():
            p = m(X)[0].argmax(-1)
        keep = torch.rand(X.shape) < 0.7
        X2 = X.clone()
        X2[:, 1:] = torch.where(keep[:, 1:], X[:, 1:], p[:, :-1])
        _, loss = m(X2, Y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def segment_mask():
    layer = nn.Linear(8, 24)
    x = torch.randn(2, 6, 8)
    seg = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]])

    def f():
        q, k, v = layer(x).chunk(3, -1)
        s = q @ k.mT / 8**0.5
        s = s.masked_fill(seg[:, :, None] != seg[:, None, :], float("-inf"))
        return (s.softmax(-1) @ v).pow(2).mean()

    fit(layer, f, 3)


def int_causal():
    layer = nn.Linear(8, 24)
    x = torch.randn(2, 6, 8)

    def f():
        q, k, v = layer(x).chunk(3, -1)
        s = q @ k.mT / 8**0.5
        mask = torch.ones(6, 6, dtype=torch.int64).triu(1)[None]
        s = s.masked_fill(mask > 0, float("-inf"))
        s = s.masked_fill(torch.tril(torch.ones(1, 6, 6, dtype=torch.int64)) != 1, -1e9)
        return (s.softmax(-1) @ v).pow(2).mean()

    fit(layer, f, 3)


def additive_pad():
    layer = nn.Linear(8, 24)
    x = torch.randn(2, 5, 8)
    i = torch.tensor([[3, 1, 2, 0, 0], [1, 1, 2, 2, 0]])
    m = (i != 0).float()[:, None]

    def f():
        q, k, v = layer(x).chunk(3, -1)
        s = q @ k.mT / 8**0.5 + (1 - m) * -1e4
        return (s.softmax(-1) @ v).pow(2).mean()

    fit(layer, f, 3)


def imbalanced():
    x = torch.randn(400, 8)
    y = torch.zeros(400)
    y[torch.tensor([47, 95, 103, 210, 300])] = 1.0
    m = nn.Linear(8, 1)
    opt = optim.SGD(m.parameters(), 0.1)
    for a, b in DataLoader(TensorDataset(x, y), 8):
        opt.zero_grad()
        F.binary_cross_entropy_with_logits(
            m(a).squeeze(1), b, pos_weight=torch.tensor(10.0)
        ).backward()
        opt.step()


def binary_small_batches():
    x = torch.randn(2000, 4)
    y = (x[:, 0] > 0).long()
    m = nn.Linear(4, 2)
    opt = optim.SGD(m.parameters(), 0.1)
    for a, b in DataLoader(TensorDataset(x, y), 4, shuffle=True):
        opt.zero_grad()
        F.cross_entropy(m(a), b).backward()
        opt.step()


def folds_with_schedules():
    x, y = points()
    for _fold in range(3):
        m = net()
        opt = optim.SGD(m.parameters(), 0.1)
        s = optim.lr_scheduler.StepLR(opt, 3, 0.1)
        for _ep in range(10):
            opt.zero_grad()
            F.cross_entropy(m(x), y).backward()
            opt.step()
            s.step()


def folds_fn():
    x, y = points()

    def fit():
        m = net()
        opt = optim.SGD(m.parameters(), 0.1)
        s = optim.lr_scheduler.ExponentialLR(opt, 0.7)
        for _ep in range(10):
            opt.zero_grad()
            F.cross_entropy(m(x), y).backward()
            opt.step()
            s.step()

    for _seed in range(3):
        fit()


def checkpointing():
    from tinygrad_edu.utils.checkpoint import checkpoint

    a, b = net(8, 8), net()
    x, y = points()
    opt = optim.SGD([*a.parameters(), *b.parameters()], 0.1)
    for _ in range(4):
        opt.zero_grad()
        F.cross_entropy(b(checkpoint(a, x, use_reentrant=False)), y).backward()
        opt.step()


def vq_straight():
    e, d = net(8, 4), net(4, 8)
    cb = nn.Embedding(6, 4)
    x = torch.randn(32, 8)
    opt = optim.Adam([*e.parameters(), *d.parameters(), *cb.parameters()])
    for _ in range(5):
        z = e(x)
        i = torch.cdist(z, cb.weight).argmin(1)
        q = cb(i)
        value = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
        q = z + (q - z).detach()
        value = value + F.mse_loss(d(q), x)
        opt.zero_grad()
        value.backward()
        opt.step()


def gumbel():
    m = net()
    x, y = points()
    fit(m, lambda: (F.gumbel_softmax(m(x), tau=1.0, hard=True) * torch.randn(3)).sum(1).mean())


def attention_pool_batch():
    a = nn.Linear(8, 1)
    x = torch.randn(20, 8)
    h = nn.Linear(8, 1)
    m = nn.ModuleList([a, h])

    def f():
        w = torch.softmax(a(x), dim=0)
        return F.binary_cross_entropy_with_logits(h((w * x).sum(0)), torch.ones(1))

    fit(m, f)


def diffusion():
    m = nn.Sequential(nn.Linear(9, 32), nn.SiLU(), nn.Linear(32, 8))
    ab = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 50), 0)

    def f():
        x = torch.randn(32, 8)
        t = torch.randint(0, 50, (32,))
        n = torch.randn_like(x)
        a = ab[t][:, None]
        xt = a.sqrt() * x + (1 - a).sqrt() * n
        return F.mse_loss(m(torch.cat([xt, t[:, None] / 50], 1)), n)

    fit(m, f)
    with torch.no_grad():
        x = torch.randn(4, 8)
        for t in reversed(range(5)):
            x = x - 0.1 * m(torch.cat([x, torch.full((4, 1), t / 50)], 1))


def pinn():
    m = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))

    def f():
        x = torch.rand(32, 1, requires_grad=True)
        u = m(x)
        du = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
        return (du + u).pow(2).mean() + (m(torch.zeros(1, 1)) - 1).pow(2).mean()

    fit(m, f, 10, 0.01)


def gradient_logging():
    m = net()
    x, y = points()
    opt = optim.Adam(m.parameters())
    log = []
    for _ in range(6):
        opt.zero_grad()
        loss = F.cross_entropy(m(x), y)
        loss.backward()
        opt.step()
        log.append({n: p.grad.norm().item() for n, p in m.named_parameters()})
        nn.utils.clip_grad_norm_(m.parameters(), float("inf"))


def lr_warm_restart():
    m = net()
    x, y = points()
    opt = optim.SGD(m.parameters(), 0.1)
    s = optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=3)
    dl = DataLoader(TensorDataset(x, y), 16, shuffle=True)
    for ep in range(8):
        for i, (a, b) in enumerate(dl):
            opt.zero_grad()
            F.cross_entropy(m(a), b).backward()
            opt.step()
            s.step(ep + i / len(dl))


def one_cycle():
    m = net()
    x, y = points()
    opt = optim.SGD(m.parameters(), 0.1)
    dl = DataLoader(TensorDataset(x, y), 16, shuffle=True)
    s = optim.lr_scheduler.OneCycleLR(opt, 0.1, epochs=5, steps_per_epoch=len(dl))
    for _ep in range(5):
        for a, b in dl:
            opt.zero_grad()
            F.cross_entropy(m(a), b).backward()
            opt.step()
            s.step()


def knn_eval():
    m = net(8, 4)
    x, y = points()
    fit(m, lambda: m(x).pow(2).mean())
    m.eval()
    with torch.no_grad():
        z = m(x)
    d = torch.cdist(z, z)
    p = d.topk(4, largest=False).indices
    (y[p[:, 1:]].mode(1).values == y).float().mean().item()


def als():
    U = torch.randn(10, 3, requires_grad=True)
    V = torch.randn(8, 3, requires_grad=True)
    R = torch.randn(10, 8)
    a, b = optim.SGD([U], 0.05), optim.SGD([V], 0.05)
    for i in range(10):
        loss = (U @ V.T - R).pow(2).mean()
        a.zero_grad()
        b.zero_grad()
        loss.backward()
        (a if i % 2 else b).step()


def sam_opt():
    m = net()
    x, y = points()
    opt = optim.SGD(m.parameters(), 0.1)
    for _ in range(5):
        F.cross_entropy(m(x), y).backward()
        es = []
        with torch.no_grad():
            n = torch.stack([p.grad.norm() for p in m.parameters()]).norm()
            for p in m.parameters():
                e = p.grad * 0.05 / (n + 1e-12)
                p.add_(e)
                es.append(e)
        m.zero_grad()
        F.cross_entropy(m(x), y).backward()
        with torch.no_grad():
            for p, e in zip(m.parameters(), es, strict=False):
                p.sub_(e)
        opt.step()
        m.zero_grad()


def cutmix():
    m = net()
    x, y = points()

    def f():
        lam = 0.3
        j = torch.randperm(64)
        o = m(lam * x + (1 - lam) * x[j])
        return lam * F.cross_entropy(o, y) + (1 - lam) * F.cross_entropy(o, y[j])

    fit(m, f)


def regression_raw_scale():
    x = torch.linspace(-3, 3, 64)[:, None]
    y = torch.sin(x)
    m = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    fit(m, lambda: F.mse_loss(m(x), y), 30, 0.01)


def multi_label():
    m = net(8, 5)
    x = torch.randn(32, 8)
    y = torch.randint(0, 2, (32, 5)).float()
    fit(m, lambda: F.binary_cross_entropy_with_logits(m(x), y))
    m.eval()
    with torch.no_grad():
        p = torch.sigmoid(m(x)) > 0.5
        (p == y.bool()).float().mean().item()
        (p == y.bool()).all(1).float().mean()


def segmentation():
    m = nn.Conv2d(3, 4, 3, padding=1)
    x = torch.randn(4, 3, 8, 8)
    y = torch.randint(0, 4, (4, 8, 8))
    fit(
        m,
        lambda: (
            F.cross_entropy(m(x), y)
            + 1
            - (
                2
                * (m(x).softmax(1) * F.one_hot(y, 4).permute(0, 3, 1, 2)).sum()
                / (m(x).softmax(1).sum() + y.numel())
            )
        ),
    )


def nhwc():
    m = nn.Linear(3, 4)
    x = torch.randn(4, 3, 8, 8)
    fit(
        m,
        lambda: (
            m(x.permute(0, 2, 3, 1).reshape(-1, 3))
            .view(4, 8, 8, 4)
            .permute(0, 3, 1, 2)
            .pow(2)
            .mean()
        ),
    )


def pixel_unshuffle():
    m = nn.Linear(12, 4)
    x = torch.randn(2, 3, 8, 8)
    fit(
        m,
        lambda: (
            m(x.view(2, 3, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(2, 16, 12)).pow(2).mean()
        ),
    )


def two_backward_one_step():
    m = net()
    x, y = points()
    opt = optim.SGD(m.parameters(), 0.1)
    for _ in range(5):
        opt.zero_grad()
        h = m(x)
        F.cross_entropy(h, y).backward(retain_graph=True)
        (1e-3 * h.pow(2).mean()).backward()
        opt.step()


def rnn_many_to_one_eval():
    r = nn.RNN(4, 8, batch_first=True)
    o = nn.Linear(8, 2)
    ps = [*r.parameters(), *o.parameters()]
    opt = optim.Adam(ps)
    x = torch.randn(16, 6, 4)
    y = torch.randint(0, 2, (16,))
    for _ in range(5):
        _, h = r(x)
        loss = F.cross_entropy(o(h[-1]), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        (o(r(x)[1][-1]).argmax(1) == y).float().mean().item()


def train_metric_while_training():
    m = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 3))
    x, y = points()
    opt = optim.Adam(m.parameters())
    c = 0
    for _ in range(5):
        o = m(x)
        loss = F.cross_entropy(o, y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        c += (o.argmax(1) == y).sum().item()
        o.detach().numpy()


def bn_recalibrate():
    m = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y))
    m.train()
    with torch.no_grad():
        for i in range(0, 64, 16):
            m(x[i : i + 16])
    m.eval()
    with torch.no_grad():
        (m(x).argmax(1) == y).float().mean().item()
