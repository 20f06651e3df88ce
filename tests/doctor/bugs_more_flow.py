"""Bugs of modes and of what flows, in other styles."""

from __future__ import annotations

import numpy as np
from doctor.gpt import GPT, CausalSelfAttention, GPTConfig, batch, fit, net, points

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


def accuracy_range_a():
    m = net(8, 1)
    x = torch.randn(32, 8)
    y = (x[:, 0] > 0).float()
    fit(m, lambda: F.binary_cross_entropy_with_logits(m(x).squeeze(1), y))
    with torch.no_grad():
        ((torch.sigmoid(m(x)) > 0.5).float() == y).float().mean()  # BUG: accuracy-range


def accuracy_range_c():
    m = net()
    x, y = points()
    dl = DataLoader(TensorDataset(x, y), 16, shuffle=True)
    fit(m, lambda: F.cross_entropy(m(x), y))
    correct = torch.tensor(0)
    with torch.no_grad():
        for a, b in dl:
            correct += (m(a).argmax(1) == b).sum()
    100 * correct / len(dl)  # BUG: accuracy-range


def view_mixes_axes_a():
    x = torch.randn(4, 3, 8, 8)
    m = nn.Linear(3, 4)
    fit(m, lambda: m(x.reshape(4, 8, 8, 3)).pow(2).mean())  # BUG: view-mixes-axes


def view_mixes_axes_b():
    layer = nn.Linear(16, 48)
    x = torch.randn(2, 5, 16)

    def f():
        q, k, v = layer(x).chunk(3, -1)
        q = q.contiguous().view(2, 4, 5, 4)  # BUG: view-mixes-axes
        return q.pow(2).mean()

    fit(layer, f)


def view_mixes_axes_c():
    r = nn.LSTM(4, 8)
    h = nn.Linear(8, 2)
    x = torch.randn(7, 3, 4)
    y = torch.randint(0, 2, (3, 7))
    m = nn.ModuleList([r, h])

    def f():
        o = h(r(x)[0])
        o = o.view(3, 7, 2)  # BUG: view-mixes-axes
        return F.cross_entropy(o.flatten(0, 1), y.flatten())

    fit(m, f)


def mask_inverted_a():
    m = nn.MultiheadAttention(16, 2, batch_first=True)
    x = torch.randn(2, 6, 16)
    mask = torch.tril(torch.ones(6, 6)).bool()
    fit(m, lambda: m(x, x, x, attn_mask=mask)[0].pow(2).mean(), 2)  # BUG: mask-inverted


def mask_inverted_b():
    class A(CausalSelfAttention):
        def forward(s, x):
            q, k, v = s.c_attn(x).chunk(3, -1)
            T = x.shape[1]
            a = q @ k.transpose(-2, -1) / 4
            a = a.masked_fill(s.bias[0, 0, :T, :T] == 1, float("-inf"))  # BUG: mask-inverted
            return a.softmax(-1) @ v

    m = A(GPTConfig())
    x = torch.randn(2, 8, 16)
    fit(m, lambda: m(x).pow(2).mean(), 2)


def mask_inverted_c():
    m = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    e = nn.Embedding(9, 16, padding_idx=0)
    i = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0]])
    pad = i != 0
    fit(m, lambda: m(e(i), src_key_padding_mask=pad).pow(2).mean(), 2)  # BUG: mask-inverted


def mask_inverted_d():
    q = torch.randn(2, 2, 6, 8, requires_grad=True)
    m = torch.triu(torch.ones(6, 6), 1).bool()
    o = F.scaled_dot_product_attention(q, q, q, attn_mask=m)  # BUG: mask-inverted
    o.sum().backward()


def mask_inverted_where():
    layer = nn.Linear(8, 8)
    x = torch.randn(2, 5, 8)
    t = torch.tril(torch.ones(5, 5)).bool()

    def f():
        s = layer(x) @ x.mT
        s = torch.where(t, torch.tensor(float("-inf")), s)
        return (s.softmax(-1) @ x).nan_to_num().mean()  # BUG: mask-inverted

    fit(layer, f, 2)


def mask_hides_all_a():
    layer = nn.Linear(8, 8)
    x = torch.randn(2, 5, 8)
    i = torch.tensor([[3, 1, 2, 0, 0], [0, 0, 0, 0, 0]])

    def f():
        s = layer(x) @ x.mT
        s = s.masked_fill((i == 0)[:, None], float("-inf"))
        w = torch.softmax(s, -1)  # BUG: mask-hides-all
        return (w @ x).mean()

    fit(layer, f, 2)


def mask_hides_all_b():
    q = torch.randn(1, 1, 4, 8, requires_grad=True)
    mask = torch.ones(4, 4).triu(0) * -1e30
    mask = torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(0).bool(), float("-inf"))
    o = F.scaled_dot_product_attention(q, q, q, attn_mask=mask)  # BUG: mask-hides-all
    o.sum().backward()


def mask_missing_encoder():
    GPTConfig()
    e = nn.Embedding(11, 16)
    t = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1)
    h = nn.Linear(16, 11)
    m = nn.ModuleList([e, t, h])

    def f():
        X, Y = batch()
        z = t(e(X))  # BUG: mask-missing
        return F.cross_entropy(h(z).flatten(0, 1), Y.flatten())

    fit(m, f, 3)


def mask_missing_mha():
    e = nn.Embedding(11, 16)
    t = nn.MultiheadAttention(16, 2, batch_first=True)
    h = nn.Linear(16, 11)
    m = nn.ModuleList([e, t, h])

    def f():
        X, Y = batch()
        z = e(X)
        z, _ = t(z, z, z)  # BUG: mask-missing
        return F.cross_entropy(h(z).transpose(1, 2), Y)

    fit(m, f, 3)
