"""Right programs in many idioms.  See clean_training.py."""

from __future__ import annotations

import contextlib
import copy

import numpy as np
from doctor.bugs_idioms_loop import Learner, batches, blobs

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.optim import lr_scheduler
from tinygrad_edu.utils.data import DataLoader, Subset, TensorDataset, WeightedRandomSampler


class Plain(Learner):
    """Ordinary steps."""

    def step(self, x, y):
        self.opt.zero_grad()
        loss = F.cross_entropy(self.net(x), y)
        loss.backward()
        self.opt.step()
        return loss.detach()

    @torch.no_grad()
    def accuracy(self, loader):
        mode = self.net.training
        self.net.eval()
        right = sum((self.net(x).argmax(1) == y).sum().item() for x, y in loader)
        self.net.train(mode)
        return right / len(loader.dataset)


def net(*more):
    return nn.Sequential(nn.Linear(6, 12), *more, nn.ReLU(), nn.Linear(12, 4))


def trainer_with_validation():
    learner = Plain(net(nn.BatchNorm1d(12), nn.Dropout(0.2)))
    data = TensorDataset(*blobs(60))
    train, valid = Subset(data, range(40)), Subset(data, range(40, 60))
    for _ in range(3):
        learner.run(DataLoader(train, 8, shuffle=True), 1)
        learner.accuracy(DataLoader(valid, 20))


def accuracy_of_the_training_set():
    learner = Plain(net())
    loader = batches()
    for _ in range(3):
        learner.run(loader, 1)
        learner.accuracy(loader)


def temporal_ensemble():
    model, (x, y) = net(nn.Dropout(0.4)), blobs()
    targets, opt = torch.zeros(len(x), 4), torch.optim.Adam(model.parameters())
    for epoch in range(5):
        p = model(x).softmax(1)
        loss = F.nll_loss((p + 1e-9).log(), y) + 0.1 * (p - targets).pow(2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        targets = 0.6 * targets + 0.4 * p.detach()
        targets = targets / (1 - 0.6 ** (epoch + 1))


def mean_teacher():
    student, (x, y) = net(nn.Dropout(0.2)), blobs()
    teacher = copy.deepcopy(student).requires_grad_(False)
    opt = torch.optim.SGD(student.parameters(), lr=0.1)
    for _ in range(6):
        with torch.no_grad():
            goal = teacher(x + 0.1 * torch.randn_like(x)).softmax(1)
        out = student(x)
        loss = F.cross_entropy(out, y) + F.mse_loss(out.softmax(1), goal)
        opt.zero_grad()
        loss.backward()
        opt.step()
        with torch.no_grad():
            for a, b in zip(teacher.parameters(), student.parameters(), strict=True):
                a.mul_(0.9).add_(b, alpha=0.1)


def dueling_networks():
    q, (s, r) = net(), (torch.randn(20, 6), torch.randn(20))
    target = copy.deepcopy(q)
    opt, a = torch.optim.Adam(q.parameters()), torch.randint(0, 4, (20, 1))
    for i in range(6):
        with torch.no_grad():
            best = q(s).argmax(1, keepdim=True)
            goal = r + 0.9 * target(s).gather(1, best).squeeze(1)
        td = q(s).gather(1, a).squeeze(1) - goal
        opt.zero_grad()
        F.smooth_l1_loss(td, torch.zeros_like(td)).backward()
        opt.step()
        if i % 2:
            target.load_state_dict(q.state_dict())


def actor_with_a_baseline():
    actor, critic = nn.Linear(4, 3), nn.Linear(4, 1)
    opts = torch.optim.Adam(actor.parameters()), torch.optim.Adam(critic.parameters(), lr=0.01)
    for _ in range(5):
        states, rewards = torch.randn(15, 4), torch.randn(15)
        values = critic(states).squeeze(-1)
        chosen = torch.distributions.Categorical(logits=actor(states))
        actions = chosen.sample()
        gain = (rewards - values).detach()
        losses = -(chosen.log_prob(actions) * gain).mean(), F.mse_loss(values, rewards)
        for opt, loss in zip(opts, losses, strict=True):
            opt.zero_grad()
            loss.backward()
            opt.step()


def gan_in_one_pass():
    g, d = nn.Linear(2, 5), nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))
    og, od = torch.optim.Adam(g.parameters()), torch.optim.Adam(d.parameters())
    for _ in range(5):
        fake, real = g(torch.randn(12, 2)), torch.randn(12, 5) + 1
        od.zero_grad()
        (F.softplus(-d(real)).mean() + F.softplus(d(fake.detach())).mean()).backward()
        od.step()
        og.zero_grad()
        F.softplus(-d(fake)).mean().backward()
        og.step()


