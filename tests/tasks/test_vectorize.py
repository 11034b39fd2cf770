"""`vectorize`: masks in, polygons in every format out."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio import features

from geotiler.errors import InputError, OutputError, SpecError
from geotiler.io.raster import Scene
from geotiler.io.styles import shown_classes
from geotiler.io.vector_reading import read_features
from geotiler.progress import Notice, StageAdvanced, StageStarted
from geotiler.specs import EvaluateSpec, OutlinesFrom, PreviewSpec, Regularize, VectorizeSpec
from geotiler.tasks.evaluate import evaluate
from geotiler.tasks.preview import preview
from geotiler.tasks.vectorize import vectorize
from geotiler.tasks.vectorize_input import VectorizeInput
from geotiler.tasks.vectorize_workers import drawn_tables

MERCATOR = Affine(0.6, 0, 1_000_000, 0, -0.6, 8_399_737)  # 60° N: half a metre is 0.3 on the ground
TAGS = {"GEOTILER_CLASSES": '{"1": "building", "2": "Straße"}'}


def write(path, values, *, nodata=255, crs="EPSG:3857", transform=MERCATOR, tags=TAGS):
    options = {"crs": crs} if crs else {}
    if crs or transform is not MERCATOR:
        options["transform"] = transform
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
    plain = {
        "min_area_m2": 0, "min_hole_m2": 0, "simplify_m": 0, "regularize": Regularize.NONE,
    }  # fmt: skip
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


@pytest.mark.parametrize("tags", [{}, TAGS, {"GEOTILER_CLASSES": '{"2": "Straße"}'}])
@pytest.mark.parametrize("suffix", ["geojson", "gpkg"])
def test_every_class_has_a_colour_named_or_not(tmp_path, values, tags, suffix):
    mask = write(tmp_path / "mask.tif", values, tags=tags)
    output = tmp_path / f"b.{suffix}"
    report = vectorize(exact(mask, output))
    shown = shown_classes(output)
    back = read_features(str(output)).attributes["class"]
    assert set(back.tolist()) == set(report.per_class) == {one.value for one in shown}
    assert len({one.color for one in shown}) == len({one.name for one in shown}) == 2
    assert ("class 1" in {one.name for one in shown}) == (tags != TAGS)


def test_classes_that_are_added_to_a_layer_are_shown_too(tmp_path, values):
    mask = write(tmp_path / "mask.tif", values, tags={})
    output = tmp_path / "b.gpkg"
    vectorize(exact(mask, output, classes=("1",)))
    first = shown_classes(output)
    vectorize(exact(mask, output, classes=("2",), append=True))
    both = shown_classes(output)
    assert [one.value for one in both] == ["1", "2"]
    assert both[:1] == first
    with closing(sqlite3.connect(output)) as base, base:
        base.execute("UPDATE layer_styles SET styleQML = '<qgis>mine</qgis>'")
    other = write(tmp_path / "other.tif", values[::-1], tags={})
    vectorize(exact(other, output, append=True))
    with closing(sqlite3.connect(output)) as base:
        assert base.execute("SELECT styleQML FROM layer_styles").fetchall() == [
            ("<qgis>mine</qgis>",)
        ]


def test_attributes_are_measured_on_the_ground(tmp_path, mask):
    vectorize(VectorizeSpec(mask=mask, output=str(tmp_path / "b.parquet")))
    back = read_features(str(tmp_path / "b.parquet"))
    assert back.attributes["id"].tolist() == list(range(1, len(back.geometries) + 1))
    assert list(back.attributes) == [
        "id", "class", "area_m2", "perimeter_m", "orientation_deg", "n_vertices", "status",
    ]  # fmt: skip
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
    with pytest.raises(SpecError, match="has no class '9'; its classes: ") as caught:
        vectorize(exact(path, tmp_path / "b.fgb", classes=("9",)))
    assert "--class" in str(caught.value)
    assert not (tmp_path / "b.fgb").exists()


def test_without_a_crs_everything_is_in_pixels_and_that_is_said(tmp_path, values):
    path = write(tmp_path / "m.png", values, crs=None)
    events = []
    report = vectorize(exact(path, tmp_path / "b.geojson"), report=events.append)
    (told,) = (e.message for e in events if isinstance(e, Notice) and "no CRS" in e.message)
    assert all(word in told for word in ("WGS 84", ".gpkg", ".fgb"))
    document = json.loads((tmp_path / "b.geojson").read_text(encoding="utf-8"))
    first = document["features"][0]
    assert set(first["properties"]) == {
        "id", "class", "area_px", "perimeter_px", "orientation_deg", "n_vertices", "status",
    }  # fmt: skip
    assert report.area_unit == "px"
    assert report.area == np.isin(values, [1, 2]).sum()
    events.clear()
    vectorize(exact(path, tmp_path / "b.gpkg"), report=events.append)
    assert pyogrio.read_info(tmp_path / "b.gpkg", layer="b")["crs"] is None
    (told,) = (e.message for e in events if isinstance(e, Notice) and "no CRS" in e.message)
    assert "WGS 84" not in told


def test_a_world_file_places_polygons_as_a_crs_does(tmp_path, values):
    """Coordinates are those of the mask with a CRS; measures are pixels, of no known size."""
    transform = Affine(0.5, 0, 4e5, 0, -0.5, 5e6)
    known = write(tmp_path / "known.tif", values, crs="EPSG:32633", transform=transform)
    world = write(tmp_path / "world.tif", values, crs=None, transform=transform)
    events = []
    vectorize(exact(known, tmp_path / "known.gpkg"))
    report = vectorize(exact(world, tmp_path / "world.gpkg"), report=events.append)
    found, expected = (read_features(str(tmp_path / f"{name}.gpkg")) for name in ("world", "known"))
    assert shapely.equals(found.geometries, expected.geometries).all()
    assert report.area_unit == "px"
    assert report.area == np.isin(values, [1, 2]).sum()
    assert any("coordinates are those of its transform" in str(e) for e in events)
    scores = evaluate(
        EvaluateSpec(predictions=(str(tmp_path / "world.gpkg"),), truths=(world,), objects=False)
    )
    assert scores.iou == 1.0
    page = tmp_path / "world.png"
    preview(PreviewSpec(scene=world, output=page, layers=(str(tmp_path / "world.gpkg"),)))


@pytest.mark.parametrize("suffix", ["geojson", "geojsonl", "gpkg"])
@pytest.mark.parametrize("pixel", [2.5e-6, 3e-4, 0.3, 40.0])
def test_coordinates_of_a_world_file_are_as_fine_as_its_pixels(tmp_path, values, suffix, pixel):
    transform = Affine(pixel, 0, 14.25, 0, -pixel, 50.5)
    path = write(tmp_path / "m.tif", values, crs=None, transform=transform)
    target = tmp_path / f"m.{suffix}"
    vectorize(exact(path, target))
    points = shapely.get_coordinates(read_features(str(target)).geometries)
    in_pixels = (points - [14.25, 50.5]) / [pixel, -pixel]
    assert np.abs(in_pixels - np.rint(in_pixels)).max() < 2e-3
    scores = evaluate(EvaluateSpec(predictions=(str(target),), truths=(path,), objects=False))
    assert scores.iou == 1.0


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
        write(tmp_path / "p.tif", np.full((9, 9), 0.25, np.float32), nodata=None): "value 0.25",
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
    with pytest.raises(SpecError, match="expected one of"):
        vectorize(exact(mask, tmp_path / "b.dxf"))
    assert not [name for name in os.listdir(tmp_path) if name.startswith((".b", "b."))]


def test_whole_numbers_in_floating_point_are_a_mask(tmp_path, mask, values):
    """As several tools write them."""
    floats = np.where(values == 255, np.nan, values.astype(np.float32))
    path = write(tmp_path / "floats.tif", floats.astype(np.float32), nodata=np.nan)
    for source, output in ((mask, "ids.geojson"), (path, "floats.geojson")):
        vectorize(exact(source, tmp_path / output))
    assert (tmp_path / "ids.geojson").read_bytes() == (tmp_path / "floats.geojson").read_bytes()


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


def towns(side=240, seed=2):
    """Houses at all angles, as a soft probability."""
    from scipy import ndimage
    from shapely import affinity

    rng = np.random.default_rng(seed)
    houses = [
        affinity.rotate(shapely.box(x - w, y - h, x + w, y + h), turn)
        for x in range(30, side, 60)
        for y in range(30, side, 60)
        for w, h, turn in [(*rng.uniform(8, 17, 2), rng.uniform(0, 90))]
    ]
    fine = features.rasterize(
        [affinity.scale(each, 4, 4, origin=(0, 0)) for each in houses], out_shape=(4 * side,) * 2
    ).astype(float)
    share = fine.reshape(side, 4, side, 4).mean(axis=(1, 3))
    return np.array(houses), ndimage.gaussian_filter(share, 0.8).astype(np.float32)


def probability_file(path, values, *, quantised=True, threshold=0.5):
    tags = {
        "GEOTILER_CLASSES": '{"0": "background", "1": "building"}',
        "GEOTILER_CONTENT": "probability",
        "GEOTILER_SETTINGS": json.dumps({"threshold": threshold}),
    }
    stored = np.rint(values * 254).astype(np.uint8) if quantised else values
    return write(path, stored, nodata=255 if quantised else np.nan, tags=tags)


def in_pixels(path):
    back = read_features(str(path))
    inverse = ~MERCATOR
    return shapely.transform(
        back.geometries, lambda p: np.stack(inverse @ (p[:, 0], p[:, 1]), axis=1)
    ), back.attributes


def overlap(one, other):
    """(one): IoU with the best of the others."""
    tree = shapely.STRtree(other)
    left, right = tree.query(one, "intersects")
    joint = shapely.area(shapely.intersection(one[left], other[right]))
    union = shapely.area(one[left]) + shapely.area(other[right]) - joint
    best = np.zeros(len(one))
    np.maximum.at(best, left, joint / union)
    return best


@pytest.mark.parametrize("quantised", [True, False], ids=["uint8", "float32"])
def test_probabilities_know_themselves_and_give_finer_outlines(tmp_path, quantised):
    houses, values = towns()
    p = probability_file(tmp_path / "p.tif", values, quantised=quantised)
    stored = (np.rint(values * 254) / 254).astype(np.float32) if quantised else values
    mask = write(tmp_path / "m.tif", (stored >= 0.5).astype(np.uint8), tags={})
    plain = {"regularize": Regularize.NONE, "min_area_m2": 0}
    vectorize(VectorizeSpec(mask=p, output=str(tmp_path / "p.gpkg"), **plain))
    vectorize(VectorizeSpec(mask=mask, output=str(tmp_path / "m.gpkg"), simplify_m=0, **plain))
    vectorize(VectorizeSpec(mask=mask, output=str(tmp_path / "mp.gpkg"), probability=p, **plain))
    fine, attributes = in_pixels(tmp_path / "p.gpkg")
    coarse, _ = in_pixels(tmp_path / "m.gpkg")
    both, _ = in_pixels(tmp_path / "mp.gpkg")
    assert len(fine) == len(coarse) == len(houses)
    assert overlap(houses, fine).mean() > overlap(houses, coarse).mean() + 0.01
    assert all(a == b for a, b in zip(fine, both, strict=True))
    assert shapely.is_valid(fine).all()
    tree = shapely.STRtree(fine)
    for index, house in zip(*tree.query(houses, "intersects"), strict=True):
        burned = features.rasterize([coarse[house]], out_shape=values.shape) > 0
        assert attributes["mean_probability"][house] == pytest.approx(
            stored[burned].mean(), abs=1e-4
        ), index


def test_a_threshold_moves_the_outlines(tmp_path):
    _, values = towns()
    p = probability_file(tmp_path / "p.tif", values, threshold=0.3)
    areas = [
        vectorize(VectorizeSpec(mask=p, output=str(tmp_path / f"{t}.gpkg"), threshold=t)).area
        for t in (None, 0.3, 0.7)
    ]
    assert areas[0] == areas[1] > 1.1 * areas[2]


def test_from_mask_leaves_probabilities_to_be_refused(tmp_path):
    _, values = towns()
    p = probability_file(tmp_path / "p.tif", values)
    spec = VectorizeSpec(mask=p, output=str(tmp_path / "b.gpkg"), outlines_from=OutlinesFrom.MASK)
    with pytest.raises(SpecError, match="--outlines-from mask needs class ids"):
        vectorize(spec)


def test_probabilities_that_lost_their_tags(tmp_path):
    """As other programs cut and warp them: no class names, no scale, values of 0 to 254."""
    _, values = towns()
    stored = np.rint(values * 254).astype(np.uint8)
    bare = write(tmp_path / "bare.tif", stored, tags={})
    spec = {"output": str(tmp_path / "b.gpkg"), "overwrite": True}
    with pytest.raises(InputError, match="more than 64 different values") as caught:
        vectorize(VectorizeSpec(mask=bare, **spec))
    assert "--outlines-from probability" in str(caught.value)
    with pytest.raises(SpecError, match="--outlines-from probability if these are some"):
        vectorize(VectorizeSpec(mask=bare, classes=("254",), separate=True, **spec))
    assert not (tmp_path / "b.gpkg").exists()
    told = {"outlines_from": OutlinesFrom.PROBABILITY, **spec}
    found = vectorize(VectorizeSpec(mask=bare, **told)).polygons
    tagged = probability_file(tmp_path / "p.tif", values)
    assert found == vectorize(VectorizeSpec(mask=tagged, **spec)).polygons > 10
    mask = write(tmp_path / "m.tif", (stored > 127).astype(np.uint8))
    beside = vectorize(VectorizeSpec(mask=mask, probability=bare, separate=True, **told))
    assert beside.polygons >= found
    # Whoever says so has as many classes as there are values.
    as_ids = VectorizeSpec(mask=bare, outlines_from=OutlinesFrom.MASK, **spec)
    assert vectorize(as_ids).dropped > 1000


@pytest.mark.parametrize(
    ("highest", "outlines_from", "expected"),
    [
        (100, OutlinesFrom.PROBABILITY, "above the threshold of 0.5: 8 bits"),
        (0, OutlinesFrom.AUTO, "no pixel is of a class"),
        (1, OutlinesFrom.AUTO, None),
    ],
)
def test_a_file_without_polygons_says_why(tmp_path, highest, outlines_from, expected):
    values = np.zeros((40, 50), np.uint8)
    values[10:30, 10:30] = highest
    said = []
    spec = VectorizeSpec(
        mask=write(tmp_path / "m.tif", values, tags={}), output=str(tmp_path / "b.gpkg"),
        outlines_from=outlines_from,
    )  # fmt: skip
    report = vectorize(spec, report=lambda event: said.append(getattr(event, "message", "")))
    assert report.polygons == (expected is None)
    told = [text for text in said if "shows nothing" in text]
    assert len(told) == (expected is not None)
    assert all(expected in text for text in told)


@pytest.mark.parametrize("kind", ["negative", "large", "int16", "a mask", "other grid"])
def test_what_are_no_probabilities_is_refused(tmp_path, kind):
    values = np.full((9, 9), {"negative": -0.5, "large": 3.25}.get(kind, 0.6), np.float32)
    mask = write(tmp_path / "m.tif", np.ones((9, 9), np.uint8))
    if kind == "int16":
        values = values.astype(np.int16)
    if kind == "other grid":
        values = values[:7]
    tags = {}
    if kind == "a mask":
        values, tags = values.astype(np.uint8), TAGS
    path = write(tmp_path / "p.tif", values, nodata=None, tags=tags)
    both = {"mask": mask, "probability": path}
    alone = {"mask": path, "outlines_from": OutlinesFrom.PROBABILITY}
    message = {"int16": "int16", "a mask": "uint8", "other grid": "has not the pixels"}.get(
        kind, "probabilities from 0 to 1"
    )
    with pytest.raises(InputError, match=message):
        vectorize(VectorizeSpec(output=str(tmp_path / "b.gpkg"), min_area_m2=0, **both))
    if kind != "other grid":
        with pytest.raises(InputError, match=message):
            vectorize(VectorizeSpec(output=str(tmp_path / "b.gpkg"), **alone))
    assert not (tmp_path / "b.gpkg").exists()


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet", ".shp"])
def test_neither_strips_nor_batches_change_the_bytes(tmp_path, monkeypatch, suffix):
    from geotiler.tasks import vectorize as task

    _, values = towns()
    p = probability_file(tmp_path / "p.tif", values)
    outputs = []
    sizes = (("a", 10**4, 1024, 10**4), ("b", 13, 3, 2), ("c", 10**4, 1024, 3))
    for name, rows, batch, most in sizes:
        monkeypatch.setattr(Scene, "strip_rows", lambda self, width, rows=rows: rows)
        monkeypatch.setattr(task, "BATCH_FEATURES", batch)
        monkeypatch.setattr(task, "MOST_FEATURES", most)
        (tmp_path / name).mkdir()
        target = tmp_path / name / f"b{suffix}"
        vectorize(VectorizeSpec(mask=p, output=str(target)))
        outputs.append(target.read_bytes())
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.parametrize("mode", list(Regularize))
def test_every_way_of_drawing_says_which(tmp_path, mode):
    houses, values = towns()
    path = write(tmp_path / "m.tif", (values >= 0.5).astype(np.uint8), tags={})
    report = vectorize(VectorizeSpec(mask=path, output=str(tmp_path / "b.gpkg"), regularize=mode))
    drawn, attributes = in_pixels(tmp_path / "b.gpkg")
    assert shapely.is_valid(drawn).all()
    counted = {s: (attributes["status"] == s).sum() for s in set(attributes["status"])}
    assert counted == report.per_status
    corners = shapely.get_num_coordinates(drawn) - 1
    assert attributes["n_vertices"].tolist() == corners.tolist()
    if mode in (Regularize.AUTO, Regularize.RIGHT_ANGLES):
        assert report.per_status == {"right_angles": len(houses)}
        assert (corners == 4).all()
    if mode is Regularize.NONE:
        assert report.per_status == {"simplified": len(houses)}


def test_what_a_worker_cannot_open_is_told_as_such(mask, capfd):
    spec = VectorizeSpec(mask=mask, output="-", workers=2)
    with ExitStack() as stack:
        source = VectorizeInput(spec, stack)
        tables = iter([None])  # never drawn: the file is gone before
        os.rename(mask, f"{mask}.away")
        with pytest.raises(InputError, match=r"no such file|cannot be"):
            list(drawn_tables(tables, spec, source))
    assert "Traceback" not in capfd.readouterr().err


def test_the_number_of_workers_changes_no_byte(tmp_path, monkeypatch):
    """From a mask, and between the pixels of probabilities; many small batches."""
    monkeypatch.setattr("geotiler.tasks.vectorize.BATCH_FEATURES", 3)
    monkeypatch.setattr(Scene, "strip_rows", lambda self, width: 20)
    _, values = towns()
    p = probability_file(tmp_path / "p.tif", values)
    mask = write(tmp_path / "m.tif", (values >= 0.5).astype(np.uint8))
    for source in (mask, p):
        found = []
        for workers in (1, 2):
            target = tmp_path / f"{workers}.geojson"
            spec = VectorizeSpec(mask=source, output=str(target), overwrite=True, workers=workers)
            assert vectorize(spec).polygons > 9
            found.append(target.read_bytes())
        assert found[0] == found[1]


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:2263", "EPSG:4326", None])
@pytest.mark.parametrize("turn", [0, 25])
def test_orientation_is_a_bearing_on_the_ground(tmp_path, crs, turn):
    """A house 40 by 16 whose long side runs at 30° from north, in any CRS, on a turned raster."""
    from shapely import affinity

    pixel = {"EPSG:3857": 0.5, "EPSG:2263": 1.5, "EPSG:4326": 5e-6}.get(crs, 1)
    origin = {"EPSG:3857": (1e6, 5e6), "EPSG:2263": (985_000, 200_000), "EPSG:4326": (9, 52)}
    east, north = origin.get(crs, (0, 0))
    place = Affine.translation(east, north) @ Affine.rotation(turn) @ Affine.scale(pixel, -pixel)
    if crs is None and turn:
        pytest.skip("pixels cannot be turned")
    local = 16.0 if crs != "EPSG:4326" else 16.0 * np.cos(np.radians(52))
    house = shapely.box(-local / 2, -20, local / 2, 20)
    # In pixels, y down; a degree of longitude at 52° N is shorter than one of latitude.
    house = affinity.rotate(shapely.box(-8, -20, 8, 20), 30)
    if crs == "EPSG:4326":
        house = affinity.scale(house, 1 / np.cos(np.radians(52)), 1, origin=(0, 0))
    values = features.rasterize([affinity.translate(house, 60, 60)], out_shape=(120, 120))
    path = write(tmp_path / "m.tif", values.astype(np.uint8), crs=crs, transform=place, tags={})
    vectorize(VectorizeSpec(mask=path, output=str(tmp_path / "b.parquet"), min_area_m2=0))
    (bearing,) = read_features(str(tmp_path / "b.parquet")).attributes["orientation_deg"]
    if crs == "EPSG:4326" and turn:
        return  # such pixels are no right angles on the ground
    # Drawn with y down, +30° turns clockwise seen on the map with its first row on top.
    expected = 30 - turn
    grid = 0.0
    if crs == "EPSG:2263":  # grid north of New York is not quite north
        grid = pyproj.Proj(crs).get_factors(-74.0, 40.7).meridian_convergence
    assert abs((bearing - expected - grid + 90) % 180 - 90) < 1.5


def test_a_mask_of_several_classes_has_no_gaps(tmp_path):
    rng = np.random.default_rng(1)
    from scipy import ndimage

    fields = ndimage.gaussian_filter(rng.normal(size=(4, 120, 120)), (0, 6, 6)).argmax(axis=0) + 1
    fields[50:60, 70:75] = 0
    path = write(tmp_path / "m.tif", fields.astype(np.uint8), tags={})
    report = vectorize(VectorizeSpec(mask=path, output=str(tmp_path / "b.gpkg"), min_area_m2=0))
    drawn, attributes = in_pixels(tmp_path / "b.gpkg")
    assert set(report.per_class) == {"1", "2", "3", "4"}
    assert shapely.is_valid(drawn).all()
    assert shapely.coverage_is_valid(read_features(str(tmp_path / "b.gpkg")).geometries)
    whole = shapely.union_all(drawn)
    holes = sum(shapely.Polygon(ring).area for ring in whole.interiors)
    assert holes == pytest.approx(50, abs=8)
    exact_path = tmp_path / "exact.gpkg"
    vectorize(VectorizeSpec(mask=path, output=str(exact_path), min_area_m2=0, simplify_m=0))
    assert (
        shapely.get_num_coordinates(drawn).sum()
        < 0.6 * shapely.get_num_coordinates(in_pixels(exact_path)[0]).sum()
    )
    burned = features.rasterize(
        zip(drawn, attributes["class"].astype(int), strict=True), out_shape=fields.shape
    )
    assert (burned == fields).mean() > 0.97


def test_probabilities_of_several_classes_have_borders_between_the_pixels(tmp_path, monkeypatch):
    """Three sectors and a disc of another class: smooth borders, no gaps, in strips as well."""
    rows, cols = np.indices((90, 90)) + 0.5
    towards = np.radians([20, 140, 260])
    sectors = [(cols - 45) * np.cos(t) + (rows - 45) * np.sin(t) for t in towards]
    disc = 24.3 - np.hypot(cols - 45, rows - 45) + np.max(sectors, axis=0)
    fields = np.exp(np.stack([disc, *sectors]) / 4)
    fields = (fields / fields.sum(axis=0)).astype(np.float32)
    names = {"0": "disc", "1": "a", "2": "b", "3": "c"}
    tags = {
        "GEOTILER_CONTENT": "probability", "GEOTILER_CLASSES": json.dumps(names),
    }  # fmt: skip
    path = write(tmp_path / "p.tif", fields, nodata=None, tags=tags)
    with rasterio.open(path, "r+") as target:
        target.descriptions = tuple(names.values())
    options = {"mask": path, "min_area_m2": 0, "min_hole_m2": 0}
    vectorize(VectorizeSpec(output=str(tmp_path / "b.gpkg"), **options))
    drawn, attributes = in_pixels(tmp_path / "b.gpkg")
    assert sorted(attributes["class"]) == ["a", "b", "c"]
    assert shapely.coverage_is_valid(drawn)
    # The disc is background: a hole that three classes share, and as round as it is.
    (ring,) = shapely.union_all(drawn).interiors
    radius = np.hypot(*(shapely.get_coordinates(ring)[1:] - 45).T)
    assert np.sort(np.abs(radius - 24.3))[-4] < 0.05  # but where three classes meet, three times
    assert radius == pytest.approx(24.3, abs=0.5)
    assert (attributes["mean_probability"] > 0.8).all()
    monkeypatch.setattr(Scene, "strip_rows", lambda self, width: 7)
    vectorize(VectorizeSpec(output=str(tmp_path / "s.gpkg"), **options))
    assert shapely.equals_exact(in_pixels(tmp_path / "s.gpkg")[0], drawn).all()


def test_metres_by_the_ground_sample_distance_in_the_tags(tmp_path):
    values = np.zeros((60, 60), np.uint8)
    values[10:30, 10:50] = 1
    tags = {**TAGS, "GEOTILER_SETTINGS": '{"gsd_m": [0.3, 0.3]}'}
    path = write(tmp_path / "m.png", values, crs=None, tags=tags)
    report = vectorize(VectorizeSpec(mask=path, output=str(tmp_path / "b.geojson")))
    assert report.area_unit == "m2"
    assert report.area == pytest.approx(800 * 0.09)
    assumed = {**TAGS, "GEOTILER_SETTINGS": '{"gsd_m": 0.5}'}  # the model's, for want of another
    path = write(tmp_path / "n.png", values, crs=None, tags=assumed)
    assert vectorize(VectorizeSpec(mask=path, output=str(tmp_path / "c.geojson"))).area_unit == "px"


def test_sieving_joins_patches_to_what_is_around(tmp_path):
    values = np.zeros((60, 60), np.uint8)
    values[5:25, 5:25] = 1
    values[10:12, 10:13] = 0  # 6 px
    values[40:42, 40:43] = 1
    path = write(tmp_path / "m.tif", values)
    options = {"min_area_m2": 0, "min_hole_m2": 0}
    spec = VectorizeSpec(mask=path, output=str(tmp_path / "b.gpkg"), sieve_px=7, **options)
    report = vectorize(spec)
    assert (report.polygons, report.sieved) == (1, 2)
    (polygon,) = in_pixels(tmp_path / "b.gpkg")[0]
    assert not polygon.interiors
    spec = VectorizeSpec(mask=path, output=str(tmp_path / "c.gpkg"), sieve_px=6, **options)
    report = vectorize(spec)
    assert (report.polygons, report.sieved) == (2, 0)
    spec = VectorizeSpec(mask=path, output=str(tmp_path / "d.gpkg"), **options)
    assert vectorize(spec).sieved is None, "nobody asked"


@pytest.mark.parametrize("suffix", [".gpkg", ".geojsonl"])
def test_appending_goes_on_counting(tmp_path, mask, values, suffix):
    target = tmp_path / f"b{suffix}"
    other = write(tmp_path / "other.tif", values[::-1, ::-1])
    first = vectorize(VectorizeSpec(mask=mask, output=str(target), append=True)).polygons
    second = vectorize(VectorizeSpec(mask=other, output=str(target), append=True)).polygons
    back = read_features(str(target))
    assert sorted(back.attributes["id"].tolist()) == list(range(1, first + second + 1))
    with pytest.raises(OutputError, match="exists"):
        vectorize(VectorizeSpec(mask=mask, output=str(target)))


@pytest.mark.parametrize("suffix", [".gpkg", ".geojsonl"])
def test_what_is_there_already_is_not_appended_again(tmp_path, mask, values, suffix, monkeypatch):
    monkeypatch.setattr("geotiler.io.vector.BATCH_FEATURES", 2)  # several looks into the file
    target = tmp_path / f"b{suffix}"
    other = write(tmp_path / "other.tif", values[::-1, ::-1])
    for each in (mask, other):
        vectorize(VectorizeSpec(mask=each, output=str(target), append=True))
    before = target.read_bytes()
    for each in (mask, other):
        with pytest.raises(OutputError, match=r"already.*--overwrite"):
            vectorize(VectorizeSpec(mask=each, output=str(target), append=True))
        assert target.read_bytes() == before
    if suffix == ".gpkg":  # in another layer they are no repetition
        vectorize(VectorizeSpec(mask=mask, output=str(target), append=True, layer="again"))


def test_a_feature_without_geometry_is_no_obstacle_to_appending(tmp_path, mask, values):
    target = tmp_path / "b.geojsonl"
    first = vectorize(VectorizeSpec(mask=mask, output=str(target))).polygons
    with target.open("a") as file:
        feature = {"type": "Feature", "properties": {"id": first + 1}, "geometry": None}
        file.write(json.dumps(feature) + "\n")
    other = write(tmp_path / "other.tif", values[::-1, ::-1])
    second = vectorize(VectorizeSpec(mask=other, output=str(target), append=True)).polygons
    assert len(target.read_text().splitlines()) == first + 1 + second
    with pytest.raises(OutputError, match="already"):
        vectorize(VectorizeSpec(mask=other, output=str(target), append=True))


def test_looking_for_repetitions_reads_a_file_once(tmp_path, mask, values, monkeypatch):
    """Whatever looks into the lines that are there, it does not begin anew for each batch."""
    import pyogrio.raw

    reads = []
    for name in ("read", "open_arrow"):
        there = getattr(pyogrio.raw, name)

        def told(*arguments, _there=there, **options):
            reads.append(options)
            return _there(*arguments, **options)

        monkeypatch.setattr(pyogrio.raw, name, told)
    monkeypatch.setattr("geotiler.io.vector.BATCH_FEATURES", 1)
    target = tmp_path / "b.geojsonl"
    counts = []
    for pixels in (values, values[::-1, ::-1], values[::-1], values[:, ::-1]):
        reads.clear()
        path = write(tmp_path / f"m{len(counts)}.tif", pixels)
        vectorize(VectorizeSpec(mask=path, output=str(target), append=True))
        counts.append(len(reads))
    assert counts[1] == counts[2] == counts[3], counts


def test_layers_of_a_geopackage(tmp_path, mask):
    import pyogrio

    target = tmp_path / "b.gpkg"
    vectorize(VectorizeSpec(mask=mask, output=str(target), layer="old"))
    vectorize(VectorizeSpec(mask=mask, output=str(target), layer="new", append=True))
    names = pyogrio.list_layers(target)[:, 0].tolist()
    assert sorted(names) == ["layer_styles", "new", "old"]
    styles = pyogrio.read_dataframe(target, layer="layer_styles")
    assert styles["f_table_name"].tolist() == ["old", "new"]
    assert "building" in styles["styleQML"][0]
    assert "Straße" in styles["styleQML"][0]


def _rows(path):
    """Table → its rows, of the user's tables."""
    with closing(sqlite3.connect(path)) as base:
        names = [name for (name,) in base.execute("SELECT table_name FROM gpkg_contents")]
        return {name: base.execute(f'SELECT * FROM "{name}"').fetchall() for name in names}


