"""The mistakes everyone makes once: what each does to training, and how to recognise it.

    python examples/07_mistakes.py

First the silent ones: `train` below is the loop of example 01, each run puts one line of it wrong,
and a table shows what comes of it.  Then one that only the memory shows, and the loud ones: lines
that raise, what the error says, and what to do instead.  Last what `torch.doctor` says of the
silent ones, which PyTorch has not.

This is an ordinary PyTorch script.  To run it on PyTorch, change the three lines below that say
tinygrad_edu, and nothing else.
"""

import argparse
import pathlib
import sys
import textwrap

import datasets

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.utils.data import DataLoader, TensorDataset

# ---- 1: mistakes that raise no error -------------------------------------------------------------

SILENT = {  # what is wrong: how it shows
    "nothing": "the loss falls, and a second evaluation gives the same accuracy",
    "zero_grad() forgotten": (
        "each step follows the sum of all gradients so far; only clipping hides that it has grown"
    ),
    "zero_grad() before step()": "no gradient is left to step along: the loss stays at ln 10 = 2.3",
    "train() forgotten": "dropout is off since the first evaluation: the training loss is too good",
    "eval() forgotten": "dropout is on while evaluating: the same data, two accuracies",
    "detach() in the model": "the layers before it get no gradient, and stay as they were",
    "softmax before the loss": (
        "the criterion takes one too: no loss is below ln(e + 9) - 1 = 1.46, gradients are small"
    ),
    "clipping before backward()": "it clips what zero_grad() has left, nothing: a norm of 0",
    "scheduler.step() per batch": (
        "the rate, meant to fall over the epochs, falls and rises many times within them"
    ),
}


class MLP(nn.Module):
    """Two layers, between which a mistake can be made."""

    def __init__(self, in_dim, hidden, out_dim, detached):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(in_dim, hidden), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(hidden, out_dim)
        self.detached = detached

    def forward(self, x):
        features = self.body(x)
        if self.detached:
            features = features.detach()
        return self.head(features)


def accuracy(model, X, y, mistake):
    """The share of rightly read images, in percent."""
    if mistake != "eval() forgotten":
        model.eval()
    with torch.no_grad():
        return 100 * (model(X).argmax(1) == y).float().mean().item()


