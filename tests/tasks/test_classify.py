"""A scene's tiles become a map: right classes, right places, nothing where nothing was seen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rio_cogeo.cogeo import cog_validate
from scipy import ndimage

from geotiler.errors import InputError, OutputError, SpecError
from geotiler.io.labels import label_rule
from geotiler.io.raster import open_scene
from geotiler.io.styles import shown_classes
from geotiler.models.bundle import Bundle
from geotiler.models.card import ModelCard
from geotiler.progress import Notice
from geotiler.specs import BackendSpec, ClassifySpec, RadiometrySpec, Scale
from geotiler.tasks import classify as task
from geotiler.tasks import classify_input
from geotiler.tasks.classify import classify, estimate
from geotiler.tasks.classify_plan import plan_classify

TILE = 64
UTM = Affine(10, 0, 300_000, 0, -10, 5_400_000)


@dataclass
class Model:
    """A classifier that is a formula: the likeliest class is the one whose k/9 is nearest."""

    bundle: Bundle
    batch: int = 3
    name: str = "formula"
    classes: int = 10
    tile_shape: tuple[int, int] = (TILE, TILE)
    tiles: int = 0

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.tiles += len(batch)
        card = self.bundle.card
        unit = batch[:, 0].mean(axis=(1, 2), dtype=np.float64) * card.std[0] + card.mean[0]
        closeness = -np.abs(unit[:, None] - np.arange(10) / 9) * 40
        likely = np.exp(closeness - closeness.max(axis=1, keepdims=True))
        return (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def model(make_landuse_card: Callable[..., ModelCard], monkeypatch: pytest.MonkeyPatch) -> Model:
    """Puts the formula in the place of every model."""
    made = Model(Bundle(folder=Path("tiny"), card=make_landuse_card(), digest="d" * 64))
    monkeypatch.setattr(classify_input, "find_model", lambda name: made.bundle)
    monkeypatch.setattr(task, "open_classifier", lambda bundle, run: made)
    return made


def _blocks(classes: NDArray[np.integer[Any]], side: int = TILE) -> NDArray[np.uint8]:
    """(3, row, col): an image whose squares of `side` pixels the formula knows as these indices."""
    plane = np.repeat(np.repeat(classes, side, axis=0), side, axis=1)
    return np.repeat(np.rint(plane * 255 / 9).astype(np.uint8)[None], 3, axis=0)


def _write(path: Path, image: NDArray[Any], **profile: Any) -> Path:
    settings = {"driver": "GTiff", "crs": "EPSG:32633", "transform": UTM, **profile}
    overviews = settings.pop("overviews", ())
    count, height, width = image.shape
    with rasterio.open(
        path, "w", count=count, height=height, width=width, dtype=image.dtype, **settings
    ) as out:
        out.write(image)
    if overviews:
        with rasterio.open(path, "r+") as out:
            out.build_overviews(overviews, Resampling.average)
    return path


CLASSES = np.array([[0, 1, 2, 3], [4, 5, 6, 6], [8, 9, 9, 6]])


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Three by four tiles, each of one class."""
    return _write(tmp_path / "scene.tif", _blocks(CLASSES))


def _run(scene: Path, output: str = "map.tif", **changes: Any) -> task.ClassifyReport:
    values: dict[str, Any] = {
        "scene": (str(scene),),
        "output": str(scene.parent / output),
        **changes,
    }
    report = classify(ClassifySpec(**values))
    json.dumps(report.as_dict(), allow_nan=False)
    return report


@pytest.mark.parametrize("dissolve", [False, True])
@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "fgb", "parquet"])
def test_polygons_bring_the_colours_of_the_classes(
    scene: Path, model: Model, suffix: str, dissolve: bool
) -> None:
    _run(scene, f"map.{suffix}", dissolve=dissolve)
    found = shown_classes(scene.parent / f"map.{suffix}")
    card = model.bundle.card
    assert {each.value: each.color for each in found} == {c.name: c.color for c in card.classes}
    assert (scene.parent / "map.qml").exists() == (suffix != "gpkg")


