"""Distances on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyproj
import pyproj.exceptions

_STEP_PX = 64.0
"""Length of the measured baseline; one pixel alone would lose digits."""


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
        system = pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError:  # a system that GDAL knows and PROJ does not
        return None
    geodetic = system.geodetic_crs
    if geodetic is None:
        return None
    a, b, c, d, e, f = tuple(transform)[:6]
    col, row = shape[1] / 2, shape[0] / 2
    half = _STEP_PX / 2
    points = [(col - half, row), (col + half, row), (col, row - half), (col, row + half)]
    xs = [a * x + b * y + c for x, y in points]
    ys = [d * x + e * y + f for x, y in points]
    to_degrees = pyproj.Transformer.from_crs(system, geodetic, always_xy=True)
    lon, lat = to_degrees.transform(xs, ys)
    geod = system.get_geod()
    if geod is None:
        return None
    _, _, distances = geod.inv(lon[::2], lat[::2], lon[1::2], lat[1::2])
    x_m, y_m = (float(distance) / _STEP_PX for distance in distances)
    if not (0 < x_m < 1e7 and 0 < y_m < 1e7):
        return None
    return x_m, y_m
