"""Differentially private training: every sample's gradient by vmap, clipped, noised, averaged."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=100)
args = parser.parse_args()

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.conv2 = nn.Conv2d(4, 8, 3, stride=2)
        self.fc = nn.Linear(8 * 2 * 2, 3)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return F.log_softmax(self.fc(F.max_pool2d(x, 2).flatten(1)), dim=1)


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
images = torch.randn(64, 1, 12, 12)
labels = images[:, 0, :6, :6].mean((1, 2)).mul(10).long().clamp(-1, 1) + 1


def loss_of_one(params, image, label):
    output = functional_call(model, params, (image.unsqueeze(0),))
    return F.nll_loss(output, label.unsqueeze(0))


gradients = vmap(grad(loss_of_one), in_dims=(None, 0, 0))
for step in range(args.steps):
    batch = torch.randint(0, 64, (16,))
    params = {name: p.detach() for name, p in model.named_parameters()}
    samples = gradients(params, images[batch], labels[batch])
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in samples.values()]).norm(dim=0)
    factors = (1.0 / (norms + 1e-6)).clamp(max=1.0)
    for name, p in model.named_parameters():
        clipped = torch.einsum("n,n...->...", factors, samples[name])
        p.grad = (clipped + 0.1 * torch.randn_like(p)) / len(batch)
    optimizer.step()
    if step % 5 == 0:
        loss = F.nll_loss(model(images), labels)
        print(f"step {step:3} loss {loss.item():.6f} largest norm {norms.max().item():.5f}")
