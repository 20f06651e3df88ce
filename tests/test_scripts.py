"""Complete PyTorch scripts print the same losses through `python -m tinygrad_edu`."""

from __future__ import annotations

import re

import pytest
from run_scripts import ALL, SCRIPTS, difference, differences, run

pytest.importorskip("torch")
pytest.importorskip("sklearn")


@pytest.mark.parametrize("name", ALL)
def test_same_losses(name: str) -> None:
    script = ALL[name]
    mine, _ = run(name, script.short.split(), ours=True)
    theirs, _ = run(name, script.short.split(), ours=False)
    assert len(theirs) > 5 and any(NUMBER.search(line) for line in theirs)
    for a, b, apart in zip(mine, theirs, differences(mine, theirs), strict=True):
        assert apart <= script.rtol, f"\n{a}\n{b}"


NUMBER = re.compile(r"\d\.\d{5}")


def test_scripts_are_ordinary() -> None:
    paths = sorted(SCRIPTS.glob("*.py"))
    assert [path.stem for path in paths] == sorted(ALL)
    for path in paths:
        text = path.read_text()
        assert "tinygrad" not in text and "import torch" in text


def test_comparison_can_fail() -> None:
    assert difference("loss 0.1234 of 3", "loss 0.1234 of 3") == 0
    assert difference("loss 0.1234", "loss 0.1235") == 0  # the last digit
    assert difference("loss 0.1234", "loss 0.1237") > 1e-3
    assert difference("loss 0.1234", "lost 0.1234") == float("inf")
    assert difference("4 right", "5 right") == float("inf")
    assert differences(["a", "b"], ["a"]) == [0, float("inf")]