@pytest.fixture
def town(tmp_path, mask):
    """A GeoPackage of a user: layers of geotiler and of others, tables, styles, metadata."""
    import pyogrio

    target = tmp_path / "town.gpkg"
    shapes = np.array([shapely.to_wkb(shapely.box(0, 0, 1, each)) for each in (1, 2)], object)
    for layer in ("roads", "X", "wells"):
        pyogrio.raw.write(
            target, shapes, [np.array([3, 4])], ["n"], layer=layer, geometry_type="Polygon",
            crs="EPSG:3857", driver="GPKG",
        )  # fmt: skip
    vectorize(exact(mask, target, layer="old", append=True))
    with closing(sqlite3.connect(target)) as base, base:
        base.execute("CREATE TABLE notes (text TEXT)")
        base.execute("INSERT INTO notes VALUES ('mine')")
        base.execute("INSERT INTO gpkg_contents (table_name, data_type) VALUES ('notes', '')")
        base.execute("CREATE VIEW tall AS SELECT * FROM roads WHERE n > 3")
    return target


def test_only_the_layer_is_overwritten(tmp_path, mask, town):
    import pyogrio

    before, said = _rows(town), []
    vectorize(exact(mask, tmp_path / "alone.gpkg", layer="X"))
    for _ in range(2):  # the second time it is one of geotiler's own
        vectorize(exact(mask, town, layer="X", overwrite=True), report=said.append)
    assert pyogrio.list_layers(town)[:4, 0].tolist() == ["roads", "X", "wells", "old"]
    after = _rows(town)
    assert after["X"] == _rows(tmp_path / "alone.gpkg")["X"] != before["X"]
    for name in ("roads", "wells", "old", "notes"):
        assert before[name]
        assert after[name] == before[name]
    old_style = [row[1:] for row in before["layer_styles"]]  # without their numbers
    assert [row[1:] for row in after["layer_styles"] if row[3] == "old"] == old_style
    with closing(sqlite3.connect(town)) as base:
        assert len(base.execute("SELECT * FROM tall").fetchall()) == 1
        assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert base.execute("PRAGMA foreign_key_check").fetchall() == []
    told = [event.message for event in said if isinstance(event, Notice)]
    assert sum("layer X is written anew" in text and "roads, wells, old" in text for text in told)
    assert not [name for name in os.listdir(tmp_path) if "part" in name]


