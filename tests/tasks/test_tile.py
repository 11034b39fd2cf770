"""Laws of data sets: nothing lost, nothing in two splits, labels as burned whole, same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.testing import assert_array_equal
from rasterio.features import rasterize

from geotiler.errors import GeotilerError, InputError, OutputError, SpecError
from geotiler.io import chips as chips_module
from geotiler.io.chip_folder import ChipFolder
from geotiler.specs import SPLITS, ClassRule, SplitBy, TileSpec
from geotiler.tasks.tile import TileReport, estimate, tile
from geotiler.tasks.tile_plan import plan_tile

UTM = "EPSG:32633"
ORIGIN = (400_000.0, 5_500_000.0)
GSD_M = 0.5
SPLIT = (0.6, 0.2, 0.2)


def at(row: float, col: float, gsd_m: float = GSD_M) -> Affine:
    """A north-up grid whose corner is so many half-metre pixels from the origin."""
    return Affine(gsd_m, 0, ORIGIN[0] + col * GSD_M, 0, -gsd_m, ORIGIN[1] - row * GSD_M)


def write_scene(
    path: Path,
    shape: tuple[int, int] = (300, 260),
    *,
    transform: Affine | None = None,
    crs: str | None = UTM,
    valid: np.ndarray | None = None,
    seed: int = 0,
    **options: Any,
) -> np.ndarray:
    values = np.random.default_rng(seed).integers(1, 256, (3, *shape), dtype=np.uint8)
    values = values.astype(options.pop("dtype", "uint8"))
    place = {"crs": crs, "transform": transform or at(0, 0)} if crs else {}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", height=shape[0], width=shape[1], count=3,
            dtype=values.dtype, tiled=True, blockxsize=64, blockysize=64, **place, **options,
        ) as scene,
    ):  # fmt: skip
        scene.write(values)
        if valid is not None:
            scene.write_mask(valid)
    return values


def houses(count: int = 40, *, extent_px: float = 320, seed: int = 1) -> geopandas.GeoDataFrame:
    """Turned rectangles, some with a hole, some over the scene's edge."""
    rng = np.random.default_rng(seed)
    shapes = []
    for _ in range(count):
        width, height = rng.uniform(2, 12, 2)
        shape = shapely.box(-width, -height, width, height)
        if rng.random() < 0.3:
            shape = shape.difference(shapely.box(-width / 2, -height / 2, width / 3, height / 3))
        shape = shapely.affinity.rotate(shape, rng.uniform(0, 180))
        col, row = rng.uniform(-20, extent_px, 2)
        shapes.append(
            shapely.affinity.translate(shape, ORIGIN[0] + col * GSD_M, ORIGIN[1] - row * GSD_M)
        )
    kinds = rng.choice(["house", "shed", "road"], count)
    return geopandas.GeoDataFrame({"kind": kinds}, geometry=shapes, crs=UTM)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    write_scene(tmp_path / "town.tif")
    return tmp_path / "town.tif"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    houses().to_file(tmp_path / "houses.gpkg")
    return tmp_path / "houses.gpkg"


def spec_of(scene: Path, labels: Path | None = None, **changes: Any) -> TileSpec:
    values: dict[str, Any] = {
        "scenes": (str(scene),),
        "output": scene.parent / "set",
        "labels": (str(labels),) if labels else (),
        "tile_px": (64, 64),
        "overlap_px": 16,
        "split": SPLIT if labels else None,
    }
    return TileSpec(**{**values, **changes})


def index(folder: Path) -> geopandas.GeoDataFrame:
    return geopandas.read_parquet(folder / "index.parquet")


def pixels(path: Path) -> tuple[np.ndarray, np.ndarray, Affine]:
    with rasterio.open(path) as chip:
        return chip.read(), chip.dataset_mask() > 0, chip.transform


