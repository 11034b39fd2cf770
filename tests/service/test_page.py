"""The page, in a real browser: drop a scene, wait, look."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import rasterio

from geotiler.models.bundle import Bundle
from geotiler.service.operation_routes import VENDOR
from geotiler.service.settings import Settings

from .conftest import Live, live

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_MS = 180_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings = Settings(
        weights=tiny_bundle.folder.parent, model="tiny", folder=tmp_path_factory.mktemp("serve")
    )
    with live(settings) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine; `make test-system` installs one")
    flags = ["--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-quic"]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, site: Live) -> Iterator[Page]:
    """The page, opened; a script's error fails the test."""
    opened = browser.new_page(viewport={"width": 1200, "height": 800})
    opened.set_default_timeout(WAIT_MS)
    failures: list[str] = []
    foreign: set[str] = set()

    def asked(request: Any) -> None:
        if not request.url.startswith((site.url, "blob:", "data:")):
            foreign.add(request.url)

    def failed(request: Any) -> None:
        if request.failure == "csp":  # never left the browser
            foreign.discard(request.url)

    opened.on("pageerror", lambda error: failures.append(str(error)))
    opened.on("request", asked)
    opened.on("requestfailed", failed)
    opened.goto(site.url)
    yield opened
    opened.close()
    assert failures == []
    assert foreign == set()  # no other host is asked for anything


def _needs_map() -> None:
    if not (VENDOR / "leaflet" / "leaflet.js").is_file():
        pytest.skip("the libraries of the pages are not here; `make map` fetches them")


def _picture(page: Page) -> np.ndarray[Any, Any]:
    image = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


@pytest.mark.parametrize("has_crs", [True, False], ids=["CRS", "world file"])
def test_a_scene_becomes_polygons_on_a_map(
    page: Page, scene: Path, tmp_path: Path, has_crs: bool
) -> None:
    _needs_map()
    if not has_crs:
        with rasterio.open(scene) as known:
            profile, bands = known.profile, known.read()
        scene = tmp_path / "world.tif"
        with rasterio.open(scene, "w", **{**profile, "crs": None}) as unknown:
            unknown.write(bands)
    before = _picture(page)
    page.set_input_files("#file", str(scene))
    page.wait_for_selector("#result:not([hidden])")
    page.wait_for_selector(".leaflet-image-layer")
    outlines = page.locator("path.leaflet-interactive")
    polygons = int(page.locator("#figures tr:first-child td:last-child").inner_text())
    assert polygons > 0
    assert outlines.count() == polygons
    # Every outline lies on the scene's picture.
    scene_box = page.locator(".leaflet-image-layer").first.bounding_box()
    assert scene_box is not None
    for index in range(min(5, polygons)):
        box = outlines.nth(index).bounding_box()
        assert box is not None
        assert scene_box["x"] - 3 <= box["x"] <= scene_box["x"] + scene_box["width"] + 3
        assert scene_box["y"] - 3 <= box["y"] <= scene_box["y"] + scene_box["height"] + 3
    assert float(np.abs(_picture(page).astype(int) - before).mean()) > 5
    with page.expect_download() as download:
        page.click("text=Footprints, GeoJSON")
    download.value.save_as(tmp_path / "features.geojson")
    import geopandas

    assert len(geopandas.read_file(tmp_path / "features.geojson")) == polygons


def test_houses_that_touch_are_parted_where_that_is_ticked(page: Page, scene: Path) -> None:
    page.check("#separate")
    with page.expect_request(lambda request: "/batch" in request.url) as sent:
        page.set_input_files("#file", str(scene))
    assert "separate=true" in sent.value.url
    page.wait_for_selector("#result:not([hidden])")


def test_a_picture_without_a_place_is_shown_in_pixels(page: Page, tmp_path: Path) -> None:
    _needs_map()
    image = np.random.default_rng(0).integers(0, 256, (90, 140, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), cv2.GaussianBlur(image, (0, 0), 4))
    page.set_input_files("#file", str(tmp_path / "photo.png"))
    page.wait_for_selector("#result:not([hidden])")
    assert "140 × 90 px" in page.locator("#figures").inner_text()
    box = page.locator(".leaflet-image-layer").first.bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(140 / 90, rel=0.02)


def test_a_text_file_named_tif_is_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.tif").write_text("this is no raster")
    page.set_input_files("#file", str(tmp_path / "notes.tif"))
    page.wait_for_selector("#error:not([hidden])")
    assert page.locator("#error").inner_text().startswith("notes.tif cannot be opened")
    assert page.locator("#progress").is_hidden()
    assert page.locator("#result").is_hidden()


def test_without_the_map_library_the_page_says_how_to_get_it(
    browser: Any, site: Live, scene: Path
) -> None:
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    page.route("**/leaflet.js", lambda route: route.fulfill(status=404))
    page.goto(site.url)
    assert "make map" in page.locator("#no-map").inner_text()
    page.set_input_files("#file", str(scene))
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#downloads a").count() == 2
    page.close()


@pytest.mark.parametrize(("path", "drawn"), [("docs", ".opblock"), ("redoc", "[data-section-id]")])
def test_the_api_is_drawn_without_another_host(
    page: Page, site: Live, path: str, drawn: str
) -> None:
    _needs_map()
    page.goto(f"{site.url}/{path}")
    page.wait_for_selector(drawn)
    assert "/predict" in page.locator("body").inner_text()
