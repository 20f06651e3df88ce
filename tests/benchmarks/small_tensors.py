"""Programs of many operations on small tensors, on this library and on PyTorch.

    python tests/benchmarks/small_tensors.py              all of them
    python tests/benchmarks/small_tensors.py crf maml     these only

The least processor time of a step on one thread, each library in processes of its own that take
turns, and its ratio to PyTorch's.  Both must come to the same numbers, or the line says so.
"""

import argparse
import importlib
import itertools
import json
import math
import os
import subprocess
import sys
import time


def crf(torch):
    """A conditional random field over a bidirectional LSTM, its sums written tag by tag."""
    nn = torch.nn
    TAGS, START, STOP = 5, 3, 4
    embed, lstm = nn.Embedding(17, 5), nn.LSTM(5, 2, bidirectional=True)
    score, transitions = nn.Linear(4, TAGS), nn.Parameter(torch.randn(TAGS, TAGS))
    transitions.data[START, :] = -10000
    transitions.data[:, STOP] = -10000
    parameters = [*embed.parameters(), *lstm.parameters(), *score.parameters(), transitions]
    optimizer = torch.optim.SGD(parameters, lr=0.01, weight_decay=1e-4)
    sentence, tags = torch.arange(11), torch.tensor([0, 1, 1, 1, 2, 2, 2, 0, 1, 2, 2])

    def log_sum_exp(row):
        largest = row[0, row.max(1).indices.item()]
        return largest + (row - largest.view(1, -1).expand(1, row.size(1))).exp().sum().log()

    def step():
        optimizer.zero_grad()
        output, _ = lstm(embed(sentence).view(len(sentence), 1, -1))
        features, forward = score(output.view(len(sentence), -1)), torch.full((1, TAGS), -10000.0)
        forward[0][START] = 0.0
        for row in features:
            scores = []
            for tag in range(TAGS):
                emission = row[tag].view(1, -1).expand(1, TAGS)
                scores.append(
                    log_sum_exp(forward + transitions[tag].view(1, -1) + emission).view(1)
                )
            forward = torch.cat(scores).view(1, -1)
        every = log_sum_exp(forward + transitions[STOP])
        path, own = torch.cat([torch.tensor([START]), tags]), torch.zeros(1)
        for i, row in enumerate(features):
            own = own + transitions[path[i + 1], path[i]] + row[path[i + 1]]
        loss = every - own - transitions[STOP, path[-1]]
        loss.backward()
        optimizer.step()
        return loss

    return step


def kernel(torch):
    """The tangent kernel of a small convnet, by Jacobians and by products."""
    nn, func = torch.nn, torch.func
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    params = {name: p.detach() for name, p in net.named_parameters()}
    x1, x2 = torch.randn(4, 3, 8, 8), torch.randn(2, 3, 8, 8)

    def f(params, x):
        return func.functional_call(net, params, (x.unsqueeze(0),)).squeeze(0)

    def by_jacobians():
        both = [func.vmap(func.jacrev(f), (None, 0))(params, x) for x in (x1, x2)]
        first, second = ([j.flatten(2) for j in jacobians.values()] for jacobians in both)
        products = [torch.einsum("Naf,Mbf->NMab", a, b) for a, b in zip(first, second, strict=True)]
        return torch.stack(products).sum(0)

    def by_products():
        def of_pair(x1, x2):
            output, pull = func.vjp(lambda p: f(p, x1), params)
            push = lambda v: func.jvp(lambda p: f(p, x2), (params,), pull(v))[1]  # noqa: E731
            return func.vmap(push)(torch.eye(output.numel()))

        return func.vmap(func.vmap(of_pair, (None, 0)), (0, None))(x1, x2)

    return lambda: (by_jacobians() + by_products()).sum()


