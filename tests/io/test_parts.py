"""Parts become one raster, valid and whole, that tells nothing of how it was made."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rio_cogeo.cogeo import cog_validate

from geotiler.errors import OutputError, SpecError
from geotiler.io.part_layout import Part, RasterLayout, in_memory, raster_driver
from geotiler.io.parts import Parts, PartsInMemory, hold_parts
from geotiler.io.raster import open_scene


def _layout(shape: tuple[int, int], **changes: Any) -> RasterLayout:
    values: dict[str, Any] = {
        "shape": shape,
        "dtype": "uint8",
        "nodata": 255.0,
        "transform": Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000),
        "crs": CRS.from_epsg(32633),
        "bands": ("class",),
        "colours": {0: (240, 240, 240), 1: (200, 30, 20)},
        "tags": {"GEOTILER_CLASSES": '{"1": "building <&>"}'},
    }
    return RasterLayout(**{**values, **changes})


def _assemble(
    target: Path,
    layout: RasterLayout,
    values: np.ndarray,
    rows: list[int] | None = None,
    cols: list[int] | None = None,
) -> None:
    """Store values in parts cut at rows and columns, and put them together."""
    folder = hold_parts(target)
    parts = Parts(target, layout)
    placed = _store(parts, values, rows or [], cols or [])
    assert not target.exists()
    parts.assemble(placed, overwrite=False)
    folder.remove()


def _store(parts: Parts, values: np.ndarray, rows: list[int], cols: list[int]) -> list[Part]:
    placed = []
    for left, right in zip([0, *cols], [*cols, values.shape[2]], strict=True):
        for top, bottom in zip([0, *rows], [*rows, values.shape[1]], strict=True):
            placed.append(parts.write(top, left, values[:, top:bottom, left:right]))
    return placed


@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 700)),
    cuts=st.tuples(st.lists(st.integers(1, 89)), st.lists(st.integers(1, 699))),
    bands=st.integers(1, 3),
    is_float=st.booleans(),
)
@settings(max_examples=25)
def test_the_parts_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int],
    cuts: tuple[list[int], list[int]],
    bands: int,
    is_float: bool,
) -> None:
    target = tmp_path_factory.mktemp("whole") / "mask.tif"
    dtype, nodata = ("float32", float("nan")) if is_float else ("uint8", 255.0)
    layout = _layout(
        shape,
        dtype=dtype,
        nodata=nodata,
        bands=tuple("abc"[:bands]),
        colours={} if is_float or bands > 1 else {0: (1, 2, 3)},
    )
    values = np.random.default_rng(sum(shape)).integers(0, 256, (bands, *shape)).astype(dtype)
    if is_float:
        values[:, 0, 0] = np.nan
    rows, cols = (sorted({c for c in cut if c < n}) for cut, n in zip(cuts, shape, strict=True))
    _assemble(target, layout, values, rows, cols)
    with rasterio.open(target) as found:
        np.testing.assert_array_equal(found.read(), values)
        assert found.descriptions == layout.bands
        assert found.nodatavals == pytest.approx((nodata,) * bands, nan_ok=True)
        assert found.transform == layout.transform
        assert found.crs == layout.crs
    assert sorted(entry.name for entry in target.parent.iterdir()) == ["mask.qml", "mask.tif"]


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (900, 3), (600, 1300)])
def test_it_is_a_cloud_optimized_geotiff(tmp_path: Path, shape: tuple[int, int]) -> None:
    _assemble(tmp_path / "mask.tif", _layout(shape), np.ones((1, *shape), np.uint8), [], [])
    valid, errors, warnings = cog_validate(str(tmp_path / "mask.tif"), strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(tmp_path / "mask.tif") as found:
        assert found.colormap(1)[1] == (200, 30, 20, 255)
        assert found.tags()["GEOTILER_CLASSES"] == '{"1": "building <&>"}'


def test_overviews_of_classes_hold_no_class_in_between(tmp_path: Path) -> None:
    mask = np.zeros((1, 1100, 1100), np.uint8)
    mask[:, :, 333:] = 9
    mask[:, 700:, :] = 255
    _assemble(tmp_path / "mask.tif", _layout((1100, 1100), colours={}), mask, [512], [])
    with rasterio.open(tmp_path / "mask.tif", overview_level=0) as found:
        assert set(np.unique(found.read())) <= {0, 9, 255}


@pytest.mark.parametrize("crs", [None, CRS.from_epsg(4326)])
@pytest.mark.parametrize(
    "transform",
    [Affine.identity(), Affine.rotation(30) @ Affine.scale(0.5, -0.5), Affine(2, 0, 9, 0, -2, 7)],
)
def test_grids_are_kept(tmp_path: Path, crs: CRS | None, transform: Affine) -> None:
    _assemble(
        tmp_path / "mask.tif",
        _layout((5, 6), crs=crs, transform=transform),
        np.zeros((1, 5, 6), np.uint8),
        [],
        [],
    )
    with rasterio.open(tmp_path / "mask.tif") as found:
        assert found.transform.almost_equals(transform, 1e-12)
        assert found.crs == crs


@pytest.mark.parametrize("is_placed", [True, False])
@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".tif", "uint8"), (".tif", "float32"), (".png", "uint8")]
)
def test_parts_in_memory_become_the_same_file(
    tmp_path: Path, dtype: str, suffix: str, is_placed: bool
) -> None:
    values = np.random.default_rng(3).integers(0, 256, (1, 70, 90)).astype(dtype)
    layout = _layout(
        (70, 90),
        dtype=dtype,
        colours={} if dtype == "float32" else {1: (1, 2, 3)},
        scale=0.5 if dtype == "float32" else None,
        **({} if is_placed else {"crs": None, "transform": Affine.identity()}),
    )
    (tmp_path / "disk").mkdir()
    (tmp_path / "memory").mkdir()
    _assemble(tmp_path / "disk" / f"m{suffix}", layout, values, [13, 40], [31])
    target = tmp_path / "memory" / f"m{suffix}"
    parts = PartsInMemory(target, layout)
    placed = _store(parts, values, [13, 40], [31])
    values[:] = 0  # what was given may be used again
    assert not list(target.parent.iterdir())
    assert parts.kept(placed) == set(placed)
    assert not PartsInMemory(target, layout).kept(placed)
    parts.assemble(placed, overwrite=False)
    found, expected = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (target.parent, tmp_path / "disk")
    )
    assert found == expected


def test_several_bands_of_a_part_of_a_scene_in_memory_too(tmp_path: Path) -> None:
    values = np.random.default_rng(5).random((3, 70, 90), np.float32)
    values[:, 3:9, 4:8] = np.nan
    layout = _layout(
        (70, 90), dtype="float32", nodata=float("nan"), bands=("a", "", "c"), origin=(30, 50),
        colours={}, categorical=False,
    )  # fmt: skip
    found = {}
    for kind in (Parts, PartsInMemory):
        target = tmp_path / kind.__name__ / "m.tif"
        target.parent.mkdir()
        folder = hold_parts(target)
        parts = kind(target, layout)
        placed = [parts.write(30, 50, values[:, :20]), parts.write(50, 50, values[:, 20:])]
        parts.assemble(placed, overwrite=False)
        folder.remove()
        found[kind] = {path.name: path.read_bytes() for path in target.parent.iterdir()}
    assert found[Parts] == found[PartsInMemory]


def test_a_raster_in_memory_lets_other_threads_open_theirs(tmp_path: Path) -> None:
    _assemble(tmp_path / "other.tif", _layout((5, 6)), np.zeros((1, 5, 6), np.uint8))
    opened = threading.Event()

    def other() -> None:
        with open_scene(str(tmp_path / "other.tif")):
            opened.set()

    layout = _layout((3, 4), crs=None, transform=Affine.identity())
    with in_memory(layout, np.zeros((1, 3, 4), np.uint8)):
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        assert opened.wait(10)
    thread.join()


def test_a_png_too(tmp_path: Path) -> None:
    mask = np.array([[[0, 1, 255]]], np.uint8)
    _assemble(
        tmp_path / "mask.png", _layout((1, 3), crs=None, transform=Affine.identity()), mask, [], []
    )
    with rasterio.open(tmp_path / "mask.png") as found:
        assert found.driver == "PNG"
        np.testing.assert_array_equal(found.read(), mask)
        assert found.colormap(1)[1][:3] == (200, 30, 20)


@pytest.mark.parametrize("name", ["mask.jpg", "mask", "mask.shp", "mask.tif.gz"])
def test_other_formats_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"\.tif"):
        raster_driver(Path(name))


def test_a_finished_scale_is_kept(tmp_path: Path) -> None:
    layout = _layout((4, 4), scale=1 / 254, colours={}, categorical=False)
    _assemble(tmp_path / "p.tif", layout, np.full((1, 4, 4), 127, np.uint8), [], [])
    with rasterio.open(tmp_path / "p.tif") as found:
        assert found.scales == (1 / 254,)


def test_the_same_parts_make_the_same_bytes_anywhere(tmp_path: Path) -> None:
    contents = []
    for folder, cuts in (("here", []), ("there and longer", [100, 333])):
        (tmp_path / folder).mkdir()
        target = tmp_path / folder / "mask.tif"
        values = np.random.default_rng(1).integers(0, 2, (1, 600, 700)).astype(np.uint8)
        _assemble(target, _layout((600, 700)), values, cuts)
        contents.append(target.read_bytes())
    assert contents[0] == contents[1]
    assert str(tmp_path).encode() not in contents[0]


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "mask.tif"
    folder = hold_parts(target)
    Parts(target, _layout((4, 4))).write(0, 0, np.zeros((1, 4, 4), np.uint8))
    folder.leave()
    again = hold_parts(target)
    assert [entry.name for entry in again.entries()] == ["r000000000-c000000000.tif"]
    again.leave()
    (again.path / "holiday.jpg").write_text("mine")
    with pytest.raises(OutputError, match=r"holiday\.jpg"):
        hold_parts(target)
    assert (again.path / "holiday.jpg").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "mask.tif.parts").write_text("a file")
    with pytest.raises(OutputError, match="cannot be made"):
        hold_parts(tmp_path / "mask.tif")
    with pytest.raises(OutputError, match="cannot be made"):
        hold_parts(Path("/proc/mask.tif"))


def test_an_existing_target_is_kept_to_the_end(tmp_path: Path) -> None:
    target = tmp_path / "mask.tif"
    folder = hold_parts(target)
    parts = Parts(target, _layout((4, 4)))
    part = parts.write(0, 0, np.zeros((1, 4, 4), np.uint8))
    target.write_text("old")
    with pytest.raises(OutputError, match="--overwrite"):
        parts.assemble([part], overwrite=False)
    assert target.read_text() == "old"
    folder.remove()
    assert [entry.name for entry in tmp_path.iterdir()] == ["mask.tif"]


def test_damaged_parts_are_told_and_leave_no_target(tmp_path: Path) -> None:
    target = tmp_path / "mask.tif"
    folder = hold_parts(target)
    parts = Parts(target, _layout((90, 90)))
    values = np.random.default_rng(0).integers(0, 255, (1, 90, 90)).astype(np.uint8)
    part = parts.write(0, 0, values)
    assert parts.holds(part)
    (file,) = parts.folder.glob("r*.tif")
    file.write_bytes(file.read_bytes()[:400])
    assert not parts.holds(part)
    with pytest.raises(OutputError, match="was changed since it was written"):
        parts.assemble([part], overwrite=False)
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_parts_of_another_run_are_not_assembled(tmp_path: Path) -> None:
    """A worker of a cluster that was not told of the end writes where the next run does."""
    target = tmp_path / "mask.tif"
    folder = hold_parts(target)
    parts = Parts(target, _layout((90, 90)))
    part = parts.write(0, 0, np.zeros((1, 90, 90), np.uint8))
    parts.write(0, 0, np.ones((1, 90, 90), np.uint8))
    with pytest.raises(OutputError, match="was changed since it was written"):
        parts.assemble([part], overwrite=False)
    assert not target.exists()
    folder.remove()


def test_a_hole_between_parts_is_no_nodata(tmp_path: Path) -> None:
    target = tmp_path / "mask.tif"
    folder = hold_parts(target)
    parts = Parts(target, _layout((90, 90)))
    part = parts.write(0, 0, np.zeros((1, 60, 90), np.uint8))
    with pytest.raises(ValueError, match="do not cover"):
        parts.assemble([part], overwrite=False)
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_its_own_output_is_known_again(tmp_path: Path) -> None:
    target = tmp_path / "mask.tif"
    layout = _layout((40, 50))
    assert not Parts(target, layout).is_finished()
    _assemble(target, layout, np.zeros((1, 40, 50), np.uint8))
    assert Parts(target, layout).is_finished()
    for other in ({"tags": {"GEOTILER_CLASSES": "{}"}}, {"crs": None}, {"bands": ("a", "b")}):
        assert not Parts(target, _layout((40, 50), **other)).is_finished()
    assert not Parts(target, _layout((41, 50))).is_finished()
