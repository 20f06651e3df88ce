"""Prune a trained LeNet step by step, and train on between the steps."""

import argparse

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=6)
parser.add_argument("--steps", type=int, default=25)
args = parser.parse_args()

torch.manual_seed(3)


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 8, 3)
        self.fc1 = nn.Linear(8 * 2 * 2, 32)
        self.fc2 = nn.Linear(32, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.view(-1, x.nelement() // x.shape[0]))))


labels = torch.randint(0, 4, (192,))
images = torch.randn(192, 1, 16, 16) * 0.6
for i, label in enumerate(labels.tolist()):
    images[i, 0, 4 * label : 4 * label + 4] += 1.0
model = LeNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train(name):
    for step in range(args.steps):
        i = step * 32 % 192
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images[i : i + 32]), labels[i : i + 32])
        loss.backward()
        optimizer.step()
    print(f"{name:12} loss {loss.item():.5f}")


def sparsity(module, name="weight"):
    weight = getattr(module, name)
    return 100.0 * float(torch.sum(weight == 0)) / float(weight.nelement())


train("dense")
module = model.conv1
prune.random_unstructured(module, name="weight", amount=0.3)
print([name for name, _ in module.named_parameters()], [n for n, _ in module.named_buffers()])
prune.l1_unstructured(module, name="bias", amount=3)
prune.ln_structured(module, name="weight", amount=0.5, n=2, dim=0)
for hook in module._forward_pre_hooks.values():
    if hook._tensor_name == "weight":
        print([type(method).__name__ for method in hook])
train("conv1")
print(sorted(model.state_dict()))
prune.remove(module, "weight")
print("removed:", [name for name, _ in module.named_parameters()], prune.is_pruned(model))

pairs = [(model.conv2, "weight"), (model.fc1, "weight"), (model.fc2, "weight")]
for i in range(args.rounds):
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=0.2)
    print("round", i + 1, *[f"{sparsity(m):.2f}%" for m, _ in pairs])
    train("")


class FooBarPruningMethod(prune.BasePruningMethod):
    """Prune every other entry in a tensor."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        mask = default_mask.clone()
        mask.view(-1)[::2] = 0
        return mask


FooBarPruningMethod.apply(model.fc2, "bias")
print("own method:", model.fc2.bias_mask.tolist())
prune.random_structured(model.conv2, name="bias_of_nothing" if False else "weight", amount=1, dim=1)
prune.custom_from_mask(model.fc1, name="bias", mask=torch.arange(32) % 3)
train("custom")
for m, name in pairs:
    prune.remove(m, name)
print(f"left {sum(int((p != 0).sum()) for p in model.parameters())} numbers")