def test_a_layer_of_the_files_name_joins_those_that_are_there(mask, town):
    before = _rows(town)
    vectorize(exact(mask, town, overwrite=True))
    after = _rows(town)
    assert after["town"]
    assert all(after[name] == rows for name, rows in before.items() if name != "layer_styles")


def test_a_file_is_as_before_when_its_layer_cannot_be_replaced(mask, town, monkeypatch):
    before = town.read_bytes()

    def refused(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("geotiler.io.vector.embed_style", refused)
    with pytest.raises(OutputError, match="No space left"):
        vectorize(exact(mask, town, layer="X", overwrite=True))
    assert town.read_bytes() == before


def test_a_style_that_is_there_stays_when_its_layer_is_replaced(tmp_path, mask):
    target = tmp_path / "b.gpkg"
    vectorize(exact(mask, target))
    with closing(sqlite3.connect(target)) as base, base:
        base.execute("UPDATE layer_styles SET styleQML = 'mine', f_geometry_column = 'shape'")
    vectorize(exact(mask, target, overwrite=True))
    with closing(sqlite3.connect(target)) as base:
        asked = "SELECT styleQML, f_geometry_column FROM layer_styles"
        named = base.execute("SELECT column_name FROM gpkg_geometry_columns").fetchone()
        assert base.execute(asked).fetchall() == [("mine", *named)]


def test_a_file_of_one_layer_is_written_to_the_same_bytes_again(tmp_path, mask):
    target = tmp_path / "b.gpkg"
    vectorize(exact(mask, target))
    before = target.read_bytes()
    vectorize(exact(mask, target, overwrite=True))
    assert target.read_bytes() == before


@pytest.mark.parametrize("how", ["overwrite", "append"])
def test_changes_that_are_not_in_a_geopackage_yet_are_not_lost(mask, town, how):
    with closing(sqlite3.connect(town)) as base:  # as a program that has it open
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("INSERT INTO notes VALUES ('and this')")
        base.commit()
        with pytest.raises(OutputError, match=r"town\.gpkg-wal"):
            vectorize(exact(mask, town, layer="X", **{how: True}))
        assert len(base.execute("SELECT * FROM notes").fetchall()) == 2


@pytest.mark.parametrize("spilled", [False, True])
@pytest.mark.parametrize("mode", ["DELETE", "TRUNCATE", "PERSIST"])
def test_a_journal_stands_in_the_way_while_a_change_is_not_done(mask, town, mode, spilled):
    """Nothing of the change is in the file yet, or a part, which the journal can take back."""
    beside = town.with_name("town.gpkg-journal")
    with closing(sqlite3.connect(town)) as base:
        base.execute(f"PRAGMA cache_size={1 if spilled else 2000}")
        base.execute(f"PRAGMA journal_mode={mode}")
        texts = [(f"{n} " + "and this " * 2000,) for n in range(50 if spilled else 1)]
        base.executemany("INSERT INTO notes VALUES (?)", texts)
        assert (beside.read_bytes()[:8] == bytes.fromhex("d9d505f920a163d7")) == spilled
        before = town.read_bytes()
        with pytest.raises(OutputError, match=r"town\.gpkg-journal"):
            vectorize(exact(mask, town, layer="X", overwrite=True))
        assert town.read_bytes() == before
        base.commit()
    assert (beside.is_file() and beside.stat().st_size > 0) == (mode == "PERSIST")
    vectorize(exact(mask, town, layer="X", overwrite=True))
    with closing(sqlite3.connect(town)) as base:
        assert set(texts) < set(base.execute("SELECT * FROM notes"))


@pytest.mark.parametrize("magic", [False, True])
def test_a_journal_of_a_program_that_crashed_counts_where_it_is_hot(mask, town, magic):
    header = bytes.fromhex("d9d505f920a163d7") if magic else bytes(8)
    town.with_name("town.gpkg-journal").write_bytes(header + bytes(2000))
    before = town.read_bytes()
    if magic:
        with pytest.raises(OutputError, match=r"town\.gpkg-journal"):
            vectorize(exact(mask, town, layer="X", overwrite=True))
        assert town.read_bytes() == before
    else:
        vectorize(exact(mask, town, layer="X", overwrite=True))


def test_what_another_program_adds_meanwhile_is_not_lost(mask, town, monkeypatch):
    from geotiler.io import vector

    write_layer = vector._write_gdal

    def slow(*given, **options):
        write_layer(*given, **options)
        with closing(sqlite3.connect(town)) as base, base:
            base.execute("INSERT INTO notes VALUES ('meanwhile')")

    monkeypatch.setattr(vector, "_write_gdal", slow)
    with pytest.raises(OutputError, match="changed by another program"):
        vectorize(exact(mask, town, layer="X", overwrite=True))
    with closing(sqlite3.connect(town)) as base:
        assert ("meanwhile",) in base.execute("SELECT * FROM notes").fetchall()


def test_a_damaged_geopackage_is_refused_rather_than_emptied(mask, town):
    content = bytearray(town.read_bytes())
    content[100:2000] = bytes(1900)  # the first page's tree, which tells of all tables
    town.write_bytes(content)
    with pytest.raises(OutputError, match="damaged"):
        vectorize(exact(mask, town, layer="X", overwrite=True))
    assert town.read_bytes() == content


@pytest.mark.parametrize("how", ["overwrite", "append"])
def test_another_database_of_that_name_is_left_alone(tmp_path, mask, how):
    target = tmp_path / "b.gpkg"
    with closing(sqlite3.connect(target)) as base, base:
        base.execute("CREATE TABLE notes (text TEXT)")
    before = target.read_bytes()
    with pytest.raises(OutputError, match="an SQLite database, but no GeoPackage") as caught:
        vectorize(exact(mask, target, **{how: True}))
    assert "another -o" in caught.value.hint
    assert target.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"none of the kind"])
