"""Train a small GPT on the characters of a text, then let it write.

    python examples/04_char_gpt.py                        the source of Python's standard library
    python examples/04_char_gpt.py --text FILE            any other text
    python examples/04_char_gpt.py --data tinyshakespeare plays, downloaded once
    python examples/04_char_gpt.py --resume outputs/char_gpt.pt   go on where Ctrl-C stopped

The model is a decoder-only transformer, all of it in this file.  Shapes are in trailing comments:
B sequences, T characters, C channels, H heads of D = C / H channels, V different characters.

This is an ordinary PyTorch script.  To run it on PyTorch, change the three lines below that say
tinygrad_edu, and nothing else.

Sources: Vaswani et al., "Attention is all you need", 2017; Radford et al., "Language models are
unsupervised multitask learners", 2019 (GPT-2: where the layer norms stand).
"""

import argparse
import hashlib
import math
import os
import pathlib
import pickle
import signal
import sys
import sysconfig
import time

import datasets
import numpy as np
from tqdm import tqdm

import tinygrad_edu as torch
import tinygrad_edu.nn.functional as F
from tinygrad_edu import nn

SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)

# ---- the model -----------------------------------------------------------------------------------


class CausalSelfAttention(nn.Module):
    """Every character gathers from those before it what its queries ask their keys for."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x, cache=None):  # x: (B, T, C)
        B, T, C = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=2)  # (B, T, C) each
        q = q.view(B, T, self.heads, C // self.heads).transpose(1, 2)  # (B, H, T, D)
        k = k.view(B, T, self.heads, C // self.heads).transpose(1, 2)  # (B, H, T, D)
        v = v.view(B, T, self.heads, C // self.heads).transpose(1, 2)  # (B, H, T, D)
        if cache is None:
            p = self.dropout if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        else:
            k, v = cache.append(self, k, v)  # (B, H, S, D): the S - T characters read before, too
            S = k.shape[2]
            seen = torch.ones(T, S, dtype=torch.bool).tril(S - T).to(x.device)  # (T, S)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(y.transpose(1, 2).reshape(B, T, C))  # (B, T, C)


class Block(nn.Module):
    """Characters exchange what they know, then each thinks about it by itself."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalSelfAttention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x, cache=None):  # x: (B, T, C)
        x = x + self.drop(self.attention(self.norm1(x), cache))
        return x + self.drop(self.feed_forward(self.norm2(x)))


class GPT(nn.Module):
    """The logits of the next character after every character of a sequence."""

    def __init__(self, vocab, block, layers, heads, width, dropout):
        super().__init__()
        self.block = block  # the longest sequence
        self.characters = nn.Embedding(vocab, width)
        self.positions = nn.Embedding(block, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        for embedding in (self.characters, self.positions):
            nn.init.normal_(embedding.weight, std=0.2)  # learns sooner than with 1

    def forward(self, ids, cache=None):  # ids: (B, T)
        read = 0 if cache is None else cache.length
        positions = torch.arange(read, read + ids.shape[1], device=ids.device)  # (T,)
        x = self.drop(self.characters(ids) + self.positions(positions))  # (B, T, C)
        for block in self.blocks:
            x = block(x, cache)
        return self.head(self.norm(x))  # (B, T, V)


class Cache:
    """Keys and values of the characters read so far: one more then costs the work of one.

    They never change, for no character looks ahead.
    """

    def __init__(self):
        self.layers = {}

    @property
    def length(self):
        return next((k.shape[2] for k, _ in self.layers.values()), 0)

    def append(self, layer, k, v):
        if layer in self.layers:
            old_k, old_v = self.layers[layer]
            k, v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)
        self.layers[layer] = k, v
        return k, v


