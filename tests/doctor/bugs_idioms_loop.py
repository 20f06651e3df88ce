"""Bugs of loops and schedules in many idioms: trainers, closures, GANs, averages, control."""

from __future__ import annotations

import copy
import itertools
import math

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.optim import lr_scheduler
from tinygrad_edu.utils.data import DataLoader, TensorDataset


def blobs(n=48, d=6, c=4):
    y = torch.arange(n) % c
    return 2 * torch.randn(c, d)[y] + 0.4 * torch.randn(n, d), y


class Learner:
    """Holds everything; subclasses say what one step is."""

    def __init__(self, net, lr=0.01):
        self.net, self.opt = net, torch.optim.RMSprop(net.parameters(), lr=lr)
        self.log = {"loss": []}

    def step(self, *batch):
        raise NotImplementedError

    def run(self, loader, epochs=2):
        for _ in range(epochs):
            for batch in loader:
                self.log["loss"].append(float(self.step(*batch)))
        return self


def batches(n=48, size=8, **options):
    return DataLoader(TensorDataset(*blobs(n)), batch_size=size, shuffle=True, **options)


def actor_critic_one_cleared():
    actor, critic = nn.Linear(4, 2), nn.Linear(4, 1)
    a, c = torch.optim.Adam(actor.parameters()), torch.optim.Adam(critic.parameters())
    for _ in range(6):
        s = torch.randn(10, 4)
        value = critic(s).squeeze(-1)
        policy = torch.distributions.Categorical(logits=actor(s))
        action = policy.sample()
        advantage = torch.randn(10) - value
        c.zero_grad()
        (-policy.log_prob(action) * advantage.detach()).mean().backward()  # BUG: zero-grad-missing
        advantage.pow(2).mean().backward()
        a.step()
        c.step()


def vae_cleared_once():
    enc, dec = nn.Linear(12, 4), nn.Linear(2, 12)
    params = itertools.chain(enc.parameters(), dec.parameters())
    opt, x = torch.optim.Adagrad(params, lr=0.05), torch.rand(20, 12)
    opt.zero_grad(set_to_none=True)
    for _ in range(5):
        mu, logvar = enc(x).chunk(2, 1)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        rec = F.binary_cross_entropy_with_logits(dec(z), x, reduction="sum")
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
        total = rec + kl
        total.backward()  # BUG: zero-grad-missing
        opt.step()


def cleared_inside_a_helper_too_late():
    class Step(Learner):
        def apply(self, loss):
            loss.backward()
            self.opt.zero_grad()  # BUG: zero-grad-before-step
            self.opt.step()

        def step(self, x, y):
            loss = F.cross_entropy(self.net(x), y)
            self.apply(loss)
            return loss.detach()

    Step(nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 4))).run(batches())


def generator_that_never_steps():
    g, d = nn.Linear(3, 5), nn.Sequential(nn.Linear(5, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    og, od = torch.optim.Adam(g.parameters()), torch.optim.Adam(d.parameters())
    bce = nn.BCEWithLogitsLoss()
    for _ in range(8):
        real, z = torch.randn(16, 5) + 2, torch.randn(16, 3)
        od.zero_grad()
        (bce(d(real), torch.ones(16, 1)) + bce(d(g(z).detach()), torch.zeros(16, 1))).backward()
        od.step()
        og.zero_grad()
        bce(d(g(z)), torch.ones(16, 1)).backward()  # BUG: step-missing


def step_at_the_top_of_the_loop():
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))
    opt = torch.optim.Adam(net.parameters(), lr=0.01)
    for x, y in batches():
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        opt.step()  # BUG: step-before-backward
        loss.backward()


def optimizer_of_the_wrong_half():
    student, teacher = nn.Linear(6, 4), nn.Linear(6, 4)
    opt = torch.optim.SGD(teacher.parameters(), lr=0.1)  # BUG: optimizer-other-parameters
    for x, _ in batches():
        with torch.no_grad():
            target = teacher(x).softmax(-1)
        loss = F.kl_div(F.log_softmax(student(x), -1), target, reduction="batchmean")
        opt.zero_grad()
        loss.backward()
        opt.step()


