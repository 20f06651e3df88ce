"""Bugs of the loop in other styles: GPT, trainers, functions, plain tensors."""

from __future__ import annotations

import copy

from doctor.gpt import GPT, GPTConfig, batch, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn, optim
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, TensorDataset


def zero_grad_missing_gpt():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), lr=1e-3)
    for _it in range(5):
        X, Y = batch()
        logits, loss = m(X, Y)
        loss.backward()  # BUG: zero-grad-missing
        nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()


def zero_grad_missing_manual_tensors():
    w1 = torch.randn(8, 16, requires_grad=True)
    b = torch.zeros(16, requires_grad=True)
    w2 = torch.randn(16, 1, requires_grad=True)
    x = torch.randn(32, 8)
    y = torch.randn(32, 1)
    for _t in range(20):
        pred = (x @ w1 + b).clamp(min=0) @ w2
        loss = (pred - y).pow(2).mean()
        loss.backward()  # BUG: zero-grad-missing
        with torch.no_grad():
            for p in (w1, b, w2):
                p.sub_(1e-4 * p.grad)


def zero_grad_missing_epoch_level():
    x, y = points()
    m = net()
    opt = optim.Adam(m.parameters())
    dl = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    for _ep in range(2):
        opt.zero_grad()
        for xb, yb in dl:
            loss = F.cross_entropy(m(xb), yb)
            loss.backward()  # BUG: zero-grad-missing
            opt.step()


def zero_grad_before_step_trainer():
    class Trainer:
        def __init__(s):
            s.m = net()
            s.opt = optim.SGD(s.m.parameters(), lr=0.1)

        def step(s, x, y):
            loss = F.cross_entropy(s.m(x), y)
            loss.backward()
            s.opt.zero_grad()  # BUG: zero-grad-before-step
            s.opt.step()
            return loss.item()

    t = Trainer()
    x, y = points()
    for _ in range(4):
        t.step(x, y)


def zero_grad_before_step_functions():
    def backward(opt, loss):
        loss.backward()
        opt.zero_grad(set_to_none=False)  # BUG: zero-grad-before-step

    m = nn.Linear(8, 1)
    opt = optim.RMSprop(m.parameters())
    x = torch.randn(32, 8)
    for _ in range(4):
        backward(opt, (m(x) - 1).abs().mean())
        opt.step()


def step_missing_trainer():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), lr=1e-3)
    for _it in range(30):
        X, Y = batch()
        _, loss = m(X, Y)
        opt.zero_grad()
        loss.backward()  # BUG: step-missing


def step_missing_gan():
    G = net(4, 8)
    D = net(8, 1)
    g = optim.Adam(G.parameters())
    d = optim.Adam(D.parameters())
    bce = nn.BCEWithLogitsLoss()
    for _ in range(12):
        real = torch.randn(16, 8)
        fake = G(torch.randn(16, 4))
        d.zero_grad()
        ld = bce(D(real), torch.ones(16, 1)) + bce(D(fake.detach()), torch.zeros(16, 1))
        ld.backward()
        d.step()
        g.zero_grad()
        lg = bce(D(fake), torch.ones(16, 1))
        lg.backward()  # BUG: step-missing


def step_before_backward_fn():
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)
    x, y = points()

    def train_one(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(m(x), y)
        opt.step()  # BUG: step-before-backward
        loss.backward()
        return loss.item()

    for _ in range(5):
        train_one(x, y)


def step_before_backward_adam():
    w = nn.Parameter(torch.randn(8))
    opt = optim.Adam([w], 1e-2)
    x = torch.randn(32, 8)
    t = torch.randn(32)
    for _ in range(5):
        loss = F.mse_loss(x @ w, t)
        opt.step()  # BUG: step-before-backward
        opt.zero_grad()
        loss.backward()


def optimizer_other_parameters_copy():
    m = GPT(GPTConfig())
    m2 = copy.deepcopy(m)
    opt = optim.AdamW(m2.parameters(), lr=1e-3)  # BUG: optimizer-other-parameters
    for _it in range(5):
        X, Y = batch()
        _, loss = m(X, Y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def optimizer_stale_parameters_layer():
    m = net()
    opt = optim.Adam(m.parameters())  # BUG: optimizer-stale-parameters
    m[-1] = nn.Linear(16, 5)
    x = torch.randn(32, 8)
    y = torch.randint(0, 5, (32,))
    for _ in range(4):
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()


def optimizer_stale_parameters_reinit():
    class Net(nn.Module):
        def __init__(s):
            super().__init__()
            s.w = nn.Parameter(torch.randn(8, 3))
            s.b = nn.Parameter(torch.zeros(3))

        def forward(s, x):
            return x @ s.w + s.b

    m = Net()
    opt = optim.SGD(m.parameters(), 0.1)  # BUG: optimizer-stale-parameters
    m.w = nn.Parameter(torch.randn(8, 3) * 0.01)
    x, y = points()
    for _ in range(5):
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()


def parameter_unreached_skip():
    class Net(nn.Module):
        def __init__(s):
            super().__init__()
            s.a = nn.Linear(8, 8)
            s.skip = nn.Linear(8, 8)
            s.o = nn.Linear(8, 3)

        def forward(s, x):
            return s.o(s.a(x).tanh())

    m = Net()
    opt = optim.SGD(m.parameters(), 0.1)
    x, y = points()
    for _ in range(8):
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()  # BUG: parameter-unreached


def parameter_unreached_overwritten():
    m1, m2 = net(8, 8), net(8, 3)
    opt = optim.Adam([*m1.parameters(), *m2.parameters()])
    x, y = points()
    for _ in range(8):
        m1(x)
        out = m2(x)
        loss = F.cross_entropy(out, y)
        opt.zero_grad()
        loss.backward()
        opt.step()  # BUG: parameter-unreached


def parameter_not_optimized_vae():
    enc = nn.Linear(8, 4)
    dec = nn.Linear(4, 8)
    opt = optim.Adam(enc.parameters(), 1e-2)  # BUG: parameter-not-optimized
    x = torch.randn(64, 8)
    for _ in range(8):
        opt.zero_grad()
        F.mse_loss(dec(enc(x).relu()), x).backward()
        opt.step()


def parameter_not_optimized_raw():
    w = nn.Parameter(torch.randn(8, 3))
    b = nn.Parameter(torch.zeros(3))
    opt = optim.SGD([w], 0.1)  # BUG: parameter-not-optimized
    x, y = points()
    for _ in range(8):
        opt.zero_grad()
        F.cross_entropy(x @ w + b, y).backward()
        opt.step()


def gradient_discarded_accum():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), lr=1e-3)
    for _it in range(4):
        for _micro in range(3):
            opt.zero_grad()  # BUG: gradient-discarded
            X, Y = batch()
            _, loss = m(X, Y)
            (loss / 3).backward()
        opt.step()


