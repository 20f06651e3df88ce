"""The same: control, precision, averages, learning to learn, contrast."""

from __future__ import annotations

import copy

from doctor.gpt import net, points

import tinygrad_edu as torch
from tinygrad_edu import nn, optim
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, TensorDataset


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
