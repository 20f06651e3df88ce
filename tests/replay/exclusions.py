"""What the replay of torch's operations leaves out, and why.

`NOT_EXPORTED` are operations that we do not have.  `EXCLUSIONS` are samples of those that we have.
An entry that is not needed any more, because we have the operation or the sample passes, fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch

NOT_EXPORTED: dict[str, str] = {
    "fft.* stft istft": "there are no Fourier transforms: np.fft computes without a gradient",
    "cdouble cfloat chalf complex imag polar view_as_complex view_as_real linalg.eig "
    "linalg.eigvals nn.functional.silu:complex": "there are no complex numbers",
    "sparse.* to_sparse": "there are no sparse tensors",
    "masked.* _segment_reduce:* nonzero_static hash_tensor histogramdd": (
        "prototypes that no script in use calls"
    ),
    "alias_copy as_strided_copy diagonal_copy expand_copy permute_copy squeeze_copy "
    "split_with_sizes_copy t_copy transpose_copy unbind_copy unfold_copy unsqueeze_copy view_copy "
    "as_strided_scatter empty_permuted slice": (
        "forms of views for torch's compilers; use the view and clone"
    ),
    "_softmax_backward_data _unsafe_* _upsample_* _batch_norm_with_update _native_* _chunk_cat "
    "native_* max_pool2d_with_indices_backward grid_sampler_* torch.*": (
        "what torch's own functions call; use those of nn.functional"
    ),
    "jiterator_* nn.functional.batch_norm:without_cudnn": "they need a GPU",
    "__rdiv__": "what Python 2 called __rtruediv__",
    "lu lu_solve lu_unpack linalg.lu linalg.lu_* linalg.ldl_* geqrf ormqr": (
        "factors in LAPACK's packed form; use solve, det, inv and qr"
    ),
    "signal.windows.*": "windows are of use with Fourier transforms",
    "special.airy_ai special.bessel_* special.*modified_bessel_* special.spherical_bessel_j0 "
    "special.*_polynomial_*": "functions of physics; torch differentiates few of them",
}
"""Operations, with patterns, that we do not have -> the reason."""


def lacking(operation: str) -> str | None:
    """The entry of `NOT_EXPORTED` that names an operation; None if there is none."""
    for names in NOT_EXPORTED:
        if any(fnmatchcase(operation, name) for name in names.split()):
            return names
    return None


UP_TO_SIGN = "linalg.eigh linalg.svd svd svd_lowrank pca_lowrank"
"""Their vectors are compared as the database compares them: by absolute values."""


@dataclass(frozen=True)
class Sample:
    """A sample of an operation, as the list below looks at it."""

    operation: str
    number: str
    input: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    def values(self) -> Iterator[Any]:
        """All arguments, those in lists one by one."""
        todo = [self.input, self.args, self.kwargs]
        while todo:
            value = todo.pop()
            if isinstance(value, dict):
                todo += value.values()
            elif isinstance(value, (list, tuple)):
                todo += value
            else:
                yield value

    def __str__(self) -> str:
        def show(value: Any) -> str:
            if isinstance(value, torch.Tensor):
                return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
            if isinstance(value, (list, tuple)):
                return "[" + ", ".join(show(v) for v in value) + "]"
            return repr(value)

        parts = [show(v) for v in (self.input, *self.args)]
        return f"({', '.join(parts + [f'{k}={show(v)}' for k, v in self.kwargs.items()])})"


def always(sample: Sample) -> bool:
    return True


@dataclass(frozen=True)
class Exclusion:
    """Samples that differ, and why that stays so.

    Attributes:
        operations: names of entries, separated by blanks; `*` stands for anything.
        checks: which checks fail, separated by commas.
        when: which samples.
    """

    operations: str
    checks: str
    reason: str
    when: Callable[[Sample], bool] = always


LAYERS: dict[str, str] = {}
"""Layers of module_db, or "layer: sample", with patterns -> the reason."""

OPTIMIZERS: dict[str, str] = {
    "LBFGS": "not written: its line search calls a closure many times a step",
    "SparseAdam": "there are no sparse gradients",
    "Adafactor: error * does not support complex parameters": "there are no complex numbers",
    "Muon: error * does not support complex parameters": "there are no complex numbers",
    "ASGD: 1 non-default lambd {'foreach': True}": (
        "torch's foreach form computes eta by a float32 power that is rounded differently"
    ),
}
"""Optimizers of optim_db, or "optimizer: sample" -> the reason."""


TYPES: dict[str, str] = {
    "nn.functional.conv*: int*": "convolutions are of floats",
    "nn.functional.conv*: uint8*": "convolutions are of floats",
    "nn.functional.embedding*: *sparse=True*": "there are no sparse tensors",
    "nn.functional.interpolate:bi*: uint8*": "images of bytes are not interpolated between pixels",
    "nn.functional.upsample_bilinear: uint8*": "images of bytes are not interpolated",
    "addr: bool*beta=3*": "bools are not multiplied by numbers",
    "as_strided:partial_views: *storage_offset=10*": "only the part can be reached",
}
"""Operations with other element types, "operation: type sample", with patterns -> the reason."""


def reason(table: dict[str, str], name: str, sample: str) -> str | None:
    """Why this layer or optimizer, or this sample of it, is left out; None if it is not."""
    for key, why in table.items():
        left, _, right = key.partition(": ")
        if fnmatchcase(name, left) and (right in ("", sample) or fnmatchcase(sample, right)):
            return why
    return None


def has_norm_zero(sample: Sample) -> bool:
    """Whether it asks for a norm of zeros whose second derivative is not 0 in torch, but nan."""
    x, order = sample.input, sample.args[0] if sample.args else None
    if x.any() or isinstance(order, int) and x.ndim == 2:
        return False
    if not x.numel():
        return order == 3.5
    orders = (None, 0.5, 2, 3.5, -0.5, -1, -2, -3.5) if x.ndim == 1 else (None, "fro")
    return order in orders


EXCLUSIONS: list[Exclusion] = [
    Exclusion(
        "*",
        "error, message",
        "operations on one or two tensors take out=; the others refuse it by a TypeError",
        lambda sample: "out" in sample.kwargs,
    ),
    Exclusion(
        "*",
        "error",
        "NumPy's arrays have at most 64 dimensions",
        lambda sample: any(isinstance(v, torch.Tensor) and v.ndim > 64 for v in sample.values()),
    ),
    Exclusion(
        "linalg.norm linalg.norm:subgradients_at_zero",
        "second",
        "where a norm is 0 its second derivative is 0 here, and nan in torch",
        has_norm_zero,
    ),
    Exclusion(
        "__radd__ __rand__ __rmul__ __ror__ __rxor__",
        "error",
        "called with a number for the tensor, they compute",
        lambda sample: isinstance(sample.input, int) and not isinstance(sample.args[0], int),
    ),
    Exclusion(
        "nn.functional.hardsigmoid",
        "gradients, in place",
        "torch rounds the slope 1/6 to float32",
        lambda sample: sample.number == "sample 0",
    ),
    Exclusion(
        "addbmm",
        "in place",
        "torch resizes the tensor written into; this raises, as everywhere else",
        lambda sample: isinstance(sample.input, torch.Tensor) and sample.input.ndim < 2,
    ),
    Exclusion(
        "nn.functional.linear_cross_entropy:chunked",
        "second",
        "torch computes it in chunks without a second derivative; here it has one",
        lambda sample: sample.args[0].ndim == 2 and not sample.args[1].is_floating_point(),
    ),
    Exclusion(
        "as_strided:partial_views",
        "values, method",
        "of a tensor made from a part of a NumPy array, only that part can be reached",
        lambda sample: "storage_offset" in sample.kwargs,
    ),
]


used: set[Exclusion] = set()
"""The entries that have left something out."""


def reason_for(sample: Sample, problems: dict[str, str]) -> dict[str, str]:
    """The checks that are left out for this sample, with the reasons."""
    found = {}
    for entry in EXCLUSIONS:
        if any(fnmatchcase(sample.operation, name) for name in entry.operations.split()):
            if entry.when(sample):
                checks = entry.checks.split(", ")
                if entry.operations == "*":  # of these checks, those that there are
                    checks = [check for check in checks if check in problems]
                found |= dict.fromkeys(checks, entry.reason)
                if checks:
                    used.add(entry)
    return found
