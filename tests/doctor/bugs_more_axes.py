"""Bugs of accuracies, of views and of masks, in other styles."""

from __future__ import annotations

from doctor.gpt import CausalSelfAttention, GPTConfig, batch, fit, net, points

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.data import DataLoader, TensorDataset


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
