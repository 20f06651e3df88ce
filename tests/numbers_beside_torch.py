"""Public functions beside torch's on inputs at the edges; makes docs/numbers.md.

python tests/numbers_beside_torch.py [--write] [FUNCTION ...]

Every function is called with infinities, NaN, denormal numbers, the limits of the integers, empty,
0-d, strided, transposed and expanded tensors of all types.  A call is equal to torch's if type,
shape and values are: integers and special values exactly, other numbers to rounding (`TOLERANCE`).
Whatever differs must be in `DIFFERENCES`, with its reason; the exit status is 1 if anything is not.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

import tinygrad_edu as ours

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "numbers.md"

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
DTYPES = (*FLOATS, *INTEGERS, "bool")

TOLERANCE = {"float64": 1e-12, "float32": 4e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
"""Relative; functions are computed by other libraries than torch's."""

UNARY = """
abs absolute neg negative positive sign signbit sgn square sqrt rsqrt reciprocal exp exp2 expm1 log
log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh sinc ceil floor trunc
fix round frac sigmoid logit erf erfc erfinv lgamma digamma isnan isinf isfinite isposinf isneginf
isreal logical_not bitwise_not deg2rad rad2deg nan_to_num relu clone detach ravel flatten flip0
cumsum0 cumprod0 cummax0 cummin0 logcumsumexp0 diff sort argsort unique nonzero count_nonzero
sum prod mean std var amax amin max min argmax argmin all any logsumexp0 norm median nansum nanmean
nanmedian sum0 prod0 mean0 max0 min0 argmax0 argmin0 all0 any0 topk2 tril triu diag roll1
""".split()

BINARY = """
add sub mul div true_divide floor_divide remainder fmod pow atan2 maximum minimum fmax fmin hypot
copysign nextafter logaddexp logaddexp2 xlogy heaviside eq ne lt le gt ge equal isclose allclose
logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_left_shift
bitwise_right_shift ldexp gcd lcm float_power dist outer where_positive
""".split()

FUNCTIONAL = """
relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign softshrink hardshrink
tanhshrink hardtanh hardsigmoid hardswish logsigmoid threshold softmax0 log_softmax0 softmin0
normalize0 mse_loss l1_loss smooth_l1_loss huber_loss kl_div binary_cross_entropy_with_logits
""".split()

SPECIAL: dict[str, Callable[..., Any]] = {
    "where_positive": lambda lib, x, y: lib.where(x > 0, x, y),
    "flip0": lambda lib, x: lib.flip(x, (0,)),
    "topk2": lambda lib, x: lib.topk(x, 2, 0)[0],
    "roll1": lambda lib, x: lib.roll(x, 1),
    "diag": lambda lib, x: lib.diag(x.reshape(-1)),
    "tril": lambda lib, x: lib.tril(lib.atleast_2d(x)),
    "triu": lambda lib, x: lib.triu(lib.atleast_2d(x)),
    "sort": lambda lib, x: lib.sort(x, stable=True)[0],
    "argsort": lambda lib, x: lib.argsort(x, stable=True),
    "nonzero": lambda lib, x: lib.nonzero(x),
    "median": lambda lib, x: lib.median(x),
    "norm": lambda lib, x: lib.linalg.vector_norm(x),
}


FATAL = ("floor_divide", "remainder", "fmod", "gcd", "lcm")


def spared(name: str, lib: Any, x: Any, y: Any) -> Any:
    """Second operands without those with which torch ends the process.

    The smallest integer // -1 is one, and lcm of the smallest integer divides it by -1 or 0.
    """
    if x.dtype.is_floating_point or x.dtype == lib.bool or x.dtype == lib.uint8:
        return y
    smallest = torch.iinfo(getattr(torch, str(x.dtype).removeprefix("torch."))).min
    if name == "lcm":
        return lib.where(x == smallest, lib.zeros_like(y), y)
    return lib.where((x == smallest) & (y == -1), lib.ones_like(y), y)


class Call(NamedTuple):
    """A function, and how it is called in either library."""

    name: str
    arguments: int
    run: Callable[..., Any]


def of(name: str, *further: Any, **options: Any) -> Callable[..., Any]:
    """The call of a function, named by its path, of whichever library."""

    def run(lib: Any, *tensors: Any) -> Any:
        if name in FATAL:
            tensors = (tensors[0], spared(name, lib, *tensors))
        function = lib
        for part in name.split("."):
            function = getattr(function, part)
        return function(*tensors, *further, **options)

    return run


