"""A part of a scene is computed as the whole would be, and little more than the part."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geotiler.errors import GeotilerError, InputError, SpecError
from geotiler.io.raster import open_scene
from geotiler.progress import StageStarted
from geotiler.specs import SegmentSpec
from geotiler.tasks.segment import estimate, segment

SHAPE = (300, 400)
GRID = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
TURNED = Affine.translation(500_000, 5_000_000) @ Affine.rotation(20) @ Affine.scale(0.5, -0.5)


def _context(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depends on the whole tile, as networks do."""
    mean = np.tanh(batch).mean(axis=(1, 2, 3), keepdims=True)
    return np.clip(np.float32(0.5) + np.float32(0.2) * np.tanh(batch[:, :1]) + mean, 0, 1)


@pytest.fixture
def make_spec(use_model: Callable[..., Any], tmp_path: Path) -> Callable[..., SegmentSpec]:
    """A specification for a scene on a grid, after the whole of it was segmented to whole.tif."""

    def make(transform: Affine = GRID, **changes: Any) -> SegmentSpec:
        use_model(_context, gsd_m=0.5)
        image = np.random.default_rng(3).integers(1, 256, (3, *SHAPE), dtype=np.uint8)
        image[:, 60:160, 200:320] = 0
        path = tmp_path / "scene.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=3, height=SHAPE[0], width=SHAPE[1], dtype="uint8",
            nodata=0, crs="EPSG:32633", transform=transform, tiled=True, blockxsize=64,
            blockysize=32,
        ) as out:  # fmt: skip
            out.write(image)
        whole = SegmentSpec(
            scene=str(path), output=tmp_path / "whole.tif", probability=tmp_path / "whole_p.tif",
            model="tiny", tile_px=(64, 96), overlap_px=16, probability_dtype="float32",
            overwrite=True, **changes,
        )  # fmt: skip
        segment(whole)
        return replace(whole, output=tmp_path / "mask.tif", probability=tmp_path / "p.tif")

    return make


def _placed(polygon: shapely.Geometry, transform: Affine) -> shapely.Geometry:
    """A polygon in pixels, in coordinates."""
    return shapely.transform(polygon, lambda xy: np.stack(transform * xy.T, axis=1))


def _write_geojson(path: Path, polygon: shapely.Geometry, transform: Affine) -> str:
    """A polygon in pixels of the scene as GeoJSON, in degrees as its standard wants."""
    way = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    degrees = shapely.transform(
        _placed(polygon, transform), lambda xy: np.stack(way.transform(*xy.T), axis=1)
    )
    geometry = json.loads(shapely.to_geojson(degrees))
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return str(path)


def _inside(polygon: shapely.Geometry, window: list[int]) -> NDArray[np.bool_]:
    """Pixels of a window whose centre is inside, well away from where rounding decides."""
    row, col, height, width = window
    y, x = np.mgrid[row : row + height, col : col + width] + 0.5
    return np.asarray(shapely.contains_xy(shapely.buffer(polygon, -0.01), x, y))


def _check(spec: SegmentSpec, polygon: shapely.Geometry) -> Any:
    """What holds for every area; the report."""
    report = segment(spec)
    window = report.settings["area_px"]["value"]
    row, col, height, width = window
    inside = _inside(polygon, window)
    everywhere = _inside(polygon, [0, 0, *SHAPE])
    assert inside.sum() == everywhere.sum(), "the output does not cover the area"
    assert spec.probability is not None
    for path, name in ((spec.output, "whole.tif"), (spec.probability, "whole_p.tif")):
        with rasterio.open(path) as found, rasterio.open(path.with_name(name)) as whole:
            assert found.transform.almost_equals(
                whole.transform @ Affine.translation(col, row), 1e-9
            )
            part = whole.read(1)[row : row + height, col : col + width]
            np.testing.assert_array_equal(found.read(1)[inside], part[inside])
    return report


