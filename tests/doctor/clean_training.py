"""Programs that are right: training loops of all kinds.  No error and no warning may be raised."""

from __future__ import annotations

import copy

from doctor.common import Attention, data, mlp, regression, sgd

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.optim import lr_scheduler
from tinygrad_edu.utils.data import DataLoader, TensorDataset, random_split


def ordinary():
    model, (x, y) = mlp(8, 3, nn.Dropout(0.2)), data(64)
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    for _ in range(3):
        model.train()
        for a, b in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(a), b)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            (model(x).argmax(1) == y).float().mean().item()


def zero_grad_at_the_end():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)


def zero_grad_after_forward():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def gradients_set_to_none_by_hand():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        for p in model.parameters():
            p.grad = None
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def gradients_zeroed_by_hand():
    x, y = regression()
    w, b = torch.zeros(8, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(6):
        loss = ((x @ w + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            for p in (w, b):
                p -= 0.01 * p.grad
                p.grad.zero_()


def updates_through_data():
    x, y = regression()
    w = torch.zeros(8, 1, requires_grad=True)
    for _ in range(6):
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()
        w.data -= 0.01 * w.grad.data
        w.grad.data.zero_()


def new_leaf_each_step():
    x, y = regression()
    w = torch.zeros(8, 1, requires_grad=True)
    for _ in range(6):
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()
        w = (w - 0.01 * w.grad).detach().requires_grad_()


def accumulation():
    model, (x, y) = mlp(), data(64)
    optimizer = sgd(model)
    for i, (a, b) in enumerate(DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True)):
        (F.cross_entropy(model(a), b) / 4).backward()
        if (i + 1) % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()


def accumulation_of_sums():
    model, (x, y) = mlp(), data(64)
    optimizer = sgd(model, 0.001)
    for start in range(0, 64, 16):
        optimizer.zero_grad()
        for i in range(start, start + 16, 4):
            loss = F.cross_entropy(model(x[i : i + 4]), y[i : i + 4], reduction="sum")
            loss = loss / 16
            loss.backward()
        optimizer.step()


def gan():
    generator, critic = mlp(4, 8, nn.BatchNorm1d(16)), mlp(8, 1)
    of_g = torch.optim.Adam(generator.parameters(), lr=2e-3)
    of_d = torch.optim.Adam(critic.parameters(), lr=2e-3)
    criterion = nn.BCEWithLogitsLoss()
    for _ in range(6):
        critic.zero_grad()
        real = torch.randn(16, 8)
        loss_real = criterion(critic(real), torch.ones(16, 1))
        loss_real.backward()
        fake = generator(torch.randn(16, 4))
        loss_fake = criterion(critic(fake.detach()), torch.zeros(16, 1))
        loss_fake.backward()
        of_d.step()
        generator.zero_grad()
        criterion(critic(fake), torch.ones(16, 1)).backward()
        of_g.step()
        with torch.no_grad():
            generator(torch.randn(4, 4)).numpy()


def gan_with_fakes_made_without_recording():
    generator, critic = mlp(4, 8, nn.BatchNorm1d(16), nn.Dropout(0.1)), mlp(8, 1)
    of_g, of_d = sgd(generator), sgd(critic)
    for _ in range(6):
        with torch.no_grad():
            fake = generator(torch.randn(16, 4))
        of_d.zero_grad()
        loss = F.softplus(critic(fake)).mean() + F.softplus(-critic(torch.randn(16, 8))).mean()
        loss.backward()
        of_d.step()
        of_g.zero_grad()
        F.softplus(-critic(generator(torch.randn(16, 4)))).mean().backward()
        of_g.step()


def wasserstein_with_clipped_weights():
    generator, critic = mlp(4, 8), mlp(8, 1)
    of_g, of_d = sgd(generator, 0.01), sgd(critic, 0.01)
    for _ in range(4):
        for _ in range(2):
            of_d.zero_grad()
            fake = generator(torch.randn(16, 4)).detach()
            (critic(fake).mean() - critic(torch.randn(16, 8)).mean()).backward()
            of_d.step()
            for p in critic.parameters():
                p.data.clamp_(-0.1, 0.1)
        of_g.zero_grad()
        (-critic(generator(torch.randn(16, 4))).mean()).backward()
        of_g.step()


def gradient_penalty():
    critic = mlp(8, 1)
    optimizer = sgd(critic, 0.01)
    for _ in range(4):
        x = torch.randn(16, 8, requires_grad=True)
        scores = critic(x)
        (g,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        loss = scores.mean() + 10 * ((g.norm(dim=1) - 1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def frozen_body():
    body, head, (x, y) = mlp(8, 8), nn.Linear(8, 3), data()
    body.requires_grad_(False)
    optimizer = sgd(head)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(head(body(x)), y).backward()
        optimizer.step()


def frozen_body_without_recording():
    body, head, (x, y) = mlp(8, 8, nn.BatchNorm1d(16)), nn.Linear(8, 3), data()
    body.eval()
    optimizer = sgd(head)
    for _ in range(5):
        with torch.no_grad():
            features = body(x)
        optimizer.zero_grad()
        F.cross_entropy(head(features), y).backward()
        optimizer.step()


def frozen_norm_in_a_model_that_trains():
    model, (x, y) = mlp(8, 3, nn.BatchNorm1d(16)), data()
    optimizer = sgd(model)
    for _ in range(4):
        model.train()
        model[2].eval()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def truncated_backpropagation():
    cell, head = nn.LSTMCell(4, 8), nn.Linear(8, 1)
    optimizer = sgd(nn.ModuleList([cell, head]))
    h, c = torch.zeros(2, 8), torch.zeros(2, 8)
    for _ in range(6):
        h, c = h.detach(), c.detach()
        for _ in range(3):
            h, c = cell(torch.randn(2, 4), (h, c))
        optimizer.zero_grad()
        (head(h) - torch.randn(2, 1)).pow(2).mean().backward()
        optimizer.step()


def moving_average_of_weights():
    model, (x, y) = mlp(), data()
    average = copy.deepcopy(model)
    for p in average.parameters():
        p.requires_grad_(False)
    optimizer = sgd(model)
    for _ in range(6):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for p, q in zip(average.parameters(), model.parameters(), strict=True):
                p.mul_(0.9).add_(q, alpha=0.1)
    average.eval()
    with torch.no_grad():
        average(x).argmax(1)


def averaged_model():
    model, (x, y) = mlp(8, 3, nn.BatchNorm1d(16)), data()
    average = torch.optim.swa_utils.AveragedModel(model)
    optimizer = sgd(model)
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        average.update_parameters(model)
    torch.optim.swa_utils.update_bn(DataLoader(TensorDataset(x), batch_size=8), average)


def target_network():
    model, target = mlp(8, 2), mlp(8, 2)
    target.load_state_dict(model.state_dict())
    optimizer = sgd(model)
    for i in range(6):
        s, s2, r = torch.randn(16, 8), torch.randn(16, 8), torch.randn(16)
        with torch.no_grad():
            aim = r + 0.9 * target(s2).max(1).values
        q = model(s).gather(1, torch.randint(0, 2, (16, 1))).squeeze(1)
        loss = F.smooth_l1_loss(q, aim)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 3 == 2:
            target.load_state_dict(model.state_dict())


def reinforce():
    policy = mlp(4, 2)
    optimizer = sgd(policy, 0.01)
    for _ in range(4):
        saved, rewards = [], []
        for _ in range(12):
            choice = torch.distributions.Categorical(logits=policy(torch.randn(4)))
            action = choice.sample()
            saved.append(choice.log_prob(action))
            rewards.append(float(action.item()))
        returns = torch.tensor(rewards).flip(0).cumsum(0).flip(0)
        returns = (returns - returns.mean()) / (returns.std() + 1e-8)
        loss = torch.stack([-p * r for p, r in zip(saved, returns, strict=True)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def actor_and_critic():
    actor, critic = mlp(4, 2), mlp(4, 1)
    of_actor, of_critic = sgd(actor, 0.01), sgd(critic, 0.01)
    for _ in range(5):
        s = torch.randn(16, 4)
        choice = torch.distributions.Categorical(logits=actor(s))
        a = choice.sample()
        value = critic(s).squeeze(1)
        gain = torch.randn(16) - value
        of_critic.zero_grad()
        gain.pow(2).mean().backward()
        of_critic.step()
        of_actor.zero_grad()
        (-choice.log_prob(a) * gain.detach()).mean().backward()
        of_actor.step()


def rate_finder():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model, 1e-7)
    rates, losses = [], []
    for i in range(15):
        for group in optimizer.param_groups:
            group["lr"] = 1e-7 * 2.5**i
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())


def mixed_precision_with_skipped_steps():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    scheduler = lr_scheduler.StepLR(optimizer, 5)
    for _ in range(8):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x) * 4, y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()


def data_parallel():
    model, (x, y) = mlp(), data(64)
    copies = [copy.deepcopy(model) for _ in range(2)]
    optimizer = sgd(model)
    for _ in range(4):
        for replica, rows in zip(copies, (slice(0, 32), slice(32, 64)), strict=True):
            replica.load_state_dict(model.state_dict())
            replica.zero_grad()
            F.cross_entropy(replica(x[rows]), y[rows]).backward()
        for p, *others in zip(*[m.parameters() for m in (model, *copies)], strict=True):
            p.grad = sum([q.grad for q in others]) / len(others)
        optimizer.step()
        optimizer.zero_grad()


def warm_up_for_each_batch():
    model, (x, y) = mlp(), data(64)
    optimizer = sgd(model)
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))
    for _ in range(2):
        for a, b in DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            optimizer.step()
            scheduler.step()


def cosine_for_each_batch():
    model, (x, y) = mlp(), data(64)
    loader, epochs = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True), 3
    optimizer = sgd(model)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
    for _ in range(epochs):
        for a, b in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            optimizer.step()
            scheduler.step()


def one_cycle():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=12)
    for _ in range(12):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        scheduler.step()