def test_nothing_is_added_to_what_is_no_geopackage(tmp_path, mask, content):
    target = tmp_path / "b.gpkg"
    target.write_bytes(content)
    with pytest.raises(OutputError, match="is no GeoPackage") as caught:
        vectorize(exact(mask, target, append=True))
    assert caught.value.hint == "--overwrite replaces it"
    assert target.read_bytes() == content


@pytest.mark.parametrize("how", ["overwrite", "append"])
@pytest.mark.parametrize(
    ("name", "told", "hint"),
    [
        ("ROADS", "a layer roads, whose name differs from ROADS in case only", "--layer roads"),
        ("Tall", "a table tall of another program", "another name"),
        ("tall", "a table tall of another program", "another name"),
    ],
)
def test_a_name_that_is_taken_is_told_before_anything_is_drawn(mask, town, how, name, told, hint):
    before, events = town.read_bytes(), []
    with pytest.raises(OutputError, match=told) as caught:
        vectorize(exact(mask, town, layer=name, **{how: True}), report=events.append)
    assert hint in caught.value.hint
    assert not [event for event in events if isinstance(event, StageAdvanced)]
    assert town.read_bytes() == before


def test_what_is_no_geopackage_is_replaced(tmp_path, mask):
    target = tmp_path / "b.gpkg"
    target.write_text("none of the kind")
    vectorize(exact(mask, target, overwrite=True))
    assert len(read_features(str(target)).geometries)