def generate(model, ids, count, temperature=1.0, top_k=None, generator=None, cached=True):
    """Yield `count` ids that go on from `ids`, each drawn from the `top_k` likeliest.

    When the context is full, the model goes on with its second half.  That moves all positions, so
    a cache has to start again; without one, every character costs as much as the whole context.
    """
    model.eval()
    device = next(model.parameters()).device
    context = list(ids)[-model.block :]
    cache, unread = Cache(), context
    for _ in range(count):
        if len(context) == model.block + 1:
            context = context[-(model.block // 2) :]
            cache, unread = Cache(), context
        with torch.no_grad():
            if cached:
                logits = model(torch.tensor([unread], device=device), cache)[0, -1]  # (V,)
            else:
                logits = model(torch.tensor([context], device=device))[0, -1]  # (V,)
        logits = logits.cpu() / temperature
        if top_k and top_k < len(logits):
            logits[logits < logits.topk(top_k).values[-1]] = -math.inf
        chosen = torch.multinomial(F.softmax(logits, dim=0), 1, generator=generator).item()
        context = context + [chosen]
        unread = [chosen]
        yield chosen


# ---- the text ------------------------------------------------------------------------------------


def standard_library():
    """Python's own modules in alphabetical order, joined."""
    files = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py"))
    texts = [path.read_text(encoding="utf-8") for path in files]
    return "\n\n".join(text for text in texts if text.isascii())


def read_text(config):
    if config["text"]:
        text = pathlib.Path(config["text"]).read_text(encoding="utf-8")
    elif config["data"] == "tinyshakespeare":
        url, sha256 = SHAKESPEARE
        text = datasets.fetch(url, sha256, "sha256").read_text(encoding="utf-8")
    else:
        text = standard_library()
    return text[: config["limit"]]


class Batches:
    """Windows of the text in random order, each once an epoch, without end.

    An epoch is decided by the generator's state at its start: with the position in it, that is all
    that has to be saved to go on from the same place.
    """

    def __init__(self, ids, block, batch, seed):
        self.ids, self.block, self.batch = ids, block, batch
        self.generator = torch.Generator().manual_seed(seed)
        self.start_epoch()

    def start_epoch(self):
        self.epoch_state = self.generator.get_state()
        self.position = 0
        shift = torch.randint(self.block, (1,), generator=self.generator).item()
        count = (len(self.ids) - 1 - shift) // self.block
        order = torch.randperm(count, generator=self.generator)
        self.starts = order * self.block + shift  # (count,)

    def next(self):
        """x and y of shape (B, T); y[:, t] is the character after x[:, t]."""
        if self.position + self.batch > len(self.starts):
            self.start_epoch()
        starts = self.starts[self.position : self.position + self.batch]  # (B,)
        self.position += self.batch
        windows = self.ids[starts[:, None] + torch.arange(self.block + 1)]  # (B, T + 1)
        return windows[:, :-1], windows[:, 1:]

    def state_dict(self):
        return {"epoch_state": self.epoch_state, "position": self.position}

    def load_state_dict(self, state):
        self.generator.set_state(state["epoch_state"])
        self.start_epoch()
        self.position = state["position"]


def even_windows(ids, block, count):
    """x and y of at most `count` windows that lie evenly over the text, always the same."""
    count = min(count, (len(ids) - 1) // block)
    starts = torch.from_numpy(np.linspace(0, len(ids) - 1 - block, count).astype(np.int64))
    windows = ids[starts[:, None] + torch.arange(block + 1)]  # (count, T + 1)
    return windows[:, :-1], windows[:, 1:]


def bigram_loss(train_ids, x, y, vocab):
    """The cross-entropy of a table that only knows how often each character follows each other."""
    pairs = np.ones((vocab, vocab))  # one imagined sighting of each pair, so that log is finite
    np.add.at(pairs, (train_ids[:-1].numpy(), train_ids[1:].numpy()), 1)
    log_p = np.log(pairs / pairs.sum(axis=1, keepdims=True))
    return -log_p[x.numpy(), y.numpy()].mean()


# ---- training ------------------------------------------------------------------------------------


def make_optimizer(model, lr, weight_decay):
    """AdamW that shrinks matrices only: biases and gains of norms are no measure of complexity."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99))


def warmup_then_cosine(step, warmup, steps):
    """What the learning rate is multiplied by: up to 1 in a line, down to 0.1 in a half cosine."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2


class Trainer:
    """A training run: all that changes from step to step is in its state_dict."""

    def __init__(self, config, ids, vocab):
        c = self.config = config
        torch.manual_seed(c["seed"])
        self.vocab = vocab
        self.model = GPT(
            len(vocab), c["block"], c["layers"], c["heads"], c["width"], c["dropout"]
        ).to(c["device"])
        self.optimizer = make_optimizer(self.model, c["lr"], c["weight_decay"])
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: warmup_then_cosine(step, c["warmup"], c["steps"])
        )
        held_out = len(ids) // 10  # the end of the text is for validation
        self.train_ids, val_ids = ids[:-held_out], ids[-held_out:]
        self.val_x, self.val_y = even_windows(val_ids, c["block"], c["val_windows"])
        self.batches = Batches(self.train_ids, c["block"], c["batch"], c["seed"])
        self.losses = []  # of training, one a step
        self.val_losses = []  # (step, loss)

    def loss(self, x, y):
        x, y = x.to(self.config["device"]), y.to(self.config["device"])
        logits = self.model(x)  # (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())

    def step(self):
        """One step of the optimizer, on `accumulate` batches; returns their mean loss."""
        self.model.train()
        self.optimizer.zero_grad()
        total = 0.0
        for _ in range(self.config["accumulate"]):
            loss = self.loss(*self.batches.next()) / self.config["accumulate"]
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=1.0)
        self.optimizer.step()
        self.scheduler.step()
        self.losses.append(total)
        return total

    def validate(self):
        """The mean loss over the validation windows, without dropout; draws no random numbers."""
        self.model.eval()
        total, size = 0.0, 64
        with torch.no_grad():
            for x, y in zip(self.val_x.split(size), self.val_y.split(size), strict=True):
                total += self.loss(x, y).item() * len(x)
        loss = total / len(self.val_x)
        self.val_losses.append((len(self.losses), loss))
        return loss

    def state_dict(self):
        return {
            "config": self.config,
            "vocab": self.vocab,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "batches": self.batches.state_dict(),
            "random": torch.get_rng_state(),  # decides the dropout masks
            "losses": self.losses,
            "val_losses": self.val_losses,
        }

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.batches.load_state_dict(state["batches"])
        torch.set_rng_state(state["random"])
        self.losses = state["losses"]
        self.val_losses = state["val_losses"]


# ---- checkpoints ---------------------------------------------------------------------------------


def save_checkpoint(path, state):
    """Write the file under another name first: whatever happens, `path` is a whole checkpoint."""
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    part = f"{path}.part"
    torch.save(state, part)
    os.replace(part, path)


def load_checkpoint(path):
    try:
        return torch.load(path)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is no checkpoint of this program: {error}") from None


# ---- the program ---------------------------------------------------------------------------------


class CtrlC:
    """The first Ctrl-C asks to stop after the step that is running; the second stops at once."""

    def __enter__(self):
        self.pressed = False
        self.before = signal.signal(signal.SIGINT, self.note)
        return self

    def note(self, number, frame):
        self.pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *error):
        signal.signal(signal.SIGINT, self.before)


