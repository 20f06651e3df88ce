"""A GPU beside torch on the same one: `python tests/benchmarks/gpu.py --json gpu.json`.

Training steps (float32, TF32, bfloat16; eager and captured in a graph), then single operations and
attention from 256 to 8192 positions.  Each measurement is a process of its own; the libraries take
turns, and medians are compared.  Ratio = torch's time / ours: above 1, we are faster.

torch is measured twice: as it is, with its fused attention ("torch"), and with attention composed
of products and a softmax ("math").  A captured step is compared with torch's captured step.
`--device cpu --small` tries the program itself where there is no GPU.
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

import gpu_operations
from gpt import gpt
from gpu_timing import seconds_of

MLP = {"mlp, batch 64": 64, "mlp, batch 4096": 4096}
GPT = {
    "gpt 6x384": dict(vocab=96, block=256, batch=64, layers=6, heads=6, width=384),
    "gpt-2 124M": dict(vocab=50304, block=1024, batch=4, layers=12, heads=12, width=768),
}
SMALL = dict(vocab=20, block=8, batch=2, layers=1, heads=2, width=8)
PRECISIONS = ("f32", "tf32", "bf16")
MODES = ("eager", "graph")
LIBRARIES = ("tinygrad_edu", "torch", "math")
NAN = float("nan")


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


def library(name):
    """The module, and a context in which its attention is of the kind asked for."""
    if name != "math":
        return importlib.import_module(name), contextlib.nullcontext()
    torch = importlib.import_module("torch")
    attention = importlib.import_module("torch.nn.attention")
    return torch, attention.sdpa_kernel(attention.SDPBackend.MATH)


def measure(args):
    """Print one line of JSON: a step's seconds, peak of memory and tokens; or the operations."""
    torch, context = library(args.library)
    with context:
        found = measure_step(torch, args) if args.workload else gpu_operations.measure(
            torch, args.device, args.seconds / 8, args.small)  # fmt: skip
    print(json.dumps(found))


def measure_step(torch, args):
    torch.set_float32_matmul_precision("highest" if args.precision == "f32" else "high")
    on_gpu, captured = args.device == "cuda", args.mode == "graph"
    model, x, y, count = workload(torch, args.workload, args.device, args.small)
    step = make_step(torch, model, x, y, args.precision, args.device, captured)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    if captured:
        step = capture(torch, step)
    seconds = seconds_of(torch, step, args.device, args.seconds)
    peak = torch.cuda.max_memory_allocated() if on_gpu else 0
    return {"seconds": seconds, "peak": peak, "count": count}


def run(which, args, **more):
    """One process's measurement, or the last line of what it said when it failed."""
    given = {"library": which, "device": args.device, "seconds": args.seconds, **more}
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), "--child"]
    command += [f"--{name}={value}" for name, value in given.items()] + ["--small"] * args.small
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.limit)
    except subprocess.TimeoutExpired:
        return f"no answer in {args.limit:.0f} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def in_turn(args, **more):
    """For each library its measurements, or why there are none."""
    found = {name: [] for name in args.libraries}
    for _ in range(args.rounds):
        for name in args.libraries:
            if not isinstance(found[name], str):
                got = run(name, args, **more)
                found[name] = got if isinstance(got, str) else [*found[name], got]
    return found


def compare(args):
    """The tables; the JSON is written anew after each row."""
    results = {}

    def keep(name, row):
        results[name] = row
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(results, indent=1))

    print(f"{args.rounds} rounds, ms; ratio = torch's time / ours; per s: our tokens or images\n")
    print(f"{'':34}{'ours':>9}{'torch':>9}{'math':>9}{'ratio':>7}{'math':>7}"
          f"{'MB ours':>9}{'MB torch':>9}{'per s':>10}")  # fmt: skip
    for name in [*MLP, *GPT]:
        for precision in PRECISIONS:
            for mode in MODES if args.device == "cuda" else MODES[:1]:
                key = f"{name} {precision} {mode}"
                if args.only in key:
                    found = in_turn(args, workload=name, precision=precision, mode=mode)
                    keep(key, show(key, {k: of_steps(v) for k, v in found.items()}))
    if args.only and not any(word in args.only for word in ("op", "attention")):
        return
    found = in_turn(args)
    for failed in [name for name, got in found.items() if isinstance(got, str)]:
        print(f"operations: {failed}: {found.pop(failed)}")
    for name in dict.fromkeys(key for rounds in found.values() for key in rounds[0]):
        row = {k: of_operations([r[name] for r in v if name in r]) for k, v in found.items()}
        keep(name, show(name, row))


def of_steps(rounds):
    """Milliseconds, MB and tokens a second of a library's rounds; a string says what went wrong."""
    if isinstance(rounds, str):
        return rounds
    seconds = statistics.median([statistics.median(r["seconds"]) for r in rounds])
    peak = max([r["peak"] for r in rounds]) / 1e6
    return {"ms": seconds * 1e3, "peak MB": peak, "per s": rounds[0]["count"] / seconds}


def of_operations(rounds):
    failures = [r for r in rounds if isinstance(r, str)]
    if failures or not rounds:
        return (failures or ["not measured"])[0]
    return {key: statistics.median([r[key] for r in rounds]) for key in rounds[0]}


def show(name, row):
    """Print a row of the table and return it."""

    def number(which, key):
        found = row.get(which)
        return found.get(key, NAN) if isinstance(found, dict) else NAN

    ours, torch, math = (number(which, "ms") for which in LIBRARIES)
    peaks = [number(which, "peak MB") for which in LIBRARIES[:2]]
    print(f"{name:34}{ours:9.3f}{torch:9.3f}{math:9.3f}{torch / ours:7.2f}{math / ours:7.2f}"
          f"{peaks[0]:9.0f}{peaks[1]:9.0f}{number(LIBRARIES[0], 'per s'):10.0f}",
          flush=True)  # fmt: skip
    for which, found in row.items():
        if isinstance(found, str):
            print(f"    {which}: {found}")
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one process")
    parser.add_argument("--only", default="", help="steps whose name contains this, or operations")
    parser.add_argument("--json", help="also write the numbers to this file")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="tiny models, to try the program")
    child = parser.add_argument_group("one measurement (used by the program itself)")
    child.add_argument("--child", action="store_true")
    child.add_argument("--library", choices=LIBRARIES)
    child.add_argument("--workload", choices=[*MLP, *GPT])
    child.add_argument("--precision", choices=PRECISIONS)
    child.add_argument("--mode", choices=MODES)
    args = parser.parse_args()
    if args.child:
        measure(args)
        return
    has_torch = importlib.util.find_spec("torch") is not None
    args.libraries = LIBRARIES if has_torch else LIBRARIES[:1]
    if args.device == "cuda":
        import tinygrad_edu

        if not tinygrad_edu.cuda.is_available():
            tinygrad_edu.ones(1, device="cuda")  # says what is missing
    compare(args)


if __name__ == "__main__":
    main()