def test_appending_another_crs_is_refused_and_leaves_the_file(tmp_path, values):
    target = tmp_path / "b.gpkg"
    one = write(tmp_path / "one.tif", values)
    other = write(tmp_path / "other.tif", values, crs="EPSG:32633")
    vectorize(VectorizeSpec(mask=one, output=str(target)))
    before = target.read_bytes()
    with pytest.raises(OutputError, match="EPSG:32633"):
        vectorize(VectorizeSpec(mask=other, output=str(target), append=True))
    assert target.read_bytes() == before


def test_a_style_that_is_there_stays_when_features_are_added(tmp_path, mask, values):
    target = tmp_path / "b.gpkg"
    vectorize(VectorizeSpec(mask=mask, output=str(target)))
    with closing(sqlite3.connect(target)) as base, base:
        base.execute("UPDATE layer_styles SET styleQML = 'mine'")
    other = write(tmp_path / "other.tif", values[::-1, ::-1])
    vectorize(VectorizeSpec(mask=other, output=str(target), append=True))
    vectorize(VectorizeSpec(mask=mask, output=str(target), append=True, layer="other"))
    with closing(sqlite3.connect(target)) as base:
        rows = dict(base.execute("SELECT f_table_name, styleQML FROM layer_styles").fetchall())
    assert rows["b"] == "mine"
    assert "Straße" in rows["other"]
    assert set(rows) == {"b", "other"}