def tokens_per_step(config):
    return config["accumulate"] * config["batch"] * config["block"]


def train(trainer, path, stop_at=None):
    """Train to the end and return True, or False if stopped; either way all is saved in `path`."""
    config, done = trainer.config, len(trainer.losses)
    per_step = tokens_per_step(config)
    last = min(config["steps"], stop_at or config["steps"])
    bar = tqdm(total=config["steps"] * per_step, initial=done * per_step, unit="tok",
               unit_scale=True, disable=not sys.stderr.isatty())  # fmt: skip
    with bar, CtrlC() as ctrl_c:
        while done < last and not ctrl_c.pressed:
            loss = trainer.step()
            done += 1
            bar.update(per_step)
            bar.set_postfix(step=done, loss=f"{loss:.3f}", refresh=False)
            if done % config["val_every"] == 0 or done == config["steps"]:
                val_loss = trainer.validate()
                recent = np.mean(trainer.losses[-config["val_every"] :])
                lr = trainer.scheduler.get_last_lr()[0]
                tqdm.write(f"step {done:5}  train loss {recent:.4f}  val loss {val_loss:.4f}  "
                           f"lr {lr:.1e}")  # fmt: skip
                save_checkpoint(path, trainer.state_dict())
        save_checkpoint(path, trainer.state_dict())
    return done == config["steps"]


