"""Attention, step by step: what it computes, why the square root, what it costs.

    python examples/03_attention.py

Four parts: one head by hand and through the library; the softmax that saturates without the
division by sqrt(d); two small models that learn to reverse and to sort, and where they look; the
memory of the T x T table, and of the kernel that never holds it.

This is an ordinary PyTorch script.  To run it on PyTorch, change the three lines below that say
tinygrad_edu, and nothing else.  (The memory table then stays empty: Python is not told of what
PyTorch allocates.)

Source: Vaswani et al., "Attention is all you need", 2017, section 3.2.
"""

import argparse
import math
import pathlib
import sys
import tracemalloc

from tqdm import tqdm

import tinygrad_edu as torch
import tinygrad_edu.nn.functional as F
from tinygrad_edu import nn

# ---- 1: one head ---------------------------------------------------------------------------------


def by_hand(q, k, v, is_causal=False):
    """softmax(Q K' / sqrt(D)) V, and the weights, for q, k, v of shape (..., T, D)."""
    T, D = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)  # (..., T, T): row i is what i asks of all
    if is_causal:
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -math.inf)
    weights = F.softmax(scores, dim=-1)  # (..., T, T), rows that sum to 1
    return weights @ v, weights  # (..., T, D)


def one_head():
    T, C, D = 4, 6, 3
    torch.manual_seed(0)
    x = torch.randn(T, C)
    W_q, W_k, W_v = (torch.randn(C, D) / math.sqrt(C) for _ in range(3))
    q, k, v = x @ W_q, x @ W_k, x @ W_v
    print(f"{T} tokens of {C} numbers                    x        {tuple(x.shape)}")
    print(f"what each token asks for            q = x Wq {tuple(q.shape)}")
    print(f"what each token has to offer        k = x Wk {tuple(k.shape)}")
    print(f"what it hands over when asked       v = x Wv {tuple(v.shape)}")
    scores = q @ k.T / math.sqrt(D)
    print(f"how well each asks for each         q k' / sqrt({D})  {tuple(scores.shape)}\n{scores}")
    weights = F.softmax(scores, dim=-1)
    print(f"as shares: every row sums to 1      softmax   {tuple(weights.shape)}\n{weights}")
    y = weights @ v
    print(f"what each token gets: a mean of v   y         {tuple(y.shape)}\n{y}")

    batch = (1, 1, T, D)  # the library wants (B, H, T, D), for many sequences and heads at once
    for causal in (False, True):
        mine, weights = by_hand(q, k, v, causal)
        library = F.scaled_dot_product_attention(
            q.view(batch), k.view(batch), v.view(batch), is_causal=causal
        )
        error = (mine - library.view(T, D)).abs().max().item()
        name = "causal: no token sees later ones" if causal else "every token sees every token"
        print(f"by hand and F.scaled_dot_product_attention, {name}: differ by {error:.1e}")
        assert error < 1e-6
    print(f"the causal weights:\n{weights}")


# ---- 2: why the square root ----------------------------------------------------------------------


def saturation(widths, keys=64, queries=256):
    """Rows (d, without, with): spread of the scores, largest weight, gradient, for both.

    The gradient is that of a random sum of the weights with respect to the scores: its mean norm.
    """
    torch.manual_seed(0)
    rows = []
    for d in widths:
        q, k = torch.randn(queries, d), torch.randn(keys, d)
        direction = torch.randn(queries, keys)
        found = []
        for divisor in (1.0, math.sqrt(d)):
            scores = (q @ k.T / divisor).requires_grad_()
            weights = F.softmax(scores, dim=-1)
            (weights * direction).sum().backward()
            gradient = scores.grad.pow(2).sum(dim=-1).sqrt().mean().item()
            largest = weights.detach().max(dim=-1).values.mean().item()
            found.append((scores.detach().std().item(), largest, gradient))
        rows.append((d, *found))
    return rows


def print_saturation(rows, keys=64):
    print(f"softmax over {keys} keys, q and k of d random numbers each of variance 1")
    print("          softmax(q k')                        softmax(q k' / sqrt(d))")
    print("    d     spread  largest weight  gradient     spread  largest weight  gradient")
    for d, without, divided in rows:
        line = "".join(f"   {s:7.2f}  {w:14.3f}  {g:8.4f}" for s, w, g in (without, divided))
        print(f"{d:5}{line}")
    print(
        "Without the root, the largest score takes all the weight, and hardly any gradient is left"
    )
    print("to change that; with it, nothing depends on d.")


# ---- 3: where a trained model looks --------------------------------------------------------------


class Looker(nn.Module):
    """Attention blocks over digits and their positions, that keep the weights to show them."""

    def __init__(self, length, layers, width=48, digits=10):
        super().__init__()
        self.digits = nn.Embedding(digits, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.5)
        self.qkv = nn.ModuleList([nn.Linear(width, 3 * width) for _ in range(layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(layers)])
        self.feed_forward = nn.ModuleList(
            [nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(),
                           nn.Linear(2 * width, width)) for _ in range(layers)])  # fmt: skip
        self.head = nn.Linear(width, digits)
        self.weights = []

    def forward(self, ids):  # ids: (B, T)
        x = self.digits(ids) + self.positions  # (B, T, C)
        self.weights = []
        for norm, qkv, feed_forward in zip(self.norms, self.qkv, self.feed_forward, strict=True):
            y, weights = by_hand(*qkv(norm(x)).chunk(3, dim=-1))  # (B, T, C), (B, T, T)
            x = x + y
            x = x + feed_forward(x)
            self.weights.append(weights.detach())
        return self.head(x)  # (B, T, 10)


