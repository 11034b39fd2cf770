"""The preview's page in headless Chromium, without a network: mouse, keys, light and dark.

Needs the Python package playwright and a Chromium (its own or the system's); skips without.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import geopandas
import numpy as np
import pytest
import rasterio
import shapely

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


def test_keys_work_in_a_page_just_opened(page: Any) -> None:
    before = _pixels(page)
    page.keyboard.press("+")
    assert np.abs(_pixels(page) - before).mean() > 1
    page.keyboard.press("n")
    assert "building" in page.inner_text("#picked")
    page.locator("input[type=range]").first.focus()  # where keys mean something else
    page.keyboard.press("Escape")
    assert page.is_visible("#picked")


def test_numbers_beside_a_histogram_do_not_touch(browser: Any, page_file: Path) -> None:
    """With squares of 3 to 300 m, each size more often than the next: many bins, large counts."""
    scene, layer = page_file.with_name("town.tif"), page_file.with_name("sizes.gpkg")
    with rasterio.open(scene) as file:
        bounds, crs = file.bounds, file.crs
    squares = [
        shapely.box(bounds.left, bounds.bottom, bounds.left + side, bounds.bottom + side)
        for step, side in enumerate(np.geomspace(3, 290, 16))
        for _ in range(2 ** (13 - step) if step < 12 else 1)
    ]
    names = ["building"] * len(squares)
    geopandas.GeoDataFrame({"class": names}, geometry=squares, crs=crs).to_file(layer)
    target = page_file.with_name("sizes.html")
    preview(PreviewSpec(scene=str(scene), output=target, layers=(str(layer),)))
    opened = browser.new_page(viewport={"width": 1000, "height": 700})
    opened.goto(target.as_uri())
    opened.wait_for_selector("html[data-ready=yes]", timeout=120_000)
    boxes = [text.bounding_box() for text in opened.locator("svg text").all()]
    opened.close()
    assert len(boxes) > 16
    for one, other in itertools.combinations(boxes, 2):
        apart_x = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        apart_y = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
        assert apart_x or apart_y, (one, other)


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


def test_a_map_of_polygons_is_filled_with_its_holes_left_out(browser: Any, page_file: Path) -> None:
    """A square with a hole, and one of another class over its corner; a slider empties them."""
    scene, layer = page_file.with_name("town.tif"), page_file.with_name("land.gpkg")
    with rasterio.open(scene) as file:
        bounds, crs = file.bounds, file.crs
    side = (bounds.top - bounds.bottom) / 10
    squares = [
        shapely.box(bounds.left + a * side, bounds.bottom + a * side,
                    bounds.left + b * side, bounds.bottom + b * side)
        for a, b in ((1, 7), (3, 5), (6, 9))
    ]  # fmt: skip
    shapes = [squares[0] - squares[1], squares[2]]
    geopandas.GeoDataFrame({"class": ["field", "lake"]}, geometry=shapes, crs=crs).to_file(layer)
    target = page_file.with_name("land.html")
    preview(PreviewSpec(scene=str(scene), output=target, layers=(str(layer),)))
    opened = browser.new_page(viewport={"width": 1200, "height": 700})
    opened.goto(target.as_uri())
    opened.wait_for_selector("html[data-ready=yes]", timeout=120_000)
    filled = _pixels(opened)
    slider = opened.locator("input[type=range]").first
    slider.focus()
    opened.keyboard.press("Home")
    empty = _pixels(opened)
    box = opened.locator("#map").bounding_box()
    opened.close()
    scale = min(box["width"] / 800, box["height"] / 600)
    left, top = (box["width"] - 800 * scale) / 2, (box["height"] - 600 * scale) / 2

    def changed(step: float) -> float:
        x, y = left + step * 60 * scale, top + (10 - step) * 60 * scale
        part = np.s_[round(y) - 8 : round(y) + 8, round(x) - 8 : round(x) + 8]
        return float(np.abs(filled[part] - empty[part]).mean())

    assert min(changed(step) for step in (2, 6.5, 8)) > 5, "areas, one above the other too"
    assert max(changed(step) for step in (0.5, 4, 9.5)) < 1, "around them, and in the hole"
