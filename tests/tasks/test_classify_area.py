"""A part of a scene is labelled as the whole scene is, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geotiler.core.cells import CellAxis, FinishedCells
from geotiler.core.label_sweep import LabelCounts, LabelPlan, label_cells
from geotiler.core.resample import Axis
from geotiler.errors import InputError, SpecError
from geotiler.io.area import Area
from geotiler.models.bundle import Bundle
from geotiler.models.card import ModelCard
from geotiler.specs import ClassifySpec, Scale
from geotiler.tasks import classify as task
from geotiler.tasks import classify_input
from geotiler.tasks.classify import classify, estimate
from geotiler.tasks.classify_area import AskedCells, asked_cells

TILE = 64
UTM = Affine(10, 0, 300_000, 0, -10, 5_400_000)


def _answer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """p and 1 - p from the mean of a tile, which it alone decides."""
    p = 1 / (1 + np.exp(-4 * batch.mean(axis=(1, 2, 3), dtype=np.float64)))
    return np.stack([p, 1 - p], axis=1).astype(np.float32)


def _labelled(
    cells: AskedCells, axes: tuple[Axis, Axis], image: NDArray[np.uint8], valid: NDArray[np.bool_],
    step: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], LabelCounts]:  # fmt: skip
    (top, rows), (left, columns) = cells.parts
    plan = LabelPlan(
        axes=axes, cells=(rows, columns), classes=2, scale=Scale(minimum=0, maximum=255),
        mean=(0.5,), std=(0.2,), min_valid=0.4, batch=3, origin_px=(top, left),
        wanted=None if cells.wanted is None else cells.wanted_tiles,
    )  # fmt: skip
    (read, last), (first, behind) = (span.read for span in plan.spans(cells.offset[0]))

    def chunks() -> Iterator[Any]:
        for row in range(read, last, step):
            part = slice(row, min(last, row + step)), slice(first, behind)
            yield image[:, *part], valid[part]

    counts = LabelCounts()
    swept = label_cells(chunks(), _answer, plan, counts, first=cells.offset[0])
    found: list[FinishedCells] = [cells.taken(done) for done in swept]
    found = [done for done in found if len(done.known)]
    assert [done.row for done in found] == np.cumsum([0, *map(len, (d.known for d in found))])[
        :-1
    ].tolist()
    return (
        np.concatenate([done.probabilities for done in found], axis=1),
        np.concatenate([done.known for done in found]),
        counts,
    )


@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    tile=st.integers(1, 16),
    ratio=st.sampled_from([1.0, 1.0, 0.5, 0.37, 1.7]),
    data=st.data(),
)
def test_cells_of_a_part_are_those_of_the_whole_scene(
    shape: tuple[int, int], tile: int, ratio: float, data: st.DataObject
) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = random.integers(0, 256, (1, *shape), dtype=np.uint8)
    valid = random.random(shape) < data.draw(st.sampled_from([0.5, 0.9, 1.0]))
    stride = data.draw(st.integers(1, tile))
    rows, columns = (Axis.scaled(side, ratio) for side in shape)
    whole_rows, whole_columns = (
        CellAxis(length_px=axis.target_px, tile_px=tile, stride_px=stride)
        for axis in (rows, columns)
    )
    axes, whole = (rows, columns), (whole_rows, whole_columns)
    y, x = (
        sorted(data.draw(st.tuples(st.floats(0, side - 0.3), st.floats(0, side - 0.3))))
        for side in shape
    )
    corners = [(x[0], y[0]), (x[1] + 0.3, y[0]), (x[1] + 0.3, y[1] + 0.3)]
    if data.draw(st.booleans()):
        corners.append((x[0], y[1] + 0.3))
    area = Area(shapely.Polygon(corners))
    step = data.draw(st.integers(1, 80))
    all_values, all_known, all_counts = _labelled(
        asked_cells(whole, axes, None), axes, image, valid, 30
    )
    cells = asked_cells(whole, axes, area)
    values, known, counts = _labelled(cells, axes, image, valid, step)
    (row, col), (height, width) = cells.first, cells.shape
    part = slice(row, row + height), slice(col, col + width)
    assert (cells.wanted is None) == area.is_box
    wanted = np.ones(cells.shape, bool) if cells.wanted is None else cells.wanted
    np.testing.assert_array_equal(known, all_known[part] & wanted)
    np.testing.assert_array_equal(values, all_values[:, *part] * known)
    assert counts.computed <= all_counts.computed
    assert counts.computed + counts.skipped == cells.tiles
    if stride == tile:
        assert cells.tiles == wanted.sum()
    # What is wanted is what the area covers more than a rounding error of.
    for down, across in np.ndindex(cells.shape):
        top, left = (whole_rows.edges[row + down], whole_columns.edges[col + across])
        bottom, right = (
            whole_rows.edges[row + down + 1], whole_columns.edges[col + across + 1]
        )  # fmt: skip
        cell = shapely.box(left / ratio, top / ratio, right / ratio, bottom / ratio)
        share = shapely.intersection(cell, area.polygons).area
        if share > 0.05 * max(1.0, cell.length):
            assert wanted[down, across]
        if not wanted[down, across]:
            assert share <= 0.05 * max(1.0, cell.length)


class _Formula:
    """A classifier of ten classes that knows a tile by its mean."""

    name = "formula"
    batch = 3
    tile_shape = (TILE, TILE)

    def __init__(self) -> None:
        self.tiles = 0

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.tiles += len(batch)
        mean = batch.mean(axis=(1, 2, 3), dtype=np.float64)
        likely = np.exp(-np.abs(mean[:, None] - np.linspace(-1, 1, 10)) * 9)
        return (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def model(make_landuse_card: Callable[..., ModelCard], monkeypatch: pytest.MonkeyPatch) -> _Formula:
    made = _Formula()
    bundle = Bundle(folder=Path("tiny"), card=make_landuse_card(), digest="d" * 64)
    monkeypatch.setattr(classify_input, "find_model", lambda name: bundle)
    monkeypatch.setattr(task, "open_classifier", lambda bundle, run: made)
    return made


@pytest.fixture
def spec(tmp_path: Path) -> ClassifySpec:
    """A scene of 6 by 8 tiles."""
    image = np.random.default_rng(5).integers(0, 256, (3, 12, 16), dtype=np.uint8)
    image = np.kron(image, np.ones((1, 32, 32), np.uint8))
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=384, width=512, dtype="uint8",
        crs="EPSG:32633", transform=UTM, tiled=True, blockxsize=128, blockysize=64,
    ) as out:  # fmt: skip
        out.write(image)
    return ClassifySpec(scene=(str(path),), output=str(tmp_path / "map.tif"))


def _read(path: str | Path) -> tuple[NDArray[np.uint8], Affine]:
    with rasterio.open(path) as file:
        return file.read(1), file.transform


def _on_the_whole(part: Affine) -> tuple[int, int]:
    """(row, col) of a part's first cell among those of the whole scene."""
    col, row = ~(UTM @ Affine.scale(TILE)) * (part.c, part.f)
    return round(row), round(col)


