"""Programs that look wrong and are right.  See clean_training.py."""

from __future__ import annotations

from doctor.common import data, mlp, regression, sgd

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F


def train(model, loss_of, steps=5, lr=0.1):
    optimizer = sgd(model, lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()


def monte_carlo_dropout():
    model, (x, y) = mlp(8, 3, nn.Dropout(0.5)), data()
    train(model, lambda: F.cross_entropy(model(x), y))
    model.eval()
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.train()
    with torch.no_grad():
        torch.stack([model(x).softmax(1) for _ in range(5)]).mean(0).argmax(1)


def monte_carlo_dropout_in_training_mode():
    model, (x, y) = mlp(8, 3, nn.Dropout(0.5)), data()
    train(model, lambda: F.cross_entropy(model(x), y))
    model.train()
    guesses = []
    with torch.no_grad():
        for _ in range(5):
            guesses.append(model(x).argmax(1))
    torch.stack(guesses).float().var(0)


def attack_on_the_input():
    model, (x, y) = mlp(), data()
    train(model, lambda: F.cross_entropy(model(x), y))
    model.eval()
    bad = x.clone().requires_grad_()
    for _ in range(3):
        loss = F.cross_entropy(model(bad), y)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            bad += 0.01 * bad.grad.sign()
        bad.grad.zero_()


def attack_by_grad():
    model, (x, y) = mlp(), data()
    bad = x.clone()
    for _ in range(3):
        bad = bad.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(model(bad), y), bad)
        bad = bad + 0.01 * g.sign()


def adversarial_training():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        bad = x.clone().requires_grad_()
        F.cross_entropy(model(bad), y).backward()
        bad = (x + 0.01 * bad.grad.sign()).detach()
        optimizer.zero_grad()
        F.cross_entropy(model(bad), y).backward()
        optimizer.step()


def unused_head():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.one, self.two = nn.Linear(8, 16), nn.Linear(16, 3), nn.Linear(16, 3)

        def forward(self, x):
            return self.one(self.body(x).relu())

    model, (x, y) = Net(), data()
    train(model, lambda: F.cross_entropy(model(x), y), 8)


def pairwise_differences():
    model, (x, y) = mlp(out=2), data(16)

    def loss_of():
        z = model(x)
        apart = (z[:, None] - z[None]).pow(2).sum(-1)
        same = (y[:, None] == y[None]).float()
        return (apart * same).mean() + ((1 - apart).relu() * (1 - same)).mean()

    train(model, loss_of, lr=0.01)


def ranking_of_pairs():
    model, (x, y) = mlp(out=1), regression(16)

    def loss_of():
        s, t = model(x).squeeze(1), y.squeeze(1)
        return F.softplus(-(s[:, None] - s) * (t[:, None] - t).sign()).mean()

    train(model, loss_of, lr=0.01)


def straight_through():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = nn.Linear(8, 4), nn.Linear(4, 8)

        def forward(self, x):
            z = self.encode(x)
            return self.decode(z + (z.round() - z).detach())

    model, x = Net(), torch.randn(32, 8)
    train(model, lambda: F.mse_loss(model(x), x), 6)


def stopped_gradient_of_a_twin():
    model, predictor = mlp(8, 4), nn.Linear(4, 4)
    both, x = nn.ModuleList([model, predictor]), torch.randn(16, 8)

    def loss_of():
        a, b = model(x + 0.1 * torch.randn(16, 8)), model(x + 0.1 * torch.randn(16, 8))
        near = F.cosine_similarity(predictor(a), b.detach())
        return -(near + F.cosine_similarity(predictor(b), a.detach())).mean()

    train(both, loss_of)


def distillation():
    teacher, student, (x, _) = mlp(8, 3, nn.Dropout(0.1)), mlp(), data()
    teacher.eval()

    def loss_of():
        with torch.no_grad():
            aim = teacher(x).softmax(1)
        return F.kl_div(student(x).log_softmax(1), aim, reduction="batchmean")

    train(student, loss_of)


def focal_loss_by_hand():
    model, (x, y) = mlp(), data()

    def loss_of():
        logp = F.log_softmax(model(x), 1).gather(1, y[:, None]).squeeze(1)
        return (-((1 - logp.exp()) ** 2) * logp).mean()

    train(model, loss_of)


def nll_of_log_softmax():
    model, (x, y) = nn.Sequential(mlp(), nn.LogSoftmax(dim=1)), data()
    train(model, lambda: F.nll_loss(model(x), y))


def nll_of_log_of_softmax():
    model, (x, y) = mlp(), data()
    train(model, lambda: nn.NLLLoss()(torch.log(model(x).softmax(1) + 1e-8), y))


def bce_of_sigmoid():
    model, (x, y) = nn.Sequential(mlp(out=1), nn.Sigmoid()), data(classes=2)
    train(model, lambda: nn.BCELoss()(model(x).squeeze(1), y.float()))
    with torch.no_grad():
        ((model(x).squeeze(1) > 0.5) == y.bool()).float().mean().item()


def soft_labels():
    model, (x, y) = mlp(), data()
    aim = F.one_hot(y, 3).float() * 0.9 + 0.1 / 3
    train(model, lambda: F.cross_entropy(model(x), aim))


