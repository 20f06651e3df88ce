"""The graph of three models, walked as torchviz walks it, and what its nodes saved."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F


def walk(var, params):
    """Lines of every node and edge, depth first; nodes are numbered as they are met."""
    names = {id(p): name for name, p in params.items()}
    seen, alive, lines = {}, [], []

    def label(fn):
        alive.append(fn)
        text = type(fn).__name__
        if hasattr(fn, "variable"):
            text += f" {names.get(id(fn.variable), '')} {tuple(fn.variable.size())}"
        return text

    def add(fn):
        seen[fn] = len(seen)
        lines.append(f"{seen[fn]:3d} {label(fn)}")
        for below, _ in fn.next_functions:
            if below is not None:
                if below not in seen:
                    add(below)
                lines.append(f"    {seen[below]} -> {seen[fn]}")

    add(var.grad_fn)
    return lines


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = [
            z.view(b, t, self.heads, c // self.heads).transpose(1, 2)
            for z in self.qkv(self.norm(x)).split(c, dim=2)
        ]
        scores = (q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5
        mask = torch.tril(torch.ones(t, t)) == 0
        y = F.softmax(scores.masked_fill(mask, float("-inf")), dim=-1) @ v
        return x + self.out(y.transpose(1, 2).contiguous().view(b, t, c))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.lstm = nn.LSTM(6, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.lstm(self.embed(x))[0]).mean(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    torch.manual_seed(0)
    y = torch.randint(0, 4, (6,))
    models = {
        "convnet": (
            nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)),
            torch.randn(6, 1, 10, 10),
        ),
        "tagger": (Tagger(), torch.randint(0, 20, (6, 5))),
        "attention": (nn.Sequential(Block(8, 2), nn.Flatten(), nn.Linear(32, 4)),
                      torch.randn(6, 4, 8)),
    }  # fmt: skip
    for name, (model, x) in models.items():
        loss = F.cross_entropy(model(x), y)
        print(name, f"{loss.item():.5f}")
        print("\n".join(walk(loss, dict(model.named_parameters()))))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(args.steps):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                print(f"step {step:3d} loss {loss.item():.5f}")
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    e = x.exp()
    p = x * e
    print(e.grad_fn._saved_result.tolist() == e.tolist(), p.grad_fn._saved_other is not None)
    print(x[:1]._is_view(), x.view(2)._base is x, e._is_view(), p.grad_fn.name())


if __name__ == "__main__":
    main()
