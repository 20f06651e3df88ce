"""Memory that is not there: the error says how much was asked for, by which operation; and the
program goes on with less."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.utils.data import default_collate

F = nn.functional
HUGE = 1 << 45  # elements: no computer has as much

WIDE = torch.ones(1).expand(HUGE)
COLUMN, ROW = torch.ones(1, 1).expand(1 << 23, 1), torch.ones(1, 1).expand(1, 1 << 22)

CALLS: dict[str, Callable[[], Any]] = {
    "zeros": lambda: torch.zeros(HUGE),
    "ones": lambda: torch.ones(HUGE),
    "empty": lambda: torch.empty(HUGE),
    "full": lambda: torch.full((HUGE,), 2.0),
    "arange": lambda: torch.arange(float(HUGE)),
    "linspace": lambda: torch.linspace(0, 1, HUGE),
    "eye": lambda: torch.eye(1 << 23),
    "zeros_like": lambda: torch.zeros_like(WIDE),
    "rand": lambda: torch.rand(HUGE),
    "randn": lambda: torch.randn(HUGE),
    "randint": lambda: torch.randint(0, 3, (HUGE,)),
    "add": lambda: COLUMN + ROW,
    "exp": lambda: WIDE.exp(),
    "matmul": lambda: COLUMN @ ROW,
    "cat": lambda: torch.cat([WIDE, WIDE]),
    "stack": lambda: torch.stack([WIDE, WIDE]),
    "clone": lambda: WIDE.clone(),
    "to": lambda: WIDE.double(),
    "repeat": lambda: torch.ones(1 << 10).repeat(1 << 35),
    "one_hot": lambda: F.one_hot(torch.zeros(1 << 10, dtype=torch.int64), 1 << 35),
    "dropout_noise": lambda: F.dropout(WIDE),
    "sort": lambda: WIDE.sort(),
    "cumsum": lambda: WIDE.cumsum(0),
    # With options given by name; and what is computed outside of the engine.
    "sort ": lambda: torch.sort(WIDE, dim=0, descending=True),
    "reshape": lambda: torch.ones(2, 1).expand(2, HUGE).T.reshape(-1),
    "bincount": lambda: torch.bincount(torch.tensor([HUGE])),
    "triangle": lambda: torch.tril_indices(1 << 23, 1 << 23),
    "tensor": lambda: torch.tensor(WIDE.numpy()),
    "default_collate": lambda: default_collate([WIDE, WIDE]),
}


@pytest.mark.parametrize("operation", CALLS)
def test_the_error_says_how_much_and_by_which_operation(operation: str) -> None:
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator: can't allocate memory") as caught:
        CALLS[operation]()
    assert isinstance(caught.value, (MemoryError, torch.OutOfMemoryError))
    message = str(caught.value)
    assert operation.strip() in message and "you tried to allocate " in message, message
    asked = int(message.split("tried to allocate ")[1].split()[0])
    assert asked >= HUGE // 8, "bytes"


def test_the_number_is_torch_s() -> None:
    reference = pytest.importorskip("torch")
    sizes = []
    for library in (torch, reference):
        with pytest.raises(RuntimeError, match="can't allocate memory: you tried") as caught:
            library.zeros(HUGE, dtype=library.float64)
        sizes.append(str(caught.value).split("tried to allocate ")[1].split(" bytes")[0])
    assert sizes[0] == sizes[1] == str(8 * HUGE)


class Greedy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return torch.tensor(np.empty(HUGE))


def test_in_a_backward_pass() -> None:
    wide = torch.ones(1).expand(HUGE).requires_grad_()
    with pytest.raises(RuntimeError, match="you tried to allocate 140737488355328 bytes"):
        wide[0].backward()
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="in the backward of Greedy") as caught:
        Greedy.apply(x).sum().backward()
    assert isinstance(caught.value, MemoryError)


LOOP = """
import resource, tinygrad_edu as torch
from tinygrad_edu import nn
model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))
optimizer = torch.optim.AdamW(model.parameters())
base = [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if "VmSize" in line][0]
resource.setrlimit(resource.RLIMIT_AS, (base + (300 << 20),) * 2)
batch, tried, done = 1 << 20, [], 0
while done < 3:
    try:
        optimizer.zero_grad()
        model(torch.randn(batch, 64)).square().mean().backward()
        optimizer.step()
        done += 1
    except RuntimeError as error:
        assert "can't allocate memory" in str(error), error
        tried.append(batch)
        batch //= 2
assert len(tried) >= 2 and batch >= 1 << 14, (tried, batch)
print("ok", batch)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sets a limit of Linux")
def test_the_loop_that_halves_its_batch_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", LOOP], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("ok"), done.stderr


def test_the_error_keeps_no_array_alive() -> None:
    import gc
    import weakref

    held = torch.ones(1000)
    alive = weakref.ref(held)
    try:
        held.expand(HUGE // 1000, 1000).exp()
    except RuntimeError as error:
        kept = error
    del held
    gc.collect()
    kept.__traceback__ = None  # whoever keeps an error keeps the frames of his own functions
    assert alive() is None and kept.__cause__ is None


def test_a_file_that_does_not_fit(tmp_path: pathlib.Path) -> None:
    """Read or mapped, and saved to a buffer; the program goes on."""
    code = """
import io, resource, sys, tinygrad_edu as t
path = sys.argv[1]
x = t.zeros(30_000_000)
t.save(x, path)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (60 << 20), resource.RLIM_INFINITY))
for work in (
    lambda: t.load(path), lambda: t.load(path, mmap=True), lambda: t.save(x, io.BytesIO()),
    lambda: x.share_memory_(), lambda: x.tolist(),
):
    try:
        work()
    except t.OutOfMemoryError as error:
        print(str(error).startswith("DefaultCPUAllocator: can't allocate memory"))
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(t.load(path).shape == x.shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.pt")], capture_output=True, text=True
    )
    assert done.stdout.split() == ["True"] * 6, done.stdout + done.stderr


@pytest.mark.parametrize("make", [
    lambda: torch.ones(2**62), lambda: torch.zeros(2**40, 2**40), lambda: torch.rand(2**62),
    lambda: torch.empty(2**63 - 1), lambda: torch.zeros(2).new_zeros(2**62),
    lambda: torch.full((2**62,), 1.0), lambda: torch.zeros(1).expand(2**62).clone(),
    lambda: torch.zeros(1).repeat(2**62),
])  # fmt: skip
def test_more_bytes_than_can_be_counted(make: Any) -> None:
    with pytest.raises(RuntimeError, match="Storage size calculation overflowed"):
        make()