def warm_up_then_cosine():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    first = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4)
    then = lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    scheduler = lr_scheduler.SequentialLR(optimizer, [first, then], milestones=[4])
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        scheduler.step()


def plateau():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
    for _ in range(6):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step(loss.item())


def norm_logged_after_the_step():
    model, (x, y) = mlp(), data()
    optimizer = sgd(model)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        nn.utils.clip_grad_norm_(model.parameters(), float("inf")).item()


def split_and_validated():
    x, y = data(60)
    train, held_out = random_split(TensorDataset(x, y), [48, 12])
    model = mlp(8, 3, nn.BatchNorm1d(16))
    optimizer = sgd(model)
    held = DataLoader(held_out, batch_size=6)
    for _ in range(2):
        model.train()
        for a, b in DataLoader(train, batch_size=8, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for a, b in held:
                right += (model(a).argmax(1) == b).sum().item()


def whole_set_in_one_sorted_batch():
    x, y = data()
    y, order = y.sort()
    model = mlp()
    optimizer = sgd(model)
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(model(x[order]), y).backward()
        optimizer.step()


def language_model_with_a_mask():
    text = torch.randint(0, 9, (4, 9))
    model = Attention(9)
    optimizer = sgd(model)
    for _ in range(4):
        optimizer.zero_grad()
        scores = model(text[:, :-1], causal=True)
        F.cross_entropy(scores.flatten(0, 1), text[:, 1:].flatten()).backward()
        optimizer.step()


def language_model_of_a_recurrent_net():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.rnn = nn.Embedding(9, 8), nn.GRU(8, 16, batch_first=True)
            self.head = nn.Linear(16, 9)

        def forward(self, ids, state=None):
            y, state = self.rnn(self.embed(ids), state)
            return self.head(y), state

    text, model = torch.randint(0, 9, (4, 9)), Net()
    optimizer = sgd(model)
    state = None
    for _ in range(4):
        optimizer.zero_grad()
        scores, state = model(text[:, :-1], state)
        state = state.detach()
        F.cross_entropy(scores.transpose(1, 2), text[:, 1:]).backward()
        optimizer.step()


def encoder_with_padding():
    ids = torch.tensor([[1, 2, 3, 0, 0], [4, 5, 1, 2, 0]])
    embed = nn.Embedding(6, 8, padding_idx=0)
    layer, head = nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True), nn.Linear(8, 2)
    model = nn.ModuleList([embed, layer, head])
    optimizer = sgd(model)
    for _ in range(4):
        optimizer.zero_grad()
        h = layer(embed(ids), src_key_padding_mask=ids == 0)
        real = (ids != 0).unsqueeze(-1)
        h = (h * real).sum(1) / real.sum(1)
        F.cross_entropy(head(h), torch.tensor([0, 1])).backward()
        optimizer.step()


