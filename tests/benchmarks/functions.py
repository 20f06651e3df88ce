"""Error and time of elementwise float32 functions: `python tests/benchmarks/functions.py`.

For each function the largest error in units of the last place, and nanoseconds per element on
64K elements, ours, NumPy's and torch's, on one thread.
"""

import time

import numpy as np
import torch

import tinygrad_edu as ours

FUNCTIONS = (
    "exp expm1 log log1p sin cos tan sinh cosh tanh atan erf sigmoid softplus elu gelu".split()
)
NAMES = {"atan": "arctan"}


def function(lib, name):
    return getattr(lib, name, None) or getattr(lib.nn.functional, name)


def error(y, exact):
    """In units of the last place, where the result is an ordinary number."""
    rounded = exact.astype(np.float32)
    known = np.isfinite(rounded) & (np.abs(exact) > 1e-30)
    return (np.abs(y.astype(np.float64) - exact) / np.spacing(np.abs(rounded)))[known].max()


def nanoseconds(call, size, rounds=30):
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best / size * 1e9


@np.errstate(all="ignore")
def main():
    torch.set_num_threads(1)
    ours.set_num_threads(1)
    vector = [name for name, has in np._core._multiarray_umath.__cpu_features__.items() if has]
    print("vector instructions known to NumPy:", *vector[-4:])
    print(f"{'':10}{'units of the last place':>28}{'ns per element':>28}")
    print(" " * 10 + f"{'ours':>12}{'NumPy':>8}{'torch':>8}" * 2)
    spread = np.concatenate([np.geomspace(1e-20, 80, 50_001), -np.geomspace(1e-20, 5, 50_001)])
    sample = np.random.default_rng(0).normal(size=1 << 16).astype(np.float32)
    for name in FUNCTIONS:
        x = (np.abs(spread) if name == "log" else spread).astype(np.float32)
        exact = function(torch, name)(torch.from_numpy(x).double()).numpy()
        z = np.abs(sample) if name in ("log", "log1p") else sample
        libraries = [(function(lib, name), lib.from_numpy) for lib in (ours, torch)]
        errors = [error(call(make(x)).numpy(), exact) for call, make in libraries]
        times = []
        for call, make in libraries:
            t = make(z)
            times.append(nanoseconds(lambda call=call, t=t: call(t), z.size))
        ufunc = getattr(np, NAMES.get(name, name), None)
        if ufunc is not None:
            errors.insert(1, error(ufunc(x), exact))
            times.insert(1, nanoseconds(lambda ufunc=ufunc, z=z: ufunc(z), z.size))
        else:
            errors.insert(1, float("nan"))
            times.insert(1, float("nan"))
        print(
            f"{name:10}{errors[0]:12.2f}{errors[1]:8.2f}{errors[2]:8.2f}"
            f"{times[0]:12.2f}{times[1]:8.2f}{times[2]:8.2f}"
        )


if __name__ == "__main__":
    main()
