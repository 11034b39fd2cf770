"""`vectorize --separate`: houses that touch become polygons of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from scipy import ndimage

from geotiler.errors import SpecError
from geotiler.io.raster import Scene
from geotiler.io.vector_reading import read_features
from geotiler.progress import Notice
from geotiler.specs import Regularize, VectorizeSpec
from geotiler.tasks import vectorize as task
from geotiler.tasks import vectorize_separate
from geotiler.tasks.vectorize import vectorize

TERRACES, HOUSES = 4, 5
"""Rows of houses in the scene, and houses in each."""


def write(path: Path, bands: np.ndarray, names: str, *, content: str | None = None) -> str:
    tags = {"GEOTILER_CLASSES": names}
    if content:
        tags["GEOTILER_CONTENT"] = content
    with rasterio.open(
        path, "w", height=bands.shape[1], width=bands.shape[2], count=len(bands),
        dtype=bands.dtype, nodata=255 if bands.dtype == np.uint8 else np.nan,
        crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
    ) as out:  # fmt: skip
        out.write(bands)
        out.update_tags(**tags)
    return str(path)


NAMES = '{"0": "background", "1": "building"}'


@pytest.fixture
def values() -> np.ndarray:
    """Terraces of houses of 20 x 16 px, the probability 0.65 where two of them meet."""
    found = np.full((200, 160), 0.02, np.float32)
    for row in range(TERRACES):
        top = 10 + 48 * row
        found[top : top + 20, 20 : 20 + 16 * HOUSES] = 0.99
        for wall in range(1, HOUSES):
            left = 20 + 16 * wall
            found[top : top + 20, left - 1 : left + 1] = 0.65
    found[10:30, 120:150] = 0.99  # a house that stands alone
    return ndimage.gaussian_filter(found, 0.5).astype(np.float32)


@pytest.fixture
def probability(tmp_path: Path, values: np.ndarray) -> str:
    stored = np.rint(values * 254).astype(np.uint8)
    return write(tmp_path / "p.tif", stored[None], NAMES, content="probability")


@pytest.fixture
def mask(tmp_path: Path, values: np.ndarray) -> str:
    return write(tmp_path / "m.tif", (values >= 0.5).astype(np.uint8)[None], NAMES)


@pytest.mark.parametrize("regularize", list(Regularize))
def test_each_house_of_a_terrace_is_a_polygon(probability, tmp_path, regularize):
    plain = VectorizeSpec(
        mask=probability, output=str(tmp_path / "whole.gpkg"), regularize=regularize
    )
    whole = vectorize(plain)
    assert whole.polygons == TERRACES + 1
    assert whole.separated is None
    output = tmp_path / "separate.gpkg"
    spec = VectorizeSpec(mask=probability, output=str(output), regularize=regularize, separate=True)
    report = vectorize(spec)
    assert report.polygons == TERRACES * HOUSES + 1
    assert report.separated == TERRACES * HOUSES
    found = read_features(str(output)).geometries
    assert shapely.is_valid(found).all()
    # 20 x 16 px of 0.25 m2, less what the outlines leave at walls and corners.
    assert np.abs(shapely.area(found[:-1])[: HOUSES - 1] - 80).max() < 12
    joined = shapely.union_all(found)
    assert joined.area == pytest.approx(shapely.area(found).sum(), rel=1e-6)  # none overlap
    assert joined.area == pytest.approx(whole.area, rel=0.02)


def test_from_a_mask_with_its_probabilities(mask, probability, tmp_path):
    found = []
    for name, source, more in (("a", mask, {"probability": probability}), ("b", probability, {})):
        output = tmp_path / name / "b.geojson"
        output.parent.mkdir()
        report = vectorize(VectorizeSpec(mask=source, output=str(output), separate=True, **more))
        assert report.separated == TERRACES * HOUSES
        found.append(output.read_bytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_neither_strips_nor_batches_nor_workers_change_the_bytes(
    probability, tmp_path, monkeypatch, suffix
):
    found = []
    for name, rows, batch, workers in (("a", 10**4, 1024, 1), ("b", 13, 2, 1), ("c", 13, 2, 2)):
        monkeypatch.setattr(Scene, "strip_rows", lambda self, width, rows=rows: rows)
        monkeypatch.setattr(task, "BATCH_FEATURES", batch)
        target = tmp_path / name / f"b{suffix}"
        target.parent.mkdir()
        spec = VectorizeSpec(mask=probability, output=str(target), separate=True, workers=workers)
        assert vectorize(spec).separated == TERRACES * HOUSES
        found.append(target.read_bytes())
    assert found[0] == found[1] == found[2]


def test_parts_are_in_the_place_of_their_patch(probability, tmp_path):
    output = tmp_path / "b.geojson"
    vectorize(VectorizeSpec(mask=probability, output=str(output), separate=True))
    features = json.loads(output.read_text())["features"]
    assert [each["properties"]["id"] for each in features] == list(range(1, 22))
    rows = [-shapely.geometry.shape(each["geometry"]).centroid.y for each in features]
    assert rows == pytest.approx(sorted(rows), abs=1e-5)
    assert all(each["properties"]["mean_probability"] > 0.9 for each in features)


def test_what_is_smaller_than_the_least_area_is_no_house(probability, tmp_path):
    spec = VectorizeSpec(
        mask=probability, output=str(tmp_path / "b.gpkg"), separate=True, min_area_m2=90
    )
    report = vectorize(spec)
    assert report.polygons == TERRACES + 1
    assert report.separated == 0


def test_holes_that_are_filled_are_counted_once(values, tmp_path):
    pierced = values.copy()
    pierced[18:20, 26:28] = 0.02
    path = write(
        tmp_path / "p.tif", np.rint(pierced * 254).astype(np.uint8)[None], NAMES,
        content="probability",
    )  # fmt: skip
    spec = VectorizeSpec(mask=path, output=str(tmp_path / "b.gpkg"), separate=True, min_hole_m2=4)
    report = vectorize(spec)
    assert report.filled_holes == 1
    assert report.separated == TERRACES * HOUSES


def test_very_large_patches_stay_whole_and_that_is_said(probability, tmp_path, monkeypatch):
    monkeypatch.setattr(vectorize_separate, "MOST_BYTES", 100_000)
    said: list[str] = []

    def hear(event):
        if isinstance(event, Notice):
            said.append(event.message)

    spec = VectorizeSpec(mask=probability, output=str(tmp_path / "b.gpkg"), separate=True)
    report = vectorize(spec, report=hear)
    assert (report.polygons, report.separated) == (TERRACES + 1, 0)
    (told,) = [text for text in said if "too large" in text]
    assert told.startswith(f"{TERRACES} patches were too large for --separate and left whole: 9")
    assert "% of the area" in told


def test_one_class_of_several(values, tmp_path):
    """Bands of three classes: where two houses meet, both of the others are likelier."""
    water = np.zeros_like(values)
    water[150:] = 0.9
    bands = np.stack([1 - values, values, water])
    bands /= bands.sum(axis=0)
    names = '{"0": "background", "1": "building", "2": "water"}'
    path = tmp_path / "p.tif"
    write(path, bands.astype(np.float32), names, content="probability")
    with rasterio.open(path, "r+") as out:
        for band, name in enumerate(("background", "building", "water"), start=1):
            out.set_band_description(band, name)
    spec = {"mask": str(path), "output": str(tmp_path / "b.gpkg"), "separate": True}
    with pytest.raises(SpecError, match="one class, and several"):
        vectorize(VectorizeSpec(**spec))
    assert not (tmp_path / "b.gpkg").exists()
    report = vectorize(VectorizeSpec(**spec, classes=("building",)))
    assert report.separated > HOUSES
    by_itself = {**spec, "regularize": Regularize.ANY_ANGLE, "overwrite": True}
    both = vectorize(VectorizeSpec(**by_itself))
    assert both.separated >= report.separated
    assert set(both.per_class) == {"building", "water"}


def test_what_is_not_known_is_no_valley(tmp_path):
    """A roof that a strip without probabilities crosses."""
    chance = np.full((60, 60), 0.02, np.float32)
    chance[10:30, 10:50] = 0.98
    mask = write(tmp_path / "m.tif", (chance >= 0.5).astype(np.uint8)[None], NAMES)
    stored = np.rint(chance * 254).astype(np.uint8)
    stored[:, 28:31] = 255
    path = write(tmp_path / "p.tif", stored[None], NAMES, content="probability")
    spec = VectorizeSpec(
        mask=mask, output=str(tmp_path / "b.gpkg"), probability=path, separate=True
    )
    report = vectorize(spec)
    assert (report.polygons, report.separated) == (1, 0)


@pytest.mark.parametrize(("side", "polygons"), [(2, 1), (4, 2)])
def test_large_pixels_do_not_make_every_bump_a_house(tmp_path, side, polygons):
    """At 10 m four pixels are 400 square metres, and no core yet; sixteen are one."""
    chance = np.full((20, 40), 0.02, np.float32)
    chance[4:16, 4:36] = 0.55
    chance[8 : 8 + side, 8 : 8 + side] = chance[8 : 8 + side, 28 : 28 + side] = 0.99
    stored = np.rint(chance * 254).astype(np.uint8)
    path = write(tmp_path / "p.tif", stored[None], NAMES, content="probability")
    with rasterio.open(path, "r+") as out:
        out.transform = Affine(10, 0, 5e5, 0, -10, 5e6)
    report = vectorize(VectorizeSpec(mask=path, output=str(tmp_path / "b.gpkg"), separate=True))
    assert report.polygons == polygons


def test_without_probabilities_it_says_how_to_get_them(mask, tmp_path):
    with pytest.raises(SpecError, match="needs probabilities") as caught:
        vectorize(VectorizeSpec(mask=mask, output=str(tmp_path / "b.gpkg"), separate=True))
    assert "geotiler segment --probability" in str(caught.value.hint)
    assert not (tmp_path / "b.gpkg").exists()


def test_a_class_without_a_band(tmp_path, values, probability):
    path = write(
        tmp_path / "two.tif", np.where(values >= 0.5, 2, 0).astype(np.uint8)[None],
        '{"1": "building", "2": "water"}',
    )  # fmt: skip
    spec = VectorizeSpec(
        mask=path, output=str(tmp_path / "b.gpkg"), probability=probability, separate=True,
        classes=("water",),
    )  # fmt: skip
    with pytest.raises(SpecError, match="no band of a class"):
        vectorize(spec)


def test_corners_cannot_be_joined_too(mask):
    with pytest.raises(SpecError, match="--eight-connected"):
        VectorizeSpec(mask=mask, output="b.gpkg", separate=True, eight_connected=True)
