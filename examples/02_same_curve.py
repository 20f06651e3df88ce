"""Same seed, same curve: the same training script on tinygrad_edu and on PyTorch.

    python examples/02_same_curve.py --seed 0 --steps 300

`train` below is an ordinary PyTorch script that takes the library as an argument.  Initial weights,
shuffled batches and dropout masks come from a random stream that is PyTorch's bit for bit, so both
runs compute the same losses, up to the rounding of sums that are added in another order.  (After
many hundred steps such a rounding may tip one ReLU over, and the curves slowly part.)

If torch is not installed, the curve is compared with the one that torch 2.13.0 left in
02_same_curve.json.
"""

import argparse
import hashlib
import importlib
import importlib.util
import json
import pathlib
import sys

import datasets
import numpy as np

RECORD = pathlib.Path(__file__).with_suffix(".json")
SCHEDULE = 300  # steps in which the learning rate falls to zero


def train(torch, seed, steps):
    """Train a small network on the digits; returns the loss of every step and the final state."""
    nn, data = torch.nn, importlib.import_module(f"{torch.__name__}.utils.data")
    (X, y), _ = datasets.load_digits()
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(X.shape[1], 256), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(256, 10))  # fmt: skip
    train_set = data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    loader = data.DataLoader(train_set, batch_size=64, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=SCHEDULE)
    criterion = nn.CrossEntropyLoss()
    losses = []
    while len(losses) < steps:
        for X_batch, y_batch in loader:
            optimizer.zero_grad()
            loss = criterion(model(X_batch), y_batch)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    state = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
    return losses, state


def reference(seed, steps):
    """torch's name and version, its losses and final state; None if there is nothing to be had.

    A stored run that is longer serves too, but its final state is then not known.
    """
    if importlib.util.find_spec("torch"):
        import torch

        return f"torch {torch.__version__}", *train(torch, seed, steps)
    stored = json.loads(RECORD.read_text())
    if stored["seed"] != seed or len(stored["losses"]) < steps:
        return None
    state = stored["state"] if len(stored["losses"]) == steps else None
    return f"torch {stored['torch']} (stored)", stored["losses"][:steps], state


def record(seed, steps):
    """Store torch's run beside this script."""
    import torch

    losses, state = train(torch, seed, steps)
    run = {"torch": torch.__version__, "seed": seed, "state": state, "losses": losses}
    RECORD.write_text(json.dumps(run, indent=0) + "\n")
    print(f"wrote {RECORD}")


def compare(losses, state, name, their_losses, their_state):
    """Print both curves side by side."""
    difference = np.abs(np.subtract(losses, their_losses))
    print(f"{'step':>6}{'tinygrad_edu':>15}{name:>24}{'difference':>14}")
    last = len(losses) - 1
    for step in sorted({*range(0, last, max(last // 12, 1)), last}):
        print(f"{step + 1:6}{losses[step]:15.7f}{their_losses[step]:24.7f}{difference[step]:14.1e}")
    equal = int((difference == 0).sum())
    print(f"\nlargest difference {difference.max():.1e}; {equal} of {len(losses)} losses are equal"
          " to the last bit")  # fmt: skip
    if their_state is not None:
        word = "identical" if state == their_state else "DIFFERENT"
        print(f"the generators end in {word} states")


def draw(losses, other_seed, name, their_losses, path):
    """Both curves, a third from another seed for scale, and the differences below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    steps = np.arange(1, len(losses) + 1)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 7), sharex=True, layout="constrained", height_ratios=(3, 2)
    )
    above.plot(steps, other_seed, color="0.75", lw=1, label="tinygrad_edu, another seed")
    above.plot(steps, their_losses, color="tab:orange", lw=5, alpha=0.55, label=name)
    above.plot(steps, losses, color="tab:blue", lw=1.2, label="tinygrad_edu")
    above.set(ylabel="training loss", yscale="log", title="Same script, same seed")
    above.legend()

    def gap(other):
        return np.abs(np.subtract(losses, other))

    found = gap(their_losses)
    floor = 1e-9
    below.plot(steps, gap(other_seed), color="0.75", lw=1, label="to another seed")
    below.plot(steps[found > 0], found[found > 0], ".", color="tab:blue", ms=5, label=f"to {name}")
    below.plot(steps[found == 0], np.full((found == 0).sum(), floor), "|", color="tab:green",
               ms=9, label=f"equal to the last bit ({(found == 0).sum()} steps)")  # fmt: skip
    unit = np.spacing(np.asarray(losses, np.float32))
    below.step(steps, unit, color="k", lw=0.8, where="mid", label="spacing of float32 numbers")
    below.set(yscale="log", ylim=(floor / 3, 10), xlabel="step", ylabel="difference of the losses")
    figure.legend(*below.get_legend_handles_labels(), loc="outside lower center", ncols=4,
                  frameon=False, fontsize=9)  # fmt: skip
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.margins(x=0.01)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=SCHEDULE)
    parser.add_argument("--out", default="outputs/same_curve.png", help="where to draw")
    parser.add_argument("--record", action="store_true", help="store torch's curve, then stop")
    args = parser.parse_args()
    if args.record:
        record(args.seed, args.steps)
        return 0

    import tinygrad_edu

    losses, state = train(tinygrad_edu, args.seed, args.steps)
    found = reference(args.seed, args.steps)
    if found is None:
        print("torch is not installed, and the stored curve is of another seed or shorter:"
              " nothing to compare with", file=sys.stderr)  # fmt: skip
        return 3
    name, their_losses, their_state = found
    compare(losses, state, name, their_losses, their_state)
    other_seed, _ = train(tinygrad_edu, args.seed + 1, args.steps)
    try:
        draw(losses, other_seed, name, their_losses, args.out)
        print(f"wrote {args.out}")
    except ImportError:
        print("no picture: pip install 'tinygrad-edu[examples]'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
