"""The table of operations has a row for every primitive, method and public function."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import types
from typing import Any

import op_table
import pytest
from test_operations import ROWS, Run, is_tensor

import tinygrad_edu
from tinygrad_edu.engine.primitive import Primitive

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

NOT_OPERATIONS = {
    "dtypes": ["get_default_dtype", "set_default_dtype", "set_default_tensor_type"],
    "devices": ["get_default_device", "set_default_device"],
    "autocast": ["get_autocast_cpu_dtype", "get_autocast_gpu_dtype", "is_autocast_cpu_enabled",
                 "clear_autocast_cache", "get_autocast_dtype", "is_autocast_cache_enabled",
                 "is_autocast_enabled", "set_autocast_cache_enabled", "set_autocast_dtype",
                 "set_autocast_enabled"],
    "modes": ["is_anomaly_enabled", "is_grad_enabled", "is_inference_mode_enabled"],
    "seeds": ["get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state"],
    "printing": ["set_printoptions"],
    "settings": ["are_deterministic_algorithms_enabled", "get_float32_matmul_precision",
                 "get_num_interop_threads", "get_num_threads",
                 "is_deterministic_algorithms_warn_only_enabled", "set_float32_matmul_precision",
                 "set_flush_denormal", "set_num_interop_threads", "set_num_threads",
                 "use_deterministic_algorithms"],
    "functions of functions": ["compile", "vmap"],
    "other libraries": ["from_dlpack"],
    "files": ["save", "load"],
    "the graph": ["backward", "detach", "detach_", "register_hook", "requires_grad_", "retain_grad",
                  "register_post_accumulate_grad_hook"],
    "in place, like the methods: tests/test_names_of_scripts.py": [
        *(name for name in dir(torch) if name.endswith("_") and callable(getattr(torch, name))),
        "feature_dropout",
    ],
    "names": ["frombuffer", "is_storage", "storage", "typename"],
    "memory": ["as_subclass", "bfloat16", "cuda", "data_ptr", "dim", "dim_order", "element_size",
               "is_complex", "is_contiguous", "get_device", "is_inference", "is_nonzero",
               "is_pinned", "is_same_size", "is_set_to", "is_shared", "pin_memory",
               "is_signed", "ndimension", "nelement", "numpy", "size",
               "storage_offset", "stride", "untyped_storage"],
}  # fmt: skip
"""Functions and methods that compute nothing from tensors, by subject."""

ONLY_WITH_A_GPU = ["from_device"]
RULE_REFUSES = [
    "scatter_multiply",
    "found",
    "only_r",
]  # as in torch, which has no derivative either
IN_SECOND_DERIVATIVES = ["second_of_det"]  # tests/test_second_derivatives_beyond.py


def _primitives() -> dict[str, Primitive]:
    """All primitives of tinygrad_edu.ops, by their full name."""
    package = importlib.import_module("tinygrad_edu.ops")
    found = {}
    for info in pkgutil.walk_packages(package.__path__, "tinygrad_edu.ops."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            op = getattr(value, "primitive", None)
            if isinstance(op, Primitive) and value.__module__ == module.__name__:
                found[f"{info.name}.{name}"] = op
    return found


def _names_of_rows() -> set[str]:
    return {name for op in ROWS for name in (op.name, op.name.rpartition(".")[2], *op.covers)}


def test_every_primitive_has_a_row() -> None:
    """Every primitive is recorded by a row, forward or in its gradient; or, without rule, named."""
    names, run = _names_of_rows(), set()
    for op in ROWS:
        for given in op.calls:
            done = Run(tinygrad_edu, op, op_table.arrays(op, given, "float64"), grad=True)
            found = list(done.outputs)
            with contextlib.suppress(RuntimeError):  # there is no derivative
                found += done.gradients(create_graph=True)
            todo = [y.grad_fn for y in found if is_tensor(y) and y.requires_grad]
            seen = set()
            while todo:
                node = todo.pop()
                if node is not None and not node.is_leaf and node not in seen:
                    seen.add(node)
                    run.add(node.plan.op)
                    todo += node.edges
    missing = [
        full
        for full, primitive in _primitives().items()
        if primitive not in run
        and primitive.name not in ONLY_WITH_A_GPU + RULE_REFUSES + IN_SECOND_DERIVATIVES
        and (primitive.inputs or (primitive.name not in names and full.split(".")[-1] not in names))
    ]
    assert not missing, f"without a row in tests/op_table: {missing}"


def test_every_method_has_a_row() -> None:
    """So has every method that torch has too, unless it is about the graph or memory."""
    ours, theirs = tinygrad_edu.Tensor, torch.Tensor
    names = _names_of_rows() | {name for others in NOT_OPERATIONS.values() for name in others}
    same = {getattr(ours, name, None) for name in names}  # aliases need no row
    missing = [
        name
        for name in dir(ours)
        if not name.startswith("_")
        and callable(getattr(ours, name))
        and hasattr(theirs, name)
        and not {name, name.removesuffix("_")} & names
        and getattr(ours, name) not in same
        and getattr(ours, name.removesuffix("_"), None) not in same
    ]
    assert not missing, f"without a row in tests/op_table: {missing}"


@pytest.mark.parametrize(
    "prefix", ["", "nn.functional."], ids=["tinygrad_edu", "tinygrad_edu.nn.functional"]
)
def test_every_public_function_has_a_row(prefix: str) -> None:
    """So has every function of the namespace that torch has too."""
    ours: Any = tinygrad_edu.nn.functional if prefix else tinygrad_edu
    theirs: Any = torch.nn.functional if prefix else torch
    names = _names_of_rows()
    same = {id(getattr(ours, n.rpartition(".")[2], None)) for n in names}  # aliases need no row
    missing = [
        name
        for name, value in [(name, getattr(ours, name)) for name in dir(ours)]
        if not name.startswith("_")
        and isinstance(value, (types.FunctionType, types.BuiltinFunctionType))
        and hasattr(theirs, name)
        and name not in names
        and prefix + name not in names
        and id(value) not in same
        and not any(name in others for others in NOT_OPERATIONS.values())
    ]
    assert not missing, f"without a row in tests/op_table: {missing}"
