"""Train a multilayer perceptron on real handwritten digits.

    python examples/01_mlp_digits.py               1,797 images of 8 x 8 that come with scikit-learn
    python examples/01_mlp_digits.py --data mnist  70,000 images of 28 x 28, downloaded once

This is an ordinary PyTorch script.  To run it on PyTorch, change the three lines below that say
tinygrad_edu, and nothing else.
"""

import argparse
import functools
import pathlib
import sys

import datasets
import numpy as np
from tqdm import tqdm

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.utils.data import DataLoader, TensorDataset


class MLP(nn.Module):
    def __init__(self, in_dim, hidden, out_dim):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_dim, hidden), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(hidden, out_dim))  # fmt: skip

    def forward(self, x):
        return self.net(x)


def evaluate(model, loader, criterion, device):
    """Mean loss and accuracy over a loader, without dropout and without recording."""
    model.eval()
    loss, right, count = 0.0, 0, 0
    with torch.no_grad():
        for X_batch, y_batch in loader:
            X_batch, y_batch = X_batch.to(device), y_batch.to(device)
            logits = model(X_batch)
            loss += criterion(logits, y_batch).item() * len(y_batch)
            right += (logits.argmax(1) == y_batch).sum().item()
            count += len(y_batch)
    return loss / count, right / count


def train(model, train_loader, val_loader, epochs, device, progress=iter, report=print):
    """The training loop; returns (train loss, val loss, accuracy, learning rate) of each epoch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    criterion = nn.CrossEntropyLoss()
    history = []
    for epoch in progress(range(epochs)):
        model.train()
        total = 0.0
        for X_batch, y_batch in train_loader:
            X_batch, y_batch = X_batch.to(device), y_batch.to(device)
            optimizer.zero_grad()
            loss = criterion(model(X_batch), y_batch)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            total += loss.item() * len(y_batch)
        lr = scheduler.get_last_lr()[0]
        scheduler.step()
        val_loss, accuracy = evaluate(model, val_loader, criterion, device)
        history.append((total / len(train_loader.dataset), val_loss, accuracy, lr))
        report(f"epoch {epoch + 1:3}  train loss {history[-1][0]:.4f}  "
               f"val loss {val_loss:.4f}  val accuracy {accuracy:.2%}  lr {lr:.2e}")  # fmt: skip
    return history


def worst_mistakes(model, X, y, device, count=12):
    """The wrongly read test images of largest loss: (index, what the model says, what it is)."""
    model.eval()
    with torch.no_grad():
        logits = model(X.to(device))
        losses = nn.functional.cross_entropy(logits, y.to(device), reduction="none").tolist()
        guesses = logits.argmax(1).cpu()
    order = sorted(range(len(losses)), key=losses.__getitem__, reverse=True)
    wrong = [i for i in order if guesses[i] != y[i]]
    return [(i, guesses[i].item(), y[i].item()) for i in wrong[:count]]


def draw(history, images, mistakes, path):
    """Loss and accuracy curves above, the worst mistakes below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    train_loss, val_loss, accuracy, _ = zip(*history, strict=True)
    epochs = range(1, len(history) + 1)
    side = int(np.sqrt(images.shape[1]))
    figure = plt.figure(figsize=(10, 5.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3, 1.3))
    left, right = above.subplots(1, 2)
    left.plot(epochs, train_loss, label="training (with dropout)")
    left.plot(epochs, val_loss, label="validation")
    left.set(xlabel="epoch", ylabel="cross-entropy", yscale="log", title="Loss")
    left.legend()
    right.plot(epochs, [100 * a for a in accuracy], color="tab:green")
    right.set(xlabel="epoch", ylabel="%", title="Validation accuracy")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    below.suptitle("The worst mistakes among the test images: what the model says, what it is")
    for axes, (i, guess, label) in zip(
        np.atleast_1d(below.subplots(1, max(len(mistakes), 1))), mistakes, strict=False
    ):
        axes.imshow(images[i].reshape(side, side), cmap="gray_r")
        axes.set_title(f"{guess}, is {label}", fontsize=9)
        axes.axis("off")
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--epochs", type=int, default=None, help="default: 50, for MNIST 10")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="outputs/mlp_digits.png", help="where to draw")
    args = parser.parse_args()

    load = datasets.load_mnist if args.data == "mnist" else datasets.load_digits
    (X, y), (X_test, y_test) = load()
    X, y, X_test, y_test = map(torch.from_numpy, (X, y, X_test, y_test))
    torch.manual_seed(args.seed)
    try:
        device = torch.device(args.device)
        model = MLP(X.shape[1], args.hidden, 10).to(device)
    except (RuntimeError, AssertionError) as error:
        print(f"--device {args.device}: {error}", file=sys.stderr)
        return 2

    held_out = len(X) // 10  # for validation; the test images are looked at once, at the end
    train_set = TensorDataset(X[held_out:], y[held_out:])
    val_set = TensorDataset(X[:held_out], y[:held_out])
    train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=256)
    epochs = args.epochs or (10 if args.data == "mnist" else 50)
    print(f"{len(train_set)} images to train on, {held_out} to validate, {len(X_test)} to test; "
          f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}")  # fmt: skip

    progress = functools.partial(tqdm, unit="epoch", disable=not sys.stderr.isatty())
    history = train(model, train_loader, val_loader, epochs, device, progress, tqdm.write)

    test_loader = DataLoader(TensorDataset(X_test, y_test), batch_size=256)
    test_loss, test_accuracy = evaluate(model, test_loader, nn.CrossEntropyLoss(), device)
    print(f"test loss {test_loss:.4f}  test accuracy {test_accuracy:.2%}")
    draw(history, X_test.numpy(), worst_mistakes(model, X_test, y_test, device), args.out)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