@pytest.mark.parametrize("suffix", [".geojson", ".geojsonl"])
def test_pixels_are_not_read_back_as_degrees(tmp_path, values, suffix):
    target = tmp_path / f"b{suffix}"
    vectorize(exact(write(tmp_path / "m.tif", values, crs=None), target))
    back = read_features(str(target))
    assert back.crs is None
    burned = features.rasterize(back.geometries.tolist(), out_shape=values.shape)
    np.testing.assert_array_equal(burned > 0, (values > 0) & (values < 255))
    for line in target.read_text().splitlines() if suffix == ".geojsonl" else ():
        assert json.loads(line)["type"] == "Feature"


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".parquet"])
def test_a_class_without_a_band_has_no_mean_probability(tmp_path, suffix):
    values = np.zeros((40, 40), np.uint8)
    values[4:16, 4:16], values[20:36, 20:36] = 1, 2
    mask = write(tmp_path / "m.tif", values)
    tags = {**TAGS, "GEOTILER_CONTENT": "probability"}
    chances = np.where(values == 2, 200, 20).astype(np.uint8)
    p = write(tmp_path / "p.tif", chances, tags=tags)
    with rasterio.open(p, "r+") as file:
        file.descriptions = ["STRASSE"]  # names are compared as everywhere: by casefold
    target = tmp_path / f"b{suffix}"
    vectorize(VectorizeSpec(mask=mask, output=str(target), probability=p))
    back = read_features(str(target)).attributes
    found = dict(zip(back["class"], back["mean_probability"], strict=True))
    assert found["Straße"] == pytest.approx(200 / 254, abs=1e-4)
    assert np.isnan(np.float64(found["building"]))