@pytest.mark.parametrize("shape", [(192, 256), (150, 194)])
def test_the_ground_of_each_class_is_that_of_its_polygons(
    tmp_path: Path, model: Model, shape: tuple[int, int]
) -> None:
    """Two columns of the last cells are left in the second scene: a cell is no measure there."""
    height, width = shape
    scene = _write(tmp_path / "scene.tif", _blocks(CLASSES)[:, :height, :width])
    report = _run(scene, "map.gpkg")
    assert report.class_area_m2 is not None
    _, columns = _features(scene, "map.gpkg")
    for name, found in report.class_area_m2.items():
        assert found == pytest.approx(columns["area_m2"][columns["class"] == name].sum(), rel=1e-3)
    total = sum(report.class_area_m2.values())
    assert total == pytest.approx(height * width * 100, rel=3e-3)
    doubted = _run(scene, "doubted.gpkg", gsd_m=(12.0, 12.0))
    assert doubted.class_area_m2 is not None  # the ground is where the georeference says
    assert sum(doubted.class_area_m2.values()) == pytest.approx(total, rel=1e-6)


def _raster(scene: Path, name: str = "map.tif") -> NDArray[np.uint8]:
    with rasterio.open(scene.parent / name) as found:
        band: NDArray[np.uint8] = found.read(1)
    return band


def _features(scene: Path, name: str) -> tuple[NDArray[np.object_], dict[str, NDArray[Any]]]:
    meta, _, wkb, values = pyogrio.raw.read(scene.parent / name, layer=0)  # 1: the style
    return shapely.from_wkb(wkb), dict(zip(meta["fields"].tolist(), values, strict=True))


def test_a_raster_has_a_pixel_for_each_tile(scene: Path, model: Model) -> None:
    report = _run(scene, confidence=scene.parent / "confidence.tif")
    np.testing.assert_array_equal(_raster(scene), CLASSES + 1)
    assert report.tiles == model.tiles == CLASSES.size
    assert (report.cells, report.cell_m) == ((3, 4), pytest.approx((640, 640), rel=1e-3))
    card = model.bundle.card
    with rasterio.open(scene.parent / "map.tif") as found:
        assert found.transform == UTM @ Affine.scale(64)
        assert (found.crs, found.nodata) == ("EPSG:32633", 255)
        names = json.loads(found.tags()["GEOTILER_CLASSES"])
        assert names == {str(item.id): item.name for item in card.classes}
        table = found.colormap(1)
        for item in card.classes:
            assert "#{:02x}{:02x}{:02x}".format(*table[item.id][:3]) == item.color
        assert str(scene.parent) not in json.dumps(found.tags())
    assert cog_validate(str(scene.parent / "map.tif"), strict=True)[0]
    style = ElementTree.fromstring((scene.parent / "map.qml").read_text())
    entries = {int(e.get("value", 0)): e.get("label") for e in style.iter("paletteEntry")}
    assert entries == {item.id: item.name for item in card.classes}
    with rasterio.open(scene.parent / "confidence.tif") as found:
        confidence = found.read(1) * found.scales[0]
    with (
        pytest.raises(InputError, match="how sure a map is"),
        open_scene(str(scene.parent / "confidence.tif")) as opened,
    ):
        label_rule(opened)
    assert confidence.min() > 0.9
    assert report.mean_confidence == pytest.approx(confidence.mean(), abs=0.005)
    assert sorted(p.name for p in scene.parent.iterdir()) == [
        "confidence.qml", "confidence.tif", "map.qml", "map.tif", "scene.tif",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["gpkg", "fgb"])
