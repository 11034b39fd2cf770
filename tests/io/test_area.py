"""Bounds on scenes: which pixels they mean, and which are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import shapely.affinity
from affine import Affine

from geotiler.errors import InputError, SpecError
from geotiler.io.area import OutsideError, area_of_file
from geotiler.io.bounds import area_of_bounds
from geotiler.io.raster import Scene, open_scene
from geotiler.io.scene_extent import extent_lonlat
from geotiler.specs import Window

SHAPE = (100, 200)
Opened = Callable[..., Scene]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Makes an empty scene and opens it."""
    with ExitStack() as stack:

        def make(transform: Affine, crs: str | None) -> Scene:
            with rasterio.open(
                tmp_path / "scene.tif", "w", driver="GTiff", count=1, height=SHAPE[0],
                width=SHAPE[1], dtype="uint8", crs=crs, transform=transform,
            ):  # fmt: skip
                pass
            return stack.enter_context(open_scene(str(tmp_path / "scene.tif")))

        yield make


@pytest.mark.parametrize(
    ("bounds", "told", "in_order"),
    [
        ((500_040, 4_999_960, 500_010, 4_999_980), ["left 500040 ", "right 500010"], ["bottom"]),
        ((500_010, 4_999_980, 500_040, 4_999_960), ["bottom 4999980 ", "top 4999960"], ["left"]),
        ((500_040, 4_999_980, 500_010, 4_999_960), ["left", "right", "bottom", "top"], []),
    ],
)
def test_reversed_bounds_are_refused_with_what_is_reversed(
    opened: Opened, bounds: tuple[float, ...], told: list[str], in_order: list[str]
) -> None:
    scene = opened(Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), "EPSG:32633")
    with pytest.raises(SpecError) as caught:
        area_of_bounds(bounds, scene)  # type: ignore[arg-type]
    assert all(word in caught.value.message for word in told)
    assert not any(word in caught.value.message for word in in_order)
    assert caught.value.hint == "in order they are --bounds 500010,4999960,500040,4999980"
    ordered = area_of_bounds((500_010, 4_999_960, 500_040, 4_999_980), scene)
    assert ordered.window(SHAPE) == Window(row=40, col=20, height=40, width=60)


def test_the_hint_keeps_a_way_across_the_antimeridian(opened: Opened) -> None:
    scene = opened(Affine(0.1, 0, 175, 0, -0.1, 6), "EPSG:4326")
    with pytest.raises(SpecError, match="bottom 5 is larger than top 2") as caught:
        area_of_bounds((178, 5, -178, 2), scene)
    assert caught.value.hint == "in order they are --bounds 178,2,-178,5"


def test_reversed_degrees_are_no_way_around_the_world(opened: Opened) -> None:
    scene = opened(Affine(0.001, 0, 14, 0, -0.001, 50), "EPSG:4326")
    with pytest.raises(SpecError, match=r"left 14\.1 is larger than right 14\.05"):
        area_of_bounds((14.1, 49.95, 14.05, 49.98), scene)


def test_rows_of_a_scene_without_a_crs_may_be_told_either_way(opened: Opened) -> None:
    scene = opened(Affine.identity(), None)
    wanted = Window(row=10, col=20, height=30, width=40)
    for bounds in ((20, 10, 60, 40), (20, 40, 60, 10)):
        assert area_of_bounds(bounds, scene).window(SHAPE) == wanted
    with pytest.raises(SpecError, match="left"):
        area_of_bounds((60, 10, 20, 40), scene)


WORLD = Affine(0.5, 0, 600_000, 0, -0.5, 5_400_000)
"""Of a world file, which says where and not in which CRS."""


@pytest.mark.parametrize("transform", [WORLD, Affine.identity()], ids=["world file", "pixels"])
def test_polygons_without_a_crs_are_in_the_coordinates_of_the_scene(
    opened: Opened, tmp_path: Path, transform: Affine
) -> None:
    scene = opened(transform, None)
    wanted = Window(row=10, col=20, height=30, width=40)
    corners = [transform @ corner for corner in ((20, 10), (60, 10), (60, 40), (20, 40))]
    path = tmp_path / "area.geojson"
    geometry = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    drawing = {"type": "FeatureCollection", "crs": None, "features": [feature]}
    path.write_text(json.dumps(drawing))
    assert area_of_file(str(path), scene).window(SHAPE) == wanted
    with pytest.raises(InputError, match=r"area\.geojson has no CRS"):
        area_of_file(str(path), opened(transform, "EPSG:25832"))
    path.write_text(json.dumps(feature))  # in degrees, then
    with pytest.raises(InputError, match=r"scene\.tif has no CRS"):
        area_of_file(str(path), opened(transform, None))