@given(
    corners=st.lists(st.tuples(st.floats(-50, 450), st.floats(-50, 350)), min_size=3, max_size=7)
)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("gsd_m", [None, (0.3, 0.8)])
def test_inside_it_is_the_whole_to_the_bit(
    make_spec: Callable[..., SegmentSpec],
    tmp_path: Path,
    gsd_m: tuple[float, float] | None,
    corners: list[tuple[float, float]],
) -> None:
    polygon = shapely.convex_hull(shapely.multipoints(corners))
    scene = shapely.intersection(polygon, shapely.box(0, 0, *SHAPE[::-1]))
    if scene.area < 1:
        return
    spec = make_spec(gsd_m=gsd_m)
    aoi = _write_geojson(tmp_path / "area.geojson", polygon, GRID)
    _check(replace(spec, aoi=aoi), scene)


def test_beside_the_polygons_is_nodata_and_not_computed(
    make_spec: Callable[..., SegmentSpec], use_model: Callable[..., Any], tmp_path: Path
) -> None:
    two = shapely.union_all([shapely.Polygon([(10, 10), (60, 20), (20, 60)]),
                             shapely.Polygon([(390, 290), (340, 280), (380, 240)])])  # fmt: skip
    spec = replace(make_spec(), aoi=_write_geojson(tmp_path / "a.geojson", two, GRID))
    model = use_model(_context, gsd_m=0.5)
    report = _check(spec, two)
    assert report.windows == model.calls <= 2 * 4 < 30  # those that touch a corner each
    with rasterio.open(spec.output) as found:
        mask = found.read(1)
    far = ~_inside(shapely.buffer(two, 2), report.settings["area_px"]["value"])
    assert (mask[far] == 255).all()
    assert far.mean() > 0.9
    plan = estimate(replace(spec, overwrite=True))
    assert plan.windows - plan.skipped == report.windows


@pytest.mark.parametrize("transform", [GRID, TURNED], ids=["north up", "turned"])
def test_bounds_are_a_rectangle_of_coordinates(
    make_spec: Callable[..., SegmentSpec], transform: Affine
) -> None:
    box = _placed(shapely.box(101, 53, 333, 217), transform)
    asked = shapely.box(*box.bounds)
    in_pixels = _placed(asked, ~transform)
    left, bottom, right, top = asked.bounds
    spec = replace(make_spec(transform), bounds=(left, bottom, right, top))
    scene = shapely.intersection(in_pixels, shapely.box(0, 0, *SHAPE[::-1]))
    report = _check(spec, scene)
    if transform is GRID:
        assert report.settings["area_px"]["value"] == [53, 101, 164, 232]
        assert "area_outline" not in report.settings


def test_only_blocks_that_are_needed_are_read(
    make_spec: Callable[..., SegmentSpec], tmp_path: Path
) -> None:
    """The scene is damaged everywhere else."""
    polygon = shapely.Polygon([(10, 200), (90, 210), (40, 290)])
    spec = replace(make_spec(), aoi=_write_geojson(tmp_path / "a.geojson", polygon, GRID))
    with rasterio.open(tmp_path / "scene.tif", "r+") as scene:
        keep = scene.read()
        compressed = {**scene.profile, "compress": "deflate"}
    with rasterio.open(tmp_path / "scene.tif", "w", **compressed) as scene:
        scene.write(keep)
    segment(spec)
    expected = spec.output.read_bytes()
    with rasterio.open(tmp_path / "scene.tif") as scene:
        offset = int(scene.get_tag_item("BLOCK_OFFSET_5_0", "TIFF", bidx=1))
    content = bytearray((tmp_path / "scene.tif").read_bytes())
    content[offset : offset + 200] = bytes(200)
    (tmp_path / "scene.tif").write_bytes(content)
    with pytest.raises(InputError):
        segment(replace(spec, aoi=None))
    segment(spec)
    assert spec.output.read_bytes() == expected


