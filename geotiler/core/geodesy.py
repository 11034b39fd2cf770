"""How large a scene's pixels are on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyproj.exceptions

from geotiler.core.measure import Ground

_SIDE_PX = 64.0
"""Side of the square that is measured; one pixel alone would lose digits."""


def ground_gsd_m(
    transform: Sequence[float], crs: Any, shape: tuple[int, int]
) -> tuple[float, float] | None:
    """Ground sample distance (x, y) at the scene's centre, in metres per pixel.

    Measured on the ellipsoid of the CRS, so that a Web-Mercator pixel at 60° N is half a metre
    where its map says one, and a pixel in degrees is narrower than it is high.

    Args:
        transform: affine coefficients (a, b, c, d, e, f) from pixels to the CRS.
        crs: anything that pyproj reads, or None.
        shape: scene (height, width).

    Returns:
        None without a CRS, or where it or the scene's centre has no place on the ellipsoid.
    """
    if crs is None:
        return None
    try:
        ground = Ground(tuple(transform), crs)
    except pyproj.exceptions.CRSError:  # a system that GDAL knows and PROJ does not
        return None
    if not ground.on_earth:
        return None
    centre = np.array([[shape[1] / 2, shape[0] / 2]])
    x_m, y_m = ground.pixel_size_m(centre, side_px=_SIDE_PX)[0][0].tolist()
    if not (0 < x_m < 1e7 and 0 < y_m < 1e7):
        return None
    return x_m, y_m