def attention_with_heads():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 3)

        def forward(self, x):
            n, t, _ = x.shape
            q, k, v = (part.view(n, t, 3, 4).transpose(1, 2) for part in self.qkv(x).split(12, -1))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.transpose(1, 2).reshape(n, t, 12).mean(1))

    model, x, y = Net(), torch.randn(4, 5, 12), torch.randint(0, 3, (4,))
    train(model, lambda: F.cross_entropy(model(x), y))


def patches_of_images():
    model, x = nn.Linear(16, 4), torch.randn(2, 1, 8, 8)

    def loss_of():
        patches = x.view(2, 1, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(2, 4, 16)
        return model(patches).pow(2).mean()

    train(model, loss_of)


def group_norm_by_hand():
    model, x = nn.Conv2d(4, 6, 1), torch.randn(2, 4, 3, 3)

    def loss_of():
        y = model(x).view(2, 3, -1)
        y = (y - y.mean(-1, keepdim=True)) / (y.std(-1, keepdim=True) + 1e-5)
        return y.view(2, 6, 3, 3).pow(2)[:, 0].mean()

    train(model, loss_of)


def mlm_without_a_causal_mask():
    ids = torch.randint(1, 9, (4, 8))
    embed, layer = nn.Embedding(10, 16), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    head = nn.Linear(16, 10)
    model = nn.ModuleList([embed, layer, head])

    def loss_of():
        hidden = torch.rand(4, 8) < 0.3
        labels = ids.masked_fill(~hidden, -100)
        labels[0, 0] = ids[0, 0]
        scores = head(layer(embed(ids.masked_fill(hidden, 9))))
        return F.cross_entropy(scores.view(-1, 10), labels.view(-1))

    train(model, loss_of)


def mean_of_stacked_losses():
    model, (x, y) = mlp(), data()
    optimizer, history = sgd(model), []
    for _ in range(12):
        optimizer.zero_grad()
        losses = [F.cross_entropy(model(x[i : i + 8]), y[i : i + 8]) for i in range(0, 32, 8)]
        torch.stack(losses).mean().backward()
        optimizer.step()
        history.append(torch.stack(losses).detach().mean().item())


def detached_losses_kept():
    model, (x, y) = mlp(), data()
    optimizer, history, total = sgd(model), [], 0.0
    for _ in range(16):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        history.append(loss.detach())
        total += loss.item()


def in_place_activation():
    model = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(inplace=True), nn.Linear(16, 3))
    x, y = data()
    train(model, lambda: F.cross_entropy(model(x), y))


def layers_listed_twice():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
            self.order = [self.a, self.b]

        def forward(self, x):
            for layer in self.order:
                x = layer(x).relu()
            return self.head(x)

    model, (x, y) = Net(), data()
    train(model, lambda: F.cross_entropy(model(x), y))


def low_rank_adapter():
    class Adapted(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer.requires_grad_(False)
            self.a = nn.Parameter(torch.randn(2, 8) * 0.1)
            self.b = nn.Parameter(torch.zeros(3, 2))

        def forward(self, x):
            return self.layer(x) + x @ self.a.t() @ self.b.t()

    model, (x, y) = Adapted(nn.Linear(8, 3)), data()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def head_starts_at_zero():
    model, (x, y) = mlp(), data()
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    train(model, lambda: F.cross_entropy(model(x), y))


def logistic_regression_from_zero():
    model, (x, y) = nn.Linear(8, 3), data()
    nn.init.zeros_(model.weight)
    train(model, lambda: F.cross_entropy(model(x), y))


def super_forward():
    class Twice(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model, (x, y) = Twice(8, 3), data()
    train(model, lambda: F.cross_entropy(model(x), y))


def two_losses_of_one_graph():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model, 0.01)
    for _ in range(5):
        optimizer.zero_grad()
        scores = model(x)
        F.cross_entropy(scores, y).backward(retain_graph=True)
        (0.01 * scores.pow(2).mean()).backward()
        optimizer.step()


def inner_loop_of_meta_learning():
    model, (x, y) = nn.Linear(8, 3), data()
    optimizer = sgd(model, 0.01)
    for _ in range(4):
        w, b = model.weight, model.bias
        inner = F.cross_entropy(F.linear(x, w, b), y)
        gw, gb = torch.autograd.grad(inner, (w, b), create_graph=True)
        outer = F.cross_entropy(F.linear(x, w - 0.1 * gw, b - 0.1 * gb), y)
        optimizer.zero_grad()
        outer.backward()
        optimizer.step()


def sampling_from_a_language_model():
    model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))
    ids = torch.randint(0, 9, (4, 6))
    train(model, lambda: F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()))
    model.eval()
    out = ids[:1, :1]
    with torch.no_grad():
        for _ in range(5):
            p = model(out)[:, -1].softmax(-1)
            out = torch.cat([out, torch.multinomial(p, 1)], 1)


def one_sample_of_a_trained_model():
    model, (x, y) = mlp(), data()
    train(model, lambda: F.cross_entropy(model(x), y))
    model.eval()
    model(x[:1]).softmax(1).detach().numpy()


def line_through_points():
    x = torch.linspace(0, 10, 40)[:, None]
    y = 3 * x + 1 + 0.1 * torch.randn(40, 1)
    model = nn.Linear(1, 1)
    train(model, lambda: F.mse_loss(model(x), y), 20, 0.01)


def exclusive_or():
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
    train(model, lambda: F.binary_cross_entropy(model(x), y), 30, 0.5)
    with torch.no_grad():
        (model(x).round() == y).float().mean().item()
