"""Labels of one scene from polygons and rasters: burned by window as burned whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.testing import assert_array_equal
from rasterio.crs import CRS
from rasterio.features import rasterize

from geotiler.core.resample import Axis
from geotiler.errors import InputError
from geotiler.io.geojson import says_no_crs
from geotiler.io.label_polygons import PolygonFile, PolygonLabels, found_classes, in_pixels
from geotiler.io.label_rasters import has_place, overlaps_raster, raster_labels, raster_place_beside
from geotiler.io.label_source import Frame, Nothing, Stacked, Within
from geotiler.io.vector import FeatureBatch, Layer, write_features
from geotiler.io.vector_reading import read_features
from geotiler.specs import ClassRule, Window

UTM = "EPSG:32633"
GRID = Affine(0.5, 0, 400_000, 0, -0.5, 5_500_000)
SHAPE = (50, 70)
WHOLE = Window(row=0, col=0, height=50, width=70)
PIECES = [
    Window(row=row, col=col, height=min(17, 50 - row), width=min(23, 70 - col))
    for row in range(0, 50, 17)
    for col in range(0, 70, 23)
]


def frame(crs: str | None = UTM, transform: Affine = GRID, ratio: float = 1.0) -> Frame:
    axes = Axis.scaled(SHAPE[0], ratio), Axis.scaled(SHAPE[1], ratio)
    return Frame(
        path="scene.tif", scene_shape=SHAPE, axes=axes, transform=transform,
        crs=None if crs is None else CRS.from_string(crs),
    )  # fmt: skip


def triangles(count: int, seed: int = 0) -> np.ndarray:
    """In pixels, some over the edge and over each other."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-5, 75, (count, 1, 2)) + rng.uniform(-9, 9, (count, 3, 2))
    return shapely.polygons(points)


def on_ground(shapes: np.ndarray, crs: str) -> np.ndarray:
    placed = shapely.transform(shapes, lambda p: p * [0.5, -0.5] + [400_000, 5_500_000])
    way = pyproj.Transformer.from_crs(UTM, crs, always_xy=True)
    return shapely.transform(placed, way.transform, interleaved=False)


def write(path: Path, shapes: np.ndarray, crs: str | None, kinds: list[str] | None = None) -> str:
    fields = {"kind": "text"} if kinds else {}
    attributes = {"kind": np.array(kinds, object)} if kinds else {}
    batch = FeatureBatch(geometries=np.asarray(shapes, object), attributes=attributes)
    write_features(str(path), [batch], Layer(fields=fields, crs=crs))
    return str(path)


# Polygons


def test_windows_are_parts_of_the_whole_and_later_polygons_lie_on_top() -> None:
    shapes, ids = triangles(60), np.arange(1, 61, dtype=np.uint8)
    labels = PolygonLabels(shapes, ids)
    expected = rasterize(zip(shapes, ids.tolist(), strict=True), SHAPE, dtype="uint8")
    for window in PIECES:
        assert_array_equal(labels.read(window), expected[window.slices])


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857"])
def test_polygons_come_back_to_their_pixels(crs: str) -> None:
    shapes = triangles(20)
    moved, exists = in_pixels(
        "l.gpkg", on_ground(shapes, crs), pyproj.CRS(crs), frame(), "--labels"
    )
    assert exists.all()
    found, wanted = (shapely.get_coordinates(each) for each in (moved, shapes))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_pixels_of_a_scene_follow_its_chips_to_another_resolution() -> None:
    shapes = triangles(5)
    finer = frame(None, Affine.scale(0.5), ratio=2.0)
    moved, _ = in_pixels("l.gpkg", shapes, None, finer, "--labels")
    np.testing.assert_allclose(shapely.get_coordinates(moved), shapely.get_coordinates(shapes) * 2)


