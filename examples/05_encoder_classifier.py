"""A transformer encoder reads handwritten digits row by row, beside the perceptron of example 01.

    python examples/05_encoder_classifier.py

Each of the 8 rows of an image is a token.  A ninth, the class token, starts the same for every
image; what it has gathered from the rows after two layers of attention says which digit it is.
Both models learn by the loop of example 01, from the same images for as many epochs.

This is an ordinary PyTorch script.  To run it on PyTorch, change the lines here and in example 01
that say tinygrad_edu, and nothing else.

Source: Dosovitskiy et al., "An image is worth 16x16 words", 2021 (patches as tokens).
"""

import argparse
import functools
import importlib
import pathlib
import sys
import time

import datasets
from tqdm import tqdm

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.utils.data import DataLoader, TensorDataset

mlp_digits = importlib.import_module("01_mlp_digits")


class RowReader(nn.Module):
    def __init__(self, rows=8, columns=8, width=64, heads=4, layers=2, classes=10):
        super().__init__()
        self.rows, self.columns = rows, columns
        self.embed = nn.Linear(columns, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 1 + rows, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, dim_feedforward=2 * width, dropout=0.1, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(width, classes)

    def tokens(self, x):  # x: (B, 64)
        rows = self.embed(x.view(-1, self.rows, self.columns))  # (B, 8, C)
        first = self.class_token.expand(len(x), 1, -1)  # (B, 1, C)
        return torch.cat([first, rows], dim=1) + self.positions  # (B, 9, C)

    def forward(self, x):  # x: (B, 64)
        y = self.encoder(self.tokens(x))  # (B, 9, C)
        return self.head(y[:, 0])  # (B, 10): what the class token has gathered

    def looks(self, x):
        """How much the class token draws from each row in the last layer: (B, 8)."""
        y = self.tokens(x)
        *before, last = self.encoder.layers
        for layer in before:
            y = layer(y)
        _, weights = last.self_attn(y, y, y, need_weights=True)  # (B, 9, 9), mean of the heads
        return weights[:, 0, 1:]


def count(model):
    return sum(p.numel() for p in model.parameters())


def draw(histories, images, looks, says, labels, path):
    """Accuracy over the epochs on the left; on the right, which rows the class token draws from."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    axes = left.subplots()
    for name, history in histories.items():
        axes.plot(range(1, len(history) + 1), [100 * row[2] for row in history], label=name)
    axes.set(xlabel="epoch", ylabel="%", title="Validation accuracy")
    axes.legend()
    axes.grid(alpha=0.3)
    right.suptitle("Red: the rows the class token looks at in the last layer")
    for i, axes in enumerate(right.subplots(2, 5).flat):
        axes.imshow(images[i].reshape(8, 8), cmap="gray_r")
        axes.imshow(looks[i].reshape(8, 1), cmap="Reds", alpha=0.45, extent=(-0.5, 7.5, 7.5, -0.5),
                    vmin=0, vmax=looks.max())  # fmt: skip
        axes.set_title(f"{says[i]}, is {labels[i]}", fontsize=9)
        axes.axis("off")
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="outputs/encoder_classifier.png", help="where to draw")
    args = parser.parse_args()

    (X, y), (X_test, y_test) = datasets.load_digits()
    X, y, X_test, y_test = map(torch.from_numpy, (X, y, X_test, y_test))
    held_out = len(X) // 10
    train_set = TensorDataset(X[held_out:], y[held_out:])
    val_loader = DataLoader(TensorDataset(X[:held_out], y[:held_out]), batch_size=256)
    test_loader = DataLoader(TensorDataset(X_test, y_test), batch_size=256)
    print(f"{len(train_set)} images to train on, {held_out} to validate, {len(X_test)} to test")

    makers = {
        "perceptron (example 01)": lambda: mlp_digits.MLP(64, 256, 10),
        "transformer encoder": RowReader,
    }
    histories, table = {}, []
    for name, make in makers.items():
        torch.manual_seed(args.seed)
        try:
            model = make().to(args.device)
        except (RuntimeError, AssertionError) as error:
            print(f"--device {args.device}: {error}", file=sys.stderr)
            return 2
        loader = DataLoader(train_set, batch_size=64, shuffle=True)
        progress = functools.partial(tqdm, desc=name, unit="epoch", disable=not sys.stderr.isatty())
        start = time.perf_counter()
        histories[name] = mlp_digits.train(
            model, loader, val_loader, args.epochs, args.device, progress, report=lambda line: None
        )
        seconds = time.perf_counter() - start
        loss, accuracy = mlp_digits.evaluate(model, test_loader, nn.CrossEntropyLoss(), args.device)
        table.append((name, count(model), seconds, loss, accuracy))

    print(f"{'':26}{'parameters':>10}{'seconds':>9}{'test loss':>11}{'test accuracy':>15}")
    for name, parameters, seconds, loss, accuracy in table:
        print(f"{name:26}{parameters:10,}{seconds:9.1f}{loss:11.4f}{accuracy:15.2%}")

    first = [(y_test == digit).nonzero()[0].item() for digit in range(10)]  # one image of each
    images = X_test[first]
    model.eval()
    with torch.no_grad():
        there = images.to(args.device)
        looks, says = model.looks(there).cpu().numpy(), model(there).argmax(1).tolist()
    draw(histories, images.numpy(), looks, says, y_test[first].tolist(), args.out)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