def calls() -> list[Call]:
    """All of them; a 0 behind a name stands for the dimension."""
    found = []
    for name in UNARY:
        plain = name if name in ("exp2", "log2", "log10") else name.rstrip("012")
        further = (0,) if name.endswith("0") and name != plain else ()
        found.append(Call(plain, 1, SPECIAL.get(name) or of(plain, *further)))
    for name in BINARY:
        plain = name.partition("_positive")[0]
        found.append(Call(plain, 2, SPECIAL.get(name) or of(plain)))
    for name in FUNCTIONAL:
        plain = f"nn.functional.{name.removesuffix('0')}"
        pair = name.endswith("_loss") or name in ("kl_div", "binary_cross_entropy_with_logits")
        run = of(plain, dim=0) if name.endswith("0") else of(plain)
        if name == "threshold":
            run = of(plain, 0.1, 20.0)
        found.append(Call(plain, 1 + pair, run))
    return found


# ---- inputs --------------------------------------------------------------------------------------


def values(dtype: str) -> list[Any]:
    """The numbers at the edges of a type."""
    if dtype == "bool":
        return [False, True, True, False]
    if dtype in INTEGERS:
        info = torch.iinfo(getattr(torch, dtype))
        edges = {info.min, info.min + 1, -2, -1, 0, 1, 2, 3, 7, 64, info.max - 1, info.max}
        return sorted([value for value in edges if value >= info.min])
    info = torch.finfo(getattr(torch, dtype))
    denormal = [info.smallest_normal / 2, info.smallest_normal * info.eps]
    positive = [0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 2.5, math.pi, 20.0, 90.0, info.eps, info.tiny,
                *denormal, info.max, math.inf]  # fmt: skip
    return [*positive, *[-value for value in positive], math.nan]


def numbers(dtype: str) -> np.ndarray:
    """The same as float64 or integers, which both libraries convert without a loss."""
    kind = np.float64 if dtype in FLOATS else np.bool_ if dtype == "bool" else np.dtype(dtype)
    return np.array(values(dtype), kind)


def tensor(lib: Any, data: np.ndarray, dtype: str) -> Any:
    return lib.from_numpy(data.copy()).to(getattr(lib, dtype))


def layouts(lib: Any, dtype: str, rng_seed: int = 0) -> Iterator[tuple[str, Any]]:
    """Tensors that hold the numbers in every way, each with a name."""
    data = numbers(dtype)
    base = tensor(lib, data, dtype)
    yield "1-d", base
    rng = np.random.default_rng(rng_seed)
    mixed = tensor(lib, data[rng.permutation(len(data))], dtype)
    yield "strided", mixed[::2]
    half = len(data) // 2 * 2
    yield "2-d", mixed[:half].reshape(2, -1)
    yield "transposed", mixed[:half].reshape(2, -1).T
    yield "expanded", base[:3].unsqueeze(1).expand(3, 2)
    for shape in ((0,), (0, 3), (3, 0)):
        yield f"empty {list(shape)}", base[:0].reshape(shape)
    for i in range(len(data)):
        yield "0-d", base[i]
    finite = data[np.isfinite(data.astype(np.float64)) & (abs(data.astype(np.float64)) < 100)]
    yield "finite", tensor(lib, finite, dtype)