def test_without_any_crs_a_world_file_says_where_labels_lie() -> None:
    shapes = triangles(5)
    placed = shapely.transform(shapes, lambda p: p * [0.5, -0.5] + [400_000, 5_500_000])
    moved, _ = in_pixels("l.shp", placed, None, frame(None, GRID), "--labels")
    np.testing.assert_allclose(
        shapely.get_coordinates(moved), shapely.get_coordinates(shapes), atol=1e-6
    )


def test_one_without_a_crs_and_one_with_never_meet() -> None:
    shapes = triangles(3)
    with pytest.raises(InputError, match=r"l\.gpkg has no CRS, but scene\.tif has one"):
        in_pixels("l.gpkg", shapes, None, frame(), "--labels")
    degrees = pyproj.CRS(4326)
    for path in ("l.geojson", "l.gpkg"):
        with pytest.raises(InputError, match=r"scene\.tif has no CRS: nobody knows") as caught:
            in_pixels(path, shapes, degrees, frame(None), "--truth")
        assert "--truth" in str(caught.value)
        assert ('"crs": null' in str(caught.value)) == (path == "l.geojson")


def test_points_beyond_a_crs_do_not_exist() -> None:
    shapes = np.array([shapely.box(10, 40, 11, 41), shapely.box(0, 95, 1, 99)])
    _, exists = in_pixels("l.gpkg", shapes, pyproj.CRS(4326), frame("EPSG:3857"), "--labels")
    assert exists.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"type": "FeatureCollection", "crs": null, "features": []}', True),
        ('{"type": "FeatureCollection","features": [] , "crs" : null}', True),
        ('{"type": "FeatureCollection", "features": [{"properties": {"crs": null}}]}', False),
        ('{"crs": {"type": "name"}, "features": []}', False),
        ('{"features": []}', False),
    ],
)
def test_a_geojson_is_in_degrees_unless_it_says_otherwise(
    tmp_path: Path, text: str, expected: bool
) -> None:
    path = tmp_path / "l.geojson"
    path.write_text(text)
    assert says_no_crs(path) is expected


def test_geotilers_own_pixels_are_known_from_degrees(tmp_path: Path) -> None:
    shapes = np.array([shapely.box(1, 2, 3, 4)])
    pixels = read_features(write(tmp_path / "p.geojson", shapes, None))
    degrees = read_features(write(tmp_path / "d.geojson", shapes, "EPSG:4326"))
    assert pixels.crs is None
    assert degrees.crs == pyproj.CRS(4326)
    assert pixels.geometries[0].equals(shapes[0])


def test_classes_of_a_file(tmp_path: Path) -> None:
    shapes = on_ground(shapely.box([5, 20, 40], 5, [15, 30, 50], 15), UTM)
    path = write(tmp_path / "l.gpkg", shapes, UTM, ["house", "Shed", "lake"])
    rules = [ClassRule(id=3, name="roof", values=("HOUSE", "shed"))]
    file = PolygonFile(path, attribute="kind", classes=rules)
    assert (file.classes, file.unmapped) == ({3: "roof"}, 1)
    labels = file.onto(frame(), skip_bad=False)
    assert labels is not None
    assert labels.read(WHOLE)[10, [10, 25, 45]].tolist() == [3, 3, 0]
    assert [(rule.id, rule.name) for rule in found_classes([path], "kind")] == [
        (1, "Shed"), (2, "house"), (3, "lake"),
    ]  # fmt: skip


def test_no_polygon_on_the_scene_is_nothing_and_says_where_they_are(tmp_path: Path) -> None:
    far = on_ground(shapely.box([5000], 5, [5010], 15), UTM)
    file = PolygonFile(write(tmp_path / "l.gpkg", far, UTM))
    assert file.onto(frame(), skip_bad=False) is None
    assert "the labels lie in 402500" in (file.place_beside(frame()) or "")


# Rasters