def train(mistake, epochs, X, y, X_val, y_val):
    """One run of the loop; returns the row of the table and the training loss of each epoch."""
    torch.manual_seed(0)
    model = MLP(X.shape[1], 128, 10, detached=mistake == "detach() in the model")
    first = model.body[0].weight.detach().clone()
    loader = DataLoader(TensorDataset(X, y), batch_size=64, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    criterion = nn.CrossEntropyLoss()
    losses = []
    for epoch in range(epochs):
        if mistake != "train() forgotten" or epoch == 0:
            model.train()
        total = norms = 0.0
        for X_batch, y_batch in loader:
            if mistake != "zero_grad() forgotten":
                optimizer.zero_grad()
            logits = model(X_batch)
            if mistake == "softmax before the loss":
                logits = logits.softmax(1)
            loss = criterion(logits, y_batch)
            if mistake == "clipping before backward()":
                norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
                loss.backward()
            else:
                loss.backward()
                if mistake == "zero_grad() before step()":
                    optimizer.zero_grad()
                norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            if mistake == "scheduler.step() per batch":
                scheduler.step()
            total += loss.item() * len(y_batch)
            norms += norm.item()
        if mistake != "scheduler.step() per batch":
            scheduler.step()
        losses.append(total / len(y))
        once = accuracy(model, X_val, y_val, mistake)
    again = accuracy(model, X_val, y_val, mistake)
    moved = (model.body[0].weight - first).abs().mean().item()
    return (losses[-1], once, again, norms / len(loader), moved), losses


def silent(epochs):
    """Print the table; returns the training losses of each run."""
    (X, y), (X_val, y_val) = datasets.load_digits()
    data = [torch.from_numpy(a) for a in (X, y, X_val, y_val)]
    print(f"""{epochs} epochs with one line wrong: what is wrong; the training loss; the accuracy,
twice; the norm of the gradient before clipping; how far the first layer's weights have moved
""")
    print(f"{'':28}{'loss':>8}{'accuracy':>10}{'again':>9}{'gradient':>10}{'moved':>8}")
    curves = {}
    for mistake, sign in SILENT.items():
        (loss, once, again, norm, moved), curves[mistake] = train(mistake, epochs, *data)
        print(f"{mistake:28}{loss:8.3f}{once:9.1f}%{again:8.1f}%{norm:10.3f}{moved:8.4f}")
        print(f"    {sign}")
    return curves


# ---- 2: a mistake that only the memory shows -----------------------------------------------------


def graph_size(tensor):
    """How many recorded operations a tensor keeps alive."""
    seen, todo = set(), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [before for before, _ in node.next_functions]
    return len(seen)


def hoarding(batches=20):
    """Summing losses for a mean, once as tensors and once as numbers."""
    model, criterion = nn.Linear(64, 10), nn.CrossEntropyLoss()
    total = number = 0.0
    for _ in range(batches):
        loss = criterion(model(torch.rand(8, 64)), torch.randint(0, 10, (8,)))
        total = total + loss
        number = number + loss.item()
    kept = graph_size(total)
    print(f"\ntotal += loss          keeps the graphs of {batches} batches, {kept} operations")
    print(f"total += loss.item()   is the number {number:.4f}, and keeps nothing")


# ---- 3: mistakes that raise ----------------------------------------------------------------------

LOUD = [  # the wrong lines, and what to do about it
    ("loss.backward()\nloss.backward()",
     "backward() frees the graph: compute the loss again, or ask for retain_graph=True"),
    ("criterion(logits.detach(), y).backward()",
     "detach() cuts the graph: detach what is only looked at, never what is learned from"),
    ("logits.backward()",
     "a derivative is that of one number: take the loss, or the sum or mean"),
    ("image = logits.numpy()",
     "NumPy records nothing: logits.detach().numpy() says that none is wanted"),
    ("model.weight.add_(0.1)",
     "a parameter's own change is not part of the loss: write `with torch.no_grad():` around it"),
    ("h = model(X).exp()\nh += 1\nh.sum().backward()",
     "exp's derivative is its result, which += has overwritten: h = h + 1"),
    ("model(X[:, :32])",
     "the layer was made for 64 features: look at the shape of what arrives"),
    ("criterion(logits, y.int())",
     "classes are counted in int64: y.long()"),
    ("if logits > 0: pass",
     "many numbers are not one truth: (logits > 0).any() or .all()"),
    ("p = model.parameters()\nsize = sum(w.numel() for w in p)\ntorch.optim.SGD(p, lr=0.1)",
     "parameters() is a generator, and the sum has used it up: call it again"),
]  # fmt: skip


def loud():
    """Run each of them, and print what it says."""
    for lines, remedy in LOUD:
        torch.manual_seed(0)
        X, y = torch.rand(8, 64), torch.randint(0, 10, (8,))
        model, criterion = nn.Linear(64, 10), nn.CrossEntropyLoss()
        logits = model(X)
        names = {"torch": torch, "X": X, "y": y, "model": model, "criterion": criterion}
        try:
            exec(lines, {**names, "logits": logits, "loss": criterion(logits, y)})
            raise AssertionError(f"this should not have worked: {lines}")
        except (RuntimeError, ValueError) as error:
            print("\n    " + lines.replace("\n", "\n    "))
            said = f"{type(error).__name__}: {error}".split("\n")[0]
            print(textwrap.fill(said, 98), f"-> {remedy}", sep="\n")


# ---- 4: what the doctor says ---------------------------------------------------------------------


def diagnosed(epochs=2):
    """Run the silent ones once more, watched."""
    (X, y), (X_val, y_val) = datasets.load_digits()
    data = [torch.from_numpy(a) for a in (X, y, X_val, y_val)]
    print("\nWhat torch.doctor says of the silent ones:")
    for mistake in SILENT:
        with torch.doctor(file=False) as d:
            train(mistake, epochs, *data)
        print(f"\n{mistake}")
        found = [finding for finding in d.findings if finding.level != "note"]
        for finding in found:
            print(textwrap.indent(str(finding), "    "))
        if not found:
            print("    nothing to say")


def draw(curves, path):
    """The training losses of all runs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for i, (mistake, losses) in enumerate(curves.items()):
        style = {"color": "k", "lw": 3} if mistake == "nothing" else {"color": f"C{i}"}
        axes.plot(range(1, len(losses) + 1), losses, label=mistake, **style)
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log", title="One line wrong")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", default="outputs/mistakes.png", help="where to write the picture")
    args = parser.parse_args()
    curves = silent(args.epochs)
    hoarding()
    loud()
    if hasattr(torch, "doctor"):
        diagnosed()
    try:
        draw(curves, args.out)
        print(f"\nwrote {args.out}")
    except ImportError:
        print("\nno picture: pip install 'tinygrad-edu[examples]'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
