"""`vectorize`: masks in, polygons in every format out."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio import features

from geotiler.errors import InputError, OutputError
from geotiler.io.raster import Scene
from geotiler.io.vector import read_features
from geotiler.progress import Notice, StageAdvanced, StageStarted
from geotiler.specs import VectorizeSpec
from geotiler.tasks.vectorize import vectorize

MERCATOR = Affine(0.6, 0, 1_000_000, 0, -0.6, 8_399_737)  # 60° N: half a metre is 0.3 on the ground
TAGS = {"GEOTILER_CLASSES": '{"1": "building", "2": "Straße"}'}


def write(path, values, *, nodata=255, crs="EPSG:3857", transform=MERCATOR, tags=TAGS):
    options = {"crs": crs, "transform": transform} if crs else {}
    bands = values[None] if values.ndim == 2 else values
    with rasterio.open(
        path, "w", height=bands.shape[1], width=bands.shape[2], count=len(bands),
        dtype=values.dtype, nodata=nodata, **options,
    ) as target:  # fmt: skip
        target.write(bands)
        target.update_tags(**tags)
    return str(path)


@pytest.fixture
def values():
    rng = np.random.default_rng(3)
    blobs = features.rasterize(
        shapely.buffer(shapely.points(rng.random((60, 2)) * 300), rng.random(60) * 9).tolist(),
        out_shape=(300, 300),
    )
    blobs[40:60, 200:260] = 1
    blobs[45:50, 210:220] = 0
    blobs[200:, 100:102] = 2
    blobs[:, :7] = 255
    return blobs.astype(np.uint8)


@pytest.fixture
def mask(tmp_path, values):
    return write(tmp_path / "mask.tif", values)


def exact(mask, output, **options) -> VectorizeSpec:
    """Nothing dropped, nothing simplified."""
    plain = {"min_area_m2": 0, "min_hole_m2": 0, "simplify_m": 0}
    return VectorizeSpec(mask=mask, output=str(output), **{**plain, **options})


def test_polygons_rasterize_to_the_mask(tmp_path, mask, values):
    report = vectorize(exact(mask, tmp_path / "b.gpkg"))
    back = read_features(str(tmp_path / "b.gpkg"))
    assert report.polygons == len(back.geometries) == sum(report.per_class.values())
    ids = {"building": 1, "Straße": 2}
    burned = features.rasterize(
        [(g, ids[c]) for g, c in zip(back.geometries, back.attributes["class"], strict=True)],
        out_shape=values.shape,
        transform=MERCATOR,
    )
    np.testing.assert_array_equal(burned, np.where(values == 255, 0, values))


def test_strips_do_not_show(tmp_path, mask, monkeypatch):
    vectorize(VectorizeSpec(mask=mask, output=str(tmp_path / "whole.geojson")))
    monkeypatch.setattr(Scene, "strip_rows", lambda self, width: 7)
    vectorize(VectorizeSpec(mask=mask, output=str(tmp_path / "strips.geojson")))
    whole, strips = (tmp_path / name for name in ("whole.geojson", "strips.geojson"))
    assert strips.read_bytes() == whole.read_bytes()


def test_attributes_are_measured_on_the_ground(tmp_path, mask):
    vectorize(VectorizeSpec(mask=mask, output=str(tmp_path / "b.parquet")))
    back = read_features(str(tmp_path / "b.parquet"))
    assert back.attributes["id"].tolist() == list(range(1, len(back.geometries) + 1))
    assert list(back.attributes) == ["id", "class", "area_m2", "perimeter_m"]
    geod = pyproj.Geod(ellps="WGS84")
    to_degrees = pyproj.Transformer.from_crs(3857, 4326, always_xy=True)
    for shape, area, length in zip(
        back.geometries, back.attributes["area_m2"], back.attributes["perimeter_m"], strict=True
    ):
        turned = shapely.transform(shape, lambda p: np.stack(to_degrees.transform(*p.T), axis=1))
        measured = geod.geometry_area_perimeter(shapely.orient_polygons(turned))[0]
        assert area == pytest.approx(abs(measured), abs=0.006)
        rings = [turned.exterior, *turned.interiors]
        assert length == pytest.approx(sum(map(geod.geometry_length, rings)), abs=0.006)
    assert back.attributes["area_m2"].min() >= 10


def test_small_polygons_and_holes_go_by_square_metres(tmp_path):
    values = np.zeros((60, 60), np.uint8)
    values[0:20, 0:20] = 1  # 400 px of 0.09 m²: 36 m²
    values[5:8, 5:8] = 0  # 0.81 m²
    values[10:15, 10:15] = 0  # 2.25 m²
    values[40:50, 40:50] = 1  # 9 m²
    path = write(tmp_path / "m.tif", values)
    spec = VectorizeSpec(mask=path, output=str(tmp_path / "b.gpkg"), min_area_m2=10, min_hole_m2=2)
    report = vectorize(spec)
    assert (report.polygons, report.dropped, report.filled_holes) == (1, 1, 1)
    (polygon,) = read_features(str(tmp_path / "b.gpkg")).geometries
    assert len(polygon.interiors) == 1
    assert report.area == pytest.approx((400 - 25) * 0.09, rel=0.01)


def test_geojson_is_longitude_and_latitude(tmp_path, mask):
    vectorize(VectorizeSpec(mask=mask, output=str(tmp_path / "b.geojson")))
    document = json.loads((tmp_path / "b.geojson").read_text(encoding="utf-8"))
    assert "crs" not in document
    for feature in document["features"]:
        shell, *holes = feature["geometry"]["coordinates"]
        assert shapely.LinearRing(shell).is_ccw
        assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
        assert all(8 < lon < 10 and 59 < lat < 61 for lon, lat in shell)
    classes = {feature["properties"]["class"] for feature in document["features"]}
    assert classes == {"building", "Straße"}


def test_stdout_gets_the_same_features(tmp_path, mask):
    stream = io.StringIO()
    vectorize(VectorizeSpec(mask=mask, output="-"), stream=stream)
    vectorize(VectorizeSpec(mask=mask, output=str(tmp_path / "b.json")))
    on_disk = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert json.loads(stream.getvalue()) == on_disk


@pytest.mark.parametrize("chosen", ["Straße", " straße", "2"])
def test_one_class(tmp_path, mask, chosen):
    report = vectorize(exact(mask, tmp_path / "b.fgb", classes=(chosen,)))
    assert report.per_class == {"Straße": 1}


@pytest.mark.parametrize("tags", [TAGS, {}], ids=["named", "unnamed"])
def test_a_class_that_is_not_there(tmp_path, values, tags):
    path = write(tmp_path / "m.tif", values, tags=tags)
    with pytest.raises(InputError, match="has no class '9'; its classes: ") as caught:
        vectorize(exact(path, tmp_path / "b.fgb", classes=("9",)))
    assert "--class" in str(caught.value)
    assert not (tmp_path / "b.fgb").exists()


def test_without_a_crs_everything_is_in_pixels_and_that_is_said(tmp_path, values):
    path = write(tmp_path / "m.png", values, crs=None)
    events = []
    report = vectorize(exact(path, tmp_path / "b.geojson"), report=events.append)
    assert any(isinstance(e, Notice) and e.warning and "no CRS" in e.message for e in events)
    document = json.loads((tmp_path / "b.geojson").read_text(encoding="utf-8"))
    first = document["features"][0]
    assert set(first["properties"]) == {"id", "class", "area_px", "perimeter_px"}
    assert report.area_unit == "px"
    assert report.area == np.isin(values, [1, 2]).sum()


def test_progress_adds_up(tmp_path, mask, values):
    events = []
    vectorize(exact(mask, tmp_path / "b.fgb"), report=events.append)
    (start,) = [event for event in events if isinstance(event, StageStarted)]
    done = sum(event.amount for event in events if isinstance(event, StageAdvanced))
    assert start.total == done == values.size


def test_a_mask_of_0_and_255_is_read_as_buildings(tmp_path):
    values = np.zeros((40, 40), np.uint8)
    values[10:20, 10:20] = 255
    events = []
    path = write(tmp_path / "m.png", values, nodata=None, crs=None, tags={})
    report = vectorize(exact(path, tmp_path / "b.gpkg"), report=events.append)
    assert report.per_class == {"1": 1}
    assert any(isinstance(event, Notice) and "255" in event.message for event in events)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".parquet"])
@pytest.mark.parametrize("fill", [0, 1, 255])
def test_uniform_masks(tmp_path, suffix, fill):
    path = write(tmp_path / "m.tif", np.full((30, 50), fill, np.uint8))
    report = vectorize(VectorizeSpec(mask=path, output=str(tmp_path / f"b{suffix}")))
    back = read_features(str(tmp_path / f"b{suffix}"))
    assert report.polygons == len(back.geometries) == (1 if fill == 1 else 0)
    if fill == 1:
        assert shapely.get_num_coordinates(back.geometries[0]) == 5


def test_eight_connected_joins_corners(tmp_path):
    path = write(tmp_path / "m.tif", np.kron(np.eye(4, dtype=np.uint8), np.ones((9, 9), np.uint8)))
    assert vectorize(exact(path, tmp_path / "four.gpkg")).polygons == 4
    report = vectorize(exact(path, tmp_path / "eight.gpkg", eight_connected=True, simplify_m=0.5))
    assert report.polygons == 1
    (joined,) = read_features(str(tmp_path / "eight.gpkg")).geometries
    assert joined.is_valid
    assert len(joined.geoms) == 4


def test_what_is_no_mask_is_refused_and_leaves_nothing(tmp_path, mask):
    inputs = {
        write(tmp_path / "rgb.tif", np.zeros((3, 9, 9), np.uint8)): "3 bands",
        write(tmp_path / "p.tif", np.zeros((9, 9), np.float32), nodata=None): "float32",
        str(tmp_path / "absent.tif"): "no such file",
    }
    truncated = tmp_path / "truncated.tif"
    noise = (np.random.default_rng(0).random((900, 900)) < 0.5).astype(np.uint8)
    whole = Path(write(tmp_path / "noise.tif", noise)).read_bytes()
    truncated.write_bytes(whole[: len(whole) // 2])
    inputs[str(truncated)] = "truncated"
    for path, message in inputs.items():
        with pytest.raises(InputError, match=message):
            vectorize(exact(path, tmp_path / "b.gpkg"))
    with pytest.raises(OutputError, match="expected one of"):
        vectorize(exact(mask, tmp_path / "b.shp"))
    assert not [name for name in os.listdir(tmp_path) if name.startswith((".b", "b."))]


def test_a_mask_that_lies_nowhere_is_refused(tmp_path):
    """A wrong transform would otherwise drop every polygon as too small."""
    nowhere = Affine(0.5, 0, 1e9, 0, -0.5, 1e9)
    path = write(tmp_path / "m.tif", np.ones((9, 9), np.uint8), crs=32633, transform=nowhere)
    with pytest.raises(InputError, match="a place on the earth"):
        vectorize(exact(path, tmp_path / "b.gpkg"))
    assert [item.name for item in tmp_path.iterdir()] == ["m.tif"]


@pytest.mark.parametrize(("suffix", "fits"), [(".gpkg", True), (".geojson", False)])
def test_a_grid_of_a_sites_own_has_no_longitudes(tmp_path, suffix, fits):
    site = 'LOCAL_CS["site",UNIT["metre",1]]'
    path = write(tmp_path / "m.tif", np.ones((9, 9), np.uint8), crs=site)
    spec = exact(path, tmp_path / f"b{suffix}")
    if fits:
        assert vectorize(spec).polygons == 1
    else:
        with pytest.raises(OutputError):
            vectorize(spec)
