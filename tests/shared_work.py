"""What the processes of test_shared_memory.py run: a spawned process has to import it."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import tinygrad_edu as torch

TARGET = [[1.0], [-2.0], [3.0]]


def hogwild(rank: int, model: Any, steps: int) -> None:
    """Train a shared model, as in PyTorch's example of that name."""
    torch.manual_seed(rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    target = torch.tensor(TARGET)
    for _ in range(steps):
        x = torch.randn(16, 3)
        optimizer.zero_grad()
        ((model(x) - x @ target) ** 2).mean().backward()
        optimizer.step()


def with_shared_adam(rank: int, shared: Any, optimizer: Any, steps: int) -> None:
    """Train a copy, and step the shared model with its gradients, as A3C does."""
    torch.manual_seed(rank)
    model, target = torch.nn.Linear(3, 1), torch.tensor(TARGET)
    for _ in range(steps):
        model.load_state_dict(shared.state_dict())
        x = torch.randn(16, 3)
        model.zero_grad()
        ((model(x) - x @ target) ** 2).mean().backward()
        for p, s in zip(model.parameters(), shared.parameters(), strict=True):
            s._grad = p.grad
        optimizer.step()


def add_one(_: int, tensors: Any) -> None:
    for t in tensors:
        with torch.no_grad():
            t += 1


def echo(_: int, inbox: Any, outbox: Any) -> None:
    """Double what comes, in place, say what it is, and send it back; end at None."""
    while (message := inbox.get()) is not None:
        tensor = message["tensor"]
        with torch.no_grad():
            tensor *= 2
        kind = type(tensor).__name__, tensor.is_shared(), tensor.requires_grad, tensor.stride()
        outbox.put((kind, tensor, message["twin"] is tensor))


def put_and_end(_: int, outbox: Any) -> None:
    """Nothing holds these tensors when the process ends."""
    for i in range(3):
        outbox.put(torch.full((1000,), float(i)))


def raises(rank: int, directory: str) -> None:
    if rank == 1:
        raise ValueError("no such luck")
    time.sleep(60)


def exits(rank: int, directory: str) -> None:
    if rank == 1:
        sys.exit(3)
    time.sleep(60)


def is_killed(rank: int, directory: str) -> None:
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def interrupted(rank: int, directory: str) -> None:
    raise KeyboardInterrupt


def writes(rank: int, directory: str) -> None:
    with open(os.path.join(directory, str(rank)), "w", encoding="utf-8") as file:
        file.write(str(os.getpid()))
