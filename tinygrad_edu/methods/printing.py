"""How tensors print: torch's format, so that the output of a script stays the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import device_of
from tinygrad_edu.dtypes import Array, bool_, from_numpy, get_default_dtype, int64, is_floating

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


_options: dict[str, Any] = {
    "precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None,
}  # fmt: skip


def set_printoptions(
    precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
    linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """How to print: digits, elements before shortening, elements per edge, line width, exponents.

    Args:
        profile: "default", "short" (2 digits) or "full" (never shorten).

    >>> import tinygrad_edu as torch
    >>> torch.set_printoptions(precision=2); print(torch.tensor([1 / 3]))
    tensor([0.33])
    >>> torch.set_printoptions(profile="default")
    """
    if profile is not None:
        short, full = profile == "short", profile == "full"
        _options.update(
            precision=2 if short else 4, threshold=math.inf if full else 1000,
            edgeitems=2 if short else 3, linewidth=80,
        )  # fmt: skip
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems,
             "linewidth": linewidth}  # fmt: skip
    _options.update({k: v for k, v in given.items() if v is not None})
    _options["sci_mode"] = sci_mode


class _Formatter:
    """Prints the numbers of one tensor in columns of one width."""

    def __init__(self, values: Array) -> None:
        self.width, self.scientific, self.integral = 1, False, True
        self.is_float = values.dtype.kind == "f"
        values = values.reshape(-1)
        if not self.is_float:
            self.width = max([len(str(v)) for v in values.tolist()], default=1)
            return
        finite = values[np.isfinite(values) & (values != 0)].astype(np.float64)
        if finite.size:
            self._choose(finite)
        self.width = max([len(self.text(v)) for v in finite.tolist()], default=1)

    def _choose(self, finite: Array) -> None:
        """Whole numbers print as `1.`; large or widely spread ones with exponents."""
        sizes = np.abs(finite)
        low, high = float(sizes.min()), float(sizes.max())
        self.integral = bool((finite == np.ceil(finite)).all())
        if self.integral:
            self.scientific = high / low > 1000.0 or high > 1.0e8
        else:
            self.scientific = high / low > 1000.0 or high > 1.0e8 or low < 1.0e-4
        if _options["sci_mode"] is not None:
            self.scientific = _options["sci_mode"]

    def text(self, value: Any) -> str:
        """One number, without padding."""
        if not self.is_float:
            return str(value)
        digits = _options["precision"]
        if self.scientific:
            return f"{value:.{digits}e}"
        if self.integral:
            return f"{value:.0f}" + ("." if math.isfinite(value) else "")
        return f"{value:.{digits}f}"

    def format(self, value: object) -> str:
        """One number, padded to the width of the column."""
        return self.text(value).rjust(self.width)


def _summary(x: Array) -> Array:
    """Only the elements that a shortened print shows."""
    edge = _options["edgeitems"]
    for dim, size in enumerate(x.shape):
        if size > 2 * edge:
            ends = [*range(edge), *range(size - edge, size)]
            x = np.take(x, ends, axis=dim)
    return x


def _block(x: Array, indent: int, shorten: bool, formatter: _Formatter) -> str:
    edge = _options["edgeitems"]
    if not x.ndim:
        return formatter.format(x.item())
    if x.ndim == 1:
        return _row(x, indent, shorten, formatter)
    rows = [x[i] for i in range(len(x))]
    if shorten and len(rows) > 2 * edge:
        shown = [_block(r, indent + 1, shorten, formatter) for r in rows[:edge]]
        shown += ["..."]
        shown += [_block(r, indent + 1, shorten, formatter) for r in rows[-edge:]]
    else:
        shown = [_block(r, indent + 1, shorten, formatter) for r in rows]
    gap = "," + "\n" * (x.ndim - 1) + " " * (indent + 1)
    return f"[{gap.join(shown)}]"


def _row(x: Array, indent: int, shorten: bool, formatter: _Formatter) -> str:
    edge = _options["edgeitems"]
    per_line = max(1, (_options["linewidth"] - indent) // (formatter.width + 2))
    values = x.tolist()
    if shorten and len(values) > 2 * edge:
        texts = [formatter.format(v) for v in values[:edge]] + [" ..."]
        texts += [formatter.format(v) for v in values[-edge:]]
    else:
        texts = [formatter.format(v) for v in values]
    lines = [texts[i : i + per_line] for i in range(0, len(texts), per_line)] or [[]]
    return "[" + (",\n" + " " * (indent + 1)).join([", ".join(line) for line in lines]) + "]"


def format_tensor(t: Tensor) -> str:
    """`tensor([...], dtype=..., requires_grad=True)`, as torch prints it."""
    name = "tensor("
    place = device_of(t.array)
    x = t.array.get() if place.type == "cuda" else t.array
    kind = from_numpy(x.dtype)
    suffixes = [] if place.type == "cpu" else [f"device='{place}'"]
    if not x.size or place.type == "meta":
        body = "..." if place.type == "meta" else "[]"
        if x.ndim != 1 or x.size:
            suffixes.append(f"size={tuple(x.shape)}")
        if kind is not get_default_dtype():
            suffixes.append(f"dtype={kind}")
    else:
        if kind not in (get_default_dtype(), int64, bool_):
            suffixes.append(f"dtype={kind}")
        plain = x.astype(np.float32) if is_floating(x.dtype) and x.dtype.kind != "f" else x
        shorten = x.size > _options["threshold"]
        formatter = _Formatter(_summary(plain) if shorten else plain)
        body = _block(plain, len(name), shorten, formatter)
    node = t.grad_fn
    if node is not None:
        suffixes.append(f"grad_fn=<{node.name().rpartition('::')[2]}>")
    elif t.requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(name + body, suffixes, len(name))


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Add the suffixes, on a line of their own where the last line would get too long."""
    length = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if length + len(suffix) + 2 > _options["linewidth"]:
            text += ",\n" + " " * indent + suffix
            length = indent + len(suffix)
        else:
            text += ", " + suffix
            length += len(suffix) + 2
    return text + ")"