def every_file(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Images


def test_a_scene_alone_becomes_chips_that_lose_no_valid_pixel(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    valid = np.kron(rng.random((10, 9)) > 0.6, np.ones((30, 29), bool))[:300, :260]
    path = tmp_path / "sparse.tif"
    values = write_scene(path, valid=valid)
    report = tile(spec_of(path))
    covered = np.zeros(valid.shape, bool)
    for _, row in index(tmp_path / "set").iterrows():
        got, known, transform = pixels(tmp_path / "set" / "images" / f"{row['name']}.tif")
        place = np.s_[row.row : row.row + row.height, row.col : row.col + row.width]
        assert_array_equal(known, valid[place])
        assert_array_equal(got[:, known], values[:, *place][:, known])
        assert transform.almost_equals(at(row.row, row.col))
        assert row.valid == pytest.approx(known.mean())
        assert row.geometry.bounds == pytest.approx((row.left, row.bottom, row.right, row.top))
        covered[place] = True
    assert covered[valid].all()
    assert report.splits == {"all": report.chips}
    assert not (tmp_path / "set" / "masks").exists()
    listed = (tmp_path / "set" / "all.txt").read_text().splitlines()
    assert sorted(listed) == sorted(p.stem for p in (tmp_path / "set" / "images").iterdir())


@pytest.mark.parametrize("shape", [(20, 30), (64, 64), (65, 300)])
def test_small_scenes_are_neither_padded_nor_refused(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    values = write_scene(tmp_path / "s.tif", shape)
    tile(spec_of(tmp_path / "s.tif"))
    first = pixels(tmp_path / "set" / "images" / "s_r000000_c000000.tif")[0]
    assert_array_equal(first, values[:, :64, :64])


def test_types_bands_and_scenes_without_a_crs(tmp_path: Path) -> None:
    values = write_scene(tmp_path / "s.tif", crs=None, dtype="uint16")
    tile(spec_of(tmp_path / "s.tif", bands=(3, 1), scene_gsd_m=(0.3, 0.3)))
    got = pixels(tmp_path / "set" / "images" / "s_r000048_c000096.tif")[0]
    assert_array_equal(got, values[[2, 0], 48:112, 96:160])
    assert index(tmp_path / "set").crs is None
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["gsd_m"] == 0.3


def test_indices_into_a_colour_table_are_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "indexed.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=64, width=64, count=1, dtype="uint8", crs=UTM,
        transform=at(0, 0),
    ) as scene:  # fmt: skip
        scene.write(np.ones((1, 64, 64), np.uint8))
        scene.write_colormap(1, {1: (200, 100, 50, 255)})
    with pytest.raises(InputError, match="indices into a colour table"):
        tile(TileSpec(scenes=(str(path),), output=tmp_path / "chips"))
    assert not (tmp_path / "chips").exists()


def test_alpha_is_no_band_but_a_mask(tmp_path: Path) -> None:
    values = np.full((4, 80, 80), 9, np.uint8)
    values[3, :40] = 0
    values[3, 40:] = 255
    with rasterio.open(
        tmp_path / "s.tif", "w", driver="GTiff", height=80, width=80, count=4, dtype="uint8",
        photometric="RGB", alpha="YES", crs=UTM, transform=at(0, 0),
    ) as scene:  # fmt: skip
        scene.write(values)
    tile(spec_of(tmp_path / "s.tif"))
    got, known, _ = pixels(tmp_path / "set" / "images" / "s_r000000_c000000.tif")
    assert len(got) == 3
    assert_array_equal(known, values[3, :64, :64] > 0)


# Labels


def labels_equal(folder: Path, expected: np.ndarray, scene: str = "town") -> int:
    """Checks every mask of a scene against the whole; returns how many there were."""
    found = index(folder)
    found = found[found.scene == scene]
    for _, row in found.iterrows():
        place = np.s_[row.row : row.row + row.height, row.col : row.col + row.width]
        got = pixels(folder / "masks" / f"{row['name']}.tif")[0][0]
        assert_array_equal(got, expected[place])
    return len(found)


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet", ".shp", ".fgb"])
def test_masks_equal_the_polygons_burned_whole(scene: Path, crs: str, suffix: str) -> None:
    path = scene.parent / f"houses{suffix}"
    frame = houses().to_crs(crs)
    if suffix == ".geojson":
        frame = frame.to_crs(4326)
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_file(path)
    back = geopandas.read_parquet(path) if suffix == ".parquet" else geopandas.read_file(path)
    expected = rasterize(back.to_crs(UTM).geometry, (300, 260), transform=at(0, 0), dtype="uint8")
    tile(spec_of(scene, path))
    assert labels_equal(scene.parent / "set", expected) > 20


@pytest.mark.parametrize("gsd_m", [0.25, 0.8, 1.7])
def test_labels_at_another_resolution_are_burned_there(
    scene: Path, labels: Path, gsd_m: float
) -> None:
    with rasterio.open(scene) as opened:
        from geotiler.core.geodesy import ground_gsd_m

        ground = ground_gsd_m(tuple(opened.transform)[:6], opened.crs, opened.shape)
    assert ground is not None
    tile(spec_of(scene, labels, gsd_m=(gsd_m, gsd_m), split=(1.0, 0.0)))
    steps = [GSD_M * gsd_m / value for value in ground]
    transform = Affine(steps[0], 0, ORIGIN[0], 0, -steps[1], ORIGIN[1])
    found = index(scene.parent / "set")
    shape = (int((found.row + found.height).max()), int((found.col + found.width).max()))
    expected = rasterize(houses().geometry, shape, transform=transform, dtype="uint8")
    assert labels_equal(scene.parent / "set", expected) > 0
    assert json.loads((scene.parent / "set" / "dataset.json").read_text())["gsd_m"] == gsd_m


def test_nodata_and_what_lies_outside_the_label_extent_is_unknown_and_counted(
    tmp_path: Path, labels: Path
) -> None:
    valid = np.ones((300, 260), bool)
    valid[100:150, 40:200] = False
    write_scene(tmp_path / "town.tif", valid=valid)
    extent = shapely.box(ORIGIN[0] + 5.1, ORIGIN[1] - 120.2, ORIGIN[0] + 60.7, ORIGIN[1] - 3.3)
    area = geopandas.GeoDataFrame(geometry=[extent], crs=UTM).to_crs(4326)
    area.to_file(tmp_path / "area.geojson")
    expected = rasterize(houses().geometry, valid.shape, transform=at(0, 0), dtype="uint8")
    back = geopandas.read_file(tmp_path / "area.geojson").to_crs(UTM).geometry
    inside = rasterize(back, valid.shape, transform=at(0, 0), dtype="uint8")
    expected[(inside == 0) | ~valid] = 255
    report = tile(
        spec_of(tmp_path / "town.tif", labels, label_extent=str(tmp_path / "area.geojson"))
    )
    labels_equal(tmp_path / "set", expected)
    found = index(tmp_path / "set")
    ignored = ((1 - found.labelled) * found.height * found.width).sum()
    assert report.ignored_px == round(ignored) > 0
    assert report.left_out["unlabelled"] > 0


def test_classes_by_attribute(scene: Path, labels: Path) -> None:
    rules = (
        ClassRule(id=1, name="house", values=("HOUSE", "shed")),
        ClassRule(id=255, name="road", values=("road",)),
    )
    report = tile(spec_of(scene, labels, attribute="kind", classes=rules))
    frame = geopandas.read_file(labels)
    ids = [255 if kind == "road" else 1 for kind in frame.kind]
    burned = zip(frame.geometry, ids, strict=True)
    expected = rasterize(burned, (300, 260), transform=at(0, 0), dtype="uint8")
    labels_equal(scene.parent / "set", expected)
    assert set(report.class_px) == {"house"}
    report = tile(spec_of(scene, labels, attribute="kind", overwrite=True))
    assert list(report.class_px) == ["house", "road", "shed"]
    found = index(scene.parent / "set")
    assert {"fraction_house", "fraction_road", "fraction_shed"} < set(found.columns)


def test_masks_as_labels_on_the_same_and_on_another_grid(scene: Path, labels: Path) -> None:
    truth = rasterize(houses().geometry, (300, 260), transform=at(0, 0), dtype="uint8")
    for name, values, transform in (
        ("town_mask.tif", truth * 255, at(0, 0)),
        ("other.tif", np.kron(truth, np.ones((2, 2), np.uint8))[20:], at(10, 0, GSD_M / 2)),
    ):
        path = scene.parent / name
        with rasterio.open(
            path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
            dtype="uint8", crs=UTM, transform=transform,
        ) as mask:  # fmt: skip
            mask.write(values, 1)
        tile(spec_of(scene, path, overwrite=True))
        expected = truth.copy()
        expected[: 10 if name == "other.tif" else 0] = 255
        assert labels_equal(scene.parent / "set", expected) > 20


def test_each_scene_takes_the_labels_of_its_name_or_of_its_place(tmp_path: Path) -> None:
    for number, name in enumerate(("east", "west", "north")):
        write_scene(tmp_path / f"{name}.tif", transform=at(0, 1000 * number), seed=number)
        moved = houses(seed=number).translate(500 * number)
        moved = geopandas.GeoDataFrame(geometry=moved, crs=UTM)
        moved.to_file(tmp_path / ("east.gpkg" if name == "east" else f"x{number}.gpkg"))
    spec = TileSpec(
        scenes=tuple(str(tmp_path / f"{name}.tif") for name in ("east", "west", "north")),
        labels=tuple(str(tmp_path / name) for name in ("x2.gpkg", "east.gpkg", "x1.gpkg")),
        output=tmp_path / "set", tile_px=(64, 64), overlap_px=0, split=SPLIT,
        split_by=SplitBy.SCENE,
    )  # fmt: skip
    report = tile(spec)
    for number, name in enumerate(("east", "west", "north")):
        burned = houses(seed=number).geometry
        expected = rasterize(burned, (300, 260), transform=at(0, 0), dtype="uint8")
        assert labels_equal(tmp_path / "set", expected, name) == 25
    found = index(tmp_path / "set")
    assert (found.groupby("scene").split.nunique() == 1).all()
    assert report.splits == dict.fromkeys(SPLITS, 25)


# Splits


@pytest.mark.parametrize("overlap_px", [0, 16, 40])
@pytest.mark.parametrize("block_px", [None, 64, 100])
def test_no_pixel_is_in_two_splits(
    scene: Path, labels: Path, overlap_px: int, block_px: int | None
) -> None:
    tile(spec_of(scene, labels, overlap_px=overlap_px, block_px=block_px))
    owner = np.full((300, 260), "", object)
    for _, row in index(scene.parent / "set").iterrows():
        part = owner[row.row : row.row + row.height, row.col : row.col + row.width]
        assert set(np.unique(part)) <= {"", row.split}
        part[...] = row.split
    assert set(np.unique(owner)) == set(SPLITS)
    for split in SPLITS:
        names = (scene.parent / "set" / f"{split}.txt").read_text().splitlines()
        found = index(scene.parent / "set")
        assert names == found[found.split == split].name.tolist()


@pytest.mark.parametrize("offset", [(0, 0), (0, 250), (237, 13)])
def test_no_ground_is_in_two_splits_where_scenes_overlap(
    tmp_path: Path, offset: tuple[int, int]
) -> None:
    write_scene(tmp_path / "a.tif")
    write_scene(tmp_path / "b.tif", transform=at(*offset), seed=1)
    spec = TileSpec(
        scenes=(str(tmp_path / "a.tif"), str(tmp_path / "b.tif")), output=tmp_path / "set",
        tile_px=(64, 64), overlap_px=8, split=SPLIT, block_px=64,
    )  # fmt: skip
    tile(spec)
    found = index(tmp_path / "set")
    grounds = {s: shapely.union_all(found[found.split == s].geometry) for s in SPLITS}
    for one in SPLITS:
        for other in SPLITS:
            if one < other:
                assert grounds[one].intersection(grounds[other]).area < 1e-6


def test_too_few_blocks_are_told(tmp_path: Path, labels: Path) -> None:
    write_scene(tmp_path / "s.tif", (100, 100))
    with pytest.raises(SpecError, match="1 separate block cannot be split into 3"):
        tile(spec_of(tmp_path / "s.tif", labels, tile_px=(96, 96)))
    report = tile(spec_of(tmp_path / "s.tif", labels, tile_px=(96, 96), is_split_asked=False))
    assert report.splits == {"train": report.chips}


def test_min_valid_and_empty_ratio(tmp_path: Path) -> None:
    valid = np.ones((300, 260), bool)
    valid[:, :100] = False
    write_scene(tmp_path / "s.tif", valid=valid)
    few = houses(5, extent_px=120).translate(70)
    geopandas.GeoDataFrame(geometry=few, crs=UTM).to_file(tmp_path / "few.gpkg")
    whole = tile(spec_of(tmp_path / "s.tif", tmp_path / "few.gpkg"))
    assert "min_valid" not in whole.left_out
    spec = spec_of(
        tmp_path / "s.tif", tmp_path / "few.gpkg", min_valid=0.6, empty_ratio=0.5, overwrite=True
    )
    report = tile(spec)
    found = index(tmp_path / "set")
    assert (found.valid >= 0.6).all()
    assert report.chips - report.with_objects == round(0.5 * report.with_objects)
    assert report.left_out["empty"] > 0
    on_disk = {path.stem for path in (tmp_path / "set" / "images").iterdir()}
    assert on_disk == set(found.name) == {p.stem for p in (tmp_path / "set" / "masks").iterdir()}


# Interruptions and repetition


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the n-th file of a run the last one."""

    def after(count: int) -> None:
        real = chips_module.write_bytes
        left = iter(range(count))

        def write(path: Path, data: bytes) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            real(path, data)

        for module in ("geotiler.io.chips", "geotiler.io.chip_folder", "geotiler.tasks.tile"):
            monkeypatch.setattr(f"{module}.write_bytes", write)

    return after


@pytest.mark.slow
def test_interrupted_anywhere_and_resumed_is_as_if_never_interrupted(
    scene: Path, labels: Path, tmp_path: Path, interrupted: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = spec_of(scene, labels, empty_ratio=0.2)
    tile(replace(spec, output=tmp_path / "whole"))
    expected = every_file(tmp_path / "whole")
    files = sum(name.endswith(".tif") for name in expected)
    for count in (0, 1, 2, 7, files // 2, files, files + 4):
        folder = tmp_path / f"set{count}"
        with monkeypatch.context():
            interrupted(count)
            with pytest.raises(KeyboardInterrupt):
                tile(replace(spec, output=folder))
        monkeypatch.undo()
        journal = folder / ".journal.jsonl"
        if journal.exists():
            journal.write_bytes(journal.read_bytes() + b'{"scene": 0, "pan')
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / ".town_r000000_c000000.tif.part").write_bytes(b"half")
        if count == 0:
            continue
        report = tile(replace(spec, output=folder))
        assert every_file(folder) == expected
        if count > 30:
            assert report.resumed > 0


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path, labels: Path) -> None:
    write_scene(tmp_path / "town.tif", (1500, 260))
    spec = spec_of(tmp_path / "town.tif", labels)
    tile(replace(spec, output=tmp_path / "whole"))
    code = f"""
import os, signal
from pathlib import Path
from geotiler.tasks import tile as module
real = module.ChipFolder.finish_row
def finish_row(self, row):
    real(self, row)
    if row.row > 500:
        os.kill(os.getpid(), signal.SIGKILL)
module.ChipFolder.finish_row = finish_row
from geotiler.specs import TileSpec
module.tile(TileSpec(scenes=({str(tmp_path / "town.tif")!r},), output=Path({str(spec.output)!r}),
    labels=({str(labels)!r},), tile_px=(64, 64), overlap_px=16, split={SPLIT}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert not (spec.output / "dataset.json").exists()
    report = tile(spec)
    assert 0 < report.resumed < report.chips
    assert every_file(spec.output) == every_file(tmp_path / "whole")


def test_a_complete_data_set_is_left_alone_and_mended_if_chips_are_gone(
    scene: Path, labels: Path
) -> None:
    spec = spec_of(scene, labels)
    first = tile(spec)
    expected = every_file(spec.output)
    times = {path: path.stat().st_mtime_ns for path in spec.output.rglob("*")}
    again = tile(spec)
    assert {path: path.stat().st_mtime_ns for path in spec.output.rglob("*")} == times
    assert (again.resumed, again.class_px) == (first.chips, first.class_px)
    next((spec.output / "images").iterdir()).unlink()
    tile(spec)
    assert every_file(spec.output) == expected


def test_other_settings_are_refused_and_overwritten_on_demand(scene: Path, labels: Path) -> None:
    spec = spec_of(scene, labels)
    tile(spec)
    other = replace(spec, overlap_px=0)
    with pytest.raises(OutputError, match="`overlap_px` was 16, now 0") as caught:
        tile(other)
    assert "--overwrite" in str(caught.value)
    (spec.output / "images" / "mine.tif").write_bytes(b"not geotiler's")
    tile(replace(other, overwrite=True))
    assert (spec.output / "images" / "mine.tif").read_bytes() == b"not geotiler's"
    (spec.output / "images" / "mine.tif").unlink()
    tile(replace(other, output=scene.parent / "fresh"))
    assert every_file(spec.output) == every_file(scene.parent / "fresh")
    write_scene(scene, seed=9)
    with pytest.raises(OutputError, match="scenes has other content"):
        tile(other)


def test_another_setting_is_refused_by_name_unless_it_begins_anew(
    scene: Path, labels: Path, tmp_path: Path, interrupted: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec = spec_of(scene, labels)
    with monkeypatch.context():
        interrupted(9)
        with pytest.raises(KeyboardInterrupt):
            tile(spec)
    monkeypatch.undo()
    other = replace(spec, overlap_px=0)
    with pytest.raises(OutputError, match=r"`overlap_px` was 16, now 0.*--restart") as caught:
        tile(other)
    assert "unfinished run with other settings" in str(caught.value)
    assert tile(replace(other, restart=True)).resumed == 0
    tile(replace(other, output=tmp_path / "whole"))
    assert every_file(spec.output) == every_file(tmp_path / "whole")


def test_a_folder_that_is_no_data_set_is_never_touched(scene: Path) -> None:
    folder = scene.parent / "set"
    folder.mkdir()
    (folder / "thesis.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="no data set"):
            tile(spec_of(scene, overwrite=overwrite))
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError, match="is a file"):
        tile(spec_of(scene, output=folder / "thesis.txt"))
    with pytest.raises(OutputError, match="does not exist"):
        tile(spec_of(scene, output=folder / "deep" / "set"))


def test_a_full_disk_loses_nothing_that_was_finished(
    scene: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(scene, labels)
    real = Path.write_bytes
    left = iter(range(30))

    def write(path: Path, data: bytes) -> int:
        if next(left, None) is None:
            real(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return real(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write)
        with pytest.raises(OutputError, match="disk is full"):
            tile(spec)
    assert not list(spec.output.rglob("*.part"))
    assert tile(spec).resumed > 0


def test_the_description_repeats_the_run_and_tells_nothing_of_the_machine(
    scene: Path, labels: Path
) -> None:
    tile(spec_of(scene, labels))
    text = (scene.parent / "set" / "dataset.json").read_text()
    assert str(scene.parent) not in text
    facts = json.loads(text)
    assert facts["made_from"]["settings"]["tile_px"] == [64, 64]
    assert facts["made_from"]["scenes"][0]["sha256"]
    assert facts["scenes"][0]["labels"] == ["houses.gpkg"]
    assert facts["masks"]["ignore"] == 255
    assert sum(share["chips"] for share in facts["splits"].values()) == facts["chips"]


def test_training_reads_it_as_it_is(tmp_path: Path, labels: Path) -> None:
    from geotiler.training.chips import UNLABELLED, load_split
    from geotiler.training.compose import compose

    valid = np.ones((300, 260), bool)
    valid[:40] = False
    values = write_scene(tmp_path / "my town.tif", valid=valid)
    extent = shapely.box(ORIGIN[0], ORIGIN[1] - 130, ORIGIN[0] + 130, ORIGIN[1])
    geopandas.GeoDataFrame(geometry=[extent], crs=UTM).to_file(tmp_path / "area.gpkg")
    tile(spec_of(tmp_path / "my town.tif", labels, label_extent=str(tmp_path / "area.gpkg")))
    config = compose("buildings", [f"data.root={tmp_path / 'set'}"])
    expected = rasterize(houses().geometry, (300, 260), transform=at(0, 0), dtype="uint8")
    expected[260:] = UNLABELLED
    expected[:40] = 255
    found = index(tmp_path / "set").set_index("name")
    count = 0
    for split in SPLITS:
        for chip in load_split(config.data, split):
            row = found.loc[chip.name]
            place = np.s_[row.row : row.row + 64, row.col : row.col + 64]
            assert_array_equal(chip.labels, expected[place])
            known = expected[place] != 255
            assert_array_equal(chip.image[known], values[:, *place].transpose(1, 2, 0)[known])
            assert chip.gsd_m == pytest.approx(GSD_M, rel=1e-3)
            count += 1
    assert count == len(found)
    config.data.gsd_m = 0.9
    assert load_split(config.data, "val")[0].gsd_m == 0.9


# What cannot be used


def self_crossing() -> shapely.Polygon:
    x, y = ORIGIN
    return shapely.Polygon([(x + 5, y - 5), (x + 25, y - 25), (x + 25, y - 5), (x + 5, y - 25)])


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (self_crossing(), "Self-intersection"),
        (shapely.Polygon(), "empty geometry"),
        (None, "empty geometry"),
        (shapely.Point(ORIGIN[0] + 5, ORIGIN[1] - 5), "Point, not a polygon"),
    ],
)
def test_bad_features_stop_the_run_or_are_counted(scene: Path, shape: Any, reason: str) -> None:
    good = houses()
    path = scene.parent / "bad.parquet"
    shapes = [*good.geometry, shape]
    geopandas.GeoDataFrame(geometry=shapes, crs=UTM).to_parquet(path)
    with pytest.raises(InputError, match=f"1 bad feature, the first is number 41: {reason}"):
        tile(spec_of(scene, path))
    assert not (scene.parent / "set").exists()
    report = tile(spec_of(scene, path, skip_bad=True))
    assert report.bad_features == 1
    expected = rasterize(good.geometry, (300, 260), transform=at(0, 0), dtype="uint8")
    labels_equal(scene.parent / "set", expected)


def _elsewhere(folder: Path) -> dict[str, Any]:
    path = folder / "far.gpkg"
    moved = houses().translate(90_000)
    geopandas.GeoDataFrame(geometry=moved, crs=UTM).to_file(path)
    return {"labels": (str(path),)}


def _without_crs(folder: Path) -> dict[str, Any]:
    path = folder / "plain.fgb"
    houses().set_crs(None, allow_override=True).to_file(path)
    return {"labels": (str(path),)}


def _wrong_crs(folder: Path) -> dict[str, Any]:
    path = folder / "wrong.gpkg"
    houses().set_crs("EPSG:4326", allow_override=True).to_file(path)
    return {"labels": (str(path),)}


def _two_cases(folder: Path) -> dict[str, Any]:
    path = folder / "cases.gpkg"
    frame = houses(4)
    frame["kind"] = ["House", "house", "shed", "shed"]
    frame.to_file(path)
    return {"labels": (str(path),), "attribute": "kind"}


def _no_attribute(folder: Path) -> dict[str, Any]:
    houses().to_file(folder / "h.gpkg")
    return {"labels": (str(folder / "h.gpkg"),), "attribute": "type"}


def _no_such_class(folder: Path) -> dict[str, Any]:
    rule = ClassRule(id=1, name="tower", values=("tower",))
    return {**_no_attribute(folder), "attribute": "kind", "classes": (rule,)}


def _points(folder: Path) -> dict[str, Any]:
    points = houses().centroid
    geopandas.GeoDataFrame(geometry=points, crs=UTM).to_file(folder / "p.gpkg")
    return {"labels": (str(folder / "p.gpkg"),)}


def _text(folder: Path) -> dict[str, Any]:
    (folder / "l.geojson").write_text("{}")
    return {"labels": (str(folder / "l.geojson"),)}


def _other_size(folder: Path) -> dict[str, Any]:
    write_scene(folder / "photo.tif", crs=None)
    with rasterio.open(
        folder / "photo_mask.png", "w", driver="PNG", height=30, width=26, count=1, dtype="uint8"
    ) as mask:
        mask.write(np.ones((1, 30, 26), np.uint8))
    return {"scenes": (str(folder / "photo.tif"),), "labels": (str(folder / "photo_mask.png"),)}


def _extent_elsewhere(folder: Path) -> dict[str, Any]:
    houses().to_file(folder / "h.gpkg")
    return {"labels": (str(folder / "h.gpkg"),), "label_extent": _elsewhere(folder)["labels"][0]}


def _mask(path: Path, transform: Affine, **tags: str) -> dict[str, Any]:
    with rasterio.open(
        path, "w", driver="GTiff", height=300, width=260, count=1, dtype="uint8", crs=UTM,
        transform=transform,
    ) as mask:  # fmt: skip
        mask.write(rasterize(houses().geometry, (300, 260), transform=at(0, 0)), 1)
        mask.update_tags(**tags)
    return {"labels": (str(path),)}


def _mask_elsewhere(folder: Path) -> dict[str, Any]:
    return _mask(folder / "far_mask.tif", at(0, 90_000))


def _degrees_without_place(folder: Path) -> dict[str, Any]:
    write_scene(folder / "photo.tif", crs=None)
    houses().to_crs(4326).to_file(folder / "h.geojson")
    return {"scenes": (str(folder / "photo.tif"),), "labels": (str(folder / "h.geojson"),)}


def _classes_of_no_attribute(folder: Path) -> dict[str, Any]:
    houses().to_file(folder / "h.gpkg")
    rules = tuple(ClassRule(id=i, name=n, values=(n,)) for i, n in ((1, "house"), (2, "road")))
    return {"labels": (str(folder / "h.gpkg"),), "classes": rules}


def test_the_background_is_no_class_although_a_mask_names_it(scene: Path) -> None:
    tags = {"GEOTILER_CLASSES": '{"0": "background", "1": "house", "255": "unknown"}'}
    labels = _mask(scene.parent / "town_mask.tif", at(0, 0), **tags)["labels"]
    report = tile(spec_of(scene, Path(labels[0])))
    assert list(report.class_px) == ["house"]
    facts = json.loads((scene.parent / "set" / "dataset.json").read_text())
    assert facts["classes"] == {"1": "house"}


def test_the_scenes_resolution_can_be_said(scene: Path) -> None:
    tile(spec_of(scene, scene_gsd_m=(0.3, 0.3)))  # the flag goes before what the CRS says
    assert json.loads((scene.parent / "set" / "dataset.json").read_text())["gsd_m"] == 0.3


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (_mask_elsewhere, "do not overlap: the labels lie in"),
        (_degrees_without_place, "has no CRS: nobody knows where they meet"),
        (_classes_of_no_attribute, "no attribute of .* its attributes: kind"),
        (_elsewhere, "do not overlap: the labels lie in"),
        (_without_crs, "has no CRS"),
        (_wrong_crs, "do not overlap"),
        (_two_cases, "class names collide: 'House' and 'house'"),
        (_no_attribute, "its attributes: kind"),
        (_no_such_class, "values: house, road, shed"),
        (_points, "no polygons"),
        (_text, "cannot be read as a vector file"),
        (_other_size, "mask .* is 30 x 26 pixels .*, .* is 300 x 260"),
        (_extent_elsewhere, "and the scenes do not overlap"),
        (lambda _: {"labels": ("none.gpkg",)}, "no such file: none.gpkg"),
        (lambda _: {"scenes": ("none.tif",)}, "no such file: none.tif"),
        (lambda _: {"bands": (4,)}, "band 4 is not in"),
        (lambda _: {"min_valid": 1.0, "bands": (1,)}, None),
    ],
)
def test_labels_that_cannot_be_used(
    scene: Path, made: Callable[[Path], dict[str, Any]], message: str | None
) -> None:
    spec = replace(spec_of(scene), **made(scene.parent))
    if message is None:
        assert tile(spec).chips
        return
    with pytest.raises(GeotilerError, match=message) as caught:
        tile(spec)
    assert caught.value.exit_code in (2, 3)
    assert not spec.output.exists()


def test_scenes_that_differ_are_refused(tmp_path: Path) -> None:
    write_scene(tmp_path / "a.tif")
    write_scene(tmp_path / "b.tif", dtype="uint16")
    write_scene(tmp_path / "c.tif", crs=None)
    both = {"scenes": (str(tmp_path / "a.tif"), str(tmp_path / "b.tif"))}
    with pytest.raises(InputError, match="3 bands of uint16"):
        tile(spec_of(tmp_path / "a.tif", **both))
    both = {"scenes": (str(tmp_path / "a.tif"), str(tmp_path / "c.tif"))}
    with pytest.raises(InputError, match=r"c\.tif has no CRS"):
        tile(spec_of(tmp_path / "a.tif", **both))
    with pytest.raises(SpecError, match="its ground sample distance is not known"):
        tile(spec_of(tmp_path / "c.tif", gsd_m=(1.0, 1.0)))
    with pytest.raises(SpecError, match="given twice"):
        tile(spec_of(tmp_path / "a.tif", scenes=(str(tmp_path / "a.tif"),) * 2))


def test_a_truncated_scene_stops_the_run_or_is_nodata_there(scene: Path, tmp_path: Path) -> None:
    write_scene(scene, interleave="pixel")
    data = scene.read_bytes()
    broken = tmp_path / "broken.tif"
    broken.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cannot be (read|opened)"):
        tile(spec_of(broken))
    report = tile(spec_of(broken, skip_bad=True, output=tmp_path / "rest"))
    assert 0 < report.chips < 42
    both = spec_of(scene, scenes=(str(scene), "none.tif"), skip_bad=True, output=tmp_path / "one")
    assert tile(both).bad_scenes == 1


def test_nothing_left_leaves_nothing(tmp_path: Path) -> None:
    write_scene(tmp_path / "s.tif", valid=np.zeros((300, 260), bool))
    with pytest.raises(InputError, match="no chip is left of 36: 36 nodata"):
        tile(spec_of(tmp_path / "s.tif"))
    assert not (tmp_path / "set").exists()


def test_an_estimate_writes_nothing(scene: Path, labels: Path) -> None:
    found = estimate(spec_of(scene, labels))
    assert found.labels == {str(scene): [str(labels)]}
    assert not (scene.parent / "set").exists()
    assert tile(spec_of(scene, labels)).chips == found.chips
    json.dumps(found.as_dict())


# Memory


@pytest.fixture
def peak_of(tmp_path: Path) -> Callable[[int], int]:
    """Peak memory of tiling a scene of so many rows with as many polygons, in a fresh process."""

    def run(rows: int) -> int:
        path = tmp_path / f"tall{rows}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", height=rows, width=2048, count=3, dtype="uint8", crs=UTM,
            transform=at(0, 0), tiled=True, blockxsize=256, blockysize=256, SPARSE_OK=True,
        ):  # fmt: skip
            pass
        code = (
            "from pathlib import Path; from geotiler.specs import TileSpec;"
            "from geotiler.tasks.tile import tile;"
            f"r = tile(TileSpec(scenes=({str(path)!r},), output=Path({str(path)!r} + '_set')));"
            "print(r.peak_memory_bytes)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    return run


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scene(peak_of: Callable[[int], int]) -> None:
    assert peak_of(16_384) < peak_of(4096) + 40e6


@pytest.mark.slow
@pytest.mark.data
def test_a_real_scene(tmp_path: Path) -> None:
    root = os.environ.get("GEOTILER_DATA") or Path(__file__).resolve().parents[3] / "shared/data"
    scenes = Path(root) / "scenes"
    if not (scenes / "banepa_rgb.tif").is_file():
        pytest.skip(f"no real data: {scenes} has no banepa_rgb.tif")
    spec = TileSpec(
        scenes=(str(scenes / "banepa_rgb.tif"),),
        labels=(str(scenes / "banepa_buildings.geojson"),),
        output=tmp_path / "set", split=(0.7, 0.15, 0.15),
    )  # fmt: skip
    report: TileReport = tile(spec)
    assert report.chips == 63
    assert report.splits["train"] > report.splits["val"] > 0
    with rasterio.open(scenes / "banepa_rgb.tif") as scene:
        shape, transform = scene.shape, scene.transform
    shapes = geopandas.read_file(spec.labels[0]).to_crs(3857).geometry
    truth = rasterize(shapes, shape, transform=transform, dtype="uint8")
    labels_equal(tmp_path / "set", truth, "banepa_rgb")


def test_a_scene_of_tall_blocks_is_read_in_pieces(tmp_path: Path) -> None:
    """Memory must not grow with the scene because of how it is stored."""
    path, shape = tmp_path / "tall.tif", (5000, 16)
    with rasterio.open(
        path, "w", driver="GTiff", height=shape[0], width=shape[1], count=1, dtype="uint8",
        crs=UTM, transform=at(0, 0), blockysize=4000, compress="deflate",
    ) as scene:  # fmt: skip
        scene.write(np.full((1, *shape), 7, np.uint8))
    spec = TileSpec(scenes=(str(path),), output=tmp_path / "chips", tile_px=(625, 16), overlap_px=0)
    plan = plan_tile(spec, ChipFolder(spec.output, has_masks=False))
    assert plan.scenes[0].block_rows == 4000
    assert plan.scenes[0].chunk_rows <= 256
    assert tile(spec).chips == shape[0] // 625
