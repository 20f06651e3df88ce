"""Load OpenAI's GPT-2 from Hugging Face's files, and let it write.

    python examples/06_load_gpt2.py FOLDER --prompt "The meaning of life is"

FOLDER holds the files model.safetensors, vocab.json and merges.txt of huggingface.co/gpt2, or of
its larger sisters, or of any model of that layout; if config.json is there, it tells the number of
heads.  Nothing is downloaded.  Needs tokenizers and safetensors, which pip install
'tinygrad-edu[examples]' brings.

Every name and every shape in the file is compared with the model's before a weight is taken.
Shapes are in trailing comments: B texts, T tokens, S tokens so far, C channels, H heads of
D = C / H channels, V different tokens.

Sources: Radford et al., "Language models are unsupervised multitask learners", 2019; Sennrich et
al., "Neural machine translation of rare words with subword units", 2016 (byte-pair encoding).
"""

import argparse
import json
import pathlib
import re
import sys
import time

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import tinygrad_edu as torch
import tinygrad_edu.nn.functional as F
from tinygrad_edu import nn
from tinygrad_edu.safetensors import safe_open

# ---- the model, with the names that its file has -------------------------------------------------


class Conv1D(nn.Module):
    """A linear layer whose weight is stored as (inputs, outputs): GPT-2's files have it so."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


class Attention(nn.Module):
    """Every token gathers from those before it what its queries ask their keys for."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.c_attn = Conv1D(width, 3 * width)
        self.c_proj = Conv1D(width, width)

    def forward(self, x, past):  # x: (B, T, C)
        B, T, C = x.shape
        q, k, v = [
            part.view(B, T, self.heads, C // self.heads).transpose(1, 2)  # (B, H, T, D)
            for part in self.c_attn(x).split(C, dim=2)
        ]
        if past is not None:
            k = torch.cat([past[0], k], dim=2)  # (B, H, S, D)
            v = torch.cat([past[1], v], dim=2)  # (B, H, S, D)
        S = k.shape[2]
        seen = torch.ones(T, S, dtype=torch.bool).tril(S - T)  # (T, S)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)  # (B, H, T, D)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C)), (k, v)


class MLP(nn.Module):
    """Every token thinks by itself."""

    def __init__(self, width):
        super().__init__()
        self.c_fc = Conv1D(width, 4 * width)
        self.c_proj = Conv1D(4 * width, width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x, past):
        y, past = self.attn(self.ln_1(x), past)
        x = x + y
        return x + self.mlp(self.ln_2(x)), past


class GPT2(nn.Module):
    """The logits of the next token after every token."""

    def __init__(self, vocab, context, width, layers, heads):
        super().__init__()
        self.wte = nn.Embedding(vocab, width)  # tokens
        self.wpe = nn.Embedding(context, width)  # positions
        self.h = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(width)

    def forward(self, ids, past=None):  # ids: (B, T)
        past = past or [None] * len(self.h)
        read = 0 if past[0] is None else past[0][0].shape[2]
        x = self.wte(ids) + self.wpe(torch.arange(read, read + ids.shape[1]))  # (B, T, C)
        for i, block in enumerate(self.h):
            x, past[i] = block(x, past[i])
        return self.ln_f(x) @ self.wte.weight.T, past  # (B, T, V): the head is the embedding


# ---- the file ------------------------------------------------------------------------------------


def plain_name(name):
    """A tensor's name in the model; None for what is no weight of it.

    Some files put "transformer." before all names, some hold the causal mask and the head, which
    is the embedding once more.
    """
    name = name.removeprefix("transformer.")
    if name == "lm_head.weight" or re.fullmatch(r"h\.\d+\.attn\.(bias|masked_bias)", name):
        return None
    return name


def sizes(shapes, heads):
    """The arguments of GPT2 that the shapes in a file tell."""
    for name in ("wte.weight", "wpe.weight"):
        if len(shapes.get(name, ())) != 2:
            sys.exit(f"this is no GPT-2: it has no matrix {name}")
    vocab, width = shapes["wte.weight"]
    context = shapes["wpe.weight"][0]
    layers = len({name.split(".")[1] for name in shapes if name.startswith("h.")})
    heads = heads or max(1, width // 64)  # as in all that OpenAI published
    if width % heads:
        sys.exit(f"{width} channels cannot be shared out to {heads} heads")
    return {"vocab": vocab, "context": context, "width": width, "layers": layers, "heads": heads}


def check(shapes, expected):
    """End with a list of all that differs between a file and the model, if anything does."""
    wrong = [f"the file lacks {name} {expected[name]}" for name in expected if name not in shapes]
    wrong += [f"the model has no {name} {shapes[name]}" for name in shapes if name not in expected]
    wrong += [
        f"{name} is {shapes[name]} in the file, {expected[name]} in the model"
        for name in expected
        if name in shapes and shapes[name] != expected[name]
    ]
    if wrong:
        sys.exit("the file does not fit the model:\n  " + "\n  ".join(wrong))


def load_model(folder):
    config = folder / "config.json"
    heads = json.loads(config.read_text()).get("n_head") if config.exists() else None
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        names = {plain_name(name): name for name in file.keys() if plain_name(name)}
        shapes = {name: tuple(file.get_slice(names[name]).get_shape()) for name in names}
        model = GPT2(**sizes(shapes, heads))
        check(shapes, {name: tuple(p.shape) for name, p in model.state_dict().items()})
        with torch.no_grad():
            for name, p in model.named_parameters():  # one by one: the file is never there twice
                p.copy_(file.get_tensor(names[name]))
    return model.eval()


def load_tokenizer(folder):
    """Byte-pair encoding: what stands often side by side is one token."""
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    tokenizer = Tokenizer(models.BPE.from_file(*files))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


# ---- writing -------------------------------------------------------------------------------------


def generate(model, ids, count, temperature, top_k, generator):
    """Yield `count` ids that go on from `ids`, each drawn from the `top_k` likeliest."""
    context = model.wpe.weight.shape[0]
    ids, past = list(ids)[-context:], None
    unread = ids
    for _ in range(count):
        if len(ids) > context:  # full: go on with the second half, read anew
            ids = ids[-(context // 2) :]
            unread, past = ids, None
        with torch.no_grad():
            logits, past = model(torch.tensor([unread]), past)
        logits = logits[0, -1]  # (V,)
        if temperature == 0:
            chosen = logits.argmax().item()
        else:
            likeliest = logits.topk(min(top_k, len(logits)))
            p = F.softmax(likeliest.values / temperature, dim=0)  # (top_k,)
            chosen = likeliest.indices[torch.multinomial(p, 1, generator=generator)].item()
        ids, unread = [*ids, chosen], [chosen]
        yield chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--prompt", default="The meaning of life is")
    parser.add_argument("--length", type=int, default=50, help="tokens to write")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest")
    parser.add_argument("--top-k", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name in ("model.safetensors", "vocab.json", "merges.txt"):
        if not (args.folder / name).is_file():
            sys.exit(f"{args.folder / name} is not there: see huggingface.co/gpt2/tree/main")

    start = time.perf_counter()
    model, tokenizer = load_model(args.folder), load_tokenizer(args.folder)
    count = sum(p.numel() for p in model.parameters())
    took = time.perf_counter() - start
    print(f"{count:,} weights, {len(model.h)} layers, loaded in {took:.1f} s\n")

    ids = tokenizer.encode(args.prompt).ids
    known, vocab = tokenizer.get_vocab_size(), model.wte.weight.shape[0]
    if known > vocab:
        sys.exit(
            f"vocab.json has {known} tokens, but the model {vocab}: they do not belong together"
        )
    if not ids:
        sys.exit("the prompt is empty")
    generator = torch.Generator().manual_seed(args.seed)
    start = time.perf_counter()
    options = args.length, args.temperature, args.top_k, generator
    written = list(generate(model, ids, *options))
    took = time.perf_counter() - start
    print(tokenizer.decode(ids + written))
    print(f"\n{args.length} tokens written, {args.length / took:.1f} a second")


if __name__ == "__main__":
    main()