def raster(path: Path, values: np.ndarray, crs: str | None, transform: Affine = GRID) -> str:
    place = {"crs": crs, "transform": transform} if crs or transform is not GRID else {}
    with rasterio.open(
        path, "w", height=values.shape[0], width=values.shape[1], count=1, dtype="uint8", **place
    ) as target:
        target.write(values, 1)
    return str(path)


VALUES = rasterize(triangles(30), SHAPE, dtype="uint8")


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_a_mask_on_the_scenes_grid_is_taken_at_the_centres(tmp_path: Path, ratio: float) -> None:
    path = raster(tmp_path / "m.tif", VALUES, UTM)
    grid = GRID @ Affine.scale(1 / ratio)
    place = frame(transform=grid, ratio=ratio)
    step = round(1 / ratio)
    with raster_labels(path, place) as (source, _, _):
        found = source.read(Window(row=0, col=0, height=place.shape[0], width=place.shape[1]))
    assert_array_equal(found, VALUES[step // 2 :: step, step // 2 :: step])


def test_a_mask_elsewhere_does_not_overlap_and_says_where_it_is(tmp_path: Path) -> None:
    far = GRID @ Affine.translation(5000, 0)
    path = raster(tmp_path / "m.tif", VALUES, UTM, far)
    assert not overlaps_raster(path, frame())
    assert "the labels lie in 402500" in (raster_place_beside(path, frame()) or "")
    near = raster(tmp_path / "n.tif", VALUES, UTM, GRID @ Affine.translation(60, 0))
    assert overlaps_raster(near, frame())


def test_without_a_crs_only_the_size_can_tell(tmp_path: Path) -> None:
    path = raster(tmp_path / "m.tif", VALUES, None)
    assert not has_place(path, frame())
    assert overlaps_raster(path, frame())
    assert raster_place_beside(path, frame()) is None
    small = raster(tmp_path / "s.tif", VALUES[:9], None)
    assert not overlaps_raster(small, frame())
    with pytest.raises(InputError, match="is 9 x 70 pixels"), raster_labels(small, frame()):
        pass


# Together


class Constant:
    def __init__(self, value: int) -> None:
        self._value = value

    def read(self, window: Window) -> np.ndarray:
        return np.full(window.shape, self._value, np.uint8)


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_without_a_crs_grids_must_be_equal_where_both_have_one(
    tmp_path: Path, ratio: float
) -> None:
    grid = Affine(2.5e-6, 0, 14, 0, -2.5e-6, 50)
    place = frame(None, grid @ Affine.scale(1 / ratio), ratio)
    same, moved = tmp_path / "same.tif", tmp_path / "moved.tif"
    for path, transform in ((same, grid), (moved, grid @ Affine.translation(3, 0))):
        raster(path, VALUES, None, transform)
    assert overlaps_raster(str(same), place)
    with raster_labels(str(same), place):
        pass
    assert not overlaps_raster(str(moved), place)
    with pytest.raises(InputError, match="scene.tif 14,2.5e-06,0,50") as caught:  # noqa: RUF043
        raster_labels(str(moved), place).__enter__()
    assert "moved.tif has the transform 14.0000075,2.5e-06,0,50,0,-2.5e-06" in str(caught.value)
    assert overlaps_raster(raster(tmp_path / "plain.tif", VALUES, None), place)


def test_a_later_source_speaks_where_those_before_are_silent() -> None:
    ids = np.array([2], np.uint8)
    first = PolygonLabels(np.array([shapely.box(0, 0, 10, 10)]), ids)
    found = Stacked([first, Constant(7)], nothing=0).read(WHOLE)
    assert (found[:10, :10] == 2).all()
    assert (found[10:] == 7).all()


def test_outside_the_extent_nothing_is_known() -> None:
    extent = PolygonLabels(np.array([shapely.box(0, 0, 10, 10)]), np.array([1], np.uint8))
    found = Within(Nothing(), extent).read(WHOLE)
    assert (found[:10, :10] == 0).all()
    assert (found[10:] == 255).all()
    assert (Within(Constant(1), None).read(WHOLE) == 255).all()