CORNERS: list[list[float]] = [
    [301_300, 5_397_500], [304_700, 5_397_500], [304_700, 5_398_900]
]  # fmt: skip


def _polygon(path: Path, corners: list[list[float]]) -> None:
    """A file of one polygon in the CRS of the scene."""
    feature = {
        "type": "Feature", "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]},
    }  # fmt: skip
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    text = json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]})
    path.write_text(text)


BOUNDS = (301_300.0, 5_397_500.0, 303_500.0, 5_398_700.0)


def test_a_map_of_bounds_is_that_part_of_the_map(
    spec: ClassifySpec, model: _Formula, tmp_path: Path
) -> None:
    classify(spec)
    whole, _ = _read(spec.output)
    before = model.tiles
    part = replace(
        spec, output=str(tmp_path / "part.tif"), confidence=tmp_path / "c.tif", bounds=BOUNDS
    )
    report = classify(part)
    found, transform = _read(part.output)
    row, col = _on_the_whole(transform)
    assert (row, col) == (2, 2)
    assert found.shape == report.cells == (2, 4)
    np.testing.assert_array_equal(found, whole[row : row + 2, col : col + 4])
    assert model.tiles - before == report.tiles == 8
    assert estimate(replace(part, output=str(tmp_path / "other.tif"), confidence=None)).tiles == 8
    with rasterio.open(tmp_path / "c.tif") as confidence:
        assert (confidence.shape, confidence.transform) == ((2, 4), transform)
    assert sum(report.class_area_m2.values()) == pytest.approx(8 * 640**2, rel=3e-3)


