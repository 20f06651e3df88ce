"""Training steps on a GPU, beside torch eager on the same one: `python tests/benchmarks/gpu.py`.

Each measurement is a process of its own; ours and torch's take turns, and medians are compared.
Ratio = torch's time / ours: above 1, we are faster.  A captured graph is compared with torch's
captured graph.  `--device cpu --small` tries the program itself where there is no GPU.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import time

from gpt import gpt

MLP = {"mlp, batch 64": 64, "mlp, batch 4096": 4096}
GPT = {
    "gpt 6x384": dict(vocab=96, block=256, batch=64, layers=6, heads=6, width=384),
    "gpt-2 124M": dict(vocab=50304, block=1024, batch=4, layers=12, heads=12, width=768),
}
SMALL = dict(vocab=20, block=8, batch=2, layers=1, heads=2, width=8)
PRECISIONS = ("tf32", "bf16")
MODES = ("eager", "graph")


def workload(torch, name, device, small):
    """A model, its inputs and targets, and how many tokens (or images) a step reads."""
    torch.manual_seed(0)
    if name in MLP:
        nn, batch = torch.nn, 4 if small else MLP[name]
        model = nn.Sequential(
            nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10))  # fmt: skip
        x, y, count = torch.randn(batch, 784), torch.randint(0, 10, (batch,)), batch
    else:
        sizes = dict(SMALL if small else GPT[name])
        batch = sizes.pop("batch")
        model = gpt(torch, **sizes)
        ids = torch.randint(0, sizes["vocab"], (batch, sizes["block"] + 1))
        x, y, count = ids[:, :-1].clone(), ids[:, 1:].clone(), batch * sizes["block"]
    return model.to(device), x.to(device), y.to(device), count


def make_step(torch, model, x, y, precision, device, captured):
    """Forward, backward, clipping and AdamW."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, weight_decay=0.1, capturable=captured
    )
    lowered = contextlib.nullcontext()
    if precision == "bf16":
        lowered = torch.autocast(device, dtype=torch.bfloat16)

    def step():
        optimizer.zero_grad(set_to_none=not captured)
        with lowered:
            scores = model(x).flatten(0, -2)
            loss = torch.nn.functional.cross_entropy(scores, y.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()

    return step


def capture(torch, step):
    """The step as one launch."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(5):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measure(args):
    """Print one line of JSON: the seconds of each step, the peak of memory, tokens per step."""
    torch = importlib.import_module(args.library)
    torch.set_float32_matmul_precision("high")
    on_gpu = args.device == "cuda"
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    model, x, y, count = workload(torch, args.workload, args.device, args.small)
    captured = args.mode == "graph"
    step = make_step(torch, model, x, y, args.precision, args.device, captured)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    if captured:
        step = capture(torch, step)
    for _ in range(10):
        step()
    wait()
    seconds, end = [], time.perf_counter() + args.seconds
    while time.perf_counter() < end or len(seconds) < 5:
        start = time.perf_counter()
        step()
        wait()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if on_gpu else 0
    print(json.dumps({"seconds": seconds, "peak": peak, "count": count}))


def run(library, name, precision, mode, args):
    """One process's measurement, or the last line of what it said when it failed."""
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), "--library", library,
               "--workload", name, "--precision", precision, "--mode", mode, "--device",
               args.device, "--seconds", str(args.seconds)]  # fmt: skip
    done = subprocess.run(command + ["--small"] * args.small, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def compare(args):
    """The table."""
    libraries = ["tinygrad_edu"]
    if importlib.util.find_spec("torch"):
        libraries.append("torch")
    print(f"{args.rounds} rounds; ratio = torch's time / ours\n")
    print(f"{'workload':18}{'':6}{'':7}{'ours':>10}{'torch':>10}{'ratio':>7}"
          f"{'MB ours':>9}{'MB torch':>10}{'per s ours':>12}{'per s torch':>12}")  # fmt: skip
    results = {}
    for name in [*MLP, *GPT]:
        for precision in PRECISIONS:
            for mode in MODES if args.device == "cuda" else MODES[:1]:
                key = f"{name} {precision} {mode}"
                if args.only in key:
                    results[key] = show(name, precision, mode, libraries, args)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1))


def show(name, precision, mode, libraries, args):
    """Measure one row, print it, and return its numbers."""
    found = {library: [] for library in libraries}
    for _ in range(args.rounds):
        for library in libraries:
            found[library].append(run(library, name, precision, mode, args))
    row = f"{name:18}{precision:6}{mode:7}"
    failures = {lib: m for lib, ms in found.items() for m in ms if isinstance(m, str)}
    for library, failure in failures.items():
        print(f"{row}{library}: {failure}", flush=True)
        del found[library]
    if "tinygrad_edu" in failures:
        return failures
    times = {lib: statistics.median(statistics.median(m["seconds"]) for m in ms)
             for lib, ms in found.items()}  # fmt: skip
    peaks = {library: max(m["peak"] for m in ms) / 1e6 for library, ms in found.items()}
    speeds = {library: ms[0]["count"] / times[library] for library, ms in found.items()}
    ours, theirs = (
        [part.get(library, float("nan")) for part in (times, peaks, speeds)]
        for library in ("tinygrad_edu", "torch")
    )
    print(f"{row}{ours[0] * 1e3:8.2f}ms{theirs[0] * 1e3:8.2f}ms{theirs[0] / ours[0]:7.2f}"
          f"{ours[1]:9.0f}{theirs[1]:10.0f}{ours[2]:12.0f}{theirs[2]:12.0f}",
          flush=True)  # fmt: skip
    return {"seconds": times, "peak MB": peaks, "per second": speeds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--json", help="also write the numbers to this file")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="tiny models, to try the program")
    child = parser.add_argument_group("one measurement (used by the program itself)")
    child.add_argument("--library")
    child.add_argument("--workload", choices=[*MLP, *GPT])
    child.add_argument("--precision", choices=PRECISIONS)
    child.add_argument("--mode", choices=MODES)
    args = parser.parse_args()
    if args.library:
        measure(args)
        return
    if args.device == "cuda":
        import tinygrad_edu

        if not tinygrad_edu.cuda.is_available():
            tinygrad_edu.ones(1, device="cuda")  # says what is missing
    compare(args)


if __name__ == "__main__":
    main()