def classifier_replaced_for_fine_tuning():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)  # BUG: optimizer-stale-parameters
    net[3] = nn.Linear(144, 3)
    x, y = torch.randn(12, 1, 8, 8), torch.arange(12) % 3
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def decoder_of_no_use():
    class Auto(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up, self.old_up = nn.Linear(8, 3), nn.Linear(3, 8), nn.Linear(3, 8)

        def forward(self, x):
            return self.up(torch.tanh(self.down(x)))

    net, x = Auto(), torch.randn(24, 8)
    opt = torch.optim.NAdam(net.parameters(), lr=1e-2)
    for _ in range(8):
        loss = F.mse_loss(net(x), x)
        opt.zero_grad()
        loss.backward()
        opt.step()  # BUG: parameter-unreached


def embeddings_forgotten_by_the_optimizer():
    words, rnn, head = nn.Embedding(12, 6), nn.GRU(6, 10, batch_first=True), nn.Linear(10, 2)
    opt = torch.optim.Adam([*rnn.parameters(), *head.parameters()])  # BUG: parameter-not-optimized
    ids, y = torch.randint(0, 12, (16, 5)), torch.arange(16) % 2
    for _ in range(6):
        _, h = rnn(words(ids))
        loss = F.cross_entropy(head(h[-1]), y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def micro_batches_cleared_each_time():
    net = nn.Linear(6, 4)
    opt, count = torch.optim.SGD(net.parameters(), lr=0.1), 4
    for _ in range(3):
        x, y = blobs(32)
        for i in range(count):
            opt.zero_grad()  # BUG: gradient-discarded
            part = slice(i * 8, (i + 1) * 8)
            (F.cross_entropy(net(x[part]), y[part]) / count).backward()
        opt.step()


def recurrent_clip_too_late():
    rnn, out = nn.RNN(3, 8, batch_first=True), nn.Linear(8, 1)
    params = [*rnn.parameters(), *out.parameters()]
    opt = torch.optim.SGD(params, lr=0.05)
    for _ in range(5):
        x = torch.randn(6, 9, 3)
        loss = (out(rnn(x)[0][:, -1]).squeeze(1) - x[:, 0, 0]).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        torch.nn.utils.clip_grad_norm_(params, 0.5)  # BUG: clip-after-step


def clip_in_the_forward_half():
    class Clipped(Learner):
        def step(self, x, y):
            self.opt.zero_grad()
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)  # BUG: clip-before-backward
            loss = F.cross_entropy(self.net(x), y)
            loss.backward()
            self.opt.step()
            return loss.detach()

    Clipped(nn.Linear(6, 4)).run(batches())


def accumulation_by_modulo():
    net = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 4))
    opt, criterion = torch.optim.AdamW(net.parameters()), nn.CrossEntropyLoss()
    opt.zero_grad()
    for i, (x, y) in enumerate(batches(96)):
        loss = criterion(net(x), y)
        loss.backward()  # BUG: accumulation-not-divided
        if (i + 1) % 3 == 0:
            opt.step()
            opt.zero_grad()


def accumulation_with_a_scaler():
    net, scaler = nn.Linear(6, 1), torch.amp.GradScaler("cpu", init_scale=8.0)
    opt = torch.optim.SGD(net.parameters(), lr=0.01)
    x = torch.randn(64, 6)
    for _ in range(3):
        for part in x.split(16):
            loss = F.mse_loss(net(part), part[:, :1])
            scaler.scale(loss).backward()  # BUG: accumulation-not-divided
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()


