"""The same: sequences and masks, folds, codes, equations, images."""

from __future__ import annotations

from doctor.gpt import GPT, GPTConfig, batch, fit, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn, optim
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, TensorDataset


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
