"""Label rasters and both sides of a comparison: whatever the file, class ids on one grid."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio import features
from rasterio.warp import Resampling, calculate_default_transform, reproject

from geotiler.errors import InputError, SpecError
from geotiler.io.labels import Labels, chosen_classes, label_rule
from geotiler.io.raster import open_scene
from geotiler.io.sides import TRUTH, class_names, open_side
from geotiler.io.vector import FeatureBatch, Layer, write_features
from geotiler.specs import Window

GRID = Affine(0.5, 0, 400_000, 0, -0.5, 5_500_000)
UTM = "EPSG:32633"
BLOCKS = np.kron(np.array([[0, 1, 0], [1, 1, 0], [0, 0, 1]], np.uint8), np.ones((20, 30), np.uint8))


def write(path, values, *, nodata=None, crs=UTM, transform=GRID, tags=None):
    values = np.atleast_3d(values.T).T if values.ndim == 2 else values
    count, height, width = values.shape
    options = {"crs": crs, "transform": transform} if crs else {}
    with rasterio.open(
        path, "w", height=height, width=width, count=count, dtype=values.dtype, nodata=nodata,
        **options,
    ) as target:  # fmt: skip
        target.write(values)
        target.update_tags(**(tags or {}))
    return str(path)


def whole(scene) -> Window:
    return Window(row=0, col=0, height=scene.height, width=scene.width)


def labels(path, **options):
    with open_scene(path) as scene:
        rule = label_rule(scene, **options)
        return rule, Labels(scene, rule).read(whole(scene))


def truth(path, mask, windows=None):
    """The truth on the mask's grid, put together from windows."""
    names = class_names({mask: "PREDICTION", str(path): TRUTH}, "class")
    with open_scene(mask) as scene, open_side(str(path), scene, names, flag=TRUTH) as found:
        out = np.full(scene.shape, 99, np.uint8)
        for window in windows or [whole(scene)]:
            out[window.slices] = found.read(window)
        return out, found.notes


PIECES = [
    Window(row=row, col=col, height=min(23, 60 - row), width=min(37, 90 - col))
    for row in range(0, 60, 23)
    for col in range(0, 90, 37)
]


@pytest.fixture
def mask(tmp_path):
    return write(tmp_path / "mask.tif", BLOCKS, nodata=255)


def with_unknown(values):
    values = values.copy()
    values[:5] = 255
    return values


@pytest.mark.parametrize(
    ("values", "nodata", "expected", "noted"),
    [
        (BLOCKS, None, BLOCKS, False),
        (BLOCKS * 255, None, BLOCKS, True),
        (BLOCKS * 255, 0, BLOCKS, True),
        (BLOCKS, 0, BLOCKS, True),
        (with_unknown(BLOCKS), 255, with_unknown(BLOCKS), False),
        (with_unknown(BLOCKS), None, with_unknown(BLOCKS), False),
        (np.where(BLOCKS, 255, 0).astype(np.uint8), 255, BLOCKS * 255, False),
        (BLOCKS.astype(np.int16) - 2, -2, np.where(BLOCKS, 0, 255), None),
        (BLOCKS.astype(np.uint16), None, BLOCKS, False),
    ],
    ids=["ids", "0-255", "0-255, 0 nodata", "0 nodata", "255 nodata", "255 beside ids",
         "0-255, 255 nodata", "negative", "uint16"],
)  # fmt: skip
def test_stored_values_become_class_ids(tmp_path, values, nodata, expected, noted):
    if noted is None:
        with pytest.raises(InputError, match="holds the value -1"):
            labels(write(tmp_path / "l.tif", values, nodata=nodata))
        return
    rule, found = labels(write(tmp_path / "l.tif", values, nodata=nodata))
    np.testing.assert_array_equal(found, expected)
    assert bool(rule.note) == noted


def test_one_file_has_one_reading_even_where_a_window_holds_only_0_and_255(tmp_path):
    values = np.zeros((60, 90), np.uint8)
    values[:10] = 255
    values[50:] = 1
    rule, found = labels(write(tmp_path / "l.tif", values))
    assert not rule.full_is_class_1
    np.testing.assert_array_equal(found, values)