def schedule_of_the_config():
    net = nn.Linear(6, 4)
    cfg = {"opt": torch.optim.Adam(net.parameters()), "epochs": 3}
    one_cycle = lr_scheduler.OneCycleLR
    cfg["sched"] = one_cycle(cfg["opt"], 0.1, total_steps=30)  # BUG: scheduler-missing
    for _ in range(cfg["epochs"]):
        for x, y in batches():
            cfg["opt"].zero_grad()
            F.cross_entropy(net(x), y).backward()
            cfg["opt"].step()


def schedule_in_the_training_step():
    class Scheduled(Learner):
        def __init__(self, net):
            super().__init__(net)
            self.sched = lr_scheduler.StepLR(self.opt, step_size=3, gamma=0.1)

        def step(self, x, y):
            self.opt.zero_grad()
            loss = F.cross_entropy(self.net(x), y)
            loss.backward()
            self.opt.step()
            self.sched.step()  # BUG: scheduler-per-batch
            return loss.detach()

    Scheduled(nn.Linear(6, 4)).run(batches(), epochs=3)


def cosine_that_comes_back():
    net, x = nn.Linear(5, 1), torch.randn(20, 5)
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    cosine = lr_scheduler.CosineAnnealingLR(opt, 6)
    epoch = 0
    while epoch < 14:
        opt.zero_grad()
        F.smooth_l1_loss(net(x), x.sum(1, keepdim=True)).backward()
        opt.step()
        cosine.step()  # BUG: scheduler-past-end
        epoch += 1


def warm_up_before_the_step():
    net = nn.Linear(6, 4)
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)
    warm = lr_scheduler.LambdaLR(opt, lambda i: min(1.0, (i + 1) / 5))
    for x, y in batches():
        loss = F.cross_entropy(net(x), y)
        opt.zero_grad()
        loss.backward()
        warm.step()  # BUG: scheduler-before-optimizer
        opt.step()


def rate_divided_by_hand():
    net, x = nn.Linear(5, 1), torch.randn(20, 5)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)  # BUG: learning-rate-vanished
    for i in range(18):
        for group in opt.param_groups:
            group["lr"] = 0.1 * math.exp(-3 * i)
        opt.zero_grad()
        F.l1_loss(net(x), x[:, :1]).backward()
        opt.step()


def polynomial_that_explodes():
    w = torch.zeros(4, requires_grad=True)
    x = torch.linspace(-4, 4, 30)
    powers, y = torch.stack([x**k for k in range(4)], 1), torch.sin(x)
    opt = torch.optim.SGD([w], lr=0.01)
    for _ in range(14):
        loss = (powers @ w - y).pow(2).mean()
        opt.zero_grad()
        loss.backward()  # BUG: diverging
        opt.step()


def contrast_that_stands_still():
    net, x = nn.Linear(6, 4), torch.randn(12, 6)
    opt = torch.optim.SGD(net.parameters(), lr=1e-7)
    for _ in range(45):
        z = F.normalize(net(x), dim=1)
        loss = F.cross_entropy(z @ z.t() / 0.5, torch.arange(12))
        opt.zero_grad()
        loss.backward()  # BUG: loss-flat
        opt.step()


def head_with_large_weights():
    net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4))
    nn.init.normal_(net[2].weight, std=8.0)
    opt = torch.optim.Adam(net.parameters())
    for x, y in batches():
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()  # BUG: loss-start
        opt.step()


def average_that_is_trained():
    net = nn.Linear(6, 4)
    shadow = copy.deepcopy(net)
    opt = torch.optim.SGD(shadow.parameters(), lr=0.1)  # BUG: optimizer-other-parameters
    for x, y in batches():
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()
        with torch.no_grad():
            for a, b in zip(shadow.parameters(), net.parameters(), strict=True):
                a.lerp_(b, 0.1)


def unscaled_clip():
    net, scaler = nn.Linear(6, 4), torch.amp.GradScaler("cpu", init_scale=16.0)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for x, y in batches():
        opt.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(net(x), y)
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)  # BUG: clip-after-step
