"""A scene at the size of a picture: few pixels read, whatever the size of the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError
from rasterio.features import rasterize
from rasterio.windows import Window as RasterWindow

from geotiler.errors import InputError
from geotiler.io.outputs import replacing
from geotiler.io.raster import CACHE_BYTES
from geotiler.io.vector import read_features
from geotiler.specs import Window


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """Some bands of a part of a raster on a coarser grid."""

    bands: NDArray[np.generic]
    """(band, row, col)."""
    valid: NDArray[np.bool_]
    """(row, col), True where every band has data."""
    transform: Affine
    """Of the coarser grid; from its pixels to those of the raster where that has no CRS."""
    crs: Any
    window: Window
    """The part of the raster."""
    scene_shape: tuple[int, int]
    """(height, width) of the whole raster."""


def read_reduced(
    path: str, shape: tuple[int, int], *, window: Window | None = None, categories: bool = False
) -> Reduced:
    """At most three bands of a raster, or of a window of it, resampled to a shape.

    Args:
        path: raster.
        shape: (height, width) to read at; overviews are used where the file has them.
        window: part of the raster; None reads all of it.
        categories: pick the nearest pixel, for class ids, instead of the mean.

    Raises:
        InputError: the raster cannot be read.
    """
    resampling = Resampling.nearest if categories else Resampling.average
    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), rasterio.open(path) as dataset:
            part = window or Window(row=0, col=0, height=dataset.height, width=dataset.width)
            area = RasterWindow(part.col, part.row, part.width, part.height)
            indexes = list(range(1, min(dataset.count, 3) + 1))
            bands = dataset.read(indexes, window=area, out_shape=shape, resampling=resampling)
            # Every band's own mask: nodata in one of them is nodata in the picture.
            masks = dataset.read_masks(
                indexes, window=area, out_shape=shape, resampling=Resampling.nearest
            )
            step = Affine.scale(part.width / shape[1], part.height / shape[0])
            base = dataset.transform if dataset.crs else Affine.identity()
            transform = base @ Affine.translation(part.col, part.row) @ step
            crs = dataset.crs
            scene_shape = dataset.height, dataset.width
    except RasterioIOError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    valid = (masks > 0).all(axis=0)
    if np.issubdtype(bands.dtype, np.floating):
        valid &= np.isfinite(bands).all(axis=0)
    return Reduced(
        bands=bands,
        valid=valid,
        transform=transform,
        crs=crs,
        window=part,
        scene_shape=scene_shape,
    )


def burned(path: str, like: Reduced) -> NDArray[np.bool_]:
    """True where the polygons of a vector file cover the centre of a pixel.

    Raises: InputError: not a readable vector file.
    """
    features = read_features(path)
    shapes = features.geometries
    if features.crs is not None and like.crs is not None:
        there = pyproj.Transformer.from_crs(features.crs, like.crs.to_wkt(), always_xy=True)
        shapes = shapely.transform(shapes, there.transform, interleaved=False)
    if len(shapes) == 0:
        return np.zeros(like.valid.shape, np.bool_)
    inside = rasterize(shapes, like.valid.shape, transform=like.transform, dtype="uint8")
    return np.asarray(inside, np.bool_)


def drawn_areas(shapes: NDArray[np.object_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(row, col) True where polygons in pixels of the picture cover the centre of a pixel."""
    if len(shapes) == 0:
        return np.zeros(shape, np.bool_)
    return np.asarray(rasterize(shapes, shape, dtype="uint8"), np.bool_)


def write_png(path: Path, image: NDArray[np.uint8], *, overwrite: bool = False) -> None:
    """Write a red-green-blue picture, under a temporary name first."""
    with replacing(path, overwrite) as temporary:
        _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        temporary.write_bytes(data.tobytes())
