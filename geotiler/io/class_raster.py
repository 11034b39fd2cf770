"""Rasters of class ids: their layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from affine import Affine
from rasterio.crs import CRS

from geotiler import __version__
from geotiler.io.part_layout import RasterLayout
from geotiler.io.scene_tags import CLASSES_TAG, DIGEST_TAG, MODEL_TAG, SETTINGS_TAG, VERSION_TAG
from geotiler.specs import MASK_NODATA

BACKGROUND = "#f2f2ee"
"""Colour of what belongs to no class."""


def class_layout(
    classes: Mapping[int, tuple[str, str]],
    *,
    shape: tuple[int, int],
    transform: Affine,
    crs: CRS | None,
    model: str,
    digest: str,
    settings: Mapping[str, Any],
    origin: tuple[int, int] = (0, 0),
) -> RasterLayout:
    """Layout of a uint8 raster of class ids, nodata 255, with colour table and provenance.

    Args:
        classes: id → name and "#rrggbb".
        shape: (height, width).
        transform: pixels to the CRS.
        crs: of the scene.
        model: name and version.
        digest: of the model.
        settings: what the answer depends on; no place, no time.
        origin: (row, col) of its first pixel in the parts that it is made of.
    """
    names = {str(key): name for key, (name, _) in classes.items()}
    colours: dict[int, tuple[int, int, int]] = {}
    for key, (_, colour) in classes.items():
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        colours[key] = (red, green, blue)
    return RasterLayout(
        shape=shape,
        origin=origin,
        dtype="uint8",
        nodata=MASK_NODATA,
        transform=transform,
        crs=crs,
        bands=("class",),
        colours=colours,
        tags={
            CLASSES_TAG: json.dumps(names, sort_keys=True),
            VERSION_TAG: __version__,
            MODEL_TAG: model,
            DIGEST_TAG: digest,
            SETTINGS_TAG: json.dumps(settings, sort_keys=True),
        },
    )


def coarser(transform: Affine, x: float, y: float, first: tuple[int, int] = (0, 0)) -> Affine:
    """Transform of pixels x times as wide and y times as high, from the same corner.

    Args:
        transform: of the pixels.
        x: factor of the width.
        y: factor of the height.
        first: (row, col) of the one that is to be the first.
    """
    row, col = first
    return transform @ Affine.scale(x, y) @ Affine.translation(col, row)
