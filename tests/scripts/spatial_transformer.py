"""A spatial transformer network that starts at the identity (Jaderberg et al., 2015)."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.localization = nn.Sequential(
            nn.Conv2d(1, 4, 5), nn.MaxPool2d(2, stride=2), nn.ReLU(True),
            nn.Conv2d(4, 6, 3), nn.MaxPool2d(2, stride=2), nn.ReLU(True),
        )  # fmt: skip
        self.fc_loc = nn.Sequential(nn.Linear(6 * 2 * 2, 16), nn.ReLU(True), nn.Linear(16, 6))
        self.fc_loc[2].weight.data.zero_()
        self.fc_loc[2].bias.data.copy_(torch.tensor([1, 0, 0, 0, 1, 0], dtype=torch.float))
        self.conv = nn.Conv2d(1, 8, 3)
        self.drop = nn.Dropout2d()
        self.fc = nn.Linear(8 * 7 * 7, 4)

    def stn(self, x):
        xs = self.localization(x).view(-1, 6 * 2 * 2)
        theta = self.fc_loc(xs).view(-1, 2, 3)
        grid = F.affine_grid(theta, x.size(), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    def forward(self, x):
        x = self.stn(x)
        x = F.relu(F.max_pool2d(self.drop(self.conv(x)), 2))
        return F.log_softmax(self.fc(x.flatten(1)), dim=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    torch.manual_seed(0)
    y = torch.randint(0, 4, (128,))
    x = torch.randn(128, 1, 16, 16) * 0.3
    for i, label in enumerate(y.tolist()):
        x[i, 0, 3 + 2 * label : 6 + 2 * label, 4:12] += 1.0
    model = Net()
    with torch.no_grad():
        print(f"moved at first {(model.stn(x) - x).abs().max().item():.4f}")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    for step in range(args.steps):
        batch = torch.randint(0, 128, (16,))
        loss = F.nll_loss(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step:3d} loss {loss.item():.5f}")
    model.eval()
    with torch.no_grad():
        print(f"test loss {F.nll_loss(model(x), y).item():.4f}")


if __name__ == "__main__":
    main()