def test_neighbours_share_a_wall_if_asked(tmp_path):
    values = np.zeros((60, 80), np.uint8)
    values[10:40, 10:30] = values[12:45, 31:60] = 1
    path = write(tmp_path / "m.tif", values, tags={})
    apart, shared = (
        in_pixels(Path(vectorize(spec).output))[0]
        for spec in (
            VectorizeSpec(mask=path, output=str(tmp_path / "a.gpkg")),
            VectorizeSpec(mask=path, output=str(tmp_path / "b.gpkg"), snap_neighbours=True),
        )
    )
    assert apart[0].distance(apart[1]) == pytest.approx(1, abs=0.01)
    assert shapely.intersection(*shared).length == pytest.approx(28, abs=0.1)
    assert shapely.area(shapely.intersection(*shared)) < 0.05


def test_a_shapefile_that_cannot_hold_a_class_name_is_refused(tmp_path, values):
    path = write(tmp_path / "m.tif", values, tags={"GEOTILER_CLASSES": f'{{"1": "{"x" * 300}"}}'})
    with pytest.raises(OutputError, match="254 bytes"):
        vectorize(VectorizeSpec(mask=path, output=str(tmp_path / "b.shp")))
    assert not list(tmp_path.glob("b.*"))


def test_a_shapefile_has_short_names_and_says_so(tmp_path):
    _, values = towns()
    events = []
    path = probability_file(tmp_path / "p.tif", values)
    spec = VectorizeSpec(mask=path, output=str(tmp_path / "b.shp"))
    vectorize(spec, report=events.append)
    assert any(isinstance(e, Notice) and "10 letters" in e.message for e in events)
    attributes = read_features(str(tmp_path / "b.shp")).attributes
    assert list(attributes) == [
        "id", "class", "area_m2", "perim_m", "orient_deg", "n_vertices", "mean_prob", "status",
    ]  # fmt: skip
    (tmp_path / "b.shp").unlink()
    with pytest.raises(OutputError, match=r"b\.dbf exists"):
        vectorize(spec)


