"""Train a small word-level language model, saving the whole module whenever validation improves."""

import argparse
import io
import math
import os

import torch
import torch.nn as nn
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--emsize", type=int, default=48)
parser.add_argument("--save", default="model.pt")
args = parser.parse_args()

torch.manual_seed(1111)
TEXT = (
    "the quick brown fox jumps over the lazy dog . the dog sleeps and the fox runs away . "
    "a bird sings in the tree while the cat watches . the cat jumps and the bird flies away . "
) * 30
WORDS = TEXT.split()
VOCAB = sorted(set(WORDS))
DATA = torch.tensor([VOCAB.index(word) for word in WORDS])


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, max_len=64):
        super().__init__()
        pe = torch.zeros(max_len, d_model)
        position = torch.arange(0, max_len, dtype=torch.float).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2).float() * (-math.log(10000.0) / d_model))
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(1))

    def forward(self, x):
        return x + self.pe[: x.size(0)]


class LSTMModel(nn.Module):
    def __init__(self, vocab, emsize, activation=F.gelu):
        super().__init__()
        self.vocab, self.activation = vocab, activation
        self.encoder = nn.Embedding(vocab, emsize)
        self.rnn = nn.LSTM(emsize, emsize, 2, dropout=0.1)
        self.mlp = nn.Linear(emsize, emsize)
        self.decoder = nn.Linear(emsize, vocab)
        self.decoder.weight = self.encoder.weight

    def forward(self, x):
        y, _ = self.rnn(self.encoder(x))
        return self.decoder(self.activation(self.mlp(y))).view(-1, self.vocab)


class TransformerModel(nn.Transformer):
    def __init__(self, vocab, emsize):
        super().__init__(d_model=emsize, nhead=4, dim_feedforward=64, num_encoder_layers=1)
        self.vocab, self.src_mask = vocab, None
        self.pos_encoder = PositionalEncoding(emsize)
        self.input_emb = nn.Embedding(vocab, emsize)
        self.decoder = nn.Linear(emsize, vocab)

    def forward(self, x):
        if self.src_mask is None or self.src_mask.size(0) != len(x):
            self.src_mask = torch.log(torch.tril(torch.ones(len(x), len(x))))
        y = self.encoder(self.pos_encoder(self.input_emb(x)), mask=self.src_mask)
        return self.decoder(y).view(-1, self.vocab)


def batchify(data, bsz):
    nbatch = data.size(0) // bsz
    return data[: nbatch * bsz].view(bsz, -1).t().contiguous()


train_data, val_data = batchify(DATA[:800], 8), batchify(DATA[800:], 8)
bptt = 16


def evaluate(model):
    model.eval()
    total = 0.0
    with torch.no_grad():
        for i in range(0, len(val_data) - 1, bptt):
            n = min(bptt, len(val_data) - 1 - i)
            loss = F.cross_entropy(model(val_data[i : i + n]), val_data[i + 1 : i + 1 + n].view(-1))
            total += n * loss.item()
    return total / (len(val_data) - 1)


def fit(model, name):
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    best = None
    for epoch in range(1, args.epochs + 1):
        model.train()
        for i in range(0, len(train_data) - 1, bptt):
            n = min(bptt, len(train_data) - 1 - i)
            optimizer.zero_grad()
            output = model(train_data[i : i + n])
            loss = F.cross_entropy(output, train_data[i + 1 : i + 1 + n].view(-1))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()
        val_loss = evaluate(model)
        print(f"{name} epoch {epoch:2d} | loss {loss.item():.5f} | valid loss {val_loss:.5f}")
        if best is None or val_loss < best:
            with open(args.save, "wb") as f:
                torch.save(model, f)
            best = val_loss
    with open(args.save, "rb") as f:
        model = torch.load(f, weights_only=False)
    print(
        f"{name} best {evaluate(model):.5f}, {sum(p.numel() for p in model.parameters())} numbers"
    )
    try:
        torch.load(args.save)
    except Exception as error:
        print(f"weights_only refuses: {'weights_only' in str(error)}")


fit(LSTMModel(len(VOCAB), args.emsize), "LSTM")
fit(TransformerModel(len(VOCAB), args.emsize), "Transformer")
state = io.BytesIO()
torch.save({"epoch": args.epochs, "vocab": VOCAB}, state, _use_new_zipfile_serialization=True)
state.seek(0)
print(torch.load(state)["epoch"])
os.remove(args.save)