def test_bounds_beside_a_scene_are_told_what_its_coordinates_are(opened: Opened) -> None:
    for transform, told in ((WORLD, "of its transform"), (Affine.identity(), "columns and rows")):
        with pytest.raises(InputError, match=told):
            area_of_bounds((1000, 1000, 1100, 1100), opened(transform, None))


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32660", Affine(10, 0, 833_000, 0, -10, 1_000)),  # 180° is at x = 833,979
        ("EPSG:4326", Affine(0.001, 0, 179.9, 0, -0.001, 0.05)),
        ("EPSG:4326", Affine(0.001, 0, -180.1, 0, -0.001, 0.05)),
    ],
)
def test_degrees_across_the_antimeridian_are_what_lies_between(
    opened: Opened, crs: str, transform: Affine
) -> None:
    scene = opened(transform, crs)
    way = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    rows, cols = (20, 60), (40, 160)
    corners = np.array([(col, row) for col in cols for row in rows])
    lon, lat = way.transform(*(transform * corners.T))
    lon = (lon + 180) % 360 - 180
    bounds = (lon[lon > 0].min(), lat.min(), lon[lon < 0].max(), lat.max())
    assert bounds[0] > bounds[2]
    area = area_of_bounds(bounds, scene, "EPSG:4326")
    window = area.window(SHAPE)
    found = (window.row, window.col, window.row_stop, window.col_stop)
    assert np.abs(np.subtract(found, (20, 40, 60, 160))).max() <= 1
    assert area.is_box
    whole = extent_lonlat(scene)  # what `info` tells
    assert whole is not None
    assert area_of_bounds(whole, scene, "EPSG:4326").window(SHAPE).shape == SHAPE


@pytest.mark.parametrize("beyond", [None, "EPSG:4326", "EPSG:32601"])
@pytest.mark.parametrize(
    ("first", "bounds"),
    [
        (178.0, (-179.5, 1.0, -178.5, 2.0)),  # the scene goes on beyond 180
        (-182.0, (178.5, 1.0, 179.5, 2.0)),
        (-180.0, (180.5, 1.0, 181.5, 2.0)),  # the bounds do
        (176.0, (-181.5, 1.0, -180.5, 2.0)),
        (-180.0, (-179.5, 1.0, -178.5, 2.0)),  # neither
    ],
)
def test_longitudes_are_the_same_a_turn_further(
    opened: Opened, first: float, bounds: tuple[float, ...], beyond: str | None
) -> None:
    """The scene has 0.02° to a pixel, and so four degrees of longitude."""
    scene = opened(Affine(0.02, 0, first, 0, -0.02, 2.5), "EPSG:4326")
    left, bottom, right, top = bounds
    col = round((left - first) % 360 / 0.02)
    wanted = (25, col, 75, col + 50)
    if beyond == "EPSG:32601":
        way = pyproj.Transformer.from_crs("EPSG:4326", beyond, always_xy=True)
        left, bottom, right, top = way.transform_bounds(*bounds)
    window = area_of_bounds((left, bottom, right, top), scene, beyond).window(SHAPE)
    found = (window.row, window.col, window.row_stop, window.col_stop)
    assert np.abs(np.subtract(found, wanted)).max() <= (2 if beyond == "EPSG:32601" else 0)


@pytest.mark.parametrize("bounds", [(-170.0, -10.0, -160.0, 10.0), (190.0, -10.0, 200.0, 10.0)])
def test_another_turn_is_no_way_onto_a_scene_elsewhere(
    opened: Opened, bounds: tuple[float, float, float, float]
) -> None:
    scene = opened(Affine(0.02, 0, 178, 0, -0.02, 2.5), "EPSG:4326")
    with pytest.raises(OutsideError):
        area_of_bounds(bounds, scene)


@pytest.mark.parametrize(
    ("first", "bounds", "columns"),
    [
        (0.0, (-18.0, -9.0, 18.0, 9.0), [*range(10), *range(190, 200)]),
        (-180.0, (162.0, -9.0, 198.0, 9.0), [*range(10), *range(190, 200)]),
        (-180.0, (162.0, -9.0, 180.0, 9.0), [*range(190, 200)]),  # and not the edge in the west
        (-180.0 - 1e-9, (162.0, -9.0, 180.0, 9.0), [*range(190, 200)]),
    ],
)
def test_on_a_scene_of_the_whole_world_both_ends_are_meant(
    opened: Opened, first: float, bounds: tuple[float, float, float, float], columns: list[int]
) -> None:
    scene = opened(Affine(1.8, 0, first, 0, -1.8, 90), "EPSG:4326")
    covered = area_of_bounds(bounds, scene).covers(Window(row=0, col=0, height=100, width=200))
    assert np.flatnonzero(covered.any(axis=0)).tolist() == columns


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_a_scene_wider_than_the_world_is_in_pixels_whatever_its_crs(
    opened: Opened, crs: str
) -> None:
    around = 360 if crs == "EPSG:4326" else 40_075_017
    step = around / 100  # SHAPE is two turns wide
    scene = opened(Affine(step, 0, 0, 0, -step, 0), crs)
    area = area_of_bounds((0, -20 * step, 10 * step, 0), scene)
    expected = np.zeros(SHAPE, bool)
    expected[:20, :10] = True
    window = Window(row=0, col=0, height=SHAPE[0], width=SHAPE[1])
    np.testing.assert_array_equal(area.covers(window), expected)


