"""Chips on disk: what other readers see, and files that are whole or absent."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.testing import assert_array_equal
from rasterio.crs import CRS

from geotiler.errors import OutputError
from geotiler.io.chips import ChipPlace, image_bytes, mask_bytes, write_bytes
from geotiler.io.raster import open_scene
from geotiler.specs import Window

PLACE = ChipPlace(
    name="chip", transform=Affine(0.5, 0, 400_000, 0, -0.5, 5_500_000), crs=CRS.from_epsg(32633)
)
WHOLE = Window(row=0, col=0, height=40, width=50)


@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize("every", [True, False])
def test_an_image_is_read_alike_by_opencv_and_gdal(tmp_path: Path, count: int, every: bool) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (count, 40, 50), dtype=np.uint8)
    valid = np.ones((40, 50), bool) if every else rng.random((40, 50)) > 0.4
    path = tmp_path / "chip.tif"
    write_bytes(path, image_bytes(values, valid, PLACE, ["red", "green", "blue", "nir"][:count]))
    with open_scene(str(path)) as chip:
        got, known = chip.read_with_valid(WHOLE)
        assert_array_equal(got, values)
        assert_array_equal(known, valid)
        assert chip.band_names == ("red", "green", "blue", "nir")[:count]
        assert chip.transform == PLACE.transform
        assert chip.crs == PLACE.crs
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    assert_array_equal(picture, values[[0, 1, 2] if count >= 3 else [0, 0, 0]].transpose(1, 2, 0))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64", "int32"])
def test_every_type_is_lossless(tmp_path: Path, dtype: str) -> None:
    values = (np.random.default_rng(1).random((2, 40, 50)) * 30_000).astype(dtype)
    write_bytes(tmp_path / "c.tif", image_bytes(values, np.ones((40, 50), bool), PLACE))
    with rasterio.open(tmp_path / "c.tif") as chip:
        assert_array_equal(chip.read(), values)
        assert chip.dtypes[0] == dtype


def test_a_mask_names_its_classes_and_what_is_unknown(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    write_bytes(tmp_path / "m.tif", mask_bytes(labels, PLACE, {2: "Straße", 1: "house"}))
    with open_scene(str(tmp_path / "m.tif")) as mask:
        assert mask.class_names == {1: "house", 2: "Straße"}
        assert mask.nodata == 255
    assert mask_bytes(labels, PLACE, {1: "a", 2: "b"}) == mask_bytes(
        labels, PLACE, {2: "b", 1: "a"}
    )


def test_a_file_is_replaced_or_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chip.tif"
    write_bytes(path, b"old")
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        real(self, data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="disk is full"):
        write_bytes(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]
