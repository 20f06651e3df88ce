"""Hogwild: processes train one model whose parameters lie in memory that they share."""

import argparse

import torch
import torch.multiprocessing as mp
import torch.nn as nn
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--limit", type=int, default=320)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.fc = nn.Linear(6 * 3 * 3, 3)

    def forward(self, x):
        return F.log_softmax(self.fc(F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1)), dim=1)


def make_data(limit):
    torch.manual_seed(7)
    labels = torch.randint(0, 3, (limit,))
    images = torch.randn(limit, 1, 8, 8) * 0.5
    images[torch.arange(limit), 0, labels * 2 + 1] += 1.0
    return images, labels


def train(rank, args, model, turn, losses):
    """One worker; the workers take turns, so that what is printed is the same every time."""
    torch.set_num_threads(1)
    images, labels = make_data(args.limit)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    for epoch in range(args.epochs):
        while int(turn[0]) != epoch * args.workers + rank:
            pass
        torch.manual_seed(100 * rank + epoch)
        total = 0.0
        for batch in torch.randperm(args.limit)[: args.limit // 2].split(32):
            optimizer.zero_grad()
            loss = F.nll_loss(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses[rank, epoch] = total / (args.limit // 2)
        turn += 1


if __name__ == "__main__":
    args = parser.parse_args()
    mp.set_start_method("spawn", force=True)
    torch.manual_seed(1)
    model = Net()
    model.share_memory()
    turn = torch.zeros(1, dtype=torch.int64).share_memory_()
    losses = torch.zeros(args.workers, args.epochs).share_memory_()
    print("shared:", all(p.is_shared() for p in model.parameters()))
    processes = []
    for rank in range(args.workers):
        p = mp.Process(target=train, args=(rank, args, model, turn, losses))
        p.start()
        processes.append(p)
    for p in processes:
        p.join()
    for epoch in range(args.epochs):
        print(f"epoch {epoch}", " ".join(f"{loss:.5f}" for loss in losses[:, epoch].tolist()))
    images, labels = make_data(args.limit)
    with torch.no_grad():
        output = model(images)
    right = int((output.argmax(1) == labels).sum())
    print(f"test loss {F.nll_loss(output, labels).item():.5f}, {right} of {args.limit} right")