def teach(task, layers, steps, length=10):
    """A model trained to do `task` with digits, and its accuracy on sequences it has not seen."""
    torch.manual_seed(0)
    model = Looker(length, layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for _ in tqdm(range(steps), desc=task.__name__, disable=not sys.stderr.isatty()):
        ids = torch.randint(0, 10, (64, length))  # (B, T)
        loss = F.cross_entropy(model(ids).flatten(0, 1), task(ids).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    ids = torch.randint(0, 10, (1000, length))
    with torch.no_grad():
        accuracy = (model(ids).argmax(-1) == task(ids)).to(torch.float32).mean().item()
    return model, accuracy


def reverse(ids):
    return ids.flip(1)


def sort(ids):
    return ids.sort(dim=1).values


# ---- 4: what it costs ----------------------------------------------------------------------------


def peak_memory(attention, T, heads=4, D=64):
    """The most memory held at once by a forward and backward pass, in MiB, without the inputs."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, T, D, requires_grad=True) for _ in range(3))
    tracemalloc.start()
    attention(q, k, v).sum().backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**20


def memory_table(lengths):
    rows = []
    print("forward and backward, 4 heads of 64, in MiB")
    print("    T    T x T table     kernel")
    for T in lengths:
        table = peak_memory(lambda q, k, v: by_hand(q, k, v)[0], T)
        kernel = peak_memory(F.scaled_dot_product_attention, T)
        rows.append((T, table, kernel))
        print(f"{T:5}{table:15.1f}{kernel:11.1f}")
    print("Twice the length costs four times the table; the kernel grows in a line.")
    return rows


# ---- the picture ---------------------------------------------------------------------------------


def draw(rows, looks, memory, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 3, figsize=(12, 7.4), layout="constrained")
    widths = [row[0] for row in rows]
    for column, name in ((1, "softmax(q k')"), (2, "softmax(q k' / √d)")):
        above[0].plot(widths, [row[column][1] for row in rows], "o-", label=name)
        above[1].plot(widths, [row[column][2] for row in rows], "o-", label=name)
    above[0].set(xscale="log", xlabel="d", title="Why √d: the largest of 64 weights", ylim=(0, 1))
    above[1].set(xscale="log", xlabel="d", title="Why √d: the gradient that is left",
                 ylabel="norm of the gradient of the scores", ylim=(0, None))  # fmt: skip
    lengths = [row[0] for row in memory]
    above[2].plot(lengths, [row[1] for row in memory], "o-", label="T x T table")
    above[2].plot(lengths, [row[2] for row in memory], "o-", label="kernel")
    above[2].set(xscale="log", yscale="log", xlabel="T", ylabel="MiB",
                 title="Peak memory, forward and backward")  # fmt: skip
    for axes, ticks in zip(above, (widths, widths, lengths), strict=True):
        axes.set_xticks(ticks, labels=ticks)
        axes.minorticks_off()
        axes.legend()
        axes.grid(alpha=0.3)
    for axes, (title, ids, answer, weights) in zip(below, looks, strict=True):
        image = axes.imshow(weights, cmap="viridis", vmin=0, vmax=1)
        axes.set(title=title, xlabel="looks at the digit", ylabel="to write the digit",
                 xticks=range(len(ids)), yticks=range(len(answer)),
                 xticklabels=ids, yticklabels=answer)  # fmt: skip
    figure.colorbar(image, ax=below, label="weight", shrink=0.8)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600, help="of training in part 3")
    parser.add_argument("--longest", type=int, default=2048, help="the longest T in part 4")
    parser.add_argument("--out", default="outputs/attention.png", help="where to write the picture")
    args = parser.parse_args()

    print("---- 1: one head\n")
    one_head()

    print("\n---- 2: why the square root\n")
    rows = saturation([4**n for n in range(1, 6)])
    print_saturation(rows)

    print("\n---- 3: where a trained model looks\n")
    looks = []
    for task, layers in ((reverse, 1), (sort, 2)):
        model, accuracy = teach(task, layers, args.steps)
        ids = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3]])
        with torch.no_grad():
            answer = model(ids).argmax(-1)
        print(f"{task.__name__:8} {accuracy:7.2%} of digits right;  "
              f"{ids[0].tolist()} -> {answer[0].tolist()}")  # fmt: skip
        for i, weights in enumerate(model.weights):
            title = f"Attention to {task.__name__}, layer {i + 1} of {layers}"
            looks.append((title, ids[0].tolist(), answer[0].tolist(), weights[0].numpy()))

    print("\n---- 4: what it costs\n")
    memory = memory_table([args.longest // 8, args.longest // 4, args.longest // 2, args.longest])
    draw(rows, looks, memory, args.out)
    print(f"\nwrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
