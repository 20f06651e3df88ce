"""Handles of hooks: they remove, they are pickled and copied with their owner, and hold nobody."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

import tinygrad_edu as tg

HOOKS = {
    tg.nn.Module: tg.nn.Linear(1, 1),
    tg.Tensor: tg.ones(1, requires_grad=True),
    tg.optim.Optimizer: tg.optim.SGD([tg.ones(1, requires_grad=True)], lr=0.1),
}
REGISTERING = [
    (kind, name)
    for kind in HOOKS
    for name in dir(kind)
    if name.lstrip("_").startswith("register_") and name.endswith("_hook")
]


def test_the_list_is_not_empty() -> None:
    assert len(REGISTERING) >= 15


class Hook:
    """Holds its owner, as a bound method or a closure does."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def __call__(self, *args: Any) -> None: ...


@pytest.mark.parametrize(
    "kind, name", REGISTERING, ids=[f"{k.__name__}.{n}" for k, n in REGISTERING]
)
def test_a_handle_that_is_kept_keeps_no_owner(kind: type, name: str) -> None:
    owner = copy.deepcopy(HOOKS[kind])
    handle = getattr(owner, name)(Hook(owner))
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    handle.remove()  # there is nothing left to remove it from


def count(module: Any, args: Any, output: Any = None) -> None:
    module.calls = getattr(module, "calls", 0) + 1


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_handle_is_copied_with_its_module(way: Any) -> None:
    module = tg.nn.Identity()
    module.kept = module.register_forward_hook(count)
    twin = way(module)
    twin(tg.ones(1))
    twin.kept.remove()
    twin(tg.ones(1))
    module(tg.ones(1))
    assert twin.calls == 1 and module.calls == 1


def test_hooks_of_another_process_are_not_written_over(tmp_path: Path) -> None:
    """Handles are numbered from 1 in every process."""
    module = tg.nn.Identity()
    for _ in range(30):
        module.register_forward_hook(count)
    file = tmp_path / "module.pickle"
    file.write_bytes(pickle.dumps(module))
    program = (
        "import pickle, sys, tinygrad_edu as tg; from test_handles import count\n"
        "module = pickle.load(open(sys.argv[1], 'rb')); calls = []\n"
        "first = min(module._forward_hooks); handles = []\n"
        "everywhere = tg.nn.modules.module.register_module_forward_hook\n"
        "for register, last in ((everywhere, 10), (module.register_forward_hook, 60)):\n"
        "    while not handles or handles[-1].id < first + last:\n"
        "        handles.append(register(count))\n"
        "module(tg.ones(1)); print(module.calls - len(handles))\n"
        "for handle in handles: handle.remove()\n"
        "module.calls = 0; module(tg.ones(1)); print(module.calls)\n"
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        cwd=here, env={**os.environ, "PYTHONPATH": str(here.parent)},  # the pickle says `tests.…`
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["30", "30"], done.stderr