def autoencoder():
    model, x = nn.Sequential(mlp(8, 4), nn.ReLU(), mlp(4, 8), nn.Sigmoid()), torch.rand(32, 8)
    optimizer = sgd(model)
    for _ in range(5):
        optimizer.zero_grad()
        F.binary_cross_entropy(model(x), x).backward()
        optimizer.step()


def convnet():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(36, 3),
    )  # fmt: skip
    x, y = torch.randn(16, 1, 8, 8), torch.randint(0, 3, (16,))
    optimizer = sgd(model, 0.05)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        model(x).softmax(1).max(1)


def proximal_policy():
    policy, value = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2)), nn.Linear(4, 1)
    optimizer = torch.optim.Adam([*policy.parameters(), *value.parameters()], lr=3e-3)
    for _ in range(2):
        s, gain = torch.randn(64, 4), torch.randn(64)
        with torch.no_grad():
            choice = torch.distributions.Categorical(logits=policy(s))
            action = choice.sample()
            before = choice.log_prob(action)
        for rows in torch.randperm(64).split(16):
            choice = torch.distributions.Categorical(logits=policy(s[rows]))
            ratio = (choice.log_prob(action[rows]) - before[rows]).exp()
            clipped = ratio.clamp(0.8, 1.2) * gain[rows]
            loss = -torch.min(ratio * gain[rows], clipped).mean() - 0.01 * choice.entropy().mean()
            loss = loss + (value(s[rows]).squeeze(-1) - gain[rows]).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def translation_with_all_masks():
    model, embed = nn.Transformer(16, 2, 1, 1, 32, batch_first=True), nn.Embedding(11, 16)
    head = nn.Linear(16, 11)
    optimizer = torch.optim.Adam([p for m in (model, embed, head) for p in m.parameters()])
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    for _ in range(4):
        source, target = torch.randint(1, 11, (4, 6)), torch.randint(1, 11, (4, 7))
        source[0, 4:] = 0
        hidden = source == 0
        y = model(
            embed(source), embed(target[:, :-1]), tgt_mask=mask,
            src_key_padding_mask=hidden, memory_key_padding_mask=hidden,
        )  # fmt: skip
        optimizer.zero_grad()
        F.cross_entropy(head(y).reshape(-1, 11), target[:, 1:].reshape(-1)).backward()
        optimizer.step()


def contrast_within_a_batch():
    encoder = nn.Linear(8, 8)
    optimizer = sgd(encoder)
    for _ in range(8):
        a, b = (F.normalize(encoder(torch.randn(16, 8)), dim=1) for _ in range(2))
        optimizer.zero_grad()
        F.cross_entropy(a @ b.t() / 0.1, torch.arange(16)).backward()
        optimizer.step()