def test_all_of_it_is_the_whole_file(make_spec: Callable[..., SegmentSpec]) -> None:
    spec = make_spec()
    segment(replace(spec, bounds=(499_000, 4_990_000, 510_000, 5_010_000)))
    with rasterio.open(spec.output) as found, rasterio.open(
        spec.output.with_name("whole.tif")
    ) as whole:  # fmt: skip
        assert found.transform == whole.transform
        np.testing.assert_array_equal(found.read(), whole.read())


def test_a_part_says_how_coarse_the_network_was(make_spec: Callable[..., SegmentSpec]) -> None:
    """Outlines are drawn by it, and have to be those of the whole."""
    spec = replace(make_spec(gsd_m=(0.2, 0.2)), bounds=(500_000, 4_999_950, 500_040, 4_999_990))
    segment(spec)
    with (
        open_scene(str(spec.output)) as part,
        open_scene(str(spec.output.with_name("whole.tif"))) as whole,
    ):
        assert part.grain_px == whole.grain_px == pytest.approx(2.5, rel=0.01)


def test_another_area_is_another_run(make_spec: Callable[..., SegmentSpec]) -> None:
    spec = replace(make_spec(), bounds=(500_000, 4_999_850, 500_200, 5_000_000), overwrite=False)

    def stop(event: Any) -> None:
        if isinstance(event, StageStarted) and event.stage == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment(spec, report=stop)
    told = "was `bounds` 500000,4999850,500200,5000000, now `bounds` 500000,4999850,500150,5000000"
    with pytest.raises(GeotilerError, match=told):
        segment(replace(spec, bounds=(500_000, 4_999_850, 500_150, 5_000_000)))
    segment(spec)


def _points(path: Path) -> str:
    geometry = {"type": "Point", "coordinates": [15, 45]}
    path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))
    return str(path)


def _elsewhere(path: Path) -> str:
    return _write_geojson(path, shapely.box(9000, 9000, 9100, 9100), GRID)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_points, "polygons"),
        (_elsewhere, "does not touch"),
        (lambda path: str(path), "no such file"),
        (lambda path: path.write_text("{") and str(path), "cannot be read"),
    ],
)
def test_what_is_no_area_is_refused(
    make_spec: Callable[..., SegmentSpec], tmp_path: Path, make: Any, reason: str
) -> None:
    spec = make_spec()
    with pytest.raises(InputError, match=reason):
        segment(replace(spec, aoi=make(tmp_path / "a.geojson")))
    assert not spec.output.exists()


def test_both_are_too_many() -> None:
    with pytest.raises(SpecError, match="--bounds"):
        SegmentSpec(scene="a.tif", output=Path("b.tif"), aoi="c", bounds=(0, 0, 1, 1))
    for bounds in ((0, 0, 0, 1), (0, 0, float("nan"), 1)):
        with pytest.raises(SpecError, match="--bounds"):
            SegmentSpec(scene="a.tif", output=Path("b.tif"), bounds=bounds)


def _lonlat_box(rows: tuple[int, int], cols: tuple[int, int]) -> tuple[float, float, float, float]:
    way = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    left, top = GRID * (cols[0], rows[0])
    right, bottom = GRID * (cols[1], rows[1])
    west, south, east, north = way.transform_bounds(left, bottom, right, top)
    return west, south, east, north


def _swapped(bounds: tuple[float, ...]) -> tuple[float, ...]:
    return bounds[1], bounds[0], bounds[3], bounds[2]


def test_the_bounds_that_a_hint_names_are_taken(make_spec: Callable[..., SegmentSpec]) -> None:
    spec = make_spec()
    right = _lonlat_box((100, 180), (60, 200))
    with pytest.raises(InputError) as caught:
        segment(replace(spec, bounds=_swapped(right)))
    named = re.search(r"--bounds (\S+) --bounds-crs (\S+)\)", str(caught.value))
    assert named
    bounds = tuple(float(each) for each in named[1].split(","))
    assert bounds == pytest.approx(right)
    segment(replace(spec, bounds=bounds, bounds_crs=named[2]))
    own = (500_010, 4_999_900, 500_050, 4_999_950)
    with pytest.raises(InputError, match="leave out --bounds-crs"):
        segment(replace(spec, bounds=own, bounds_crs="EPSG:4326"))


