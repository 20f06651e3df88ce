"""A small convnet with batch norm, whose processes the script spawns itself."""

import os
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn as nn
import torch.optim as optim
from torch.nn.parallel import DistributedDataParallel as DDP


def setup(rank, world_size, port):
    os.environ["MASTER_ADDR"] = "localhost"
    os.environ["MASTER_PORT"] = port
    dist.init_process_group("gloo", rank=rank, world_size=world_size)


def cleanup():
    dist.destroy_process_group()


def convnet():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 16, 10),
    )  # fmt: skip


def demo_basic(rank, world_size, port):
    setup(rank, world_size, port)
    torch.manual_seed(rank)  # rank 0's weights are given to all
    ddp_model = DDP(convnet(), broadcast_buffers=True, bucket_cap_mb=0.001)
    optimizer = optim.SGD(ddp_model.parameters(), lr=0.05, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()
    torch.manual_seed(1)
    x = torch.randn(512, 1, 8, 8)
    y = x.flatten(1)[:, :10].argmax(1)
    for step in range(16):
        part = slice(32 * step + rank, 32 * (step + 1), world_size)
        optimizer.zero_grad()
        loss = loss_fn(ddp_model(x[part]), y[part])
        loss.backward()
        optimizer.step()
        shown = loss.detach().clone()
        dist.all_reduce(shown, dist.ReduceOp.SUM)
        if rank == 0:
            print(f"step {step} loss {shown.item() / world_size:.6f}", flush=True)
    found = [None] * world_size
    dist.all_gather_object(found, sum(p.sum().item() for p in ddp_model.parameters()))
    if rank == 0:
        print("equal on all ranks:", len(set(found)) == 1, flush=True)
    cleanup()


if __name__ == "__main__":
    n = int(sys.argv[1])
    mp.spawn(demo_basic, args=(n, sys.argv[2]), nprocs=n, join=True)
