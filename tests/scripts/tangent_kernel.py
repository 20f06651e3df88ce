"""The tangent kernel of a network, by Jacobians and by products, and what it predicts."""

import argparse

import torch
import torch.nn as nn
from torch.func import functional_call, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap

parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=64)
args = parser.parse_args()

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, args.width), nn.Tanh(), nn.Linear(args.width, 2))
params = {name: p.detach() for name, p in model.named_parameters()}
x_train, x_test = torch.randn(12, 3), torch.randn(5, 3)
y_train = torch.stack([x_train.sin().sum(1), x_train.prod(1)], 1)


def f(params, x):
    return functional_call(model, params, (x,))


def by_jacobians(x1, x2):
    jac1 = [j.flatten(2) for j in vmap(jacrev(f), (None, 0))(params, x1).values()]
    jac2 = [j.flatten(2) for j in vmap(jacrev(f), (None, 0))(params, x2).values()]
    return sum(torch.einsum("Naf,Mbf->NMab", a, b) for a, b in zip(jac1, jac2))


def by_products(x1, x2):
    def of_pair(x1, x2):
        output, pull = vjp(lambda p: f(p, x1), params)
        push = vmap(lambda v: jvp(lambda p: f(p, x2), (params,), pull(v))[1])
        return push(torch.eye(output.numel()))

    return vmap(vmap(of_pair, (None, 0)), (0, None))(x1, x2)


kernel = by_jacobians(x_train, x_train)
print(kernel.shape, f"trace {torch.einsum('iijj->', kernel).item():.5f}")
print(torch.allclose(by_products(x_test, x_train), by_jacobians(x_test, x_train), atol=1e-4))

matrix = kernel.transpose(1, 2).reshape(24, 24) + 1e-3 * torch.eye(24)
residual = (y_train - f(params, x_train)).reshape(24)
across = by_jacobians(x_test, x_train).transpose(1, 2).reshape(10, 24)
predicted = f(params, x_test) + (across @ torch.linalg.solve(matrix, residual)).reshape(5, 2)
for row in predicted.tolist():
    print("predicted " + " ".join(f"{value:.5f}" for value in row))

x = x_test[0]
jacobian = jacfwd(f, argnums=1)(params, x)
curvature = hessian(lambda x: f(params, x).square().sum())(x)
output, push = linearize(lambda x: f(params, x), x)
print(f"jacobian {jacobian.norm().item():.6f} hessian {curvature.norm().item():.6f}")
print(torch.allclose(push(torch.ones(3)), jacobian.sum(1), atol=1e-5), f"{output.sum().item():.6f}")
