"""Which bands a model is given, and what is said of rasters that are no pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geotiler.errors import InputError, SpecError
from geotiler.io.raster import open_scene
from geotiler.io.scene_values import bands_for, no_crs_notice
from geotiler.specs import VectorizeSpec
from geotiler.tasks.vectorize import vectorize

RGB = ("red", "green", "blue")
RANDOM = np.random.default_rng(4)
GRID = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def _write(path: Path, values: NDArray[np.uint8], *, palette: bool = False) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=values.shape[0], width=values.shape[1],
        dtype=values.dtype, crs="EPSG:32633", transform=GRID,
    ) as out:  # fmt: skip
        out.write(values[None])
        if palette:
            out.write_colormap(1, {key: (key, 9, 9, 255) for key in range(256)})
    return str(path)


def _blocks(kinds: list[int]) -> NDArray[np.uint8]:
    """300 × 300 pixels of classes in squares of 30."""
    return np.kron(RANDOM.choice(kinds, (10, 10)), np.ones((30, 30))).astype(np.uint8)


@pytest.mark.parametrize(
    ("kinds", "told"),
    [([0, 255], "0, 255"), ([0, 1], "0, 1"), ([*range(10, 101, 10), 95], "10, 20")],
)
def test_a_map_of_classes_is_told_what_takes_it(
    tmp_path: Path, kinds: list[int], told: str
) -> None:
    path = _write(tmp_path / "mask.tif", _blocks(kinds))
    with open_scene(path) as scene:
        with pytest.raises(SpecError, match=f"only the values {told}") as caught:
            bands_for(scene, RGB, None, "m")
        assert caught.value.hint is not None
        assert "geotiler vectorize" in caught.value.hint
        assert "--bands" not in str(caught.value)
        assert bands_for(scene, RGB, (1, 1, 1), "m") == (1, 1, 1)  # whoever insists
    report = vectorize(VectorizeSpec(mask=path, output=str(tmp_path / "m.gpkg")))
    assert report.polygons


def test_a_map_with_colours_is_too(tmp_path: Path) -> None:
    path = _write(tmp_path / "map.tif", _blocks([1, 2, 3]), palette=True)
    with open_scene(path) as scene, pytest.raises(InputError, match="geotiler vectorize"):
        bands_for(scene, RGB, None, "m")


@pytest.mark.parametrize("brightest", [60, 255])
def test_a_picture_in_gray_is_asked_for_its_bands(tmp_path: Path, brightest: int) -> None:
    gray = np.clip(RANDOM.normal(brightest / 2, brightest / 6, (300, 300)), 0, brightest)
    path = _write(tmp_path / "gray.tif", gray.astype(np.uint8))
    with open_scene(path) as scene, pytest.raises(SpecError, match="--bands 1,1,1") as caught:
        bands_for(scene, RGB, None, "m")
    assert "gamble" in str(caught.value)


@pytest.mark.parametrize(("count", "is_gamble"), [(2, True), (5, False)])
def test_bands_that_are_not_there_are_no_question_of_their_order(
    tmp_path: Path, count: int, is_gamble: bool
) -> None:
    path = tmp_path / "bands.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=50, width=50, dtype="uint16",
        crs="EPSG:32633", transform=GRID, photometric="MINISBLACK",
    ) as out:  # fmt: skip
        out.write(RANDOM.integers(0, 9999, (count, 50, 50), dtype=np.uint16))
    with open_scene(str(path)) as scene, pytest.raises(SpecError) as caught:
        bands_for(scene, RGB, None, "m")
    assert ("gamble" in str(caught.value)) == is_gamble
    assert ("--bands 1,2,3" in str(caught.value)) != is_gamble


def test_a_scene_without_crs_says_how_long_its_pixels_may_be(tmp_path: Path) -> None:
    image = RANDOM.integers(0, 256, (3, 20, 30), dtype=np.uint8)
    profile = {"count": 3, "height": 20, "width": 30, "dtype": "uint8"}
    for name, driver, transform in (
        ("plain.png", "PNG", None),
        ("placed.tif", "GTiff", Affine(0.3, 0, 9, 0, -0.25, 9)),
        ("turned.tif", "GTiff", Affine.rotation(30) @ Affine.scale(0.2, -0.2)),
        ("same.tif", "GTiff", Affine(0.501, 0, 9, 0, -0.5, 9)),
    ):
        placed = {} if transform is None else {"transform": transform}
        with rasterio.open(tmp_path / name, "w", driver=driver, **profile, **placed) as out:
            out.write(image)
    (tmp_path / "beside.png").write_bytes((tmp_path / "plain.png").read_bytes())
    (tmp_path / "beside.pgw").write_text("0.149\n0\n0\n-0.149\n1000\n2000\n")
    told = {}
    for path in [*tmp_path.glob("*.png"), *tmp_path.glob("*.tif")]:
        with open_scene(str(path)) as scene:
            told[path.stem] = no_crs_notice(scene, 0.5, "--scene-gsd").removeprefix(
                f"{path} has no CRS: taken at the model's 0.5 m per pixel; "
            )
    assert told == {
        "plain": "--scene-gsd says otherwise",
        "same": "--scene-gsd says otherwise",
        "beside": "its world file says 0.149 per pixel: --scene-gsd 0.149 if those are metres",
        "placed": "its transform says 0.3,0.25 per pixel: --scene-gsd 0.3,0.25 if those are metres",
        "turned": "its transform says 0.2 per pixel: --scene-gsd 0.2 if those are metres",
    }
