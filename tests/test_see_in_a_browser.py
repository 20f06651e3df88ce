"""The pages of `see` in a real browser: a click, a slider, keys, and the values that they show.

Needs `pip install playwright` and a Chromium: one that `playwright install chromium` has brought,
or the system's.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

import tinygrad_edu as torch
from tinygrad_edu import nn, see

api = pytest.importorskip("playwright.sync_api", reason="needs playwright")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"needs a Chromium: {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture(params=[(1200, 800), (390, 800)], ids=["desk", "phone"])
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    made = context.new_page()
    errors: list[Any] = []
    made.on("pageerror", lambda error: errors.append(error))
    yield made
    context.close()
    assert errors == []


def model_and_loss() -> tuple[Any, Any]:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return model, model(torch.randn(2, 5, 8)).square().mean()


def shown(page: Any) -> int:
    return int(page.inner_text("#place").split("/")[0])


def check(page: Any, walk: Any, place: int) -> None:
    """The page shows that step, with its numbers."""
    step = walk.steps[place - 1]
    assert shown(page) == place
    assert page.inner_text("#step h1").startswith(step.name)
    lines = [t for t in page.locator("#step .share").all_inner_texts()]
    assert len(lines) == len(step.shares)
    for line, share in zip(lines, step.shares, strict=True):
        assert share.name in line
        if share.gradient.values is None:
            norm = re.search(r"\|g\| (\S+)", line)
            assert norm and float(norm[1]) == pytest.approx(share.gradient.norm, rel=1e-3)
        else:
            numbers = line.split("[")[-1].rstrip("]").split(", ")
            assert [float(n) for n in numbers] == pytest.approx(share.gradient.values, rel=1e-3)
    now = page.locator("#picture .now").all()
    assert len(now) == 1
    assert str(step.number) in now[0].get_attribute("data-nodes").split()


def test_the_walk_by_keys_slider_buttons_and_clicks(page, tmp_path):
    model, loss = model_and_loss()
    walk = see.backward(loss, model)
    walk.save(tmp_path / "walk.html")
    page.goto((tmp_path / "walk.html").as_uri())
    assert shown(page) == 0 and "Before" in page.inner_text("#step h1")
    for place in (1, 2, 3):
        page.keyboard.press("ArrowRight")
        check(page, walk, place)
    page.keyboard.press("ArrowLeft")
    check(page, walk, 2)
    page.keyboard.press("End")
    check(page, walk, len(walk.steps))
    page.click("#back")
    check(page, walk, len(walk.steps) - 1)
    page.keyboard.press("Home")
    page.click("#on")
    check(page, walk, 1)
    page.locator("#slider").fill("7")
    check(page, walk, 7)
    target = walk.steps[4].number
    box = page.locator(f"#picture .box[data-nodes='{target}']")
    box.click()
    check(page, walk, 5)
    assert page.locator("#picture .box.done").count() == 4


def test_heat_maps_show_signs(page, tmp_path):
    x = torch.tensor([1.0, -1.0], requires_grad=True)
    walk = see.backward((x * torch.tensor([2.0, -2.0])).sum())
    walk.save(tmp_path / "walk.html")
    page.goto((tmp_path / "walk.html").as_uri())
    page.keyboard.press("End")
    pixels = page.evaluate(
        "() => { const c = [...document.querySelectorAll('#step canvas')].pop();"
        " return [...c.getContext('2d').getImageData(0, 0, 2, 1).data]; }"
    )
    assert pixels == [192, 57, 43, 255, 41, 98, 192, 255]


def test_it_plays(page, tmp_path):
    x = torch.ones(2, requires_grad=True)
    walk = see.backward((x * x).sum())
    walk.save(tmp_path / "walk.html")
    page.goto((tmp_path / "walk.html").as_uri())
    page.keyboard.press(" ")
    page.wait_for_function("document.getElementById('place').textContent.startsWith('2')")
    check(page, walk, 2)


def test_folded_modules_open_and_close(page, tmp_path):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 3)
    with see.watch(model):
        loss = model(torch.randn(1, 4, 8)).sum()
    see.graph(loss, model, depth=1).save(tmp_path / "graph.svg")
    page.goto((tmp_path / "graph.svg").as_uri())
    group = page.locator("[data-opens]:visible").first
    opened = group.get_attribute("data-opens")
    group.click()
    assert page.locator(f"#{opened}").is_visible() and not page.locator("#view0").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#view0").is_visible()
    page.locator("[data-opens]:visible").first.focus()
    page.keyboard.press("Enter")
    assert not page.locator("#view0").is_visible()
    page.locator(".back:visible").click()
    assert page.locator("#view0").is_visible()
