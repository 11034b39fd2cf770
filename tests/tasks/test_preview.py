"""A preview is a small picture of the whole scene, whatever the scene is made of."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from rasterio.transform import from_origin

from geotiler.core.overlay import FALSE_ALARM, FOUND, MISSED, NODATA
from geotiler.core.qgis_style import vector_qml
from geotiler.errors import InputError, OutputError
from geotiler.io.styles import styled_classes
from geotiler.progress import Notice
from geotiler.specs import MASK_NODATA, PreviewSpec
from geotiler.tasks.preview import preview

WEST, NORTH, GSD_M = 500_000.0, 5_000_000.0, 0.5


def _write(path: Path, bands: np.ndarray, **profile: object) -> Path:
    count, height, width = bands.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=bands.dtype,
        crs="EPSG:32633",
        transform=from_origin(WEST, NORTH, GSD_M, GSD_M),
        **profile,
    ) as dataset:
        dataset.write(bands)
    return path


def _truth(path: Path, row: int, col: int, side: int) -> Path:
    """A square of pixels as a polygon, in the coordinates of the scene."""
    left, top = WEST + col * GSD_M, NORTH - row * GSD_M
    right, bottom = left + side * GSD_M, top - side * GSD_M
    ring = [[left, top], [left, bottom], [right, bottom], [right, top], [left, top]]
    collection = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}},
        "features": [
            {
                "type": "Feature",
                "properties": {},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        ],
    }
    path.write_text(json.dumps(collection), encoding="utf-8")
    return path


def _picture(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_it_has_the_width_asked_for_and_the_shape_of_the_scene(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 300, 600), 90, np.uint8))
    report = preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png", width_px=200))
    image = _picture(tmp_path / "p.png")
    assert image.shape == (report.height, report.width, 3)
    assert report.width == 200
    assert (image[:100] == 90).all(), "the scene, and below it the scale"
    assert (image[100:] >= 40).all()
    assert report.height < 160
    assert json.loads(json.dumps(report.as_dict()))["output"].endswith("p.png")


@pytest.mark.parametrize(("asked", "told"), [(601, True), (600, False), (None, False)])
def test_a_width_beyond_the_scenes_is_told(tmp_path: Path, asked: int | None, told: bool) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 30, 600), 90, np.uint8))
    heard: list[Any] = []
    spec = PreviewSpec(scene=str(scene), output=tmp_path / "p.png", width_px=asked)
    assert preview(spec, report=heard.append).width == 600
    notes = [event.message for event in heard if isinstance(event, Notice)]
    assert len(notes) == told
    assert all("--width 601" in note and "600 columns" in note for note in notes)


def test_hits_misses_and_false_alarms_lie_where_they_are(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 200, 200), 90, np.uint8))
    mask = np.zeros((1, 200, 200), np.uint8)
    mask[0, 50:100, 50:100] = 1
    mask[0, 150:, :] = MASK_NODATA
    found = _write(tmp_path / "mask.tif", mask, nodata=MASK_NODATA)
    truth = _truth(tmp_path / "truth.geojson", 75, 75, 100)
    preview(
        PreviewSpec(
            scene=str(scene), output=tmp_path / "p.png", layers=(str(found),), truth=str(truth)
        )
    )
    image = _picture(tmp_path / "p.png")[:200]
    for colour, row, col in [(FOUND, 75, 80), (MISSED, 120, 75), (FALSE_ALARM, 50, 60)]:
        assert tuple(image[row, col]) == colour
    assert tuple(image[170, 120]) == (90, 90, 90), "truth is not scored where the mask is unknown"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_any_scene_can_be_shown(tmp_path: Path, dtype: str, count: int) -> None:
    bands = np.random.default_rng(1).integers(1, 200, (count, 90, 120)).astype(dtype)
    bands[:, :30] = 0
    scene = _write(tmp_path / "scene.tif", bands, nodata=0)
    preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png"))
    image = _picture(tmp_path / "p.png")
    assert (image[:30] == NODATA).all()
    assert not (image[30:] == NODATA).all()


def test_a_detail_stands_beside_the_overview(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 400, 400), 90, np.uint8))
    spec = PreviewSpec(scene=str(scene), output=tmp_path / "p.png", width_px=200, detail_px=50)
    preview(spec)
    image = _picture(tmp_path / "p.png")
    assert image.shape[1] > 400
    # Nothing was found, so that it is the middle: 75 px to 100 px of 200, and a frame around it.
    overview = image[:200, :200]
    marked = np.argwhere((overview != 90).any(axis=2))
    assert (marked.min(axis=0), marked.max(axis=0)) == (
        pytest.approx([87, 87], abs=6), pytest.approx([112, 112], abs=6),
    )  # fmt: skip
    assert (overview[92:108, 92:108] == 90).all(), "what it frames is seen"
    assert len({tuple(each) for each in overview.reshape(-1, 3).tolist()}) == 3


def test_a_detail_is_as_bright_and_as_coloured_as_the_overview(tmp_path: Path) -> None:
    """A part that is all of one brightness, and where only the second class occurs."""
    bands = np.random.default_rng(3).integers(0, 9000, (3, 256, 256)).astype(np.uint16)
    bands[:, 100:140, 100:140] = 4500
    scene = _write(tmp_path / "scene.tif", bands)
    layer = _squares(tmp_path / "a.geojson", {"one": (0, 0, 4), "two": (105, 105, 30)})
    preview(
        PreviewSpec(
            scene=str(scene), output=tmp_path / "p.png", layers=(str(layer),), detail_px=30,
        )
    )  # fmt: skip
    image = _picture(tmp_path / "p.png").astype(int)
    close = image[:256, 256 + 8 :]
    np.testing.assert_allclose(close[128, 128], image[120, 120], atol=6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_scenes_of_one_pixel_or_one_line(tmp_path: Path, shape: tuple[int, int]) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, *shape), 90, np.uint8))
    preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png", width_px=100, detail_px=64))
    assert (tmp_path / "p.png").stat().st_size > 0


def test_a_mask_whose_rows_begin_in_the_south_lies_where_it_is(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 200, 200), 90, np.uint8))
    mask = np.zeros((200, 200), np.uint8)
    mask[20:60, 30:90] = 1
    pictures = []
    for name, rows in (("north", mask), ("south", mask[::-1])):
        down = GSD_M if name == "south" else -GSD_M
        first = NORTH - 200 * GSD_M if name == "south" else NORTH
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", count=1, height=200, width=200,
            dtype="uint8", crs="EPSG:32633", transform=Affine(GSD_M, 0, WEST, 0, down, first),
        ) as dataset:  # fmt: skip
            dataset.write(rows[None])
        output = tmp_path / f"{name}.png"
        layers = (str(tmp_path / f"{name}.tif"),)
        preview(PreviewSpec(scene=str(scene), output=output, layers=layers))
        pictures.append(_picture(output))
    np.testing.assert_array_equal(*pictures)
    assert (pictures[0][40, 60] != 90).any()


def test_a_mask_elsewhere_is_refused(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 40, 40), 90, np.uint8))
    mask = tmp_path / "mask.tif"
    with rasterio.open(
        mask, "w", driver="GTiff", count=1, height=30, width=30, dtype="uint8",
        crs="EPSG:32633", transform=from_origin(WEST + 5000, NORTH, GSD_M, GSD_M),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 30, 30), np.uint8))
    far = _truth(tmp_path / "far.geojson", 4000, 4000, 100)
    for layer in (mask, far):
        with pytest.raises(InputError, match="scene"):
            preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png", layers=(str(layer),)))
    assert not (tmp_path / "p.png").exists()


def _classes(path: Path, ids: np.ndarray, **profile: object) -> Path:
    """A mask with two classes, named and coloured as geotiler does it."""
    _write(path, ids, nodata=MASK_NODATA, **profile)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (200, 10, 10, 255), 2: (10, 10, 200, 255)})
        dataset.update_tags(GEOTILER_CLASSES=json.dumps({"0": "none", "1": "field", "2": "lake"}))
    return path


def test_classes_are_drawn_in_their_own_colours_on_any_grid(tmp_path: Path) -> None:
    """Land use has large cells; each pixel of the picture shows the cell that it lies in."""
    scene = _write(tmp_path / "scene.tif", np.full((3, 160, 160), 90, np.uint8))
    cells = np.array([[[1, 2], [255, 0]]], np.uint8)
    with rasterio.open(
        tmp_path / "cells.tif", "w", driver="GTiff", count=1, height=2, width=2, dtype="uint8",
        crs="EPSG:32633", transform=from_origin(WEST, NORTH, 80 * GSD_M, 80 * GSD_M), nodata=255,
    ) as dataset:  # fmt: skip
        dataset.write(cells)
        dataset.write_colormap(1, {1: (200, 10, 10, 255), 2: (10, 10, 200, 255)})
    preview(
        PreviewSpec(
            scene=str(scene), output=tmp_path / "p.png", layers=(str(tmp_path / "cells.tif"),)
        )
    )
    image = _picture(tmp_path / "p.png").astype(int)
    red, blue = image[40, 40], image[40, 120]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert (image[120, 40] == 90).all()
    assert (image[120, 120] == 90).all()


def test_polygons_are_outlined_where_they_are(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 100, 100), 90, np.uint8))
    square = _truth(tmp_path / "square.geojson", 20, 30, 40)
    preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png", layers=(str(square),)))
    changed = (_picture(tmp_path / "p.png")[:100] != 90).any(axis=2)
    rows, cols = np.nonzero(changed)
    assert (rows.min(), cols.min()) == pytest.approx((20, 30), abs=1)
    assert (rows.max(), cols.max()) == pytest.approx((60, 70), abs=1)
    assert not changed[25:55, 35:65].any()


def _squares(path: Path, named: dict[str, tuple[int, int, int]]) -> Path:
    """Class → row, column and side of a square of pixels."""
    features = []
    for name, square in named.items():
        feature = json.loads(_truth(path, *square).read_text(encoding="utf-8"))["features"][0]
        feature["properties"] = {"class": name}
        features.append(feature)
    collection = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**collection, "features": features}), encoding="utf-8")
    return path


@pytest.mark.parametrize("styled", [True, False], ids=["styled", "without a style"])
def test_a_map_of_polygons_is_filled_as_its_raster_is(tmp_path: Path, styled: bool) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 160, 160), 90, np.uint8))
    ids = np.zeros((1, 160, 160), np.uint8)
    ids[0, 10:60, 10:60], ids[0, 80:140, 80:140] = 1, 2
    mask = _classes(tmp_path / "mask.tif", ids)
    layer = _squares(tmp_path / "map.geojson", {"field": (10, 10, 50), "lake": (80, 80, 60)})
    if styled:
        classes = styled_classes({1: "field", 2: "lake"}, {1: (200, 10, 10), 2: (10, 10, 200)})
        (tmp_path / "map.qml").write_text(vector_qml(classes))
    pictures = {}
    for name, path in (("raster", mask), ("polygons", layer)):
        spec = PreviewSpec(scene=str(scene), output=tmp_path / f"{name}.png", layers=(str(path),))
        preview(spec)
        pictures[name] = _picture(spec.output)
    differs = (pictures["raster"] != pictures["polygons"]).any(axis=2)
    assert differs.any() != styled, "legend and all"
    filled = pictures["polygons"][:160]
    assert (filled[30, 30] != 90).any()
    assert (filled[70, 70] == 90).all()
    spec = PreviewSpec(
        scene=str(scene), output=tmp_path / "p.html", layers=(str(mask), str(layer)),
    )  # fmt: skip
    preview(spec)
    content = _content(spec.output)
    (vector,), (drawn,) = content["vectors"], content["masks"]
    assert vector["filled"]
    assert {c["name"]: c["color"] for c in vector["classes"]} == {
        c["name"]: c["color"] for c in drawn["classes"]
    }


def test_a_map_over_truth_leaves_the_hits_to_be_seen(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 160, 160), 90, np.uint8))
    layer = _squares(tmp_path / "map.geojson", {"field": (10, 10, 50), "lake": (80, 80, 60)})
    truth = _truth(tmp_path / "truth.geojson", 20, 20, 30)
    spec = PreviewSpec(
        scene=str(scene), output=tmp_path / "p.png", layers=(str(layer),), truth=str(truth)
    )
    preview(spec)
    without = replace(spec, output=tmp_path / "q.png", layers=(), truth=str(truth))
    preview(without)
    np.testing.assert_array_equal(
        _picture(spec.output)[25:45, 25:45], _picture(without.output)[25:45, 25:45]
    )


BOUNDS = (WEST + 20 * GSD_M, NORTH - 60 * GSD_M, WEST + 70 * GSD_M, NORTH - 40 * GSD_M)
"""Rows 40 to 60 and columns 20 to 70."""


def test_bounds_show_a_part_enlarged(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 255, (3, 100, 120)).astype(np.uint8)
    scene = _write(tmp_path / "scene.tif", values)
    spec = PreviewSpec(scene=str(scene), output=tmp_path / "p.png", bounds=BOUNDS, width_px=220)
    report = preview(spec)
    assert report.width == 200, "four pixels for one, since five are too wide"
    image = _picture(tmp_path / "p.png")[:80]
    expected = np.moveaxis(values[:, 40:60, 20:70], 0, -1).repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(image, expected)


def test_bounds_may_be_in_another_crs_and_beside_the_layers(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 400, 400), 90, np.uint8))
    left, bottom, right, top = BOUNDS
    mask = tmp_path / "mask.tif"
    with rasterio.open(
        mask, "w", driver="GTiff", count=1, height=50, width=50, dtype="uint8",
        crs="EPSG:32633", transform=from_origin(WEST + 100, NORTH - 100, GSD_M, GSD_M),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 50, 50), np.uint8))
    polygons = _truth(tmp_path / "far.geojson", 300, 300, 20)
    way = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    degrees = way.transform_bounds(left, bottom, right, top)
    spec = PreviewSpec(
        scene=str(scene), output=tmp_path / "p.png", layers=(str(mask), str(polygons)),
        bounds=degrees, bounds_crs="EPSG:4326", width_px=64,
    )  # fmt: skip
    report = preview(spec)
    image = _picture(tmp_path / "p.png")
    assert report.width in (50, 51, 52, 53, 54), "a box of degrees is slightly turned"
    assert (image[:20] == 90).all()
    for path in (mask, polygons):  # elsewhere is still elsewhere
        other = _write(tmp_path / "other.tif", np.full((3, 40, 40), 90, np.uint8))
        with pytest.raises(InputError, match="touch"):
            preview(replace(spec, scene=str(other), layers=(str(path),), overwrite=True))


def test_the_numbers_of_a_part_are_those_of_the_part(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 100, 120), 90, np.uint8))
    ids = np.random.default_rng(3).integers(0, 3, (1, 100, 120)).astype(np.uint8)
    mask = _classes(tmp_path / "mask.tif", ids)
    layer = _squares(tmp_path / "map.geojson", {"field": (10, 10, 35), "lake": (80, 80, 10)})
    spec = PreviewSpec(
        scene=str(scene), output=tmp_path / "p.html", layers=(str(mask), str(layer)),
        truth=str(mask), bounds=BOUNDS,
    )  # fmt: skip
    preview(spec)
    content = _content(spec.output)
    assert (content["shape"], content["scene_shape"]) == ([20, 50], [100, 120])
    part = ids[0, 40:60, 20:70]
    (drawn,) = content["masks"]
    assert [each["px"] for each in drawn["classes"]] == [(part == 1).sum(), (part == 2).sum()]
    (vector,) = content["vectors"]
    assert [each["count"] for each in vector["classes"]] == [1, 0]
    assert content["truth"]["scores"]["IoU"] == 1
    ring = np.cumsum(np.reshape(vector["rings"][0][0], (-1, 2)), axis=0) / vector["steps"]
    assert tuple(ring.min(axis=0)) == pytest.approx((10 - 20, 10 - 40), abs=0.2)


def test_truth_may_be_a_raster(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 80, 80), 90, np.uint8))
    mask, truth = np.zeros((2, 1, 80, 80), np.uint8)
    mask[:, 10:30, 10:30] = 1
    truth[:, 10:30, 20:40] = 1
    found = _write(tmp_path / "mask.tif", mask)
    known = _write(tmp_path / "truth.tif", truth)
    spec = PreviewSpec(
        scene=str(scene), output=tmp_path / "p.png", layers=(str(found),), truth=str(known)
    )
    preview(spec)
    image = _picture(tmp_path / "p.png")
    for colour, col in ((FALSE_ALARM, 10), (FOUND, 20), (MISSED, 39)):
        assert tuple(image[20, col]) == colour


def _page(tmp_path: Path) -> tuple[dict, str, Path]:
    scene = _write(tmp_path / "scene.tif", np.full((3, 200, 300), 90, np.uint8))
    ids = np.zeros((1, 200, 300), np.uint8)
    ids[0, :50] = 1
    ids[0, 50:80] = 2
    ids[0, 180:] = MASK_NODATA
    mask = _classes(tmp_path / "mask.tif", ids)
    features = []
    for index, (row, side) in enumerate([(10, 20), (60, 40), (120, 8)]):
        left, top = WEST + 30 * GSD_M, NORTH - row * GSD_M
        right, bottom = left + side * GSD_M, top - side * GSD_M
        ring = [[left, top], [left, bottom], [right, bottom], [right, top], [left, top]]
        name = "</script><script>document.title='stolen'</script>" if index == 0 else "b\u2028"
        features.append(
            {
                "type": "Feature",
                "properties": {"class": "field", "owner": name, "share": None},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        )
    collection = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}},
        "features": features,
    }
    (tmp_path / "owned.geojson").write_text(json.dumps(collection), encoding="utf-8")
    truth = _truth(tmp_path / "truth.geojson", 0, 0, 50)
    spec = PreviewSpec(
        scene=str(scene),
        output=tmp_path / "p.html",
        layers=(str(mask), str(tmp_path / "owned.geojson")),
        truth=str(truth),
        attribution="© nobody",
    )
    preview(spec)
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    return _content(tmp_path / "p.html"), text, tmp_path / "p.html"


def _content(page: Path) -> Any:
    text = page.read_text(encoding="utf-8")
    start = text.index('type="application/json">') + len('type="application/json">')
    return json.loads(text[start : text.index("</script>", start)])


def test_a_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    content, text, _ = _page(tmp_path)
    assert text.count("<script") == 2, "whatever an attribute holds"
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", text)
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text
    assert content["attribution"] == "© nobody"
    assert content["vectors"][0]["columns"]["owner"][0].startswith("</script>")


def test_the_numbers_of_a_page_are_those_of_the_files(tmp_path: Path) -> None:
    content, _, _ = _page(tmp_path)
    (mask,) = content["masks"]
    named = {each["name"]: each for each in mask["classes"]}
    assert {name: each["px"] for name, each in named.items()} == {"field": 15000, "lake": 9000}
    assert named["field"]["color"] == "#c80a0a"
    assert mask["unknown_px"] == 20 * 300
    # a metre of UTM is 0.9996 to 1.001 metres of ground
    assert named["lake"]["area_m2"] == pytest.approx(9000 * GSD_M**2, rel=0.003)
    (vector,) = content["vectors"]
    assert vector["count"] == 3
    sides = np.array([20, 40, 8]) * GSD_M
    assert vector["area"] == pytest.approx((sides**2).sum(), rel=0.003)
    assert sum(one["count"] for one in vector["histogram"]) == 3
    scores = content["truth"]["scores"]
    true = np.zeros((200, 300), bool)
    true[:50, :50] = True
    found = np.zeros((200, 300), bool)
    found[:80] = True
    assert scores["IoU"] == pytest.approx((true & found).sum() / (true | found).sum())


def test_the_polygons_of_a_page_are_those_of_the_file(tmp_path: Path) -> None:
    content, _, _ = _page(tmp_path)
    (vector,) = content["vectors"]
    for rings, (row, side) in zip(vector["rings"], [(10, 20), (60, 40), (120, 8)], strict=True):
        (ring,) = rings
        points = np.cumsum(np.reshape(ring, (-1, 2)), axis=0) / vector["steps"]
        assert tuple(points.min(axis=0)) == pytest.approx((30, row), abs=0.2)
        assert tuple(points.max(axis=0)) == pytest.approx((30 + side, row + side), abs=0.2)


def test_missing_files_and_existing_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        preview(PreviewSpec(scene=str(tmp_path / "nowhere.tif"), output=tmp_path / "p.png"))
    scene = _write(tmp_path / "scene.tif", np.full((3, 40, 40), 90, np.uint8))
    with pytest.raises(InputError, match="nowhere"):
        preview(
            PreviewSpec(
                scene=str(scene), output=tmp_path / "p.png", truth=str(tmp_path / "nowhere.geojson")
            )
        )
    (tmp_path / "p.png").write_bytes(b"mine")
    with pytest.raises(OutputError):
        preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png"))
    assert (tmp_path / "p.png").read_bytes() == b"mine"


@pytest.mark.filterwarnings("error::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("suffix", ["png", "html"])
def test_a_picture_without_a_place_is_shown_without_a_library_complaining(
    suffix: str, tmp_path: Path
) -> None:
    scene, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    cv2.imwrite(str(scene), np.random.default_rng(3).integers(0, 256, (80, 120, 3), np.uint8))
    cv2.imwrite(str(mask), np.eye(80, 120, dtype=np.uint8))
    target = tmp_path / f"look.{suffix}"
    preview(PreviewSpec(scene=str(scene), output=target, layers=(str(mask),)))
    assert target.stat().st_size > 1000


@pytest.mark.parametrize("crs", [None, "EPSG:32633"])
@pytest.mark.parametrize("bounds", [None, (30.0, 10.0, 90.0, 50.0)])
def test_a_mask_of_a_part_lies_where_the_part_is(
    tmp_path: Path, crs: str | None, bounds: tuple[float, ...] | None
) -> None:
    """With and without a CRS; the mask of rows 20 to 40 and columns 50 to 110."""
    scene, mask = tmp_path / "scene.tif", tmp_path / "mask.tif"
    shared = {"driver": "GTiff", "dtype": "uint8", "crs": crs}
    with rasterio.open(scene, "w", count=3, height=80, width=120, **shared) as out:
        out.transform = Affine.identity()
        out.write(np.full((3, 80, 120), 90, np.uint8))
    ids = np.random.default_rng(3).integers(0, 2, (1, 20, 60)).astype(np.uint8)
    place = Affine.translation(50, 20)
    with rasterio.open(
        mask, "w", count=1, height=20, width=60, transform=place, nodata=255, **shared
    ) as out:
        out.write(ids)
    expected = np.zeros((80, 120), bool)
    expected[20:40, 50:110] = ids[0] == 1
    spec = PreviewSpec(
        scene=str(scene), output=tmp_path / "p.png", layers=(str(mask),), bounds=bounds,
        width_px=64 if bounds else None,
    )  # fmt: skip
    preview(spec)
    if bounds is not None:
        expected = expected[10:50, 30:90]
    height, width = expected.shape
    drawn = (_picture(tmp_path / "p.png")[:height, :width] != 90).any(axis=2)
    np.testing.assert_array_equal(drawn, expected)
    away = Affine.translation(500, 20)
    with rasterio.open(mask, "r+") as out:
        out.transform = away
    with pytest.raises(InputError, match="touch"):
        preview(replace(spec, overwrite=True))


def test_the_mask_of_a_neighbour_of_the_same_size_is_not_this_scenes(tmp_path: Path) -> None:
    scene = _write(tmp_path / "scene.tif", np.full((3, 40, 40), 90, np.uint8))
    mask = tmp_path / "mask.tif"
    with rasterio.open(
        mask, "w", driver="GTiff", count=1, height=40, width=40, dtype="uint8",
        crs="EPSG:32633", transform=from_origin(WEST + 40 * GSD_M, NORTH, GSD_M, GSD_M),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 40, 40), np.uint8))
    with pytest.raises(InputError, match="touch"):
        preview(PreviewSpec(scene=str(scene), output=tmp_path / "p.png", layers=(str(mask),)))
