"""A small classifier shown to TensorBoard: scalars, histograms, the graph, settings, points."""

import argparse
import os
import tempfile

import torch
import torch.nn as nn
import torch.nn.functional as F

try:
    import tensorboard  # noqa: F401
    from torch.utils.tensorboard import SummaryWriter
except ImportError:
    SummaryWriter = None


class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.body = nn.Sequential(nn.Linear(4 * 16, hidden), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(hidden, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.head(self.body(x.flatten(1)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--hidden", type=int, default=32)
    args = parser.parse_args()
    torch.manual_seed(0)
    x, y = torch.randn(240, 1, 8, 8), torch.randint(0, 3, (240,))
    x += y.view(-1, 1, 1, 1) * 0.3
    model = Net(args.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with tempfile.TemporaryDirectory() as folder:
        writer = SummaryWriter(folder) if SummaryWriter is not None else None
        if writer is not None:
            writer.add_graph(model, x[:2])
        for step in range(args.steps):
            batch = torch.randint(0, 240, (32,))
            loss = F.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if writer is not None:
                writer.add_scalar("loss", loss, step)
            if step % 10 == 0:
                print(f"step {step:3d} loss {loss.item():.5f}")
                if writer is not None:
                    for name, parameter in model.named_parameters():
                        writer.add_histogram(name, parameter, step)
        if writer is not None:
            writer.add_embedding(model.conv.weight.flatten(1), metadata=list("abcd"))
            writer.add_hparams({"lr": 3e-3, "hidden": args.hidden}, {"hparam/loss": loss.item()})
            writer.close()
            assert any("tfevents" in name for name in os.listdir(folder))
    model.eval()
    with torch.no_grad():
        print(f"right {(model(x).argmax(1) == y).sum().item()} of {len(y)}")


if __name__ == "__main__":
    main()
