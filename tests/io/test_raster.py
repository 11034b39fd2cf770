"""Rasters are read as they are stored, and every pixel that says nothing is known as such."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.shutil import copy as copy_raster

from geotiler.errors import InputError, SpecError
from geotiler.io.cache import CACHE_BYTES
from geotiler.io.raster import Scene, open_scene
from geotiler.io.scene_reader import SceneReader
from geotiler.specs import Window

SHAPE = (40, 60)
WHOLE = Window(row=0, col=0, height=40, width=60)
RNG = np.random.default_rng(5)
IMAGE = RNG.integers(1, 255, (3, *SHAPE), dtype=np.uint8)
HOLE = (slice(5, 12), slice(20, 41))


def _write(path: Path, image: np.ndarray = IMAGE, **profile: Any) -> Path:
    mask = profile.pop("mask", None)
    colours = profile.pop("colours", None)
    names = profile.pop("names", None)
    settings = {"driver": "GTiff", "dtype": image.dtype, "count": len(image), **profile}
    height, width = image.shape[1:]
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", height=height, width=width, **settings) as out,
    ):
        out.write(image)
        if colours:
            out.colorinterp = colours
        if names:
            out.descriptions = names
        if mask is not None:
            out.write_mask(mask)
    return path


def _with_hole(dtype: str, value: float) -> np.ndarray:
    image = IMAGE.astype(dtype)
    image[:, *HOLE] = value
    return image


def _rgba() -> tuple[ColorInterp, ...]:
    return ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha


def _alpha(path: Path, **profile: Any) -> Path:
    alpha = np.full((1, *SHAPE), 255, np.uint8)
    alpha[:, *HOLE] = 0
    return _write(path, np.concatenate([IMAGE, alpha]), colours=_rgba(), **profile)


def _virtual_mask(path: Path) -> Path:
    """A virtual raster whose mask belongs to one band only."""
    mask = np.full((1, *SHAPE), 255, np.uint8)
    mask[:, *HOLE] = 0
    _write(path.with_name("pixels.tif"), IMAGE[:1])
    _write(path.with_name("mask.tif"), mask)
    source = "<SimpleSource><SourceFilename relativeToVRT='1'>{}</SourceFilename></SimpleSource>"
    path = path.with_suffix(".vrt")
    path.write_text(
        "<VRTDataset rasterXSize='60' rasterYSize='40'><VRTRasterBand dataType='Byte' band='1'>"
        f"{source.format('pixels.tif')}<MaskBand><VRTRasterBand dataType='Byte'>"
        f"{source.format('mask.tif')}</VRTRasterBand></MaskBand></VRTRasterBand></VRTDataset>"
    )
    return path


def _internal_mask(path: Path) -> Path:
    mask = np.full(SHAPE, 255, np.uint8)
    mask[HOLE] = 0
    return _write(path, mask=mask)


HOLES: dict[str, Callable[[Path], Path]] = {
    "nodata": lambda path: _write(path, _with_hole("uint8", 0), nodata=0),
    "uint16 nodata": lambda path: _write(path, _with_hole("uint16", 65535), nodata=65535),
    "int32 nodata": lambda path: _write(path, _with_hole("int32", -(2**31)), nodata=-(2**31)),
    "float nodata": lambda path: _write(
        path, _with_hole("float32", -3.4028234663852886e38), nodata=-3.4028234663852886e38
    ),
    "inexact nodata": lambda path: _write(path, _with_hole("float32", -9999.9), nodata=-9999.9),
    "NaN": lambda path: _write(path, _with_hole("float32", np.nan)),
    "NaN nodata": lambda path: _write(path, _with_hole("float64", np.nan), nodata=np.nan),
    "infinity": lambda path: _write(path, _with_hole("float32", np.inf)),
    "alpha": _alpha,
    "alpha beside a nodata value": lambda path: _alpha(path, nodata=255),
    "internal mask": _internal_mask,
    "mask of a band": _virtual_mask,
}


@pytest.mark.parametrize("kind", HOLES)
def test_a_hole_is_a_hole_however_it_is_stored(tmp_path: Path, kind: str) -> None:
    expected = np.ones(SHAPE, bool)
    expected[HOLE] = False
    with open_scene(str(HOLES[kind](tmp_path / "scene.tif"))) as scene:
        bands = range(1, min(3, scene.count) + 1)
        if "beside" in kind:  # the nodata value of the alpha band itself is not asked for
            expected &= (scene.read(WHOLE, [1, 2, 3]) != 255).all(axis=0)
        np.testing.assert_array_equal(scene.valid_mask(WHOLE, bands), expected)
        window = Window(row=3, col=17, height=20, width=30)
        np.testing.assert_array_equal(scene.valid_mask(window, bands), expected[window.slices])


def test_only_the_chosen_bands_decide(tmp_path: Path) -> None:
    image = IMAGE.copy()
    image[2, *HOLE] = 0
    with open_scene(str(_write(tmp_path / "scene.tif", image, nodata=0))) as scene:
        assert scene.valid_mask(WHOLE, [1, 2]).all()
        assert not scene.valid_mask(WHOLE, [1, 3])[HOLE].any()
        assert not scene.valid_mask(WHOLE)[HOLE].any()


def test_black_is_not_nodata(tmp_path: Path) -> None:
    with open_scene(str(_write(tmp_path / "scene.tif", _with_hole("uint8", 0)))) as scene:
        assert scene.valid_mask(WHOLE).all()


def test_bands_come_in_the_order_asked_for(tmp_path: Path) -> None:
    with open_scene(str(_write(tmp_path / "scene.tif"))) as scene:
        np.testing.assert_array_equal(scene.read(WHOLE, [3, 1, 1]), IMAGE[[2, 0, 0]])
        for bad in (0, 4, -1):
            with pytest.raises(SpecError, match="--bands"):
                scene.check_bands([1, bad])


@pytest.mark.parametrize(
    "profile",
    [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}, {"blockysize": 7}],
    ids=["striped", "tiled", "thick strips"],
)
def test_strips_are_whole_block_rows_and_cover_the_scene(
    tmp_path: Path, profile: dict[str, Any]
) -> None:
    with open_scene(str(_write(tmp_path / "scene.tif", **profile))) as scene:
        for step in (None, 7, 16):
            windows = list(scene.strips(step))
            assert windows[0].row == 0
            assert windows[-1].row_stop == scene.height
            for above, below in pairwise(windows):
                assert above.row_stop == below.row
            parts = [scene.read(window) for window in windows]
            np.testing.assert_array_equal(np.concatenate(parts, axis=1), IMAGE)


@given(block=st.integers(1, 20_000), height=st.integers(1, 50_000), about=st.integers(0, 5000))
def test_rows_read_at_once_are_bounded(block: int, height: int, about: int) -> None:
    scene = Scene.__new__(Scene)
    scene.block_shape, scene.height = (block, 100), height
    rows = scene.block_rows(about)
    assert 1 <= rows <= max(about, 2048)
    if min(block, height) <= 2048:
        assert rows % min(block, height) == 0


def test_names_of_bands(tmp_path: Path) -> None:
    path = _write(tmp_path / "rgba.tif", np.ones((4, *SHAPE), np.uint8), colours=_rgba())
    with open_scene(str(path)) as scene:
        assert scene.band_names == ("red", "green", "blue", "alpha")
    path = _write(tmp_path / "named.tif", names=("NIR ", "Red", None))
    with open_scene(str(path)) as scene:
        assert scene.band_names[:2] == ("nir", "red")


def test_a_name_knows_better_than_a_colour_that_was_not_chosen(tmp_path: Path) -> None:
    image = np.concatenate([IMAGE, IMAGE[:1] // 128])
    path = _write(tmp_path / "scene.tif", image, names=("red", "green", "blue", "nir"))
    with open_scene(str(path)) as scene:
        assert scene.band_names == ("red", "green", "blue", "nir")
        assert scene.valid_mask(WHOLE).all()
    path = _write(tmp_path / "scene.tif", image)  # unnamed: what GDAL calls alpha is alpha
    with open_scene(str(path)) as scene:
        assert scene.band_names[3] == "alpha"
        np.testing.assert_array_equal(scene.valid_mask(WHOLE, [1, 2, 3]), image[3] > 0)


def test_a_world_file_places_a_photograph(tmp_path: Path) -> None:
    copy_raster(_write(tmp_path / "scene.tif"), tmp_path / "photo.jpg", driver="JPEG")
    (tmp_path / "photo.jgw").write_text("0.5\n0\n0\n-0.5\n1000.25\n1999.75\n")
    with open_scene(str(tmp_path / "photo.jpg")) as scene:
        assert tuple(scene.transform)[:6] == (0.5, 0, 1000, 0, -0.5, 2000)
        assert scene.crs is None
        assert scene.gsd_m is None
        assert not scene.is_georeferenced


def test_a_palette_is_known(tmp_path: Path) -> None:
    path = _write(tmp_path / "scene.tif", IMAGE[:1], photometric="palette")
    with rasterio.open(path, "r+") as out:
        out.write_colormap(1, {1: (255, 0, 0, 255)})
    with open_scene(str(path)) as scene:
        assert scene.has_palette(1)
    with open_scene(str(_write(tmp_path / "rgb.tif"))) as scene:
        assert not scene.has_palette(1)


def test_a_virtual_raster_names_its_sources(tmp_path: Path) -> None:
    path = _virtual_mask(tmp_path / "scene.tif")
    with open_scene(str(path)) as scene:
        assert {Path(file).name for file in scene.files} >= {"scene.vrt", "pixels.tif"}


def _truncated(path: Path) -> Path:
    _write(path, RNG.integers(0, 255, (3, 300, 300), dtype=np.uint8), compress="deflate")
    path.write_bytes(path.read_bytes()[:90_000])
    return path


def test_a_png_that_breaks_off_is_not_black_below(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 60, 80), np.uint8)
    path = tmp_path / "photo.png"
    kind = {"driver": "PNG", "count": 3, "height": 60, "width": 80, "dtype": "uint8"}
    with rasterio.open(path, "w", **kind) as target:
        target.write(values)
    content = path.read_bytes()
    for more in (b"", b"what some programs leave behind"):
        path.write_bytes(content + more)
        with open_scene(str(path)) as scene:
            found = scene.read(Window(row=0, col=0, height=60, width=80))
            np.testing.assert_array_equal(found, values)
    for length in (len(content) // 2, len(content) - 1, len(content) - 12):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=f"breaks off after {length:,} bytes"):
            open_scene(str(path))


def test_a_truncated_file_says_where(tmp_path: Path) -> None:
    path = _truncated(tmp_path / "scene.tif")
    with open_scene(str(path)) as scene, pytest.raises(InputError, match="truncated or damaged"):
        any(scene.read_with_valid(window) is None for window in scene.strips(16))


def _container(path: Path) -> Path:
    for table in ("one", "two"):
        settings = {"RASTER_TABLE": table, "APPEND_SUBDATASET": "YES" if path.exists() else "NO"}
        copy_raster(
            _write(
                path.with_name("scene.tif"),
                crs="EPSG:32633",
                transform=(rasterio.Affine(1, 0, 5e5, 0, -1, 5e6)),
            ),
            path,
            driver="GPKG",
            **settings,
        )
    return path


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: path, "no such file"),
    "no raster": (lambda path: path.write_text("words"), "cannot be opened as a raster"),
    "empty file": (lambda path: path.write_bytes(b""), "cannot be opened as a raster"),
    "empty folder": (lambda path: path.mkdir(), "empty folder"),
    "folder": (lambda path: (path / "inner").mkdir(parents=True), "is a folder"),
    "complex": (lambda path: _write(path, np.ones((1, 4, 4), np.complex64)), "complex"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_scene_is_refused(tmp_path: Path, kind: str) -> None:
    make, reason = BAD[kind]
    make(tmp_path / "scene.tif")
    with pytest.raises(InputError, match=reason):
        open_scene(str(tmp_path / "scene.tif"))


@pytest.mark.parametrize("name", ["", "x" * 5000, "/vsizip/none.zip/a.tif", "NETCDF:none.nc:v"])
def test_names_that_lead_nowhere_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        open_scene(name)


def test_a_container_lists_its_rasters(tmp_path: Path) -> None:
    path = _container(tmp_path / "both.gpkg")
    with pytest.raises(InputError, match=r"GPKG:.*ONE; GPKG:.*TWO"):
        open_scene(str(path))
    with open_scene(f"GPKG:{path}:ONE") as scene:
        assert scene.shape[1] >= SHAPE[1]


def test_each_thread_has_its_own_handle(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = _write(tmp_path / "scene.tif", _with_hole("uint8", 0), nodata=0)
    windows = [Window(row=row, col=0, height=4, width=60) for row in range(0, 40, 4)] * 5
    reader = SceneReader(str(path), [2])
    with ThreadPoolExecutor(4) as pool:
        for window, (values, valid) in zip(windows, pool.map(reader, windows), strict=True):
            image = _with_hole("uint8", 0)[1:2, *window.slices]
            np.testing.assert_array_equal(values, image)
            np.testing.assert_array_equal(valid, image[0] != 0)
    reader.close()


def test_the_cache_is_bounded_while_scenes_are_open_and_no_longer(tmp_path: Path) -> None:
    before = get_gdal_config("GDAL_CACHEMAX")
    try:
        set_gdal_config("GDAL_CACHEMAX", 200 * 2**20)
        path = str(_write(tmp_path / "scene.tif"))
        with open_scene(path) as one:
            with open_scene(path):
                assert get_gdal_config("GDAL_CACHEMAX") == CACHE_BYTES
            one.close()
            one.close()
        assert get_gdal_config("GDAL_CACHEMAX") == 200 * 2**20
        set_gdal_config("GDAL_CACHEMAX", 5 * 2**20)  # a smaller one is the user's wish
        with open_scene(path):
            assert get_gdal_config("GDAL_CACHEMAX") == 5 * 2**20
    finally:
        set_gdal_config("GDAL_CACHEMAX", before)


def test_trying_drivers_leaves_nothing_for_the_collector(tmp_path: Path) -> None:
    """A failed attempt that held its frame would hold whole scenes until the next collection."""
    import gc

    from rasterio.errors import RasterioIOError

    from geotiler.io.opening import opened_by

    path = tmp_path / "a.png"
    with rasterio.open(path, "w", driver="PNG", count=3, height=8, width=8, dtype="uint8"):
        pass
    gc.collect()
    gc.disable()
    try:
        opened_by(str(path), ("GTiff", "JPEG", "PNG")).close()
        left = [item for item in gc.get_objects() if isinstance(item, RasterioIOError)]
    finally:
        gc.enable()
    assert left == []
