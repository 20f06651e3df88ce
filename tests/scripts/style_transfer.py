"""Style transfer by L-BFGS on small pictures, through an untrained convolutional network."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int, default=24)
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--style-weight", type=float, default=300.0)
args = parser.parse_args()

torch.set_default_dtype(torch.float64)  # for two runs to stay together
torch.manual_seed(5)
grid = torch.linspace(-1, 1, args.size)
y, x = torch.meshgrid(grid, grid, indexing="ij")
content_img = torch.stack([(x**2 + y**2 < 0.4).double(), x, y]).unsqueeze(0) * 0.5 + 0.25
style_img = torch.stack([torch.sin(9 * x), torch.sin(9 * y), torch.cos(7 * (x + y))]).unsqueeze(0)
style_img = style_img * 0.4 + 0.5


class ContentLoss(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.target = target.detach()

    def forward(self, input):
        self.loss = F.mse_loss(input, self.target)
        return input


def gram_matrix(input):
    a, b, c, d = input.size()
    features = input.view(a * b, c * d)
    return torch.mm(features, features.t()).div(a * b * c * d)


class StyleLoss(nn.Module):
    def __init__(self, target_feature):
        super().__init__()
        self.target = gram_matrix(target_feature).detach()

    def forward(self, input):
        self.loss = F.mse_loss(gram_matrix(input), self.target)
        return input


def build():
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.Softplus(), nn.Conv2d(8, 12, 3, padding=1)]
    layers += [nn.Softplus(), nn.AvgPool2d(2), nn.Conv2d(12, 12, 3, padding=1), nn.Softplus()]
    model, contents, styles = nn.Sequential(), [], []
    for i, layer in enumerate(layers):
        model.add_module(f"layer_{i}", layer)
        if isinstance(layer, nn.Conv2d):
            styles.append(StyleLoss(model(style_img).detach()))
            model.add_module(f"style_{i}", styles[-1])
            if i == 2:
                contents.append(ContentLoss(model(content_img).detach()))
                model.add_module(f"content_{i}", contents[-1])
    return model.eval().requires_grad_(False), contents, styles


model, contents, styles = build()
input_img = content_img.clone().requires_grad_(True)
optimizer = torch.optim.LBFGS([input_img])
run = [0]
while run[0] <= args.steps:

    def closure():
        with torch.no_grad():
            input_img.clamp_(0, 1)
        optimizer.zero_grad()
        model(input_img)
        style_score = args.style_weight * sum(sl.loss for sl in styles)
        content_score = sum(cl.loss for cl in contents)
        loss = style_score + content_score
        loss.backward()
        run[0] += 1
        if run[0] % 10 == 0:
            print(
                f"run {run[0]}: style {style_score.item():.5f} content {content_score.item():.5f}"
            )
        return style_score + content_score

    optimizer.step(closure)
with torch.no_grad():
    input_img.clamp_(0, 1)
print("channels:", " ".join(f"{value:.4f}" for value in input_img.mean((0, 2, 3)).tolist()))

# The same network's last layer, fitted by L-BFGS with a line search.
features = model(style_img).detach().mean((2, 3)).repeat(40, 1) + 0.3 * torch.randn(40, 12)
head = nn.Linear(12, 1)
goal = torch.tanh(features @ torch.linspace(-1, 1, 12).unsqueeze(1))
optimizer = torch.optim.LBFGS(head.parameters(), max_iter=4, line_search_fn="strong_wolfe")


def fit():
    optimizer.zero_grad()
    loss = F.mse_loss(head(features), goal) + 1e-3 * head.weight.pow(2).sum()
    loss.backward()
    return loss


for step in range(8):
    print(f"head step {step}: {optimizer.step(fit).item():.6f}")
