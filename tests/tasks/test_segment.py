"""Any scene in, a mask on its own grid out: seamless, honest about nodata, whole or absent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.shutil import copy as copy_raster
from rio_cogeo.cogeo import cog_validate

from geotiler.errors import GeotilerError, InputError, OutputError, SpecError
from geotiler.models.card import ClassInfo
from geotiler.progress import Notice, StageAdvanced, StageStarted
from geotiler.specs import Scale, SegmentSpec
from geotiler.tasks import segment as task
from geotiler.tasks import segment_plan
from geotiler.tasks.segment import estimate, segment

SHAPE = (150, 170)
UTM = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
HOLE = (slice(30, 120), slice(0, 100))  # holds whole windows


def _image(shape: tuple[int, int] = SHAPE, bands: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (bands, *shape), dtype=np.uint8)


def _write(path: Path, image: NDArray[Any], **profile: Any) -> Path:
    mask, colours = profile.pop("mask", None), profile.pop("colours", None)
    names = profile.pop("names", None)
    settings = {"driver": "GTiff", "crs": "EPSG:32633", "transform": UTM, **profile}
    count, height, width = image.shape
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", count=count, height=height, width=width, dtype=image.dtype, **settings
        ) as out,
    ):
        out.write(image)
        if colours:
            out.colorinterp = colours
        if names:
            out.descriptions = names
        if mask is not None:
            out.write_mask(mask)
    return path


def _spec(scene: Path, **changes: Any) -> SegmentSpec:
    values: dict[str, Any] = {
        "scene": str(scene),
        "output": scene.parent / "out" / "mask.tif",
        "model": "tiny",
        "tile_px": (64, 96),
        "overlap_px": 16,
        **changes,
    }
    values["output"].parent.mkdir(exist_ok=True)
    return SegmentSpec(**values)


def _notices(scene: Path, **changes: Any) -> list[str]:
    """What a run warns of."""
    events: list[Any] = []
    segment(_spec(scene, **changes), report=events.append)
    return [event.message for event in events if isinstance(event, Notice) and event.warning]


def _run(scene: Path, **changes: Any) -> tuple[NDArray[np.uint8], task.SegmentReport]:
    """The mask, after checking what holds for every mask."""
    spec = _spec(scene, **changes)
    report = segment(spec)
    json.dumps(report.as_dict(), allow_nan=False)
    with rasterio.open(scene) as source, rasterio.open(spec.output) as found:
        assert (found.shape, found.count, found.dtypes) == (source.shape, 1, ("uint8",))
        assert found.transform == source.transform
        assert found.crs == source.crs
        assert found.nodata == 255
        tags = found.tags()
        assert json.loads(tags["GEOTILER_CLASSES"])["1"]
        assert {"GEOTILER_VERSION", "GEOTILER_MODEL", "GEOTILER_MODEL_DIGEST"} <= tags.keys()
        assert str(scene.parent) not in json.dumps(tags)
        mask: NDArray[np.uint8] = found.read(1)
    valid, errors, _ = cog_validate(str(spec.output), strict=True)
    assert (valid, errors) == (True, [])
    targets = [spec.output, *([spec.probability] if spec.probability else [])]
    assert {entry.name for entry in spec.output.parent.iterdir()} == {
        name for target in targets for name in (target.name, target.with_suffix(".qml").name)
    }
    assert sum(report.class_px.values()) == mask.size
    assert report.class_px["nodata"] == (mask == 255).sum()
    return mask, report


def _expected(
    plane: NDArray[Any], valid: NDArray[np.bool_] | bool, low: float = 0, high: float = 255
) -> NDArray[np.uint8]:
    """What the formula says at threshold 0.5: class 1 from the middle of the range on."""
    unit = np.clip((plane.astype(float) - low) / (high - low), 0, 1)
    return np.where(np.broadcast_to(valid, plane.shape), unit >= 0.5, 255).astype(np.uint8)


def _valid() -> NDArray[np.bool_]:
    valid = np.ones(SHAPE, bool)
    valid[HOLE] = False
    return valid


def _holed(dtype: str, value: float, factor: float = 1.0) -> NDArray[Any]:
    image = (_image().astype(float) * factor).astype(dtype)
    image[:, *HOLE] = value
    return image


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"blockysize": 11},
        {"tiled": True, "blockxsize": 32, "blockysize": 16},
        {"compress": "deflate", "interleave": "band"},
        {"crs": None, "transform": Affine.identity()},
        {"transform": UTM @ Affine.rotation(20)},
        {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 10, 0, -1e-5, 60)},
    ],
    ids=["striped", "thick strips", "tiled", "planar", "no CRS", "rotated", "geographic"],
)
def test_layouts_and_grids(
    use_model: Callable[..., Any], tmp_path: Path, profile: dict[str, Any]
) -> None:
    use_model()
    image = _image()
    mask, report = _run(_write(tmp_path / "scene.tif", image, **profile))
    np.testing.assert_array_equal(mask, _expected(image[0], True))
    assert report.skipped == 0
    assert report.class_px["nodata"] == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (5, 7), (64, 96), (65, 97)])
@pytest.mark.parametrize("tile_px", [None, (64, 96)])
def test_small_and_thin_scenes(
    use_model: Callable[..., Any],
    tmp_path: Path,
    shape: tuple[int, int],
    tile_px: tuple[int, int] | None,
) -> None:
    use_model()
    image = _image(shape)
    mask, _ = _run(_write(tmp_path / "scene.tif", image), tile_px=tile_px)
    np.testing.assert_array_equal(mask, _expected(image[0], True))


HOLES: dict[str, Callable[[Path], Path]] = {
    "nodata 0": lambda path: _write(path, np.maximum(_holed("uint8", 0), 1 * _valid()), nodata=0),
    "float NaN": lambda path: _write(path, _holed("float32", np.nan)),
    "float nodata": lambda path: _write(path, _holed("float64", -1e300), nodata=-1e300),
    "internal mask": lambda path: _write(path, _image(), mask=_valid() * np.uint8(255)),
    "alpha": lambda path: _write(
        path,
        np.concatenate([_image(), _valid()[None] * np.uint8(255)]),
        colours=(ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha),
    ),
}


@pytest.mark.parametrize("gsd_m", [None, (0.3, 0.4), (1.1, 0.9)])
@pytest.mark.parametrize("kind", HOLES)
def test_nodata_in_is_nodata_out_and_is_not_computed(
    use_model: Callable[..., Any],
    tmp_path: Path,
    kind: str,
    gsd_m: tuple[float, float] | None,
) -> None:
    model = use_model(gsd_m=0.5)
    mask, report = _run(
        HOLES[kind](tmp_path / "scene.tif"), gsd_m=gsd_m, scale=Scale(minimum=0, maximum=255)
    )
    np.testing.assert_array_equal(mask == 255, ~_valid())
    assert report.skipped > 0 or gsd_m == (0.3, 0.4)
    assert report.windows == model.calls == len(model.tiles)
    if gsd_m is None:
        plane = np.maximum(_image()[0], 1) if kind == "nodata 0" else _image()[0]
        np.testing.assert_array_equal(mask, _expected(plane, _valid()))


@pytest.mark.parametrize(
    ("profile", "reason"),
    [({"nodata": 0}, "its nodata value 0?"), ({"mask": np.zeros(SHAPE, bool)}, "masked")],
)
def test_an_empty_scene_is_an_empty_mask_and_that_is_said(
    use_model: Callable[..., Any], tmp_path: Path, profile: dict[str, Any], reason: str
) -> None:
    model = use_model()
    scene = _write(tmp_path / "scene.tif", np.zeros((3, *SHAPE), np.uint8), **profile)
    mask, report = _run(scene)
    assert (mask == 255).all()
    assert model.calls == 0
    assert report.seam_index is None
    (told,) = _notices(scene, overwrite=True)
    assert f"no pixel of {scene} is valid" in told
    assert reason in told


def test_one_valid_pixel_is_not_nothing(use_model: Callable[..., Any], tmp_path: Path) -> None:
    use_model()
    image = np.zeros((3, *SHAPE), np.uint8)
    image[:, 40, 40] = 9
    assert not _notices(_write(tmp_path / "scene.tif", image, nodata=0))


def test_sixteen_bits_are_scaled_once_for_the_scene(
    use_model: Callable[..., Any], tmp_path: Path
) -> None:
    use_model()
    image = (_image().astype(np.uint16) * 40) + 500
    notices: list[str] = []
    spec = _spec(_write(tmp_path / "scene.tif", image))
    report = segment(spec, report=lambda event: notices.append(str(getattr(event, "message", ""))))
    low, high = report.settings["scale"]["value"]
    assert report.settings["scale"]["origin"] == "scene"
    read_as = (np.percentile(image, [2, 98]) - low) / (high - low)
    # As in photographs, not black and white.
    assert read_as * 255 == pytest.approx([35, 213], abs=0.02)
    told = re.search(r"--scale (\S+),(\S+)", "".join(notices))
    assert told is not None
    assert [float(each) for each in told.groups()] == [low, high]
    with rasterio.open(spec.output) as found:
        np.testing.assert_array_equal(found.read(1), _expected(image[0], True, low, high))
        assert json.loads(found.tags()["GEOTILER_SETTINGS"])["scale"] == [low, high]


def test_huge_and_infinite_values_are_only_very_bright(
    use_model: Callable[..., Any], tmp_path: Path
) -> None:
    use_model()
    image = _image().astype(np.float64)
    image[0, 3, 4], image[0, 5, 6], image[1, 7, 8] = 1e300, -1e300, np.inf
    mask, _ = _run(_write(tmp_path / "scene.tif", image), scale=Scale(minimum=0, maximum=255))
    valid = np.ones(SHAPE, bool)
    valid[7, 8] = False
    np.testing.assert_array_equal(mask, _expected(image[0], valid))


@pytest.mark.parametrize("driver", ["JPEG", "PNG"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_photographs(
    use_model: Callable[..., Any], tmp_path: Path, driver: str, suffix: str
) -> None:
    use_model(gsd_m=0.5)
    plain = _write(tmp_path / "plain.tif", _image(), crs=None, transform=Affine.identity())
    photo = tmp_path / f"photo.{driver.lower()}"
    copy_raster(plain, photo, driver=driver)
    target = tmp_path / f"mask{suffix}"
    notices: list[Any] = []
    segment(_spec(photo, output=target), report=notices.append)
    assert any(isinstance(n, Notice) and "--scene-gsd" in n.message for n in notices)
    with rasterio.open(photo) as source, rasterio.open(target) as found:
        np.testing.assert_array_equal(found.read(1), _expected(source.read(1), True))
        assert found.driver == ("PNG" if suffix == ".png" else "GTiff")
        assert found.crs is None


def test_a_world_file_is_kept(use_model: Callable[..., Any], tmp_path: Path) -> None:
    use_model()
    plain = _write(tmp_path / "plain.tif", _image(), crs=None, transform=Affine.identity())
    copy_raster(plain, tmp_path / "photo.jpg", driver="JPEG")
    (tmp_path / "photo.jgw").write_text("0.5\n0\n0\n-0.5\n1000.25\n1999.75\n")
    _run(tmp_path / "photo.jpg")


def test_degrees_keep_their_order_beside_a_png(
    use_model: Callable[..., Any], tmp_path: Path
) -> None:
    """The sidecar says that the first axis of the data is the longitude, as in the scene."""
    use_model()
    degrees = Affine(5e-6, 0, 11.0, 0, -5e-6, 48.0)
    scene = _write(tmp_path / "scene.tif", _image(), crs="EPSG:4326", transform=degrees)
    target = tmp_path / "mask.png"
    segment(_spec(scene, output=target))
    with rasterio.open(target) as found:
        assert found.transform.almost_equals(degrees)
        assert found.crs.to_epsg() == 4326
    sidecar = (tmp_path / "mask.png.aux.xml").read_text(encoding="utf-8")
    assert 'dataAxisToSRSAxisMapping="2,1"' in sidecar


def test_a_virtual_raster(use_model: Callable[..., Any], tmp_path: Path) -> None:
    use_model()
    image = _image()
    copy_raster(_write(tmp_path / "scene.tif", image), tmp_path / "scene.vrt", driver="VRT")
    mask, _ = _run(tmp_path / "scene.vrt")
    np.testing.assert_array_equal(mask, _expected(image[0], True))


def test_bands_by_name_by_flag_or_by_asking(use_model: Callable[..., Any], tmp_path: Path) -> None:
    use_model()
    image = _image(bands=4)
    named = _write(tmp_path / "named.tif", image, names=("nir", "blue", "green", "red"))
    mask, report = _run(named)
    assert report.settings["bands"]["value"] == [4, 3, 2]
    np.testing.assert_array_equal(mask, _expected(image[3], True))
    mask, _ = _run(named, bands=(2, 1, 1), overwrite=True)
    np.testing.assert_array_equal(mask, _expected(image[1], True))
    unnamed = _write(tmp_path / "unnamed.tif", image.astype(np.uint16))
    with pytest.raises(SpecError, match=r"--bands 1,2,3"):
        segment(_spec(unnamed, overwrite=True))
    for bands, reason in (((1, 2), "--bands"), ((1, 2, 9), "band 9")):
        with pytest.raises(SpecError, match=reason):
            segment(_spec(unnamed, bands=bands, overwrite=True))


def test_a_palette_is_not_taken_for_colours(use_model: Callable[..., Any], tmp_path: Path) -> None:
    use_model()
    path = _write(tmp_path / "scene.tif", _image(bands=1), photometric="palette")
    with rasterio.open(path, "r+") as out:
        out.write_colormap(1, {1: (255, 0, 0, 255)})
    for bands in (None, (1, 1, 1)):
        with pytest.raises(InputError, match="colour table"):
            segment(_spec(path, bands=bands))


CLASSES = (
    ClassInfo(id=2, name="water", color="#0000ff"),
    ClassInfo(id=7, name="forest", color="#00ff00"),
    ClassInfo(id=1, name="field", color="#ffff00"),
)


def _three(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    unit = batch[:, :1] * np.float32(0.2) + np.float32(0.45)
    return np.concatenate([unit / 2, np.full_like(unit, 0.3), 0.7 - unit / 2], axis=1)


def test_several_classes(use_model: Callable[..., Any], tmp_path: Path) -> None:
    use_model(_three, classes=CLASSES, activation="softmax")
    image = _image()
    scene = _write(tmp_path / "scene.tif", image)
    mask, report = _run(scene, probability=tmp_path / "out" / "p.tif")
    best = np.argmax([image[0] / 510, np.full(SHAPE, 0.3), 0.7 - image[0] / 510], axis=0)
    np.testing.assert_array_equal(mask, np.array([2, 7, 1], np.uint8)[best])
    assert report.class_px.keys() == {"water", "forest", "field", "nodata"}
    with rasterio.open(tmp_path / "out" / "p.tif") as found:
        assert found.descriptions == ("water", "forest", "field")
    with rasterio.open(tmp_path / "out" / "mask.tif") as found:
        assert found.colormap(1)[7] == (0, 255, 0, 255)
    with pytest.raises(SpecError, match="--threshold"):
        segment(_spec(scene, threshold=0.5, overwrite=True))


def test_stored_probabilities_follow_their_rules(
    use_model: Callable[..., Any], tmp_path: Path
) -> None:
    use_model()
    scene = HOLES["internal mask"](tmp_path / "scene.tif")
    expected = 0.1 + 0.8 * _image()[0] / 255
    for dtype in ("uint8", "float32"):
        target = tmp_path / "out" / "p.tif"
        _run(scene, probability=target, probability_dtype=dtype, overwrite=True)
        assert cog_validate(str(target), strict=True)[0]
        with rasterio.open(target) as found:
            values, scale = found.read(1), found.scales[0]
            assert found.dtypes == (dtype,)
            if dtype == "uint8":
                assert (found.nodata, scale) == (255, 1 / 254)
                np.testing.assert_array_equal(values == 255, ~_valid())
            else:
                assert np.isnan(found.nodata)
                assert scale == 1
                np.testing.assert_array_equal(np.isnan(values), ~_valid())
        error = np.abs(values[_valid()] * scale - expected[_valid()])
        assert error.max() <= (1 / 508 + 1e-6 if dtype == "uint8" else 1e-6)


def test_the_mask_comes_from_the_float_not_from_the_stored_probability(
    use_model: Callable[..., Any], tmp_path: Path
) -> None:
    use_model(lambda batch: np.full((len(batch), 1, *batch.shape[2:]), np.float32(0.4999)))
    mask, _ = _run(_write(tmp_path / "scene.tif", _image()), probability=tmp_path / "out" / "p.tif")
    assert (mask == 0).all()


def test_a_scene_coarser_one_way_than_the_other(
    use_model: Callable[..., Any], tmp_path: Path
) -> None:
    model = use_model(gsd_m=1.0)
    transform = Affine(1e-5, 0, 10, 0, -1e-5, 60)  # 0.56 m wide, 1.11 m high
    ramp = np.broadcast_to(np.linspace(0, 255, 300).astype(np.uint8), (3, 200, 300))
    scene = _write(tmp_path / "scene.tif", ramp, crs="EPSG:4326", transform=transform)
    mask, report = _run(scene)
    rows, cols = report.settings["network_px"]["value"]
    assert rows == 200
    assert cols == pytest.approx(300 * 0.557, abs=1.5)
    assert model.calls == report.windows
    np.testing.assert_array_equal(mask[:, 10:140], 0)
    np.testing.assert_array_equal(mask[:, 160:290], 1)


@pytest.mark.parametrize("gsd_m", [None, (0.3, 0.8)])
def test_panels_chunks_and_batches_do_not_change_a_byte(
    use_model: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gsd_m: tuple[float, float] | None,
) -> None:
    def context(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        mean = np.tanh(batch).mean(axis=(1, 2, 3), keepdims=True)
        return np.float32(0.5) + np.float32(0.2) * np.tanh(batch[:, :1]) + mean

    use_model(context, gsd_m=0.5)
    scene = _write(tmp_path / "scene.tif", _image((90, 1400)), tiled=True, blockxsize=64,
                   blockysize=32)  # fmt: skip
    _run(scene, gsd_m=gsd_m)
    expected = (tmp_path / "out" / "mask.tif").read_bytes()
    _run(scene, gsd_m=gsd_m, overwrite=True)
    assert (tmp_path / "out" / "mask.tif").read_bytes() == expected
    monkeypatch.setattr(segment_plan, "PANEL_PX", 400)
    monkeypatch.setattr(segment_plan, "_CHUNK_ROWS", 5)
    _run(scene, gsd_m=gsd_m, batch=3, overwrite=True)
    assert (tmp_path / "out" / "mask.tif").read_bytes() == expected


def test_progress_ends_where_it_was_said_to(use_model: Callable[..., Any], tmp_path: Path) -> None:
    use_model()
    events: list[Any] = []
    spec = _spec(HOLES["internal mask"](tmp_path / "scene.tif"))
    report = segment(spec, report=events.append)
    (total,) = (e.total for e in events if isinstance(e, StageStarted) and e.stage == "segment")
    done = sum(e.amount for e in events if isinstance(e, StageAdvanced) and e.stage == "segment")
    assert total == done == report.windows + report.skipped


def test_an_estimate_writes_nothing(use_model: Callable[..., Any], tmp_path: Path) -> None:
    use_model()
    spec = _spec(_write(tmp_path / "scene.tif", _image()))
    plan = estimate(spec)
    json.dumps(plan.as_dict(), allow_nan=False)
    assert list(spec.output.parent.iterdir()) == []
    assert plan.windows == segment(spec).windows


class _StrangeError(Exception):
    pass


@pytest.mark.parametrize("error", [_StrangeError, KeyboardInterrupt, MemoryError])
def test_a_network_that_fails_leaves_no_output(
    use_model: Callable[..., Any], tmp_path: Path, error: type[BaseException]
) -> None:
    def failing(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if model.calls > 5:
            raise error
        return batch[:, :1]

    model = use_model(failing)
    spec = _spec(_write(tmp_path / "scene.tif", _image()), probability=tmp_path / "out" / "p.tif")
    with pytest.raises(error):
        segment(spec)
    unfinished = ["mask.tif.parts", "p.tif.parts"]
    assert sorted(path.name for path in spec.output.parent.iterdir()) == unfinished
    spec.output.write_text("old")
    model.calls = 6  # fails at once
    with pytest.raises(error):
        segment(replace(spec, overwrite=True))
    assert spec.output.read_text() == "old"


def test_nothing_finished_leaves_nothing(use_model: Callable[..., Any], tmp_path: Path) -> None:
    def failing(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        raise MemoryError

    use_model(failing)
    spec = _spec(_write(tmp_path / "scene.tif", _image()))
    with pytest.raises(MemoryError):
        segment(spec)
    assert list(spec.output.parent.iterdir()) == []


def test_a_truncated_scene_leaves_no_output(use_model: Callable[..., Any], tmp_path: Path) -> None:
    model = use_model()
    scene = _write(tmp_path / "scene.tif", _image((700, 170)), compress="deflate")
    scene.write_bytes(scene.read_bytes()[:300_000])
    with pytest.raises(InputError, match="truncated"):
        segment(_spec(scene))
    assert model.calls > 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mask.tif.parts"]


def _both_outputs(folder: Path) -> dict[str, Any]:
    return {"output": folder / "out" / "same.tif", "probability": folder / "out" / "same.tif"}


REFUSED: dict[str, tuple[Callable[[Path], dict[str, Any]], type[GeotilerError], str]] = {
    "output is the scene": (lambda f: {"output": f / "scene.tif"}, SpecError, "scene itself"),
    "unasked too": (
        lambda f: {"output": f / "scene.tif", "overwrite": False}, SpecError, "scene itself"
    ),
    "probability is the scene": (
        lambda f: {"probability": f / "scene.tif"}, SpecError, "scene itself"
    ),
    "one file for both": (_both_outputs, SpecError, "different files"),
    "no such folder": (lambda f: {"output": f / "none" / "m.tif"}, OutputError, "mkdir"),
    "no such format": (lambda f: {"output": f / "out" / "m.shp"}, SpecError, r"\.tif"),
    "floats in a PNG": (
        lambda f: {"probability": f / "out" / "p.png", "probability_dtype": "float32"},
        SpecError, "p.tif",
    ),
    "polygons": (lambda f: {"output": f / "out" / "b.gpkg"}, SpecError, "geotiler vectorize"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_is_refused_before_any_pixel(
    use_model: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    model = use_model()
    changes, error, reason = REFUSED[kind]
    scene = _write(tmp_path / "scene.tif", _image())
    before = scene.read_bytes()
    values = changes(tmp_path)
    output = values.pop("output", tmp_path / "out" / "mask.tif")
    (tmp_path / "out").mkdir()
    spec = SegmentSpec(
        **{"scene": str(scene), "output": output, "model": "tiny", "tile_px": (64, 96),
           "overlap_px": 16, "overwrite": True, **values}
    )  # fmt: skip
    with pytest.raises(error, match=reason):
        segment(spec)
    assert model.calls == 0
    assert scene.read_bytes() == before
    assert list((tmp_path / "out").iterdir()) == []


def test_a_source_of_the_scene_is_not_overwritten(
    use_model: Callable[..., Any], tmp_path: Path
) -> None:
    use_model()
    source = _write(tmp_path / "source.tif", _image())
    copy_raster(source, tmp_path / "scene.vrt", driver="VRT")
    with pytest.raises(SpecError, match="read by the scene"):
        segment(_spec(tmp_path / "scene.vrt", output=source, overwrite=True))


def test_existing_outputs_are_kept_unless_asked(
    use_model: Callable[..., Any], tmp_path: Path
) -> None:
    use_model()
    spec = _spec(_write(tmp_path / "scene.tif", _image()))
    spec.output.write_text("old")
    with pytest.raises(OutputError, match="--overwrite"):
        segment(spec)
    assert spec.output.read_text() == "old"
    _run(tmp_path / "scene.tif", overwrite=True)


def test_a_tile_is_fitted_to_what_the_network_asks_for(
    use_model: Callable[..., Any], tmp_path: Path
) -> None:
    use_model(stride_of_network=64)
    scene = _write(tmp_path / "scene.tif", _image())
    _, report = _run(scene, tile_px=None)
    assert all(side % 64 == 0 for side in report.settings["tile_px"]["value"])


@pytest.mark.parametrize(
    ("tile", "overlap", "expected"),
    [
        ((64, 96), None, {"value": 32, "origin": "tile"}),
        ((32, 32), None, {"value": 8, "origin": "tile"}),
        ((512, 512), None, {"value": 128, "origin": "model card"}),
        ((64, 96), 48, {"value": 48, "origin": "flag"}),
        (None, None, {"value": 128, "origin": "model card"}),
    ],
)
def test_the_overlap_goes_with_a_tile_that_was_chosen(
    use_model: Callable[..., Any], tmp_path: Path, tile: Any, overlap: int | None, expected: Any
) -> None:
    use_model(tile_px=512, overlap_px=128)
    scene = _write(tmp_path / "scene.tif", _image())
    _, report = _run(scene, tile_px=tile, overlap_px=overlap)
    assert report.settings["overlap_px"] == expected


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tile_px": (64, 64), "overlap_px": 32}, "tiles of 64 px that overlap by 32"),
        ({"tile_px": (64, 96), "overlap_px": 48}, "tiles of 64×96 px that overlap by 48"),
        ({"tile_px": None, "overlap_px": 100}, None),  # the scene is one tile
        ({"tile_px": (128, 128), "overlap_px": 32}, None),  # the scene is the reason
    ],
)
def test_tiles_that_share_most_of_their_pixels_are_told(
    use_model: Callable[..., Any], tmp_path: Path, changes: dict[str, Any], told: str | None
) -> None:
    use_model()
    scene = _write(tmp_path / "scene.tif", _image())
    notices = _notices(scene, **changes)
    if told is None:
        assert not notices
        return
    share = estimate(_spec(scene, overwrite=True, **changes)).computed_share
    assert share > 2
    (line,) = notices
    assert line.startswith(f"{told} compute each pixel {share:.1f} times; ")


@pytest.mark.parametrize("overviews", [[], [8]])
def test_an_estimate_of_what_is_skipped(
    use_model: Callable[..., Any], tmp_path: Path, overviews: list[int]
) -> None:
    """Of a scene too large to be looked at as a whole, half of which is nodata."""
    use_model()
    image = np.ones((3, 2100, 2000), np.uint8)
    image[:, :1050] = 0
    path = _write(tmp_path / "scene.tif", image, nodata=0, compress="deflate", blockysize=64)
    with rasterio.open(path, "r+") as file:
        file.build_overviews(overviews) if overviews else None
    plan = estimate(_spec(path))
    assert plan.windows > 300
    assert plan.skipped == pytest.approx(plan.windows / 2, rel=0.08)


def test_mirror_images_are_averaged_and_written_down(
    tmp_path: Path, use_model: Callable[..., Any]
) -> None:
    def brighter_to_the_right(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        columns = np.linspace(0.1, 0.7, batch.shape[3], dtype=np.float32)
        return np.broadcast_to(columns, (len(batch), 1, *batch.shape[2:])).copy()

    model = use_model(brighter_to_the_right)
    scene = _write(tmp_path / "scene.tif", _image((64, 96)))
    plain, _ = _run(scene)
    assert plain.min() == 0
    assert plain.max() == 1
    probability = scene.parent / "out" / "p.tif"
    calls = model.calls
    turned, report = _run(
        scene, tta=2, overwrite=True, probability=probability, probability_dtype="float32"
    )
    assert model.calls == calls + 2
    assert (turned == 0).all()  # 0.4 everywhere
    with rasterio.open(probability) as found:
        assert np.allclose(found.read(1), 0.4, atol=1e-6)
    assert report.as_dict()["settings"]["tta"]["value"] == 2
    with rasterio.open(scene.parent / "out" / "mask.tif") as found:
        assert json.loads(found.tags()["GEOTILER_SETTINGS"])["tta"] == 2
    with pytest.raises(SpecError, match="`tta` must be 1, 2 or 4"):
        _spec(scene, tta=3)
