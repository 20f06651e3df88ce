"""A training step asks nothing of the GPU that the host would have to wait for.

Every wait would leave the GPU idle until the host has launched the next kernel, and a step that
waits cannot be captured in a CUDA graph.
"""

from __future__ import annotations

import importlib.util
import pathlib
import sys
from typing import Any

import pytest

import tinygrad_edu as torch

nn = torch.nn


def example(name: str) -> Any:
    path = pathlib.Path(__file__).parent.parent / "examples" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # for what the examples share
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def mlp() -> tuple[Any, Any, Any]:
    model = nn.Sequential(
        nn.Linear(20, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 32), nn.GELU(),
        nn.LayerNorm(32), nn.Linear(32, 5),
    )  # fmt: skip
    return model, torch.randn(8, 20), torch.randint(5, (8,))


def gpt() -> tuple[Any, Any, Any]:
    model = example("04_char_gpt.py").GPT(11, block=8, layers=1, heads=2, width=8, dropout=0.1)
    ids = torch.randint(11, (2, 9))
    return model, ids[:, :-1], ids[:, 1:]


OPTIMIZERS = [("AdamW", {}), ("AdamW", {"capturable": True}), ("Adam", {}), ("SGD", {})]


@pytest.mark.filterwarnings("ignore:cupyx.allow_synchronize")  # CuPy: it may overlook some
@pytest.mark.parametrize("make", [mlp, gpt])
@pytest.mark.parametrize("name, options", OPTIMIZERS)
@pytest.mark.parametrize("lower", [False, True], ids=["float32", "bfloat16"])
def test_a_training_step_waits_for_nothing(
    make: Any, name: str, options: Any, lower: bool, cuda: str
) -> None:
    import cupyx

    torch.manual_seed(0)
    model, x, y = make()
    model, x, y = model.to(cuda), x.to(cuda), y.to(cuda)
    if lower:
        pytest.importorskip("ml_dtypes")
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=1e-2, **options)
    losses = []
    for _ in range(5):
        with cupyx.allow_synchronize(False):
            optimizer.zero_grad(set_to_none="capturable" not in options)
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=lower):
                scores = model(x).flatten(0, -2)
                loss = nn.functional.cross_entropy(scores, y.flatten())
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        losses.append(loss.item())
        assert norm.is_cuda and norm.item() > 0
    assert losses[-1] < losses[0]