def by_example(torch):
    """A network trained example by example, its layers and its update written by hand."""
    weights = [torch.randn(a, b) / a**0.5 for a, b in ((8, 16), (16, 16), (16, 2))]
    biases = [torch.zeros(w.shape[1]) for w in weights]
    parameters = [p.requires_grad_() for p in (*weights, *biases)]
    xs, ys = torch.randn(16, 8), torch.randint(0, 2, (16,))

    def step():
        total = 0.0
        for x, y in zip(xs, ys, strict=True):
            for w, b in zip(weights[:-1], biases[:-1], strict=True):
                x = torch.relu(x @ w + b)
            scores = x @ weights[-1] + biases[-1]
            loss = scores.logsumexp(0) - scores[y]
            for p in parameters:
                p.grad = None
            loss.backward()
            with torch.no_grad():
                for p in parameters:
                    p -= 0.01 * p.grad
            total += loss.item()
        return torch.tensor(total)

    return step


def rnn(torch):
    """A recurrent network of characters, written by hand, with Adagrad by hand."""
    count, width, length = 20, 32, 25
    U, W = torch.randn(count, width) * 0.1, torch.randn(width, width) * 0.1
    V, b, c = torch.randn(width, count) * 0.1, torch.zeros(width), torch.zeros(count)
    parameters = [p.requires_grad_() for p in (U, W, V, b, c)]
    sums = [torch.zeros_like(p) for p in parameters]
    text = torch.randint(0, count, (length + 1,))

    def step():
        h, loss = torch.zeros(1, width), 0
        for t in range(length):
            x = torch.zeros(1, count)
            x[0, text[t]] = 1
            h = torch.tanh(x @ U + h @ W + b)
            logits = h @ V + c
            loss = loss - torch.log_softmax(logits, dim=1)[0, text[t + 1]]
        loss.backward()
        with torch.no_grad():
            for p, s in zip(parameters, sums, strict=True):
                s += p.grad * p.grad
                p -= 0.02 * p.grad / (s + 1e-8).sqrt()
                p.grad.zero_()
        return loss

    return step


def scalars(torch):
    """Neurons made of scalars."""
    sizes = [2, 8, 8, 1]
    weights = [
        [[torch.randn(()).requires_grad_() for _ in range(a + 1)] for _ in range(b)]
        for a, b in itertools.pairwise(sizes)
    ]
    points = torch.randn(4, 2).tolist()

    def step():
        loss = 0
        for point in points:
            values = [torch.tensor(v) for v in point]
            for layer in weights:
                values = [
                    torch.tanh(sum((w * x for w, x in zip(ws, values, strict=False)), ws[-1]))
                    for ws in layer
                ]
            loss = loss + (values[0] - 1.0) ** 2
        loss.backward()
        for layer in weights:
            for w in itertools.chain(*layer):
                w.data = w.data - 0.01 * w.grad
                w.grad = None
        return loss

    return step


