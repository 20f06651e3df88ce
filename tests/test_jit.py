"""`torch.jit`: what is compiled there runs here as it is; what needs TorchScript says so."""

from __future__ import annotations

import subprocess
import sys
import typing
import warnings
from typing import Any

import pytest
import torch

import tinygrad_edu as tg
from tinygrad_edu.names import jit

PROGRAM = """
import torch
from torch import nn

@torch.jit.script
def gelu(x):
    return x * 0.5 * (1.0 + torch.erf(x / 1.41421))

class Net(torch.jit.ScriptModule):
    __constants__ = ["n"]
    n: torch.jit.Final[int]
    def __init__(self):
        super().__init__()
        self.n, self.fc = 2, nn.Linear(3, 3)
    @torch.jit.script_method
    def forward(self, x):
        for _ in range(self.n):
            x = gelu(self.fc(x))
        return x

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
    @torch.jit.export
    def twice(self, x):
        return 2 * self.fc(x)
    @torch.jit.ignore
    def shown(self, x: torch.Tensor) -> torch.Tensor:
        return x
    @torch.jit.unused
    def other(self, x: torch.Tensor) -> torch.Tensor:
        return x
    def forward(self, x):
        if torch.jit.is_scripting():
            return self.fc(x)
        return self.fc(x) + 1

torch.manual_seed(0)
x = torch.ones(2, 3)
net = Net()
print("%.4f" % net(x).sum().item(), isinstance(net, nn.Module), len(list(net.parameters())))
plain = Plain()
print(isinstance(plain, torch.jit.ScriptModule))
traced = torch.jit.trace(plain, x)
print("%.4f" % traced(x).sum().item())
frozen = torch.jit.freeze(torch.jit.trace(plain.eval(), x))
print("%.4f" % torch.jit.optimize_for_inference(frozen)(x).sum().item())
future = torch.jit.fork(gelu, x)
print("%.4f" % torch.jit.wait(future).sum().item())
print(torch.jit.isinstance([1], typing.List[int]) if (typing := __import__("typing")) else 0)
"""


def test_a_program_prints_what_torch_prints(tmp_path: Any) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = [
        subprocess.run(
            [sys.executable, *launcher, "program.py"],
            cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )
        for launcher in (["-m", "tinygrad_edu"], [])
    ]  # fmt: skip
    assert done[0].stdout == done[1].stdout and done[0].stdout.count("\n") == 6, done[0].stderr
    assert done[0].stderr.count("no TorchScript") == 1


def test_one_warning() -> None:
    jit._warn_once.cache_clear()
    model = tg.nn.Linear(2, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert tg.jit.script(model) is model and tg.jit.trace(model, tg.ones(1, 2)) is model
        assert tg.jit.script(torch.ones) is torch.ones
    assert len(caught) == 1 and caught[0].filename == __file__


def test_what_needs_torchscript_is_refused() -> None:
    for refused in (
        lambda: tg.jit.save(tg.nn.Linear(1, 1), "model.pt"),
        lambda: tg.jit.load("model.pt"),
        lambda: tg.jit.ScriptModule().save("model.pt"),
        lambda: tg.jit.ScriptModule().graph,
    ):
        with pytest.raises(NotImplementedError, match="no TorchScript"):
            refused()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([1], list[int]), ([1, "a"], list[int]), ([], list[int]), ({"a": 1}, dict[str, int]),
        ({1: 1}, dict[str, int]), ((1, "a"), tuple[int, str]), ((1,), tuple[int, str]),
        (None, int | None), (1.0, int | None), (1, (int, str)), ("a", int),
        ([[1]], list[list[int]]), ([[1.0]], list[list[int]]),
    ],
)  # fmt: skip
def test_isinstance_is_torchs(value: Any, kind: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch.jit.isinstance(value, kind)
    assert tg.jit.isinstance(value, kind) is theirs


@pytest.mark.parametrize("kind", [list, dict, tuple, typing.List, typing.Dict, typing.Tuple])  # noqa: UP006
def test_a_container_needs_the_type_of_what_is_in_it(kind: Any) -> None:
    for lib in (torch, tg):
        with pytest.raises(RuntimeError):
            lib.jit.isinstance([1], kind)


def test_names_of_torchs_that_are_there() -> None:
    absent = {
        "CompilationUnit", "Error", "export_opnames", "jit_module_from_flatbuffer",
        "last_executed_optimized_graph", "save_jit_module_to_flatbuffer", "set_module",
        "strict_fusion",
    }  # fmt: skip
    theirs = {name for name in torch.jit.__all__ if not name.startswith("_")}
    assert theirs - {*tg.jit.__all__} <= absent