def hinge_gan_with_several_critic_steps():
    g, d = nn.Linear(2, 3), nn.Linear(3, 1)
    og, od = torch.optim.RMSprop(g.parameters()), torch.optim.RMSprop(d.parameters())
    for _ in range(3):
        for _ in range(3):
            with torch.no_grad():
                fake = g(torch.randn(10, 2))
            loss = F.relu(1 - d(torch.randn(10, 3))).mean() + F.relu(1 + d(fake)).mean()
            od.zero_grad()
            loss.backward()
            od.step()
        d.requires_grad_(False)
        og.zero_grad()
        (-d(g(torch.randn(10, 2)))).mean().backward()
        og.step()
        d.requires_grad_(True)


def vae_of_bits():
    enc, dec, x = nn.Linear(10, 6), nn.Linear(3, 10), torch.rand(24, 10).round()
    opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()], lr=1e-2)
    for _ in range(6):
        mu, logvar = enc(x).chunk(2, dim=-1)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
        rec = F.binary_cross_entropy(torch.sigmoid(dec(z)), x, reduction="none").sum(-1)
        kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(-1)
        opt.zero_grad()
        (rec + kl).mean().backward()
        opt.step()


def accumulated_sums_of_different_losses():
    model, (x, y) = net(), blobs()
    opt = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(4):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        (0.01 * sum(p.pow(2).sum() for p in model.parameters())).backward()
        opt.step()


def accumulated_over_two_halves_of_a_sum():
    model, (x, y) = net(), blobs()
    opt = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(4):
        opt.zero_grad()
        for a, b in zip(x.chunk(2), y.chunk(2), strict=True):
            (F.cross_entropy(model(a), b, reduction="sum") / len(x)).backward()
        opt.step()


def scaler_with_accumulation_and_clip():
    model, scaler = nn.Linear(6, 4), torch.amp.GradScaler("cpu", init_scale=64.0)
    opt, every = torch.optim.AdamW(model.parameters()), 3
    for i, (x, y) in enumerate(batches(72)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(x), y) / every
        scaler.scale(loss).backward()
        if (i + 1) % every == 0:
            scaler.unscale_(opt)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(opt)
            scaler.update()
            opt.zero_grad(set_to_none=True)


def schedules_of_all_kinds():
    model, x = nn.Linear(5, 1), torch.randn(20, 5)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    warm = lr_scheduler.LinearLR(opt, 0.1, total_iters=4)
    rest = lr_scheduler.CosineAnnealingLR(opt, 8)
    both = lr_scheduler.SequentialLR(opt, [warm, rest], milestones=[4])
    for _ in range(12):
        opt.zero_grad()
        F.mse_loss(model(x), x[:, :1]).backward()
        opt.step()
        both.step()


def cyclic_by_batch():
    learner = Plain(net())
    learner.sched = lr_scheduler.CyclicLR(learner.opt, 0.001, 0.05, step_size_up=4)
    for x, y in batches(96):
        learner.step(x, y)
        learner.sched.step()


