"""examples/06_load_gpt2.py on a small random model in GPT-2's layout, beside torch."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("safetensors.torch")
tokenizers = pytest.importorskip("tokenizers")

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "examples" / "06_load_gpt2.py"
TEXT = [
    "the cat sat on the mat",
    "the dog sat on the log",
    "a cat and a dog: naïve ☃ friends\n",
] * 5
HEADS, CONTEXT = 2, 16


def example() -> Any:
    spec = importlib.util.spec_from_file_location("load_gpt2", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weights(vocab: int, width: int = 12, layers: int = 2) -> dict[str, Any]:
    state = {"wte.weight": (vocab, width), "wpe.weight": (CONTEXT, width)}
    for i in range(layers):
        for norm in ("ln_1", "ln_2"):
            state |= {f"h.{i}.{norm}.weight": (width,), f"h.{i}.{norm}.bias": (width,)}
        for name, inputs, outputs in (
            ("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width), ("mlp.c_proj", 4 * width, width),
        ):  # fmt: skip
            state |= {f"h.{i}.{name}.weight": (inputs, outputs), f"h.{i}.{name}.bias": (outputs,)}
    state |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    return {name: torch.randn(shape) * 0.3 for name, shape in state.items()}


def logits(state: dict[str, Any], ids: Any) -> Any:
    """GPT-2 once more, as plain formulas of torch's."""
    F = torch.nn.functional
    width = state["wte.weight"].shape[1]
    x = state["wte.weight"][ids] + state["wpe.weight"][: len(ids)]
    mask = torch.full((len(ids), len(ids)), -torch.inf).triu(1)

    def norm(x: Any, name: str) -> Any:
        return F.layer_norm(x, (width,), state[name + ".weight"], state[name + ".bias"])

    def conv(x: Any, name: str) -> Any:
        return x @ state[name + ".weight"] + state[name + ".bias"]

    for i in range(2):
        qkv = conv(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn").chunk(3, dim=1)
        q, k, v = [part.reshape(len(ids), HEADS, -1).transpose(0, 1) for part in qkv]
        p = torch.softmax(q @ k.transpose(1, 2) / (width // HEADS) ** 0.5 + mask, dim=-1)
        x = x + conv((p @ v).transpose(0, 1).reshape(len(ids), width), f"h.{i}.attn.c_proj")
        inner = F.gelu(conv(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh")
        x = x + conv(inner, f"h.{i}.mlp.c_proj")
    return norm(x, "ln_f") @ state["wte.weight"].T


def write(folder: pathlib.Path, prefix: str = "", **changes: Any) -> dict[str, Any]:
    """A model and a tokenizer in `folder`; returns the weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.model.save(str(folder))
    state = weights(tokenizer.get_vocab_size())
    stored = {prefix + name: x for name, x in (state | changes).items() if x is not None}
    theirs.save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"n_head": HEADS}))
    return state


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_logits_equal_torchs(prefix: str, tmp_path: pathlib.Path) -> None:
    import tinygrad_edu

    mask = torch.ones(1, 1, CONTEXT, CONTEXT).tril()
    state = write(tmp_path, prefix, **{"h.0.attn.bias": mask})
    module = example()
    model = module.load_model(tmp_path)
    ids = list(range(3, 3 + CONTEXT))
    expected = logits(state, torch.tensor(ids)).numpy()
    found, _ = model(tinygrad_edu.tensor([ids]))
    np.testing.assert_allclose(found[0].detach().numpy(), expected, rtol=1e-4, atol=1e-4)
    past, cached = None, []
    for part in (ids[:5], ids[5:6], ids[6:]):  # token by token, the same
        found, past = model(tinygrad_edu.tensor([part]), past)
        cached.append(found[0].detach().numpy())
    np.testing.assert_allclose(np.concatenate(cached), expected, rtol=1e-4, atol=1e-4)


def test_it_writes_what_torch_would(tmp_path: pathlib.Path) -> None:
    state = write(tmp_path)
    module = example()
    model, tokenizer = module.load_model(tmp_path), module.load_tokenizer(tmp_path)
    assert tokenizer.decode(tokenizer.encode(TEXT[2]).ids) == TEXT[2]
    ids = tokenizer.encode("the cat").ids
    assert len(ids) < len("the cat")
    written = list(module.generate(model, ids, 8, 0, 1, None))
    expected = list(ids)
    for _ in range(8):
        expected.append(int(logits(state, torch.tensor(expected))[-1].argmax()))
    assert ids + written == expected
    assert len(list(module.generate(model, ids, 3 * CONTEXT, 0.8, 5, None))) == 3 * CONTEXT


def run(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(folder), *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_as_a_program(tmp_path: pathlib.Path) -> None:
    assert "model.safetensors is not there" in run(tmp_path).stderr
    write(tmp_path)
    done = run(tmp_path, "--prompt", "the dog", "--length", "20", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert "the dog" in done.stdout and "20 tokens written" in done.stdout
    assert (
        run(tmp_path, "--prompt", "the dog", "--length", "20", "--seed", "1")
        .stdout.split("loaded")[1]
        .split("\n")[2]
        == done.stdout.split("loaded")[1].split("\n")[2]
    )


def test_a_file_that_does_not_fit(tmp_path: pathlib.Path) -> None:
    write(
        tmp_path,
        **{"h.1.ln_2.bias": None, "extra": torch.ones(2), "h.0.mlp.c_fc.bias": torch.ones(7)},
    )
    error = run(tmp_path).stderr
    assert "the file lacks h.1.ln_2.bias (12,)" in error
    assert "the model has no extra (2,)" in error
    assert "h.0.mlp.c_fc.bias is (7,) in the file, (48,) in the model" in error
    assert "Traceback" not in error