def test_rasters_that_are_no_masks_are_refused(tmp_path):
    with pytest.raises(InputError, match="3 bands"):
        labels(write(tmp_path / "rgb.tif", np.zeros((3, 4, 4), np.uint8)))
    probable = {"GEOTILER_CONTENT": "probability"}
    with pytest.raises(InputError, match="holds probabilities"):
        labels(write(tmp_path / "u.tif", BLOCKS, tags=probable))
    halves = write(tmp_path / "h.tif", BLOCKS.astype(np.float32) / 2)
    with pytest.raises(InputError, match=r"holds the value 0\.5"):
        labels(halves)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_a_declared_zero_is_background_whatever_the_type_of_the_values(tmp_path, dtype):
    """As a GIS rasterizes polygons by default: float32 with 0 as nodata."""
    path = write(tmp_path / "burned.tif", BLOCKS.astype(dtype), nodata=0)
    rule, found = labels(path)
    np.testing.assert_array_equal(found, BLOCKS)
    assert "0 is read as background" in rule.note


def test_classes_are_chosen_by_name_or_id():
    names = {1: "building", 3: "Water"}
    assert chosen_classes(["water", "1"], names, set(), "m.tif") == {1, 3}
    assert chosen_classes(["7"], {}, {7}, "m.tif") == {7}
    with pytest.raises(SpecError, match="its classes: building, Water"):
        chosen_classes(["road"], names, set(), "m.tif")


@pytest.mark.parametrize("windows", [None, PIECES], ids=["whole", "pieces"])
def test_a_raster_on_the_same_grid(tmp_path, mask, windows):
    other = np.roll(BLOCKS, 3, axis=1)
    found, notes = truth(write(tmp_path / "t.tif", other), mask, windows)
    np.testing.assert_array_equal(found, other)
    assert notes == ()


def test_a_raster_without_a_crs_of_the_same_size_is_taken_pixel_by_pixel(tmp_path, mask):
    found, notes = truth(write(tmp_path / "t.png", BLOCKS * 255, crs=None), mask)
    np.testing.assert_array_equal(found, BLOCKS)
    assert len(notes) == 2


@pytest.mark.parametrize("crs", [None, UTM])
def test_without_a_crs_a_world_file_must_be_that_of_the_grid(tmp_path, crs):
    for name, shift in (("same", 0), ("moved", 2)):
        place = GRID @ Affine.translation(shift, 0)
        (tmp_path / f"{name}.pgw").write_text(
            "\n".join(map(str, [place.a, 0, 0, place.e, place.c + 0.25, place.f - 0.25]))
        )
        write(tmp_path / f"{name}.png", BLOCKS, crs=None)
    grid = tmp_path / "grid.tif"
    with rasterio.open(
        grid, "w", height=60, width=90, count=1, dtype="uint8", crs=crs, transform=GRID
    ) as target:
        target.write(BLOCKS, 1)
    np.testing.assert_array_equal(truth(tmp_path / "same.png", str(grid))[0], BLOCKS)
    with pytest.raises(InputError, match=r"moved\.png has the transform 400001,0\.5,0,5500000"):
        truth(tmp_path / "moved.png", str(grid))


@pytest.mark.parametrize("windows", [None, PIECES], ids=["whole", "pieces"])
def test_a_shifted_grid_is_sampled_and_unknown_outside(tmp_path, mask, windows):
    shifted = Affine(0.5, 0, 400_010, 0, -0.5, 5_499_990)  # 20 pixels right, 20 down
    found, notes = truth(write(tmp_path / "t.tif", BLOCKS, transform=shifted), mask, windows)
    expected = np.full_like(BLOCKS, 255)
    expected[20:, 20:] = BLOCKS[:-20, :-20]
    np.testing.assert_array_equal(found, expected)
    assert "resampled" in notes[0]


def test_a_finer_grid_in_another_crs(tmp_path, mask):
    transform, width, height = calculate_default_transform(
        UTM, "EPSG:3857", 90, 60, left=400_000, bottom=5_499_970, right=400_045, top=5_500_000,
        resolution=0.1,
    )  # fmt: skip
    values = np.full((height, width), 255, np.uint8)
    reproject(
        BLOCKS, values, src_transform=GRID, src_crs=UTM, dst_transform=transform,
        dst_crs="EPSG:3857", resampling=Resampling.nearest, init_dest_nodata=False, dst_nodata=255,
    )  # fmt: skip
    path = write(tmp_path / "t.tif", values, nodata=255, crs="EPSG:3857", transform=transform)
    found, _ = truth(path, mask, PIECES)
    known = found != 255
    assert known.mean() > 0.95
    assert (found == BLOCKS)[known].mean() > 0.99


def polygons_of(values):
    return np.array([shapely.geometry.shape(g) for g, _ in features.shapes(values, values > 0)])