def metric_learning_with_triplets():
    model, (x, y) = net(), blobs(40)
    opt, loss_of = torch.optim.Adam(model.parameters()), nn.TripletMarginLoss(margin=0.5)
    for _ in range(4):
        z = F.normalize(model(x), dim=1)
        far = torch.cdist(z, z)
        same = y[:, None] == y[None, :]
        hardest = (far + 10 * same).argmin(1)
        partner = torch.arange(len(x)).roll(4)
        opt.zero_grad()
        loss_of(z, z[partner], z[hardest]).backward()
        opt.step()


def supervised_contrast():
    model, (x, y) = net(), blobs(24)
    opt, eye = torch.optim.Adam(model.parameters()), torch.eye(24, dtype=torch.bool)
    for _ in range(4):
        z = F.normalize(model(x), dim=-1)
        scores = (z @ z.mT / 0.2).masked_fill(eye, -1e9)
        same = (y[:, None] == y[None]) & ~eye
        logp = scores - scores.logsumexp(1, keepdim=True)
        loss = -(logp * same).sum(1) / same.sum(1).clamp(min=1)
        opt.zero_grad()
        loss.mean().backward()
        opt.step()


def segmentation_with_overlap():
    model = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 1, 1))
    x = torch.rand(6, 1, 8, 8)
    y = (x > 0.5).float()
    opt = torch.optim.Adam(model.parameters())
    for _ in range(4):
        scores = model(x)
        p = scores.sigmoid()
        dice = 1 - 2 * (p * y).sum() / (p.sum() + y.sum() + 1)
        opt.zero_grad()
        (F.binary_cross_entropy_with_logits(scores, y) + dice).backward()
        opt.step()
    with torch.no_grad():
        guess = model(x) > 0
        (guess & (y > 0)).sum() / (guess | (y > 0)).sum()


def text_with_packed_sequences():
    embed, rnn = nn.Embedding(15, 6, padding_idx=0), nn.LSTM(6, 8, batch_first=True)
    head, lengths = nn.Linear(8, 3), torch.tensor([7, 5, 4, 2])
    ids = torch.randint(1, 15, (4, 7)) * (torch.arange(7) < lengths[:, None])
    opt = torch.optim.Adam([p for m in (embed, rnn, head) for p in m.parameters()])
    for _ in range(4):
        packed = nn.utils.rnn.pack_padded_sequence(embed(ids), lengths, batch_first=True)
        _, (h, _) = rnn(packed)
        opt.zero_grad()
        F.cross_entropy(head(h[-1]), torch.tensor([0, 1, 2, 0])).backward()
        opt.step()


def characters_with_a_carried_state():
    embed, cell, out = nn.Embedding(7, 5), nn.GRUCell(5, 8), nn.Linear(8, 7)
    params = [p for m in (embed, cell, out) for p in m.parameters()]
    opt, text, h = torch.optim.Adam(params), torch.arange(60) * 3 % 7, torch.zeros(1, 8)
    for i in range(0, 48, 6):
        h, loss = h.detach(), 0.0
        for t in range(i, i + 6):
            h = cell(embed(text[t : t + 1]), h)
            loss = loss + F.cross_entropy(out(h), text[t + 1 : t + 2])
        opt.zero_grad()
        (loss / 6).backward()
        nn.utils.clip_grad_value_(params, 1.0)
        opt.step()


def prefix_language_model():
    embed, out = nn.Embedding(9, 16), nn.Linear(16, 9)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(7)
    parts = nn.ModuleList([embed, layer, out])
    opt = torch.optim.AdamW(parts.parameters())
    for _ in range(3):
        ids = torch.randint(0, 9, (5, 8))
        scores = out(layer(embed(ids[:, :-1]), src_mask=mask, is_causal=True))
        opt.zero_grad()
        F.cross_entropy(scores.transpose(1, 2), ids[:, 1:]).backward()
        opt.step()


def k_folds_of_fresh_models():
    x, y = blobs(36)
    for fold in range(3):
        held = torch.arange(36) % 3 == fold
        learner = Plain(net(nn.Dropout(0.1)))
        learner.run(DataLoader(TensorDataset(x[~held], y[~held]), 8, shuffle=True), 1)
        learner.accuracy(DataLoader(TensorDataset(x[held], y[held]), 12))


