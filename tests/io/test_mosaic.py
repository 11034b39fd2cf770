"""Neighbouring rasters read as the raster that they were cut from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from geotiler.errors import InputError
from geotiler.io.fingerprint import scene_fingerprint
from geotiler.io.mosaic import mosaic_of
from geotiler.io.raster import open_scene
from geotiler.specs import Window

GRID = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
SHAPE = (120, 200)
WHOLE = Window(row=0, col=0, height=SHAPE[0], width=SHAPE[1])
CUTS = [(0, 0, 60, 90), (0, 90, 60, 110), (60, 0, 60, 90), (60, 90, 60, 110)]


def _write(path: Path, image: np.ndarray, place: tuple[int, int], **changes: Any) -> str:
    profile = {
        "driver": "GTiff", "crs": "EPSG:32633", "transform": GRID @ Affine.translation(*place),
        **changes,
    }  # fmt: skip
    count, height, width = image.shape
    with rasterio.open(
        path, "w", count=count, height=height, width=width, dtype=image.dtype, **profile
    ) as out:
        out.write(image)
        if count == 4:
            out.colorinterp = (
                ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha
            )  # fmt: skip
    return str(path)


def _image(count: int = 3, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 250, (count, *SHAPE)).astype(dtype)


def _cut(folder: Path, image: np.ndarray, leave_out: int = -1, **changes: Any) -> list[str]:
    return [
        _write(folder / f"t {n} ü.tif", image[:, r : r + h, c : c + w], (c, r), **changes)
        for n, (r, c, h, w) in enumerate(CUTS)
        if n != leave_out
    ]


@pytest.mark.parametrize(
    ("count", "dtype", "changes"),
    [(3, "uint8", {}), (4, "uint8", {}), (2, "uint16", {"nodata": 7}), (1, "float32", {}),
     (1, "float64", {"nodata": float("nan")})],
)  # fmt: skip
def test_cut_and_joined_is_the_whole(
    tmp_path: Path, count: int, dtype: str, changes: dict[str, Any]
) -> None:
    image = _image(count, dtype)
    whole = _write(tmp_path / "whole.tif", image, (0, 0), **changes)
    with open_scene(mosaic_of(_cut(tmp_path, image, **changes))) as joined, open_scene(
        whole
    ) as scene:  # fmt: skip
        assert (joined.shape, joined.dtypes, joined.crs) == (scene.shape, scene.dtypes, scene.crs)
        assert joined.transform.almost_equals(scene.transform)
        assert joined.band_names == scene.band_names
        bands = range(1, min(3, count) + 1)
        for found, expected in zip(
            joined.read_with_valid(WHOLE, list(bands)), scene.read_with_valid(WHOLE, list(bands)),
            strict=True,
        ):  # fmt: skip
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("nodata", [None, 0.0])
def test_a_gap_is_not_valid(tmp_path: Path, nodata: float | None) -> None:
    image = np.maximum(_image(), 1)
    with open_scene(mosaic_of(_cut(tmp_path, image, leave_out=1, nodata=nodata))) as joined:
        valid = joined.valid_mask(WHOLE)
    expected = np.ones(SHAPE, bool)
    expected[:60, 90:] = False
    np.testing.assert_array_equal(valid, expected)


def test_nodata_of_one_hides_nothing_of_another(tmp_path: Path) -> None:
    image = np.maximum(_image(), 1)
    below = _write(tmp_path / "a.tif", image, (0, 0), nodata=0)
    above = _write(tmp_path / "b.tif", np.zeros_like(image)[:, :50, :50], (10, 10), nodata=0)
    with open_scene(mosaic_of([below, above])) as joined:
        np.testing.assert_array_equal(joined.read(WHOLE), image)


def test_its_files_tell_it_from_others(tmp_path: Path) -> None:
    tiles = _cut(tmp_path, _image())
    with open_scene(mosaic_of(tiles)) as joined:
        files = scene_fingerprint(joined)["file"]
    assert {Path(item["path"]).name for item in files} == {Path(tile).name for tile in tiles}


def test_what_virtual_rasters_are_made_of_tells_them_apart(tmp_path: Path) -> None:
    """GDAL lists the files of the first level only."""
    tiles = _cut(tmp_path, _image())
    inner = tmp_path / "inner.vrt"
    inner.write_text(mosaic_of(tiles))
    for hash_content in (False, True):
        with open_scene(mosaic_of([str(inner)])) as joined:
            before = scene_fingerprint(joined, hash_content)
        content = bytearray(Path(tiles[0]).read_bytes())
        content[-1] ^= 1
        Path(tiles[0]).write_bytes(content)
        with open_scene(mosaic_of([str(inner)])) as joined:
            assert scene_fingerprint(joined, hash_content)["file"] != before["file"]


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "CRS": ({"crs": "EPSG:32634"}, "CRS"),
    "nodata": ({"nodata": 3}, "nodata"),
    "size": ({"transform": GRID @ Affine.scale(1.1)}, "pixel grid"),
    "turned": ({"transform": GRID @ Affine.rotation(5)}, "pixel grid"),
    "half a pixel": ({"transform": GRID @ Affine.translation(0.5, 0)}, "pixel grid"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_does_not_fit_is_refused(tmp_path: Path, kind: str) -> None:
    changes, reason = OTHERS[kind]
    first = _write(tmp_path / "a.tif", _image(), (0, 0))
    other = _write(tmp_path / "b.tif", _image(), (200, 0), **changes)
    with pytest.raises(InputError, match=reason):
        mosaic_of([first, other])


def test_bands_and_types_have_to_be_the_same(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.tif", _image(), (0, 0))
    for other in (_image(4), _image(3, "uint16")):
        with pytest.raises(InputError, match="no mosaic"):
            mosaic_of([first, _write(tmp_path / "b.tif", other, (200, 0))])