def pairs(lib: Any, dtype: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    data = numbers(dtype)
    x, y = (part.ravel() for part in np.meshgrid(data, data))
    a, b = tensor(lib, x, dtype), tensor(lib, y, dtype)
    yield "all pairs", (a, b)
    yield "strided", (a[::3], b[::3])
    yield "broadcast", (tensor(lib, data, dtype).unsqueeze(1), tensor(lib, data, dtype))
    yield "empty", (a[:0], b[:0])
    yield "0-d and 1-d", (tensor(lib, data, dtype)[1], tensor(lib, data, dtype))
    for i in range(0, len(data), 2):
        for j in range(0, len(data), 3):
            one = tensor(lib, data, dtype)
            yield "0-d", (one[i], one[j])
    small = data[abs(data.astype(np.float64)) < 4] if dtype != "bool" else data
    yield "small", (tensor(lib, small, dtype), tensor(lib, small[::-1], dtype))


# ---- comparing -----------------------------------------------------------------------------------


def outcome(call: Call, lib: Any, arguments: Any) -> Any:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = call.run(lib, *arguments)
    except Exception as error:
        return error
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def array(x: Any) -> np.ndarray:
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu()
        return x.double().numpy() if x.dtype.is_floating_point else x.resolve_neg().numpy()
    if isinstance(x, ours.Tensor):
        x = x.detach()
        return np.asarray(x.double().array if x.dtype.is_floating_point else x.array)
    return np.asarray(x)


def difference(mine: Any, theirs: Any) -> str:
    """In what two outcomes differ; nothing if they do not."""
    if isinstance(mine, Exception) or isinstance(theirs, Exception):
        if isinstance(mine, Exception) and isinstance(theirs, Exception):
            return "" if type(mine) is type(theirs) else "another exception"
        return "refused here" if isinstance(mine, Exception) else "refused by torch"
    for a, b in zip(mine, theirs, strict=True):
        kinds = [str(getattr(value, "dtype", type(value).__name__)) for value in (a, b)]
        if kinds[0] != kinds[1]:
            return f"type {kinds[0]} instead of {kinds[1]}"
        x, y = array(a), array(b)
        if x.shape != y.shape:
            return "shape"
        if x.dtype.kind != "f":
            if not np.array_equal(x, y):
                return "integers"
            continue
        special = np.isnan(x) != np.isnan(y)
        if special.any():
            return "NaN"
        special = np.isinf(x) | np.isinf(y)
        if (x[special] != y[special]).any():
            return "infinity"
        limit = TOLERANCE[kinds[0].removeprefix("torch.")]
        info = torch.finfo(getattr(torch, kinds[0].removeprefix("torch.")))
        x, y = x[~special], y[~special]
        with np.errstate(all="ignore"):
            off = abs(x - y) > limit * abs(y) + info.smallest_normal
        if (off & ~np.isnan(y)).any():
            return "values"
        zero = (x == 0) & (y == 0)
        if (np.signbit(x) != np.signbit(y))[zero].any():
            return "sign of zero"
    return ""


_INTS = "bool|u?int.*"
_ZERO = "sign of zero"
DIFFERENCES: list[tuple[str, str, str, str]] = [
    (r"detach", ".*", "refused here", "there is only the method"),
    (r"nn\.functional\.(huber|l1|smooth_l1)_loss|nn\.functional\.kl_div", _INTS,
     "refused by torch|another exception", "losses of integers are computed here"),
    (r"nn\.functional\.binary_cross_entropy_with_logits", _INTS, "another exception",
     "both refuse integers, by different exceptions"),
    (r"nn\.functional\.(log_)?softm(ax|in)", _INTS, "refused here",
     "torch looks at the type only if there is an element"),
    (r"(nan)?median", "bool", "refused here",
     "torch looks at the type only if there is an element"),
    (r"nn\.functional\.softsign", _INTS, "values|infinity|refused by torch",
     "torch adds 1 to the absolute value in the integers, which wrap around, or fails for bool"),
    (r"gcd|lcm", "int.*", "integers",
     "of the smallest integer: torch's sign is that of a remainder that has wrapped around"),
    (r"dist|norm", ".*", "infinity|values",
     "of a single number: the square overflows; torch takes the absolute value"),
    (r"fmod|remainder", ".*", "NaN",
     "x / y is beyond the largest number: exact here, NaN in torch's vector code"),
    (r"remainder|nextafter|f?(max|min)(imum)?|relu|nn\.functional\.(relu6?|softshrink)", ".*",
     _ZERO,
     "0 and -0 are equal; which of the two comes is not specified"),
    (r"unique|(nan)?median|(log)?cumsum(exp)?|logcumsumexp", ".*", _ZERO,
     "0 and -0 are equal; the order of equal elements is not specified"),
    (r"(nan)?(sum|mean)", ".*", f"values|{_ZERO}",
     "numbers that cancel, added in another order: the rest is rounding"),
    (r"log(sum|add)exp2?", ".*", f"values|{_ZERO}", "a difference of rounding near 0"),
    (r"copysign|signbit", "bfloat16", ".*", "the sign of NaN after its conversion to bfloat16"),
    (r"ldexp", "float16", "NaN",
     "torch's 2**y overflows in 16 bits, and 0 times infinity is NaN; exact here"),
    (r"lgamma", "float64", "NaN|values",
     "near its zeros, and of the largest negative number: another series"),
    (r"erf", "bfloat16", "values", "torch's erf of a denormal bfloat16 is 0"),
    (r"nn\.functional\.(gelu|binary_cross_entropy_with_logits)", ".*", "values|infinity",
     "rounding where the result is almost 0; in 16 bits here one rounding less"),
]  # fmt: skip
"""Function, type and kind of difference, as regular expressions; and the reason."""


def reason(name: str, dtype: str, kind: str) -> str | None:
    for functions, dtypes, kinds, why in DIFFERENCES:
        if all(
            [re.fullmatch(p, v) for p, v in ((functions, name), (dtypes, dtype), (kinds, kind))]
        ):
            return why
    return None


class Tally(NamedTuple):
    """What came of the calls: how many, and which differ where and how often."""

    calls: int
    by_function: dict[str, Counter[str]]
    differing: dict[tuple[str, str, str], Counter[str]]


def compared(names: list[str]) -> Tally:
    total, by_function = 0, {}
    differing: dict[tuple[str, str, str], Counter[str]] = {}
    for call in calls():
        if names and call.name not in names:
            continue
        counts = by_function.setdefault(call.name, Counter[str]())
        for dtype in DTYPES:
            inputs = layouts if call.arguments == 1 else pairs
            mine_, theirs_ = inputs(ours, dtype), inputs(torch, dtype)
            for (layout, a), (_, b) in zip(mine_, theirs_, strict=True):
                mine = outcome(call, ours, (a,) if call.arguments == 1 else a)
                theirs = outcome(call, torch, (b,) if call.arguments == 1 else b)
                total += 1
                kind = difference(mine, theirs)
                if kind:
                    key = (call.name, dtype, kind)
                    differing.setdefault(key, Counter())[layout] += 1
                    counts["differ"] += 1
                else:
                    counts["refused by both" if isinstance(theirs, Exception) else "equal"] += 1
    return Tally(total, by_function, differing)


def page(tally: Tally) -> str:
    """docs/numbers.md."""
    functions = tally.by_function
    differ = sum([counts["differ"] for counts in functions.values()])
    refused = sum([counts["refused by both"] for counts in functions.values()])
    lines = [
        "# Numbers beside torch", "",
        "Made by `python tests/numbers_beside_torch.py --write`; do not edit.", "",
        f"{len(functions)} functions, {tally.calls:,} calls, each here and in torch"
        f" {torch.__version__.partition('+')[0]} (CPU), with infinities, NaN, denormal numbers, the"
        " limits of the integers, empty, 0-d, strided, transposed, broadcast and expanded tensors"
        f" of {', '.join(DTYPES)}.", "",
        f"- {tally.calls - differ - refused:,} calls give the same type, shape and values: integers"
        " and special values exactly, other numbers within a relative"
        f" {', '.join([f'{v:g} ({k})' for k, v in TOLERANCE.items()])};",
        f"- {refused:,} are refused by both, with an exception of the same type;",
        f"- {differ:,} differ, all of them in the table below.", "",
        "## Differences and their reasons", "",
        "| function | types | what | calls | reason |", "|---|---|---|---|---|",
    ]  # fmt: skip
    rows: dict[tuple[str, str, str], list[Any]] = {}
    for (name, dtype, kind), where in sorted(tally.differing.items()):
        row = rows.setdefault((reason(name, dtype, kind) or "?", kind, name), [[], 0])
        row[0].append(dtype)
        row[1] += sum(where.values())
    grouped: dict[tuple[str, str, str], list[Any]] = {}
    for (why, kind, name), (dtypes, count) in rows.items():
        row = grouped.setdefault((why, kind, ", ".join(dtypes)), [[], 0])
        row[0].append(f"`{name}`")
        row[1] += count
    for (why, kind, dtypes), (names, count) in sorted(grouped.items()):
        lines.append(f"| {', '.join(names)} | {dtypes} | {kind} | {count} | {why} |")
    lines += [
        "",
        "## Functions",
        "",
        "| function | equal | refused by both | differ |",
        "|---|---|---|---|",
    ]
    for name, counts in sorted(functions.items()):
        lines.append(
            f"| `{name}` | {counts['equal']} | {counts['refused by both']} | {counts['differ']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Functions beside torch's at the edges.")
    parser.add_argument("--write", action="store_true", help=f"make {PAGE.name}")
    parser.add_argument("functions", nargs="*", help="only these")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.time()
    tally = compared(args.functions)
    unknown = 0
    for key, where in sorted(tally.differing.items()):
        if reason(*key) is None:
            unknown += 1
            print(*key, dict(where))
    print(f"{tally.calls} calls in {time.time() - start:.0f} s, {len(tally.differing)} differences,"
          f" {unknown} without a reason")  # fmt: skip
    if args.write:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(tally))
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