def balanced_by_a_sampler():
    x, y = blobs(40)
    weights = torch.where(y == 0, 3.0, 1.0).tolist()
    loader = DataLoader(TensorDataset(x, y), 8, sampler=WeightedRandomSampler(weights, 40))
    Plain(net()).run(loader)


def snapshots_and_best_weights():
    learner, best, kept = Plain(net()), float("inf"), None
    x, y = blobs()
    for _ in range(4):
        learner.run(batches(), 1)
        with torch.no_grad():
            now = F.cross_entropy(learner.net(x), y).item()
        if now < best:
            best, kept = now, copy.deepcopy(learner.net.state_dict())
    learner.net.load_state_dict(kept)


def newton_by_hand():
    w = torch.tensor([2.0, -1.0], requires_grad=True)
    for _ in range(4):
        loss = (w**4).sum() + (w - 1).pow(2).sum()
        (g,) = torch.autograd.grad(loss, w, create_graph=True)
        h = torch.stack([torch.autograd.grad(part, w, retain_graph=True)[0] for part in g])
        w = (w - torch.linalg.solve(h, g)).detach().requires_grad_()


def learned_loss_weights():
    model, (x, y) = net(), blobs()
    spread = nn.Parameter(torch.zeros(2))
    opt = torch.optim.Adam([*model.parameters(), spread])
    for _ in range(5):
        out = model(x)
        parts = torch.stack([F.cross_entropy(out, y), out.pow(2).mean()])
        opt.zero_grad()
        ((-spread).exp() * parts + spread).sum().backward()
        opt.step()


def extra_gradient():
    a, b = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    for _ in range(5):
        ga, gb = torch.autograd.grad((a * b).sum() + (a**2).sum(), (a, b))
        with torch.no_grad():
            a -= 0.1 * ga
            b += 0.1 * gb


def random_projection_kept_fixed():
    class Reservoir(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("w", torch.randn(6, 30))
            self.table = {"scale": torch.tensor(0.5), "names": ["a", "b"]}
            self.out = nn.Linear(30, 4)

        def forward(self, x):
            return self.out(torch.tanh(x @ self.w * self.table["scale"]))

    Plain(Reservoir()).run(batches())


def losses_logged_in_many_ways():
    model, (x, y) = net(), blobs()
    opt, log, total = torch.optim.SGD(model.parameters(), lr=0.1), {"loss": []}, 0.0
    smooth = None
    for _ in range(10):
        loss = F.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        log["loss"].append(loss.detach().clone())
        total += loss.item() * len(x)
        smooth = loss.item() if smooth is None else 0.9 * smooth + 0.1 * loss.item()
    np.mean([entry.numpy() for entry in log["loss"]])


def evaluated_twice_in_a_context():
    @contextlib.contextmanager
    def evaluating(model):
        was = model.training
        model.eval()
        try:
            with torch.inference_mode():
                yield model
        finally:
            model.train(was)

    learner = Plain(net(nn.BatchNorm1d(12)))
    x, y = blobs()
    for _ in range(3):
        learner.run(batches(), 1)
        with evaluating(learner.net) as quiet:
            (quiet(x).argmax(1) == y).float().mean().item()
            quiet(x[:5]).softmax(-1).amax(-1).tolist()


def regression_with_uncertainty():
    model, x = nn.Sequential(nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, 2)), torch.randn(30, 3)
    y, opt = x.sum(1) + 0.1 * torch.randn(30), torch.optim.Adam(model.parameters())
    for _ in range(5):
        mean, log_s = model(x).unbind(-1)
        loss = F.gaussian_nll_loss(mean, y, log_s.exp()) + 1e-3 * log_s.square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()


def clipped_scaled_and_checked():
    model, (x, y) = net(), blobs()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(6):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        if torch.isfinite(norm):
            opt.step()