def gradient_discarded_model():
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)
    x, y = points()
    for i in range(16):
        m.zero_grad()  # BUG: gradient-discarded
        loss = F.cross_entropy(m(x), y) / 4
        loss.backward()
        if (i + 1) % 4 == 0:
            opt.step()


def clip_after_step_value():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), lr=1e-3)
    for _it in range(4):
        X, Y = batch()
        _, loss = m(X, Y)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 0.5)  # BUG: clip-after-step


def clip_after_step_lstm():
    m = nn.LSTM(4, 8, batch_first=True)
    h = nn.Linear(8, 1)
    ps = list(m.parameters()) + list(h.parameters())
    opt = optim.SGD(ps, 0.1)
    for _ in range(4):
        opt.zero_grad()
        o, _s = m(torch.randn(4, 6, 4))
        h(o[:, -1]).pow(2).mean().backward()
        opt.step()
        nn.utils.clip_grad_value_(ps, 0.1)  # BUG: clip-after-step


def clip_before_backward_fn():
    m = net()
    opt = optim.Adam(m.parameters())
    x, y = points()
    for _ in range(4):
        opt.zero_grad()
        loss = F.cross_entropy(m(x), y)
        torch.nn.utils.clip_grad_norm_(m.parameters(), max_norm=1.0)  # BUG: clip-before-backward
        loss.backward()
        opt.step()


def clip_before_backward_nozero():
    m = nn.LSTM(4, 8, batch_first=True)
    opt = optim.Adam(m.parameters())
    for _ in range(4):
        o, _s = m(torch.randn(4, 6, 4))
        loss = o.pow(2).mean()
        nn.utils.clip_grad_value_(m.parameters(), 0.1)  # BUG: clip-before-backward
        loss.backward()
        opt.step()
        opt.zero_grad()


def accumulation_not_divided_gpt():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), lr=1e-3)
    for _it in range(4):
        for _micro in range(4):
            X, Y = batch()
            _, loss = m(X, Y)
            loss.backward()  # BUG: accumulation-not-divided
        opt.step()
        opt.zero_grad(set_to_none=True)


def accumulation_not_divided_l1():
    m = net(c=1)
    opt = optim.SGD(m.parameters(), 0.01)
    crit = nn.L1Loss()
    i = 0
    for i in range(12):
        x = torch.randn(8, 8)
        loss = crit(m(x), x[:, :1])
        loss.backward()  # BUG: accumulation-not-divided
        if i % 4 == 3:
            opt.step()
            opt.zero_grad()


def scheduler_missing_missing():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), lr=1e-3)
    optim.lr_scheduler.CosineAnnealingLR(opt, T_max=10)  # BUG: scheduler-missing
    for _it in range(6):
        X, Y = batch()
        _, loss = m(X, Y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def scheduler_missing_missing_cls():
    class T:
        def __init__(s):
            s.m = net()
            s.o = optim.SGD(s.m.parameters(), 0.1)
            s.s = optim.lr_scheduler.MultiStepLR(s.o, [2, 4])  # BUG: scheduler-missing

        def fit(s, x, y):
            for _ in range(5):
                s.o.zero_grad()
                F.cross_entropy(s.m(x), y).backward()
                s.o.step()

    T().fit(*points())


def scheduler_per_batch_exp():
    x, y = points(96)
    dl = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    m = net()
    opt = optim.Adam(m.parameters())
    sch = optim.lr_scheduler.ExponentialLR(opt, gamma=0.5)

    def epoch():
        for a, b in dl:
            opt.zero_grad()
            F.cross_entropy(m(a), b).backward()
            opt.step()
            sch.step()  # BUG: scheduler-per-batch

    for _ in range(2):
        epoch()


def scheduler_per_batch_multi():
    x, y = points(96)
    dl = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)
    sch = optim.lr_scheduler.MultiStepLR(opt, milestones=[3, 6], gamma=0.1)
    for _ep in range(8):
        for a, b in dl:
            opt.zero_grad()
            F.cross_entropy(m(a), b).backward()
            opt.step()
            sch.step()  # BUG: scheduler-per-batch


