"""A scene at the size of a picture: few pixels read, whatever the size of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError
from rasterio.features import rasterize
from rasterio.windows import Window as RasterWindow

from geotiler.core.resample import Axis
from geotiler.errors import InputError
from geotiler.io.cache import CACHE_BYTES
from geotiler.io.label_polygons import PolygonLabels, in_pixels, is_polygonal
from geotiler.io.label_source import frame_of
from geotiler.io.opening import opened_by, quiet_about_georeferencing
from geotiler.io.outputs import replacing
from geotiler.io.raster import open_scene
from geotiler.io.remote import gdal_name, is_remote, patient, redacted, shown
from geotiler.io.vector_reading import read_features
from geotiler.specs import Window


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """Some bands of a part of a raster on a coarser grid."""

    bands: NDArray[np.generic]
    """(band, row, col)."""
    valid: NDArray[np.bool_]
    """(row, col), True where every band has data."""
    transform: Affine
    """Of the coarser grid."""
    crs: Any
    window: Window
    """The part of the raster."""
    scene_shape: tuple[int, int]
    """(height, width) of the whole raster."""


def read_reduced(
    path: str,
    shape: tuple[int, int],
    *,
    window: Window | None = None,
    categories: bool = False,
    drivers: Sequence[str] | None = None,
) -> Reduced:
    """At most three bands of a raster, or of a window of it, resampled to a shape.

    Args:
        path: raster.
        shape: (height, width) to read at; overviews are used where the file has them.
        window: part of the raster; None reads all of it.
        categories: pick the nearest pixel, for class ids, instead of the mean.
        drivers: GDAL drivers that may open it; None: all.

    Raises:
        InputError: the raster cannot be read.
    """
    resampling = Resampling.nearest if categories else Resampling.average
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES),
            patient(is_remote(path)),
            _opened(path, drivers) as dataset,
        ):
            part = window or Window(row=0, col=0, height=dataset.height, width=dataset.width)
            area = RasterWindow(part.col, part.row, part.width, part.height)
            indexes = list(range(1, min(dataset.count, 3) + 1))
            bands = dataset.read(indexes, window=area, out_shape=shape, resampling=resampling)
            # Every band's own mask: nodata in one of them is nodata in the picture.
            masks = dataset.read_masks(
                indexes, window=area, out_shape=shape, resampling=Resampling.nearest
            )
            step = Affine.scale(part.width / shape[1], part.height / shape[0])
            transform = dataset.transform @ Affine.translation(part.col, part.row) @ step
            crs = dataset.crs
            scene_shape = dataset.height, dataset.width
    except RasterioIOError as error:
        reason = redacted(" ".join(str(error).split()), path)
        raise InputError(f"cannot read {shown(path)}: {reason}") from error
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


def _opened(path: str, drivers: Sequence[str] | None) -> rasterio.DatasetReader:
    """A raster that is not warned about where it has no place: the picture says so itself."""
    with quiet_about_georeferencing():
        return opened_by(gdal_name(path), drivers)


def burned(path: str, scene_path: str, window: Window, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """True where the polygons of a vector file cover the centre of a pixel.

    Args:
        path: vector file in any CRS, or in the scene's pixels.
        scene_path: raster.
        window: part of the raster.
        shape: (height, width) of the picture of that part.

    Raises:
        InputError: not a readable vector file, or it cannot be brought onto the scene.
    """
    with open_scene(scene_path) as scene:
        frame = frame_of(scene, (Axis.scaled(scene.height, 1.0), Axis.scaled(scene.width, 1.0)))
    features = read_features(path)
    shapes = features.geometries[is_polygonal(features.geometries)]
    placed, exists = in_pixels(path, shapes, features.crs, frame, "--truth")
    step = np.array([shape[1] / window.width, shape[0] / window.height])
    moved = shapely.transform(placed[exists], lambda p: (p - [window.col, window.row]) * step)
    labels = PolygonLabels(moved, np.ones(len(moved), np.uint8))
    return labels.read(Window(row=0, col=0, height=shape[0], width=shape[1])) > 0


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