def lstm_cells(torch):
    """Two LSTM cells along a sequence."""
    nn = torch.nn
    one, two, out = nn.LSTMCell(1, 21), nn.LSTMCell(21, 21), nn.Linear(21, 1)
    parameters = [*one.parameters(), *two.parameters(), *out.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    waves = torch.sin(torch.arange(61) / 5.0 + torch.randn(6, 1))

    def step():
        h1, c1, h2, c2 = (torch.zeros(6, 21) for _ in range(4))
        outputs = []
        for x in waves[:, :-1].split(1, dim=1):
            h1, c1 = one(x, (h1, c1))
            h2, c2 = two(h1, (h2, c2))
            outputs.append(out(h2))
        loss = nn.functional.mse_loss(torch.cat(outputs, 1), waves[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def per_sample(torch):
    """The gradient of every sample, by vmap of grad."""
    nn, F, func = torch.nn, torch.nn.functional, torch.func
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 16), nn.Tanh(),
        nn.Linear(16, 3))  # fmt: skip
    params = {name: p.detach() for name, p in net.named_parameters()}
    images, labels = torch.randn(16, 1, 12, 12), torch.randint(0, 3, (16,))

    def loss(params, image, label):
        output = func.functional_call(net, params, (image.unsqueeze(0),))
        return F.cross_entropy(output, label.unsqueeze(0))

    def step():
        samples = func.vmap(func.grad(loss), (None, 0, 0))(params, images, labels)
        return torch.stack([g.flatten(1).norm(dim=1) for g in samples.values()]).norm()

    return step


def penalty(torch):
    """A critic with a gradient penalty."""
    nn = torch.nn
    critic = nn.Sequential(
        nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)
    )
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
    real, fake, share = torch.randn(16, 2) + 2, torch.randn(16, 2), torch.rand(16, 1)

    def step():
        x = (share * real + (1 - share) * fake).requires_grad_()
        scores = critic(x)
        (slope,) = torch.autograd.grad(scores, x, torch.ones_like(scores), create_graph=True)
        loss = critic(fake).mean() - critic(real).mean()
        loss = loss + 10 * ((slope.norm(2, dim=1) - 1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def maml(torch):
    """Meta-learning of sine waves, two inner steps, task by task."""
    F = torch.nn.functional
    sizes = [1, 20, 20, 1]
    weights = [torch.randn(a, b) * math.sqrt(2 / a) for a, b in itertools.pairwise(sizes)]
    parameters = [p.requires_grad_() for w in weights for p in (w, torch.zeros(w.shape[1]))]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    xs = torch.rand(4, 2, 10, 1) * 10 - 5
    ys = (torch.rand(4, 1, 1, 1) * 4 + 1) * torch.sin(xs + torch.rand(4, 1, 1, 1) * math.pi)

    def net(p, x):
        x = F.relu(x @ p[0] + p[1])
        x = F.relu(x @ p[2] + p[3])
        return x @ p[4] + p[5]

    def step():
        losses = []
        for x, y in zip(xs, ys, strict=True):
            moved = parameters
            for _ in range(2):
                inner = F.mse_loss(net(moved, x[0]), y[0])
                slopes = torch.autograd.grad(inner, moved, create_graph=True)
                moved = [p - 0.01 * g for p, g in zip(moved, slopes, strict=True)]
            losses.append(F.mse_loss(net(moved, x[1]), y[1]))
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def physics(torch):
    """A physics-informed network: u_xx + u = 0 with u(0) = 0, u'(0) = 1."""
    nn = torch.nn
    net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    points, zero = torch.linspace(0, 3, 20).view(-1, 1), torch.zeros(1, 1)

    def derivative(y, x):
        return torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0]

    def step():
        x, start = points.clone().requires_grad_(), zero.clone().requires_grad_()
        u, u0 = net(x), net(start)
        u_xx = derivative(derivative(u, x), x)
        slope = derivative(u0, start)
        loss = ((u_xx + u) ** 2).mean() + (u0**2).mean() + ((slope - 1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


PROGRAMS = (
    crf, kernel, by_example, rnn, scalars, lstm_cells, per_sample, penalty, maml, physics,
)  # fmt: skip


def measure(name, library, seconds):
    """The least time of a step, and what the first steps came to."""
    torch = importlib.import_module(library)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = globals()[name](torch)
    values, least, end = [step().item() for _ in range(5)], math.inf, time.time() + seconds
    while time.time() < end:
        start = time.process_time()
        step()
        least = min(least, time.process_time() - start)
    return {"values": values, "least": least}


def in_a_process(name, library, seconds):
    command = [sys.executable, __file__, name, "--library", library, "--seconds", str(seconds)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main():
    names = [program.__name__ for program in PROGRAMS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("programs", nargs="*", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=1.5, help="of each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--library", help="measure one, here, and print JSON")
    args = parser.parse_args()
    if args.library:
        print(json.dumps(measure(args.programs[0], args.library, args.seconds)))
        return
    print(f"{'program':12}{'torch':>10}{'ours':>10}{'ratio':>8}")
    for name in args.programs or names:
        found = {"torch": [], "tinygrad_edu": []}
        for _, (library, runs) in itertools.product(range(args.rounds), found.items()):
            runs.append(in_a_process(name, library, args.seconds))
        theirs, ours = (min([run["least"] for run in runs]) * 1e3 for runs in found.values())
        pairs = zip(*[runs[0]["values"] for runs in found.values()], strict=True)
        same = all([math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) for a, b in pairs])
        line = f"{name:12}{theirs:7.2f} ms{ours:7.2f} ms{ours / theirs:8.2f}"
        print(line if same else f"{line}  the numbers differ", flush=True)


if __name__ == "__main__":
    main()