def scheduler_per_batch_cos_cls():
    class T:
        def __init__(s):
            x, y = points(96)
            s.dl = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
            s.m = net()
            s.o = optim.SGD(s.m.parameters(), 0.1)
            s.s = optim.lr_scheduler.CosineAnnealingLR(s.o, T_max=10)

        def step(s, a, b):
            s.o.zero_grad()
            F.cross_entropy(s.m(a), b).backward()
            s.o.step()
            s.s.step()  # BUG: scheduler-per-batch

        def fit(s):
            for _e in range(2):
                for a, b in s.dl:
                    s.step(a, b)

    T().fit()


def scheduler_past_end_fn():
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)
    x, y = points()
    sch = optim.lr_scheduler.CosineAnnealingLR(opt, T_max=5)
    for _ep in range(12):
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()
        sch.step()  # BUG: scheduler-past-end


def scheduler_past_end_one():
    x, y = points()
    dl = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    m = net()
    opt = optim.AdamW(m.parameters())
    sch = optim.lr_scheduler.CosineAnnealingLR(opt, 3, eta_min=1e-5)
    for _ep in range(6):
        for a, b in dl:
            opt.zero_grad()
            F.cross_entropy(m(a), b).backward()
            opt.step()
        sch.step()  # BUG: scheduler-past-end


def scheduler_before_optimizer_a():
    x, y = points()
    dl = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)
    sch = optim.lr_scheduler.StepLR(opt, 1, gamma=0.5)
    for _ep in range(4):
        sch.step()  # BUG: scheduler-before-optimizer
        for a, b in dl:
            opt.zero_grad()
            F.cross_entropy(m(a), b).backward()
            opt.step()


def scheduler_before_optimizer_b():
    m = net()
    opt = optim.Adam(m.parameters())
    x, y = points()
    sch = optim.lr_scheduler.LambdaLR(opt, lambda s: 1 / (1 + s))
    for _ep in range(4):
        loss = F.cross_entropy(m(x), y)
        opt.zero_grad()
        loss.backward()
        sch.step()  # BUG: scheduler-before-optimizer
        opt.step()


def learning_rate_vanished_exp():
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)
    x, y = points()
    sch = optim.lr_scheduler.ExponentialLR(opt, 0.1)
    for _ep in range(18):
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()
        sch.step()  # BUG: learning-rate-vanished


def learning_rate_vanished_lambda():
    m = net()
    opt = optim.Adam(m.parameters(), 1e-2)
    x, y = points()
    sch = optim.lr_scheduler.LambdaLR(opt, lambda e: max(0.0, 1 - e / 4))
    for _ep in range(16):
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()
        sch.step()  # BUG: learning-rate-vanished


def learning_rate_vanished_hand():
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)  # BUG: learning-rate-vanished
    x, y = points()
    for _ep in range(16):
        for g in opt.param_groups:
            g["lr"] *= 0.1
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()


def diverging_raw():
    w = torch.randn(8, 1, requires_grad=True)
    x = torch.randn(64, 8)
    y = x @ torch.ones(8, 1)
    for _ in range(20):
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()  # BUG: diverging
        with torch.no_grad():
            w -= 3.0 * w.grad
            w.grad.zero_()


def diverging_mlp():
    m = net(8, 1, 64)
    opt = optim.SGD(m.parameters(), lr=5.0)
    x = torch.randn(64, 8)
    t = x.sum(1, keepdim=True)
    for _ in range(15):
        opt.zero_grad()
        layer = nn.MSELoss()(m(x), t)
        layer.backward()  # BUG: diverging
        opt.step()


def loss_start_gpt():
    c = GPTConfig()
    m = GPT(c)
    nn.init.normal_(m.lm_head.weight, std=5.0)
    opt = optim.AdamW(m.parameters(), 1e-3)
    for _it in range(3):
        X, Y = batch()
        logits, _ = m(X)
        loss = F.cross_entropy(logits.view(-1, 11), Y.view(-1))  # BUG: loss-start
        opt.zero_grad()
        loss.backward()
        opt.step()


def loss_start_raw():
    x, y = points()
    W = (10 * torch.randn(8, 3)).requires_grad_()
    for _ in range(3):
        loss = nn.CrossEntropyLoss()(x @ W, y)  # BUG: loss-start
        loss.backward()
        W.data -= 0.1 * W.grad
        W.grad = None