@pytest.mark.parametrize("kind", ["bounds", "area"])
@pytest.mark.parametrize("crs", ["EPSG:32601", "EPSG:3832"])
def test_metres_across_the_antimeridian_are_no_way_around_the_world(
    opened: Opened, tmp_path: Path, crs: str, kind: str
) -> None:
    """The other projection has its middle at 150° E, where nothing jumps at 180."""
    scene = opened(Affine(0.02, 0, 178, 0, -0.02, 2.5), "EPSG:4326")
    way = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    bounds = way.transform_bounds(179.5, 1.0, -179.5, 2.0)
    if kind == "bounds":
        area = area_of_bounds(bounds, scene, crs)
    else:
        shapes = geopandas.GeoDataFrame(geometry=[shapely.box(*bounds)], crs=crs)
        shapes.to_file(tmp_path / "a.gpkg")
        area = area_of_file(str(tmp_path / "a.gpkg"), scene)
    window = area.window(SHAPE)
    found = (window.row, window.col, window.row_stop, window.col_stop)
    assert np.abs(np.subtract(found, (25, 75, 75, 125))).max() <= 2


@pytest.mark.parametrize(
    ("bounds", "columns"),
    [
        ((-179.9, 1.9, -179.5, 2.2), (111, 156)),
        ((180.1, 1.9, 180.5, 2.2), (111, 156)),
        ((179.6, 1.9, -179.6, 2.2), (55, 145)),
        ((179.6, 1.9, 180.4, 2.2), (55, 145)),
        ((179.2, 1.9, 179.6, 2.2), (10, 56)),
    ],
)
def test_a_web_map_goes_on_beyond_its_edge(
    opened: Opened, bounds: tuple[float, float, float, float], columns: tuple[int, int]
) -> None:
    """A kilometre to a pixel, 111.3 of them to a degree; the edge is in the middle."""
    edge = 20_037_508.342789244
    scene = opened(Affine(1000, 0, edge - 100_000, 0, -1000, 300_000), "EPSG:3857")
    area = area_of_bounds(bounds, scene, "EPSG:4326")
    window = area.window(SHAPE)
    assert (window.col, window.col_stop) == columns
    assert area.is_box


def test_less_than_a_pixel_is_told_of_both_ends_too(opened: Opened) -> None:
    scene = opened(Affine(0.02, 0, 178, 0, -0.02, 2.5), "EPSG:4326")
    with pytest.raises(InputError, match=r"cover 0\.5 of one pixel"):
        area_of_bounds((179.995, 1.0, -179.995, 1.02), scene)


def test_an_area_of_interest_a_turn_further_lies_on_the_scene(
    opened: Opened, tmp_path: Path
) -> None:
    scene = opened(Affine(0.02, 0, 178, 0, -0.02, 2.5), "EPSG:4326")
    shape = shapely.box(-179.5, 1.0, -178.5, 2.0)
    geopandas.GeoDataFrame(geometry=[shape], crs="EPSG:4326").to_file(tmp_path / "a.gpkg")
    area = area_of_file(str(tmp_path / "a.gpkg"), scene)
    assert area.window(SHAPE) == Window(row=25, col=125, height=50, width=50)


def test_on_a_map_of_the_world_they_are_its_two_ends(opened: Opened) -> None:
    edge = 20_037_508.342789244
    scene = opened(Affine(edge / 100, 0, -edge, 0, -edge / 100, edge / 2), "EPSG:3857")
    area = area_of_bounds((171, -9, -171, 9), scene, "EPSG:4326")
    covered = area.covers(Window(row=0, col=0, height=SHAPE[0], width=SHAPE[1]))
    assert np.flatnonzero(covered.any(axis=0)).tolist() == [*range(5), *range(195, 200)]


_ON_IT = shapely.box(500_020, 4_999_960, 500_040, 4_999_970)  # in EPSG:32633
_DEGREES = geopandas.GeoSeries([_ON_IT], crs=32633).to_crs(4326)[0]


def _swapped(shape: shapely.Geometry) -> shapely.Geometry:
    return shapely.transform(shape, lambda xy: xy[:, ::-1])


@pytest.mark.parametrize(
    ("shape", "crs", "told"),
    [
        (_ON_IT, 25832, "another CRS than it has"),
        (_ON_IT, 4326, "another CRS than it has"),
        (_swapped(_ON_IT), 32633, "with x and y swapped it lies on the scene"),
        (_swapped(_DEGREES), 4326, "with x and y swapped it lies on the scene"),
        (shapely.affinity.translate(_ON_IT, 9000), 32633, "geotiler info"),
    ],
)
def test_polygons_beside_a_scene_tell_where_they_lie_and_what_may_be_wrong(
    opened: Opened, tmp_path: Path, shape: shapely.Geometry, crs: int, told: str
) -> None:
    scene = opened(Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), "EPSG:32633")
    geopandas.GeoSeries([shape], crs=crs).to_file(tmp_path / "a.gpkg")
    with pytest.raises(InputError) as caught:
        area_of_file(str(tmp_path / "a.gpkg"), scene)
    assert f" in EPSG:{crs}, " in caught.value.message
    assert told in str(caught.value.hint)