def write_vector(path, shapes, crs, classes=None):
    fields = {"class": "text"} if classes else {}
    batch = FeatureBatch(
        geometries=np.asarray(shapes, object),
        attributes={"class": np.array(classes, object)} if classes else {},
    )
    write_features(str(path), [batch], Layer(fields=fields, crs=crs))
    return path


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".parquet"])
@pytest.mark.parametrize("windows", [None, PIECES], ids=["whole", "pieces"])
def test_polygons_in_any_crs_give_the_pixels_back(tmp_path, mask, suffix, windows):
    origin, step = [GRID.c, GRID.f], [GRID.a, GRID.e]
    placed = shapely.transform(polygons_of(BLOCKS), lambda p: origin + p * step)
    found, _ = truth(write_vector(tmp_path / f"t{suffix}", placed, UTM), mask, windows)
    np.testing.assert_array_equal(found, BLOCKS)


def test_polygons_have_the_classes_they_name(tmp_path):
    mask = write(
        tmp_path / "m.tif", BLOCKS, tags={"GEOTILER_CLASSES": '{"1": "building", "4": "road"}'}
    )
    left, top = 400_000, 5_500_000
    shapes = [shapely.box(left + x, top - 10, left + x + 5, top) for x in (0, 10, 20)]
    path = write_vector(tmp_path / "t.gpkg", shapes, UTM, ["Road", "building", "lake"])
    found, notes = truth(path, mask)
    assert found[0, [0, 22, 45]].tolist() == [4, 1, 0]
    assert notes == (f"1 polygons of {path} are of other classes: background",)


def test_polygons_speak_the_ids_of_a_mask_without_names(tmp_path, mask):
    left, top = 400_000, 5_500_000
    shapes = [shapely.box(left + x, top - 10, left + x + 5, top) for x in (0, 10)]
    path = write_vector(tmp_path / "t.gpkg", shapes, UTM, ["2", "7"])
    found, _ = truth(path, mask)
    assert found[0, [0, 22]].tolist() == [2, 7]


def test_later_polygons_lie_on_top(tmp_path):
    mask = write(
        tmp_path / "m.tif", BLOCKS, tags={"GEOTILER_CLASSES": '{"1": "building", "4": "road"}'}
    )
    box = shapely.box(400_000, 5_499_990, 400_010, 5_500_000)
    path = write_vector(tmp_path / "t.gpkg", [box, box], UTM, ["building", "road"])
    assert truth(path, mask)[0][0, 0] == 4


def test_a_mask_without_a_crs_takes_polygons_in_pixels(tmp_path):
    mask = write(tmp_path / "m.tif", BLOCKS, crs=None)
    path = write_vector(tmp_path / "t.geojson", polygons_of(BLOCKS), None)
    found, notes = truth(path, mask, PIECES)
    np.testing.assert_array_equal(found, BLOCKS)
    assert notes == ()
    degrees = write_vector(tmp_path / "d.geojson", polygons_of(BLOCKS), "EPSG:4326")
    with pytest.raises(InputError, match="has no CRS: nobody knows where they meet"):
        truth(degrees, mask)


def test_no_polygons_at_all_is_all_background(tmp_path, mask):
    assert not truth(write_vector(tmp_path / "t.gpkg", [], UTM), mask)[0].any()


def test_what_cannot_be_the_truth_is_refused_in_one_line(tmp_path, mask):
    far = Affine(0.5, 0, 700_000, 0, -0.5, 5_500_000)
    (tmp_path / "t.txt").write_text("truth")
    geopoint = tmp_path / "p.geojson"
    geopoint.write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, '
        '"geometry": {"type": "Point", "coordinates": [13.6, 49.6]}}]}'
    )
    cases = {
        write(tmp_path / "far.tif", BLOCKS, transform=far): "do not overlap",
        write_vector(tmp_path / "far.gpkg", [shapely.box(0, 0, 9, 9)], UTM): "do not overlap",
        write(tmp_path / "size.png", BLOCKS[:30], crs=None): "without a CRS they must be equal",
        tmp_path / "t.txt": "is no raster but a text",
        tmp_path / "absent.tif": "no such file",
        tmp_path / "absent.geojson": "no such file",
        geopoint: "holds no polygons",
        write_vector(tmp_path / "no_crs.gpkg", [shapely.box(0, 0, 9, 9)], None): "has no CRS",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            truth(path, mask)
        assert "\n" not in str(caught.value)


def test_an_attribute_that_was_asked_for_and_is_nowhere_is_refused(tmp_path):
    path = write_vector(tmp_path / "t.gpkg", [shapely.box(0, 0, 9, 9)], UTM)
    assert class_names({str(path): TRUTH}, "class") == {}
    with pytest.raises(SpecError, match="has no attribute 'kind'"):
        class_names({str(path): TRUTH}, "kind")
