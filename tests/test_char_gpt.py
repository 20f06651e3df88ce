"""Example 04: a run that is stopped and resumed, the cache, and the same run on torch."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

pytest.importorskip("sklearn")  # the examples' data
EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
SCRIPT = EXAMPLES / "04_char_gpt.py"

SMALL = """--limit 3000 --block 16 --layers 2 --heads 2 --width 16 --batch 8 --dropout 0.2
    --accumulate 2 --warmup 3 --steps 30 --val-windows 20 --val-every 7 --length 20""".split()


def load(library: str) -> Any:
    """The example as a module, its import lines changed to another library's."""
    source = SCRIPT.read_text(encoding="utf-8").replace(
        "import tinygrad_edu as torch", f"import {library} as torch"
    )
    source = source.replace("import tinygrad_edu.", f"import {library}.")
    source = source.replace("from tinygrad_edu import", f"from {library} import")
    module = types.ModuleType(f"char_gpt_on_{library}")
    sys.path.insert(0, str(EXAMPLES))
    try:
        exec(compile(source, str(SCRIPT), "exec"), module.__dict__)
    finally:
        sys.path.remove(str(EXAMPLES))
    return module


gpt = load("tinygrad_edu")


@contextlib.contextmanager
def arguments(*words: Any) -> Iterator[Any]:
    before = sys.argv
    sys.argv = [str(SCRIPT), *map(str, words)]
    try:
        yield gpt.parse_args()
    finally:
        sys.argv = before


def trainer(*words: Any, module: Any = None) -> Any:
    with arguments(*words) as args:
        return (module or gpt).make_trainer(args)


def small_model(**changes: Any) -> Any:
    ours.manual_seed(0)
    sizes = {"vocab": 11, "block": 12, "layers": 2, "heads": 2, "width": 16, "dropout": 0.0}
    return gpt.GPT(**{**sizes, **changes}).eval()


# ---- resume --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The checkpoint of a run that nobody interrupts; its text is read several times over."""
    path = tmp_path_factory.mktemp("whole") / "run.pt"
    run = trainer(*SMALL)
    first_epoch = run.batches.epoch_state
    assert gpt.train(run, path)
    assert not (run.batches.epoch_state == first_epoch).all()
    return path.read_bytes()


@pytest.mark.parametrize("stops", [[1], [7], [10, 11, 29], [3, 20]])
def test_resumed_run_equals_whole_run(
    whole_run: bytes, stops: list[int], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "run.pt"
    assert not gpt.train(trainer(*SMALL), path, stop_at=stops[0])
    for stop in [*stops[1:], None]:
        ours.manual_seed(12345)  # nothing but the checkpoint may decide how it goes on
        run = trainer("--resume", path)
        assert gpt.train(run, path, stop_at=stop) == (stop is None)
    assert path.read_bytes() == whole_run


def test_interrupted_program(tmp_path: pathlib.Path) -> None:
    """Ctrl-C during training, then the command it says."""
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), *SMALL, "--steps", "5000", "--checkpoint", "run.pt"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("step"))
        process.send_signal(signal.SIGINT)
        printed = process.stdout.read()
    assert process.returncode == 0
    assert "stopped after step" in printed and "--resume run.pt" in printed
    assert not (tmp_path / "run.pt.part").exists()

    whole = trainer(*SMALL, "--steps", 5000)
    done = len(gpt.load_checkpoint(tmp_path / "run.pt")["losses"])
    assert 7 <= done < 5000
    expected = [whole.step() for _ in range(done + 3)]
    run = trainer("--resume", tmp_path / "run.pt")
    assert [run.step() for _ in range(3)] == expected[-3:]


