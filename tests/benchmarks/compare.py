"""How long each workload takes, as a ratio to torch: `python tests/benchmarks/compare.py`.

Each library runs in a process of its own (two BLAS pools in one process slow each other), and they
take turns, so that a slow spell of the machine hits all.  A ratio is the other library's time by
ours, of medians: above 1, we are faster.  Peak memory is that of the whole process.  What is not
installed is left out; `pip install '.[bench]'` installs JAX, MyGrad and HIPS autograd.  `limit` is
the same step written by hand in NumPy (limit.py): what the engine could reach on this machine;
`compiled` is our step under `torch.compile`, and the last column the limit's time by its.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

from workloads import OTHERS, STEPS, WORKLOADS

HERE = pathlib.Path(__file__).resolve().parent
LIBRARIES = ("tinygrad_edu", "torch", "compiled", "limit", "jax", "mygrad", "autograd")
BY_STEP = ("compiled", "limit", "jax")
AVX2 = {  # what a processor without AVX-512 would do, as far as each library can be told
    "NPY_DISABLE_CPU_FEATURES": (  # NumPy 2.4 knows the first, older ones the last
        "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL"
    ),
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}


def run(library, workload, threads, seconds):
    """The times of one process, in seconds, and its peak memory in MB."""
    command = [sys.executable, str(HERE / "workloads.py"), library, workload,
               "--threads", str(threads), "--seconds", str(seconds)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{library}, {workload}: {done.stderr}")
    return json.loads(done.stdout)


def import_time(library):
    """Seconds that Python takes to start and import it, compiled before."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {library}"], check=True, env=environment)
    return time.perf_counter() - start


def summary(runs):
    """Of several processes: the median of medians, of 10th percentiles, and of peaks."""
    return {
        "median": statistics.median(statistics.median(r["times"]) for r in runs),
        "p10": statistics.median(statistics.quantiles(r["times"], n=10)[0] for r in runs),
        "peak": statistics.median(r["peak"] for r in runs),
    }


def measure(workload, threads, args, libraries):
    """A `summary` for each library that can run the workload."""
    able = [
        lib for lib in libraries
        if lib in LIBRARIES[:2] or workload in (STEPS if lib in BY_STEP else OTHERS)
    ]  # fmt: skip
    runs = {library: [] for library in able}
    for _ in range(args.rounds):
        for library in able:
            runs[library].append(run(library, workload, threads, args.seconds))
    return {library: summary(found) for library, found in runs.items()}


def line(workload, found, libraries):
    ours = found["tinygrad_edu"]
    text = f"{workload:27}{ours['median'] * 1e3:10.3f}{ours['p10'] * 1e3:10.3f}"
    for library in libraries[1:]:
        theirs = found.get(library)
        text += f"{theirs['median'] / ours['median']:11.2f}" if theirs else f"{'':11}"
    text += f"{ours['peak']:9.0f}"
    text += f"{found['torch']['peak']:9.0f}" if "torch" in found else f"{'':9}"
    if "limit" in found and "compiled" in found:
        text += f"{found['limit']['median'] / found['compiled']['median']:15.2f}"
    return text


def imports(libraries, rounds):
    """The table of import times, each minus that of Python alone."""
    names = ["sys", "numpy", *libraries]
    times = {name: [] for name in names}
    for _ in range(rounds + 1):  # the first fills the caches
        for name in names:
            times[name].append(import_time(name))
    found = {name: statistics.median(t[1:]) for name, t in times.items()}
    numpy = found["numpy"] - found["sys"]
    print("\nimport            ms   ratio to NumPy")
    for name in names[1:]:
        own = found[name] - found["sys"]
        print(f"{name:14}{own * 1e3:6.0f}{own / numpy:10.2f}")
    return {name: found[name] - found["sys"] for name in names[1:]}


def machine():
    """The processor, the interpreter, the vector instructions NumPy finds, the BLAS's kernels."""
    code = (
        "import numpy as np; m = np._core._multiarray_umath;"
        "known = [*m.__cpu_baseline__, *m.__cpu_dispatch__];"
        "print('NumPy', np.__version__, 'uses', *[n for n in known if m.__cpu_features__[n]]);"
        "from threadpoolctl import threadpool_info as i;"
        "print(*[(p['internal_api'], p['version'], p['architecture']) for p in i()])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    known = pathlib.Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    processor = f"{os.cpu_count()} x {names[0] if names else platform.machine()}"
    return f"{processor}\nPython {' '.join(sys.version.split())}\n{said}".strip()


def draw(results, path):
    """Bars of torch's time / ours, one colour for each number of threads."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    first = next(iter(results.values()))
    names = [name for name, found in first.items() if "torch" in found][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(names) + 1.2), layout="constrained")
    height = 0.8 / len(results)
    for i, (threads, found) in enumerate(results.items()):
        ratios = [found[n]["torch"]["median"] / found[n]["tinygrad_edu"]["median"] for n in names]
        places = [k + 0.4 - height * (i + 0.5) for k in range(len(names))]
        label = f"{threads} thread" + "s" * (threads != "1")
        axes.barh(places, [r - 1 for r in ratios], height, left=1, label=label)
        for ratio, place in zip(ratios, places, strict=True):
            side, shift = ("left", 3) if ratio > 1 else ("right", -3)
            axes.annotate(f"{ratio:.2f}", (ratio, place), (shift, 0), textcoords="offset points",
                          ha=side, va="center", fontsize=8)  # fmt: skip
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(0.1, 20)
    axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("PyTorch's time / ours (right of the line, tinygrad-edu is faster)")
    axes.margins(y=0.01)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[2], help="for example: 1 2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per workload and process")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--no-imports", action="store_true", help="leave the import times out")
    parser.add_argument("--json", help="also write all figures to this file")
    parser.add_argument("--picture", help="also draw the ratios into this file")
    parser.add_argument("--avx2", action="store_true", help="as a processor without AVX-512")
    parser.add_argument("--libraries", nargs="+", default=LIBRARIES, choices=LIBRARIES)
    args = parser.parse_args()
    if args.avx2:
        os.environ.update(AVX2)
    print(machine())

    libraries = [
        lib for lib in args.libraries if lib == "compiled" or importlib.util.find_spec(lib)
    ]
    results = {}
    for threads in args.threads:
        found = results[str(threads)] = {}
        print(f"\n{threads} thread(s), {args.rounds} rounds; under a library: its time / ours\n")
        heads = [f"{library:>11}" for library in libraries[1:]]
        print(
            f"{'workload':27}{'ms':>10}{'p10 ms':>10}{''.join(heads)}{'MB':>9}{'torch':>9}"
            f"{'limit/compiled' if 'compiled' in libraries else '':>15}"
        )
        for workload in WORKLOADS:
            if args.only in workload:
                found[workload] = measure(workload, threads, args, libraries)
                print(line(workload, found[workload], libraries), flush=True)
    everything = {"steps": results}
    if not args.no_imports:
        everything["import"] = imports(libraries, args.rounds)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(everything, indent=1))
    if args.picture:
        draw(results, args.picture)


if __name__ == "__main__":
    main()
