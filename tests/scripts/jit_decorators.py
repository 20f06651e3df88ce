"""An LSTM written with TorchScript's decorators, traced and scripted before it is trained."""

import argparse
import warnings
from typing import List, Tuple  # noqa: UP035

import torch
import torch.jit as jit
import torch.nn as nn
from torch import Tensor

warnings.filterwarnings("ignore")


@jit.script
def squash(x: Tensor) -> Tensor:
    return torch.tanh(x) * 0.9 + 0.1 * x


class Cell(jit.ScriptModule):
    __constants__ = ["hidden"]

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.hidden = hidden
        self.weight_ih = nn.Parameter(torch.randn(4 * hidden, inputs) * 0.3)
        self.weight_hh = nn.Parameter(torch.randn(4 * hidden, hidden) * 0.3)
        self.bias = nn.Parameter(torch.zeros(4 * hidden))

    @jit.script_method
    def forward(self, x: Tensor, state: Tuple[Tensor, Tensor]) -> Tuple[Tensor, Tensor]:  # noqa: UP006
        hx, cx = state
        gates = torch.mm(x, self.weight_ih.t()) + torch.mm(hx, self.weight_hh.t()) + self.bias
        i, f, g, o = gates.chunk(4, 1)
        cy = torch.sigmoid(f) * cx + torch.sigmoid(i) * squash(g)
        return torch.sigmoid(o) * squash(cy), cy


class Model(nn.Module):
    size: jit.Final[int]

    def __init__(self, hidden: int):
        super().__init__()
        self.size = hidden
        self.cell = Cell(3, hidden)
        self.head = nn.Linear(hidden, 1)

    @jit.export
    def zeros(self, n: int) -> Tuple[Tensor, Tensor]:  # noqa: UP006
        return torch.zeros(n, self.size), torch.zeros(n, self.size)

    @jit.unused
    def describe(self) -> str:
        return f"{sum(p.numel() for p in self.parameters())} parameters"

    def forward(self, x: Tensor) -> Tensor:
        state = self.zeros(x.shape[1])
        outputs: List[Tensor] = []  # noqa: UP006
        for t in range(x.shape[0]):
            state = self.cell(x[t], state)
            outputs.append(state[0])
        if jit.is_scripting():
            return self.head(outputs[-1])
        return self.head(torch.stack(outputs).mean(0))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--hidden", type=int, default=24)
    args = parser.parse_args()
    torch.manual_seed(2)
    model = Model(args.hidden)
    print(model.describe(), isinstance(model, jit.ScriptModule), isinstance(model.cell, nn.Module))
    x = torch.randn(7, 64, 3)
    y = x[:, :, :1].mean(0) * 2
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(args.steps):
        loss = nn.functional.smooth_l1_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step:3d} loss {loss.item():.5f}")
    encoder = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    traced = jit.trace(encoder, x[0])
    frozen = jit.freeze(jit.trace(encoder, x[0]))
    print(f"{traced(x[0]).sum().item():.5f} {frozen(x[0]).sum().item():.5f}")
    print(jit.isinstance([1, 2], List[int]), jit.annotate(int, 3))  # noqa: UP006


if __name__ == "__main__":
    main()
