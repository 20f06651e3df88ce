"""safetensors both ways, and plain npz files."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import pytest
from checkpoints import DTYPES, plain, there, torch

import tinygrad_edu as ours


def test_safetensors_both_ways(tmp_path: pathlib.Path) -> None:
    theirs = pytest.importorskip("safetensors.torch")
    from tinygrad_edu import safetensors as mine

    path = tmp_path / "x.safetensors"
    state = {name: ours.tensor([[1, 0, 2], [3, 4, 5]]).to(getattr(ours, name)) for name in DTYPES}
    state |= {"scalar": ours.tensor(2.0), "empty": ours.zeros(0, 3), "t": ours.randn(3, 4).T}
    state |= {"slice": ours.arange(20.0).reshape(4, 5)[:, 1:3], "wide": ours.ones(1).expand(3, 2)}
    mine.save_file(state, path, metadata={"format": "pt"})
    expected = {name: plain(x)[1:] for name, x in state.items()}
    assert {name: plain(x)[1:] for name, x in theirs.load_file(path).items()} == expected
    assert {name: plain(x)[1:] for name, x in mine.load_file(path).items()} == expected
    assert {name: plain(x)[1:] for name, x in mine.load(mine.save(state)).items()} == expected
    theirs.save_file({name: there(x).contiguous() for name, x in state.items()}, path)
    assert {name: plain(x)[1:] for name, x in mine.load_file(path).items()} == expected
    mine.load_file(path)["t"].add_(1.0)  # writable
    with mine.safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(state)
        part = file.get_slice("t")
        assert part.get_shape() == [4, 3] and part.get_dtype() == "F32"
        assert ours.equal(part[1:, :2], state["t"][1:, :2])
        assert ours.equal(file.get_tensor("int64"), state["int64"])
    with mine.safe_open(path, framework="np") as file:
        assert isinstance(file.get_tensor("t"), np.ndarray)
    assert os.listdir(tmp_path) == ["x.safetensors"]


def test_safetensors_errors(tmp_path: pathlib.Path) -> None:
    library = pytest.importorskip("safetensors")
    from tinygrad_edu import safetensors as mine

    x = ours.zeros(4)
    path = tmp_path / "x.safetensors"
    with pytest.raises(RuntimeError, match="share memory"):
        mine.save_file({"a": x, "b": x[1:]}, path)
    mine.save_file({"a": x[:2], "b": x[2:]}, path)
    before = path.read_bytes()
    for wrong in ({"a": 1}, {1: x}, [x]):
        with pytest.raises(TypeError, match="tensors must be a dict"):
            mine.save_file(wrong, path)
    with pytest.raises(ValueError, match="framework"):
        mine.safe_open(path, framework="tf")
    assert path.read_bytes() == before
    path.write_bytes(before[:20])
    with pytest.raises(library.SafetensorError):
        mine.load_file(path)


def test_safetensors_models_with_tied_weights(tmp_path: pathlib.Path) -> None:
    theirs = pytest.importorskip("safetensors.torch")
    from tinygrad_edu import safetensors as mine

    def tied(library: Any) -> Any:
        model = library.nn.Sequential(library.nn.Linear(3, 3), library.nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    one, other, third = tied(ours), tied(ours), tied(torch)
    mine.save_model(one, tmp_path / "m.safetensors")
    assert mine.load_model(other, tmp_path / "m.safetensors") == (set(), [])
    theirs.load_model(third, tmp_path / "m.safetensors")
    for model in (other, third):
        assert [plain(v)[1:] for v in model.state_dict().values()] == [
            plain(v)[1:] for v in one.state_dict().values()
        ]
    theirs.save_model(third, str(tmp_path / "t.safetensors"))
    assert mine.load_model(tied(ours), tmp_path / "t.safetensors") == (set(), [])
    with pytest.raises(RuntimeError, match="Missing key|Unexpected key|size mismatch"):
        mine.load_model(ours.nn.Linear(3, 3), tmp_path / "m.safetensors")


def test_npz(tmp_path: pathlib.Path) -> None:
    """Plain NumPy users need nothing of ours."""
    model = ours.nn.Linear(3, 2)
    np.savez(tmp_path / "m.npz", **{k: v.numpy() for k, v in model.state_dict().items()})
    other = ours.nn.Linear(3, 2)
    with np.load(tmp_path / "m.npz") as file:
        other.load_state_dict({name: ours.from_numpy(file[name]) for name in file.files})
    assert plain(other.state_dict()) == plain(model.state_dict())