def test_degrees_and_an_overview_lead_to_the_same_cells(
    spec: ClassifySpec, model: _Formula, tmp_path: Path
) -> None:
    """The scene at twice the resolution, whose overview is read."""
    with rasterio.open(spec.scene[0]) as scene:
        image = np.kron(scene.read(), np.ones((1, 2, 2), np.uint8))
        profile = {**scene.profile, "height": 768, "width": 1024, "transform": UTM * UTM.scale(0.5)}
    with rasterio.open(tmp_path / "fine.tif", "w", **profile) as out:
        out.write(image)
    with rasterio.open(tmp_path / "fine.tif", "r+") as out:
        out.build_overviews([2], Resampling.average)
    classify(spec)
    whole, _ = _read(spec.output)
    degrees = rasterio.warp.transform_bounds("EPSG:32633", "EPSG:4326", *BOUNDS)
    fine = replace(
        spec, scene=(str(tmp_path / "fine.tif"),), output=str(tmp_path / "fine_map.tif"),
        bounds=degrees, bounds_crs="EPSG:4326",
    )  # fmt: skip
    assert classify(fine).settings["overview"].value == 2
    found, transform = _read(fine.output)
    row, col = _on_the_whole(transform)
    height, width = found.shape
    assert row <= 2 < row + height <= 5  # turned into metres bounds grow a little
    assert col <= 2 < col + width <= 7
    np.testing.assert_array_equal(found, whole[row : row + height, col : col + width])


@pytest.mark.parametrize("dissolve", [False, True])
def test_outside_of_polygons_there_is_no_label(
    spec: ClassifySpec, model: _Formula, tmp_path: Path, dissolve: bool
) -> None:
    _polygon(tmp_path / "aoi.geojson", CORNERS)
    part = replace(
        spec, output=str(tmp_path / "part.gpkg"), aoi=str(tmp_path / "aoi.geojson"),
        dissolve=dissolve,
    )  # fmt: skip
    report = classify(part)
    triangle = shapely.Polygon(CORNERS)
    found = shapely.from_wkb(pyogrio.raw.read(part.output, layer="part")[2])
    labelled = shapely.union_all(found)
    assert shapely.difference(triangle, labelled).area < 1
    assert report.tiles == round(labelled.area / 640**2) < 6 * 3  # of the rectangle around it
    if not dissolve:
        assert all(shapely.intersects(found, triangle))


@pytest.mark.parametrize("turn", [0, 30])
def test_a_scene_without_a_crs_is_asked_for_in_its_own_coordinates(
    spec: ClassifySpec, model: _Formula, tmp_path: Path, turn: float
) -> None:
    """Pixels where it has no transform either; else those of a transform that may be turned."""
    with rasterio.open(spec.scene[0]) as scene:
        profile = {**scene.profile, "crs": None, "transform": Affine.rotation(turn)}
        image = scene.read()
    plain = tmp_path / "plain.tif"
    with rasterio.open(plain, "w", **profile) as out:
        out.write(image)
    corners = np.array([(130, 150), (300, 150), (300, 200), (130, 200)]).T
    x, y = Affine.rotation(turn) * corners
    bounds = (x.min(), y.min(), x.max(), y.max())
    whole = replace(spec, scene=(str(plain),))
    classify(whole)
    part = replace(whole, output=str(tmp_path / "part.tif"), bounds=bounds)
    row, col, height, width = classify(part).settings["area_cells"].value
    assert row <= 2 < row + height
    assert col <= 2 < 4 < col + width
    inside, found = _read(spec.output)[0][row : row + height, col : col + width], _read(part.output)
    same = found[0] == inside
    assert same[2 - row, 2 - col : 5 - col].all()
    assert np.all(same | (found[0] == 255))
    assert found[1].almost_equals(
        profile["transform"] @ Affine(TILE, 0, 0, 0, TILE, 0) @ Affine.translation(col, row)
    )