def test_finished_run_only_writes(tmp_path: pathlib.Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with arguments(*SMALL, "--steps", 7):
        assert gpt.main() == 0
    before = (tmp_path / "outputs/char_gpt.pt").read_bytes()
    text = capsys.readouterr().out.split("----")[2]
    with arguments("--resume", "outputs/char_gpt.pt", "--length", 20):
        assert gpt.main() == 0
    assert (tmp_path / "outputs/char_gpt.pt").read_bytes() == before
    assert capsys.readouterr().out.split("----")[2] == text


def test_failed_save_leaves_the_old_checkpoint(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    path = tmp_path / "run.pt"
    gpt.save_checkpoint(path, {"x": 1})

    def full(state: Any, part: str) -> None:
        pathlib.Path(part).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(gpt.torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        gpt.save_checkpoint(path, {"x": 2})
    assert gpt.load_checkpoint(path) == {"x": 1}


def test_checkpoint_keeps_everything(tmp_path: pathlib.Path) -> None:
    state = {"a": [1, 2.5, None, "ä", True], 3: {"t": ours.arange(6).view(2, 3)}, "empty": {}}
    gpt.save_checkpoint(tmp_path / "c.pt", state)
    found = gpt.load_checkpoint(tmp_path / "c.pt")
    assert found[3]["t"].dtype == ours.int64 and found[3]["t"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert {**found, 3: 0} == {**state, 3: 0}


def test_another_text_is_refused(tmp_path: pathlib.Path, capsys: Any) -> None:
    text = tmp_path / "text"
    text.write_text("to be or not to be " * 100)
    path = tmp_path / "run.pt"
    gpt.train(trainer(*SMALL, "--text", text), path, stop_at=1)
    text.write_text("not to be or to be " * 100)
    with arguments("--resume", path):
        assert gpt.main() == 2
    assert "not the one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--text", "nowhere"],
        ["--limit", "50"],
        ["--resume", "nowhere.pt"],
        ["--resume", str(SCRIPT)],
        ["--heads", "3"],
    ],
)
def test_bad_arguments(words: list[str], capsys: Any) -> None:
    with arguments(*words):
        assert gpt.main() == 2
    assert "cannot start" in capsys.readouterr().err


# ---- the model -----------------------------------------------------------------------------------


def test_a_character_does_not_look_ahead() -> None:
    model = small_model()
    ids = ours.arange(12).remainder(11).view(1, 12)
    changed = ids.clone()
    changed[0, 7] = 3
    with ours.no_grad():
        a, b = model(ids), model(changed)
    assert ours.equal(a[:, :7], b[:, :7])
    assert not ours.allclose(a[:, 7:], b[:, 7:])


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 1, 5], [12], [3, 9]])
def test_logits_with_the_cache(pieces: list[int]) -> None:
    model = small_model()
    ids = ours.randint(0, 11, (3, 12))
    cache = gpt.Cache()
    with ours.no_grad():
        whole = model(ids)
        parts = ours.cat([model(piece, cache) for piece in ids.split(pieces, dim=1)], dim=1)
    np.testing.assert_allclose(parts.numpy(), whole.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prompt", [[1], list(range(11)), [4] * 40])
def test_text_with_the_cache(prompt: list[int]) -> None:
    """The same text with and without, also when the context has been full several times."""
    model = small_model()
    texts = []
    for cached in (True, False):
        generator = ours.Generator().manual_seed(3)
        texts.append(list(gpt.generate(model, prompt, 50, 1.3, None, generator, cached)))
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 3


def test_top_k() -> None:
    model = small_model()
    with ours.no_grad():
        likeliest = model(ours.tensor([[2]]))[0, -1].topk(3).indices.tolist()
    generator = ours.Generator().manual_seed(0)
    drawn = {next(gpt.generate(model, [2], 1, 5.0, 3, generator)) for _ in range(60)}
    assert drawn == set(likeliest)


def test_only_matrices_decay() -> None:
    model = small_model()
    for group in gpt.make_optimizer(model, 1e-3, 0.1).param_groups:
        assert {p.dim() > 1 for p in group["params"]} == {group["weight_decay"] == 0.1}


def test_learning_rate() -> None:
    rates = [gpt.warmup_then_cosine(step, 10, 110) for step in range(111)]
    assert rates[:10] == [(i + 1) / 10 for i in range(10)]
    assert rates[10] == 1 and rates[60] == pytest.approx(0.55) and rates[110] == pytest.approx(0.1)


def test_every_window_once_an_epoch() -> None:
    batches = gpt.Batches(ours.arange(1000), block=10, batch=7, seed=0)
    seen: list[int] = []
    epoch = batches.epoch_state
    while True:
        x, y = batches.next()
        if not ours.equal(batches.epoch_state, epoch):
            break
        assert ours.equal(x + 1, y)
        seen += x.flatten().tolist()
    assert len(seen) == len(set(seen)) and 920 <= len(seen) <= 1000


def test_bigram_table() -> None:
    ids = ours.tensor([0, 1, 0, 1, 0, 0])
    # after 0: 1 twice, 0 once, and each once more; after 1: 0 twice, and each once more
    loss = gpt.bigram_loss(ids, ours.tensor([[0, 1]]), ours.tensor([[1, 0]]), 2)
    assert loss == pytest.approx(-(np.log(3 / 5) + np.log(3 / 4)) / 2)


# ---- beside torch --------------------------------------------------------------------------------


@pytest.mark.slow
def test_follows_torch() -> None:
    """The example's own model and training, dropout included, from the same seed on torch."""
    pytest.importorskip("torch")
    theirs = load("torch")
    runs = [trainer("--steps", 100, "--warmup", 50, module=module) for module in (gpt, theirs)]
    worst = max(abs(runs[0].step() - runs[1].step()) for _ in range(100))
    assert worst < 1e-3
    assert abs(runs[0].validate() - runs[1].validate()) < 1e-3
    assert runs[0].losses[-1] < 2.9 < 4.4 < runs[0].losses[0]
    a, b = (run.batches.state_dict() for run in runs)
    assert a["position"] == b["position"]
    assert np.array_equal(a["epoch_state"].numpy(), b["epoch_state"].numpy())
    states = [module.torch.get_rng_state().numpy() for module in (gpt, theirs)]
    assert np.array_equal(*states)
