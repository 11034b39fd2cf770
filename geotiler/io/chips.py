"""Chips on disk: lossless GeoTIFFs that appear whole or not at all.

A chip is encoded in memory and written by one call under a temporary name, so that a full disk
shows as an error of that call and never as a damaged file.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from geotiler.errors import OutputError
from geotiler.io.opening import quiet_about_georeferencing
from geotiler.io.scene_tags import CLASSES_TAG
from geotiler.specs import MASK_NODATA

SUFFIX = ".tif"
_TEMPORARY = ".part"


@dataclass(frozen=True, kw_only=True)
class ChipPlace:
    """Where a chip lies."""

    name: str
    transform: Affine
    """From pixels of the chip to the CRS."""
    crs: CRS | None


def image_bytes(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    place: ChipPlace,
    descriptions: Sequence[str | None] = (),
) -> bytes:
    """A GeoTIFF of the values (band, row, col), its invalid pixels in an internal mask.

    Bands are interleaved and three or more 8-bit ones are marked as red, green, blue, ..., which
    every reader of TIFF understands.
    """
    colour = values.dtype == np.uint8 and len(values) >= 3
    predictor = 3 if np.issubdtype(values.dtype, np.floating) else 2
    options = {"photometric": "RGB", "alpha": "NO"} if colour else {"photometric": "MINISBLACK"}
    mask = None if valid.all() else valid
    return _encoded(values, place, mask=mask, descriptions=descriptions,
                    predictor=predictor, interleave="pixel", **options)  # fmt: skip


def mask_bytes(labels: NDArray[np.uint8], place: ChipPlace, classes: Mapping[int, str]) -> bytes:
    """A GeoTIFF of class ids (row, col) with 255 as nodata and the names of classes as a tag."""
    names = {str(key): classes[key] for key in sorted(classes)}
    tags = {CLASSES_TAG: json.dumps(names, ensure_ascii=False)}
    return _encoded(labels[None], place, nodata=MASK_NODATA, tags=tags)


def _encoded(
    values: NDArray[Any],
    place: ChipPlace,
    *,
    mask: NDArray[np.bool_] | None = None,
    descriptions: Sequence[str | None] = (),
    tags: Mapping[str, str] | None = None,
    **options: Any,
) -> bytes:
    count, height, width = values.shape
    try:
        with (
            quiet_about_georeferencing(),
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            MemoryFile() as memory,
        ):
            with memory.open(
                driver="GTiff", count=count, height=height, width=width, dtype=values.dtype,
                crs=place.crs, transform=place.transform, compress="deflate", zlevel=6, **options,
            ) as chip:  # fmt: skip
                chip.write(values)
                for index, description in enumerate(descriptions, start=1):
                    if description:
                        chip.set_band_description(index, description)
                chip.update_tags(**(tags or {}))
                if mask is not None:
                    chip.write_mask(mask)
            return bytes(memory.read())
    except RasterioError as error:
        raise OutputError(f"chip {place.name} cannot be encoded: {error}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Put a file in place by one rename.

    Raises:
        OutputError: the disk is full or refuses.
    """
    temporary = path.with_name(f".{path.name}{_TEMPORARY}")
    try:
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the disk is full at {path}; what was finished is kept",
                hint="make room and run the same command again: it goes on from there",
            ) from error
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
