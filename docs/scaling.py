"""The figures and plots of docs/scaling.md: a step's time on many machines, modelled and measured.

    python docs/scaling.py measure    with 1 to 4 ranks, on this machine and, as root on Linux, in
                                      network namespaces of limited bandwidth; some minutes
    python docs/scaling.py delay      the same where each message is held back by what a slow link
                                      would take, so any machine will do; two minutes
    python docs/scaling.py simulate   local SGD on the digits, eight workers in one process
    python docs/scaling.py draw       the curves, from the model and from what the two have written

They write scaling.json and scaling_*.png beside this file.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
STORE = HERE / "scaling.json"
SIZES = [4, 4_096, 65_536, 1_048_576, 4_194_304]  # bytes

# ---- the model


@dataclass(frozen=True)
class Link:
    """What lies between two workers: seconds until a message begins to arrive, bytes a second."""

    latency: float
    bandwidth: float
    name: str = ""

    def ring(self, size: float, n: int) -> float:
        """Seconds of an all-reduce of `size` bytes: 2(n - 1) steps, each of size / n bytes."""
        return 0.0 if n == 1 else 2 * (n - 1) * (self.latency + size / n / self.bandwidth)

    def tree(self, size: float, n: int) -> float:
        """The same up and down a binary tree: few steps, but each carries everything."""
        depth = int(np.ceil(np.log2(n)))
        return 2 * depth * (self.latency + size / self.bandwidth)

    def all_reduce(self, size: float, n: int) -> float:
        """By whichever is faster."""
        return min(self.ring(size, n), self.tree(size, n))


@dataclass(frozen=True)
class Training:
    """The work of an optimizer step, and what the workers then have to say to each other.

    Attributes:
        compute: seconds of one worker for the whole batch; n workers share it.
        size: bytes of the gradients in float32.
        batches: how many times larger the batch is made (gradient accumulation).
        squeeze: how many times smaller the buckets are sent (2: in 16 bits).
        local: optimizer steps between two averages of the weights (local SGD); 1: of gradients.
        overlap: the share of the backward pass, two thirds of the computing, that hides what is
            said meanwhile.
    """

    compute: float
    size: float
    batches: int = 1
    squeeze: float = 1.0
    local: int = 1
    overlap: float = 0.0

    def step(self, link: Link, n: int) -> float:
        """Seconds of an optimizer step of n workers."""
        own = self.batches * self.compute / n
        talk = link.all_reduce(self.size / self.squeeze, n) / self.local
        hidden = self.overlap * own / self.batches * 2 / 3 if self.local == 1 else 0.0
        return own + max(0.0, talk - hidden)

    def efficiency(self, link: Link, n: int) -> float:
        """Which share of the time is spent computing."""
        return self.batches * self.compute / n / self.step(link, n)


# ---- measuring: what each rank does


def perceptron(width: int) -> Any:
    import tinygrad_edu as torch

    torch.manual_seed(0)
    layers = [torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, width)]
    return torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Linear(width, 10))


def rank_main(path: str, most: str, *delays: str) -> None:
    """Time all-reduces, and steps of data parallel training; rank 0 writes them.

    Args:
        most: how often each is timed at most; the first time does not count.
        delays: seconds until a message begins to arrive, and bytes a second; MPI's own without.
    """
    import tinygrad_edu as torch
    from tinygrad_edu import distributed as dist

    dist.init_process_group()
    n, rank = dist.get_world_size(), dist.get_rank()
    slow = Link(*map(float, delays)) if delays else None
    found: dict[str, Any] = {"ranks": n, "all_reduce": {}, "steps": []}
    for size in SIZES:
        x = torch.zeros(size // 4)
        times = []
        for _ in range(min(int(most), 4 if slow else 300 if size < 1_000_000 else 40)):
            dist.barrier()
            start = time.perf_counter()
            ring(x, slow) if slow else dist.all_reduce(x)
            times.append(time.perf_counter() - start)
        found["all_reduce"][size] = min(times[1:])
    for width, batch in ((256, 64), (512, 256), (1024, 256)):
        found["steps"].append(time_steps(width, batch, min(int(most), 4 if slow else 25), slow))
    if rank == 0:
        pathlib.Path(path).write_text(json.dumps(found))


def ring(x: Any, link: Link) -> None:
    """The all-reduce of which the formula speaks, each message held back as the link would.

    n parts go round twice: each rank adds its own to what comes, then sums replace parts.
    """
    import tinygrad_edu as torch
    from tinygrad_edu import distributed as dist

    n, rank = dist.get_world_size(), dist.get_rank()
    parts = list(x.tensor_split(n))
    for step in range(2 * (n - 1)):
        given, taken = parts[(rank - step) % n], parts[(rank - step - 1) % n]
        came = torch.empty_like(taken)
        time.sleep(link.latency + given.nbytes / link.bandwidth)
        ways = [(dist.isend, given, (rank + 1) % n), (dist.irecv, came, (rank - 1) % n)]
        for work in dist.batch_isend_irecv([dist.P2POp(*way) for way in ways]):
            work.wait()
        taken.copy_(taken + came if step < n - 1 else came)


def time_steps(width: int, batch: int, times: int, slow: Link | None) -> dict[str, float]:
    """Seconds of a step of all ranks together, and of its computation alone."""
    import tinygrad_edu as torch

    n, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    model = perceptron(width)
    ddp = torch.nn.parallel.DistributedDataParallel(model)
    size = sum(p.nbytes for p in model.parameters())
    gradients = torch.zeros(size // 4)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.01)
    x, y = torch.randn(batch, 64), torch.randint(0, 10, (batch,))
    x, y = x[rank::n], y[rank::n]
    whole, alone = [], []
    for i in range(times):
        for found, module in ((whole, model if slow else ddp), (alone, model)):
            torch.distributed.barrier()
            start = time.perf_counter()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(x), y).backward()
            if slow and found is whole:
                ring(gradients, slow)
            optimizer.step()
            if i:
                found.append(time.perf_counter() - start)
    return {"width": width, "batch": batch, "bytes": size, "step": min(whole), "alone": min(alone)}


# ---- measuring: the processes, each in a network of its own


@contextlib.contextmanager
def networks(count: int, megabits: int) -> Iterator[None]:
    """Network namespaces tg0, tg1, ... joined by a bridge, each limited in what it may send."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("link", "add", "tgbr0", "type", "bridge")
    try:
        ip("link", "set", "tgbr0", "up")
        for r in range(count):
            ip("netns", "add", f"tg{r}")
            ip("link", "add", f"tgv{r}", "type", "veth", "peer", "name", "eth0", "netns", f"tg{r}")
            ip("link", "set", f"tgv{r}", "master", "tgbr0")
            ip("link", "set", f"tgv{r}", "up")
            ip("-n", f"tg{r}", "addr", "add", f"10.77.0.{r + 1}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                ip("-n", f"tg{r}", "link", "set", device, "up")
            limit = ["rate", f"{megabits}mbit", "burst", "64kb", "latency", "200ms"]
            tc = ["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *limit]
            subprocess.run(["ip", "netns", "exec", f"tg{r}", *tc], check=True)
        yield
    finally:
        for r in range(count):
            subprocess.run(["ip", "netns", "del", f"tg{r}"], check=False)
        ip("link", "del", "tgbr0")


def job(count: int, apart: bool, *delays: float, most: int = 300) -> dict[str, Any]:
    """What `count` ranks measure; `apart`: each in its own namespace, over TCP."""
    program = shutil.which("mpiexec.gforker", path=sysconfig.get_path("scripts"))
    assert program is not None, "pip install 'tinygrad-edu[mpi]'"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "UCX_NET_DEVICES": "lo"}
    environment["PYTHONPATH"] = str(HERE.parent)
    folder = tempfile.TemporaryDirectory()
    path = os.path.join(folder.name, "found.json")
    command = [sys.executable, __file__, "rank", path, str(most), *map(str, delays)]
    if apart:
        environment |= {"UCX_NET_DEVICES": "eth0", "UCX_TLS": "tcp,self", "MPIR_CVAR_NOLOCAL": "1"}
        command = ["sh", "-c", 'exec ip netns exec tg$PMI_RANK "$@"', "sh", *command]
    with folder:
        start = [program, "-n", str(count), *command]
        subprocess.run(start, env=environment, check=True, timeout=300)
        found: dict[str, Any] = json.loads(pathlib.Path(path).read_text())
    return found


def measure() -> None:
    found = []
    for count in (1, 2, 3, 4):
        found.append({"link": "memory", **job(count, False)})
        save("measured", found)
    for megabits in (1000, 100) if hasattr(os, "geteuid") and os.geteuid() == 0 else ():
        for count in (2, 3, 4):
            with networks(count, megabits):
                found.append({"link": f"{megabits} Mbit/s", **job(count, True)})
            save("measured", found)


def delay() -> None:
    """As `measure`, with links that are slower than any machine is busy."""
    stored = json.loads(STORE.read_text())["measured"]
    found = [m for m in stored if not m["link"].startswith("held back")]
    for milliseconds, megabits in ((5, 100), (30, 20)):
        name = f"held back: {megabits} Mbit/s, {milliseconds} ms"
        for count in (2, 3, 4):
            slow = milliseconds / 1e3, megabits / 8 * 1e6
            found.append({"link": name, **job(count, False, *slow)})
            save("measured", found)


def save(name: str, value: Any) -> None:
    stored = json.loads(STORE.read_text()) if STORE.exists() else {}
    stored[name] = value
    STORE.write_text(json.dumps(stored, indent=1) + "\n")


def fitted(measured: list[dict[str, Any]], name: str) -> Link:
    """Latency and bandwidth of the ring's formula that fit what was measured with two ranks."""
    two = next(m for m in measured if m["link"] == name and m["ranks"] == 2)["all_reduce"]
    latency = two["4"] / 2
    bandwidth = SIZES[-1] / (two[str(SIZES[-1])] - 2 * latency)
    return Link(latency, bandwidth, name)


# ---- simulating local SGD


def simulate() -> None:
    """Eight workers on the digits: loss against bytes, for several numbers of local steps."""
    found = {}
    for local in (1, 4, 16, 64):
        found[local] = local_sgd(local, workers=8, steps=320)
        print(local, found[local][-1], flush=True)
    save("local", found)


def local_sgd(local: int, workers: int, steps: int) -> list[tuple[int, int, float]]:
    """Steps, bytes that a worker has sent, and the test loss of the averaged weights.

    Each worker has its own eighth of the samples and AdamW; every `local` steps the weights are
    averaged, and the average moved on with Nesterov's momentum, as DiLoCo does.  `local` 1 is plain
    data parallel training: the gradients are averaged.
    Source: Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models",
    2023.
    """
    import tinygrad_edu as torch

    sys.path.insert(0, str(HERE.parent / "examples"))
    import datasets

    (x, y), (xt, yt) = datasets.load_digits()
    x, y, xt, yt = (torch.from_numpy(a) for a in (x, y, xt, yt))
    shared = perceptron(64)
    models = [perceptron(64) for _ in range(workers)]
    optimizers = [torch.optim.AdamW(m.parameters(), lr=2e-3) for m in models]
    outer = torch.optim.SGD(shared.parameters(), lr=0.7, momentum=0.6, nesterov=True)
    criterion, rng = torch.nn.functional.cross_entropy, np.random.default_rng(0)
    size, sent, history = sum(p.nbytes for p in shared.parameters()), 0, []
    for step in range(1, steps + 1):
        for k, model in enumerate(models):
            picked = k + workers * rng.integers(0, len(x) // workers, 16)
            optimizers[k].zero_grad()
            criterion(model(x[picked]), y[picked]).backward()
        columns = [*zip(*[m.parameters() for m in models], strict=True)]
        if local == 1:
            for column in columns:
                mean = torch.stack([p.grad for p in column]).mean(0)
                for p in column:
                    p.grad = mean.clone()
        for optimizer in optimizers:
            optimizer.step()
        if step % local == 0:
            sent += 2 * size  # a ring sends about twice the weights
            with torch.no_grad():
                for p, column in zip(shared.parameters(), columns, strict=True):
                    mean = torch.stack([*column]).mean(0)
                    if local == 1:
                        p.copy_(mean)
                    p.grad = p - mean
                if local > 1:
                    outer.step()
                    for p, column in zip(shared.parameters(), columns, strict=True):
                        for q in column:
                            q.copy_(p)
        if step % 32 == 0 or step in (1, 4, 16, 64):
            with torch.no_grad():
                history.append((step, sent, criterion(shared(xt), yt).item()))
    return history


# ---- the curves

DATACENTRE = Link(5e-6, 12.5e9, "datacentre: 100 Gbit/s, 5 us; 7 billion parameters")
HOME = Link(30e-3, 2.5e6, "home: 20 Mbit/s up, 30 ms; 124 million parameters")
# 6 x parameters x tokens operations: 4 million tokens at 200 teraflops, half a million at 10.
LARGE = Training(6 * 7e9 * 4e6 / 2e14, 7e9 * 4, overlap=1.0)
SMALL = Training(6 * 124e6 * 5e5 / 1e13, 124e6 * 4, overlap=1.0)


def ways(plain: Training) -> dict[str, Training]:
    """What can be done about it."""
    return {
        "plain": plain,
        "16-bit buckets": replace(plain, squeeze=2),
        "16 times the batch": replace(plain, batches=16),
        "both": replace(plain, batches=16, squeeze=2),
        "local SGD, 50 steps, 16 bits": replace(plain, local=50, squeeze=2),
        "local SGD, 500 steps, 16 bits": replace(plain, local=500, squeeze=2),
    }


CASES = ((DATACENTRE, ways(LARGE)), (HOME, ways(SMALL)))
WORKERS = [2**k for k in range(3, 13)]


def draw() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    stored = json.loads(STORE.read_text())
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
    for axis, (link, choices) in zip(axes, CASES, strict=True):
        for name, way in choices.items():
            axis.plot(WORKERS, [100 * way.efficiency(link, n) for n in WORKERS], ".-", label=name)
        axis.set_xscale("log", base=2)
        axis.set_title(link.name, fontsize=8)
        axis.set_xlabel("workers")
        axis.set_ylim(-3, 103)
    axes[0].set_ylabel("time spent computing, %")
    axes[1].legend(fontsize=7, loc="upper right")
    finish(figure, "scaling_curves.png")

    figure, axis = plt.subplots(figsize=(6, 4))
    for k, name in enumerate(dict.fromkeys(m["link"] for m in stored["measured"])):
        rows = [m for m in stored["measured"] if m["link"] == name and m["ranks"] > 1]
        link = fitted(stored["measured"], name)
        for row in rows:
            found = [row["all_reduce"][str(s)] * 1e3 for s in SIZES]
            axis.plot(SIZES, found, "osv"[row["ranks"] - 2], color=f"C{k}", ms=4, mfc="none")
            style = {2: "-", 3: "--", 4: ":"}[row["ranks"]]
            modelled = [link.ring(s, row["ranks"]) * 1e3 for s in SIZES]
            label = name if row["ranks"] == 2 else None
            axis.plot(SIZES, modelled, style, color=f"C{k}", lw=1, label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("bytes")
    axis.set_ylim(top=2e5)  # room for the legend
    axis.set_ylabel("all_reduce, ms")
    axis.set_title("lines: model; circles, squares, triangles: 2, 3, 4 ranks", fontsize=8)
    axis.legend(fontsize=7, loc="upper left")
    finish(figure, "scaling_measured.png")

    figure, axis = plt.subplots(figsize=(5, 3.2))
    for local, history in stored["local"].items():
        found = [(bytes_sent / 1e6, loss) for _, bytes_sent, loss in history if bytes_sent]
        name = "gradients averaged" if local == "1" else f"weights, every {local} steps"
        axis.plot(*zip(*found, strict=True), ".-", label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("megabytes sent by a worker")
    axis.set_ylabel("test loss of the average")
    axis.legend(fontsize=7)
    finish(figure, "scaling_local_sgd.png")
    tables(stored)


def finish(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(HERE / name, dpi=80)


def tables(stored: dict[str, Any]) -> None:
    """What docs/scaling.md shows."""
    print("| link | latency | bandwidth | ranks | 4 MB measured | ring's formula |")
    for row in stored["measured"]:
        if row["ranks"] > 1:
            link = fitted(stored["measured"], row["link"])
            there, formula = row["all_reduce"][str(SIZES[-1])], link.ring(SIZES[-1], row["ranks"])
            print(
                f"| {row['link']} | {link.latency * 1e6:.0f} us | {link.bandwidth / 1e6:,.0f} MB/s"
                f" | {row['ranks']} | {there * 1e3:.1f} ms | {formula * 1e3:.1f} ms |"
            )
    print(
        "| link | width, batch | ranks | step measured | computing | all-reduce, modelled | sum |"
    )
    for row in stored["measured"]:
        link = None if row["ranks"] == 1 else fitted(stored["measured"], row["link"])
        for s in row["steps"]:
            talk = 0.0 if link is None else link.ring(s["bytes"], row["ranks"])
            print(
                f"| {row['link']} | {s['width']}, {s['batch']} | {row['ranks']}"
                f" | {s['step'] * 1e3:.1f} ms | {s['alone'] * 1e3:.1f} ms | {talk * 1e3:.1f} ms"
                f" | {(s['alone'] + talk) * 1e3:.1f} ms |"
            )
    for link, choices in CASES:
        for name, way in choices.items():
            shares = [f"{100 * way.efficiency(link, n):.1f}" for n in (8, 64, 512, 4096)]
            print(f"| {link.name.partition(':')[0]} | {name} | " + " | ".join(shares) + " |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["rank"]:
        rank_main(*sys.argv[2:])
    else:
        for word in sys.argv[1:] or ["draw"]:
            {"measure": measure, "delay": delay, "simulate": simulate, "draw": draw}[word]()