def test_an_overview_does_not_decide_whether_bounds_are_too_small(
    spec: ClassifySpec, model: _Formula, tmp_path: Path
) -> None:
    """Three by three pixels of a scene whose overview is eight times coarser."""
    fine = tmp_path / "fine.tif"
    with rasterio.open(
        fine, "w", driver="GTiff", count=3, height=1024, width=1024, dtype="uint8",
        crs="EPSG:32633", transform=UTM @ Affine.scale(0.125), tiled=True,
    ) as out:  # fmt: skip
        out.write(np.full((3, 1024, 1024), 90, np.uint8))
    few = replace(
        spec, scene=(str(fine),), insist=True, bounds=(300_100, 5_399_000, 300_103.75, 5_399_003.75)
    )
    without = classify(replace(few, output=str(tmp_path / "without.tif")))
    with rasterio.open(fine, "r+") as out:
        out.build_overviews([2, 4, 8], Resampling.average)
    report = classify(few)
    assert report.settings["overview"].value == 8
    assert report.cells == without.cells == (1, 1)
    assert report.settings["area_cells"] == without.settings["area_cells"]
    _, transform = _read(few.output)
    assert transform.almost_equals(_read(tmp_path / "without.tif")[1])


def test_what_is_not_asked_for_is_not_nodata(
    spec: ClassifySpec, model: _Formula, tmp_path: Path
) -> None:
    _polygon(tmp_path / "aoi.geojson", CORNERS)
    report = classify(replace(spec, aoi=str(tmp_path / "aoi.geojson")))
    found, _ = _read(spec.output)
    assert report.class_cells["nodata"] == 0
    assert (found == 255).sum() == found.size - report.tiles > 0


@pytest.mark.parametrize("name", ["area.geojson", "area.gpkg"])
def test_the_area_is_never_written_over(
    spec: ClassifySpec, model: _Formula, tmp_path: Path, name: str
) -> None:
    _polygon(tmp_path / "made.geojson", CORNERS)
    path = tmp_path / name
    shapes = pyogrio.raw.read(tmp_path / "made.geojson")[2]
    pyogrio.raw.write(
        path, shapes, [], [], geometry_type="Polygon", crs="EPSG:32633", layer=path.stem
    )
    before = path.read_bytes()
    with pytest.raises(SpecError, match="is read by --aoi"):
        classify(replace(spec, output=str(path), aoi=str(path), overwrite=True))
    assert path.read_bytes() == before


def test_a_sliver_along_the_edge_is_told(
    spec: ClassifySpec, model: _Formula, tmp_path: Path
) -> None:
    sliver = [[305_119.95, 5_396_500], [305_400, 5_397_000], [305_119.95, 5_397_000]]
    _polygon(tmp_path / "aoi.geojson", sliver)
    with pytest.raises(InputError, match="no further than the edge"):
        classify(replace(spec, aoi=str(tmp_path / "aoi.geojson")))
    assert not Path(spec.output).exists()


def test_an_area_that_is_not_there_is_refused(spec: ClassifySpec, model: _Formula) -> None:
    with pytest.raises(InputError, match="does not touch"):
        classify(replace(spec, bounds=(1.0, 2.0, 3.0, 4.0)))
    with pytest.raises(SpecError, match="exclude each other"):
        replace(spec, bounds=BOUNDS, aoi="aoi.geojson")
    assert not Path(spec.output).exists()