def test_polygons_are_the_tiles(scene: Path, model: Model, suffix: str) -> None:
    report = _run(scene, f"map.{suffix}")
    polygons, values = _features(scene, f"map.{suffix}")
    assert len(polygons) == report.polygons == CLASSES.size
    names = np.array([item.name for item in model.bundle.card.classes])
    for polygon, name, confidence in zip(
        polygons, values["class"], values["confidence"], strict=True
    ):
        col, row = ~UTM * polygon.centroid.coords[0]
        assert name == names[CLASSES[int(row) // 64, int(col) // 64]]
        assert confidence > 0.9
    assert shapely.union_all(polygons).equals(shapely.box(300_000, 5_398_080, 302_560, 5_400_000))
    assert values["area_m2"] == pytest.approx(640**2, rel=2e-3)
    shares = np.stack([values[f"p_{name}"] for name in names])
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-3)
    np.testing.assert_allclose(shares.max(axis=0), values["confidence"], atol=1e-4)


@pytest.mark.parametrize("dissolve", [False, True])
def test_tiles_of_a_world_file_in_degrees_end_at_its_pixels(
    tmp_path: Path, model: Model, dissolve: bool
) -> None:
    place = Affine(2e-5, 0, 14.25, 0, -2e-5, 50.5)
    scene = _write(tmp_path / "s.tif", _blocks(CLASSES), crs=None, transform=place)
    _run(scene, "map.geojson", gsd_m=(10.0, 10.0), dissolve=dissolve)
    polygons, _ = _features(scene, "map.geojson")
    points = (shapely.get_coordinates(polygons) - [14.25, 50.5]) / [2e-5 * TILE, -2e-5 * TILE]
    assert np.abs(points - np.rint(points)).max() < 1e-4
    assert np.ptp(np.rint(points), axis=0).tolist() == [4, 3]


@pytest.mark.parametrize("shape", [(192, 256), (200, 230), (150, 300)])
@pytest.mark.parametrize("stride", [64, 24, 16])
def test_dissolved_areas_are_the_cells_merged(
    tmp_path: Path, model: Model, shape: tuple[int, int], stride: int
) -> None:
    random = np.random.default_rng(2)
    coarse = random.integers(0, 10, (1 + shape[0] // 90, 1 + shape[1] // 90))
    image = _blocks(coarse, 90)[:, : shape[0], : shape[1]]
    scene = _write(tmp_path / "scene.tif", image)
    _run(scene, stride_px=stride)
    _run(scene, "cells.gpkg", stride_px=stride)
    report = _run(scene, "areas.gpkg", stride_px=stride, dissolve=True)
    raster = _raster(scene)
    counts = [ndimage.label(raster == value)[1] for value in np.unique(raster)]
    assert report.polygons == sum(counts)
    cells, of_cell = _features(scene, "cells.gpkg")
    areas, of_area = _features(scene, "areas.gpkg")
    assert of_area["cells"].sum() == len(cells) == raster.size
    for index, area in enumerate(areas):
        inside = shapely.covers(area.buffer(0.01), cells)
        assert set(of_cell["class"][inside]) >= {of_area["class"][index]}
        inside &= of_cell["class"] == of_area["class"][index]
        assert inside.sum() == of_area["cells"][index]
        assert area.symmetric_difference(shapely.union_all(cells[inside])).area < 1e-3
        for name in ("confidence", "p_Forest", "p_River"):
            expected = of_cell[name][inside].mean()
            assert of_area[name][index] == pytest.approx(expected, abs=2e-4)
    footprint = shapely.box(300_000, 5_400_000 - shape[0] * 10, 300_000 + shape[1] * 10, 5_400_000)
    assert shapely.union_all(cells).symmetric_difference(footprint).area < 1e-3


def test_overlapping_tiles_are_blended(scene: Path, model: Model) -> None:
    report = _run(scene, stride_px=32)
    found = _raster(scene)
    assert (report.cells, report.tiles) == ((6, 8), 5 * 7)
    # A cell in the corner of the scene is seen by one tile only; in the middle of an area of one
    # class all tiles agree.
    assert found[0, 0] == CLASSES[0, 0] + 1
    assert (found[2:, 6:][-3:, -2:] == 7).all()


def test_nodata_is_not_labelled(scene: Path, model: Model) -> None:
    image = np.maximum(_blocks(CLASSES), 1)
    image[:, 0:64, 0:33] = 0  # more than half of the first tile
    image[:, 64:128, 0:31] = 0  # less than half of the one below
    image[:, 128:192, 192:256] = 0
    path = _write(scene, image, nodata=0)
    report = _run(path)
    expected = CLASSES + 1
    expected[0, 0] = expected[2, 3] = 255
    np.testing.assert_array_equal(_raster(path) == 255, expected == 255)
    assert (report.tiles, report.skipped, report.class_cells["nodata"]) == (10, 2, 2)
    assert _run(path, "all.tif", min_valid=0.0).class_cells["nodata"] == 1
    assert _run(path, "whole.tif", min_valid=1.0).class_cells["nodata"] == 3
    # Where tiles overlap, a cell without a valid pixel stays empty, though tiles reach into it.
    _run(path, "fine.tif", stride_px=16, min_valid=0.1)
    fine = _raster(path, "fine.tif")
    valid = (image != 0).all(axis=0).reshape(12, 16, 16, 16).any(axis=(1, 3))
    np.testing.assert_array_equal(fine != 255, valid)
    assert _run(path, "map.gpkg").polygons == 10


def test_an_empty_scene_is_an_empty_map(scene: Path, model: Model) -> None:
    path = _write(scene, np.zeros((3, 128, 128), np.uint8), nodata=0)
    report = _run(path)
    assert (report.tiles, report.mean_confidence) == (0, None)
    assert (_raster(path) == 255).all()
    for name, dissolve in (("a.geojson", False), ("b.geojson", True)):
        assert _run(path, name, dissolve=dissolve).polygons == 0
        assert json.loads((path.parent / name).read_text())["features"] == []


@pytest.mark.parametrize("factor", [2, 4, 5])
def test_a_finer_scene_is_averaged_down(tmp_path: Path, model: Model, factor: int) -> None:
    image = _blocks(CLASSES, TILE * factor).astype(np.int16)
    noise = np.random.default_rng(0).integers(-40, 41, image.shape)
    noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
    transform = UTM @ Affine.scale(1 / factor)
    path = _write(tmp_path / "scene.tif", noisy, transform=transform)
    report = _run(path)
    assert report.settings["network_px"].value == [192, 256]
    # Noise is cut off at black and at white, where the mean moves, if not far.
    np.testing.assert_array_equal(_raster(path), CLASSES + 1)
    with rasterio.open(path.parent / "map.tif") as found:
        assert found.transform.almost_equals(UTM @ Affine.scale(64))


@pytest.mark.parametrize(
    ("gsd_m", "repeat", "words"),
    [
        (0.5, 20, ["0.5 m per pixel are averaged to the model's 10 m", "4 tiles of 640 m"]),
        (10, 1, ["4 tiles of 640 m", "2×2 cells of 640 m"]),
        (10, 4, []),
        (5, 8, []),
        (2.5, 16, ["2.5 m per pixel are averaged", "64 tiles of 640 m"]),
    ],
)
def test_a_map_that_may_be_coarser_than_expected_is_told_with_its_cells(
    tmp_path: Path, model: Model, gsd_m: float, repeat: int, words: list[str]
) -> None:
    side = 2 * TILE * repeat
    transform = UTM @ Affine.scale(gsd_m / 10)
    path = _write(
        tmp_path / "scene.tif", np.full((3, side, side), 9, np.uint8), transform=transform
    )
    spec = ClassifySpec(scene=(str(path),), output=str(tmp_path / "map.tif"))
    told = [text for text in plan_classify(spec).notices if "tiles of" in text]
    assert len(told) == bool(words)
    for text in told:
        assert all(word in text for word in words)
        named = re.search(r"--stride (\d+) makes cells of (\d+) m", text)
        assert named
        smaller = plan_classify(replace(spec, stride_px=int(named[1])))
        assert smaller.map.transform.a == pytest.approx(float(named[2]))


def test_the_overview_that_fits_is_read(tmp_path: Path, model: Model) -> None:
    """The file's overviews show another map than its pixels: what comes out tells what was read."""
    path = _write(
        tmp_path / "scene.tif", _blocks(CLASSES, TILE * 4), transform=UTM @ Affine.scale(0.25),
        tiled=True, blockxsize=64, blockysize=64, overviews=(2, 4, 8),
    )  # fmt: skip
    other = CLASSES[::-1, ::-1]
    with rasterio.open(path, "r+", OVERVIEW_LEVEL=1) as level:
        level.write(_blocks(other))
    report = _run(path)
    assert report.settings["overview"].value == 4
    assert report.shape == (192, 256)
    np.testing.assert_array_equal(_raster(path), other + 1)
    with rasterio.open(tmp_path / "map.tif") as found:
        assert found.transform.almost_equals(UTM @ Affine.scale(64))


@pytest.mark.parametrize(
    ("gsd", "ok"), [(8.1, True), (12.4, True), (20.0, True), (20.3, False), (30.0, False)]
)
def test_coarse_scenes_are_refused_with_the_numbers(
    tmp_path: Path, model: Model, gsd: float, ok: bool
) -> None:
    path = _write(tmp_path / "s.tif", _blocks(CLASSES), transform=UTM @ Affine.scale(gsd / 10))
    if not ok:
        with pytest.raises(SpecError, match=rf"{gsd:.3g} m .* {gsd / 10:.3g} times .*--insist"):
            _run(path)
    report = _run(path, insist=not ok)
    assert report.tiles >= 12


def test_a_scene_smaller_than_a_tile_is_refused_with_the_numbers(
    tmp_path: Path, model: Model
) -> None:
    path = _write(tmp_path / "scene.tif", _blocks(np.array([[3]]))[:, :38, :60])
    with pytest.raises(SpecError, match=r"38×60 px at the model's 10 m.*64×64 \(640 m\).*--insist"):
        _run(path)
    assert _run(path, insist=True).cells == (1, 1)
    assert _raster(path).tolist() == [[4]]
    polygons, _ = (_run(path, "m.gpkg", insist=True), _features(path, "m.gpkg"))[1]
    assert polygons[0].bounds == (300_000, 5_400_000 - 380, 300_600, 5_400_000)


def test_sixteen_bits_are_read_as_the_card_says(tmp_path: Path, model: Model) -> None:
    # 1..255 of the training images were 0..2750 of the sensor.
    eight = _blocks(CLASSES).astype(float)
    raw = np.clip((eight - 1) / 254 * 2750, 0, None).round()
    path = _write(tmp_path / "scene.tif", raw.astype(np.uint16))
    report = _run(path)
    np.testing.assert_array_equal(_raster(path), CLASSES + 1)
    assert report.settings["scale"].value == pytest.approx([-2750 / 254, 2750])
    assert report.settings["dn_offset"].value == 0
    halved = _write(tmp_path / "half.tif", (raw / 2).round().astype(np.uint16))
    _run(halved, "h.tif", radiometry=RadiometrySpec(scale=Scale(minimum=-5.4, maximum=1375)))
    np.testing.assert_array_equal(_raster(path, "h.tif"), CLASSES + 1)
    floats = _write(tmp_path / "float.tif", (raw / 1e4).astype(np.float32))
    with pytest.raises(SpecError, match=r"--scale 0,0\.275"):
        _run(floats, "f.tif")


@pytest.mark.parametrize("kind", ["files", "subdataset", "flag", "nothing", "scale"])
def test_values_stored_1000_higher_give_the_same_map(
    tmp_path: Path, model: Model, make_product: Callable[..., Path], kind: str
) -> None:
    eight = _blocks(CLASSES).astype(float)
    raw = (np.clip((eight - 1) / 254 * 2750, 1, None).round() + 1000).astype(np.uint16)
    raw[:, :64, :64] = 0
    radiometry = RadiometrySpec()
    inputs = [str(_write(tmp_path / "plain.tif", raw, nodata=0))]
    if kind in ("files", "subdataset"):
        metadata = make_product(tmp_path, raw.transpose(1, 2, 0))
        inputs = [f"SENTINEL2_L2A:{metadata}:10m:EPSG_32633"]
        if kind == "files":
            inputs = [str(path) for path in sorted(metadata.parent.rglob("*.jp2"))]
    elif kind == "flag":
        radiometry = RadiometrySpec(dn_offset=-1000)
    elif kind == "scale":
        radiometry = RadiometrySpec(scale=Scale(minimum=989, maximum=3750))
    notices: list[str] = []
    spec = ClassifySpec(
        scene=tuple(inputs), output=str(tmp_path / "map.tif"), radiometry=radiometry
    )
    classify(spec, report=lambda e: notices.append(e.message) if isinstance(e, Notice) else None)
    found = _raster(tmp_path / "plain.tif")
    assert found[0, 0] == 255
    expected = CLASSES + 1
    expected[0, 0] = 255
    assert np.array_equal(found, expected) == (kind != "nothing")
    assert any("--dn-offset -1000" in notice for notice in notices) == (kind == "nothing")


def test_the_map_does_not_depend_on_batch_or_blocks(scene: Path, model: Model) -> None:
    _run(scene, stride_px=24)
    first = (scene.parent / "map.tif").read_bytes()
    for batch, blocks in ((1, {}), (7, {"tiled": True, "blockxsize": 16, "blockysize": 32})):
        model.batch = batch
        _write(scene, _blocks(CLASSES), **blocks)
        _run(scene, stride_px=24, overwrite=True, run=BackendSpec(batch=batch))
        assert (scene.parent / "map.tif").read_bytes() == first


def test_a_dry_run_writes_nothing(scene: Path, model: Model) -> None:
    spec = ClassifySpec(scene=(str(scene),), output=str(scene.parent / "map.tif"), stride_px=32)
    plan = estimate(spec)
    assert (plan.tiles, plan.cells) == (35, (6, 8))
    assert [p.name for p in scene.parent.iterdir()] == ["scene.tif"]


def test_outputs_that_would_overwrite_are_refused(scene: Path, model: Model) -> None:
    other = scene.parent / "map.tif"
    other.write_text("mine")
    with pytest.raises(OutputError, match=r"map\.tif exists"):
        _run(scene)
    other.unlink()
    with pytest.raises(SpecError, match="is read by the scene"):
        _run(scene, "scene.tif", overwrite=True)
    with pytest.raises(SpecError, match="different files"):
        _run(scene, confidence=scene.parent / "map.tif")
    with pytest.raises(SpecError, match="format"):
        _run(scene, "map.shp")
    with pytest.raises(InputError, match="one scene at a time"):
        classify(ClassifySpec(scene=(str(scene),) * 2, output=str(other.with_suffix(".gpkg"))))
    assert [p.name for p in scene.parent.iterdir()] == ["scene.tif"]


def test_other_layers_of_a_geopackage_stay(scene: Path, model: Model) -> None:
    target = scene.parent / "town.gpkg"
    wells = shapely.to_wkb(shapely.box(0, 0, 1, [1, 2]))
    pyogrio.raw.write(
        target, wells, [np.array([3, 4])], ["n"], layer="wells", geometry_type="Polygon",
        crs="EPSG:3857", driver="GPKG",
    )  # fmt: skip
    with pytest.raises(OutputError, match="exists already") as refused:
        _run(scene, "town.gpkg")
    assert "--append" not in str(refused.value)  # which `classify` does not have
    spec = ClassifySpec(scene=(str(scene),), output=str(target), overwrite=True)
    said: list[str] = []
    classify(spec, report=lambda e: said.append(e.message) if isinstance(e, Notice) else None)
    assert any("layer town is written anew; kept: wells" in text for text in said)
    _, _, shapes, (numbers,) = pyogrio.raw.read(target, layer="wells")
    assert (numbers.tolist(), shapes.tolist()) == ([3, 4], wells.tolist())
    assert pyogrio.read_info(target, layer="town", force_feature_count=True)["features"] == 12


def test_an_error_on_the_way_leaves_nothing(scene: Path, model: Model) -> None:
    content = scene.read_bytes()
    scene.write_bytes(content[: len(content) * 2 // 3])
    for name in ("map.tif", "map.gpkg", "map.geojson"):
        with pytest.raises(InputError):
            _run(scene, name, confidence=scene.parent / "c.tif")
        assert [p.name for p in scene.parent.iterdir()] == ["scene.tif"]
