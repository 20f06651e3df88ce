"""A transformer block that is too large for one process: split by heads and columns, or by layers.

    python examples/10_tensor_parallel.py      starts itself in two processes

Tensor parallel.  Each rank has some of the heads, and some columns of the first matrix of the
perceptron with the same rows of the second.  What the ranks compute are parts of a sum: one
all_reduce after the attention and one after the perceptron is all that they say to each other.
Source: Shoeybi et al., "Megatron-LM", 2019, section 3.

The gradient of a collective is that of all ranks' losses together.  So each rank takes 1/n of the
loss, and what all ranks have (norms, biases) gets the sum of their gradients.

Pipeline parallel.  Each rank has some of the layers; activations are sent forward and gradients
back, a micro-batch after the other.  Source: Huang et al., "GPipe", 2018.

Both are compared with the same blocks in one process: equal losses.
"""

import os
import subprocess
import sys

import tinygrad_edu as torch
import tinygrad_edu.distributed as dist
import tinygrad_edu.nn.functional as F
from tinygrad_edu import nn
from tinygrad_edu.distributed.nn.functional import all_reduce

WIDTH, HEADS, TIME, BATCH, STEPS = 32, 4, 10, 8, 8


class Block(nn.Module):
    """The whole block, as one process has it."""

    def __init__(self, width=WIDTH, heads=HEADS):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attention(self, x):
        """(B, T, C) -> (B, T, columns of this rank's heads)."""
        B, T, _ = x.shape
        q, k, v = (
            m(x).view(B, T, self.heads, -1).transpose(1, 2) for m in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, heads, T, D)
        return y.transpose(1, 2).reshape(B, T, -1)

    def forward(self, x):
        x = x + self.out(self.attention(self.norm1(x)))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class SplitBlock(Block):
    """The part of a block that one rank of several has."""

    def __init__(self, whole, rank, size):
        super().__init__(WIDTH, HEADS)
        self.load_state_dict(whole.state_dict())
        self.heads = HEADS // size
        for m in (self.q, self.k, self.v, self.up):  # columns of the product
            m.weight = nn.Parameter(m.weight.detach().chunk(size, 0)[rank].clone())
        self.up.bias = nn.Parameter(self.up.bias.detach().chunk(size, 0)[rank].clone())
        for m in (self.out, self.down):  # rows: the products are parts of a sum
            m.weight = nn.Parameter(m.weight.detach().chunk(size, 1)[rank].clone())
        shared = [self.norm1, self.norm2]
        self.shared = [p for m in shared for p in m.parameters()] + [self.out.bias, self.down.bias]

    def forward(self, x):
        part = self.attention(self.norm1(x)) @ self.out.weight.T
        x = x + all_reduce(part) + self.out.bias
        part = F.gelu(self.up(self.norm2(x))) @ self.down.weight.T
        return x + all_reduce(part) + self.down.bias

    def add_up_gradients(self):
        """Of what every rank has: each has the gradient of its own path only."""
        for p in self.shared:
            dist.all_reduce(p.grad)


def blocks():
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block())


def batches():
    torch.manual_seed(1)
    return [torch.randn(2, BATCH, TIME, WIDTH) for _ in range(STEPS)]


def train_whole():
    model, losses = blocks(), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for x, target in batches():
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, sum(p.numel() for p in model.parameters())


def train_tensor_parallel():
    rank, size = dist.get_rank(), dist.get_world_size()
    model = nn.Sequential(*[SplitBlock(block, rank, size) for block in blocks()])
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for x, target in batches():
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), target)
        (loss / size).backward()
        for block in model:
            block.add_up_gradients()
        optimizer.step()
        losses.append(loss.item())
    return losses, sum(p.numel() for p in model.parameters())


def train_pipeline(micro=4):
    """The first rank has the first block, the last one the second; ranks between have none."""
    rank, last = dist.get_rank(), dist.get_world_size() - 1
    if rank not in (0, last):
        return None, 0
    model = blocks()[0 if rank == 0 else 1]
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    shape = BATCH // micro, TIME, WIDTH
    for x, target in batches():
        optimizer.zero_grad()
        if rank == 0:
            outputs = [model(part) for part in x.chunk(micro)]
            sent = [dist.isend(y.detach(), last, tag=i) for i, y in enumerate(outputs)]
            for i, y in enumerate(outputs):
                g = torch.empty(shape)
                dist.recv(g, last, tag=i)
                y.backward(g)
            for work in sent:
                work.wait()
        else:
            total = 0.0
            for i, wanted in enumerate(target.chunk(micro)):
                h = torch.empty(shape)
                dist.recv(h, 0, tag=i)
                loss = F.mse_loss(model(h.requires_grad_()), wanted) / micro
                loss.backward()
                dist.send(h.grad, 0, tag=i)
                total += loss.item()
            losses.append(total)
        optimizer.step()
    return losses, sum(p.numel() for p in model.parameters())


def main():
    if "WORLD_SIZE" not in os.environ:
        if not dist.is_available():
            raise SystemExit("this needs mpi4py and an MPI: pip install 'tinygrad-edu[mpi]'")
        run = [sys.executable, "-m", "tinygrad_edu.distributed.run", "--nproc-per-node=2"]
        raise SystemExit(subprocess.run([*run, __file__]).returncode)
    torch.set_default_dtype(torch.float64)
    dist.init_process_group()
    whole, parameters = train_whole()
    tensor, part = train_tensor_parallel()
    pipeline, layer = train_pipeline()
    if dist.get_rank() == dist.get_world_size() - 1:
        print(f"{'step':>4}  one process, {parameters:,} parameters   split by heads and columns,"
              f" {part:,}   by layers, {layer:,}")  # fmt: skip
        for i, losses in enumerate(zip(whole, tensor, pipeline, strict=True)):
            print(f"{i:4}  {losses[0]:.12f}   {losses[1]:.12f}   {losses[2]:.12f}")
        for name, losses in (("tensor", tensor), ("pipeline", pipeline)):
            apart = max(abs(a - b) for a, b in zip(whole, losses, strict=True))
            print(f"{name} parallel: losses differ by {apart:.1e}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