def draw(trainer, bigram, path):
    """The curves of the loss, beside what a table of pairs of characters reaches."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    losses = np.array(trainer.losses)
    window = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(range(1, len(losses) + 1), losses, color="tab:blue", alpha=0.2, lw=0.7)
    axes.plot(np.arange(len(smooth)) + (window + 1) / 2, smooth, label="training (with dropout)")
    if trainer.val_losses:
        axes.plot(*zip(*trainer.val_losses, strict=True), "o-", label="validation", ms=4)
    axes.axhline(bigram, color="gray", ls="--", label=f"bigram table, {bigram:.2f}")
    axes.set(xlabel="step", ylabel="cross-entropy in nats per character",
             title=f"A GPT of {sum(p.numel() for p in trainer.model.parameters()):,} parameters "
                   "learns to write")  # fmt: skip
    axes.legend()
    axes.grid(alpha=0.3)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write(trainer, args):
    """Print what the model writes after the prompt, as it comes."""
    index = {char: i for i, char in enumerate(trainer.vocab)}
    prompt = [index[char] for char in args.prompt if char in index] or [0]
    generator = torch.Generator().manual_seed(args.seed)
    print(f"\n---- {args.length} characters, temperature {args.temperature}, "
          f"of the {args.top_k} likeliest, prompt {args.prompt!r} ----")  # fmt: skip
    print("".join(trainer.vocab[i] for i in prompt), end="")
    for i in generate(trainer.model, prompt, args.length, args.temperature, args.top_k, generator):
        print(trainer.vocab[i], end="", flush=True)
    print("\n----")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    text = parser.add_argument_group("the text (--resume knows it)")
    text.add_argument("--data", choices=["stdlib", "tinyshakespeare"], default="stdlib")
    text.add_argument("--text", help="a file to learn from instead")
    text.add_argument("--limit", type=int, default=1_500_000, help="characters used of it")
    model = parser.add_argument_group("the model and its training (--resume knows them)")
    model.add_argument("--block", type=int, default=64, help="characters the model looks back on")
    model.add_argument("--layers", type=int, default=4)
    model.add_argument("--heads", type=int, default=4)
    model.add_argument("--width", type=int, default=128)
    model.add_argument("--dropout", type=float, default=0.05)
    model.add_argument("--steps", type=int, default=2000)
    model.add_argument("--batch", type=int, default=12, help="sequences in a batch")
    model.add_argument("--accumulate", type=int, default=1, help="batches in a step")
    model.add_argument("--lr", type=float, default=3e-3)
    model.add_argument("--warmup", type=int, default=100, help="steps")
    model.add_argument("--weight-decay", type=float, default=0.1)
    model.add_argument("--val-windows", type=int, default=256, help="sequences to validate on")
    model.add_argument("--val-every", type=int, default=200, help="steps; saves, too")
    model.add_argument("--seed", type=int, default=0)
    model.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--checkpoint", default="outputs/char_gpt.pt", help="where to save the run")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="go on with a saved run")
    parser.add_argument("--stop-at", type=int, help="save and stop after this step, as by Ctrl-C")
    parser.add_argument("--prompt", default="def ", help="what the written text begins with")
    parser.add_argument("--length", type=int, default=1000, help="characters to write")
    parser.add_argument("--temperature", type=float, default=0.7, help="less is safer, more wilder")
    parser.add_argument("--top-k", type=int, default=40, help="0: all characters")
    parser.add_argument("--out", default="outputs/char_gpt.png", help="where to draw the loss")
    return parser.parse_args()


CONFIG = (  # the arguments that make a run what it is
    "data", "text", "limit", "block", "layers", "heads", "width", "dropout", "steps", "batch",
    "accumulate", "lr", "warmup", "weight_decay", "val_windows", "val_every", "seed", "device",
)  # fmt: skip


def make_trainer(args):
    """A new run, or the one saved in `args.resume`; ValueError or OSError if that cannot be."""
    state = load_checkpoint(args.resume) if args.resume else None
    config = state["config"] if state else {name: getattr(args, name) for name in CONFIG}
    if config["width"] % config["heads"]:
        raise ValueError(f"{config['heads']} heads cannot share a width of {config['width']}")
    text = read_text(config)
    if len(text) < 20 * (config["block"] + 1):
        raise ValueError(f"the text has only {len(text)} characters")
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if config.setdefault("sha256", sha256) != sha256:
        raise ValueError("the text is not the one the checkpoint was trained on")
    vocab = sorted(set(text))
    index = {char: i for i, char in enumerate(vocab)}
    trainer = Trainer(config, torch.tensor([index[char] for char in text]), vocab)
    if state:
        trainer.load_state_dict(state)
    return trainer


def main():
    args = parse_args()
    path = args.resume or args.checkpoint
    try:
        trainer = make_trainer(args)
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 2
    model, config, vocab = trainer.model, trainer.config, trainer.vocab
    print(f"{len(trainer.train_ids):,} characters to train on, {len(vocab)} different ones; "
          f"{sum(p.numel() for p in model.parameters()):,} parameters")  # fmt: skip
    if trainer.losses:
        print(f"going on after step {len(trainer.losses)} of {config['steps']}")

    start, done = time.perf_counter(), len(trainer.losses)
    if not train(trainer, path, args.stop_at):
        print(f"stopped after step {len(trainer.losses)} of {config['steps']}; go on with\n"
              f"    python {sys.argv[0]} --resume {path}")  # fmt: skip
        return 0
    seconds = time.perf_counter() - start
    speed = (len(trainer.losses) - done) * tokens_per_step(config) / seconds

    bigram = bigram_loss(trainer.train_ids, trainer.val_x, trainer.val_y, len(vocab))
    print(f"trained in {seconds:.0f} s, {speed:,.0f} characters a second; saved in {path}")
    print(f"validation loss {trainer.val_losses[-1][1]:.4f} nats per character; "
          f"a table of pairs of characters: {bigram:.4f}")  # fmt: skip
    draw(trainer, bigram, args.out)
    print(f"wrote {args.out}")
    write(trainer, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
