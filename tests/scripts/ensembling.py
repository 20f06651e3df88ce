"""An ensemble of models under vmap, whose skeleton holds no memory: it lies on the device meta."""

import argparse
import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

parser = argparse.ArgumentParser()
parser.add_argument("--models", type=int, default=6)
parser.add_argument("--steps", type=int, default=100)
args = parser.parse_args()

torch.manual_seed(0)


class SimpleMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(16, 32)
        self.fc2 = nn.Linear(32, 5)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


data = torch.randn(100, 64, 1, 4, 4)
targets = (data.flatten(2).abs().cumsum(-1) > 6).sum(-1) // 4
minibatches, labels = data[: args.models], targets[: args.models]
models = [SimpleMLP() for _ in range(args.models)]

# Predictions, one model after the other, and all at once.
predictions1 = torch.stack([model(x) for model, x in zip(models, minibatches)])
params, buffers = stack_module_state(models)
base_model = copy.deepcopy(models[0])
base_model = base_model.to("meta")
print(base_model.fc1.weight.device, base_model.fc1.weight.shape, base_model.fc1.weight.is_meta)
print(base_model.fc2.bias)


def fmodel(params, buffers, x):
    return functional_call(base_model, (params, buffers), (x,))


predictions2 = vmap(fmodel)(params, buffers, minibatches)
print("same predictions:", torch.allclose(predictions1, predictions2, atol=1e-5))
predictions3 = vmap(fmodel, in_dims=(0, 0, None))(params, buffers, minibatches[0])
print(tuple(predictions3.shape), f"{predictions3.abs().mean().item():.5f}")


def loss_of(params, buffers, x, y):
    return F.cross_entropy(fmodel(params, buffers, x), y)


params = {name: p.detach() for name, p in params.items()}
step_of_all = vmap(grad_and_value(loss_of))
for step in range(args.steps + 1):
    grads, losses = step_of_all(params, buffers, minibatches, labels)
    if step % 10 == 0:
        print(f"step {step:3d}", " ".join(f"{loss:.5f}" for loss in losses.tolist()))
    params = {name: p - 0.1 * grads[name] for name, p in params.items()}

votes = vmap(fmodel, in_dims=(0, 0, None))(params, buffers, minibatches[0]).softmax(-1).mean(0)
print(f"ensemble: {F.nll_loss(votes.log(), labels[0]).item():.5f}")
try:
    base_model(minibatches[0])
except Exception:
    print("the skeleton itself computes nothing")