@pytest.mark.parametrize("kind", ["one pixel", "checkerboard", "feet"])
def test_odd_masks(tmp_path, kind):
    values = np.zeros((40, 40), np.uint8)
    if kind == "checkerboard":
        values[:] = np.indices(values.shape).sum(axis=0) % 2
    elif kind == "one pixel":
        values[20, 20] = 1
    else:
        values[10:30, 10:20] = 1
    transform = Affine(2, 0, 985_000, 0, -2, 200_000)  # New York, US survey feet
    crs = "EPSG:2263"
    path = write(tmp_path / "m.tif", values, crs=crs, transform=transform, tags={})
    report = vectorize(VectorizeSpec(mask=path, output=str(tmp_path / "b.gpkg"), min_area_m2=0))
    assert report.polygons == {"checkerboard": 800}.get(kind, 1)
    assert report.area == pytest.approx(values.sum() * 4 * 0.3048**2, rel=1e-3, abs=0.006)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".geojsonl", ".fgb", ".parquet", ".shp"])
def test_written_geometries_are_valid_and_apart_for_another_reader(tmp_path, suffix):
    import geopandas

    _, values = towns()
    values[100:140, 100:101] = 0  # a lane of one pixel
    path = write(tmp_path / "m.tif", (values >= 0.4).astype(np.uint8), tags={})
    target = tmp_path / f"b{suffix}"
    report = vectorize(VectorizeSpec(mask=path, output=str(target)))
    read = geopandas.read_parquet if suffix == ".parquet" else geopandas.read_file
    frame = read(target, layer="b") if suffix == ".gpkg" else read(target)
    assert len(frame) == report.polygons
    assert frame.geometry.is_valid.all()
    one, other = frame.sindex.query(frame.geometry, "overlaps")
    assert not len(one), other


def test_a_mask_enlarged_from_coarser_pixels_is_drawn_in_those(tmp_path):
    """Blobs that a network at 2 m leaves of houses, on a grid of 0.5 m: steps of four pixels."""
    houses, values = towns()
    mask = np.kron((values >= 0.5).astype(np.uint8), np.ones((4, 4), np.uint8))
    tags = {"GEOTILER_SETTINGS": json.dumps({"network_px": list(values.shape)})}
    options = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 4e5, 0, -0.5, 5e6)}
    told = write(tmp_path / "told.tif", mask, tags=tags, **options)
    untold = write(tmp_path / "untold.tif", mask, tags={}, **options)
    counts = {}
    for path in (told, untold):
        target = path.replace(".tif", ".gpkg")
        counts[path] = vectorize(VectorizeSpec(mask=path, output=target)).per_status
        corners = read_features(target).attributes["n_vertices"]
        assert (np.median(corners) == 4) == (path == told)
    assert counts[told] == {"right_angles": len(houses)}


def test_polygons_of_a_part_without_a_crs_lie_where_the_part_does(tmp_path, values):
    rows, cols = slice(30, 260), slice(10, 270)
    place = Affine.translation(cols.start, rows.start)
    part = write(tmp_path / "part.tif", values[rows, cols], crs=None, transform=place)
    whole = write(tmp_path / "whole.tif", values, crs=None, transform=Affine.identity())
    vectorize(exact(part, tmp_path / "part.gpkg"))
    found = read_features(str(tmp_path / "part.gpkg"))
    ids = {"building": 1, "Straße": 2}
    burned = features.rasterize(
        [(g, ids[c]) for g, c in zip(found.geometries, found.attributes["class"], strict=True)],
        out_shape=values.shape,
    )
    expected = np.zeros_like(values)
    expected[rows, cols] = np.where(values == 255, 0, values)[rows, cols]
    np.testing.assert_array_equal(burned, expected)
    for mask in (part, whole):  # the part of the whole that was not looked at is missed
        report = evaluate(
            EvaluateSpec(predictions=(str(tmp_path / "part.gpkg"),), truths=(mask,), objects=False)
        )
        assert report.precision == 1.0
        assert (report.recall == 1.0) == (mask == part)
