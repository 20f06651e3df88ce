"""Word-level LSTM language model on the help texts that ship with Python."""

import argparse
import math
import time
from collections import Counter
from pydoc_data.topics import topics

import torch
import torch.nn as nn


class Corpus:
    def __init__(self, text, max_vocab):
        words = text.lower().replace("\n", " <eos> ").split()
        counts = Counter(words)
        self.itos = ["<unk>"] + [w for w, _ in counts.most_common(max_vocab - 1)]
        self.stoi = {w: i for i, w in enumerate(self.itos)}
        ids = torch.tensor([self.stoi.get(w, 0) for w in words], dtype=torch.long)
        split = int(0.9 * len(ids))
        self.train, self.valid = ids[:split], ids[split:]


class RNNModel(nn.Module):
    """Encoder, recurrent module, decoder; the weights of encoder and decoder are tied."""

    def __init__(self, ntoken, ninp, nlayers, dropout=0.5):
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(ntoken, ninp)
        self.rnn = nn.LSTM(ninp, ninp, nlayers, dropout=dropout)
        self.decoder = nn.Linear(ninp, ntoken)
        self.decoder.weight = self.encoder.weight
        self.ninp, self.nlayers = ninp, nlayers
        self.init_weights()

    def init_weights(self):
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, input, hidden):
        emb = self.drop(self.encoder(input))
        output, hidden = self.rnn(emb, hidden)
        decoded = self.decoder(self.drop(output))
        return decoded.view(-1, decoded.size(-1)), hidden

    def init_hidden(self, bsz):
        weight = next(self.parameters())
        return (weight.new_zeros(self.nlayers, bsz, self.ninp),
                weight.new_zeros(self.nlayers, bsz, self.ninp))  # fmt: skip


def batchify(data, bsz, device):
    nbatch = data.size(0) // bsz
    data = data.narrow(0, 0, nbatch * bsz)
    return data.view(bsz, -1).t().contiguous().to(device)


def get_batch(source, i, bptt):
    seq_len = min(bptt, len(source) - 1 - i)
    return source[i : i + seq_len], source[i + 1 : i + 1 + seq_len].view(-1)


def repackage_hidden(h):
    """Wraps hidden states in new tensors, to detach them from their history."""
    if isinstance(h, torch.Tensor):
        return h.detach()
    return tuple(repackage_hidden(v) for v in h)


def evaluate(model, source, bptt, criterion):
    model.eval()
    total_loss = 0.0
    hidden = model.init_hidden(source.size(1))
    with torch.no_grad():
        for i in range(0, source.size(0) - 1, bptt):
            data, targets = get_batch(source, i, bptt)
            output, hidden = model(data, hidden)
            total_loss += len(data) * criterion(output, targets).item()
    return total_loss / (len(source) - 1)


def train(args, model, source, criterion, optimizer, epoch):
    model.train()
    total_loss = 0.0
    hidden = model.init_hidden(args.batch_size)
    for batch, i in enumerate(range(0, source.size(0) - 1, args.bptt)):
        data, targets = get_batch(source, i, args.bptt)
        hidden = repackage_hidden(hidden)
        model.zero_grad()
        output, hidden = model(data, hidden)
        loss = criterion(output, targets)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        optimizer.step()
        total_loss += loss.item()
        if (batch + 1) % args.log_interval == 0:
            cur_loss = total_loss / args.log_interval
            print(f"| epoch {epoch:3d} | {batch + 1:5d} batches | loss {cur_loss:.5f} "
                  f"| ppl {math.exp(cur_loss):.4f} | grad norm {norm:.5f}")  # fmt: skip
            total_loss = 0.0


def sample(model, corpus, length, temperature, device):
    model.eval()
    hidden = model.init_hidden(1)
    input = torch.randint(len(corpus.itos), (1, 1), dtype=torch.long, device=device)
    words = []
    with torch.no_grad():
        for _ in range(length):
            output, hidden = model(input, hidden)
            word_weights = output.squeeze().div(temperature).exp().cpu()
            word_idx = torch.multinomial(word_weights, 1)[0]
            input.fill_(word_idx)
            words.append(corpus.itos[word_idx])
    return " ".join(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emsize", type=int, default=128)
    parser.add_argument("--nlayers", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--clip", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--bptt", type=int, default=35)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--log-interval", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1111)
    parser.add_argument("--limit", type=int, default=300_000, help="characters of text to use")
    parser.add_argument("--save", default="model.pt")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    text = "\n".join(topics[name] for name in sorted(topics))
    corpus = Corpus(text[: args.limit], args.vocab)
    print(f"{len(corpus.train)} words, {len(corpus.itos)} of them different")
    train_data = batchify(corpus.train, args.batch_size, device)
    val_data = batchify(corpus.valid, 2, device)

    model = RNNModel(len(corpus.itos), args.emsize, args.nlayers, args.dropout).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, betas=(0.9, 0.99))
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)

    best_val_loss = None
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        train(args, model, train_data, criterion, optimizer, epoch)
        val_loss = evaluate(model, val_data, args.bptt, criterion)
        assert time.perf_counter() > start
        print(f"| end of epoch {epoch:3d} | valid loss {val_loss:.5f} "
              f"| valid ppl {math.exp(val_loss):.4f} | lr {scheduler.get_last_lr()}")  # fmt: skip
        if best_val_loss is None or val_loss < best_val_loss:
            torch.save(model.state_dict(), args.save)
            best_val_loss = val_loss
        scheduler.step(val_loss)

    model.load_state_dict(torch.load(args.save, weights_only=True))
    model.rnn.flatten_parameters()
    print(f"best valid loss {evaluate(model, val_data, args.bptt, criterion):.5f}")
    print(sample(model, corpus, 20, 1.0, device))


if __name__ == "__main__":
    main()
