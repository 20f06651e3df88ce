"""Training for a long time: does memory grow, do steps become slower?

python tests/soak.py [--mlp 200000] [--gpt 20000] [--json FILE]

Two trainings, as scripts do them: batches from a DataLoader (every tenth epoch from two worker
processes), autocast to bfloat16 in every other epoch of the MLP, gradients clipped, a schedule, a
validation and a checkpoint (saved, and loaded into the running training) at every mark.  At each
mark the resident memory, the objects that Python's collector knows, open files, threads and the
processor time per step are noted.  The exit status is 1 if the last quarter of the marks has more
than 2 % and 2 MiB more memory than the second, more objects, files or threads, or steps that take
a fifth longer.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.utils.data import DataLoader, TensorDataset

MARKS = 40


class GPT(nn.Module):
    """A transformer of two layers that predicts the next of 32 symbols."""

    def __init__(self, vocab: int = 32, block: int = 32, width: int = 32) -> None:
        super().__init__()
        self.symbols, self.places = nn.Embedding(vocab, width), nn.Embedding(block, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(width, vocab)

    def forward(self, ids: Any) -> Any:
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        x = self.symbols(ids) + self.places(torch.arange(length))
        return self.out(self.layers(x, mask=mask, is_causal=True)).flatten(0, 1)


def mlp() -> tuple[Any, Any, Any]:
    x = torch.randn(2048, 32)
    y = (x[:, :4].sum(1) > 0).long() + 2 * (x[:, 4:8].sum(1) > 0).long()
    model = nn.Sequential(
        nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 4)
    )
    return model, TensorDataset(x[:1792], y[:1792]), (x[1792:], y[1792:])


def gpt() -> tuple[Any, Any, Any]:
    ids = (torch.arange(520 * 33) * 7 % 31 + torch.randint(0, 2, (520 * 33,))).reshape(520, 33)
    x, y = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    return GPT(), TensorDataset(x[:512], y[:512]), (x[512:], y[512:].flatten())


def batches(data: Any, size: int, autocast: bool) -> Iterator[tuple[Any, Any, bool]]:
    """Epoch after epoch, without end; and whether the batch is for autocast."""
    for epoch in itertools.count():
        workers = {"num_workers": 2, "multiprocessing_context": "fork"} if epoch % 10 == 9 else {}
        for x, y in DataLoader(data, size, shuffle=True, **workers):
            yield x, y, autocast and epoch % 2 == 1


def measured(seconds: float, steps: int, loss: float) -> dict[str, float]:
    gc.collect()
    status = pathlib.Path("/proc/self/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "MiB": int(resident.split()[1]) / 1024,
        "objects": len(gc.get_objects()),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "ms": 1000 * seconds / steps,
        "loss": loss,
    }


def train(name: str, steps: int, path: str) -> list[dict[str, float]]:
    """What is measured at each mark of a training."""
    model, data, (x_val, y_val) = {"mlp": mlp, "gpt": gpt}[name]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    criterion = nn.CrossEntropyLoss()
    every, marks, spent = max(steps // MARKS, 1), [], 0.0
    begin = time.process_time()
    for step, (x, y, cast) in enumerate(
        batches(data, 32 if name == "mlp" else 8, name == "mlp"), 1
    ):
        model.train()
        optimizer.zero_grad()
        where = torch.autocast("cpu", torch.bfloat16) if cast else contextlib.nullcontext()
        with where:
            loss = criterion(model(x), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % every:
            continue
        spent = time.process_time() - begin
        model.eval()
        with torch.no_grad():
            validation = criterion(model(x_val), y_val).item()
        parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        torch.save({key: part.state_dict() for key, part in parts.items()} | {"step": step}, path)
        state = torch.load(path)
        for key, part in parts.items():
            part.load_state_dict(state[key])
        del state
        marks.append(measured(spent, every, validation))
        print(name, step, {key: round(value, 3) for key, value in marks[-1].items()}, flush=True)
        if step >= steps:
            return marks
        begin = time.process_time()
    raise AssertionError("batches end")


def verdict(marks: list[dict[str, float]]) -> dict[str, Any]:
    """The second quarter of the marks against the last."""
    quarter = len(marks) // 4
    early, late = marks[quarter : 2 * quarter], marks[-quarter:]

    def middle(part: list[dict[str, float]], key: str) -> float:
        return statistics.median([mark[key] for mark in part])

    found: dict[str, Any] = {
        key: (round(middle(early, key), 3), round(middle(late, key), 3)) for key in marks[0]
    }
    grown = found["MiB"][1] - found["MiB"][0]
    found["flat"] = (
        grown <= max(2.0, 0.02 * found["MiB"][0])
        and all([found[key][1] <= found[key][0] for key in ("files", "threads")])
        and found["objects"][1] <= 1.01 * found["objects"][0]
        and found["ms"][1] <= 1.2 * found["ms"][0]
    )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Training for a long time.")
    parser.add_argument("--mlp", type=int, default=200_000, help="steps of the MLP")
    parser.add_argument("--gpt", type=int, default=20_000, help="steps of the GPT")
    parser.add_argument("--json", help="a file for the figures")
    args = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
    torch.manual_seed(0)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, steps in (("mlp", args.mlp), ("gpt", args.gpt)):
            if steps:
                marks = train(name, steps, os.path.join(folder, "x.pt"))
                results[name] = {"steps": steps, **verdict(marks)}
    print(json.dumps(results, indent=1))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1))
    return 0 if all([result["flat"] for result in results.values()]) else 1


if __name__ == "__main__":
    sys.exit(main())
