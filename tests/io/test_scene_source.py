"""Sentinel-2 products and separate band files read as one scene, with what their formats omit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geotiler.errors import InputError, SpecError
from geotiler.io.dn_offset import DnOffset, dn_offset
from geotiler.io.scene_source import band_name, scene_source
from geotiler.specs import Window

Product = Callable[..., Path]
SHAPE = (200, 150)
WINDOW = Window(row=40, col=30, height=100, width=80)


@pytest.fixture
def values() -> NDArray[np.uint16]:
    """(row, col, band) of red, green, blue; the upper left corner was not seen."""
    random = np.random.default_rng(5)
    found = random.integers(1001, 4000, (*SHAPE, 3), dtype=np.uint16)
    found[:60, :60] = 0
    return found


def _band_files(metadata: Path) -> list[str]:
    return sorted(str(path) for path in metadata.parent.glob("GRANULE/*/IMG_DATA/**/*.jp2"))


def _subdataset(metadata: Path, level: str) -> str:
    return f"SENTINEL2_{level}:{metadata}:10m:EPSG_32633"


def _found(inputs: list[str]) -> tuple[NDArray[Any], NDArray[np.bool_], DnOffset | None]:
    """Red, green, blue of a window with what is valid, and the offset."""
    source = scene_source(inputs)
    with source.open() as scene:
        bands = [scene.band_names.index(name) + 1 for name in ("red", "green", "blue")]
        pixels, valid = scene.read_with_valid(WINDOW, bands)
        return pixels, valid, dn_offset(scene, source, bands)


@pytest.mark.parametrize("level", ["L1C", "L2A"])
@pytest.mark.parametrize("kind", ["files", "subdataset"])
@pytest.mark.parametrize("offset", [-1000, -900, None])
def test_a_product_is_its_colours_its_nodata_and_its_offset(
    make_product: Product, values: NDArray[np.uint16], tmp_path: Path,
    level: str, kind: str, offset: int | None,
) -> None:  # fmt: skip
    metadata = make_product(tmp_path, values, level=level, offset=offset)
    # The files in the order of the alphabet: blue, green, red.
    inputs = _band_files(metadata) if kind == "files" else [_subdataset(metadata, level)]
    pixels, valid, found = _found(inputs)
    rows, cols = WINDOW.slices
    np.testing.assert_array_equal(pixels, values[rows, cols].transpose(2, 0, 1))
    np.testing.assert_array_equal(valid, values[rows, cols, 0] != 0)
    assert (found.value if found else 0.0) == (offset or 0)


def test_blocks_are_those_of_the_images(
    make_product: Product, values: NDArray[np.uint16], tmp_path: Path
) -> None:
    """Read in rows of other blocks, each image would be decoded several times."""
    metadata = make_product(tmp_path, values)
    for inputs in (_band_files(metadata), [_subdataset(metadata, "L2A")]):
        with scene_source(inputs).open() as scene:
            assert scene.block_shape[0] == 128
            assert scene.block_rows(256) == 256


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_a_product_named_as_a_whole_is_its_10_m_bands(
    make_product: Product, values: NDArray[np.uint16], tmp_path: Path, level: str
) -> None:
    metadata = make_product(tmp_path, values, level=level)
    for name in (metadata, metadata.parent):
        source = scene_source([str(name)])
        assert source.name == str(name)
        pixels, valid, found = _found([str(name)])
        rows, cols = WINDOW.slices
        np.testing.assert_array_equal(pixels, values[rows, cols].transpose(2, 0, 1))
        np.testing.assert_array_equal(valid, values[rows, cols, 0] != 0)
        assert found is not None
        assert found.value == -1000


def _write(path: Path, bands: int = 1, side: int = 64, **changes: Any) -> str:
    profile = {"crs": "EPSG:32633", "transform": Affine(10, 0, 0, 0, -10, 0), **changes}
    scales, offsets = profile.pop("scales", None), profile.pop("offsets", None)
    dtype = profile.pop("dtype", "uint16")
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=side, width=side, dtype=dtype, **profile
    ) as file:
        file.write(np.full((bands, side, side), 7, dtype))
        if offsets:
            file.scales, file.offsets = scales, offsets
    return str(path)


def test_files_without_telling_names_keep_their_order(tmp_path: Path) -> None:
    source = scene_source([_write(tmp_path / f"{name}.tif") for name in "abc"])
    with source.open() as scene:
        assert (scene.count, scene.path) == (3, f"{tmp_path / 'a.tif'} and 2 more")
        assert set(scene.band_names) == {None}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bands": 3}, "holds one band"),
        ({"side": 32}, "B04, B03 and B02"),
        ({"crs": "EPSG:32632"}, "grid of"),
        ({"transform": Affine(10, 0, 5, 0, -10, 0)}, "grid of"),
    ],
)
def test_files_that_are_no_scene_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    first, other = _write(tmp_path / "a.tif"), _write(tmp_path / "b.tif", **changes)
    with pytest.raises(InputError, match=reason):
        scene_source([first, other])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("T33UUP_20230601T100601_B04_10m.jp2", "B04"),
        ("T33UUP_20230601T100601_B8A.jp2", "B8A"),
        ("B02.tif", "B02"),
        ("HLS.S30.T17SLU.2020.B03.tif", "B03"),
        ("LC08_B4.TIF", None),
        ("B040.tif", None),
        ("B13.tif", None),
        ("scene.tif", None),
    ],
)
def test_names_of_band_files(name: str, expected: str | None) -> None:
    assert band_name(f"/somewhere/B01/{name}") == expected


def _offset(path: str, bands: tuple[int, ...] = (1, 2, 3)) -> DnOffset | None:
    source = scene_source([path])
    with source.open() as scene:
        return dn_offset(scene, source, bands)


def test_scale_and_offset_of_the_bands(tmp_path: Path) -> None:
    path = _write(tmp_path / "s.tif", 3, scales=(1e-4,) * 3, offsets=(-0.1,) * 3)
    assert _offset(path) == DnOffset(value=-1000.0, origin="band offset")
    path = _write(tmp_path / "b.tif", 3, dtype="uint8", scales=(1e-4,) * 3, offsets=(-0.1,) * 3)
    assert _offset(path) is None
    path = _write(tmp_path / "d.tif", 3, scales=(1.0,) * 3, offsets=(-1000.0, -1000.0, -900.0))
    with pytest.raises(SpecError, match="--dn-offset"):
        _offset(path)
    assert _offset(path, (1, 2)) == DnOffset(value=-1000.0, origin="band offset")


BAND = {"scale": 0.0001, "offset": -0.1}
PREFIXED = {"raster:scale": 0.0001, "raster:offset": -0.1}


@pytest.mark.parametrize(
    ("asset", "properties", "expected"),
    [
        ({"raster:bands": [BAND] * 3}, {}, -1000.0),
        ({"bands": [PREFIXED] * 3}, {}, -1000.0),
        ({"bands": [{}] * 3, **PREFIXED}, {}, -1000.0),
        ({"raster:bands": [{"offset": -50}] * 3}, {}, -50.0),
        ({"raster:bands": [BAND] * 3}, {"earthsearch:boa_offset_applied": True}, 0.0),
        ({"raster:bands": [BAND] * 3}, {"earthsearch:boa_offset_applied": False}, -1000.0),
        ({}, {}, None),
    ],
)
def test_a_stac_item_beside_the_file(
    tmp_path: Path, asset: dict[str, Any], properties: dict[str, Any], expected: float | None
) -> None:
    path = _write(tmp_path / "s.tif", 3)
    item = {
        "type": "Feature", "stac_version": "1.0.0", "properties": properties,
        "assets": {"visual": {"href": "other.tif", "raster:bands": [{"offset": -7}]},
                   "data": {"href": "https://example.org/x/s.tif?key=1", **asset}},
    }  # fmt: skip
    (tmp_path / "a.json").write_text("no JSON")
    (tmp_path / "b.json").write_text('["no item"]')
    (tmp_path / "item.json").write_text(json.dumps(item))
    found = _offset(path)
    assert (found.value if found else None) == expected
    assert found is None or found.origin == "STAC item"