@pytest.mark.parametrize("has_crs", [True, False])
def test_bounds_of_less_than_a_pixel_are_no_mask_of_one(
    make_spec: Callable[..., SegmentSpec], has_crs: bool, tmp_path: Path
) -> None:
    spec = make_spec()
    left, top, side = (500_000, 4_999_990, 0.5) if has_crs else (55.25, 25.25, 1)
    if not has_crs:
        with rasterio.open(tmp_path / "scene.tif") as scene:
            image = scene.read()
        with rasterio.open(
            tmp_path / "scene.tif", "w", driver="GTiff", count=3, height=SHAPE[0],
            width=SHAPE[1], dtype="uint8",
        ) as plain:  # fmt: skip
            plain.write(image)
    spec = replace(spec, overwrite=True, gsd_m=(0.5, 0.5))
    small = (left, top - 0.1 * side, left + 0.1 * side, top)
    with pytest.raises(InputError, match=r"cover 0\.01 of one pixel") as caught:
        segment(replace(spec, bounds=small))
    assert ("from the top left" in str(caught.value)) != has_crs
    pixel = (left, top - side, left + side, top)
    plan = estimate(replace(spec, bounds=pixel))
    assert max(plan.shape) <= 2
    assert sum("--bounds cover" in note for note in plan.notices) == 1
    street = (left, top - 80 * side, left + 100 * side, top)
    assert not any("--bounds" in note for note in estimate(replace(spec, bounds=street)).notices)


def test_bounds_in_another_crs_cover_what_they_say(
    make_spec: Callable[..., SegmentSpec],
) -> None:
    bounds = _lonlat_box((100, 180), (60, 200))
    found = segment(replace(make_spec(), bounds=bounds, bounds_crs="EPSG:4326"))
    row, col, height, width = found.settings["area_px"]["value"]
    # A box of degrees is slightly turned on the grid: one pixel more on each side at most.
    assert 98 <= row <= 100
    assert 58 <= col <= 60
    assert 180 <= row + height <= 182
    assert 200 <= col + width <= 202


@pytest.mark.parametrize(
    ("bounds", "crs", "told"),
    [
        (_lonlat_box((100, 180), (60, 200)), None, "--bounds-crs EPSG:4326"),
        ((1.0, 2.0, 3.0, 4.0), None, "--bounds 1,2,3,4"),
        (
            (4_999_900, 500_010, 4_999_950, 500_050),
            None,
            "swapped: --bounds 500010,4999900,500050,4999950",
        ),
        (_swapped(_lonlat_box((100, 180), (60, 200))), "EPSG:4326", "x and y are swapped"),
        (_swapped(_lonlat_box((100, 180), (60, 200))), None, "--bounds-crs EPSG:4326"),
        ((550_000, 5_050_000, 560_000, 5_060_000), None, "in the same coordinates"),
        ((1.0, 2.0, 3.0, 4.0), "EPSG:4326", "--bounds 1,2,3,4 in EPSG:4326"),
    ],
)
def test_bounds_beside_the_scene_are_told_with_its_extent(
    make_spec: Callable[..., SegmentSpec],
    bounds: tuple[float, float, float, float],
    crs: str | None,
    told: str,
) -> None:
    with pytest.raises(InputError) as caught:
        segment(replace(make_spec(), bounds=bounds, bounds_crs=crs))
    assert told in str(caught.value)
    assert "500000,4999850,500200,5000000 in EPSG:32633" in str(caught.value)


def test_a_crs_that_is_none_or_of_nothing_is_refused(
    make_spec: Callable[..., SegmentSpec],
) -> None:
    spec = replace(make_spec(), bounds=(0.0, 0.0, 1.0, 1.0))
    with pytest.raises(SpecError, match="EPSG:99999999"):
        segment(replace(spec, bounds_crs="EPSG:99999999"))
    with pytest.raises(SpecError, match="--bounds"):
        replace(spec, bounds=None, bounds_crs="EPSG:4326")
