"""The preview's page in headless Chromium, without a network: mouse, keys, light and dark.

Needs the Python package playwright and a Chromium (its own or the system's); skips without.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from geotiler.specs import PreviewSpec, RenderSpec
from geotiler.tasks.preview import preview
from geotiler.tasks.render import render

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    installed = shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as driver:
        try:
            # A container without user namespaces has no sandbox; the page is our own.
            found = driver.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a rendered town, its true outlines as the polygons."""
    folder = tmp_path_factory.mktemp("page")
    scene, truth = folder / "town.tif", folder / "town.geojson"
    render(RenderSpec(output=scene, truth=truth, height=600, width=800, seed=5))
    spec = PreviewSpec(
        scene=str(scene),
        output=folder / "town.html",
        layers=(str(truth),),
        truth=str(truth),
        attribution="© nobody",
    )
    preview(spec)
    return folder / "town.html"


@pytest.fixture(params=["light", "dark"])
def page(browser: Any, page_file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    context = browser.new_context(
        viewport={"width": 1000, "height": 700}, color_scheme=request.param, offline=True
    )
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("requestfailed", lambda one: faults.append(one.url))
    opened.goto(page_file.as_uri())
    opened.wait_for_selector("html[data-ready=yes]", timeout=120_000)
    yield opened
    assert faults == []
    context.close()


def _pixels(page: Any) -> np.ndarray:
    page.wait_for_timeout(300)
    return cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR).astype(int)


def test_it_shows_the_scene_and_follows_light_and_dark(page: Any) -> None:
    image = _pixels(page)
    assert image[:, :600].std() > 15, "a scene is not one colour"
    is_dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (np.median(image[:, 700:]) < 90) == is_dark
    page.click("#theme")
    assert (np.median(_pixels(page)[:, 700:]) < 90) != is_dark


def test_everything_can_be_done_with_keys(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "map"
    before = _pixels(page)
    page.keyboard.press("+")
    zoomed = _pixels(page)
    assert np.abs(zoomed - before).mean() > 1
    page.keyboard.press("0")
    assert np.abs(_pixels(page) - before).mean() < 0.5
    page.keyboard.press("n")
    assert "building" in page.inner_text("#picked")
    first = page.inner_text("#picked")
    page.keyboard.press("n")
    page.keyboard.press("p")
    assert page.inner_text("#picked") == first
    page.keyboard.press("Escape")
    assert page.is_hidden("#picked")


def test_a_click_on_a_polygon_tells_its_attributes(page: Any) -> None:
    page.focus("#map")
    page.keyboard.press("n")  # brings the first one to the middle
    expected = page.inner_text("#picked")
    page.keyboard.press("Escape")
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.inner_text("#picked") == expected


def test_sliders_and_switches_change_what_is_seen(page: Any) -> None:
    before = _pixels(page)
    slider = page.locator("input[type=range]").first
    slider.focus()
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    faded = _pixels(page)
    assert np.abs(faded - before).mean() > 0.5
    for box in page.locator("input[type=checkbox]").all():
        box.uncheck()
    assert np.abs(_pixels(page) - faded).mean() > 0.05


def test_it_fits_a_narrow_window(page: Any) -> None:
    page.set_viewport_size({"width": 380, "height": 800})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
