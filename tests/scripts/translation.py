"""Transformer that translates numbers from digits to English words."""

import argparse
import math
import random

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen").split()  # fmt: skip
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
PAD, BOS, EOS = 0, 1, 2
SPECIAL = ["<pad>", "<bos>", "<eos>"]
SRC_VOCAB = SPECIAL + list("0123456789")
TGT_VOCAB = SPECIAL + ONES + TENS[2:] + ["hundred", "thousand", "and"]


def to_words(n: int) -> list[str]:
    if n < 20:
        return [ONES[n]]
    if n < 100:
        return [TENS[n // 10]] + ([ONES[n % 10]] if n % 10 else [])
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if n >= size:
            rest = n % size
            joint = ["and"] if 0 < rest < 100 else []
            return to_words(n // size) + [name] + joint + (to_words(rest) if rest else [])
    raise AssertionError(n)


class Numbers(Dataset):
    def __init__(self, numbers: list[int]):
        self.numbers = numbers
        self.src = {c: i for i, c in enumerate(SRC_VOCAB)}
        self.tgt = {c: i for i, c in enumerate(TGT_VOCAB)}

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        n = self.numbers[i]
        src = torch.tensor([self.src[c] for c in str(n)] + [EOS])
        tgt = torch.tensor([BOS] + [self.tgt[w] for w in to_words(n)] + [EOS])
        return src, tgt


def collate(batch):
    src, tgt = zip(*batch)
    return (pad_sequence(src, batch_first=True, padding_value=PAD),
            pad_sequence(tgt, batch_first=True, padding_value=PAD))  # fmt: skip


class PositionalEncoding(nn.Module):
    def __init__(self, d_model: int, dropout: float, maxlen: int = 64):
        super().__init__()
        den = torch.exp(-torch.arange(0, d_model, 2) * math.log(10000) / d_model)
        pos = torch.arange(0, maxlen).reshape(maxlen, 1)
        table = torch.zeros((maxlen, d_model))
        table[:, 0::2] = torch.sin(pos * den)
        table[:, 1::2] = torch.cos(pos * den)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("table", table)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.table[: x.size(1)])


class Seq2SeqTransformer(nn.Module):
    def __init__(self, d_model: int, nhead: int, layers: int, dim_ff: int, dropout: float):
        super().__init__()
        self.d_model = d_model
        self.transformer = nn.Transformer(
            d_model, nhead, layers, layers, dim_ff, dropout, batch_first=True, norm_first=True
        )
        self.src_emb = nn.Embedding(len(SRC_VOCAB), d_model, padding_idx=PAD)
        self.tgt_emb = nn.Embedding(len(TGT_VOCAB), d_model, padding_idx=PAD)
        self.positional = PositionalEncoding(d_model, dropout)
        self.generator = nn.Linear(d_model, len(TGT_VOCAB))
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def embed(self, table: nn.Embedding, tokens: Tensor) -> Tensor:
        return self.positional(table(tokens) * math.sqrt(self.d_model))

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        tgt_mask = torch.triu(
            torch.ones(tgt.size(1), tgt.size(1), dtype=torch.bool, device=tgt.device), diagonal=1
        )
        padding = src == PAD
        out = self.transformer(
            self.embed(self.src_emb, src), self.embed(self.tgt_emb, tgt), tgt_mask=tgt_mask,
            src_key_padding_mask=padding, tgt_key_padding_mask=tgt == PAD,
            memory_key_padding_mask=padding,
        )  # fmt: skip
        return self.generator(out)

    @torch.no_grad()
    def greedy_decode(self, src: Tensor, max_len: int = 16) -> Tensor:
        padding = src == PAD
        memory = self.transformer.encoder(
            self.embed(self.src_emb, src), src_key_padding_mask=padding
        )
        ys = torch.full((src.size(0), 1), BOS, dtype=torch.long, device=src.device)
        finished = torch.zeros(src.size(0), dtype=torch.bool, device=src.device)
        for _ in range(max_len):
            mask = nn.Transformer.generate_square_subsequent_mask(ys.size(1), device=src.device)
            out = self.transformer.decoder(
                self.embed(self.tgt_emb, ys), memory, tgt_mask=mask,
                memory_key_padding_mask=padding,
            )  # fmt: skip
            next_word = self.generator(out[:, -1]).argmax(-1)
            next_word = next_word.masked_fill(finished, PAD)
            ys = torch.cat([ys, next_word[:, None]], dim=1)
            finished |= next_word == EOS
            if finished.all():
                break
        return ys[:, 1:]


def words(tokens: Tensor) -> str:
    return " ".join(TGT_VOCAB[t] for t in tokens.tolist() if t not in (PAD, BOS, EOS))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--smoothing", type=float, default=0.1)
    parser.add_argument("--log-interval", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    random.seed(args.seed)
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = random.sample(range(1_000_000), 20_000)
    train_loader = DataLoader(
        Numbers(numbers[:-256]), batch_size=args.batch_size, shuffle=True, collate_fn=collate
    )
    valid_loader = DataLoader(Numbers(numbers[-256:]), batch_size=128, collate_fn=collate)

    model = Seq2SeqTransformer(
        args.d_model, args.heads, args.layers, 4 * args.d_model, args.dropout
    ).to(device)
    criterion = nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=args.smoothing)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: args.d_model**-0.5 * min((step + 1) ** -0.5, (step + 1) * args.warmup**-1.5),
    )

    step, total = 0, 0.0
    while step < args.steps:
        for src, tgt in train_loader:
            model.train()
            src, tgt = src.to(device), tgt.to(device)
            logits = model(src, tgt[:, :-1])
            loss = criterion(logits.reshape(-1, logits.shape[-1]), tgt[:, 1:].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            step, total = step + 1, total + loss.item()
            if step % args.log_interval == 0:
                mean = total / args.log_interval
                print(f"step {step} loss {mean:.5f} lr {scheduler.get_last_lr()[0]:.6f}")
                total = 0.0
            if step == args.steps:
                break

    model.eval()
    valid, right, count = 0.0, 0, 0
    for src, tgt in valid_loader:
        src, tgt = src.to(device), tgt.to(device)
        with torch.no_grad():
            logits = model(src, tgt[:, :-1])
            valid += criterion(logits.transpose(1, 2), tgt[:, 1:]).item()
        for guess, truth in zip(model.greedy_decode(src), tgt):
            right += words(guess) == words(truth)
            count += 1
    print(f"valid loss {valid / len(valid_loader):.5f}, {right} of {count} numbers all right")
    for n in (7, 42, 518, 90_210):
        src, _ = Numbers([n])[0]
        print(n, "->", words(model.greedy_decode(src[None].to(device))[0]))


if __name__ == "__main__":
    main()
