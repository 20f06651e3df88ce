"""Data parallel training on digits, as in the usual tutorial: torchrun sets the ranks."""

import argparse
import importlib.util
import os

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def load_digits():
    """scikit-learn's file, without importing scikit-learn in every process."""
    folder = os.path.dirname(importlib.util.find_spec("sklearn").origin)
    path = os.path.join(folder, "datasets", "data", "digits.csv.gz")
    rows = np.loadtxt(path, delimiter=",", dtype=np.float32)
    return rows[:, :-1], rows[:, -1].astype(np.int64)


class ToyModel(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net1 = nn.Linear(64, width)
        self.relu = nn.ReLU()
        self.net2 = nn.Linear(width, 10)

    def forward(self, x):
        return self.net2(self.relu(self.net1(x)))


class Trainer:
    def __init__(self, model, loader, optimizer, save_every, path):
        self.local_rank = int(os.environ["LOCAL_RANK"])
        self.global_rank = int(os.environ["RANK"])
        self.loader, self.optimizer = loader, optimizer
        self.save_every, self.path = save_every, path
        self.epochs_run = 0
        if os.path.exists(path):
            self.load_snapshot(model)
        self.model = DDP(model)

    def load_snapshot(self, model):
        snapshot = torch.load(self.path, map_location="cpu")
        model.load_state_dict(snapshot["MODEL_STATE"])
        self.optimizer.load_state_dict(snapshot["OPTIMIZER"])
        self.epochs_run = snapshot["EPOCHS_RUN"]
        if self.global_rank == 0:
            print(f"Resuming training from snapshot at Epoch {self.epochs_run}")

    def save_snapshot(self, epoch):
        snapshot = {
            "MODEL_STATE": self.model.module.state_dict(),
            "OPTIMIZER": self.optimizer.state_dict(),
            "EPOCHS_RUN": epoch + 1,
        }
        torch.save(snapshot, self.path)

    def run_batch(self, source, targets):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(source), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()

    def run_epoch(self, epoch):
        self.loader.sampler.set_epoch(epoch)
        total = torch.zeros(2)
        for source, targets in self.loader:
            total[0] += self.run_batch(source, targets)
            total[1] += 1
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
        if self.global_rank == 0:
            print(f"epoch {epoch} steps {int(total[1])} loss {total[0] / total[1]:.6f}")

    def train(self, epochs):
        for epoch in range(self.epochs_run, epochs):
            self.run_epoch(epoch)
            if self.global_rank == 0 and (epoch + 1) % self.save_every == 0:
                self.save_snapshot(epoch)
            dist.barrier()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64, help="of all ranks together")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--limit", type=int, default=1792)
    parser.add_argument("--snapshot", default="snapshot.pt")
    parser.add_argument("--stop-after", type=int, default=10**9)
    args = parser.parse_args()
    dist.init_process_group(backend="gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    assert rank == int(os.environ["RANK"]) and size == int(os.environ["WORLD_SIZE"])
    assert int(os.environ["LOCAL_WORLD_SIZE"]) == size and os.environ["MASTER_ADDR"]
    if rank == 0:
        print(f"backend {dist.get_backend()}, {dist.is_torchelastic_launched()}")
    torch.manual_seed(1)
    pixels, labels = load_digits()
    x = torch.tensor(pixels[: args.limit]) / 16
    y = torch.tensor(labels[: args.limit])
    data = TensorDataset(x, y)
    sampler = DistributedSampler(data)
    loader = DataLoader(data, batch_size=args.batch // size, shuffle=False, sampler=sampler)
    model = ToyModel(args.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    trainer = Trainer(model, loader, optimizer, 1, args.snapshot)
    trainer.train(min(args.epochs, trainer.epochs_run + args.stop_after))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
