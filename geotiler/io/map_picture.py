"""Scenes and masks as small transparent pictures that lie straight on a web map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import array_bounds
from rasterio.warp import calculate_default_transform, reproject, transform_bounds

from geotiler.core.overlay import displayable
from geotiler.io.opening import quiet_about_georeferencing
from geotiler.io.outputs import replacing
from geotiler.io.preview import Reduced, read_reduced
from geotiler.io.raster import open_scene
from geotiler.specs import MASK_NODATA

WEB_MERCATOR = CRS.from_epsg(3857)
LONGEST_PX = 2048
_MASK_ALPHA = 150


@dataclass(frozen=True, kw_only=True)
class MapPicture:
    """Where a picture lies."""

    width: int
    height: int
    bounds_deg: tuple[float, float, float, float] | None
    """(left, bottom, right, top) in degrees; the picture is straight in Web Mercator. None where
    the raster has no CRS: the picture is the raster's own grid, made smaller."""
    shape: tuple[int, int]
    """(height, width) of the raster in its own pixels."""
    transform: tuple[float, ...]
    """a, b, c, d, e, f: from the raster's pixels to its coordinates, those of polygons of it."""


def write_scene_picture(
    path: str, target: Path, *, drivers: Sequence[str] | None = None
) -> MapPicture:
    """Write the first three bands of a scene as a PNG; transparent where it has no data.

    Args:
        path: raster.
        target: PNG to write.
        drivers: as `open_scene`.

    Raises:
        InputError: the raster cannot be read.
        OutputError: the target cannot be written.
    """
    shape = _shape(path, drivers)
    with quiet_about_georeferencing():
        reduced = read_reduced(path, _reduced_shape(shape), drivers=drivers)
    rgb = displayable(reduced.bands, reduced.valid)
    alpha = np.where(reduced.valid, np.uint8(255), np.uint8(0))
    return _write(reduced, np.dstack([rgb, alpha]), target, Resampling.bilinear, shape)


def write_mask_picture(path: str, target: Path) -> MapPicture:
    """Write a mask in its own colours as a PNG; background and nodata are transparent.

    Raises:
        InputError: the mask cannot be read.
        OutputError: the target cannot be written.
    """
    shape = _shape(path, None)
    with quiet_about_georeferencing():
        reduced = read_reduced(path, _reduced_shape(shape), categories=True)
        with rasterio.open(path) as dataset:
            colours = dataset.colormap(1)
    table = np.zeros((256, 4), np.uint8)
    for value in range(1, MASK_NODATA):
        red, green, blue, opacity = colours.get(value, (0, 0, 0, 0))
        table[value] = (red, green, blue, _MASK_ALPHA if opacity else 0)
    return _write(reduced, table[reduced.bands[0]], target, Resampling.nearest, shape)


def _shape(path: str, drivers: Sequence[str] | None) -> tuple[int, int]:
    with open_scene(path, drivers=drivers) as scene:
        return scene.shape


def _reduced_shape(shape: tuple[int, int]) -> tuple[int, int]:
    factor = min(1.0, LONGEST_PX / max(shape))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _write(
    reduced: Reduced,
    rgba: NDArray[np.uint8],
    target: Path,
    resampling: Resampling,
    shape: tuple[int, int],
) -> MapPicture:
    bounds = None
    if reduced.crs:
        rgba, transform = _straight(rgba, reduced.transform, reduced.crs, resampling)
        mercator = array_bounds(*rgba.shape[:2], transform)
        left, bottom, right, top = transform_bounds(WEB_MERCATOR, "EPSG:4326", *mercator)
        bounds = (left, bottom, right, top)
    with replacing(target, overwrite=True) as temporary:
        _, data = cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
        temporary.write_bytes(data.tobytes())
    height, width = rgba.shape[:2]
    reduced_shape = reduced.bands.shape[1:]
    own = reduced.transform @ Affine.scale(reduced_shape[1] / shape[1], reduced_shape[0] / shape[0])
    return MapPicture(
        width=width, height=height, bounds_deg=bounds, shape=shape, transform=tuple(own)[:6]
    )


def _straight(
    rgba: NDArray[np.uint8], transform: Affine, crs: Any, resampling: Resampling
) -> tuple[NDArray[np.uint8], Affine]:
    """The picture in Web Mercator, and its transform."""
    height, width = rgba.shape[:2]
    bounds = array_bounds(height, width, transform)
    there, cols, rows = calculate_default_transform(crs, WEB_MERCATOR, width, height, *bounds)
    shrink = min(1.0, LONGEST_PX / max(rows, cols))
    size = max(1, round(rows * shrink)), max(1, round(cols * shrink))
    there = there @ Affine.scale(cols / size[1], rows / size[0])
    straight = np.zeros((4, *size), np.uint8)
    for plane, source in zip(straight, np.moveaxis(rgba, -1, 0), strict=True):
        reproject(
            np.ascontiguousarray(source), plane, src_transform=transform, src_crs=crs,
            dst_transform=there, dst_crs=WEB_MERCATOR, resampling=resampling,
        )  # fmt: skip
    return np.ascontiguousarray(np.moveaxis(straight, 0, -1)), there
