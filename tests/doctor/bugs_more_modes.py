"""Bugs of modes, of graphs kept and of states, in other styles."""

from __future__ import annotations

import numpy as np
from doctor.gpt import GPT, GPTConfig, batch, fit, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn, optim
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, TensorDataset


def eval_forgotten_estimate_loss():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), 1e-3)

    @torch.no_grad()
    def estimate_loss():
        out = {}
        for split in ["train", "val"]:
            losses = torch.zeros(3)
            for k in range(3):
                X, Y = batch()
                logits, loss = m(X, Y)  # BUG: eval-forgotten
                losses[k] = loss.item()
            out[split] = losses.mean()
        return out

    for it in range(4):
        if it % 2 == 0:
            estimate_loss()
        X, Y = batch()
        _, loss = m(X, Y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def eval_forgotten_test_fn():
    m = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    )
    opt = optim.SGD(m.parameters(), 0.1)
    x = torch.randn(32, 1, 8, 8)
    y = torch.randint(0, 3, (32,))
    dl = DataLoader(TensorDataset(x, y), 8, shuffle=True)

    def train():
        for a, b in dl:
            opt.zero_grad()
            F.cross_entropy(m(a), b).backward()
            opt.step()

    def test():
        correct = 0
        with torch.no_grad():
            for a, b in dl:
                out = m(a)  # BUG: eval-forgotten
                correct += (out.argmax(1) == b).sum().item()
        return correct / len(x)

    train()
    test()


def eval_forgotten_lstm():
    class C(nn.Module):
        def __init__(s):
            super().__init__()
            s.r = nn.LSTM(4, 8, num_layers=2, dropout=0.5, batch_first=True)
            s.o = nn.Linear(8, 2)

        def forward(s, x):
            o, _ = s.r(x)
            return s.o(o[:, -1])

    m = C()
    x = torch.randn(16, 5, 4)
    y = torch.randint(0, 2, (16,))
    fit(m, lambda: F.cross_entropy(m(x), y))
    with torch.inference_mode():
        p = m(x)  # BUG: eval-forgotten
        (p.max(1).indices == y).float().mean()


def eval_forgotten_predict():
    m = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    x = torch.randn(32, 8)
    y = x.sum(1, keepdim=True)
    fit(m, lambda: F.mse_loss(m(x), y))
    with torch.no_grad():
        p = m(x)  # BUG: eval-forgotten
    np.sqrt(((p.numpy() - y.numpy()) ** 2).mean())


def eval_forgotten_predict_argmax_np():
    m = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 3))
    x, y = points()
    fit(m, lambda: F.cross_entropy(m(x), y))
    preds = []
    with torch.no_grad():
        for i in range(0, 64, 16):
            out = m(x[i : i + 16])  # BUG: eval-forgotten
            preds.append(out.argmax(dim=1))
    (torch.cat(preds) == y).float().mean().item()


def eval_forgotten_generate():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), 1e-3)
    for _it in range(3):
        X, Y = batch()
        _, loss = m(X, Y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    idx = torch.zeros((1, 1), dtype=torch.long)
    with torch.no_grad():
        for _ in range(6):
            logits, _ = m(idx[:, -8:])  # BUG: eval-forgotten
            probs = F.softmax(logits[:, -1], -1)
            idx = torch.cat((idx, torch.multinomial(probs, 1)), 1)


def eval_forgotten_recorded():
    m = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 3))
    x, y = points()
    xv, yv = points()
    opt = optim.Adam(m.parameters())
    for _ep in range(4):
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()
        out = m(xv)  # BUG: eval-forgotten
        (out.argmax(1) == yv).float().mean().item()


def train_forgotten_gpt():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), 1e-3)

    def estimate():
        m.eval()
        with torch.no_grad():
            return m(*batch())[1].item()

    for it in range(6):
        if it % 3 == 1:
            estimate()
        X, Y = batch()
        logits, loss = m(X, Y)  # BUG: train-forgotten
        opt.zero_grad()
        loss.backward()
        opt.step()


