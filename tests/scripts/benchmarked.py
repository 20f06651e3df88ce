"""Three ways to a batched dot product, timed by torch.utils.benchmark; a model uses one."""

import argparse

import torch
import torch.utils.benchmark as benchmark
from torch import nn


def by_mul(a, b):
    return a.mul(b).sum(-1)


def by_bmm(a, b):
    return torch.bmm(a.reshape(-1, 1, a.shape[-1]), b.reshape(-1, b.shape[-1], 1)).flatten(-3)


def by_einsum(a, b):
    return torch.einsum("bd,bd->b", a, b)


class Similar(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.left, self.right = nn.Linear(8, dim), nn.Linear(8, dim)

    def forward(self, a, b):
        return by_mul(self.left(a), self.right(b))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    torch.manual_seed(0)
    results = []
    for size in (16, 64):
        x = torch.randn(size, 32)
        assert torch.allclose(by_mul(x, x), by_bmm(x, x), atol=1e-4)
        for name in ("by_mul", "by_bmm", "by_einsum"):
            timer = benchmark.Timer(
                stmt=f"{name}(x, x)",
                setup=f"from __main__ import {name}",
                globals={"x": x},
                label="dot products",
                sub_label=f"size {size}",
                description=name,
            )
            measured = timer.timeit(20)
            results.append(timer.blocked_autorange(min_run_time=0.01))
            assert measured.number_per_run == 20 and 0 < measured.median < 1
    compare = benchmark.Compare(results)
    compare.trim_significant_figures()
    text = str(compare)
    print(text.count("size 16"), text.count("size 64"), "by_einsum" in text, "dot products" in text)
    print(results[0].task_spec.sub_label, results[0].as_row_name, results[-1].title)

    model = Similar(16)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.003)
    a, b = torch.randn(200, 8), torch.randn(200, 8)
    y = (a * b).sum(1).tanh()
    for step in range(args.steps):
        loss = nn.functional.huber_loss(model(a, b), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step:3d} loss {loss.item():.5f}")


if __name__ == "__main__":
    main()
