"""Why transformers replaced recurrent networks, measured.

    python examples/08_rnn_or_transformer.py            about five minutes on two cores
    python examples/08_rnn_or_transformer.py --quick    a minute, with less training

The task is to remember: the first token is one of eight letters, noise follows, and at the end the
network is asked for that letter.  An LSTM and a transformer of similar size get the same
batches.  Three things are measured by the distance between the letter and the question:

    1. how much of the loss's gradient reaches the first token before any training: in the LSTM it
       passes every step between, in the transformer it goes there directly;
    2. the time of a training step: the LSTM works through the positions one after another, the
       transformer through all at once, but every pair of them;
    3. how often the answer is right after training at that distance.

This is an ordinary PyTorch script: change the lines that say tinygrad_edu to run it on PyTorch.
"""

import argparse
import pathlib
import time

import tinygrad_edu as torch
from tinygrad_edu import nn

LETTERS, NOISE = 8, 8
ASK = LETTERS + NOISE
"""Tokens: letters, noise, and the question."""


def batch(count, distance, generator):
    """(count, distance + 1) tokens, and the letter that stands first."""
    letter = torch.randint(0, LETTERS, (count,), generator=generator)
    noise = torch.randint(LETTERS, LETTERS + NOISE, (count, distance - 1), generator=generator)
    ask = torch.full((count, 1), ASK)
    return torch.cat([letter.reshape(count, 1), noise, ask], 1), letter


class Recurrent(nn.Module):
    """An LSTM that reads all and answers from its last state."""

    def __init__(self, width=64):
        super().__init__()
        self.embed = nn.Embedding(ASK + 1, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.out = nn.Linear(width, LETTERS)

    def forward(self, tokens):
        return self.answer(self.embed(tokens))

    def answer(self, embedded):
        states, _ = self.lstm(embedded)
        return self.out(states[:, -1])


class Attending(nn.Module):
    """One causal transformer layer that answers from the last position."""

    def __init__(self, width=48, longest=520):
        super().__init__()
        self.embed = nn.Embedding(ASK + 1, width)
        self.place = nn.Parameter(torch.randn(longest, width) * 0.02)
        self.layer = nn.TransformerEncoderLayer(
            width, 4, 3 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.out = nn.Linear(width, LETTERS)

    def forward(self, tokens):
        return self.answer(self.embed(tokens))

    def answer(self, embedded):
        length = embedded.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        x = self.layer(embedded + self.place[:length], src_mask=mask, is_causal=True)
        return self.out(x[:, -1])


MODELS = {"LSTM": Recurrent, "transformer": Attending}
criterion = nn.CrossEntropyLoss()


def gradient_at_the_start(make, distance, seed=0, count=16):
    """The mean size of the loss's gradient with respect to the first token's embedding."""
    torch.manual_seed(seed)
    model = make()
    tokens, letter = batch(count, distance, torch.Generator().manual_seed(seed))
    embedded = model.embed(tokens).detach().requires_grad_()
    criterion(model.answer(embedded), letter).backward()
    return embedded.grad[:, 0].double().norm(dim=-1).mean().item()


def step_time(make, distance, seed=0, repeats=5):
    """Seconds for a step, forward and backward, the least of some."""
    torch.manual_seed(seed)
    model = make()
    tokens, letter = batch(16, distance, torch.Generator().manual_seed(seed))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        criterion(model(tokens), letter).backward()
        times.append(time.perf_counter() - start)
    return min(times)


def accuracy(make, distance, steps, seed=0):
    """How often the answer is right, on new sequences, after so many steps of training."""
    torch.manual_seed(seed)
    model = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(seed + 1)
    for _ in range(steps):
        tokens, letter = batch(32, distance, generator)
        optimizer.zero_grad()
        criterion(model(tokens), letter).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        tokens, letter = batch(256, distance, generator)
        return (model(tokens).argmax(1) == letter).float().mean().item()


def measure(name, distances, function):
    """A row of numbers for each model."""
    found = {}
    for model, make in MODELS.items():
        found[model] = [function(make, distance) for distance in distances]
        numbers = "  ".join(f"{value:9.3g}" for value in found[model])
        print(f"{name:32}{model:12}{numbers}", flush=True)
    return found


def draw(path, panels):
    """The three measurements side by side; False if matplotlib is not there."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, (title, unit, distances, found, log) in zip(
        figure.subplots(1, 3), panels, strict=True
    ):
        for model, values in found.items():
            axes.plot(distances, values, marker="o", label=model)
        axes.set(title=title, ylabel=unit, xlabel="distance", xscale="log")
        axes.set_yscale("log" if log else "linear")
        axes.set_xticks(distances, [str(d) for d in distances])
        axes.minorticks_off() if not log else None
        axes.legend()
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the training")
    parser.add_argument("--longest", type=int, default=512, help="the greatest distance")
    parser.add_argument("--steps", type=int, default=None, help="of training at each distance")
    parser.add_argument(
        "--out", default="outputs/rnn_or_transformer.png", help="where to write the picture"
    )
    options = parser.parse_args()
    steps = options.steps or (40 if options.quick else 400)
    reach = [d for d in (4, 8, 16, 32, 64, 128, 256, 512) if d <= options.longest]
    learn = [d for d in reach if d <= 128]

    for model, make in MODELS.items():
        print(f"{model}: {sum(p.numel() for p in make().parameters()):,} parameters")
    print(f"{'distance':44}" + "  ".join(f"{d:9}" for d in reach))
    gradients = measure("gradient at the first token", reach, gradient_at_the_start)
    times = measure("seconds for a step", reach, step_time)
    right = measure(
        f"accuracy after {steps} steps", learn, lambda make, d: accuracy(make, d, steps)
    )
    for model, values in gradients.items():
        shrinks = values[0] / values[-1] if values[-1] else float("inf")
        print(f"{model}: from {reach[0]} to {reach[-1]} the gradient shrinks by {shrinks:.3g}")
    panels = [
        ("What reaches the first token, untrained", "gradient", reach, gradients, True),
        ("Time of a step of 16 sequences", "seconds", reach, times, True),
        (f"Right answers after {steps} steps", "share", learn, right, False),
    ]
    if draw(options.out, panels):
        print(f"wrote {options.out}")
    else:
        print("no picture: pip install 'tinygrad-edu[examples]'")


if __name__ == "__main__":
    main()