def train_forgotten_cls():
    class T:
        def __init__(s):
            s.m = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
            s.o = optim.SGD(s.m.parameters(), 0.1)
            s.m.train()

        def train_epoch(s, x, y):
            out = s.m(x)  # BUG: train-forgotten
            loss = F.cross_entropy(out, y)
            s.o.zero_grad()
            loss.backward()
            s.o.step()

        def validate(s, x, y):
            s.m.eval()
            with torch.no_grad():
                return (s.m(x).argmax(1) == y).float().mean().item()

    t = T()
    x, y = points()
    for _ in range(4):
        t.train_epoch(x, y)
        t.validate(x, y)


def no_grad_missing_val():
    m = net()
    opt = optim.Adam(m.parameters())
    x, y = points()
    xv, yv = points()

    def validate():
        m.eval()
        tot = 0.0
        for i in range(0, 64, 16):
            out = m(xv[i : i + 16])  # BUG: no-grad-missing
            tot += F.cross_entropy(out, yv[i : i + 16]).item()
        m.train()
        return tot

    for _ep in range(3):
        opt.zero_grad()
        F.cross_entropy(m(x), y).backward()
        opt.step()
        validate()


def no_grad_missing_gpt():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), 1e-3)
    for _it in range(4):
        X, Y = batch()
        _, loss = m(X, Y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        m.eval()
        for _ in range(2):
            lg, value = m(*batch())  # BUG: no-grad-missing
            value.item()
        m.train()


def no_grad_missing_infer():
    m = nn.Conv2d(1, 2, 3)
    opt = optim.SGD(m.parameters(), 0.1)
    for _ in range(3):
        opt.zero_grad()
        m(torch.randn(4, 1, 8, 8)).pow(2).mean().backward()
        opt.step()
    m.eval()
    outs = []
    for _i in range(5):
        y = m(torch.randn(4, 1, 8, 8))  # BUG: no-grad-missing
        outs.append(y.detach().numpy())


def graph_kept_avg():
    m = net()
    opt = optim.SGD(m.parameters(), 0.1)
    x, y = points()
    avg = 0
    for _i in range(20):
        opt.zero_grad()
        loss = F.cross_entropy(m(x), y)
        loss.backward()
        opt.step()
        avg = 0.9 * avg + 0.1 * loss  # BUG: graph-kept


def graph_kept_dict():
    m = GPT(GPTConfig())
    opt = optim.AdamW(m.parameters(), 1e-3)
    log = {}
    for it in range(16):
        X, Y = batch()
        _, loss = m(X, Y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        log[it] = loss  # BUG: graph-kept


def graph_kept_self():
    class T:
        def __init__(s):
            s.m = net()
            s.o = optim.SGD(s.m.parameters(), 0.1)
            s.total = 0.0

        def step(s, x, y):
            loss = F.cross_entropy(s.m(x), y)
            s.o.zero_grad()
            loss.backward()
            s.o.step()
            s.total += loss  # BUG: graph-kept

    t = T()
    x, y = points()
    for _ in range(18):
        t.step(x, y)


def graph_kept_return():
    m = net()
    o = optim.SGD(m.parameters(), 0.1)
    x, y = points()

    def step():
        loss = F.cross_entropy(m(x), y)
        o.zero_grad()
        loss.backward()
        o.step()
        return loss

    hist = []
    for _ in range(18):
        loss = step()
        hist.append(loss)  # BUG: graph-kept


def state_not_detached_lstm():
    r = nn.LSTM(4, 8, batch_first=True)
    o = nn.Linear(8, 1)
    opt = optim.Adam([*r.parameters(), *o.parameters()])
    hidden = (torch.zeros(1, 2, 8), torch.zeros(1, 2, 8))
    for _ in range(4):
        out, hidden = r(torch.randn(2, 5, 4), hidden)  # BUG: state-not-detached
        loss = o(out).pow(2).mean()
        opt.zero_grad()
        loss.backward(retain_graph=True)
        opt.step()


def state_not_detached_manual():
    W = nn.Parameter(torch.randn(8, 8) * 0.1)
    U = nn.Parameter(torch.randn(4, 8) * 0.1)
    opt = optim.SGD([W, U], 0.1)
    h = torch.zeros(2, 8)
    for _ in range(4):
        h = torch.tanh(h @ W + torch.randn(2, 4) @ U)  # BUG: state-not-detached
        loss = h.sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
