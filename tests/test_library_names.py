"""What libraries import of torch's insides before anything runs, as they write it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

LINES = """
from torch._C import ScriptMethod, DisableTorchFunctionSubclass, _TensorMeta, _log_api_usage_once
import torch._dynamo
from torch._dynamo import OptimizedModule
from torch._dynamo.utils import is_compile_supported
from torch.fx import Graph, GraphModule, Tracer, wrap
from torch.fx.graph_module import _copy_attr
import torch.library, torch._custom_ops
from torch.ao.quantization import QuantStub, DeQuantStub
from torch.onnx import symbolic_opset11 as opset11
from torch.onnx.symbolic_helper import parse_args
from torch.overrides import TorchFunctionMode, has_torch_function, is_tensor_like
from torch.jit.annotations import BroadcastingList2
from torch.nn.parallel.distributed import DistributedDataParallel
from torch.nn.modules.module import _IncompatibleKeys
from torch.utils._pytree import SUPPORTED_NODES, LeafSpec, PyTree, TreeSpec, _get_node_type
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter
from torch.utils.flop_counter import FlopCounterMode
from torch.hub import _get_torch_home, get_dir
from torch.compiler import allow_in_graph
from torch import ScriptModule, Tensor
"""


def run(program: str, *launcher: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *launcher, "-c", program],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("launcher", [("-m", "tinygrad_edu"), ()])
def test_they_are_there(launcher: tuple[str, ...]) -> None:
    if not launcher:
        pytest.importorskip("torch")
    done = run(LINES + "print('all there')", *launcher)
    assert done.stdout == "all there\n", done.stderr


def test_what_they_are_used_for_before_anything_runs() -> None:
    done = run(
        LINES
        + """
import torch, collections
@torch.library.register_fake("mine::op")
def fake(x): return x
@parse_args("v", "f")
@wrap
def symbolic(g, x): return x
@torch.jit._overload_method
def forward(x: BroadcastingList2[int]): return x
class Paths(Tracer): pass
class Meta(metaclass=_TensorMeta): pass
assert fake(1) == symbolic(None, 1) == forward(1) == 1
assert not isinstance(torch.nn.Linear(1, 1), (GraphModule, OptimizedModule, ScriptModule))
loader = torch.utils.data.DataLoader([1, 2])
assert isinstance(iter(loader), _BaseDataLoaderIter)
assert not isinstance(iter(loader), _MultiProcessingDataLoaderIter)
point = collections.namedtuple("Point", "x y")(1, 2)
assert _get_node_type(point) in SUPPORTED_NODES and _get_node_type(3) not in SUPPORTED_NODES
assert SUPPORTED_NODES[list].flatten_fn([1, 2])[0] == [1, 2]
assert torch._C._nn._parse_to(torch.float64)[:2] == (None, torch.float64)
keys = torch.nn.Linear(1, 1).load_state_dict({}, strict=False)
assert isinstance(keys, _IncompatibleKeys) and not is_compile_supported("cpu")
keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
assert len(keys | torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)) == 2
assert is_tensor_like(torch.ones(1)) and not has_torch_function((torch.ones(1),))
""",
        "-m",
        "tinygrad_edu",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text",
    ["Graph()", "Paths()", "QuantStub()", "TorchFunctionMode().__enter__()", "FlopCounterMode()",
     "torch.ops.load_library('lib.so')", "torch.fx.symbolic_trace(torch.nn.Linear(1, 1))"],
)  # fmt: skip
def test_what_would_do_something_is_refused(text: str) -> None:
    program = f"{LINES}\nimport torch\nclass Paths(Tracer): pass\n{text}"
    done = run(program, "-m", "tinygrad_edu")
    last = done.stderr.strip().splitlines()[-1]
    assert "not available in tinygrad_edu" in last or "cannot be loaded" in last, done.stderr
